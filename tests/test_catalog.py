"""What is served and what lasts of it: names, moves, odd rows, two processes, and a model to compare with."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from catalog_samples import catalog, sigma, source, url
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tiled_spyde.catalog import Catalog, Folder, Served, SourceFile
from tiled_spyde.database import Database
from tiled_spyde.errors import Gone, InvalidOperation, NameTaken, NotFound, SpydeError, TooLarge
from tiled_spyde.names import safe_name
from tiled_spyde.operations import build
from tiled_spyde.records import Remembered

PATH = ("scan.hspy", "signal")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def served(tmp_path, data):
    """A catalogue with one scan."""
    made = catalog(tmp_path, data)
    made.update({data / "scan.hspy": source(data / "scan.hspy")})
    return made


def names(catalog, path=PATH):
    return list(catalog.tree(path).nodes)[2:]


def addresses(folder, above=()):
    for name, entry in folder.entries.items():
        yield from addresses(entry, (*above, name)) if isinstance(entry, Folder) else [(*above, name)]


class TestNames:
    @pytest.mark.parametrize("name", ["scan.hspy", "a b (1).tif", "größe.mrc", "x+y=z,w-1.h5"])
    def test_a_safe_name_stays(self, name):
        assert safe_name(name) == name

    @pytest.mark.parametrize(
        "name",
        ["a/b", "a~b", "a\nb", "..", ".", "a@b", " a", "\udcff.tif", "x" * 300 + ".tif", "e\u0301", ""],
    )
    def test_another_becomes_safe_and_is_marked(self, name):
        made = safe_name(name)
        assert made != name
        assert made.isprintable()
        assert not set("/@\n?#%") & set(made)
        assert len(made) <= 150
        assert made.count("~") == 1

    def test_names_never_meet_whatever_lies_beside(self, tmp_path, data):
        paths = [data / n for n in ("a?b", "a*b", "a_b", safe_name("a?b"), "c/a?b", "c?/x", "c*/x")]
        there, back = catalog(tmp_path / "1", data), catalog(tmp_path / "2", data)
        there.update({path: source(path) for path in paths})
        for path in reversed(paths):
            back.update({path: source(path)})
        assert list(addresses(there.top)) == list(addresses(back.top))
        assert len(list(addresses(there.top))) == len(paths)

    def test_a_file_whose_name_is_no_text_is_remembered(self, tmp_path, data):
        path = data / os.fsdecode(b"\xff\xfe \xc3\xa9%41.tif")
        catalog(tmp_path, data).update({path: source(path)})
        assert catalog(tmp_path, data).known[path].path == path

    def test_served_names_and_single_files(self, tmp_path):
        places = [Served(tmp_path / "a", ("one",)), Served(tmp_path / "b" / "x.tif", ("two.tif",))]
        made = Catalog(Database(url(tmp_path)), [*places, Served(tmp_path / "a" / "in", ("in",))])
        found = ["a/s.tif", "b/x.tif", "a/in/t.tif", "b/other.tif", "ab/s.tif"]
        made.update({tmp_path / name: source(tmp_path / name) for name in found})
        assert list(addresses(made.top)) == [("in", "t.tif"), ("one", "s.tif"), ("two.tif",)]


class TestFiles:
    def test_known_is_what_was_told(self, tmp_path, data, served):
        told = source(data / "scan.hspy", "other", names=("a", "b"))
        served.update({data / "scan.hspy": told})
        assert served.known[data / "scan.hspy"] == told
        assert dict(catalog(tmp_path, data).known) == {data / "scan.hspy": told}

    def test_every_signal_is_a_tree(self, data, served):
        served.update({data / "two.h5": source(data / "two.h5", names=("a", "b"))})
        assert list(served.top.entries["two.h5"].trees) == ["a", "b"]

    def test_one_that_cannot_be_read_says_why(self, data, served):
        served.update({data / "bad.h5": source(data / "bad.h5").__class__(data / "bad.h5", error="broken")})
        assert served.top.entries["bad.h5"].error == "broken"
        with pytest.raises(NotFound):
            served.tree(("bad.h5", "signal"))

    def test_listing_parses_nothing(self, tmp_path, data, served, monkeypatch):
        again = catalog(tmp_path, data)
        monkeypatch.setattr(Remembered, "source", lambda self: pytest.fail("parsed"))
        assert [(name, file.signals, file.error) for name, file in again.top.entries.items()] == [
            ("scan.hspy", ("signal",), None)
        ]

    def test_a_file_becomes_a_folder_in_either_order(self, data, served):
        inside = data / "scan.hspy" / "x.tif"
        served.update({inside: source(inside)})
        served.update({data / "scan.hspy": None})
        assert list(addresses(served.top)) == [("scan.hspy", "x.tif")]
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        served.update({inside: None})
        assert list(addresses(served.top)) == [("scan.hspy",)]

    def test_a_snapshot_does_not_change(self, data, served):
        before = served.top
        served.update({data / "scan.hspy": None})
        assert isinstance(before.entries["scan.hspy"], SourceFile)
        assert served.top.entries == {}

    def test_a_source_that_makes_no_sense_any_more_is_said(self, tmp_path, data, served):
        with closing(sqlite3.connect(tmp_path / "catalogue.db")) as by_hand, by_hand:
            by_hand.execute("UPDATE sources SET described = '{'")
        assert "makes no sense" in catalog(tmp_path, data).known[data / "scan.hspy"].error


class TestNodes:
    def test_survive(self, tmp_path, data, served):
        node, made = served.add_node(PATH, **sigma(1), by="Ada\0\udcff")
        again = catalog(tmp_path, data).tree(PATH)
        assert made
        assert again.nodes[node.name].id == node.id
        assert again.nodes[node.name].created == node.created
        assert again.nodes[node.name].created.endswith("+00:00")
        assert again.recipe(node.name).key == served.tree(PATH).recipe(node.name).key
        assert again.nodes[node.name].created_by == "Ada??"

    def test_the_same_again_is_found(self, served):
        node, _ = served.add_node(PATH, **sigma(1))
        assert served.add_node(PATH, **sigma(1)) == (node, False)
        assert served.add_node(PATH, **sigma(1), name="another")[1]

    @pytest.mark.parametrize(
        ("wanted", "error"),
        [
            ({"name": "navigator"}, NameTaken),
            ({"name": "taken", **sigma(2)}, NameTaken),
            ({"name": "a/b"}, InvalidOperation),
            ({"name": "x" * 10**6}, InvalidOperation),
            ({"parent": "nobody"}, NotFound),
            ({"operation": "rm -rf"}, InvalidOperation),
            (
                {"operation": "virtual_image", "parameters": {"detector": {"kind": "x" * 2**20}}},
                InvalidOperation,
            ),
        ],
    )
    def test_a_bad_one_changes_nothing(self, tmp_path, data, served, wanted, error):
        served.add_node(PATH, **sigma(1), name="taken")
        before = (tmp_path / "catalogue.db").read_bytes()
        with pytest.raises(error) as refused:
            served.add_node(PATH, **{**sigma(3), **wanted})
        assert len(str(refused.value)) < 1000
        assert (tmp_path / "catalogue.db").read_bytes() == before

    def test_parameters_of_a_megabyte_are_refused(self, served, monkeypatch):
        monkeypatch.setattr("tiled_spyde.tree.MAX_PARAMETERS", 5)
        with pytest.raises(TooLarge, match="at most 5"):
            served.add_node(PATH, **sigma(1))
        assert names(served) == []

    def test_a_chain_has_64_steps(self, tmp_path, data, served):
        above = "root"
        for number in range(64):
            above = served.add_node(PATH, **{**sigma(number + 1), "parent": above})[0].name
        with pytest.raises(InvalidOperation, match="64"):
            served.add_node(PATH, **{**sigma(99), "parent": above})
        assert len(catalog(tmp_path, data).tree(PATH).recipes) == 66

    def test_an_image_has_no_navigator(self, data, served):
        served.update({data / "i.tif": source(data / "i.tif", shape=(8, 8))})
        assert list(served.tree(("i.tif", "signal")).nodes) == ["root"]

    def test_a_navigator_that_cannot_be_made_is_left_out(self, data, served):
        served.update({data / "v.h5": source(data / "v.h5", shape=(4, 2, 2, 2, 2, 2), signal_axes=5)})
        assert list(served.tree(("v.h5", "signal")).nodes) == ["root"]

    def test_a_calibration_stands_before_everything(self, tmp_path, data, served):
        calibrated = catalog(tmp_path, data, calibration=lambda path, signal: build("bin", {"x": 2, "y": 2}))
        node, _ = calibrated.add_node(PATH, **sigma(1))
        tree = calibrated.tree(PATH)
        assert tree.recipe("root").info.signal_shape == (8, 8)
        assert [step["operation"] for step in tree.recipe(node.name).to_json()] == ["bin", "gaussian_filter"]

    def test_a_calibration_that_does_not_fit_leaves_the_tree_as_the_file_has_it(self, tmp_path, data, served):
        served.add_node(PATH, **sigma(1))
        wrong = catalog(tmp_path, data, calibration=lambda path, signal: build("bin", {"x": 99, "y": 2}))
        tree = wrong.tree(PATH)
        assert "calibration in the configuration" in tree.calibration_error
        assert tree.recipe("root").parent is None
        assert tree.failure("gaussian_filter") is None


class TestFilesChange:
    def test_nodes_stay_and_what_no_longer_fits_is_failed(self, tmp_path, data, served):
        binned, _ = served.add_node(PATH, parent="root", operation="bin", parameters={"x": 8, "y": 8})
        below, _ = served.add_node(PATH, **{**sigma(1), "parent": binned.name})
        smooth, _ = served.add_node(PATH, **sigma(2))
        old = {name: served.tree(PATH).recipe(name).key for name in (binned.name, below.name, smooth.name)}
        served.update({data / "scan.hspy": source(data / "scan.hspy", "new", shape=(4, 5, 6, 6))})
        for tree in served.tree(PATH), catalog(tmp_path, data).tree(PATH):
            assert tree.failure(smooth.name) is None
            assert tree.recipe(smooth.name).info.signal_shape == (6, 6)
            assert tree.failure(binned.name)
            assert "is failed" in str(tree.failure(below.name))
            for name, key in old.items():
                with pytest.raises(Gone):
                    tree.recipe(f"{name}@{key}")
            with pytest.raises(InvalidOperation):
                tree.recipe(below.name)
        with pytest.raises(InvalidOperation, match="nothing can be made from it"):
            served.add_node(PATH, **{**sigma(5), "parent": below.name})
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        assert served.tree(PATH).recipe(below.name).key == old[below.name]

    def test_a_file_that_comes_back_has_its_nodes(self, tmp_path, data, served):
        node, _ = served.add_node(PATH, **sigma(1))
        for change in None, source(data / "scan.hspy").__class__(data / "scan.hspy", error="half written"):
            served.update({data / "scan.hspy": change})
            served = catalog(tmp_path, data)
            served.update({data / "scan.hspy": source(data / "scan.hspy")})
            assert served.tree(PATH).nodes[node.name].id == node.id

    @pytest.mark.parametrize("order", ["together", "old first", "new first", "restarted"])
    def test_a_moved_file_takes_its_nodes_along(self, tmp_path, data, served, order):
        node, _ = served.add_node(PATH, **sigma(1))
        old, new = data / "scan.hspy", data / "archive" / "scan.hspy"
        batches = [{old: None}, {new: source(new)}]
        if order == "together":
            batches = [batches[0] | batches[1]]
        for batch in reversed(batches) if order == "new first" else batches:
            served.update(batch)
            served = catalog(tmp_path, data) if order == "restarted" else served
        for each in served, catalog(tmp_path, data):
            assert each.tree(("archive", *PATH)).nodes[node.name].id == node.id
        new.parent.mkdir()
        new.touch()
        served.update({old: source(old)})
        assert names(served) == []

    def test_a_copy_takes_nothing_and_nor_does_a_place_that_has_nodes(self, data, served):
        (data / "scan.hspy").touch()
        node, _ = served.add_node(PATH, **sigma(1))
        copy = data / "copy" / "scan.hspy"
        served.update({copy: source(copy)})
        assert names(served, ("copy", *PATH)) == []
        served.add_node(("copy", *PATH), **sigma(2), name="own")
        (data / "scan.hspy").unlink()
        served.update({data / "scan.hspy": None})
        assert names(served, ("copy", *PATH)) == ["own"]
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        assert names(served) == [node.name]

    @pytest.mark.parametrize("apart", [False, True])
    def test_nodes_go_to_another_served_folder_only_where_everyone_may_read_both(self, tmp_path, apart):
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        both = [Served(one, ("one",)), Served(two, ("two",))]
        served = Catalog(Database(url(tmp_path)), both, apart=apart)
        old, new = one / "scan.hspy", two / "scan.hspy"
        served.update({old: source(old)})
        node, _ = served.add_node(("one", *PATH), **sigma(1))
        served.update({old: None, new: source(new)})
        assert names(served, ("two", *PATH)) == ([] if apart else [node.name])
        served.update({one / "sub" / "scan.hspy": source(one / "sub" / "scan.hspy")})
        assert names(served, ("one", "sub", *PATH)) == ([node.name] if apart else [])

    def test_a_served_folder_that_is_not_there_keeps_its_nodes(self, tmp_path, data):
        disk = tmp_path / "disk"
        disk.mkdir()
        both = [Served(disk, ("disk",)), Served(data, ("data",))]
        served = Catalog(Database(url(tmp_path)), both)
        served.update({folder / "s.tif": source(folder / "s.tif") for folder in (disk, data)})
        node, _ = served.add_node(("disk", "s.tif", "signal"), **sigma(1))
        disk.rmdir()
        served.update({disk / "s.tif": None})
        assert names(served, ("data", "s.tif", "signal")) == []
        served.update({disk / "s.tif": source(disk / "s.tif")})
        assert names(served, ("disk", "s.tif", "signal")) == [node.name]


class TestOddRows:
    """What a newer version, or a person with a database browser, may have written."""

    ODD = (
        ("unknown", "root", "of_a_newer_version", "{}", "no operation"),
        ("no json", "root", "gaussian_filter", "{", "no JSON"),
        ("deep", "root", "gaussian_filter", "[" * 10**5, "JSON"),
        ("wrong", "root", "gaussian_filter", '{"sigma":"x"}', "sigma"),
        ("orphan", "nobody", "gaussian_filter", '{"sigma":1.0}', "not in this tree"),
        ("self", "id of self", "gaussian_filter", '{"sigma":1.0}', "made from itself"),
        ("circle a", "id of circle b", "gaussian_filter", '{"sigma":1.0}', "made from itself"),
        ("circle b", "id of circle a", "gaussian_filter", '{"sigma":1.0}', "made from itself"),
    )

    def write(self, folder, rows):
        with closing(sqlite3.connect(folder / "catalogue.db")) as by_hand, by_hand:
            (tree,) = by_hand.execute("SELECT id FROM trees").fetchone()
            for name, parent, operation, parameters, *_ in rows:
                row = (f"id of {name}", tree, name, parent, operation, parameters, "", None, 99)
                by_hand.execute("INSERT INTO nodes VALUES (?,?,?,?,?,?,?,?,?)", row)

    def test_fail_with_their_reason_and_nothing_else_does(self, tmp_path, data, served):
        node, _ = served.add_node(PATH, **sigma(1))
        self.write(tmp_path, self.ODD)
        tree = catalog(tmp_path, data).tree(PATH)
        for name, *_, reason in self.ODD:
            assert reason in str(tree.failure(name)), name
        assert set(tree.recipes) == {"root", "navigator", node.name}
        assert tree.parent_name("orphan") == "nobody"

    def test_a_long_chain_is_failed(self, tmp_path, data, served):
        served.add_node(PATH, **sigma(1))
        chain = [
            (f"n{i}", f"id of n{i - 1}" if i else "root", "gaussian_filter", '{"sigma":1.0}')
            for i in range(3000)
        ]
        self.write(tmp_path, chain)
        tree = catalog(tmp_path, data).tree(PATH)
        assert "64" in str(tree.failure("n2999"))
        assert tree.failure("n63") is None
        assert tree.failure("n64")

    def test_a_tree_of_10_000_nodes_is_full(self, tmp_path, data, served):
        served.add_node(PATH, **sigma(1))
        rows = [(f"n{i}", "root", "gaussian_filter", f'{{"sigma":{2 + i / 1000}}}') for i in range(9996)]
        self.write(tmp_path, rows)
        served = catalog(tmp_path, data)
        assert served.add_node(PATH, **sigma(100))[1]
        with pytest.raises(InvalidOperation, match="at most 10000 nodes"):
            served.add_node(PATH, **sigma(101))
        assert len(served.tree(PATH).nodes) == 10_000

    @pytest.mark.parametrize("name", ["root", "navigator", "a/b", "", "x" * 10**6])
    def test_a_name_that_cannot_be_is_shown_as_another(self, tmp_path, data, served, name):
        served.add_node(PATH, **sigma(1))
        self.write(tmp_path, [(name, "root", "gaussian_filter", '{"sigma":3.0}')])
        tree = catalog(tmp_path, data).tree(PATH)
        assert [n[:5] for n in tree.nodes] == ["root", "navig", "gauss", "node-"]
        assert tree.recipe("root").parent is None


PREPARED = {
    "scan.hspy/signal": [
        {
            "name": "second",
            "parent": "first",
            "operation": "gaussian_filter",
            "parameters": {"sigma": 2.0},
        },
        {"name": "first", "operation": "gaussian_filter", "parameters": {"sigma": 1.0}},
    ]
}


class TestPrepared:
    def test_are_made_when_their_file_is_known(self, tmp_path, data):
        served = catalog(tmp_path, data)
        served.prepare(PREPARED)
        served.update({data / "scan.hspy": source(data / "scan.hspy")})
        assert names(served) == ["first", "second"]
        assert served.tree(PATH).nodes["first"].created_by == "configuration"

    def test_are_made_once(self, tmp_path, data, served):
        served.prepare(PREPARED)
        ids = [node.id for node in served.tree(PATH).nodes.values()]
        again = catalog(tmp_path, data)
        again.prepare(PREPARED)
        assert [node.id for node in again.tree(PATH).nodes.values()] == ids

    def test_a_persons_node_of_the_same_name_stays(self, served, caplog):
        own, _ = served.add_node(PATH, **sigma(9), name="first")
        served.prepare(PREPARED)
        assert served.tree(PATH).nodes["first"] == own
        assert "is taken by another node" in caplog.text

    def test_wait_for_the_database(self, tmp_path, data, served):
        (tmp_path / "catalogue.db").rename(tmp_path / "away")
        served.prepare(PREPARED)
        assert names(served) == []
        (tmp_path / "away").rename(tmp_path / "catalogue.db")
        served.refresh()
        assert names(served) == ["first", "second"]

    @pytest.mark.parametrize(
        ("nodes", "told"),
        [
            ([{"name": "a"}], "operation: Field required"),
            ("text", "valid tuple"),
            ([{**sigma(1), "colour": 1}], "colour"),
            ([{**sigma(-1), "name": "a"}], "node a: gaussian_filter: sigma"),
            ([{**sigma(1), "name": "a/b"}], "not usable"),
            ([{**sigma(1), "name": "a", "parent": "b"}, {**sigma(2), "name": "b", "parent": "a"}], "circle"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_at_once(self, served, nodes, told):
        with pytest.raises(InvalidOperation, match=f"(?s)scan.hspy/signal.*{told}"):
            served.prepare({"scan.hspy/signal": nodes})


class TestTwoProcesses:
    def test_see_what_the_other_does(self, tmp_path, data, served):
        other = catalog(tmp_path, data)
        assert not other.refresh()
        node, _ = served.add_node(PATH, **sigma(1))
        served.update({data / "new.tif": source(data / "new.tif", "n")})
        assert other.refresh()
        assert not other.refresh()
        assert names(other) == [node.name]
        assert set(other.known) == set(served.known)
        served.update({data / "new.tif": None, data / "a" / "scan.hspy": source(data / "a" / "scan.hspy")})
        served.update({data / "scan.hspy": None})
        assert other.refresh()
        assert list(addresses(other.top)) == [("a", "scan.hspy")]
        assert names(other, ("a", *PATH)) == [node.name]

    def test_a_name_that_the_other_has_just_taken_is_taken(self, tmp_path, data, served):
        other = catalog(tmp_path, data)
        node, _ = served.add_node(PATH, **sigma(1), name="mine")
        with pytest.raises(NameTaken):
            other.add_node(PATH, **sigma(2), name="mine")
        assert other.add_node(PATH, **sigma(1), name="mine") == (node, False)

    def test_what_is_open_stays_open(self, tmp_path, data, served):
        other = catalog(tmp_path, data)
        root = other.tree(PATH).root
        served.add_node(PATH, **sigma(1))
        other.refresh()
        assert other.tree(PATH).root is root


class Model(RuleBasedStateMachine):
    """Two catalogues on one database against a dictionary of what people made."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.data = self.folder / "data"
        self.data.mkdir()
        self.catalogs = [catalog(self.folder, self.data) for _ in range(2)]
        # By file: what it holds (None: gone), and the steps by name. Contents are told apart by a number.
        self.content: dict[str, str | None] = {}
        self.nodes: dict[str, dict[str, float]] = {}
        self.count = 0

    def teardown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def there(self):
        return sorted(name for name, content in self.content.items() if content)

    files = st.sampled_from(["a.tif", "b.tif", "in/a.tif", "in/b?.tif"])
    which = st.sampled_from([0, 1])

    def update(self, who, changes):
        self.catalogs[who].update({self.data / n: c and source(self.data / n, c) for n, c in changes.items()})
        self.content |= changes

    @rule(who=which, name=files)
    def replace(self, who, name):
        self.count += 1
        self.update(who, {name: f"content {self.count}"})

    @rule(who=which, name=files)
    def remove(self, who, name):
        self.update(who, {name: None})

    @rule(who=which, old=files, new=files)
    def move(self, who, old, new):
        content = self.content.get(old)
        if content and not self.content.get(new) and not self.nodes.get(new):
            self.update(who, {old: None, new: content})
            self.nodes[new] = self.nodes.pop(old, {})

    @rule(who=which, name=files)
    def come_back(self, who, name):
        """The file as it was when it was there last: nobody else can have its content."""
        if name in self.content and self.content[name] is None:
            self.replace(who, name)

    @precondition(lambda self: self.there())
    @rule(
        who=which,
        pick=st.randoms(use_true_random=False),
        number=st.integers(1, 4),
        name=st.sampled_from("pqr"),
    )
    def add(self, who, pick, number, name):
        file = pick.choice(self.there())
        held = self.nodes.setdefault(file, {})
        address = (*(safe_name(part) for part in file.split("/")), "signal")
        try:
            _, made = self.catalogs[who].add_node(address, **sigma(number), name=name)
        except NameTaken:
            assert held[name] != number
            return
        except NotFound:  # the other has found it, and this one has not looked yet
            self.catalogs[who].refresh()
            _, made = (
                self.catalogs[who].add_node(address, **sigma(number), name=name)
                if name not in held
                else (0, 0)
            )
            if not made:
                return
        assert made == (name not in held)
        assert held.setdefault(name, number) == number

    @rule(
        who=which,
        bad=st.sampled_from([{"name": "a/b"}, {"parent": "none"}, {"operation": "no"}, {"name": "root"}]),
    )
    def add_bad(self, who, bad):
        with pytest.raises(SpydeError):
            self.catalogs[who].add_node(("a.tif", "signal"), **{**sigma(7), **bad})

    @rule(who=which)
    def reopen(self, who):
        self.catalogs[who] = catalog(self.folder, self.data)

    @invariant()
    def all_agree(self):
        for each in getattr(self, "catalogs", ()):
            each.refresh()
            files = {"/".join(p.relative_to(self.data).parts): p for p in each.known}
            assert {name: each.known[path].fingerprint for name, path in files.items()} == {
                name: self.content[name] for name in self.there()
            }
            for name in self.there():
                tree = each.tree((*(safe_name(part) for part in name.split("/")), "signal"))
                made = {n: tree.recipe(n).operation.sigma for n in list(tree.nodes)[2:]}
                assert made == self.nodes.get(name, {})


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)

_CHILD = """
import sys
from pathlib import Path
from catalog_samples import catalog, sigma
made = catalog(Path(sys.argv[1]), Path(sys.argv[2]))
start = len(made.tree(("scan.hspy", "signal")).nodes)
print("ready", flush=True)
for number in range(start, start + 100_000):
    node, _ = made.add_node(("scan.hspy", "signal"), **sigma(number / 1000))
    print(node.id, number / 1000, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path, data, served):
    """``KILLS`` in the environment asks for more of them."""
    kills, acknowledged, extra = int(os.environ.get("KILLS", "12")), {}, 0
    chance = random.Random(kills)  # noqa: S311
    for _ in range(kills):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
        command = [sys.executable, "-c", _CHILD, str(tmp_path), str(data)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
            told = child.stdout.read().split("\n")[:-1]  # the last line was cut off, or is empty
        printed = {id_: float(sigma) for id_, sigma in map(str.split, told)}
        acknowledged |= printed
        tree = catalog(tmp_path, data).tree(PATH)
        there = {n.id: tree.recipe(n.name).operation.sigma for n in list(tree.nodes.values())[2:]}
        assert {id_: there.get(id_) for id_ in acknowledged} == acknowledged
        assert len(there.keys() - acknowledged.keys()) <= 1
        extra += len(there.keys() - acknowledged.keys())
        acknowledged |= there
        with closing(sqlite3.connect(tmp_path / "catalogue.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    print(f"{kills} kills, {len(acknowledged)} nodes, {extra} written but not acknowledged")
    assert len(acknowledged) >= kills
