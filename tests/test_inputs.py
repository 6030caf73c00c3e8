"""Parameters that are nodes: how they are named, kept, shown, refused, and what they mean for keys."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_root

from tiled_spyde.catalog import Catalog, Served
from tiled_spyde.database import Database
from tiled_spyde.errors import Gone, InvalidOperation, NotFound
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.named import inputs_of, paths_of
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.recipe import MAX_STEPS, Recipe
from tiled_spyde.sources import Source
from tiled_spyde.tree import Node, SignalTree

HERE, THERE = ("a.hspy", "signal"), ("b.hspy", "signal")


def subtract(node, reference="x"):
    return build("subtract_reference", {"reference": {"node": reference}}), {"reference": node}


def key(recipe):
    return Recipe(make_root()).then(*subtract(recipe)).key


class TestRecipe:
    def test_the_key_follows_what_enters_and_not_its_name(self):
        root = Recipe(make_root())
        smooth = [root.then(build("gaussian_filter", {"sigma": sigma})) for sigma in (1.0, 2.0)]
        assert key(smooth[0]) != key(smooth[1])
        assert key(smooth[0]) == root.then(*subtract(smooth[0], "another name")).key

    def test_keys_of_what_takes_no_node_are_as_they_were(self):
        """What people have kept, and what is remembered of it, stays good."""
        recipe = Recipe(make_root()).then(build("gaussian_filter", {"sigma": 1.0}))
        assert "inputs" not in recipe.to_json()[0]

    def test_json_says_which_step_enters(self):
        root = Recipe(make_root())
        smooth = root.then(build("gaussian_filter", {"sigma": 1.0}))
        assert smooth.then(*subtract(smooth)).to_json()[-1]["inputs"] == {"reference": {"step": 1}}
        assert smooth.then(*subtract(root)).to_json()[-1]["inputs"] == {"reference": {"step": 0}}
        steps = smooth.to_json()
        assert root.then(*subtract(smooth)).to_json()[-1]["inputs"] == {"reference": {"steps": steps}}

    def test_json_names_the_source_of_another_tree(self):
        other = Recipe(make_root(name="dark", fingerprint="d" * 32))
        step = Recipe(make_root()).then(*subtract(other)).to_json()[-1]
        assert step["parameters"] == {}
        assert step["inputs"] == {
            "reference": {"source": {"file": None, "signal": "dark", "fingerprint": "d" * 32}, "steps": []}
        }
        json.dumps(step, allow_nan=False)

    def test_steps_of_what_enters_count(self):
        recipe = Recipe(make_root())
        while recipe.length * 2 + 1 <= MAX_STEPS:
            recipe = recipe.then(*subtract(recipe))
        assert recipe.length == 63
        with pytest.raises(InvalidOperation, match=r"at most 64 steps.*127, with those of the nodes"):
            recipe.then(*subtract(recipe))

    def test_what_takes_the_same_frame_on_two_ways_reads_it_once_for_each_step(self):
        root = make_root()
        scan, calls = Recipe(root), []
        smooth = scan.then(build("gaussian_filter", {"sigma": 1.0}))
        function = smooth.function
        smooth.__dict__["function"] = lambda frame: calls.append(1) or function(frame)
        twice = smooth.then(*subtract(smooth)).then(*subtract(smooth))
        ours = Evaluator(workers=1)
        ours.read(twice, (1, 2))
        assert len(calls) == 1
        row = ours.read(twice, (slice(0, 1),))
        assert len(calls) == 6
        np.testing.assert_array_equal(row[0, 0], -ours.read(smooth, (0, 0)))


@pytest.mark.parametrize(
    ("name", "parameter", "node", "message"),
    [
        ("subtract_reference", "reference", None, r'name a node, as \{"node"'),
        ("subtract_reference", "reference", make_root((4, 5, 12, 16)), "4 × 5 positions, the signal here one of 3 × 5"),
        ("subtract_reference", "reference", make_root((15, 12, 16)), "a scan of 15 positions"),
        ("subtract_reference", "reference", make_root((12, 17)), "12 × 17 pixels, those here 12 × 16"),
        ("divide_by_reference", "reference", make_root((16, 12)), "16 × 12 pixels"),
        ("subtract_reference", "reference", make_root((3, 5, 33), 1), "12 × 16"),
        ("subtract_reference", "reference", make_root((3, 5), 0), r"1 or 2 dimension\(s\) is wanted; this node has 0"),
        ("subtract_reference", "reference", make_root((12, 16), dtype="c16"), "real numbers are wanted"),
        ("centre_by_shifts", "shifts", make_root((3, 5, 12, 16)), r"1 dimension\(s\) is wanted; this node has 2"),
        ("centre_by_shifts", "shifts", make_root((3, 5, 3), 1), "two numbers at each position.*has 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(name, parameter, node, message):
    given = {} if node is None else {parameter: {"node": "x"}}
    inputs = {} if node is None else {parameter: Recipe(node)}
    with pytest.raises(InvalidOperation, match=rf"(?s){name}: {parameter}: .*{message}"):
        Recipe(make_root()).then(build(name, given), inputs)


def test_the_schema_says_which_nodes_a_parameter_takes():
    described = REGISTRY["subtract_reference"].model_json_schema()["properties"]["reference"]
    assert described["x-node"] == {"navigation": "same or none", "signal": [1, 2]}


def test_a_centred_pattern_has_its_centre_in_the_middle():
    root = make_root((2, 3, 21, 21), dtype="f4")
    root.reader.array[:] = 0
    for y, x in np.ndindex(2, 3):
        root.reader.array[y, x, 8 + y, 9 + x] = 3
        root.reader.array[y, x, 8 + y, 10 + x] = 1
    scan, ours = Recipe(root), Evaluator(workers=1)
    shifts = scan.then(build("centre_of_mass", {}))
    np.testing.assert_allclose(ours.read(shifts)[1, 2], (11.25 - 10, 9 - 10))
    centred = scan.then(build("centre_by_shifts", {"shifts": {"node": "x"}}), {"shifts": shifts})
    np.testing.assert_allclose(ours.read(centred.then(build("centre_of_mass", {}))), 0, atol=1e-6)
    np.testing.assert_allclose(ours.read(centred).sum(axis=(2, 3)), 4, rtol=1e-6)


def test_nothing_has_its_centre_in_the_middle_and_a_shift_that_is_no_number_is_refused():
    root = make_root((2, 12, 16), dtype="f4")
    root.reader.array[:] = 0
    scan, ours = Recipe(root), Evaluator(workers=1)
    assert ours.read(scan.then(build("centre_of_mass", {}))).tolist() == [[0, 0], [0, 0]]
    broken = make_root((2, 2), 1, "f4")
    broken.reader.array[:] = np.nan
    moved = scan.then(build("centre_by_shifts", {"shifts": {"node": "x"}}), {"shifts": Recipe(broken)})
    with pytest.raises(Exception, match=r"position \(1,\): the shift \(nan, nan\) is no number"):
        ours.read(moved, (1,))


def test_a_division_by_zero_is_zero():
    root, gain = make_root((2, 12, 16)), make_root((12, 16), dtype="f4", fingerprint="e" * 32)
    gain.reader.array[3, 4] = 0
    flat = Recipe(root).then(
        build("divide_by_reference", {"reference": {"node": "x"}}), {"reference": Recipe(gain)}
    )
    divided = Evaluator(workers=1).read(flat)
    assert (divided[:, 3, 4] == 0).all()
    assert np.isfinite(divided).all()


@pytest.fixture
def catalog(scans, tmp_path):
    """Two files with the same signal, in a catalog that can be opened again."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a.hspy", "b.hspy"):
        shutil.copyfile(scans / "scan4d.hspy", folder / name)

    def opened():
        return Catalog(Database(f"sqlite:///{tmp_path / 'state' / 'catalog.sqlite'}"), [Served(folder)])

    made = opened()
    made.opened, made.folder = opened, folder
    made.update({path: Source.at(path) for path in sorted(folder.iterdir())})
    return made


def make(catalog, operation, parent="root", at=HERE, name=None, **parameters):
    given = {key: {"node": value} if isinstance(value, str) else value for key, value in parameters.items()}
    return catalog.add_node(at, parent=parent, operation=operation, parameters=given, name=name)[0]


class TestTree:
    def test_a_node_is_kept_by_its_id_and_shown_by_its_path(self, catalog):
        mean = make(catalog, "mean_over_scan")
        node = make(catalog, "subtract_reference", reference="mean_over_scan")
        assert json.loads(node.parameters) == {"reference": {"node": f"#{mean.id}"}}
        tree = catalog.tree(HERE)
        assert paths_of(tree, tree.nodes[node.name]) == {"reference": "/a.hspy/signal/mean_over_scan"}
        assert tree.users_of("mean_over_scan") == [node.name]
        assert set(tree.users_of("root")) == {"navigator", "mean_over_scan", node.name}

    def test_the_same_by_its_whole_path_is_the_same_node(self, catalog):
        make(catalog, "mean_over_scan")
        first = make(catalog, "subtract_reference", reference="mean_over_scan")
        again = make(catalog, "subtract_reference", reference="/a.hspy/signal/mean_over_scan")
        assert again == first

    def test_another_name_changes_nothing(self, catalog):
        make(catalog, "mean_over_scan")
        node = make(catalog, "subtract_reference", reference="mean_over_scan")
        tree = catalog.tree(HERE)
        renamed = [
            replace(n, name="background") if n.name == "mean_over_scan" else n for n in tree.nodes.values()
        ]
        other = SignalTree.of(
            tree.root, None, tuple(n for n in renamed if n.parent and n.name != "navigator")
        )
        assert other.recipe(node.name).key == tree.recipe(node.name).key
        assert paths_of(other, other.nodes[node.name])["reference"].endswith("/background")

    def test_a_node_of_another_tree(self, catalog):
        make(catalog, "mean_over_scan", at=THERE)
        node = make(catalog, "subtract_reference", reference="/b.hspy/signal/mean_over_scan")
        tree = catalog.tree(HERE)
        assert paths_of(tree, node) == {"reference": "/b.hspy/signal/mean_over_scan"}
        assert tree.entering(node.name) == {THERE}
        assert tree.entering("root") == frozenset()
        again = catalog.opened()
        assert again.tree(HERE).recipe(node.name).key == tree.recipe(node.name).key
        users = catalog._memory.stored.naming(
            *json.loads(node.parameters)["reference"]["node"][1:].split("/")
        )
        assert users == [(catalog.folder / "a.hspy", "signal", node.name)]

    def test_the_root_of_a_tree_in_which_nobody_has_made_anything(self, catalog):
        node = make(catalog, "subtract_reference", reference="/b.hspy/signal/root")
        again = catalog.opened()
        assert paths_of(again.tree(HERE), node) == {"reference": "/b.hspy/signal/root"}
        assert again.tree(HERE).recipe(node.name).inputs["reference"].parent is None

    def test_what_enters_through_others_counts_too(self, catalog):
        node = make(catalog, "subtract_reference", reference="/b.hspy/signal/root")
        below = make(catalog, "gaussian_filter", parent=node.name)
        beside = make(catalog, "subtract_reference", reference=below.name)
        tree = catalog.tree(HERE)
        assert {name: tree.entering(name) for name in (below.name, beside.name)} == {
            below.name: {THERE},
            beside.name: {THERE},
        }

    def test_a_changed_file_changes_what_is_made_from_it_elsewhere(self, catalog, scans):
        node = make(catalog, "subtract_reference", reference="/b.hspy/signal/root")
        make(catalog, "gaussian_filter", parent=node.name)
        before = catalog.tree(HERE).recipe(node.name)
        path = catalog.folder / "b.hspy"
        shutil.copyfile(scans / "spectra.hspy", path)
        catalog.update({path: Source.at(path)})
        with pytest.raises(InvalidOperation, match=r"reference: .*a scan of 4 × 6"):
            catalog.tree(HERE).recipe(node.name)
        with pytest.raises(Gone):
            catalog.tree(HERE).recipe(f"{node.name}@{before.key}")
        catalog.update({path: None})
        with pytest.raises(InvalidOperation, match=r"'b\.hspy' is not there any more"):
            catalog.tree(HERE).recipe("gaussian_filter")
        shutil.copyfile(scans / "scan4d.hspy", path)
        catalog.update({path: Source.at(path)})
        assert catalog.tree(HERE).recipe(node.name).key == before.key

    def test_a_moved_file_takes_its_name_along(self, catalog):
        make(catalog, "mean_over_scan", at=THERE)
        node = make(catalog, "subtract_reference", reference="/b.hspy/signal/mean_over_scan")
        old, new = catalog.folder / "b.hspy", catalog.folder / "sub" / "b.hspy"
        new.parent.mkdir()
        old.rename(new)
        catalog.update({old: None, new: Source.at(new)})
        tree = catalog.tree(HERE)
        assert paths_of(tree, node) == {"reference": "/sub/b.hspy/signal/mean_over_scan"}
        assert tree.entering(node.name) == {("sub", "b.hspy", "signal")}

    @pytest.mark.parametrize(
        "name",
        ["nothing", "/a.hspy/signal/nothing", "/nowhere/signal/root", "/", "#root", "//", "/root", "root@0"],
    )
    def test_a_node_that_is_not_there(self, catalog, name):
        with pytest.raises(NotFound, match="subtract_reference: reference: There is no"):
            make(catalog, "subtract_reference", reference=name)

    def test_a_failed_node_is_refused(self, catalog):
        node = make(catalog, "subtract_reference", reference="/b.hspy/signal/root")
        catalog.update({catalog.folder / "b.hspy": None})
        with pytest.raises(InvalidOperation, match="is failed"):
            make(catalog, "divide_by_reference", reference=node.name)


def reference_to(ids):
    return json.dumps({"reference": {"node": f"#{ids}"}})


def circle(size):
    """Nodes that are made from the root, each with the next one as a parameter."""
    ids = [f"{number:032x}" for number in range(size)]
    return tuple(
        Node(ids[n], f"n{n}", "root", "subtract_reference", reference_to(ids[(n + 1) % size]))
        for n in range(size)
    )  # fmt: skip


class TestCircles:
    @pytest.mark.parametrize("size", [1, 2, 5, 500])
    def test_nodes_made_from_themselves_are_failed(self, size):
        tree = SignalTree.of(make_root(), None, circle(size))
        assert all("made from itself" in str(tree.failure(f"n{number}")) for number in range(size))
        assert tree.failure("root") is None

    def test_one_through_parents_and_parameters_by_turns(self):
        first, second = circle(2)
        tree = SignalTree.of(make_root(), None, (first, replace(second, parent=first.id)))
        assert "made from itself" in str(tree.failure("n0"))
        assert "made from itself" in str(tree.failure("n1"))

    def test_one_through_another_tree(self):
        nodes = [
            Node("1" * 32, "x", "root", "subtract_reference", reference_to(f"{other}/{'1' * 32}")) for other in "ba"
        ]  # fmt: skip
        trees = {}
        for name, node in zip("ab", nodes, strict=True):
            trees[name] = SignalTree.of(make_root(name=name), None, (node,), name, (name,), trees.get)
        assert "made from itself" in str(trees["a"].failure("x"))
        assert trees["a"].entering("x") == {("b",)}

    def test_a_long_chain_of_parameters_fails_where_it_is_too_long_and_only_there(self):
        nodes = circle(300)[:-1]
        last = Node(nodes[-1].inputs["reference"][1:], "last", "root", "gaussian_filter", "{}")
        tree = SignalTree.of(make_root(), None, (*nodes, last))
        assert tree.failure("n0") is not None
        assert [name for name in tree.recipes if name.startswith("n")][1:] == [
            f"n{n}" for n in range(236, 299)
        ]

    def test_what_would_be_made_from_itself_is_refused(self):
        tree = SignalTree.of(make_root(), None, ())
        tree, first = tree.grown(None, "root", build("gaussian_filter", {}))
        tree, second = tree.grown(None, first.name, build("gaussian_filter", {}))
        for node in (first, second):
            step = build("subtract_reference", {"reference": {"node": f"#{second.id}"}})
            with pytest.raises(InvalidOperation, match="nothing is made from itself"):
                inputs_of(tree, step, of=node)
        assert inputs_of(
            tree, build("subtract_reference", {"reference": {"node": f"#{first.id}"}}), of=second
        )
