"""Small files by which the processes of one machine know of each other: whose turn it is, and that something is new."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 64


def mark_of(path: str) -> int:
    """Return what the last `mark` made of this file, in a microsecond; 0 where there was none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def mark(path: str) -> None:
    """Give a file a time that it never had; make it where there is none, and where that can be."""
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # Not the present: two changes may fall into one tick of a clock.
        moment = secrets.randbits(60)
        os.utime(path, ns=(moment, moment))


class News:
    """That something is new which no database tells of; without a path nobody hears of it.

    Parameters
    ----------
    path : pathlib.Path or None
        Of a file that the processes share.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = os.fspath(path or "")
        self._heard = mark_of(self._path)

    def tell(self) -> None:
        """Let all processes know; this one too."""
        if self._path:
            mark(self._path)

    def heard(self) -> bool:
        """Whether anybody has told something since this was asked last; in a microsecond."""
        before, self._heard = self._heard, mark_of(self._path)
        return self._heard != before


class Turn:
    """What one process at a time has, and a few words of it to all others.

    Parameters
    ----------
    path : pathlib.Path or None
        In a folder that is there; without one every process has its turn.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = -1

    def __del__(self) -> None:
        self._close()

    def take(self) -> bool:
        """Take it if nobody has it; says whether this process has it now, until it ends."""
        if not self._open():
            return True  # nobody can tell anybody anything
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a file system without locks: as without a file
        return self._is_there()  # and not one that was just given back

    def give_back(self) -> None:
        """Let another process have it; the file goes."""
        with suppress(OSError):
            if self._path and self._is_there():
                self._path.unlink()
        self._close()

    def read(self) -> bytes:
        """Return the words of the process whose turn it is."""
        try:
            return os.pread(self._file, _SIZE, 0)
        except OSError:
            return b""

    def write(self, text: bytes) -> None:
        """Replace them; up to 64 bytes."""
        with suppress(OSError):
            os.pwrite(self._file, text.ljust(_SIZE)[:_SIZE], 0)

    def _open(self) -> bool:
        if not self._is_there():
            self._close()
            with suppress(OSError):
                if self._path:
                    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._file >= 0

    def _is_there(self) -> bool:
        try:
            return bool(self._path) and os.path.samestat(os.fstat(self._file), os.stat(self._path or ""))
        except OSError:
            return False

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
