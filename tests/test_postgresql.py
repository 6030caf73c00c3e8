"""The catalogue on PostgreSQL: what a start says, each way in which it can fail, and how changes are heard of."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from threading import Event, Thread

import psycopg
import pytest
from catalog_samples import by_hand, catalog, close_all, database, outlives, sigma, source, url
from conftest import until
from postgres_server import PASSWORD

from tiled_spyde import postgresql as ours
from tiled_spyde import records
from tiled_spyde.database import SCHEMA, VERSION_TABLE, Database
from tiled_spyde.errors import StorageFull, Unavailable, Unusable, status_of

PATH = ("scan.hspy", "signal")
PARTS_OF_PASSWORD = (PASSWORD, "p@ss", "w/ord", "p%40ss", "ord%25")


def opened(address, folder=None):
    one = Database(address, folder)
    one.close()
    return one


def revision(server, name):
    with psycopg.connect(server.conninfo(name)) as connection:
        return connection.execute(f"SELECT version_num FROM tiled_spyde.{VERSION_TABLE}").fetchall()  # noqa: S608


class TestStart:
    def test_tables_are_made_by_the_migrations_in_a_schema_of_their_own(self, postgresql):
        address = postgresql.make("beside_others")
        postgresql.do("beside_others", "CREATE TABLE public.nodes (theirs int)")
        opened(address)
        assert revision(postgresql, "beside_others") == [(SCHEMA,)]
        postgresql.do(
            "beside_others", "SELECT theirs FROM public.nodes", "SELECT made FROM tiled_spyde.nodes"
        )

    def test_several_processes_may_start_at_once(self, postgresql):
        address = postgresql.make("at_once")
        spawn = multiprocessing.get_context("spawn")
        together = spawn.Barrier(4)
        processes = [spawn.Process(target=_start, args=(together, address)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(150)
        assert [process.exitcode for process in processes] == [0] * 4
        one = Database(address)
        with one.reading() as connection:
            assert records.changes(connection) == 20
        one.close()

    def test_a_newer_one_is_refused_also_when_it_becomes_so_under_a_running_server(
        self, on_postgresql, tmp_path
    ):
        running = database(tmp_path)
        with by_hand(tmp_path) as connection:
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
        told = r"newer version of tiled-spyde \(its tables are 9999"
        with pytest.raises(Unusable, match=told):
            Database(url(tmp_path))
        for used in running.reading, running.writing:
            with pytest.raises(Unusable, match=told), used():
                pytest.fail("it was used")

    def test_another_programs_schema_of_this_name_is_refused(self, postgresql):
        address = postgresql.make("theirs")
        postgresql.do("theirs", "CREATE SCHEMA tiled_spyde", "CREATE TABLE tiled_spyde.theirs (x int)")
        with pytest.raises(Unusable, match="of another program"):
            Database(address)

    def test_what_is_wrong_is_said_in_a_line_without_the_password(self, postgresql, monkeypatch):
        monkeypatch.setattr("tiled_spyde.database.START_PATIENCE", 0.0)
        right = postgresql.url("postgres")
        postgresql.make("latin", "ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
        postgresql.do("postgres", "CREATE ROLE guest LOGIN PASSWORD 'w/ord'")
        for address, told in (
            (right.replace("ss%3A", "xx"), "password authentication failed"),
            (
                right.replace("postgres", "nowhere").replace("nowhereql", "postgresql"),
                '"nowhere" does not exist',
            ),
            (right.replace("127.0.0.1", "no.such.host.invalid"), "resolve host 'no.such.host.invalid'"),
            (right.replace(str(postgresql.port), "1"), "Connection refused"),
            (postgresql.url("latin"), "encoding LATIN1"),
            (f"postgresql://guest:w%2Ford@127.0.0.1:{postgresql.port}/postgres", "permission denied"),
            (right.replace("%40", "@"), "in a password @"),
            (right.replace(str(postgresql.port), "w/ord"), "in a password @"),
            (right.replace("postgresql:", "mysql:"), "mysql://"),
        ):
            with pytest.raises(Unusable, match=told) as refused:
                Database(address)
            said = str(refused.value)
            assert "\n" not in said
            assert not any(part in said for part in PARTS_OF_PASSWORD), said

    def test_a_path_that_is_too_long_for_an_index_holds_up_no_other(self, on_postgresql, tmp_path, caplog):
        data = tmp_path / "data"
        long = data.joinpath(*(os.urandom(100).hex() for _ in range(15)), "s.tif")
        served = catalog(tmp_path, data)
        served.update({long: source(long), data / "scan.hspy": source(data / "scan.hspy")})
        assert list(catalog(tmp_path, data).top.entries) == ["scan.hspy"]
        assert "is too long" in caplog.text


def _start(together, address):
    together.wait()
    one = Database(address)
    for _ in range(5):
        with one.writing() as connection:
            records.begin_change(connection)
    one.close()


# One way to fail each: makes it fail for a while.


@contextmanager
def gone(server, name):
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def crashed(server, name):
    server.stop(signal.SIGKILL)
    until(lambda: not server.children())
    try:
        yield
    finally:
        server.start()


@contextmanager
def locked(server, name):
    with psycopg.connect(server.conninfo(name)) as other:
        other.execute("LOCK TABLE tiled_spyde.state IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def read_only(server, name):
    server.do("postgres", f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    server.cut(name)
    try:
        yield
    finally:
        server.do("postgres", f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        server.cut(name)


@contextmanager
def silent(server, name):
    """It takes everything and answers nothing."""
    stopped = [server.process.pid, *server.children()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


FAILURES = [
    (gone, "Connection refused"),
    (crashed, "Connection refused"),
    (locked, "another program holds it locked"),
    (read_only, "read-only"),
    (silent, "has not answered"),
]


@contextmanager
def hurried():
    """What does not answer is not waited for long; a busy machine answers within that."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tiled_spyde.database.START_PATIENCE", 0.0)
        patched.setattr(ours, "PATIENCE", 0.5)
        patched.setattr(ours, "WRITE_PATIENCE", 3.0)
        patched.setattr(ours, "READ_PATIENCE", 3.0)
        patched.setitem(ours._CONNECTION, "connect_timeout", 2)
        yield


@pytest.mark.parametrize(("failing", "told"), FAILURES, ids=lambda f: getattr(f, "__name__", ""))
def test_reads_go_on_writes_are_refused_and_nothing_is_lost(on_postgresql, tmp_path, failing, told):
    data, name = tmp_path / "data", url(tmp_path).rpartition("/")[2]

    @contextmanager
    def away():
        with failing(on_postgresql, name), hurried():
            yield

    outlives(lambda: catalog(tmp_path, data), data, away, told)


def fill(path):
    with suppress(OSError), path.open("wb", buffering=0) as filling:
        while True:
            filling.write(b"x" * 4096)


def make_many(served):
    for number in range(1, 1000):
        served.add_node(PATH, **sigma(number / 10))


def test_a_full_disk_is_507_and_leaves_no_half_of_a_change(on_postgresql, tmp_path):
    data, name = tmp_path / "data", url(tmp_path).rpartition("/")[2]
    disk = on_postgresql.folder / "disk"  # its user may not go into the folders of tests
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be made only by one who may mount")
    try:
        on_postgresql.give(disk)
        on_postgresql.do("postgres", f"CREATE TABLESPACE small LOCATION '{disk}'")
        tables = ("state", "sources", "trees", "nodes", VERSION_TABLE)
        on_postgresql.do(name, *(f"ALTER TABLE tiled_spyde.{table} SET TABLESPACE small" for table in tables))
        served = catalog(tmp_path, data)
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        first, _ = served.add_node(PATH, **sigma(0.5))
        fill(disk / "filling")
        many = {data / f"{n}.tif": source(data / f"{n}.tif", f"{n}") for n in range(200)}
        served.update(many)  # served, but they find no room
        with pytest.raises(StorageFull, match="Free some space") as refused:
            make_many(served)
        assert status_of(refused.value) == 507
        assert "199.tif" in served.top.entries
        before = list(served.tree(PATH).nodes)
        (disk / "filling").unlink()
        served.update({})
        assert served.add_node(PATH, **sigma(150))[1]
        again = catalog(tmp_path, data)
        assert list(again.tree(PATH).nodes)[:-1] == before
        assert first.name in before
        assert many.keys() <= again.known.keys()
    finally:
        close_all()
        on_postgresql.do("postgres", f"DROP DATABASE {name} WITH (FORCE)", "DROP TABLESPACE small")
        subprocess.run(["umount", disk], check=True)
        disk.rmdir()


def test_one_that_is_only_starting_is_waited_for(on_postgresql, tmp_path):
    data, address = tmp_path / "data", url(tmp_path)
    with on_postgresql.refusing(), hurried():
        started = catalog(tmp_path, data, address=address)
        assert started.top.entries == {}
        with pytest.raises(Unavailable, match="shutting down"):
            started.refresh()
    assert started.refresh()


def test_one_that_hangs_while_it_writes_does_not_keep_others_from_it_for_good(
    on_postgresql, tmp_path, monkeypatch
):
    monkeypatch.setattr(ours, "READ_PATIENCE", 0.5)
    monkeypatch.setattr(ours, "PATIENCE", 0.1)
    hangs, other = database(tmp_path), database(tmp_path)
    writing = hangs.writing()
    connection = writing.__enter__()
    records.begin_change(connection)
    with pytest.raises(Unavailable, match="locked"), other.writing():
        pytest.fail("both write")

    def is_free():
        with suppress(Unavailable), other.writing() as free:
            return records.begin_change(free) == 1
        return False

    until(is_free)
    with pytest.raises(Unavailable):
        writing.__exit__(None, None, None)


def test_an_older_copy_that_was_put_back_is_what_counts(on_postgresql, tmp_path):
    data, name = tmp_path / "data", url(tmp_path).rpartition("/")[2]
    served = catalog(tmp_path, data)
    served.update({data / "scan.hspy": source(data / "scan.hspy")})
    kept, _ = served.add_node(PATH, **sigma(1))
    on_postgresql.cut(name)
    on_postgresql.do("postgres", f"CREATE DATABASE copy TEMPLATE {name}")
    served.add_node(PATH, **sigma(2))
    served.add_node(PATH, **sigma(3))
    renamed = [f"ALTER DATABASE {name} RENAME TO away", f"ALTER DATABASE copy RENAME TO {name}"]
    on_postgresql.cut(name)
    on_postgresql.do("postgres", *renamed)
    other = catalog(tmp_path, data)
    for number in range(4, 8):
        other.add_node(PATH, **sigma(number))
    assert served.refresh()
    assert list(served.tree(PATH).nodes)[2:] == list(other.tree(PATH).nodes)[2:]
    assert served.add_node(PATH, **sigma(1)) == (kept, False)
    on_postgresql.do("postgres", "DROP DATABASE away WITH (FORCE)")


class TestNews:
    """Without the files by which processes of one machine know of each other: as on two machines."""

    @pytest.fixture
    def two(self, on_postgresql, tmp_path):
        made = [catalog(tmp_path, tmp_path / "data", marked=False) for _ in range(2)]
        path = tmp_path / "data" / "scan.hspy"
        made[0].update({path: source(path)})
        return made

    @contextmanager
    def followed(self, two, patience=30):
        """The second one in a thread that waits for so long, in seconds."""
        follower, ended = two[1], Event()

        def follow():
            while not ended.is_set():
                try:
                    follower._database.await_news(patience, ended)
                    follower.follow()
                except Unavailable as error:
                    logging.getLogger(__name__).warning("%s", error)

        thread = Thread(target=follow, daemon=True)
        thread.start()
        try:
            until(lambda: "scan.hspy" in follower.top.entries)
            yield follower
        finally:
            ended.set()
            with two[0]._database.writing():  # so that it wakes
                pass
            thread.join(60)

    def test_a_change_is_heard_of_by_the_one_who_waits(self, two):
        with self.followed(two, patience=600) as follower:
            for number in range(1, 20):
                node, _ = two[0].add_node(PATH, **sigma(number))
                until(lambda node=node: node.name in follower.tree(PATH).nodes)
            assert follower.revision == two[0].revision

    def test_what_was_changed_while_nothing_could_be_heard_is_seen(self, on_postgresql, two):
        with self.followed(two, patience=0.5) as follower:
            on_postgresql.stop()
            with pytest.raises(Unavailable):
                two[0].add_node(PATH, **sigma(1))
            on_postgresql.start()
            node, _ = two[0].add_node(PATH, **sigma(1))
            until(lambda: node.name in follower.tree(PATH).nodes)

    def test_nothing_new_costs_no_question(self, two, monkeypatch):
        _, second = two
        second.refresh()
        second._database.await_news(0.01, Event())
        second.follow()
        asked = []
        monkeypatch.setattr(second, "refresh", lambda: asked.append(1))
        for _ in range(10):
            second._database.await_news(0.01, Event())
            second.follow()
        assert asked == []


def test_no_log_names_the_password(on_postgresql, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(ours, "WRITE_PATIENCE", 1.0)
    caplog.set_level(logging.DEBUG)
    served = catalog(tmp_path, tmp_path / "data")
    on_postgresql.stop()
    path = tmp_path / "data" / "scan.hspy"
    served.update({path: source(path)})
    with pytest.raises(Unavailable):
        served._database.await_news(0.01, Event())
    on_postgresql.start()
    assert "not remembered" in caplog.text
    assert str(served._database) in caplog.text
    assert not any(part in caplog.text for part in PARTS_OF_PASSWORD)
