"""Several processes with one database: who looks through the folders, and how the others hear of it."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from contextlib import closing, contextmanager
from threading import Event

import pytest
from catalog_samples import source
from conftest import until

from tiled_spyde.catalog import Catalog, Served
from tiled_spyde.database import Database
from tiled_spyde.following import Following
from tiled_spyde.fresh import Fresh
from tiled_spyde.index import Index, Progress
from tiled_spyde.marks import Turn, mark, mark_of

SMOOTH = {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": 1.0}}


@pytest.fixture
def two(tmp_path):
    """Two catalogues over one database, as two processes have them."""
    served = [Served(tmp_path / "data")]
    url = f"sqlite:///{tmp_path}/state/catalogue.db"
    first, second = (Catalog(Database(url), served) for _ in range(2))
    first.update({tmp_path / "data" / "a.hspy": source(tmp_path / "data" / "a.hspy")})
    return first, second


def test_a_mark_is_another_one_after_each_change(tmp_path):
    path = str(tmp_path / "mark")
    seen = {mark_of(path)}
    for _ in range(1000):
        mark(path)
        seen.add(mark_of(path))
    assert len(seen) == 1001


def test_only_one_has_its_turn_and_all_hear_of_it(tmp_path):
    first, second = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    assert first.take()
    assert not second.take()
    first.write(b"1 of 2")
    assert second.read().split() == [b"1", b"of", b"2"]
    first.give_back()
    assert second.take()
    assert not Turn(tmp_path / "turn").take()
    second.give_back()
    assert not (tmp_path / "turn").exists()


def test_where_a_file_system_has_no_locks_everybody_has_a_turn(tmp_path, monkeypatch):
    def has_none(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", has_none)
    assert Turn(tmp_path / "turn").take()
    assert Turn(tmp_path / "turn").take()


def test_where_no_file_can_be_made_everybody_has_a_turn(tmp_path):
    for path in (None, tmp_path / "nowhere" / "turn"):
        turn = Turn(path)
        assert turn.take()
        turn.write(b"nothing")
        assert turn.read() == b""


def test_what_another_one_changed_is_noticed_and_taken_over(two):
    first, second = two
    assert second.behind()
    assert second.refresh()
    assert not second.behind()
    node, _ = first.add_node(("a.hspy", "signal"), **SMOOTH, name="smooth")
    assert second.behind()
    assert second.follow()
    assert not second.behind()
    assert second.tree(("a.hspy", "signal")).nodes["smooth"].id == node.id
    assert first.revision == second.revision
    first.follow()
    second.follow()
    assert not first.follow()
    assert not second.follow()


def test_a_change_by_a_program_that_leaves_no_mark_is_noticed_too(two, tmp_path):
    _, second = two
    second.follow()
    second.follow()
    with closing(sqlite3.connect(tmp_path / "state" / "catalogue.db")) as connection, connection:
        connection.execute("UPDATE state SET changes = changes + 1")
    assert not second.behind()
    assert second.follow()


def asked(app, times=1):
    async def all_of_them():
        await asyncio.gather(*(app({"type": "http"}, None, None) for _ in range(times)))

    asyncio.run(all_of_them())


def test_a_request_sees_what_was_written_before_it(two):
    first, second = two
    seen = []

    async def app(scope, receive, send):
        seen.append("smooth" in second.tree(("a.hspy", "signal")).nodes)

    second.refresh()
    fresh = Fresh(app, second)
    asked(fresh)
    first.add_node(("a.hspy", "signal"), **SMOOTH, name="smooth")
    asked(fresh, 20)
    assert seen == [False] + [True] * 20


def test_until_a_look_in_another_thread_has_ended_it_is_behind(two, monkeypatch):
    first, second = two
    first.add_node(("a.hspy", "signal"), **SMOOTH, name="smooth")
    begun, catch_up = [], second._ledger.catch_up

    def looked(*arguments):
        begun.append(second.behind())
        return catch_up(*arguments)

    monkeypatch.setattr(second._ledger, "catch_up", looked)
    second.refresh()
    assert begun == [True]
    assert not second.behind()


def test_a_request_is_answered_with_what_is_known_while_the_database_is_locked(two, tmp_path):
    first, second = two
    second.refresh()
    seen = []

    async def app(scope, receive, send):
        seen.append(list(second.top.entries))

    first.add_node(("a.hspy", "signal"), **SMOOTH, name="smooth")
    (tmp_path / "state" / "catalogue.db").rename(tmp_path / "state" / "elsewhere")
    asked(Fresh(app, second))
    assert seen == [["a.hspy"]]
    (tmp_path / "state" / "elsewhere").rename(tmp_path / "state" / "catalogue.db")
    assert second.follow()
    assert "smooth" in second.tree(("a.hspy", "signal")).nodes


def test_a_look_that_does_not_end_is_waited_for_once(two, monkeypatch):
    first, second = two
    second.refresh()
    first.add_node(("a.hspy", "signal"), **SMOOTH, name="smooth")
    ends, waits, wait = Event(), [], asyncio.wait
    monkeypatch.setattr(second, "refresh", lambda: ends.wait(30))
    monkeypatch.setattr("tiled_spyde.fresh._PATIENCE", 0.05)

    async def app(scope, receive, send):
        pass

    async def noticed(looks, timeout):
        waits.append(timeout)
        return await wait(looks, timeout=timeout)

    async def one_after_the_other():
        fresh = Fresh(app, second)
        await fresh({"type": "http"}, None, None)
        patient_until = fresh._begun + 0.05
        while asyncio.get_running_loop().time() < patient_until:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(asyncio, "wait", noticed)
        for _ in range(3):
            await fresh({"type": "http"}, None, None)
        ends.set()

    asyncio.run(one_after_the_other())
    assert not waits


@contextmanager
def following(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/state/catalogue.db")
    catalog = Catalog(database, [Served(tmp_path / "data")])

    def index(tell):
        places = [tmp_path / "data"]
        return Index(places, catalog.known, catalog.update, settle=0.05, interval=0.05, tell=tell)

    turn = Turn(tmp_path / "state" / "turn")
    follows = Following(catalog, index, turn, lambda: None, lambda: None, database.await_news)
    follows.start()
    try:
        yield follows, catalog
    finally:
        follows.stop()


def test_one_looks_through_the_folders_and_another_one_when_it_ends(tmp_path, scans):
    (tmp_path / "data").mkdir()
    with following(tmp_path) as (second, there):
        with following(tmp_path) as (third, elsewhere):
            (tmp_path / "data" / "a.hspy").write_bytes((scans / "line.hspy").read_bytes())
            until(lambda: "a.hspy" in there.top.entries and "a.hspy" in elsewhere.top.entries)
            until(lambda: second.progress == third.progress == Progress(1, 1, False))
        with following(tmp_path) as (_, later):
            second.stop()
            (tmp_path / "data" / "b.hspy").write_bytes((scans / "line.hspy").read_bytes())
            until(lambda: "b.hspy" in later.top.entries)


def test_progress_of_what_nobody_has_begun_is_that_folders_are_looked_through(two, tmp_path):
    _, second = two
    second.refresh()
    follows = Following(
        second, None, Turn(tmp_path / "turn"), lambda: None, lambda: None, lambda seconds, ended: None
    )
    assert follows.progress == Progress(1, 1, True)
