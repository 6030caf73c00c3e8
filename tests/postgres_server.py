"""A PostgreSQL server of the tests' own: in a folder that goes, as a user that may do nothing else."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from catalog_samples import close_all, lay_down
from ports import free_port
from psycopg.pq import PGconn, Ping

from tiled_spyde.database import Database

PASSWORD = "p@ss:w/ord%"  # noqa: S105 - of a server that goes with the test

TEMPLATE = "with_tables"


def _program(name):
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


class Server:
    """One cluster; it can be ended and begun again, and its databases are made by name."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        # It refuses to run as root.
        self._as = {}
        if os.getuid() == 0:
            other = pwd.getpwnam("nobody")
            self._as = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
            os.chown(folder, other.pw_uid, other.pw_gid)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        settings = ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        made = [_program("initdb"), "-D", "data", "-U", "ada", "--pwfile=password", "--no-sync", *settings]
        subprocess.run(made, cwd=folder, check=True, capture_output=True, **self._as)
        self.process = None

    def start(self):
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=100", "-c", "fsync=off"]
        command = [_program("postgres"), "-D", "data", "-k", str(self.folder), "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + 60
        while True:
            try:
                return psycopg.connect(self.conninfo()).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.02)

    def stop(self, number=signal.SIGINT):
        """End it: by ending its connections at once, or in another way."""
        self.process.send_signal(number)
        self.process.wait(60)

    def clear(self):
        """Drop what `catalog_samples.url` has made: each takes 7 MB."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            made = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'of!_%' ESCAPE '!'")
            for (name,) in made.fetchall():
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def children(self):
        """Its processes, one for each connection and some more."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in found.read_text().split()] if found.exists() else []

    def cut(self, name):
        """End all connections to a database."""
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(ended, [name])

    @contextmanager
    def refusing(self):
        """It waits for one that stays, and lets nobody else in."""
        gc.collect()  # the connections of others, too, which it would wait for
        with psycopg.connect(self.conninfo()):
            self.process.send_signal(signal.SIGTERM)
            while PGconn.ping(self.conninfo().encode()) != Ping.REJECT:
                time.sleep(0.01)
            yield
        self.process.wait(60)
        self.start()

    def give(self, folder):
        """Let a folder be the server's own."""
        if self._as:
            os.chown(folder, self._as["user"], self._as["group"])

    def conninfo(self, name="postgres"):
        return f"host={self.folder} port={self.port} user=ada dbname={name}"

    def url(self, name):
        """Address over the network, as people write it."""
        return f"postgresql://ada:p%40ss%3Aw%2Ford%25@127.0.0.1:{self.port}/{name}"

    def make(self, name, options=""):
        self.do("postgres", f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def do(self, name, *statements):
        """What an administrator does in a database."""
        with psycopg.connect(self.conninfo(name), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture(scope="session")
def postgresql():
    """A server, once for all tests of a process, with a database that has the tables: `TEMPLATE`."""
    if not _program("initdb"):
        message = "PostgreSQL is not installed: apt-get install --no-install-recommends postgresql"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        server = Server(Path(folder))
        server.start()
        try:
            server.make(TEMPLATE)
            Database(server.url(TEMPLATE)).close()
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request, tmp_path):
    """Run a test twice: `catalog_samples.url` is an address of the one kind, then of the other."""
    if request.param == "postgresql":
        lay_down(request.getfixturevalue("postgresql"), tmp_path)
    yield request.param
    close_all()
    if request.param == "postgresql":
        request.getfixturevalue("postgresql").clear()


@pytest.fixture
def on_postgresql(postgresql, tmp_path):
    """A server on which `catalog_samples.url` has its databases."""
    lay_down(postgresql, tmp_path)
    yield postgresql
    close_all()
    postgresql.clear()
