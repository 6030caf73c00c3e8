"""Frames of arrays that a library reads: zarr arrays, TIFF pages; for HDF5 datasets see `chunks`."""

from __future__ import annotations

import math
import threading
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import store
from tiled_spyde.sources.quiet import silence_readers
from tiled_spyde.sources.raw import AT_ONCE, linear, within
from tiled_spyde.sources.remembered import Layout, assembled, assembled_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region, SignalInfo
    from tiled_spyde.sources.files import File
    from tiled_spyde.sources.remembered import Selection

_OPEN = 8  # files kept open at a time: bounds memory and descriptors for folders of thousands
_FEW_FILES = 16  # so many can be looked at without taking time


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
        self._navigate = tuple(navigate)
        self._info = info
        self._layout: Layout | None = None  # of the chunks that are remembered, once it is known
        self._prompt: bool | None = None  # whether looking for changes takes no time; once it is known

    @cached_property
    def _key(self) -> tuple[str, str]:
        """What chunks are remembered by: short, for it is hashed for each frame."""
        said = repr((type(self).__name__, self._files, self._array)).encode()
        return "chunk", blake2b(said, digest_size=16).hexdigest()

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return ``frame[region]`` at `index`; see `tiled_spyde.signals.FrameReader`."""
        linear(index, self._info.navigation_shape)
        return self._checked(index, region, f"frame {index}")

    def read_at_once(self, index: Index, region: Region = ()) -> NDArray[Any] | None:
        """Return what `read` does if it is decoded already; see `tiled_spyde.signals.PromptReader`."""
        shape = [len(range(cut.start, cut.stop, cut.step)) for cut in region] or self._info.signal_shape
        if (
            not self._prompt
            or len(self._files) > _FEW_FILES
            or math.prod(shape) * self._info.dtype.itemsize > AT_ONCE
        ):
            return None
        part = self._part(index, region, self._peek)
        if part is None:
            return None
        self._check()
        return np.array(part, self._info.dtype, order="C")

    def read_region(self, positions: Region, region: Region = ()) -> NDArray[Any]:
        """Return many frames at once; see `tiled_spyde.signals.RegionReader`."""
        within(positions, self._info.navigation_shape)
        said = ", ".join(f"{cut.start}:{cut.stop}" for cut in positions)
        return self._checked(positions, region, f"frames ({said})")

    def _checked(self, at: Index | Region, region: Region, what: str) -> NDArray[Any]:
        self._check()
        if self._prompt is None:
            self._prompt = all(file.folder or file.is_prompt() for file in self._files[:_FEW_FILES])
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
        # What is put together for this call is nobody else's; many MB where it is a part of a scan.
        shared = getattr(part, "base", self) is not None
        return np.array(part, self._info.dtype, order="C", copy=True if shared else None)

    def _check(self) -> None:
        for file in self._files:
            file.check()

    def _part(
        self, at: Index | Region, region: Region, take: Callable[[Selection], Any] | None = None
    ) -> Any:
        """Return what is at a position, or at several: then their axes come first."""
        signal = iter(region or [slice(0, size, 1) for size in self._info.signal_shape])
        navigation: Iterator[int | slice] = iter(at)
        part = (take or self._slice)(
            tuple(next(navigation) if navigate else next(signal) for navigate in self._navigate)
        )
        if part is None or len(part.shape) < len(self._navigate):  # one frame: no navigation axis is left
            return part
        order = sorted(range(part.ndim), key=lambda axis: not self._navigate[axis])
        return part if order == list(range(part.ndim)) else part.transpose(order)

    def _slice(self, selection: Selection) -> Any:
        raise NotImplementedError

    def _peek(self, selection: Selection) -> Any:
        """Return what `_slice` does if it is remembered, else None."""
        return None if self._layout is None else assembled_at_once(self._key, self._layout, selection)


class ZarrFrames(ArrayFrames):
    """Frames of an array of a zarr store; `array` is the store's path, its name in it, and what it may lead to."""

    def _slice(self, selection: Selection) -> Any:
        array = store.array(self._files, *self._array)
        layout = Layout.even(array.shape, array.chunks, array.dtype)
        if not layout.fits():
            return array[selection]
        self._layout = layout
        return assembled(self._key, layout, selection, lambda numbers: array[layout.chunk(numbers)])


class TiffFrames(ArrayFrames):
    """Frames that are the pages of a series of a TIFF file; `array` is the number of the series."""

    def _part(self, at: Index | Region, region: Region, take: Any = None) -> Any:
        if take is not None:
            return None  # pages are decoded, not remembered
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
