"""What lasts of a catalogue: two processes, a model to compare with, and a kill at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from catalog_samples import PATH, addresses, by_hand, catalog, close_all, names, run_model, sigma, source
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tiled_spyde.errors import NameTaken, NotFound, SpydeError
from tiled_spyde.names import safe_name


@pytest.mark.usefixtures("each_database")
class TestTwoProcesses:
    def test_see_what_the_other_does(self, tmp_path, data_folder, catalogued):
        other = catalog(tmp_path, data_folder)
        assert not other.refresh()
        node, _ = catalogued.add_node(PATH, **sigma(1))
        catalogued.update({data_folder / "new.tif": source(data_folder / "new.tif", "n")})
        assert other.refresh()
        assert not other.refresh()
        assert names(other) == [node.name]
        assert set(other.known) == set(catalogued.known)
        catalogued.update(
            {
                data_folder / "new.tif": None,
                data_folder / "a" / "scan.hspy": source(data_folder / "a" / "scan.hspy"),
            }
        )
        catalogued.update({data_folder / "scan.hspy": None})
        assert other.refresh()
        assert list(addresses(other.top)) == [("a", "scan.hspy")]
        assert names(other, ("a", *PATH)) == [node.name]

    def test_a_name_that_the_other_has_just_taken_is_taken(self, tmp_path, data_folder, catalogued):
        other = catalog(tmp_path, data_folder)
        node, _ = catalogued.add_node(PATH, **sigma(1), name="mine")
        with pytest.raises(NameTaken):
            other.add_node(PATH, **sigma(2), name="mine")
        assert other.add_node(PATH, **sigma(1), name="mine") == (node, False)

    def test_what_is_open_stays_open(self, tmp_path, data_folder, catalogued):
        other = catalog(tmp_path, data_folder)
        root = other.tree(PATH).root
        catalogued.add_node(PATH, **sigma(1))
        other.refresh()
        assert other.tree(PATH).root is root


class Model(RuleBasedStateMachine):
    """Two catalogues on one database against a dictionary of what people made."""

    above = None

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.above))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.catalogs = [catalog(self.folder, self.data) for _ in range(2)]
        # By file: what it holds (None: gone), and the steps by name. Contents are told apart by a number.
        self.content: dict[str, str | None] = {}
        self.nodes: dict[str, dict[str, float]] = {}
        self.count = 0

    def teardown(self):
        close_all()
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


def test_two_catalogues_agree_with_a_dictionary():
    run_model(Model, 25, 25)


def test_so_they_do_on_postgresql(on_postgresql, tmp_path):
    class OnPostgresql(Model):
        above = tmp_path

    run_model(OnPostgresql, 8, 25)


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


def test_what_was_acknowledged_survives_a_kill_at_any_moment(
    each_database, tmp_path, data_folder, catalogued
):
    """``KILLS`` in the environment asks for more of them."""
    kills = int(os.environ.get("KILLS", "12" if each_database == "sqlite" else "6"))
    acknowledged, extra = {}, 0
    chance = random.Random(kills)  # noqa: S311
    for number in range(kills):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
        command = [sys.executable, "-c", _CHILD, str(tmp_path), str(data_folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            told = (
                child.stdout.readline() if number % 2 else ""
            )  # however slow the disk is, some are acknowledged
            time.sleep(chance.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
            told += child.stdout.read()
        told = told.split("\n")[:-1]  # the last line was cut off, or is empty
        printed = {id_: float(sigma) for id_, sigma in map(str.split, told)}
        acknowledged |= printed
        tree = catalog(tmp_path, data_folder).tree(PATH)
        there = {n.id: tree.recipe(n.name).operation.sigma for n in list(tree.nodes.values())[2:]}
        close_all()
        assert {id_: there.get(id_) for id_ in acknowledged} == acknowledged
        assert len(there.keys() - acknowledged.keys()) <= 1
        extra += len(there.keys() - acknowledged.keys())
        acknowledged |= there
        if each_database == "sqlite":
            with by_hand(tmp_path) as connection:
                assert connection.exec_driver_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    print(f"{kills} kills, {len(acknowledged)} nodes, {extra} written but not acknowledged")
    assert len(acknowledged) >= kills // 2
