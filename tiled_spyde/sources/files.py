"""Member files of a source: whether they are still the ones opened, and what tells them from others."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from tiled_spyde.errors import SourceChanged, SourceError
from tiled_spyde.labels import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MIB = 1 << 20
_SAMPLES = 8  # pieces between the first and the last, evenly spaced
_MOST_FILES = 10  # of one source that are read in pieces of a MiB; of more, smaller ones
_SMALLEST = 4096


@dataclass(frozen=True, slots=True)
class File:
    """One file as it was when its source was opened.

    Parameters
    ----------
    path : pathlib.Path
        Absolute path.
    name : str
        Path relative to the folder of the source, with ``/``: the same on every host.
    size : int
        In bytes.
    mtime_ns, ctime_ns, inode : int
        Together with `size` they say whether the file at `path` is still this one. Anyone can set the time of
        the last write back (``touch``, ``rsync``), but not that of the last change.
    folder : bool
        It is a folder of a store rather than a file.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    folder: bool = False

    @classmethod
    def at(cls, path: Path, folder: Path) -> File:
        """Describe the file at `path`, which lies in `folder`.

        Raises
        ------
        SourceError
            There is no file, or it is a device, a pipe or the like.
        """
        try:
            found = path.stat()
        except OSError as error:
            why = "it is a link that leads nowhere" if path.is_symlink() else str(error.strerror).lower()
            raise SourceError(
                f"Cannot open {path.name}: {why}. Check the path and who may read it."
            ) from error
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise SourceError("it is not a regular file. Name a data file.")
        name = plain_text(os.path.relpath(path, folder))
        is_folder = stat.S_ISDIR(found.st_mode)
        return cls(path, name, *_stamp(found), is_folder)

    def matches(self, found: os.stat_result) -> bool:
        """Whether `found` describes this file."""
        return _stamp(found) == (self.size, self.mtime_ns, self.ctime_ns, self.inode)

    def check(self) -> None:
        """Raise SourceChanged unless the file at this path is still this one (about 2 µs)."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise self.changed("is gone") from error
        if not self.matches(found):
            raise self.changed("has changed")

    def open(self) -> int:
        """Return a descriptor of this very file, to be closed by the caller.

        Raises
        ------
        SourceChanged
            The path leads to another file now, or to none.
        """
        descriptor = self._opened()
        if self.matches(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
        raise self.changed("has changed")

    def read_into(self, buffer: memoryview, start: int, flags: int = 0) -> int:
        """Fill `buffer` with the bytes of this very file from `start` on.

        Parameters
        ----------
        buffer : memoryview
            Of bytes.
        start : int
        flags : int
            Of ``preadv``: with ``os.RWF_NOWAIT`` what is not in memory is an OSError.

        Returns
        -------
        int
            How many there were: fewer than wanted at the end of the file.

        Raises
        ------
        SourceChanged
            It is another file by now, or was written to meanwhile: what was read may be of both.
        OSError
        """
        descriptor = self._opened()
        try:
            got = 0
            while got < len(buffer):
                read = os.preadv(descriptor, [buffer[got:] if got else buffer], start + got, flags)
                if read == 0:
                    break
                got += read
            if not self.matches(os.fstat(descriptor)):
                raise self.changed("has changed")
            return got
        except OSError:
            if not self.matches(os.fstat(descriptor)):  # a folder or a pipe by now
                raise self.changed("has changed") from None
            raise
        finally:
            os.close(descriptor)

    def is_prompt(self) -> bool:
        """Whether its file system can say what is in memory.

        One that cannot is mostly one of a network: there, also opening a file or asking for its times may take long.
        To be called where waiting harms nobody.
        """
        if not (no_wait := getattr(os, "RWF_NOWAIT", 0)):
            return False
        descriptor = self.open()
        try:
            os.preadv(descriptor, [bytearray(1)], 0, no_wait)
        except OSError as error:
            return error.errno == errno.EAGAIN
        finally:
            os.close(descriptor)
        return True

    def _opened(self) -> int:
        """Return a descriptor of what is at this path now."""
        try:
            # A pipe that took its place must not hold anyone up: of regular files all reads go on to wait.
            return os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise self.changed("cannot be opened any more") from error

    def changed(self, what: str) -> SourceChanged:
        """Return the error to raise when this file `what` ("is gone")."""
        return SourceChanged(f"{self.name} {what} since it was opened. Open it again.")


def _stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def digest(files: Iterable[File]) -> str:
    """Return a hash of the names, sizes and sampled contents of `files`.

    Of each file the first, the last and up to eight MiB between are read: a few milliseconds for a
    file in memory. Pieces are smaller where a source has more than ten files, so that never more than
    100 MiB are read of one (40 KiB a file where it has thousands).

    Parameters
    ----------
    files : iterable of File
        Members of one source. Folders count by their names only.

    Returns
    -------
    str
        32 hexadecimal digits, the same on every host.

    Raises
    ------
    SourceChanged
        A file is not the one that was opened.
    """
    files = tuple(files)
    piece = max(_SMALLEST, min(MIB, _MOST_FILES * MIB // max(1, len(files))))
    summed = blake2b(digest_size=16)
    for file in files:
        size = 0 if file.folder else file.size
        summed.update(f"\0{file.name}\0{size}\0".encode())
        if size:
            _sample(file, piece, summed)
    return summed.hexdigest()


def _sample(file: File, piece: int, summed: blake2b) -> None:
    descriptor = file.open()
    try:
        for start in _starts(file.size, piece):
            summed.update(os.pread(descriptor, piece, start))
        file.check()
    except OSError as error:
        raise SourceError(f"Cannot read {file.name}: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def _starts(size: int, piece: int) -> list[int]:
    if size <= (_SAMPLES + 2) * piece:
        return list(range(0, size, piece))
    last = size - piece
    return [last * step // (_SAMPLES + 1) for step in range(_SAMPLES + 2)]
