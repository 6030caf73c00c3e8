"""The database on its own: how it is made and checked, and each way in which it can fail."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa
from catalog_samples import catalog, outlives, sigma, source, url
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from tiled_spyde import database, migrating, records, sqlite
from tiled_spyde.database import SCHEMA, VERSION_TABLE, Database
from tiled_spyde.errors import StorageFull, Unavailable, Unusable, status_of

PATH = ("scan.hspy", "signal")


def by_hand(folder):
    """What any other program can do to the file."""
    return closing(sqlite3.connect(folder / "catalogue.db", isolation_level=None, timeout=0))


def tables_of(folder):
    engine = sa.create_engine(f"sqlite:///{folder}/catalogue.db", poolclass=sa.NullPool)
    inspector = sa.inspect(engine)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            inspector.get_foreign_keys(name),
            sorted(c["column_names"] for c in inspector.get_unique_constraints(name)),
        )
        for name in inspector.get_table_names()
        if name != VERSION_TABLE
    }


class TestStart:
    def test_makes_folder_and_file_for_their_owner_alone(self, tmp_path):
        Database(url(tmp_path / "a" / "b"))
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "b" / "catalogue.db").stat().st_mode & 0o777 == 0o600
        assert os.listdir(tmp_path / "a" / "b") == ["catalogue.db"]

    def test_is_written_ahead_and_reaches_the_disk(self, tmp_path):
        with Database(url(tmp_path)).writing() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3

    def test_needs_no_migrations_where_the_tables_are_new(self, tmp_path):
        script = f"import sys; from tiled_spyde.database import Database; Database({url(tmp_path)!r}); "
        for _ in "made", "found":
            done = subprocess.run(
                [sys.executable, "-c", script + "print('alembic' in sys.modules)"],
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.strip() == "False"

    def test_new_tables_are_what_the_migrations_come_to(self, tmp_path):
        for name in "new", "migrated":
            (tmp_path / name).mkdir()
        Database(url(tmp_path / "new"))
        with by_hand(tmp_path / "migrated") as connection:
            connection.execute("CREATE TABLE t (x)")
            connection.execute("DROP TABLE t")
        Database(url(tmp_path / "migrated"))
        assert tables_of(tmp_path / "migrated") == tables_of(tmp_path / "new")
        for name in "new", "migrated":
            with by_hand(tmp_path / name) as connection:
                assert connection.execute("SELECT * FROM state").fetchall() == [(1, 0, 0)]
                assert connection.execute(f"SELECT * FROM {VERSION_TABLE}").fetchall() == [(SCHEMA,)]  # noqa: S608

    def test_the_newest_step_is_the_schema(self):
        assert migrating.ScriptDirectory(str(migrating.STEPS)).get_current_head() == SCHEMA

    def test_two_processes_may_start_at_once(self, tmp_path):
        spawn = multiprocessing.get_context("spawn")
        together = spawn.Barrier(4)
        processes = [spawn.Process(target=_start, args=(together, url(tmp_path / "s"))) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(150)
        assert [process.exitcode for process in processes] == [0] * 4
        with Database(url(tmp_path / "s")).reading() as connection:
            assert records.changes(connection) == 20

    def test_a_newer_one_is_refused(self, tmp_path):
        Database(url(tmp_path))
        with by_hand(tmp_path) as connection:
            connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
        before = (tmp_path / "catalogue.db").read_bytes()
        with pytest.raises(Unusable, match=r"newer version of tiled-spyde.*Install that version"):
            Database(url(tmp_path))
        assert (tmp_path / "catalogue.db").read_bytes() == before

    @pytest.mark.parametrize("damage", [b"this is no database" * 100, b"SQLite format 3\0" + b"x" * 5000])
    def test_a_damaged_one_is_refused(self, tmp_path, damage):
        (tmp_path / "catalogue.db").write_bytes(damage)
        with pytest.raises(Unusable, match=r"damaged.*Put back a copy"):
            Database(url(tmp_path))
        assert (tmp_path / "catalogue.db").read_bytes() == damage

    def test_another_programs_is_refused(self, tmp_path):
        with by_hand(tmp_path) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        with pytest.raises(Unusable, match="of another program"):
            Database(url(tmp_path))

    def test_a_database_that_left_its_newest_changes_behind_is_missed(self, tmp_path):
        (tmp_path / "catalogue.db-wal").write_bytes(b"precious")
        with pytest.raises(Unusable, match="Put the database back"):
            Database(url(tmp_path))
        assert (tmp_path / "catalogue.db-wal").read_bytes() == b"precious"

    @pytest.mark.parametrize(
        ("address", "word"),
        [("sqlite://", "must be a file"), ("nonsense", "address"), ("oracle9://x", "address")],
    )
    def test_an_address_that_cannot_be_meant_is_refused(self, address, word):
        with pytest.raises(Unusable, match=word):
            Database(address)

    def test_a_file_in_the_way_of_the_folder_is_said(self, tmp_path):
        (tmp_path / "state").write_text("a file")
        with pytest.raises(Unavailable, match="Cannot open the database"):
            Database(url(tmp_path / "state"))

    def test_an_interrupted_start_is_begun_again(self, tmp_path):
        (tmp_path / "catalogue.db.new").write_bytes(b"half")
        Database(url(tmp_path))
        assert os.listdir(tmp_path) == ["catalogue.db"]


def _start(together, address):
    together.wait()
    opened = Database(address)
    for _ in range(5):
        with opened.writing() as connection:
            records.begin_change(connection)


def test_statements_are_postgresql_too():
    for table in database.tables.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))
    with pytest.raises(Unusable, match="address"):
        Database("postgresql+no_such_driver://host/name")


# One way to fail each: makes it fail for a while, and says what people are told.


@contextmanager
def locked(folder):
    with by_hand(folder) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def gone(folder):
    (folder / "catalogue.db").rename(folder / "elsewhere.db")
    yield
    (folder / "elsewhere.db").rename(folder / "catalogue.db")


@contextmanager
def folder_gone(folder):
    folder.rename(folder.with_name("elsewhere"))
    yield
    folder.with_name("elsewhere").rename(folder)


@contextmanager
def damaged(folder):
    path = folder / "catalogue.db"
    whole = path.read_bytes()
    path.write_bytes(b"\0" * 5000 + whole[5000:])
    yield
    path.write_bytes(whole)


@contextmanager
def emptied(folder):
    path = folder / "catalogue.db"
    whole = path.read_bytes()
    path.write_bytes(b"")
    yield
    path.write_bytes(whole)


@contextmanager
def read_only(folder):
    """A read-only mount: root may write whatever the modes say."""
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("a folder can be made read-only only by one who may mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


FAILURES = [
    (locked, "locked"),
    (gone, "it is gone"),
    (folder_gone, "it is gone"),
    (damaged, "damaged"),
    (emptied, "not the one it was"),
    (read_only, "read-only"),
]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)


@pytest.mark.usefixtures("quick")
class TestFailures:
    @pytest.mark.parametrize(("failing", "told"), FAILURES, ids=lambda f: getattr(f, "__name__", ""))
    def test_reads_go_on_writes_are_refused_and_nothing_is_lost(self, tmp_path, failing, told):
        state, data = tmp_path / "state", tmp_path / "data"
        outlives(lambda: catalog(state, data), data, lambda: failing(state), told)

    @pytest.mark.parametrize(("failing", "told"), [FAILURES[0], FAILURES[3], FAILURES[5]])
    def test_at_the_start(self, tmp_path, failing, told):
        state, data = tmp_path / "state", tmp_path / "data"
        served = catalog(state, data)
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        node, _ = served.add_node(PATH, **sigma(1))
        with failing(state):
            if failing is damaged:
                with pytest.raises(Unusable, match="damaged"):
                    catalog(state, data)
                return
            started = catalog(state, data)
            assert started.tree(PATH).nodes[node.name] == node
            with pytest.raises(Unavailable, match=told):
                started.add_node(PATH, **sigma(2))
        assert started.add_node(PATH, **sigma(2))[1]


@pytest.mark.usefixtures("quick")
def test_one_that_nobody_else_may_even_read_is_read_when_it_is_free(tmp_path):
    data = tmp_path / "data"
    served = catalog(tmp_path, data)
    served.update({data / "scan.hspy": source(data / "scan.hspy")})
    served.add_node(PATH, **sigma(1))
    with by_hand(tmp_path) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        started = catalog(tmp_path, data)
        assert started.top.entries == {}
        with pytest.raises(Unavailable, match="locked"):
            started.refresh()
    assert started.refresh()
    assert "gaussian_filter" in started.tree(PATH).nodes


def test_a_write_into_a_file_that_was_moved_away_meanwhile_is_not_acknowledged(tmp_path):
    opened = Database(url(tmp_path))

    def write():
        with opened.writing() as connection:
            records.begin_change(connection)
            (tmp_path / "catalogue.db").rename(tmp_path / "moved.db")
            Database(url(tmp_path))

    with pytest.raises(Unavailable, match="moved or replaced"):
        write()


def test_a_copy_that_was_put_back_is_what_counts(tmp_path):
    data = tmp_path / "data"
    served = catalog(tmp_path, data)
    served.update({data / "scan.hspy": source(data / "scan.hspy")})
    kept, _ = served.add_node(PATH, **sigma(1))
    shutil.copy(tmp_path / "catalogue.db", tmp_path / "copy.db")
    served.add_node(PATH, **sigma(2))
    (tmp_path / "copy.db").rename(tmp_path / "catalogue.db")
    assert served.refresh()
    assert list(served.tree(PATH).nodes) == ["root", "navigator", kept.name]
    assert served.add_node(PATH, **sigma(3))[1]


def fill(path):
    with path.open("wb", buffering=0) as filling:
        while True:
            filling.write(b"x" * 4096)


def test_a_full_disk_is_507_and_leaves_no_half_of_a_change(tmp_path):
    disk, data = tmp_path / "disk", tmp_path / "data"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be made only by one who may mount")
    try:
        served = catalog(disk, data)
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        first, _ = served.add_node(PATH, **sigma(0.5))
        with pytest.raises(OSError, match="No space"):
            fill(disk / "filling")
        for number in range(1, 4):
            with pytest.raises(StorageFull, match="Free some space") as refused:
                served.add_node(PATH, **sigma(number))
            assert status_of(refused.value) == 507
        served.update({data / "new.hspy": source(data / "new.hspy", "n")})
        assert "new.hspy" in served.top.entries
        assert list(served.tree(PATH).nodes) == ["root", "navigator", first.name]
        (disk / "filling").unlink()
        assert served.add_node(PATH, **sigma(1))[1]
        served.update({})
        again = catalog(disk, data)
        assert len(again.tree(PATH).nodes) == 4
        assert data / "new.hspy" in again.known
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_locked_database_is_given_up_soon(tmp_path):
    opened = Database(url(tmp_path))
    with locked(tmp_path):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="locked"), opened.writing():
            pytest.fail("the lock was not seen")
        assert time.monotonic() - began < sqlite.PATIENCE + 30
