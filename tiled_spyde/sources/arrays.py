"""Frames of arrays that a library reads: HDF5 datasets, zarr arrays, TIFF pages, and dask's."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.quiet import quiet
from tiled_spyde.sources.raw import linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region, SignalInfo
    from tiled_spyde.sources.files import File

CHUNK_CACHE = 64 << 20  # bytes of decoded HDF5 chunks kept for each open dataset
_OPEN = 8  # files kept open at a time: bounds memory and descriptors for folders of thousands


class ArrayFrames:
    """Reads frames of an array that only reads what it is sliced with.

    Parameters
    ----------
    files : sequence of File
        Checked before each read; the first one is named in errors.
    array : array
        Anything that can be sliced.
    navigate : sequence of bool
        For each axis of `array` as it is stored, whether it is a navigation axis.
    info : SignalInfo
        What is declared of it.
    """

    def __init__(self, files: Sequence[File], array: Any, navigate: Sequence[bool], info: SignalInfo) -> None:
        self._files = tuple(files)
        self._array = array
        self.held = array.nbytes if isinstance(array, np.ndarray) else 0  # bytes in memory
        self._navigate = tuple(navigate)
        self._info = info

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return ``frame[region]`` at `index`; see `tiled_spyde.signals.FrameReader`."""
        linear(index, self._info.navigation_shape)
        self._check()
        try:
            part = self._frame(index, region)
        except MemoryError:
            raise
        except Exception as error:
            self._check()  # a file replaced while it was read is that, not a damaged one
            raise SourceError(
                f"Cannot read frame {index} of {self._files[0].name}: {_first_line(error)}. "
                "The file is truncated or damaged: copy it again."
            ) from error
        self._check()
        return np.array(part, self._info.dtype, order="C")

    def _check(self) -> None:
        for file in self._files:
            file.check()

    def _frame(self, index: Index, region: Region) -> Any:
        signal = iter(region or [slice(None)] * len(self._info.signal_axes))
        navigation = iter(index)
        return self._slice(
            tuple(next(navigation) if navigate else next(signal) for navigate in self._navigate)
        )

    def _slice(self, selection: tuple[int | slice, ...]) -> Any:
        return self._array[selection]


class Hdf5Frames(ArrayFrames):
    """Frames of an HDF5 dataset; `array` is its name."""

    def _slice(self, selection: tuple[int | slice, ...]) -> Any:
        _, dataset = _dataset(self._files[0], self._array)
        return dataset[selection]


class DaskFrames(ArrayFrames):
    """Frames of a dask array, computed in the calling thread."""

    def _slice(self, selection: tuple[int | slice, ...]) -> Any:
        return self._array[selection].compute(scheduler="synchronous")


class TiffFrames(ArrayFrames):
    """Frames that are the pages of a series of a TIFF file; `array` is the number of the series."""

    def _frame(self, index: Index, region: Region) -> Any:
        number = linear(index, self._info.navigation_shape)
        tiff, lock = _tiff(self._files[0])
        with lock:  # pages share the position in the file
            tiff.filehandle.open()
            try:
                frame = tiff.series[self._array].pages[number].asarray()
            finally:
                tiff.filehandle.close()
        return frame.reshape(self._info.signal_shape)[region]


@lru_cache(maxsize=_OPEN)
def _dataset(file: File, name: str) -> tuple[Any, Any]:
    """Return an open HDF5 file and its dataset; they close when the last reader lets go of them."""
    import h5py

    opened = h5py.File(file.path, "r", rdcc_nbytes=CHUNK_CACHE, rdcc_nslots=10_007)
    return opened, opened[name]


@lru_cache(maxsize=_OPEN)
def _tiff(file: File) -> tuple[Any, threading.Lock]:
    """Return what a TIFF file says of its pages, closed, and a lock for opening it."""
    import tifffile

    with quiet(), tifffile.TiffFile(file.path, _multifile=False) as opened:
        opened.series  # noqa: B018 - reads where the pages are
    return opened, threading.Lock()


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200].rstrip(".")
