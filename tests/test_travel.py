"""Recipes as documents: what a tree becomes, what is refused, and what another tree makes of it."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from catalog_samples import catalog, source
from pydantic import Field, ValidationError

from tiled_spyde import arriving, travel
from tiled_spyde.errors import InvalidOperation, NotFound
from tiled_spyde.operations import REGISTRY
from tiled_spyde.operations.base import Operation, Strict
from tiled_spyde.recipe import MAX_STEPS
from tiled_spyde.travel import Document, document_of
from tiled_spyde.tree import MAX_NODES

HERE, THERE, LINE = ("a.mrc", "signal"), ("b.mrc", "signal"), ("c.mrc", "signal")


@pytest.fixture
def trees(tmp_path):
    """A scan, one of another shape with the same patterns, and a line of spectra."""
    data = tmp_path / "data"
    data.mkdir()
    found = catalog(tmp_path, data)
    sources = {
        data / "a.mrc": source(data / "a.mrc", "a" * 32),
        data / "b.mrc": source(data / "b.mrc", "b" * 32, (7, 3, 16, 16)),
        data / "c.mrc": source(data / "c.mrc", "c" * 32, (6, 40), 1),
    }
    found.update(sources)
    return found


def add(catalog, path, name, parent="root", operation="gaussian_filter", **parameters):
    return catalog.add_node(path, name=name, parent=parent, operation=operation, parameters=parameters)


def filled(catalog, path=HERE):
    add(catalog, path, "smooth", sigma=1.5)
    add(catalog, path, "part", "smooth", "crop", x={"start": {"index": 3}, "stop": {"index": 12}})
    add(catalog, path, "bright", "part", "virtual_image", detector={"kind": "disk", "radius": {"value": 3}})
    add(catalog, path, "other", sigma=2.0)
    return document_of(catalog.tree(path), "a.mrc")


def document(*nodes, **more):
    described = {"format": travel.FORMAT, "version": 1, "nodes": list(nodes), **more}
    return Document.model_validate_json(json.dumps(described))


def node(name, parent="root", operation="gaussian_filter", **parameters):
    return {"name": name, "parent": parent, "operation": operation, "parameters": parameters}


def applied(catalog, path, recipe, refused=None):
    arriving.check(recipe)
    return catalog.apply(path, recipe, refused or {}, "ada")


def names(found):
    return [step.name for step in found.nodes]


class TestDocument:
    def test_has_every_parameter_and_parents_by_name(self, trees):
        found = json.loads(filled(trees).model_dump_json())
        assert found["format"] == "tiled-spyde recipe"
        assert found["version"] == 1
        key = trees.tree(HERE).recipe("root").key
        said = {"file": "a.mrc", "signal": "signal", "shape": [4, 5, 16, 16], "dtype": "uint16", "key": key}
        assert found["source"] == said
        assert [(step["name"], step["parent"]) for step in found["nodes"]] == [
            ("smooth", "root"),
            ("part", "smooth"),
            ("bright", "part"),
            ("other", "root"),
        ]
        smooth = found["nodes"][0]
        assert smooth["operation"] == "gaussian_filter"
        assert smooth["parameters"] == {"sigma": 1.5}
        assert smooth["version"] == 1
        assert found["versions"]["numpy"]

    def test_of_one_node_has_what_it_is_made_from(self, trees):
        filled(trees)
        found = document_of(trees.tree(HERE), "a.mrc", "part")
        assert names(found) == ["smooth", "part"]
        assert names(document_of(trees.tree(HERE), "a.mrc", "root")) == []

    def test_of_a_node_that_is_not_there(self, trees):
        with pytest.raises(NotFound, match="no node 'nope'"):
            document_of(trees.tree(HERE), "a.mrc", "nope")

    def test_says_why_a_node_fails_here_and_takes_it_along(self, trees, tmp_path):
        add(trees, HERE, "part", "root", "crop", x={"start": {"index": 12}})
        path = tmp_path / "data" / "a.mrc"
        trees.update({path: source(path, "d" * 32, (4, 5, 8, 8))})
        (step,) = document_of(trees.tree(HERE), "a.mrc").nodes
        assert "outside the axis" in step.failure

    def test_leaves_out_what_makes_no_sense_in_the_database(self, trees):
        from sqlalchemy import update

        from tiled_spyde.database import nodes

        filled(trees)
        ids = {name: found.id for name, found in trees.tree(HERE).nodes.items()}
        changes = {
            "smooth": {"parent": ids["bright"]},  # in a circle
            "other": {"parameters": "no JSON"},
        }
        with trees._database.writing() as connection:
            for name, values in changes.items():
                connection.execute(update(nodes).where(nodes.c.id == ids[name]).values(**values))
        trees = reopened(trees)
        found = document_of(trees.tree(HERE), "a.mrc")
        assert names(found) == []
        assert {one.name for one in found.left} == {"smooth", "part", "bright", "other"}
        with pytest.raises(InvalidOperation, match=r"No recipe can be written of 'bright'.*made from itself"):
            document_of(trees.tree(HERE), "a.mrc", "bright")

    def test_its_schema_is_on_the_page(self):
        from pathlib import Path

        page = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text()
        for part in (travel.Document, travel.Origin, travel.NodeStep, travel.LeftOut):
            for name in part.model_fields:
                assert f"`{name}`" in page
        example = page.rpartition("```json")[2].partition("```")[0]
        arriving.check(Document.model_validate_json(example))


def reopened(found):
    from tiled_spyde.catalog import Catalog

    return Catalog(found._database, found._memory.served)


class TestApply:
    def test_makes_the_same_nodes_in_a_scan_of_another_shape(self, trees):
        recipe = filled(trees)
        done = applied(trees, THERE, recipe)
        assert done.made == ["smooth", "part", "bright", "other"]
        assert (done.there, done.left, done.notes) == ([], [], [])
        there = trees.tree(THERE)
        assert there.recipe("bright").to_json() == trees.tree(HERE).recipe("bright").to_json()
        assert there.recipe("bright").info.shape == (7, 3)

    def test_twice_makes_nothing_twice(self, trees):
        recipe = filled(trees)
        add(trees, THERE, "smooth", sigma=7.0)
        applied(trees, THERE, recipe)
        before = dict(trees.tree(THERE).nodes)
        again = applied(trees, THERE, recipe)
        assert again.made == []
        assert again.there == ["smooth-2", "part", "bright", "other"]
        assert trees.tree(THERE).nodes == before

    def test_in_its_own_tree_all_is_there(self, trees):
        recipe = filled(trees)
        assert applied(trees, HERE, recipe).there == names(recipe)

    def test_what_does_not_fit_says_why_and_the_rest_is_made(self, trees):
        recipe = document(
            node("smooth", sigma=1.5),
            node("outside", "smooth", "crop", x={"start": {"index": 39}, "stop": {"index": 45}}),
            node("below", "outside", "bin", x=2),
            node("units", "root", "crop", x={"start": {"value": 220.0, "unit": "eV"}}),
            node("image", "root", "virtual_image"),
            node("binned", "smooth", "bin", x=4),
        )
        done = applied(trees, LINE, recipe)
        assert done.made == ["smooth", "binned"]
        why = {one["name"]: one["why"] for one in done.left}
        assert "outside the axis" in why["outside"]
        assert why["below"] == "'outside', which it is made from, is left out."
        assert "uncalibrated" in why["units"]
        assert "2 dimension(s)" in why["image"]

    def test_a_name_that_is_taken_gets_a_number_and_says_so(self, trees):
        add(trees, THERE, "smooth", sigma=7.0)
        done = applied(trees, THERE, document(node("smooth", sigma=1.5), node("more", "smooth", sigma=2.0)))
        assert done.made == ["smooth-2", "more"]
        (note,) = done.notes
        assert note["name"] == "smooth"
        assert "called 'smooth-2'" in note["note"]
        tree = trees.tree(THERE)
        assert tree.parent_name("more") == "smooth-2"

    def test_a_long_name_that_is_taken_is_cut(self, trees):
        long = "x" * 97 + "(2)"
        add(trees, THERE, long, sigma=7.0)
        for _ in range(2):
            done = applied(trees, THERE, document(node(long, sigma=1.5)))
        assert done.there == ["x" * 94]

    def test_another_version_of_an_operation_is_said(self, trees):
        recipe = document({**node("smooth", sigma=1.5), "version": 99})
        (note,) = applied(trees, THERE, recipe).notes
        assert "gaussian_filter is version 1 here, and was 99 there" in note["note"]

    def test_another_calibration_is_said_and_not_made(self, trees):
        calibration = {"operation": "calibrate", "version": 1, "parameters": {"beam_energy": 200.0}}
        done = applied(trees, THERE, document(node("smooth", sigma=1.5), calibration=calibration))
        assert done.made == ["smooth"]
        assert "calibrates" in done.notes[0]["note"]

    def test_it_is_one_change_that_can_be_undone(self, trees):
        recipe = filled(trees)
        applied(trees, THERE, recipe)
        past = trees.history(THERE, 10)
        assert {done.by for done in past} == {"ada"}
        (change,) = {done.change for done in past}
        trees.undo(THERE, change)
        assert set(trees.tree(THERE).nodes) == {"root", "navigator"}

    def test_a_description_goes_along(self, trees):
        recipe = document({**node("smooth", sigma=1.5), "description": "as of\0 Monday"})
        applied(trees, THERE, recipe)
        assert trees.tree(THERE).nodes["smooth"].description == "as of? Monday"
        assert document_of(trees.tree(THERE), "b.mrc").nodes[0].description == "as of? Monday"

    def test_what_others_made_meanwhile_counts(self, trees, tmp_path):
        """Another process takes the name after this one has looked last."""
        other = reopened(trees)
        add(other, THERE, "smooth", sigma=9.0)
        done = applied(trees, THERE, document(node("smooth", sigma=1.5)))
        assert done.made == ["smooth-2"]

    def test_order_does_not_matter(self, trees):
        recipe = document(node("b", "a", sigma=2.0), node("a", sigma=1.5))
        assert applied(trees, THERE, recipe).made == ["a", "b"]


class Named(Strict):
    node: str


class Compared(Operation):
    """Compare each frame with another one."""

    name: ClassVar[str] = "compared"
    signal_dimensions: ClassVar[tuple[int, ...]] = (2,)
    reference: Named = Field(description="What it is compared with")

    def output(self, info):
        return info

    def function(self, info):
        return lambda frame, reference: frame + reference.reshape(frame.shape)

    def seconds(self, info):
        return 0.0


class TestNodesAsParameters:
    """An operation that names a node, as it will be kept by its id."""

    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch):
        monkeypatch.setitem(REGISTRY, "compared", Compared)

    def test_a_node_of_the_same_tree_travels_by_name_and_comes_after_what_it_names(self, trees):
        add(trees, HERE, "smooth", sigma=1.5)
        id_ = trees.tree(HERE).nodes["smooth"].id
        add(trees, HERE, "compared", "root", "compared", reference={"node": f"#{id_}"})
        add(trees, HERE, "other", sigma=2.0)
        found = document_of(trees.tree(HERE), "a.mrc", "compared")
        assert names(found) == ["smooth", "compared"]
        assert found.nodes[1].parameters == {"reference": {"node": "smooth"}}

    def test_it_is_made_with_the_name_that_the_node_has_there(self, trees):
        add(trees, THERE, "smooth", sigma=9.0)
        recipe = document(
            node("compared", "root", "compared", reference={"node": "smooth"}), node("smooth", sigma=1.5)
        )
        assert applied(trees, THERE, recipe).made == ["smooth-2", "compared"]
        parameters = json.loads(trees.tree(THERE).nodes["compared"].parameters)
        assert parameters == {"reference": {"node": "smooth-2"}}

    def test_a_node_of_another_tree_needs_its_own_right(self, trees):
        recipe = document(
            node("compared", "root", "compared", reference={"node": "/x/y/signal/root"}), node("smooth")
        )
        assert travel.foreign(recipe) == {"/x/y/signal/root"}
        done = applied(trees, THERE, recipe, refused={"/x/y/signal/root": "There is nothing there."})
        assert done.made == ["smooth"]
        assert done.left == [{"name": "compared", "why": "/x/y/signal/root: There is nothing there."}]

    def test_who_may_not_read_what_enters_a_node_is_not_told_of_it(self):
        recipe = document(
            node("seen"),
            node("hidden", "root", "compared", reference={"node": "/x/y/signal/root"}),
            node("below", "hidden"),
            node("beside", "seen", "compared", reference={"node": "hidden"}),
        )
        assert names(travel.without(recipe, {"/x/y/signal/root": "no"})) == ["seen"]
        assert travel.without(recipe, {}) == recipe

    def test_only_so_many_nodes_of_other_trees_are_looked_up(self):
        nodes = [node(f"n{i}", "root", "compared", reference={"node": f"/{i}"}) for i in range(101)]
        with pytest.raises(InvalidOperation, match="more than 100 nodes of other trees"):
            arriving.check(document(*nodes))

    def test_in_a_script_it_is_the_variable(self, trees):
        from conftest import make_root

        from tiled_spyde.script import script_of
        from tiled_spyde.steps import apply

        text = script_of(
            document(node("smooth", sigma=1.5), node("c", "root", "compared", reference={"node": "smooth"}))
        )
        assert "c = apply(root, 'compared', reference=smooth)" in text
        root = make_root().signal()
        found = apply(root, "compared", reference=root)
        assert (found.data.compute() == 2 * root.data.compute()).all()

    def test_in_a_script_one_of_another_tree_that_is_not_given_is_left_out(self):
        from tiled_spyde.script import script_of

        recipe = document(node("c", "root", "compared", reference={"node": "/x/y/signal/root"}))
        said = (
            "# 'c' is left out: a parameter is '/x/y/signal/root', a node of another file that is not in it."
        )
        assert said in script_of(recipe)
        with pytest.raises(InvalidOperation, match="'c' cannot be written as a script"):
            script_of(recipe, "c")


def chain(length):
    return [node(f"n{i}", f"n{i - 1}" if i else "root", sigma=1.0) for i in range(length)]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("root")], "no node can be called 'root'"),
        ([node("a"), node("a")], "two are called 'a'"),
        ([node("b", "a")], "'b' is made from 'a', which is not in the recipe"),
        ([node(f"n{i}") for i in range(MAX_NODES)], "at most 9998 items"),
        ([{**node("a"), "code": "import os"}], "Extra inputs"),
        ([{**node("a"), "parameters": [1]}], "should be an object"),
        ([node(7)], "valid string"),
    ],
    ids=lambda value: value if isinstance(value, str) else "nodes",
)
def test_what_does_not_hang_together_is_refused(nodes, message):
    with pytest.raises(ValidationError, match=message):
        document(*nodes)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("a", "b", sigma=1.0), node("b", "a", sigma=1.0)],
            "'a' has more than 64 steps, or is made from",
        ),
        ([node("a", "a", sigma=1.0)], "made from itself"),
        (chain(MAX_STEPS + 1), "'n64' has more than 64 steps"),
        (chain(MAX_STEPS + 1)[::-1], "'n64' has more than 64 steps"),
        ([node("a", "root", "os.system")], "'a': There is no operation 'os.system'"),
        ([node("a", sigma=float("nan"))], "'a': gaussian_filter: sigma"),
        ([node("a", sigma="1")], "'a': gaussian_filter: sigma"),
        ([node("../a")], "name: '../a' is not usable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "nodes",
)
def test_what_can_be_nowhere_is_refused_before_anything_is_made(nodes, message):
    with pytest.raises(InvalidOperation, match=message):
        arriving.check(document(*nodes))


def test_the_longest_chain_travels(trees):
    assert len(applied(trees, THERE, document(*chain(MAX_STEPS)[::-1])).made) == MAX_STEPS
