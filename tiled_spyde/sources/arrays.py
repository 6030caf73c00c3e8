"""Frames of arrays that a library reads: HDF5 datasets, zarr arrays, TIFF pages."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import store
from tiled_spyde.sources.hdf5 import opened
from tiled_spyde.sources.quiet import silence_readers
from tiled_spyde.sources.raw import linear, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

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
    array : object
        What the kinds of frames below find their array by.
    navigate : sequence of bool
        For each axis of the array as it is stored, whether it is a navigation axis.
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
        return self._checked(index, region, f"frame {index}")

    def read_region(self, positions: Region, region: Region = ()) -> NDArray[Any]:
        """Return many frames at once; see `tiled_spyde.signals.RegionReader`."""
        within(positions, self._info.navigation_shape)
        said = ", ".join(f"{cut.start}:{cut.stop}" for cut in positions)
        return self._checked(positions, region, f"frames ({said})")

    def _checked(self, at: Index | Region, region: Region, what: str) -> NDArray[Any]:
        self._check()
        try:
            part = self._part(at, region)
        except (MemoryError, SourceError):
            raise
        except Exception as error:
            self._check()  # a file replaced while it was read is that, not a damaged one
            raise SourceError(
                f"Cannot read {what} of {self._files[0].name}: {_first_line(error)}. "
                "The file is truncated or damaged: copy it again."
            ) from error
        self._check()
        return np.array(part, self._info.dtype, order="C")

    def _check(self) -> None:
        for file in self._files:
            file.check()

    def _part(self, at: Index | Region, region: Region) -> Any:
        """Return what is at a position, or at several: then their axes come first."""
        signal = iter(region or [slice(0, size, 1) for size in self._info.signal_shape])
        navigation: Iterator[int | slice] = iter(at)
        part = self._slice(
            tuple(next(navigation) if navigate else next(signal) for navigate in self._navigate)
        )
        if len(part.shape) < len(self._navigate):  # one frame: no navigation axis is left
            return part
        return part.transpose(sorted(range(part.ndim), key=lambda axis: not self._navigate[axis]))

    def _slice(self, selection: tuple[int | slice, ...]) -> Any:
        raise NotImplementedError


class Hdf5Frames(ArrayFrames):
    """Frames of an HDF5 dataset; `array` is its name."""

    def _slice(self, selection: tuple[int | slice, ...]) -> Any:
        return _datasets.get(self._files, self._array)[selection]


class ZarrFrames(ArrayFrames):
    """Frames of an array of a zarr store; `array` is the store's path, its name in it, and what it may lead to."""

    def _slice(self, selection: tuple[int | slice, ...]) -> Any:
        return store.array(self._files, *self._array)[selection]


class TiffFrames(ArrayFrames):
    """Frames that are the pages of a series of a TIFF file; `array` is the number of the series."""

    def _part(self, at: Index | Region, region: Region) -> Any:
        scan = self._info.navigation_shape
        if all(isinstance(one, int) for one in at):
            return next(self._pages([linear(at, scan)]))[region]  # type: ignore[arg-type]
        wanted = np.arange(math.prod(scan)).reshape(scan)[at]
        pages = [page[region] for page in self._pages(wanted.ravel())]
        return np.stack(pages).reshape(*wanted.shape, *pages[0].shape)

    def _pages(self, numbers: Iterable[int]) -> Iterator[NDArray[Any]]:
        tiff, lock = _tiff(self._files[0])
        with lock:  # pages share the position in the file
            tiff.filehandle.open()
            try:
                for number in numbers:
                    frame = tiff.series[self._array].pages[number].asarray()
                    yield frame.reshape(self._info.signal_shape)
            finally:
                tiff.filehandle.close()


class _Datasets:
    """Datasets that are open, those read last; a file closes when the last reader lets go of it."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Path, str], tuple[Sequence[File], Any, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, files: Sequence[File], name: str) -> Any:
        key = (files[0].path, name)
        with self._lock:
            held = self._held.get(key)
            if held is not None and held[0] == files:
                self._held.move_to_end(key)
                return held[2]
            if held is not None:
                # HDF5 would give the new reader what is open under this path, with the members as they were.
                del self._held[key]
                held[1].close()
            file = opened(files[0].path, rdcc_nbytes=CHUNK_CACHE, rdcc_nslots=10_007)
            self._held[key] = (files, file, file[name])
            while len(self._held) > _OPEN:
                self._held.popitem(last=False)
            return self._held[key][2]


_datasets = _Datasets()


@lru_cache(maxsize=_OPEN)
def _tiff(file: File) -> tuple[Any, threading.Lock]:
    """Return what a TIFF file says of its pages, closed, and a lock for opening it."""
    import tifffile

    silence_readers()
    with tifffile.TiffFile(file.path, _multifile=False) as opened:
        opened.series  # noqa: B018 - reads where the pages are
    return opened, threading.Lock()


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200].rstrip(".")
