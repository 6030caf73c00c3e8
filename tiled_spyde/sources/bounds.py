"""Which files a reader may open: no header leads it out of the served folders, and it writes nowhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.labels import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_here = threading.local()  # what looks at the files that this thread opens
_OF_THE_SYSTEM = (
    "/dev/null",
    "/dev/urandom",
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/proc/cpuinfo",
    "/sys/devices/system",
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Bounds:
    """Folders that a source may be read from.

    Readers of many formats open what a header names. Rather than to know where each format may
    name a file, every opening of a file in this thread is looked at (`kept`).

    Parameters
    ----------
    folders : iterable of pathlib.Path
        Folders, or files.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(Path(os.path.realpath(folder)) for folder in folders)

    def __hash__(self) -> int:
        return hash(self._folders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bounds) and other._folders == self._folders

    def allow(self, path: Path) -> bool:
        """Whether `path`, all links followed, lies in one of the folders."""
        found = Path(os.path.realpath(path))
        return any(found.is_relative_to(folder) for folder in self._folders)

    def require(self, path: Path) -> None:
        """Raise SourceError unless `path` may be read."""
        if not self.allow(path):
            raise SourceError(_outside(path))

    @contextlib.contextmanager
    def kept(self) -> Iterator[list[Path]]:
        """Refuse, while in this context, to open other files, or any for writing.

        Yields
        ------
        list of pathlib.Path
            The files in the folders that have been opened.

        Raises
        ------
        SourceError
            On leaving, also where the reader itself went on without the file.
        """
        before = getattr(_here, "watch", None)
        _here.watch = watch = _Watch(self)
        try:
            yield watch.opened
        except Exception as error:
            if watch.refused:
                raise SourceError(watch.refused) from error
            raise
        finally:
            _here.watch = before
        if watch.refused:
            raise SourceError(watch.refused)


class _Watch:
    """Looks at the files that are opened in one context of one thread."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.opened: list[Path] = []
        self.refused = ""

    def opens(self, name: Any, mode: str | None, flags: int) -> None:
        if isinstance(name, int):  # a descriptor: it was opened before
            return
        path = Path(os.path.abspath(os.fsdecode(name)))
        writes = any(letter in (mode or "") for letter in "wax+") or flags & _WRITES
        if not writes and self._bounds.allow(path):
            if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would wait for ever
                self.refused = (
                    f"it leads to {plain_text(path.name)!r}, which is no regular file. Remove that."
                )
                raise PermissionError(self.refused)
            if path not in self.opened:
                self.opened.append(path)
        elif not _of_the_installation(path):
            self.refused = (
                f"its reader would write {plain_text(path.name)!r}. Report this."
                if writes
                else _outside(path)
            )
            raise PermissionError(self.refused)


def _outside(path: Path) -> str:
    return f"it leads to {plain_text(path.name)!r} outside the served folders. Copy that beside it."


def _of_the_installation(path: Path) -> bool:
    """Whether `path` belongs to Python's packages or the system's facts, or is being imported."""
    found = Path(os.path.realpath(path))
    if any(found.is_relative_to(folder) for folder in _installation()):
        return True
    if found.parent.suffix in {".dist-info", ".egg-info"}:  # of a package that is elsewhere, as a checkout is
        return any(found.parent.parent == Path(os.path.realpath(folder)) for folder in sys.path if folder)
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to see who opens
    while frame is not None and frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).startswith("importlib._bootstrap"):
            return True
        frame = frame.f_back
    return False


@cache
def _installation() -> tuple[Path, ...]:
    folders = {sys.prefix, sys.base_prefix, *_OF_THE_SYSTEM}
    numbas = os.environ.get("NUMBA_CACHE_DIR") or os.path.expanduser("~/.cache/numba")
    return tuple(Path(os.path.realpath(folder)) for folder in (*folders, numbas))


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        watch: _Watch | None = getattr(_here, "watch", None)
        if watch is not None:
            watch.opens(*arguments)


sys.addaudithook(_look)
