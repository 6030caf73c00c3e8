"""Making, changing, deleting and undoing against a plain model: two catalogues, restarts, and kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from catalog_samples import PATH, catalog, close_all, run_model, source
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tiled_spyde import records
from tiled_spyde.errors import InvalidOperation, NameTaken, Outdated, SpydeError, status_of

SIZE = 16  # of a frame, along both axes


def bins(factor):
    return {"operation": "bin", "parameters": {"x": factor}}


class Item:
    """A node of the model."""

    def __init__(self, name, parent, factor, description=None):
        self.name, self.parent, self.factor, self.description = name, parent, factor, description

    def but(self, **others):
        return Item(**{**vars(self), **others})

    def __eq__(self, other):
        return vars(self) == vars(other) if other is not None else False

    __hash__ = None


class Changing(RuleBasedStateMachine):
    """Two catalogues on one database against dictionaries: nodes by id, and what each change did to them."""

    above: Path | None = None
    which = st.sampled_from([0, 1])
    names = st.sampled_from("pqrs")
    factors = st.sampled_from([1, 2, 4, 8, 16])
    chance = st.randoms(use_true_random=False)

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.above))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.file = self.data / "scan.hspy"
        self.catalogs = [catalog(self.folder, self.data) for _ in range(2)]
        self.catalogs[0].update({self.file: source(self.file)})
        self.catalogs[1].refresh()
        self.nodes, self.versions, self.past = {}, {}, {}

    def teardown(self):
        close_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    def size(self, id_):
        """Pixels of a node's frame along an axis; 0 where it is failed."""
        if id_ == "root":
            return SIZE
        above = self.size(self.nodes[id_].parent)
        return above // self.nodes[id_].factor

    def named(self, name):
        return next((id_ for id_, node in self.nodes.items() if node.name == name), None)

    def path(self, id_):
        return (*PATH, self.nodes[id_].name)

    def commit(self, change, differences):
        assert change > max(self.past, default=0)
        self.past[change] = differences
        for id_, (_, after) in differences.items():
            self.nodes.pop(id_, None)
            if after is not None:
                self.nodes[id_], self.versions[id_] = after, change

    @rule(who=which, chance=chance, name=names, factor=factors)
    def make(self, who, chance, name, factor):
        parent = chance.choice(["root", *self.nodes])
        above = "root" if parent == "root" else self.nodes[parent].name
        there = self.named(name)
        self.catalogs[who].refresh()  # as before each request

        def add():
            return self.catalogs[who].add_node(PATH, parent=above, name=name, **bins(factor))

        if there is not None:
            same = (self.nodes[there].parent, self.nodes[there].factor) == (parent, factor)
            if same:
                assert add()[0].id == there
            else:
                with pytest.raises(NameTaken):
                    add()
        elif factor > self.size(parent):
            with pytest.raises(InvalidOperation):
                add()
        else:
            node, made = add()
            assert made
            self.commit(node.version, {node.id: (None, Item(name, parent, factor))})

    @precondition(lambda self: self.nodes)
    @rule(who=which, chance=chance, name=st.none() | names, factor=st.none() | factors, stale=st.booleans())
    def change(self, who, chance, name, factor, stale):
        id_ = chance.choice(list(self.nodes))
        node, there = self.nodes[id_], name and self.named(name)
        version = self.versions[id_] - stale
        wanted = {} if factor is None else bins(factor)

        def change():
            return self.catalogs[who].change_node(
                self.path(id_), name=name, **wanted, if_match=f'"{version}"', by="ada"
            )

        if stale:
            with pytest.raises(Outdated) as refused:
                change()
            assert refused.value.tree.nodes[refused.value.name].version == self.versions[id_]
        # What it has already changes nothing, also where that is failed.
        elif factor not in (None, node.factor) and factor > self.size(node.parent):
            with pytest.raises(InvalidOperation):
                change()
        elif there not in (None, id_):
            with pytest.raises(NameTaken):
                change()
        else:
            done = change()
            after = node.but(name=name or node.name, factor=factor or node.factor)
            assert done.tree.nodes[after.name].id == id_
            assert done.changed == (() if after == node else (after.name,))
            if after != node:
                self.commit(done.change, {id_: (node, after)})

    @precondition(lambda self: self.nodes)
    @rule(who=which, chance=chance, words=st.sampled_from([None, "", "one", "two"]))
    def describe(self, who, chance, words):
        id_ = chance.choice(list(self.nodes))
        done = self.catalogs[who].change_node(self.path(id_), description=words)
        node = self.nodes[id_]
        if node.description != (words or None):
            self.commit(done.change, {id_: (node, node.but(description=words or None))})

    @precondition(lambda self: self.nodes)
    @rule(who=which, chance=chance, recursive=st.booleans())
    def delete(self, who, chance, recursive):
        id_ = chance.choice(list(self.nodes))
        gone = [id_]
        for above in gone:  # which grows meanwhile
            gone += [user for user, node in self.nodes.items() if node.parent == above]
        if len(gone) > 1 and not recursive:
            with pytest.raises(SpydeError) as refused:
                self.catalogs[who].delete_node(self.path(id_))
            assert status_of(refused.value) == 409
        else:
            done = self.catalogs[who].delete_node(self.path(id_), recursive=recursive)
            assert sorted(done.deleted) == sorted(self.nodes[one].name for one in gone)
            self.commit(done.change, {one: (self.nodes[one], None) for one in gone})

    @precondition(lambda self: self.past)
    @rule(who=which, chance=chance)
    def undo(self, who, chance):
        # Mostly one of the last: of what is long ago, most was changed since.
        number = chance.choice(chance.choice([list(self.past), list(self.past)[-2:]]))
        did = self.past[number]
        after = {**self.nodes, **{id_: before for id_, (before, _) in did.items()}}
        after = {id_: node for id_, node in after.items() if node is not None}
        possible = (
            all(self.nodes.get(id_) == left for id_, (_, left) in did.items())
            and len({node.name for node in after.values()}) == len(after)
            and all(node.parent in ("root", *after) for node in after.values())
        )
        if possible:
            done = self.catalogs[who].undo(PATH, number)
            self.commit(done.change, {id_: (left, before) for id_, (before, left) in did.items()})
            back = {before.name for before, _ in did.values() if before}
            assert (set(done.changed), set(done.deleted)) == (
                back,
                {left.name for before, left in did.values() if before is None},
            )
        else:
            with pytest.raises(SpydeError) as refused:
                self.catalogs[who].undo(PATH, number)
            assert status_of(refused.value) == 409

    @precondition(lambda self: self.nodes)
    @rule(chance=chance)
    def two_at_once(self, chance):
        """Both say which version they mean: one wins, and the other is told what is there."""
        id_ = chance.choice(list(self.nodes))
        node, path, version = self.nodes[id_], self.path(id_), f'"{self.versions[id_]}"'

        def write(who):
            words = f"by {who} at {max(self.past)}"
            try:
                return words, self.catalogs[who].change_node(path, description=words, if_match=version)
            except Outdated as error:
                return words, error

        with ThreadPoolExecutor(2) as both:
            told = list(both.map(write, (0, 1)))
        ((words, won),) = [one for one in told if not isinstance(one[1], Outdated)]
        ((_, lost),) = [one for one in told if isinstance(one[1], Outdated)]
        assert lost.tree.nodes[lost.name].description == words
        self.commit(won.change, {id_: (node, node.but(description=words))})

    @rule(who=which)
    def restart(self, who):
        self.catalogs[who]._database.close()
        self.catalogs[who] = catalog(self.folder, self.data)

    @rule(who=which, there=st.booleans())
    def move(self, who, there):
        """The file turns up elsewhere and comes back: nodes, versions and history go along."""
        new = self.data / "elsewhere" / "scan.hspy"
        for old, to in ((self.file, new), (new, self.file)):
            self.catalogs[who].update({old: None, to: source(to)})
            if there:
                assert self.there(self.catalogs[who], ("elsewhere", *PATH) if to == new else PATH)

    def there(self, served, path):
        tree = served.tree(path)
        made = list(tree.nodes.values())[2:]
        return {
            n.id: Item(n.name, n.parent, json.loads(n.parameters)["x"], n.description) for n in made
        } == self.nodes

    @invariant()
    def all_agree(self):
        for each in getattr(self, "catalogs", ()):
            each.refresh()
            tree = each.tree(PATH)
            assert self.there(each, PATH)
            assert list(tree.nodes) == list(self.catalogs[0].tree(PATH).nodes)
            for id_, node in self.nodes.items():
                assert tree.nodes[node.name].version == self.versions[id_]
                size = self.size(id_)
                assert (tree.failure(node.name) is None) == (size > 0)
                if size:
                    recipe = tree.recipe(node.name)
                    assert recipe.info.signal_shape == (size, size)
                    assert recipe.key == self.catalogs[0].tree(PATH).recipe(node.name).key
            rows = {(done.change, done.node) for done in each.history(PATH, 1000)}
            assert rows == {(number, id_) for number, did in self.past.items() for id_ in did}


def test_two_catalogues_agree_with_a_model():
    run_model(Changing, 25, 40)


def test_so_they_do_on_postgresql(on_postgresql, tmp_path):
    class OnPostgresql(Changing):
        above = tmp_path

    run_model(OnPostgresql, 6, 40)


_CHILD = """
import random, sys
from pathlib import Path
from catalog_samples import PATH, catalog
from test_changes_model import bins
from tiled_spyde.errors import SpydeError
made, chance = catalog(Path(sys.argv[1]), Path(sys.argv[2])), random.Random(sys.argv[3])
print("ready", flush=True)
while True:
    names = list(made.tree(PATH).nodes)[2:]
    path = (*PATH, chance.choice(names or ["none"]))
    change = chance.choice(["make", "make", "rename", "bin", "delete", "undo"])
    try:
        if change == "make":
            above = chance.choice(["root", *names])
            node, new = made.add_node(PATH, parent=above, name=None, **bins(chance.choice([1, 2])))
            if new:
                print(node.version, flush=True)
            continue
        if change == "rename":
            done = made.change_node(path, name=f"n{chance.random()}")
        elif change == "bin":
            done = made.change_node(path, **bins(chance.choice([1, 2, 4, 8])))
        elif change == "delete":
            done = made.delete_node(path, recursive=True)
        else:
            done = made.undo(PATH, made.history(PATH, 3)[-1].change)
    except (SpydeError, IndexError):
        continue
    if done.changed or done.deleted:
        print(done.change, flush=True)
"""


def replayed(past):
    """Nodes as the history alone says; each row begins where the one before has ended."""
    nodes = {}
    for done in sorted(past, key=lambda done: done.change):
        assert nodes.get(done.node) == done.before
        nodes[done.node] = done.after
    return {id_: node for id_, node in nodes.items() if node}


@pytest.mark.usefixtures("each_database", "catalogued")
def test_nodes_and_history_are_one_after_a_kill_at_any_moment(tmp_path, data_folder):
    """``KILLS`` in the environment asks for more of them."""
    kills, told, chance = int(os.environ.get("KILLS", "8")), set(), random.Random(7)  # noqa: S311
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    for number in range(kills):
        command = [sys.executable, "-c", _CHILD, str(tmp_path), str(data_folder), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            told |= {int(child.stdout.readline()) for _ in range(chance.randint(1, 12))}
            time.sleep(chance.uniform(0, 0.01))  # into whatever it is at
            child.send_signal(signal.SIGKILL)
            told |= {int(line) for line in child.stdout.read().split("\n")[:-1]}
        served = catalog(tmp_path, data_folder)
        with served._database.reading() as connection:
            (tree,) = records.trees_since(connection, -1)
            past = records.past_of(connection, tree.id, limit=10_000)
        assert replayed(past) == {node.id: node for node in tree.nodes}
        done = {row.change for row in past}
        assert told <= done
        assert len(done - told) <= number + 1  # of each kill at most one that was not told
    print(f"{kills} kills, {len(told)} changes told, {len(done)} remembered")
    assert len(told) >= kills
