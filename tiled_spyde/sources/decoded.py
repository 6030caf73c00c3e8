"""Frames of arrays that can only be decoded many at a time: what was decoded once is remembered.

A spectrum image of Bruker or Velox decodes as a whole for each frame that is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.sources import remembered
from tiled_spyde.sources.arrays import ArrayFrames
from tiled_spyde.sources.remembered import Layout, assembled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tiled_spyde.signals import SignalInfo
    from tiled_spyde.sources.bounds import Bounds
    from tiled_spyde.sources.files import File
    from tiled_spyde.sources.remembered import Selection

_OPEN = 8  # sources whose lazy arrays are kept: each may hold a file open


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
        super().__init__(files, number, navigate, info)
        self._load = load
        self._number = number
        self._bounds = bounds
        self._whole = False

    def hold(self, array: Any) -> None:
        """Take `array`, which has just been loaded, as what `load` gives for this signal."""
        self._whole = isinstance(array, np.ndarray)
        if self._whole:
            remembered.DECODED.put(self._key, array)

    def _slice(self, selection: Selection) -> Any:
        if self._whole:
            return remembered.DECODED.get(self._key, lambda: self._load()[self._number])[selection]
        lazy = _loaded(self._files, self._load)[self._number]
        layout = Layout.of(lazy.chunks, lazy.dtype)
        if is_mapped(lazy) or not layout.fits():
            return self._computed(lazy[selection]).copy()  # dask may give an array that it keeps
        self._layout = layout
        return assembled(self._key, layout, selection, lambda at: self._computed(lazy.blocks[at]))

    def _peek(self, selection: Selection) -> Any:
        if self._whole:
            held = remembered.DECODED.peek(self._key)
            return None if held is None else held[selection]
        return super()._peek(selection)

    def _computed(self, lazy: Any) -> NDArray[Any]:
        with self._bounds.kept():
            made = lazy.compute(scheduler="synchronous")
        return np.asarray(made.todense() if hasattr(made, "todense") else made)


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
