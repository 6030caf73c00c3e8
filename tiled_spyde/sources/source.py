"""What is remembered of a source, so that it is listed and described without being opened."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceChanged, SourceError
from tiled_spyde.signals import SignalInfo
from tiled_spyde.sources.files import File, digest
from tiled_spyde.sources.opening import open_source
from tiled_spyde.sources.root import Root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region


@dataclass(frozen=True)
class Signal:
    """One signal of a source: what `Root` has, without the means to read it."""

    name: str
    title: str
    info: SignalInfo
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A file, or the files that belong together, as they were when they were looked at.

    Parameters
    ----------
    path : pathlib.Path
        Absolute path of the file that was opened.
    files : tuple of File
        All files that were read; empty where it could not be opened.
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
    def at(cls, path: Path) -> Source:
        """Open what is at `path`, and return what is to be remembered of it; also that it cannot be opened."""
        try:
            roots = open_source(path)
            files = tuple({file.path: file for root in roots for file in root.files}.values())
            signals = tuple(Signal(root.name, root.title, root.info, root.metadata) for root in roots)
            return cls(path, files, digest(files), signals)
        except SourceError as error:
            return cls(path, error=str(error))

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
            Signal(**{**signal, "info": SignalInfo.from_json(signal["info"])})
            for signal in described["signals"]
        )
        return cls(Path(described["path"]), files, described["fingerprint"], signals, described["error"])


class _Later:
    """Opens a source once, when it is needed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._opened: tuple[Root, ...] | None = None
        self._lock = Lock()

    def root(self, number: int) -> Root:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
        return self._opened[number]

    def _open(self) -> tuple[Root, ...]:
        for file in self._source.files:
            file.check()
        opened = open_source(self._source.path)
        if [(root.name, root.info) for root in opened] != [(s.name, s.info) for s in self._source.signals]:
            raise SourceChanged(f"{self._source.path.name} is not what it was. Look at it again.")
        for file in self._source.files:
            file.check()
        return opened


class _FramesLater:
    """Frames of one signal of a source that may not be open yet."""

    def __init__(self, later: _Later, number: int) -> None:
        self._later = later
        self._number = number

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return ``frame[region]`` at `index`; see `tiled_spyde.signals.FrameReader`."""
        return self._later.root(self._number).reader.read(index, region)

    def read_region(self, positions: Region, region: Region = ()) -> NDArray[Any]:
        """Return many frames at once; see `tiled_spyde.signals.RegionReader`."""
        return self._later.root(self._number).reader.read_region(positions, region)
