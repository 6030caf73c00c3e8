"""The database that lasts: its tables, and transactions that are acknowledged only when they are durable.

A database that was moved away, replaced, locked or made read-only while the server runs is noticed by the next
transaction, and one that comes back is used again. What is SQLite's own stands in `tiled_spyde.sqlite`, what is
PostgreSQL's in `tiled_spyde.postgresql`; everything here and above it speaks to any database.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tiled_spyde.errors import Unavailable, Unreachable, Unusable
from tiled_spyde.marks import mark, mark_of
from tiled_spyde.sqlite import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event

    from sqlalchemy.engine import Connection

    from tiled_spyde.postgresql import PostgresqlServer

logger = logging.getLogger(__name__)

SCHEMA = "0003"
# In seconds: for how long a server that nobody answers for is tried at the start, and between two tries.
START_PATIENCE = 60.0
_TRIED_AGAIN = 1.0
# Not alembic's own name: a PostgreSQL database may hold tiled's catalogue too.
VERSION_TABLE = "tiled_spyde_version"

tables = sa.MetaData()

# Its one row counts the changes, so that a process sees at a glance whether another has made one.
state = sa.Table(
    "state",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("changes", sa.BigInteger, nullable=False),
    sa.Column("forgotten", sa.BigInteger, nullable=False),  # the last one that took sources away
)

# An index of files: whatever stands here can be found again by looking at them.
sources = sa.Table(
    "sources",
    tables,
    sa.Column("path", sa.Text, primary_key=True),  # as file:// URI: names of files can be any bytes
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("signals", sa.Text, nullable=False),  # their names, as a JSON list
    sa.Column("described", sa.Text, nullable=False),  # all of it, as JSON
    sa.Column("changed", sa.BigInteger, nullable=False),  # number of the change that wrote this row
)

# Precious: what people made.
trees = sa.Table(
    "trees",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("signal", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),  # of the source when last seen: to know it elsewhere
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("path", "signal", name="one_tree_per_signal"),
)
nodes = sa.Table(
    "nodes",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tree", sa.Text, sa.ForeignKey("trees.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),  # the id of a node, or "root" or "navigator"
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),  # every one of them, as JSON
    sa.Column("created", sa.Text, nullable=False),  # UTC, as ISO 8601
    sa.Column("created_by", sa.Text),
    sa.Column("made", sa.BigInteger, nullable=False),  # number of the change that made it: their order
    sa.Column("description", sa.Text),
    sa.Column(
        "version", sa.BigInteger, nullable=False, server_default="0"
    ),  # of the one that changed it last
    sa.UniqueConstraint("tree", "name", name="one_node_per_name"),
)

# What somebody has looked at without keeping it, for a day: so that each process knows its pinned address.
previews = sa.Table(
    "previews",
    tables,
    sa.Column("tree", sa.Text, primary_key=True),  # `SignalTree.place`
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, nullable=False),  # the id of the node that it begins with
    sa.Column("until", sa.BigInteger, nullable=False),  # in seconds since 1970
    sa.Column("size", sa.BigInteger, nullable=False),  # in bytes, about
    sa.Column("steps", sa.Text, nullable=False),  # as JSON
)
# What was done to nodes, so that it can be undone: one row for each node that a change concerns.
history = sa.Table(
    "history",
    tables,
    sa.Column("change", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("node", sa.Text, primary_key=True),
    sa.Column("tree", sa.Text, sa.ForeignKey("trees.id"), nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),  # UTC, as ISO 8601
    sa.Column("by", sa.Text),
    sa.Column("before", sa.Text),  # the node as JSON; NULL where there was none
    sa.Column("after", sa.Text),
    sa.Column("size", sa.BigInteger, nullable=False),  # characters of both
    sa.Index("history_of_tree", "tree", "change", "size"),
)

_version = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))

_ADDRESSES = (
    "There are sqlite:////path/to/a/file and postgresql://USER:PASSWORD@HOST:PORT/NAME; in a password "
    "@, :, / and % are written %40, %3A, %2F and %25."
)


class Database:
    """A database with our tables, made where there are none.

    Parameters
    ----------
    url : str
        ``sqlite:////home/me/state/catalogue.db``, or ``postgresql://USER:PASSWORD@HOST:PORT/NAME``.
    folder : pathlib.Path, optional
        Where the processes of this machine tell each other of changes. A file's own folder by default; the
        processes of another database without one hear of them from the server only.

    Raises
    ------
    Unusable
        It is damaged, belongs to a newer version or to another program, cannot be made, or could not be reached for
        `START_PATIENCE` seconds.
    """

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self._kept = _kept_at(url, folder)
        self._engine = self._kept.engine()
        # Where the tables were last seen to be right.
        self._checked: object = None
        # A text, since it is looked at before each answer.
        self._mark = os.fspath(self.beside("mark") or "")
        with self._explained("open"):
            self._kept.make(_make_tables)
        try:
            self._reach()
        except Unusable:
            self.close()
            raise
        except Unavailable as error:
            logger.warning("%s Serving without what it holds until it can be read.", error)

    def __str__(self) -> str:
        return str(self._kept)

    @property
    def place(self) -> object:
        """What tells this database from another one at the same address (a file: its inode)."""
        return self._kept.place()

    def beside(self, name: str) -> Path | None:
        """Return where a file stands by which the processes that have this database know of each other."""
        return self._kept.beside(name)

    def takes(self, path: Path) -> bool:
        """Whether a file's path may be a key here; said where it may not."""
        if (taken := len(path.as_uri()) <= self._kept.longest_key) is False:
            logger.warning("The path %r is too long for %s, so it is not served.", os.fspath(path), self)
        return taken

    def mark(self) -> int:
        """Return what is another one after each change by a process of this machine; in a microsecond."""
        return mark_of(self._mark) if self._mark else 0

    def outside(self) -> object:
        """Return what is another one after a change by anybody, as far as can be told without asking."""
        return self._kept.outside()

    def await_news(self, seconds: float, ended: Event) -> None:
        """Wait for `seconds`, less where somebody's change is heard of before, or until `ended`; in one thread only.

        Raises
        ------
        Unavailable
            There is nobody to be heard.
        """
        self._kept.await_news(seconds, ended)

    def close(self) -> None:
        """Give back what is kept open."""
        self._kept.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database, whatever others write meanwhile.

        Raises
        ------
        Unavailable
            It cannot be read just now.
        """
        self._see_to_tables()
        with self._transaction("read") as connection:
            self._check(connection)
            yield connection

    @contextmanager
    def writing(self, *, unmarked: bool = False) -> Iterator[Connection]:
        """Give a connection on which everything is written at the end, durably, or nothing at all.

        What is written `unmarked` is nothing that other processes must take over.

        Raises
        ------
        Unavailable
            It cannot be written just now, or it was moved away meanwhile.
        StorageFull
            There is no room for it.
        """
        self._see_to_tables()
        with self._transaction("write", writes=True, unmarked=unmarked) as connection:
            self._check(connection)
            yield connection
        if self._mark and not unmarked:
            mark(self._mark)

    @contextmanager
    def _transaction(
        self, what: str, *, writes: bool = False, unmarked: bool = False
    ) -> Iterator[Connection]:
        with (
            self._explained(what),
            self._kept.watched(writes),
            self._engine.connect().execution_options(writes=writes, unmarked=unmarked) as connection,
            connection.begin(),
        ):
            yield connection

    def _reach(self) -> None:
        """See to the tables; a server that may only come up later than we do is waited for."""
        told, deadline = False, time.monotonic() + START_PATIENCE
        while True:
            try:
                return self._see_to_tables()
            except Unreachable as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    logger.warning("%s It is tried again for up to %g s.", error, START_PATIENCE)
                told = True
                time.sleep(_TRIED_AGAIN)

    def _see_to_tables(self) -> None:
        """Make the tables, or bring them up to date, unless this was seen to before."""
        if self._checked is not None:
            return
        try:
            with self._transaction("open") as connection:
                self._check(connection)
        except _OlderSchema:
            self._upgrade()

    def _upgrade(self) -> None:
        from tiled_spyde.migrating import upgrade

        with self._transaction("bring up to date", writes=True) as connection:
            try:
                self._check(connection)  # another process may have done it
            except _OlderSchema:
                self._kept.before_tables(connection)
                upgrade(connection, VERSION_TABLE)
        with self._transaction("open") as connection:
            self._check(connection)
        logger.info("The database %s was brought up to date.", self)

    def _check(self, connection: Connection) -> None:
        """Refuse tables that are not ours, or not of this version: another one may be at work on them by now."""
        if self._checked != self.place:
            found = sa.inspect(connection).get_table_names()
            if VERSION_TABLE not in found and found:
                raise Unusable(f"{self} is a database of another program. Name another one for the state.")
            if not found:
                raise _OlderSchema(
                    f"The database {self} is empty. Restart the server, which makes its tables."
                )
        revision = connection.scalar(sa.select(_version.c.version_num))
        if revision != SCHEMA:
            raise self._of_another_version(revision)
        self._checked = self.place

    def _of_another_version(self, revision: str | None) -> Unusable:
        from tiled_spyde.migrating import known_revisions

        if revision in known_revisions():
            return _OlderSchema(
                f"The database {self} is of an older version. Restart the server, which brings it up to date."
            )
        return Unusable(
            f"The database {self} was written by a newer version of tiled-spyde (its tables are {revision}, "
            f"this version knows {SCHEMA}). Install that version, or name another folder for the state."
        )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn whatever a database or its file can say into words for people."""
        try:
            yield
        except (SQLAlchemyError, OSError, UnicodeError) as error:
            raise self._kept.explain(error, what) from error


def _kept_at(url: str, folder: Path | None) -> SqliteFile | PostgresqlServer:
    """Return what is at an address; nothing is said of the address itself, for a password may be in it."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise Unusable(f"The address of the database is not usable. {_ADDRESSES}") from None
    if "@" in f"{parsed.host}{parsed.database}":  # of a password that is not written as it must be
        raise Unusable(f"The address of the database is not usable. {_ADDRESSES}")
    if parsed.drivername == "sqlite":
        return SqliteFile(parsed.database)
    if parsed.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        raise Unusable(f"The address of the database begins with {parsed.drivername}://. {_ADDRESSES}")
    # Its driver is loaded only where there is such a database.
    from tiled_spyde.postgresql import PostgresqlServer

    return PostgresqlServer(parsed, folder)


class _OlderSchema(Unusable):
    """The tables are those of an earlier version, or missing altogether."""


def _make_tables(path: Path) -> None:
    """Make the newest tables in a new SQLite file: what the migrations come to, without loading them."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.rollback()
        with connection.begin():
            tables.create_all(connection)
            _version.create(connection)
            connection.execute(state.insert().values(id=1, changes=0, forgotten=0))
            connection.execute(_version.insert().values(version_num=SCHEMA))
