"""Frames that lie uncompressed at computed places in a file, read with ``pread``.

Never through a memory map: one of a 20 GB scan grows to 18.5 GB of resident memory, and a file
that is truncated under a map kills the process.
"""

from __future__ import annotations

import errno
import math
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tiled_spyde.errors import SourceError
from tiled_spyde.slices import shape_of
from tiled_spyde.sources import remembered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region, SignalInfo
    from tiled_spyde.sources.files import File


# A part of a frame takes no more memory than this on the way, whatever lies between its rows.
_SPAN = 16 * 2**20
# What lies between two parts that are wanted is read too up to so many bytes: one more read takes longer.
_BETWEEN = 64 << 10
# Copying more than this takes too long for those who may not be held up.
AT_ONCE = 1 << 20
# Of each signal so many frames are known to have been asked for lately.
_LATELY = 256
_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file the frames of a signal lie, one after the other in array order.

    Parameters
    ----------
    offset : int
        Of the first pixel of the first frame, in bytes.
    dtype : numpy.dtype
        As stored, byte order included.
    frames, pixels : int
        Number of frames that the file claims, and of pixels in one. Without gaps their product
        alone counts.
    gap : int
        Bytes between two frames: a header for each.
    flipped : bool
        The first signal axis is stored from its last index to its first.
    """

    offset: int
    dtype: np.dtype[Any]
    frames: int
    pixels: int
    gap: int = 0
    flipped: bool = False

    def holds(self, info: SignalInfo) -> bool:
        """Whether frames as `info` declares them can lie here."""
        if self.dtype.newbyteorder("=") != info.dtype:
            return False
        if self.gap or self.flipped:
            frames, pixels = math.prod(info.navigation_shape), math.prod(info.signal_shape)
            return pixels == self.pixels and frames <= self.frames
        return math.prod(info.shape) == self.frames * self.pixels


class RawFrames:
    """Reads frames from a `Place`. It opens the file for each read, so it holds and locks nothing.

    Parameters
    ----------
    file : File
        The file with the frames.
    place : Place
        Where they are.
    info : SignalInfo
        What they are; its axes are in the order of the file.
    """

    def __init__(self, file: File, place: Place, info: SignalInfo) -> None:
        self._file = file
        self._place = place
        self._info = info
        self._navigation_shape = info.navigation_shape
        self._frame_shape = info.signal_shape
        self._signal_shape = self._frame_shape or (1,)
        self._all_rows = slice(0, self._signal_shape[0], 1)
        self._row = math.prod(self._signal_shape[1:]) * info.dtype.itemsize
        self._pitch = info.frame_bytes + place.gap
        self._is_native = place.dtype == info.dtype and not place.flipped  # nothing to do but to read
        self._prompt: bool | None = None  # nobody has asked yet
        self._lately: OrderedDict[Index, None] = OrderedDict()  # whole frames that were given at once

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return ``frame[region]`` at `index`; see `tiled_spyde.signals.FrameReader`."""
        if self._prompt is None:
            self._prompt = self._file.is_prompt()
        wanted = range(self._signal_shape[0])[region[0]] if region else range(self._signal_shape[0])
        together = max(1, _SPAN // max(1, self._row * wanted.step))
        if len(wanted) <= together:
            return self._rows(index, region)
        groups = (wanted[at : at + together] for at in range(0, len(wanted), together))
        rest = region[1:] or (slice(None),) * (len(self._signal_shape) - 1)
        parts = [self._rows(index, (slice(g[0], g[-1] + 1, g.step), *rest)) for g in groups]
        return np.concatenate(parts)

    def read_at_once(self, index: Index, region: Region = ()) -> NDArray[Any] | None:
        """Return what `read` does if it is in memory already; see `tiled_spyde.signals.PromptReader`.

        Never before anything was read: only then is it known whether opening the file may take long.
        """
        if not self._prompt:
            return None
        return self._now(index, region) if region else self._whole_now(index)

    def _whole_now(self, index: Index) -> NDArray[Any] | None:
        """Return a frame, which is remembered once it was asked for again: several people look at it."""
        held: NDArray[Any] | None = remembered.DECODED.peek((self, index))
        if held is not None:
            self._file.check()
            return held
        frame = self._now(index, ())
        if frame is not None and self._again(index):
            remembered.DECODED.put((self, index), frame)
        return frame

    def _again(self, index: Index) -> bool:
        """Say whether somebody asked for a frame lately, and note that somebody does now."""
        if index in self._lately:
            return True
        self._lately[index] = None
        if len(self._lately) > _LATELY:
            self._lately.popitem(last=False)
        return False

    def _now(self, index: Index, region: Region) -> NDArray[Any] | None:
        rows = self._stored_rows(region) if region else self._all_rows
        if (rows.stop - rows.start) * self._row > AT_ONCE:
            return None
        try:
            return self._rows(index, region, _NO_WAIT)
        except OSError as error:
            # Some file systems (of memory, of networks) cannot say whether they would wait.
            self._prompt = error.errno == errno.EAGAIN
            return None

    def read_region(self, positions: Region, region: Region = ()) -> NDArray[Any]:
        """Return many frames at once; see `tiled_spyde.signals.RegionReader`."""
        within(positions, self._navigation_shape)
        frame = shape_of(region) if region else self._info.signal_shape
        read = np.empty(shape_of(positions) + frame, self._info.dtype)
        if not positions:
            read[...] = self.read((), region)
            return read
        *outer, last = positions
        for at in np.ndindex(*read.shape[: len(outer)]):
            line = tuple(cut.start + i * cut.step for cut, i in zip(outer, at, strict=True))
            self._line(line, range(last.start, last.stop, last.step), region, read[(*at, ...)])
        return read

    def _line(self, line: Index, wanted: range, region: Region, read: NDArray[Any]) -> None:
        """Fill `read` with the frames at `wanted` of one line of the scan: of small ones, many with one read."""
        rows = self._stored_rows(region)
        if self._pitch * wanted.step - (rows.stop - rows.start) * self._row > _BETWEEN:
            self._one_by_one(line, wanted, region, read)
            return
        together = max(1, _SPAN // (self._pitch * wanted.step))
        as_stored = not (self._place.gap or self._place.flipped) and self._place.dtype == self._info.dtype
        whole = read.shape[1:] == self._info.signal_shape
        for at in range(0, len(wanted), together):
            group = wanted[at : at + together]
            if as_stored and whole and group.step == 1:
                self._fill(read[at : at + together], self._start((*line, group[0])), (*line, group[0]))
            else:
                read[at : at + together] = self._frames(line, group, region)

    def _one_by_one(self, line: Index, wanted: range, region: Region, read: NDArray[Any]) -> None:
        for at, i in enumerate(wanted):
            read[at] = self.read((*line, i), region)

    def _frames(self, line: Index, wanted: range, region: Region) -> NDArray[Any]:
        count = wanted[-1] - wanted[0] + 1
        stored = np.empty(count * self._pitch - self._place.gap, np.uint8)
        first = (*line, wanted[0])
        self._fill(stored, self._start(first), first)
        apart = as_strided(stored, (count, self._info.frame_bytes), (self._pitch, 1))[:: wanted.step]
        frames = np.ascontiguousarray(apart).view(self._place.dtype)
        frames = frames.reshape(len(wanted), *self._signal_shape)
        if self._place.flipped:
            frames = frames[:, ::-1]
        part: NDArray[Any] = frames[(slice(None), *region)] if self._info.signal_shape else frames[:, 0]
        return part

    def _rows(self, index: Index, region: Region, flags: int = 0) -> NDArray[Any]:
        if not region and self._is_native:
            frame = np.empty(self._frame_shape, self._place.dtype)
            self._fill(frame, self._start(index), index, flags)
            return frame
        rows = self._stored_rows(region)
        block = np.empty((rows.stop - rows.start, *self._signal_shape[1:]), self._place.dtype)
        self._fill(block, self._start(index) + rows.start * self._row, index, flags)
        if self._place.flipped:
            block = block[::-1]
        part = block[(slice(None, None, rows.step), *region[1:])]
        if not self._info.signal_shape:
            part = part.reshape(())
        return np.array(part, self._info.dtype, order="C", copy=None)

    def _start(self, index: Index) -> int:
        """Return where in the file the frame at `index` begins."""
        return self._place.offset + linear(index, self._navigation_shape) * self._pitch

    def _stored_rows(self, region: Region) -> slice:
        """Return the rows to read: from the first to behind the last as stored, and the step."""
        size = self._signal_shape[0]
        wanted = range(size)[region[0]] if region else range(size)
        if not wanted:
            return slice(0, 0, 1)
        first, last = wanted[0], wanted[-1]
        if self._place.flipped:
            first, last = size - 1 - last, size - 1 - first
        return slice(first, last + 1, wanted.step)

    def _fill(self, block: NDArray[Any], start: int, index: Index, flags: int = 0) -> None:
        wanted = block.reshape(-1).view(np.uint8).data
        try:
            got = self._file.read_into(wanted, start, flags)
        except OSError as error:
            if flags:
                raise
            raise SourceError(
                f"Cannot read frame {index} of {self._file.name} at byte {start}: {error.strerror}."
            ) from error
        if got < len(wanted):
            raise self._truncated(start + got, index)

    def _truncated(self, missing: int, _: Index) -> SourceError:
        """Return the error that names the frame with the byte `missing`, which the file does not have."""
        number = (missing - self._place.offset) // self._pitch
        index = tuple(map(int, np.unravel_index(number, self._navigation_shape)))
        end = self._place.offset + number * self._pitch + self._info.frame_bytes
        return SourceError(
            f"{self._file.name} is truncated: frame {index} ends at byte {end}, the file at {self._file.size}. "
            "Copy it again, or crop to the frames that are there."
        )


def linear(index: Index, shape: tuple[int, ...]) -> int:
    """Return the number of the frame at `index` of a scan of `shape`, in array order.

    Raises
    ------
    IndexError
        There is no such position.
    """
    number, inside = 0, len(index) == len(shape)
    for i, size in zip(index, shape, strict=False):
        inside = inside and 0 <= i < size
        number = number * size + i
    if not inside:
        raise IndexError(f"No position {index} in a scan of shape {shape}")
    return number


def within(positions: Region, shape: tuple[int, ...]) -> None:
    """Raise IndexError unless `positions` are slices with explicit bounds within a scan of `shape`."""
    fits = len(positions) == len(shape) and all(
        cut.start is not None and 0 <= cut.start < cut.stop <= size and (cut.step or 0) > 0
        for cut, size in zip(positions, shape, strict=True)
    )
    if not fits:
        raise IndexError(f"No positions {positions} in a scan of shape {shape}")
