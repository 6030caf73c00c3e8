"""Frames of HDF5 datasets: read and unpacked outside of h5py's one lock where it is known how they are stored."""

from __future__ import annotations

import logging
import math
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.arrays import ArrayFrames
from tiled_spyde.sources.hdf5 import is_plain, opened
from tiled_spyde.sources.raw import Place, RawFrames, linear
from tiled_spyde.sources.remembered import Layout, assembled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region, SignalInfo
    from tiled_spyde.sources.files import File
    from tiled_spyde.sources.remembered import Numbers, Selection

logger = logging.getLogger(__name__)

_OPEN = 8  # files kept open at a time: bounds memory and descriptors for folders of thousands
_MOST_CHUNKS = 1 << 18  # whose places are remembered (3 MB); of more, h5py looks for each anew
_ABSENT = -(1 << 62)  # also with the bytes within a frame added
_DEFLATE, _SHUFFLE, _BLOSC = 1, 2, 32001  # filters as HDF5 numbers them
_ONE_BY_ONE = 4096  # bytes of a frame from which on frames are read one by one


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the chunks of an HDF5 dataset lie in its file, and what was done to them.

    Parameters
    ----------
    file : File
    array, shape : tuple of int
        Shapes of the whole and of a chunk.
    dtype : numpy.dtype
        As stored.
    offsets, lengths : numpy.ndarray
        In bytes, for each chunk; the offset of one that was never written is negative.
    skipped : dict
        For chunks that some filters were not applied to: a bit for each of those.
    filters : tuple of (int, int)
        In the order in which they were applied: number, and bytes of an element.
    fill : numpy.ndarray
        One value, of chunks that were never written.
    """

    file: File
    array: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offsets: NDArray[Any]
    lengths: NDArray[Any]
    skipped: dict[Numbers, int]
    filters: tuple[tuple[int, int], ...]
    fill: NDArray[Any]

    def decoded(self, numbers: Numbers) -> NDArray[Any]:
        """Return the chunk with these numbers, whole also at the edges of the array.

        Raises
        ------
        SourceChanged, OSError
        Exception
            Whatever a decoder raises: it is damaged, or was written in a way that is not known here.
        """
        if (offset := int(self.offsets[numbers])) == _ABSENT:
            self.file.check()
            return np.full(self.shape, self.fill, self.dtype)
        size = math.prod(self.shape) * self.dtype.itemsize
        length = int(self.lengths[numbers])
        if length > 2 * size + 4096:
            raise ValueError("a chunk that is packed into more than it holds")
        packed = np.empty(length, np.uint8)
        if self.file.read_into(packed.data, offset) < length:
            raise ValueError("a chunk beyond the end of the file")
        data = self._unpacked(packed, size, self.skipped.get(numbers, 0))
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def may_be_unknown(self, numbers: Numbers) -> bool:
        """Whether HDF5 may read the chunk where `decoded` fails: it knows more of Blosc, and of chunks at the edge."""
        ends = ((n + 1) * one for n, one in zip(numbers, self.shape, strict=True))
        at_edge = any(end > size for end, size in zip(ends, self.array, strict=True))
        return at_edge or any(kind == _BLOSC for kind, _ in self.filters)

    def _unpacked(self, data: Any, size: int, skipped: int) -> Any:
        for number in reversed(range(len(self.filters))):
            if not skipped >> number & 1:
                kind, element = self.filters[number]
                data = _unfiltered(kind, element, data, size)
        return data


class _DamagedError(Exception):
    """Whatever HDF5 makes of this chunk is not what was written."""


def _unfiltered(kind: int, element: int, data: Any, size: int) -> Any:
    """Undo one filter on a chunk of `size` bytes; raises whatever where it cannot have been applied to one."""
    if kind == _DEFLATE:
        stream = zlib.decompressobj()
        data = stream.decompress(data, size + 1)
        if not stream.eof:
            raise ValueError("a chunk that holds more than it should, or is cut off")
        return data
    made = np.empty(size, np.uint8)
    if kind == _SHUFFLE:
        packed, whole = np.frombuffer(data, np.uint8), size - size % element
        for at, plane in enumerate(packed[:whole].reshape(element, -1)):
            made[at:whole:element] = plane  # six times as fast as transposing
        made[whole:] = packed[whole:]
        return made
    from numcodecs import blosc

    # Its decoder goes by what the frame says of its own sizes, and leaves the rest of `made` as it is; so does HDF5's.
    holds, packed_size = (int.from_bytes(bytes(data[at : at + 4]), "little") for at in (4, 12))
    if len(data) < 16 or packed_size != len(data):
        raise ValueError("a Blosc frame that is cut off")
    if holds != size:
        raise _DamagedError(f"a chunk that holds {holds} bytes instead of {size}")
    blosc.decompress(data, made)
    return made


def stored(file: File, dataset: Any) -> Stored | None:
    """Return how the chunks of `dataset` are stored in `file`; None where only h5py can read them."""
    if dataset.chunks is None or not is_plain(dataset) or dataset.file.filename != str(file.path):
        return None
    layout = Layout.even(dataset.shape, dataset.chunks, dataset.dtype)
    counts = tuple(len(edges) - 1 for edges in layout.edges)
    filters = _filters(dataset)
    if filters is None or math.prod(counts) > _MOST_CHUNKS:
        return None
    if filters and filters[-1][0] == _SHUFFLE and any(map(int.__mod__, dataset.shape, dataset.chunks)):
        return None  # chunks at the edge may have been left as they are, and nothing would tell
    offsets, lengths = np.full(counts, _ABSENT, np.int64), np.zeros(counts, np.uint32)
    skipped: dict[Numbers, int] = {}

    def note(chunk: Any) -> None:
        numbers = tuple(at // one for at, one in zip(chunk.chunk_offset, dataset.chunks, strict=True))
        offsets[numbers], lengths[numbers] = chunk.byte_offset, chunk.size
        if chunk.filter_mask:
            skipped[numbers] = chunk.filter_mask

    dataset.id.chunk_iter(note)
    fill = np.array(dataset.fillvalue, dataset.dtype)
    return Stored(
        file, dataset.shape, dataset.chunks, dataset.dtype, offsets, lengths, skipped, filters, fill
    )


def _filters(dataset: Any) -> tuple[tuple[int, int], ...] | None:
    """Return the filters of `dataset` if all are known here."""
    created = dataset.id.get_create_plist()
    found = []
    for number in range(created.get_nfilters()):
        kind, _, values, _ = created.get_filter(number)
        if kind not in (_DEFLATE, _SHUFFLE, _BLOSC):
            return None
        if kind == _SHUFFLE and values[:1] != (dataset.dtype.itemsize,):
            return None
        found.append((kind, dataset.dtype.itemsize))
    return tuple(found)


class _InChunks(RawFrames):
    """Frames that lie as they are in the chunks of a dataset: each within one of them."""

    def __init__(self, chunks: Stored, info: SignalInfo) -> None:
        place = Place(0, chunks.dtype, math.prod(info.navigation_shape), math.prod(info.signal_shape))
        super().__init__(chunks.file, place, info)
        self._chunks = chunks
        self._scan = chunks.shape[: len(info.navigation_shape)]
        self._rest = (0,) * len(info.signal_shape)
        self._fill_value = chunks.fill.astype(info.dtype)
        alone = set(self._scan) <= {1} and chunks.shape[len(self._scan) :] == info.signal_shape
        # By the number of the frame, where each has a chunk of its own.
        self._one_each = chunks.offsets.ravel() if alone else None

    def _start(self, index: Index) -> int:
        number = linear(index, self._navigation_shape)
        if self._one_each is not None:
            return int(self._one_each[number])
        numbers = tuple(i // one for i, one in zip(index, self._scan, strict=True)) + self._rest
        if (offset := int(self._chunks.offsets[numbers])) == _ABSENT:
            return _ABSENT
        within = 0
        for i, one in zip(index, self._scan, strict=True):
            within = within * one + i % one
        return offset + within * self._pitch

    def _line(self, line: Index, wanted: range, region: Region, read: NDArray[Any]) -> None:
        self._one_by_one(line, wanted, region, read)  # what lies between two frames is not known

    def _fill(self, block: NDArray[Any], start: int, index: Index, flags: int = 0) -> None:
        if start < 0:
            self._file.check()
            block[...] = self._fill_value
        else:
            super()._fill(block, start, index, flags)

    def _truncated(self, missing: int, index: Index) -> SourceError:
        return SourceError(
            f"{self._file.name} is truncated: frame {index} has a byte {missing}, the file ends at "
            f"{self._file.size}. Copy it again."
        )


class Hdf5Frames(ArrayFrames):
    """Frames of an HDF5 dataset; `array` is its name.

    What is read is read with ``pread``, since h5py lets one thread at a time do anything. h5py is asked once
    where the chunks lie, and for all that is stored in ways that are not known here.
    """

    _looked = False
    _stored: Stored | None = None
    _in_chunks: _InChunks | None = None

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return ``frame[region]`` at `index`; see `tiled_spyde.signals.FrameReader`."""
        if not self._looked:
            self._check()
            self._look()
        if self._in_chunks is None or len(self._files) > 1:
            return super().read(index, region)
        return self._in_chunks.read(index, region)

    def read_at_once(self, index: Index, region: Region = ()) -> NDArray[Any] | None:
        """Return what `read` does if it is at hand; see `tiled_spyde.signals.PromptReader`."""
        if self._in_chunks is None or len(self._files) > 1:
            return super().read_at_once(index, region)
        return self._in_chunks.read_at_once(index, region)

    def read_region(self, positions: Region, region: Region = ()) -> NDArray[Any]:
        """Return many frames at once; see `tiled_spyde.signals.RegionReader`."""
        if self._in_chunks is None or len(self._files) > 1 or self._info.frame_bytes < _ONE_BY_ONE:
            return super().read_region(positions, region)
        return self._in_chunks.read_region(positions, region)

    def _slice(self, selection: Selection) -> Any:
        if not self._looked:
            self._look()
        if self._layout is None or not self._layout.fits():
            return _datasets.get(self._files, self._array)[selection]
        return assembled(self._key, self._layout, selection, self._decoded)

    def _decoded(self, numbers: Numbers) -> NDArray[Any]:
        layout: Any = self._layout
        if self._stored is not None:
            try:
                return self._stored.decoded(numbers)
            except (SourceError, _DamagedError):
                raise
            except Exception as error:
                # HDF5 does not notice where a chunk unpacks to more or less than it should be.
                if not self._stored.may_be_unknown(numbers):
                    raise
                logger.debug("%s, chunk %s: %s", self._files[0].name, numbers, error)
        part: NDArray[Any] = _datasets.get(self._files, self._array)[layout.chunk(numbers)]
        return part

    def _look(self) -> None:
        """See how the dataset is stored."""
        dataset = _datasets.get(self._files, self._array)
        known = stored(self._files[0], dataset)
        if known is not None and not known.filters and self._is_by_frame(known):
            self._in_chunks = _InChunks(known, self._info)
        if dataset.chunks is not None:
            self._layout = Layout.even(dataset.shape, dataset.chunks, dataset.dtype)
        self._stored = known
        self._looked = True

    def _is_by_frame(self, known: Stored) -> bool:
        """Whether each frame lies within a chunk as in an array of its own."""
        axes = len(self._info.navigation_axes)
        in_order = self._navigate == (True,) * axes + (False,) * len(self._info.signal_axes)
        return (
            in_order
            and known.shape[axes:] == self._info.signal_shape
            and known.dtype.newbyteorder("=") == self._info.dtype
        )


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
            # Chunks are remembered by us, so that HDF5 need not hold them too.
            file = opened(files[0].path, rdcc_nbytes=0)
            self._held[key] = (files, file, file[name])
            while len(self._held) > _OPEN:
                self._held.popitem(last=False)
            return self._held[key][2]


_datasets = _Datasets()
