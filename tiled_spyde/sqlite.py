"""What is SQLite's own: one file, how it is made and opened, and what its errors mean to people."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.pool import NullPool

from tiled_spyde.errors import StorageFull, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from sqlalchemy.engine import Connection, Engine

# How long a transaction waits for another program, in seconds; our own writers take milliseconds.
PATIENCE = 2.0
# With less than this free, a write that failed for whatever reason failed for want of room.
_ROOM = 2**18

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# What opening a database in WAL mode says where its companion files cannot be made.
_CANNOT_BE_WRITTEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}


class SqliteFile:
    """A database that is one file (with ``-wal`` and ``-shm`` beside it while it is open).

    Parameters
    ----------
    path : str or None
        Where it is; None (in memory) is refused.
    """

    longest_key = 2**20

    def __init__(self, path: str | None) -> None:
        if not path or path.startswith((":", "file:")):
            raise Unusable("The database must be a file, so that it lasts: sqlite:////path/to/catalogue.db.")
        self.path = Path(path).expanduser().absolute()

    def __str__(self) -> str:
        return str(self.path)

    def place(self) -> tuple[int, int] | None:
        """Device and inode of the file; None where there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def outside(self) -> object:
        """Return what tells each state of the file from another one, without opening it."""
        return [_stamp(path) for path in (self.path, _beside(self.path, "-wal"))]

    def beside(self, name: str) -> Path:
        """Return where a file stands by which the processes that have this database know of each other."""
        return self.path.with_name(f"{self.path.name}-{name}")

    @contextmanager
    def watched(self, writes: bool) -> Iterator[None]:
        """See to it that what was written inside is in the file that is there, not in one that was moved away."""
        before = self.place()
        yield
        if writes and self.place() != before:
            raise Unavailable(f"The database {self} was moved or replaced while it was written. Try again.")

    def close(self) -> None:
        """Do nothing: between two transactions the file is not open."""

    def await_news(self, seconds: float, ended: Event) -> None:
        """Wait for `seconds`, or until `ended`: a file tells nobody that it was changed."""
        ended.wait(seconds)

    def before_tables(self, connection: Connection) -> None:
        """Do nothing: the file is all that its tables need."""

    def make(self, fill: Callable[[Path], None]) -> None:
        """Make the file where there is none; it appears whole, also when two processes start at once."""
        if _size(self.path):
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone_in(self.path.parent) as folder:
            if _size(self.path):
                return
            self._refuse_remains()
            new = self.path.with_name(self.path.name + ".new")
            for left in (new, _beside(new, "-wal"), _beside(new, "-shm")):
                left.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            fill(new)
            new.rename(self.path)
            os.fsync(folder)

    def engine(self) -> Engine:
        """Engine whose connections are opened for one transaction each, so that it is always the file that is there."""
        engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        event.listen(engine, "begin", _begin)
        return engine

    def explain(self, error: Exception, what: str) -> Unavailable | StorageFull:
        """Say what `error` means when we wanted to `what` (read, write) this database."""
        code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0)
        full = code & 0xFF == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (28, 122)
        if full or (code & 0xFF in _CANNOT_BE_WRITTEN and self._room() < _ROOM):
            return StorageFull(
                f"There is no room left for the database {self.path}. Nothing was changed. "
                "Free some space on its disk, and try again."
            )
        kind = Unusable if code & 0xFF in _DAMAGED else Unavailable
        return kind(f"Cannot {what} the database {self.path}: {self._reason(code & 0xFF, error)}")

    def _reason(self, code: int, error: Exception) -> str:
        if code in _BUSY:
            return "another program holds it locked. Try again in a moment."
        if isinstance(error, FileExistsError | NotADirectoryError):
            return f"{self.path.parent} is no folder. Name a folder for it."
        if code in _DAMAGED:
            return (
                "it is damaged, or no database. Put back a copy of it; or move it away and start again: "
                "files are found anew, but the nodes in it are not."
            )
        if self.place() is None and not isinstance(error, OSError):
            return "it is gone. Put it back, or restart the server to begin a new one."
        if code == sqlite3.SQLITE_READONLY:
            return "it is read-only. Make the file and its folder writable, then try again."
        if code == sqlite3.SQLITE_CANTOPEN:
            return "it, or its folder, may not be opened. Check who may read and write there."
        if code == sqlite3.SQLITE_ERROR:
            return f"it is not the one it was ({getattr(error, 'orig', error)}). Put it back, or restart the server."
        told = getattr(error, "strerror", None) or getattr(error, "orig", None) or error
        return f"{told}. Check its disk, or keep it elsewhere (--state)."

    def _room(self) -> int:
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:
            return _ROOM

    def _connect(self) -> sqlite3.Connection:
        """Open the file as it is now; it is never made here.

        In WAL mode even reading makes files beside it. Where it cannot (a read-only disk) and nobody else can
        be writing either, it is read as it stands.
        """
        connection = self._open("mode=rw")
        try:
            connection.execute("PRAGMA synchronous=EXTRA")  # a commit that returns has reached the disk
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")
        except sqlite3.OperationalError as error:
            connection.close()
            unwritten = not _size(_beside(self.path, "-wal"))
            if (error.sqlite_errorcode & 0xFF) in _CANNOT_BE_WRITTEN and unwritten and self.place():
                return self._open("mode=ro&immutable=1")
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, how: str) -> sqlite3.Connection:
        name = quote(os.fsencode(self.path))
        return sqlite3.connect(
            f"file:{name}?{how}", uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )

    def _refuse_remains(self) -> None:
        wal = _beside(self.path, "-wal")
        if _size(wal):
            raise Unusable(
                f"{wal.name} is in {wal.parent}, but its database {self.path.name} is not. Put the database "
                "back, for the newest changes are in that file; or remove the file to begin a new database."
            )


def _begin(connection: Connection) -> None:
    """Begin a transaction; one that will write takes its place in the queue at once."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # One that is empty comes and goes with each look.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else None


@contextmanager
def _alone_in(folder: Path) -> Iterator[Any]:
    """Keep other processes that do the same out of `folder`; gives its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
