"""What is PostgreSQL's own: connections that are given up in time, news of changes, and its errors in words."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from hashlib import blake2b
from threading import Event, Timer
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from tiled_spyde.errors import StorageFull, Unavailable, Unreachable, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine

# How long a transaction waits for another one, and for a connection, in seconds.
PATIENCE = 2.0
CONNECT_PATIENCE = 5
# After how many seconds without an end a transaction that writes, and one that reads, is given up.
WRITE_PATIENCE = 10.0
READ_PATIENCE = 60.0
# Seconds between two looks although nothing was heard: a pooler in between may pass no news on.
_LOOK = 10.0

# Of our own, since one database may hold tiled's tables too, and tiled has nodes as well.
SCHEMA = "tiled_spyde"
# Whoever writes holds it, so that changes are one after the other, as in a file; its number means nothing.
_LOCK = int.from_bytes(blake2b(b"tiled_spyde", digest_size=8).digest(), signed=True)
_NEWS = "tiled_spyde"

# A server that is gone without a word is noticed after as many seconds; all of it may be said in the address.
_CONNECTION = {
    "connect_timeout": CONNECT_PATIENCE,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "tiled-spyde",
    # A pooler may give each transaction another connection.
    "prepare_threshold": None,
}

# By their codes, and the beginnings of their codes.
_FULL = "53100"
_LOCKED = ("55P03", "40P01", "40001")
_TOO_SLOW = "57014"
_READ_ONLY = "25006"
_ENDED = ("57P", "08")
_NOT_ALLOWED = "42501"
_ANOTHER_ONE = ("42P01", "42703", "3F000")


class PostgresqlServer:
    """A database on a PostgreSQL server.

    Parameters
    ----------
    url : sqlalchemy.URL
        ``postgresql://USER:PASSWORD@HOST:PORT/NAME``; what it leaves out comes from where PostgreSQL's own
        programs look, too: ``PGPASSWORD``, ``~/.pgpass``.
    folder : pathlib.Path or None
        Where the processes of this machine leave word for each other.
    """

    # Characters; an entry of an index has 2704 bytes, and the name of a signal has to go in, too.
    longest_key = 2000

    def __init__(self, url: sa.URL, folder: Path | None) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._folder = folder
        where = url.host or url.normalized_query.get("host", ("",))[0]
        port = f":{url.port}" if url.port else ""
        self._shown = f"postgresql://{where}{port}/{url.database or ''}"
        self._open: WeakSet[psycopg.Connection[Any]] = WeakSet()
        self._place: object = None
        self._engine = self._made_engine()
        self._listening: psycopg.Connection[Any] | None = None
        self._heard = 0
        self._look_at = 0.0

    def __str__(self) -> str:
        return self._shown  # nobody's name and no password

    def place(self) -> object:
        """Return what tells this database, as it was met last, from another one, or from a copy put back."""
        return self._place

    def outside(self) -> object:
        """Return what is another one after somebody said, to `await_news`, that there is something new."""
        return self._heard

    def beside(self, name: str) -> Path | None:
        """Return where a file stands by which the processes of this machine know of each other."""
        which = blake2b(self._shown.encode(), digest_size=8).hexdigest()
        return self._folder / f"{which}-{name}" if self._folder else None

    def close(self) -> None:
        """End all connections; when news are no longer awaited."""
        self._stop_listening()
        self._engine.dispose()

    def engine(self) -> Engine:
        """Engine whose connections are those of one process: one for transactions."""
        return self._engine

    def make(self, fill: Callable[[Path], None]) -> None:
        """Do nothing: a database is made by its administrator, its tables by the migrations."""

    def before_tables(self, connection: Connection) -> None:
        """Make the schema for the tables; within the transaction that makes these."""
        if connection.scalar(sa.select(sa.func.to_regnamespace(SCHEMA))) is None:
            connection.execute(sa.schema.CreateSchema(SCHEMA))

    @contextmanager
    def watched(self, writes: bool) -> Iterator[None]:
        """Give up what is done inside where the server does not answer for long.

        Raises
        ------
        Unavailable
            It did not. What was to be written may have been, as a whole, or not.
        """
        seconds, given_up = WRITE_PATIENCE if writes else READ_PATIENCE, Event()
        timer = Timer(seconds, self._give_up, [given_up])
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if given_up.is_set():
                raise Unavailable(
                    f"The database {self} has not answered for {seconds:g} s. Try again in a moment."
                ) from error
            raise
        finally:
            timer.cancel()

    def await_news(self, seconds: float, ended: Event) -> None:
        """Wait until somebody has changed something, for `seconds` at most; called in one thread only.

        Raises
        ------
        Unavailable
            The server cannot be reached.
        """
        try:
            with self.watched(writes=True):
                listening, is_due = self._listen()
            news = () if is_due else listening.notifies(timeout=seconds, stop_after=1)
            self._heard += is_due + sum(1 for _ in news)
        except (psycopg.Error, DBAPIError, OSError, Unavailable) as error:
            self._stop_listening()
            ended.wait(seconds)
            raise error if isinstance(error, Unavailable) else self.explain(error, "follow") from error
        if ended.is_set():
            self._stop_listening()

    def explain(self, error: Exception, what: str) -> Unavailable | StorageFull:
        """Say what `error` means when we wanted to `what` (read, write) this database."""
        code = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
        if code == _FULL:
            return StorageFull(
                f"There is no room left for the database {self}. Nothing was changed. "
                "Free some space on the server's disk, and try again."
            )
        refused = isinstance(error, DBAPIError) and not error.connection_invalidated and not code
        kind = self._refusal(error) if refused else Unusable if code == _NOT_ALLOWED else Unavailable
        return kind(f"Cannot {what} the database {self}: {self._reason(code, error)}")

    def _reason(self, code: str, error: Exception) -> str:
        told = self._told(error)
        if code in _LOCKED:
            return "another program holds it locked. Try again in a moment."
        if code == _TOO_SLOW:
            return "it took too long. Try again in a moment."
        if code == _READ_ONLY:
            return "it is read-only, as a standby is. Let it be written, or name the server that may be."
        if code == _NOT_ALLOWED:
            return f"{told}. Let its user make a schema ({SCHEMA}) and tables in it, or make it for them."
        if code.startswith(_ENDED):
            return f"{told}. Try again in a moment."
        if code in _ANOTHER_ONE:
            return f"it is not the one it was ({told}). Put it back, or restart the server."
        if not code:
            return f"{told}. Check that it runs, and address, user and password."
        return f"{told}. Try again in a moment."

    def _told(self, error: Exception) -> str:
        """Return the server's own words, in one line and without the password."""
        lines = str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__]
        told = " ".join(lines[0].split()).rstrip(". ")
        for secret in filter(
            None, (self._url.password, *map(self._url.query.get, ("password", "sslpassword")))
        ):
            told = told.replace(str(secret), "…")
        return told

    def _refusal(self, error: Exception) -> type[Unavailable]:
        """Return what it means that there is no connection: it starts or ends, nobody answers, or it says no."""
        found: dict[Ping, type[Unavailable]] = {Ping.REJECT: Unavailable, Ping.NO_RESPONSE: Unreachable}
        if isinstance(getattr(error, "orig", None), psycopg.errors.ConnectionTimeout):
            return Unreachable
        named = self._url.translate_connect_args(username="user", database="dbname")
        described = make_conninfo(**{"connect_timeout": CONNECT_PATIENCE, **self._url.query, **named})
        return found.get(Ping(PGconn.ping(described.encode())), Unusable)

    def _made_engine(self) -> Engine:
        settings = {name: value for name, value in _CONNECTION.items() if name not in self._url.query}
        engine = sa.create_engine(
            self._url,
            pool_size=1,
            pool_timeout=PATIENCE,
            pool_pre_ping=True,  # after a restart of the server
            use_native_hstore=False,
            connect_args=settings,
        )
        event.listen(engine, "connect", self._connected, insert=True)
        event.listen(engine, "begin", self._begin)
        return engine

    def _connected(self, connection: psycopg.Connection[Any], record: object) -> None:
        """Set what the server, or the user's role, may have set otherwise."""
        self._open.add(connection)
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            connection.close()
            raise Unusable(
                f"The database {self} has the encoding {encoding}, so not every name can be kept in it. "
                "Make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
            )
        connection.autocommit = True
        connection.execute(f"SET search_path = {SCHEMA}")
        connection.execute(f"SET lock_timeout = {int(PATIENCE * 1000)}")
        # One that hangs, or whose machine has lost its power, in the middle of writing must not keep others from it.
        connection.execute(f"SET idle_in_transaction_session_timeout = {int(READ_PATIENCE * 1000)}")
        # What is acknowledged has reached the disk; who asks for even more has it.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.autocommit = False

    def _begin(self, connection: Connection) -> None:
        """Begin a transaction: one that writes alone, one that reads with one state of everything."""
        options = connection.get_execution_options()
        if options.get("writes"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            if not options.get("unmarked"):
                # Sent when, and only if, the transaction is committed.
                connection.exec_driver_sql(f"NOTIFY {_NEWS}")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # A server that was restarted may have been given back an older copy.
        met = connection.exec_driver_sql(
            "SELECT pg_postmaster_start_time()::text, oid, to_regclass('state')::oid "
            "FROM pg_database WHERE datname = current_database()"
        )
        self._place = tuple(met.one())

    def _listen(self) -> tuple[psycopg.Connection[Any], bool]:
        """Return the connection by which news are heard, and whether to look at once, for some may have been missed."""
        is_due = time.monotonic() >= self._look_at
        if self._listening is None:
            kept = self._engine.raw_connection()
            listening: Any = kept.driver_connection
            kept.detach()
            self._listening, is_due = listening, True
            listening.autocommit = True
            listening.execute(f"LISTEN {_NEWS}")
        elif is_due:
            self._listening.execute("SELECT 1")  # is it still there?
        if is_due:
            self._look_at = time.monotonic() + _LOOK
        assert self._listening is not None  # noqa: S101 - it is there, or was just made
        return self._listening, is_due

    def _stop_listening(self) -> None:
        if self._listening is not None:
            with suppress(psycopg.Error):
                self._listening.close()
        self._listening = None

    def _give_up(self, given_up: Event) -> None:
        """End all connections from this side: who waits on them goes on with an error."""
        given_up.set()
        for connection in list(self._open):
            with suppress(psycopg.Error, OSError):
                shared = socket.socket(fileno=os.dup(connection.fileno()))
                with shared:
                    shared.shutdown(socket.SHUT_RDWR)
