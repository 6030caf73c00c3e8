"""An array on the wire: little-endian, C order, one self-describing Blosc frame.

Bit-shuffled lz4 because counting detectors fill few bits of each word. A Blosc frame carries its own
shuffle and codec, so the same bytes serve zarr v2, zarr v3 and the viewer.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from numcodecs.blosc import Blosc

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEDIA_TYPE = "application/x-blosc"

# Headers that describe an array which is laid out for an answer: whoever sends the answer puts a dict here.
SERIALIZED: ContextVar[dict[str, str] | None] = ContextVar("SERIALIZED", default=None)

_BLOSC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)


def wire_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` little-endian and C-contiguous, copying only where it is not."""
    native_is_little = sys.byteorder == "little"
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not native_is_little):
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array)


def encode(array: NDArray[Any]) -> bytes:
    """Encode `array` of any shape as one Blosc frame; nothing at all for an empty one."""
    if array.size == 0:
        return b""
    return bytes(_BLOSC.encode(wire_order(array)))


def decode(frame: bytes, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Decode what `encode` made.

    Raises
    ------
    ValueError
        `frame` does not hold an array of this shape and dtype.
    """
    little = np.dtype(dtype).newbyteorder("<")
    if not frame:
        return np.empty(shape, little)
    return np.frombuffer(_BLOSC.decode(frame), little).reshape(shape)


def serialize_raw(media_type: str, array: NDArray[Any], metadata: Any) -> bytes:
    """Lay out for tiled's registry: little-endian, C order, nothing else."""
    _describe(array)
    return wire_order(array).tobytes()


def serialize(media_type: str, array: NDArray[Any], metadata: Any) -> bytes:
    """Encode for tiled's registry of media types."""
    _describe(array)
    return encode(array)


def _describe(array: NDArray[Any]) -> None:
    if (headers := SERIALIZED.get()) is not None:
        headers["x-array-shape"] = ",".join(map(str, array.shape))
        headers["x-array-dtype"] = array.dtype.newbyteorder("<").str
