"""Which files a reader may open: no header leads it out of the served folders, and it writes nowhere."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.files import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_here = threading.local()  # the bounds of what this thread is reading
_OF_THE_SYSTEM = ("/dev/null", "/dev/urandom", "/etc/localtime", "/proc/cpuinfo", "/sys/devices/system")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Bounds:
    """Folders that a source may be read from; remembers which files of them were opened.

    Readers of many formats open what a header names. Rather than to know where each format may
    name a file, every opening of a file in this thread is looked at (`kept`).

    Parameters
    ----------
    folders : iterable of pathlib.Path
        Folders, or files.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = tuple(Path(os.path.realpath(folder)) for folder in folders)
        self._refused: str | None = None
        self.opened: dict[Path, None] = {}

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
    def kept(self) -> Iterator[None]:
        """Refuse, while in this context, to open other files, or any for writing.

        Raises
        ------
        SourceError
            On leaving, also where the reader itself went on without the file.
        """
        before = getattr(_here, "bounds", None)
        _here.bounds = mine = copy.copy(self)  # several threads may be within at once
        mine._refused = None
        try:
            yield
        except Exception as error:
            if mine._refused:
                raise SourceError(mine._refused) from error
            raise
        finally:
            _here.bounds = before
        if mine._refused:
            raise SourceError(mine._refused)

    def _opens(self, name: Any, mode: str | None, flags: int) -> None:
        if isinstance(name, int):  # a descriptor: it was opened before
            return
        path = Path(os.path.abspath(os.fsdecode(name)))
        writes = any(letter in (mode or "") for letter in "wax+") or flags & _WRITES
        if not writes and self.allow(path):
            self.opened[path] = None
        elif not _of_the_installation(path):
            self._refused = _outside(path)
            raise PermissionError(self._refused)


def _outside(path: Path) -> str:
    return f"it leads to {plain_text(path.name)!r} outside the served folders. Copy that beside it."


def _of_the_installation(path: Path) -> bool:
    """Whether `path` belongs to Python's packages or the system's facts, or is being imported."""
    found = Path(os.path.realpath(path))
    if any(found.is_relative_to(folder) for folder in _installation()):
        return True
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
        bounds: Bounds | None = getattr(_here, "bounds", None)
        if bounds is not None:
            bounds._opens(*arguments)


sys.addaudithook(_look)
