"""A dask array over a reader: for whole scans, in chunks of whole frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import FrameReader, SignalInfo

_CHUNK = 64 << 20  # bytes


def dask_array(reader: FrameReader, info: SignalInfo) -> Any:
    """Return a dask array of all frames of `reader`, ``info.shape`` in chunks of whole frames."""
    import dask.array as da

    kept = tuple(-1 for _ in info.signal_axes)
    chunks = da.core.normalize_chunks(  # type: ignore[no-untyped-call]
        ("auto",) * len(info.navigation_axes) + kept, info.shape, limit=_CHUNK, dtype=info.dtype
    )
    meta = np.empty((0,) * len(info.shape), info.dtype)
    return da.map_blocks(_block, reader, info, chunks=chunks, dtype=info.dtype, meta=meta)  # type: ignore[no-untyped-call]


def _block(reader: FrameReader, info: SignalInfo, block_info: Any = None) -> NDArray[Any]:
    ranges = block_info[None]["array-location"]
    shape = tuple(stop - start for start, stop in ranges)
    scan = shape[: len(info.navigation_axes)]
    starts = [start for start, _ in ranges]
    block = np.empty((math.prod(scan), *info.signal_shape), info.dtype)
    for number, at in enumerate(np.ndindex(*scan)):
        block[number] = reader.read(tuple(start + i for start, i in zip(starts, at, strict=False)))
    return block.reshape(shape)
