"""What is remembered of a source, so that it is listed and described without being opened."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import ref

from tiled_spyde.errors import SourceChanged, SourceError
from tiled_spyde.labels import plain_text
from tiled_spyde.signals import SignalInfo
from tiled_spyde.sources.files import File, digest
from tiled_spyde.sources.opening import open_source
from tiled_spyde.sources.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region

_MOST_OPEN = 64  # sources at a time: descriptors and memory
_HASH = 32  # characters of a fingerprint that follow from the files alone


@dataclass(frozen=True)
class Signal:
    """One signal of a source: what `Root` has, without the means to read it."""

    name: str
    title: str
    info: SignalInfo
    metadata: dict[str, Any]
    together: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """A file, or the files that belong together, as they were when they were looked at.

    Parameters
    ----------
    path : pathlib.Path
        Absolute path of the file that was opened.
    files : tuple of File
        All files that belong to it, also where it could not be opened: while they are the same, there is
        nothing new to see. Empty where another look may find more.
    fingerprint : str
        Of `files`.
    signals : tuple of Signal
        What is in them.
    error : str or None
        Why it cannot be opened; for people.
    """

    path: Path
    files: tuple[File, ...] = ()
    fingerprint: str = ""
    signals: tuple[Signal, ...] = ()
    error: str | None = None

    @classmethod
    def at(cls, path: Path, members: Iterable[Path] = (), served: Sequence[Path] = ()) -> Source:
        """Open what is at `path`, and return what is to be remembered of it; also that it cannot be opened.

        Parameters
        ----------
        path : pathlib.Path
            A data file or a ``.zspy`` folder.
        members : iterable of pathlib.Path
            Files beside it that belong to it, whether its reader says so or not.
        served : sequence of pathlib.Path
            As for `open_source`.
        """
        members = set(members)
        before = _present((path, *sorted(members)), path.parent)
        try:
            roots = open_source(path, served)
            opened = {file.path: file for root in roots for file in root.files}
            beside = {f.path: f for f in before if f.path in members and f.path not in opened}
            files = tuple((opened | beside).values())
            signals = tuple(
                Signal(root.name, root.title, root.info, root.metadata, root.together) for root in roots
            )
            return cls(path, files, digest(files), signals)
        except SourceError as error:
            return cls(path, before, error=str(error))

    @classmethod
    def failed(cls, path: Path, why: str, members: Sequence[Path] | None = None) -> Source:
        """Return a source that cannot be opened, with the files it should be made of.

        Without `members` none are remembered, so that it will be looked at again.
        """
        files = () if members is None else _present((path, *members), path.parent)
        return cls(path, files, error=f"Cannot open {plain_text(path.name)}: {why}")

    def following(self, before: Source | None) -> Source:
        """Return this source with a fingerprint that `before`, at the same path, has not had.

        Samples do not see every change. A file that was written to since is another one: numbers that were
        computed from it before must not be taken for its own.
        """
        if before is None or not self.fingerprint or self.fingerprint != before.fingerprint[:_HASH]:
            return self
        written = {file.path: file.mtime_ns for file in before.files}
        times = [file.mtime_ns for file in self.files]
        if times == [written.get(file.path) for file in self.files]:
            return replace(self, fingerprint=before.fingerprint)
        mark = blake2b(repr((before.fingerprint, times)).encode(), digest_size=4).hexdigest()
        return replace(self, fingerprint=f"{self.fingerprint}+{mark}")

    @cached_property
    def roots(self) -> tuple[Root, ...]:
        """Signals as roots that open the source when a frame is asked for."""
        later = _Later(self)
        return tuple(
            Root(
                signal.name,
                signal.title,
                signal.info,
                _FramesLater(later, number),
                signal.metadata,
                self.files,
                lambda number=number: later.root(number).lazy_array(),  # type: ignore[misc]
                self.fingerprint,
                signal.together,
            )
            for number, signal in enumerate(self.signals)
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        signals = [asdict(replace(s, info=None)) | {"info": s.info.to_json()} for s in self.signals]  # type: ignore[arg-type]
        files = [asdict(file) | {"path": str(file.path)} for file in self.files]
        return {
            "path": str(self.path),
            "files": files,
            "fingerprint": self.fingerprint,
            "signals": signals,
            "error": self.error,
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Source:
        """Return the source that `to_json` described."""
        files = tuple(File(**{**file, "path": Path(file["path"])}) for file in described["files"])
        signals = tuple(
            Signal(
                **{
                    **signal,
                    "info": SignalInfo.from_json(signal["info"]),
                    "together": tuple(signal.get("together", ())),
                }
            )
            for signal in described["signals"]
        )
        return cls(Path(described["path"]), files, described["fingerprint"], signals, described["error"])


def _present(paths: Iterable[Path], folder: Path) -> tuple[File, ...]:
    files = []
    for path in dict.fromkeys(paths):
        with suppress(SourceError):
            files.append(File.at(path, folder))
    return tuple(files)


def _paths(source: Source) -> list[Path]:
    return [file.path for file in source.files]


class _Later:
    """Opens a source when it is needed: once for all who ask, and others at the same time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._opened: tuple[Root, ...] | None = None
        self._lock = Lock()
        self._self = ref(self)

    def open_root(self, number: int) -> Root | None:
        """Return a root if the source is open."""
        if (opened := self._opened) is None:
            return None
        _note_used(self._self)
        return opened[number]

    def root(self, number: int) -> Root:
        opened = self._opened or self._open_once()
        _note_used(self._self)
        return opened[number]

    def _open_once(self) -> tuple[Root, ...]:
        with self._lock:
            if (opened := self._opened) is None:
                opened = self._opened = self._open()
                _note_opened(self._self)
        return opened

    def close(self) -> None:
        """Let go of the open files; who reads from them still may."""
        self._opened = None

    def _open(self) -> tuple[Root, ...]:
        for file in self._source.files:
            file.check()
        # No other files than those that were opened, within what was served, when it was looked at.
        opened = open_source(self._source.path, [self._source.path, *(f.path for f in self._source.files)])
        if [(root.name, root.info) for root in opened] != [(s.name, s.info) for s in self._source.signals]:
            raise SourceChanged(f"{self._source.path.name} is not what it was. Look at it again.")
        for file in self._source.files:
            file.check()
        return opened


# The sources that are open, the one read last at the end. Weak: that a source was read is no reason to keep it
# when nobody serves it any more.
_open_sources: OrderedDict[ref[_Later], None] = OrderedDict()
_open_lock = Lock()
_last_used: list[ref[_Later] | None] = [None]


def _note_used(later: ref[_Later]) -> None:
    if _last_used[0] is later:  # as nearly always: the lock is not worth it
        return
    _last_used[0] = later
    with _open_lock:
        if later in _open_sources:
            _open_sources.move_to_end(later)


def _note_opened(later: ref[_Later]) -> None:
    """Close those that were not read for longest when there are too many."""
    with _open_lock:
        _open_sources[later] = None
        _open_sources.move_to_end(later)
        while len(_open_sources) > _MOST_OPEN:
            oldest, _ = _open_sources.popitem(last=False)
            if (unused := oldest()) is not None:
                unused.close()


class _FramesLater:
    """Frames of one signal of a source that may not be open yet."""

    def __init__(self, later: _Later, number: int) -> None:
        self._later = later
        self._number = number

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return ``frame[region]`` at `index`; see `tiled_spyde.signals.FrameReader`."""
        return self._later.root(self._number).reader.read(index, region)

    def read_at_once(self, index: Index, region: Region = ()) -> NDArray[Any] | None:
        """Return what is at hand of a source that is open; see `tiled_spyde.signals.PromptReader`."""
        root = self._later.open_root(self._number)
        return None if root is None else root.reader.read_at_once(index, region)  # type: ignore[attr-defined]

    def read_region(self, positions: Region, region: Region = ()) -> NDArray[Any]:
        """Return many frames at once; see `tiled_spyde.signals.RegionReader`."""
        return self._later.root(self._number).reader.read_region(positions, region)
