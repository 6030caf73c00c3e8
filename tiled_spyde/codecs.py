"""An array on the wire: little-endian, C order, one self-describing Blosc frame.

Bit-shuffled lz4 because counting detectors fill few bits of each word; what does not get smaller is stored as it is.
A Blosc frame says itself which, so the same bytes serve zarr v2, zarr v3 and the viewer.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numcodecs.blosc import Blosc

from tiled_spyde.errors import TooLarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEDIA_TYPE = "application/x-blosc"

# Headers that describe an array which is laid out for an answer: whoever sends the answer puts a dict here.
SERIALIZED: ContextVar[dict[str, str] | None] = ContextVar("SERIALIZED", default=None)

_BLOSC = Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)
_STORED = Blosc(cname="lz4", clevel=0, shuffle=Blosc.NOSHUFFLE)
_SAMPLES, _SAMPLE_BYTES = 4, 8192
_WORTHWHILE = 0.85  # of its size: what gains less takes longer to compress than to send in a fast network


def wire_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return `array` little-endian and C-contiguous, copying only where it is not."""
    native_is_little = sys.byteorder == "little"
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not native_is_little):
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array)


def encode(array: NDArray[Any]) -> bytes:
    """Encode `array` of any shape as one Blosc frame; nothing at all for an empty one.

    Raises
    ------
    TooLarge
        It has 2 GiB or more, which no Blosc frame can hold.
    """
    if array.size == 0:
        return b""
    if array.nbytes > Blosc.max_buffer_size:
        raise TooLarge(f"A Blosc frame cannot hold {array.nbytes} bytes. Ask for a smaller slice.")
    array = wire_order(array)
    return cast("bytes", (_STORED if _is_noise(array) else _BLOSC).encode(array))


def _is_noise(array: NDArray[Any]) -> bool:
    """Whether compressing the C-contiguous `array` is in vain, as for most measured floats: tried on samples."""
    if array.dtype.kind not in "fc" or array.nbytes <= 2 * _SAMPLES * _SAMPLE_BYTES:
        return False
    flat, count = array.reshape(-1), _SAMPLE_BYTES // array.itemsize
    apart = (flat.size - count) // (_SAMPLES - 1)
    sample = np.concatenate([flat[at * apart :][:count] for at in range(_SAMPLES)])
    return len(_BLOSC.encode(sample)) > _WORTHWHILE * sample.nbytes


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


def any_length(writer: type[Any]) -> type[Any]:
    """Return tiled's encoder `writer` for blosc2, which takes bytes for items of 8 and fails where they are not."""

    class AnyLength(writer):
        def write(self, data: Any) -> None:
            whole = hasattr(data, "itemsize") or len(data) % 8 == 0
            super().write(data if whole else memoryview(data))  # whose items are bytes

    return AnyLength


def _describe(array: NDArray[Any]) -> None:
    if (headers := SERIALIZED.get()) is not None:
        headers["x-array-shape"] = ",".join(map(str, array.shape))
        headers["x-array-dtype"] = array.dtype.newbyteorder("<").str
