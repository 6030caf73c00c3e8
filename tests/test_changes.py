"""Changing, deleting and undoing in the catalogue: what stays, what is bounded, and what can be in the way."""

from __future__ import annotations

import multiprocessing
import subprocess
import time

import pytest
import sqlalchemy as sa
from alembic.config import Config
from catalog_samples import PATH, by_hand, catalog, names, sigma, source, url
from test_database import FAILURES, fill

from tiled_spyde import migrating, records, sqlite
from tiled_spyde.database import VERSION_TABLE, history, nodes, trees
from tiled_spyde.errors import (
    Conflict,
    InvalidOperation,
    NotFound,
    Outdated,
    StorageFull,
    Unavailable,
    status_of,
)
from tiled_spyde.tree import MAX_NODES


@pytest.fixture
def served(each_database, catalogued):
    """A catalogue with one scan, on either database."""
    return catalogued


def whats(served, path=PATH):
    return [done.what for done in served.history(path, 1000)]


class TestSharing:
    def test_what_a_change_does_not_concern_stays_resolved(self, served):
        for name, above in (("a", "root"), ("b", "a"), ("other", "root"), ("last", "other")):
            served.add_node(PATH, **{**sigma(1), "parent": above}, name=name)
        before = dict(served.tree(PATH).recipes)
        tree = served.change_node((*PATH, "a"), parameters={"sigma": 2.0}, name="c").tree
        assert tree is served.tree(PATH)
        for name in ("root", "navigator", "other", "last"):
            assert tree.recipe(name) is before[name]
        for new, old in (("c", "a"), ("b", "b")):
            assert tree.recipe(new).key != before[old].key
        tree = served.delete_node((*PATH, "other"), recursive=True).tree
        assert list(tree.nodes) == ["root", "navigator", "c", "b"]
        assert tree.recipe("navigator") is before["navigator"]

    def test_a_reason_names_a_node_as_it_is_called_now(self, served):
        served.add_node(PATH, parent="root", operation="bin", parameters={"x": 2}, name="a")
        served.add_node(PATH, parent="a", operation="bin", parameters={"x": 8}, name="b")
        served.add_node(PATH, **{**sigma(1), "parent": "b"}, name="c")
        served.change_node((*PATH, "a"), parameters={"x": 4})
        assert "'b', which it is made from" in str(served.tree(PATH).failure("c"))
        served.change_node((*PATH, "b"), name="edge")
        assert "'edge', which it is made from" in str(served.tree(PATH).failure("c"))

    def test_another_operation_takes_its_own_defaults(self, served):
        served.add_node(PATH, **sigma(1), name="a")
        tree = served.change_node((*PATH, "a"), operation="bin").tree
        assert tree.nodes["a"].values() == {"x": 2, "y": None}
        assert tree.nodes["a"].name == "a"


class TestBounds:
    def count(self, tmp_path):
        with by_hand(tmp_path) as connection:
            return connection.execute(sa.select(sa.func.count(), sa.func.sum(history.c.size))).one()

    def test_the_oldest_is_forgotten_in_whole_changes(self, tmp_path, served, monkeypatch):
        monkeypatch.setattr(records, "MAX_HISTORY", 6)
        for number in range(4):
            served.add_node(PATH, **sigma(number + 1), name=f"n{number}")
        served.add_node(PATH, **{**sigma(1), "parent": "n0"}, name="below")
        gone = served.delete_node((*PATH, "n0"), recursive=True).change
        assert whats(served) == ["deleted"] * 2 + ["made"] * 3  # of 7 one too many, and a tenth
        served.change_node((*PATH, "n1"), description="one")
        assert whats(served) == ["changed"] + ["deleted"] * 2 + ["made"] * 3
        for number in range(3):
            served.change_node((*PATH, "n1"), description=f"{number}")
        assert whats(served) == ["changed"] * 4  # rather than that with half of the deletion
        served.change_node((*PATH, "n1"), description="and one more")
        assert whats(served) == ["changed"] * 5
        assert self.count(tmp_path)[0] == 5
        with pytest.raises(NotFound, match="not any more"):
            served.undo(PATH, gone)

    def test_a_deletion_that_is_larger_than_the_bound_can_be_undone(self, served, monkeypatch):
        monkeypatch.setattr(records, "MAX_HISTORY", 3)
        monkeypatch.setattr(records, "MAX_HISTORY_SIZE", 100)
        served.add_node(PATH, **sigma(1), name="a")
        for number in range(5):
            served.add_node(PATH, **{**sigma(number + 2), "parent": "a"})
        there = names(served)
        done = served.delete_node((*PATH, "a"), recursive=True)
        assert whats(served) == ["deleted"] * 6
        assert served.undo(PATH, done.change).changed == tuple(there)
        assert names(served) == there

    def test_large_parameters_fill_it_sooner_and_are_read_by_portions(self, tmp_path, served, monkeypatch):
        served.add_node(PATH, **sigma(1), name="a")
        monkeypatch.setattr(records, "MAX_HISTORY_SIZE", 50_000)
        for number in range(20):
            served.change_node((*PATH, "a"), description=f"{number}" * 4000)
        assert self.count(tmp_path)[1] <= 50_000
        monkeypatch.setattr(records, "_READ_SIZE", 20_000)
        found = served.history(PATH, 1000)
        assert 1 <= len(found) < self.count(tmp_path)[0]
        monkeypatch.setattr(records, "_READ_SIZE", 1)
        assert served.history(PATH, 1000) == found[:1]

    def test_a_tree_of_10_000_nodes_changes_as_a_small_one(self, tmp_path, data_folder, served):
        first, _ = served.add_node(PATH, **sigma(0.5), name="first")
        write(
            tmp_path,
            [(f"id {i}", f"n{i}", first.id, f'{{"sigma":{2 + i / 1000}}}') for i in range(MAX_NODES - 3)],
        )
        served = catalog(tmp_path, data_folder)
        assert len(served.tree(PATH).nodes) == MAX_NODES
        key = served.tree(PATH).recipe("n77").key
        began = time.perf_counter()
        tree = served.change_node((*PATH, "n0"), name="renamed").tree
        print(f"renaming one: {time.perf_counter() - began:.3f} s")
        assert tree.recipe("n77").key == key
        began = time.perf_counter()
        tree = served.change_node((*PATH, "first"), parameters={"sigma": 0.6}).tree
        print(f"re-pointing what all are made from: {time.perf_counter() - began:.3f} s")
        assert tree.recipe("n77").key != key
        with pytest.raises(Conflict, match=r"and 9987 more are made from 'first'"):
            served.delete_node((*PATH, "first"))
        began = time.perf_counter()
        done = served.delete_node((*PATH, "first"), recursive=True)
        print(f"deleting all: {time.perf_counter() - began:.3f} s")
        assert len(done.deleted) == MAX_NODES - 2
        assert names(served) == []
        small, _ = served.add_node(PATH, **sigma(7))
        with pytest.raises(InvalidOperation, match="at most 10000 nodes"):
            served.undo(PATH, done.change)
        served.delete_node((*PATH, small.name))
        began = time.perf_counter()
        assert len(served.undo(PATH, done.change).changed) == MAX_NODES - 2
        print(f"undoing that: {time.perf_counter() - began:.3f} s")
        assert list(catalog(tmp_path, data_folder).tree(PATH).nodes) == list(served.tree(PATH).nodes)


def write(folder, rows):
    """Write nodes by hand: id, name, parent, parameters."""
    with by_hand(folder) as connection:
        given = {
            "tree": connection.scalar(sa.select(trees.c.id)),
            "operation": "gaussian_filter",
            "created": "",
            "made": 99,
        }
        columns = ("id", "name", "parent", "parameters")
        connection.execute(
            nodes.insert(), [{**given, **dict(zip(columns, row, strict=True))} for row in rows]
        )


PREPARED = {"scan.hspy/signal": [{**sigma(1), "name": "a"}, {**sigma(2), "parent": "a"}]}


class TestPrepared:
    def test_what_people_have_deleted_is_not_made_again(self, tmp_path, data_folder, served):
        served.prepare(PREPARED)
        assert names(served) == ["a", "gaussian_filter"]
        served.delete_node((*PATH, "a"), recursive=True)
        served.update({data_folder / "other.hspy": source(data_folder / "other.hspy", "o")})
        served.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy", "new content")})
        again = catalog(tmp_path, data_folder)
        again.prepare(PREPARED)
        assert names(served) == names(again) == []
        again.undo(PATH, again.history(PATH, 1)[0].change)
        assert names(again) == ["a", "gaussian_filter"]

    def test_nor_is_what_they_have_renamed(self, tmp_path, data_folder, served):
        served.prepare(PREPARED)
        served.change_node((*PATH, "a"), name="b")
        again = catalog(tmp_path, data_folder)
        again.prepare(PREPARED)
        assert names(again) == ["b", "gaussian_filter"]


class TestOthers:
    def test_see_what_was_changed_and_deleted(self, tmp_path, data_folder, served):
        other = catalog(tmp_path, data_folder)
        for name in "ab":
            served.add_node(PATH, **sigma(1), name=name)
        assert other.refresh()
        served.change_node((*PATH, "a"), name="c")
        served.delete_node((*PATH, "b"))
        assert other.behind()
        assert other.refresh()
        assert names(other) == ["c"]
        with pytest.raises(NotFound):
            other.change_node((*PATH, "b"), name="d")

    def test_one_that_has_not_looked_is_told_of_a_change(self, tmp_path, data_folder, served):
        node, _ = served.add_node(PATH, **sigma(1), name="a")
        other = catalog(tmp_path, data_folder)
        served.change_node((*PATH, "a"), description="ada's", by="ada")
        for change in (other.change_node, other.delete_node):
            with pytest.raises(Outdated, match=r"changed meanwhile \(by ada, .*: changed\)") as refused:
                change((*PATH, "a"), if_match=f'"{node.version}"')
            assert refused.value.tree.nodes["a"].description == "ada's"

    def test_what_others_have_left_alone_stays_resolved(self, tmp_path, data_folder, served):
        for name in ("a", "b"):
            served.add_node(PATH, **sigma(1), name=name)
        other = catalog(tmp_path, data_folder)
        before = {name: other.tree(PATH).recipe(name) for name in ("root", "navigator", "a", "b")}
        served.change_node((*PATH, "a"), parameters={"sigma": 2.0})
        served.add_node(PATH, **sigma(3), name="c")
        other.refresh()
        now = other.tree(PATH)
        assert {name: now.recipe(name) is before[name] for name in before} == {
            "root": True, "navigator": True, "a": False, "b": True,
        }  # fmt: skip
        assert {name: now.recipe(name).key for name in now.nodes} == {
            name: served.tree(PATH).recipe(name).key for name in now.nodes
        }

    def test_parameters_are_of_the_operation_that_others_have_chosen(self, tmp_path, data_folder, served):
        served.add_node(PATH, **sigma(1), name="a")
        other = catalog(tmp_path, data_folder)
        other.change_node((*PATH, "a"), operation="bin", parameters={"x": 2})
        done = served.change_node((*PATH, "a"), parameters={"x": 4})
        assert (done.tree.nodes["a"].operation, done.tree.nodes["a"].values()["x"]) == ("bin", 4)
        with pytest.raises(InvalidOperation, match="bin: sigma"):
            served.change_node((*PATH, "a"), parameters={"sigma": 2.0})

    def test_who_is_kept_in_characters_that_any_database_takes(self, tmp_path, data_folder, served):
        served.add_node(PATH, **sigma(1), name="a", by="Ada\0\udcff")
        served.change_node((*PATH, "a"), description="x\0\udcff", by="Ben\0")
        assert [done.by for done in catalog(tmp_path, data_folder).history(PATH, 9)] == ["Ben?", "Ada??"]
        assert names(catalog(tmp_path, data_folder)) == ["a"]

    def test_nothing_is_lost_between_processes_that_all_count(self, tmp_path, data_folder, served):
        """Each reads, adds one, and says which version it read; whoever is refused reads again."""
        served.add_node(PATH, **sigma(1), name="a")
        spawn = multiprocessing.get_context("spawn")
        processes = [spawn.Process(target=_count, args=(tmp_path, data_folder, 15)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * 3
        served.refresh()
        assert served.tree(PATH).nodes["a"].values() == {"sigma": 46.0}
        assert whats(served) == ["changed"] * 45 + ["made"]


def _count(folder, data_folder, times):
    mine = catalog(folder, data_folder)
    while times:
        mine.refresh()
        node = mine.tree(PATH).nodes["a"]
        wanted = {"sigma": node.values()["sigma"] + 1}
        try:
            mine.change_node((*PATH, "a"), parameters=wanted, if_match=f'"{node.version}"')
            times -= 1
        except (Outdated, Unavailable):
            continue


def changes_of(served):
    yield lambda: served.change_node((*PATH, "a"), name="c")
    yield lambda: served.change_node((*PATH, "a"), parameters={"sigma": 9.0})
    yield lambda: served.delete_node((*PATH, "a"))


class TestFailures:
    @pytest.mark.parametrize(("failing", "told"), FAILURES, ids=lambda f: getattr(f, "__name__", ""))
    def test_nothing_is_changed_while_the_database_cannot_be_written(
        self, tmp_path, failing, told, monkeypatch
    ):
        monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
        state, data = tmp_path / "state", tmp_path / "data"
        served = catalog(state, data)
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        served.add_node(PATH, **sigma(1), name="a")
        number = served.change_node((*PATH, "a"), description="x").change
        tree, past = served.tree(PATH), served.history(PATH, 9)
        with failing(state):
            for change in changes_of(served):
                with pytest.raises(Unavailable, match=told) as refused:
                    change()
                assert status_of(refused.value) == 503
            with pytest.raises(Unavailable, match=told):
                served.undo(PATH, number)
            assert served.tree(PATH) is tree
            with pytest.raises(NotFound):
                served.change_node(("nobody", "signal", "a"), name="c")
        assert served.history(PATH, 9) == past
        assert served.undo(PATH, number).tree.nodes["a"].description is None
        assert served.change_node((*PATH, "a"), name="c").changed == ("c",)
        assert list(catalog(state, data).tree(PATH).nodes)[2:] == ["c"]

    def test_a_full_disk_is_507_and_leaves_no_half_of_a_change(self, tmp_path):
        disk, data = tmp_path / "disk", tmp_path / "data"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk can be made only by one who may mount")
        try:
            served = catalog(disk, data)
            served.update({data / "scan.hspy": source(data / "scan.hspy")})
            served.add_node(PATH, **sigma(1), name="a")
            with pytest.raises(OSError, match="No space"):
                fill(disk / "filling")
            for change in changes_of(served):
                with pytest.raises(StorageFull, match="Free some space") as refused:
                    change()
                assert status_of(refused.value) == 507
            assert names(served) == names(catalog(disk, data)) == ["a"]
            (disk / "filling").unlink()
            assert served.delete_node((*PATH, "a")).deleted == ("a",)
            assert whats(served) == ["deleted", "made"]
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_what_somebody_wrote_by_hand_is_refused_or_changed(self, tmp_path, data_folder, served):
        served.add_node(PATH, **sigma(1), name="a")
        odd = [("root", "r", "root", "{"), ("x", "a/b", "nobody", "[" * 10**5), ("y", "z", "y", "NaN")]
        write(tmp_path, odd)
        served = catalog(tmp_path, data_folder)
        (odd,) = [name for name in names(served) if name.startswith("node-")]
        assert served.tree(PATH).nodes[odd].values() is served.tree(PATH).nodes["z"].values() is None
        with pytest.raises(InvalidOperation, match="own"):
            served.delete_node((*PATH, "r"))
        with pytest.raises(InvalidOperation, match="mend that first"):
            served.change_node((*PATH, odd), parameters={})
        renamed = served.change_node((*PATH, odd), name="named")
        assert renamed.changed == ("named",)
        assert served.undo(PATH, renamed.change).changed == (odd,)
        assert served.delete_node((*PATH, odd)).deleted == (odd,)
        assert served.delete_node((*PATH, "z"), recursive=True).deleted == ("z",)


def test_a_database_of_the_first_version_is_brought_up_to_date(each_database, tmp_path, data_folder):
    if each_database == "sqlite":
        engine = sa.create_engine(url(tmp_path), poolclass=sa.NullPool)
        with engine.begin() as connection:
            config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
            config.set_main_option("script_location", str(migrating.STEPS))
            migrating.run_steps(config, "0001")
    else:
        url(tmp_path)  # which has the newest tables
        with by_hand(tmp_path) as connection:
            connection.exec_driver_sql("DROP TABLE history, previews")
            connection.exec_driver_sql("ALTER TABLE nodes DROP COLUMN description, DROP COLUMN version")
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")  # noqa: S608
    with by_hand(tmp_path) as connection:
        uri = (data_folder / "scan.hspy").as_uri()
        connection.exec_driver_sql("UPDATE state SET changes = 9")
        connection.execute(
            trees.insert().values(id="t", path=uri, signal="signal", fingerprint="f", changed=8)
        )
        for name, parent, made in (("a", "root", 7), ("b", "id of a", 8)):
            row = {"id": f"id of {name}", "tree": "t", "name": name, "parent": parent, "made": made}
            step = {"operation": "gaussian_filter", "parameters": '{"sigma":1.0}'}
            connection.execute(nodes.insert().values(**row, **step, created="then", created_by="ada"))
    served = catalog(tmp_path, data_folder)
    served.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
    kept = list(served.tree(PATH).nodes.values())[2:]
    assert [(node.name, node.created_by, node.made, node.version) for node in kept] == [
        ("a", "ada", 7, 7),
        ("b", "ada", 8, 8),
    ]
    assert served.tree(PATH).parent_name("b") == "a"
    assert served.history(PATH, 9) == []
    done = served.delete_node((*PATH, "a"), recursive=True, if_match='"7"')
    assert served.undo(PATH, done.change).changed == ("a", "b")
    assert names(catalog(tmp_path, data_folder)) == ["a", "b"]
