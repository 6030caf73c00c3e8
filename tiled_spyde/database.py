"""The database that lasts: its tables, and transactions that are acknowledged only when they are durable.

A connection is opened for each transaction and closed after it. So a database that was moved away, replaced,
locked or made read-only while the server runs is noticed by the next one, and one that comes back is used
again. What is SQLite's own stands in `tiled_spyde.sqlite`; everything here and above it speaks to any database.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from tiled_spyde.errors import StorageFull, Unavailable, Unusable
from tiled_spyde.marks import mark, mark_of
from tiled_spyde.sqlite import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

logger = logging.getLogger(__name__)

SCHEMA = "0001"
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
    sa.UniqueConstraint("tree", "name", name="one_node_per_name"),
)

_version = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))

# PostgreSQL's codes for no space left, and for a table that is not there.
_DISK_FULL = "53100"


class Database:
    """A database with our tables, made where there is none.

    Parameters
    ----------
    url : str
        As SQLAlchemy writes it: ``sqlite:////home/me/state/catalogue.db``, ``postgresql+psycopg://…``.
    folder : pathlib.Path, optional
        Where the processes of this machine tell each other of changes. A file's own folder by default; another
        database without one is only asked from time to time.

    Raises
    ------
    Unusable
        It is damaged, belongs to a newer version or to another program, or cannot be made.
    """

    def __init__(self, url: str, folder: Path | None = None) -> None:
        try:
            self._url = sa.make_url(url)
            self._file = SqliteFile(self._url.database) if self._url.drivername == "sqlite" else None
            self._engine = self._file.engine() if self._file else sa.create_engine(url, poolclass=NullPool)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise Unusable(f"The address of the database is not usable: {error}.") from error
        # Where the tables were last seen to be right.
        self._checked: object = None
        self._folder = folder
        # A text, since it is looked at before each answer.
        self._mark = os.fspath(self.beside("mark") or "")
        self._prepare()

    def __str__(self) -> str:
        return str(self._file.path) if self._file else self._url.render_as_string(hide_password=True)

    @property
    def place(self) -> object:
        """What tells this database from another one at the same address (a file: its inode)."""
        return self._file.place() if self._file else str(self._url)

    def beside(self, name: str) -> Path | None:
        """Return where a file stands by which the processes that have this database know of each other."""
        if self._file:
            return self._file.path.with_name(f"{self._file.path.name}-{name}")
        which = blake2b(str(self).encode(), digest_size=8).hexdigest()
        return self._folder / f"{which}-{name}" if self._folder else None

    def mark(self) -> int:
        """Return what is another one after each change by a process of this machine; in a microsecond."""
        return mark_of(self._mark) if self._mark else 0

    def outside(self) -> object:
        """Return what is another one after a change by anybody, as far as can be told without connecting."""
        return self._file.outside() if self._file else object()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database, whatever others write meanwhile.

        Raises
        ------
        Unavailable
            It cannot be read just now.
        """
        with self._explained("read"), self._engine.connect() as connection, connection.begin():
            self._check(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection on which everything is written at the end, durably, or nothing at all.

        Raises
        ------
        Unavailable
            It cannot be written just now, or it was moved away meanwhile.
        StorageFull
            There is no room for it.
        """
        before = self.place
        with self._explained("write"), self._engine.connect() as connection:
            with connection.execution_options(writes=True).begin():
                self._check(connection)
                yield connection
        if self._mark:
            mark(self._mark)
        if self.place != before:
            raise Unavailable(f"The database {self} was moved or replaced while it was written. Try again.")

    def _prepare(self) -> None:
        """Make the tables, or bring them up to date; a database that is merely busy is checked later."""
        with self._explained("open"):
            if self._file:
                self._file.make(_make_tables)
        try:
            with self.reading():
                return
        except _OlderSchema:
            self._upgrade()
        except Unusable:
            raise
        except Unavailable as error:
            logger.warning("%s Serving without what it holds until it can be read.", error)

    def _upgrade(self) -> None:
        from tiled_spyde.migrating import upgrade

        with self._explained("bring up to date"), self._engine.connect() as connection:
            with connection.execution_options(writes=True).begin():
                try:
                    self._check(connection, again=True)  # another process may have done it
                except _OlderSchema:
                    upgrade(connection, VERSION_TABLE)
        with self.reading():
            logger.info("The database %s was brought up to date.", self)

    def _check(self, connection: Connection, again: bool = False) -> None:
        """Refuse tables that are not ours, unless they were seen to be."""
        if self._checked == self.place and not again:
            return
        found = sa.inspect(connection).get_table_names()
        if VERSION_TABLE not in found:
            if found and self._file:
                raise Unusable(
                    f"{self} is a database of another program. Name another file or folder for the state."
                )
            raise _OlderSchema(f"The database {self} is empty. Restart the server, which makes its tables.")
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
            if self._file:
                raise self._file.explain(error, what) from error
            if getattr(getattr(error, "orig", None), "sqlstate", None) == _DISK_FULL:
                raise StorageFull("The database has no room left. Make room, and try again.") from error
            told = str(error.orig).splitlines()[0] if isinstance(error, DBAPIError) else str(error)
            raise Unavailable(f"Cannot {what} the database {self}: {told}. Try again in a moment.") from error


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
