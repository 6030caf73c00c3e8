"""Frames of arrays that can only be decoded many at a time: what was decoded once is remembered.

A spectrum image of Bruker or Velox decodes as a whole for each frame that is asked for.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.cache import Cache
from tiled_spyde.sources.arrays import ArrayFrames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tiled_spyde.signals import SignalInfo
    from tiled_spyde.sources.bounds import Bounds
    from tiled_spyde.sources.files import File

DECODED = Cache(1 << 30)  # bytes, of all sources together
_OPEN = 8  # sources whose lazy arrays are kept: each may hold a file open

Selection = tuple[int | slice, ...]


class DecodedFrames(ArrayFrames):
    """Frames from decoded blocks of a source.

    Parameters
    ----------
    files : sequence of File
        Its files.
    load : callable
        Opens the source, and returns the arrays of its signals as they are stored: of dask, or of numpy where
        its reader knows no other way.
    number : int
        Which signal of the source it is.
    navigate, info
        As of `ArrayFrames`.
    bounds : Bounds
        What decoding may read.
    """

    def __init__(
        self,
        files: Sequence[File],
        load: Callable[[], Sequence[Any]],
        number: int,
        navigate: Sequence[bool],
        info: SignalInfo,
        bounds: Bounds,
    ) -> None:
        super().__init__(files, None, navigate, info)
        self._load = load
        self._number = number
        self._bounds = bounds
        self._whole = False

    def hold(self, array: Any) -> None:
        """Take `array`, which has just been loaded, as what `load` gives for this signal."""
        self._whole = isinstance(array, np.ndarray)
        if self._whole:
            DECODED.get(self._key(), lambda: array)

    def _slice(self, selection: Selection) -> Any:
        if self._whole:
            return DECODED.get(self._key(), lambda: self._load()[self._number])[selection]
        lazy = _loaded(self._files, self._load)[self._number]
        if is_mapped(lazy) or _largest_block(lazy) > DECODED.limit // 2:
            return self._computed(lazy[selection])
        return _assembled(lazy.chunks, selection, lazy.dtype, partial(self._block, lazy))

    def _block(self, lazy: Any, at: tuple[int, ...]) -> NDArray[Any]:
        return DECODED.get(self._key(at), lambda: self._computed(lazy.blocks[at]))

    def _computed(self, lazy: Any) -> NDArray[Any]:
        with self._bounds.kept():
            made = lazy.compute(scheduler="synchronous")
        return np.asarray(made.todense() if hasattr(made, "todense") else made)

    def _key(self, block: tuple[int, ...] | None = None) -> tuple[Any, ...]:
        return self._files, self._number, block


@lru_cache(maxsize=_OPEN)
def _loaded(files: tuple[File, ...], load: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """Return the lazy arrays of a source, for as long as its files are what they are."""
    return load()


def is_mapped(lazy: Any) -> bool:
    """Whether slicing the dask array `lazy` before computing it reads nothing else: it maps its file."""
    for name, layer in lazy.dask.layers.items() if hasattr(lazy, "dask") else ():
        if name.startswith("slice_memmap"):
            return True
        if name.startswith(("original-", "array-")):
            values = [getattr(value, "value", value) for value in dict(layer).values()]
            if any(isinstance(value, np.memmap) for value in values):
                return True
    return False


def _largest_block(lazy: Any) -> int:
    pixels = math.prod(max(sizes) for sizes in lazy.chunks)
    return int(pixels * lazy.dtype.itemsize)


def _assembled(
    chunks: Sequence[Sequence[int]],
    selection: Selection,
    dtype: np.dtype[Any],
    block: Callable[[tuple[int, ...]], NDArray[Any]],
) -> NDArray[Any]:
    """Return ``array[selection]`` of an array in blocks of sizes `chunks`."""
    sizes = [sum(axis) for axis in chunks]
    cuts = [slice(cut, cut + 1) if isinstance(cut, int) else cut for cut in selection]
    ranges = [range(size)[cut] for cut, size in zip(cuts, sizes, strict=True)]
    made = np.empty([len(wanted) for wanted in ranges], dtype)
    for pieces in product(*map(_pieces, chunks, ranges)):
        numbers, within, where = zip(*pieces, strict=True)
        made[where] = block(numbers)[within]
    return made[tuple(0 if isinstance(cut, int) else slice(None) for cut in selection)]


def _pieces(sizes: Sequence[int], wanted: range) -> Iterator[tuple[int, slice, slice]]:
    """Yield for each block that `wanted` touches: its number, the part of it, and where that goes."""
    begin = done = 0
    for number, size in enumerate(sizes):
        here = wanted[done:]
        count = len(range(here.start, min(here.stop, begin + size), here.step)) if here else 0
        if count:
            part = here[:count]
            yield number, slice(part[0] - begin, part[-1] - begin + 1, part.step), slice(done, done + count)
        done += count
        begin += size
