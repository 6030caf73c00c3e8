"""What people make, what a configuration asks for, and odd rows of a database: each node, or why there is none."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from catalog_samples import PATH, by_hand, catalog, contents, names, sigma, source

from tiled_spyde.database import nodes, trees
from tiled_spyde.errors import InvalidOperation, NameTaken, NotFound, TooLarge
from tiled_spyde.operations import build


@pytest.mark.usefixtures("each_database")
class TestNodes:
    def test_survive(self, tmp_path, data_folder, catalogued):
        node, made = catalogued.add_node(PATH, **sigma(1), by="Ada\0\udcff")
        again = catalog(tmp_path, data_folder).tree(PATH)
        assert made
        assert again.nodes[node.name].id == node.id
        assert again.nodes[node.name].created == node.created
        assert again.nodes[node.name].created.endswith("+00:00")
        assert again.recipe(node.name).key == catalogued.tree(PATH).recipe(node.name).key
        assert again.nodes[node.name].created_by == "Ada??"

    def test_the_same_again_is_found(self, catalogued):
        node, _ = catalogued.add_node(PATH, **sigma(1))
        assert catalogued.add_node(PATH, **sigma(1)) == (node, False)
        assert catalogued.add_node(PATH, **sigma(1), name="another")[1]

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
    def test_a_bad_one_changes_nothing(self, tmp_path, data_folder, catalogued, wanted, error):
        catalogued.add_node(PATH, **sigma(1), name="taken")
        before = contents(tmp_path)
        with pytest.raises(error) as refused:
            catalogued.add_node(PATH, **{**sigma(3), **wanted})
        assert len(str(refused.value)) < 1000
        assert contents(tmp_path) == before

    def test_parameters_of_a_megabyte_are_refused(self, catalogued, monkeypatch):
        monkeypatch.setattr("tiled_spyde.node.MAX_PARAMETERS", 5)
        with pytest.raises(TooLarge, match="at most 5"):
            catalogued.add_node(PATH, **sigma(1))
        assert names(catalogued) == []

    def test_a_chain_has_64_steps(self, tmp_path, data_folder, catalogued):
        above = "root"
        for number in range(64):
            above = catalogued.add_node(PATH, **{**sigma(number + 1), "parent": above})[0].name
        with pytest.raises(InvalidOperation, match="64"):
            catalogued.add_node(PATH, **{**sigma(99), "parent": above})
        assert len(catalog(tmp_path, data_folder).tree(PATH).recipes) == 66

    def test_an_image_has_no_navigator(self, data_folder, catalogued):
        catalogued.update({data_folder / "i.tif": source(data_folder / "i.tif", shape=(8, 8))})
        assert list(catalogued.tree(("i.tif", "signal")).nodes) == ["root"]

    def test_a_navigator_that_cannot_be_made_is_left_out(self, data_folder, catalogued):
        catalogued.update(
            {data_folder / "v.h5": source(data_folder / "v.h5", shape=(4, 2, 2, 2, 2, 2), signal_axes=5)}
        )
        assert list(catalogued.tree(("v.h5", "signal")).nodes) == ["root"]

    def test_a_calibration_stands_before_everything(self, tmp_path, data_folder, catalogued):
        calibrated = catalog(
            tmp_path, data_folder, calibration=lambda path, signal: build("bin", {"x": 2, "y": 2})
        )
        node, _ = calibrated.add_node(PATH, **sigma(1))
        tree = calibrated.tree(PATH)
        assert tree.recipe("root").info.signal_shape == (8, 8)
        assert [step["operation"] for step in tree.recipe(node.name).to_json()] == ["bin", "gaussian_filter"]

    def test_a_calibration_that_does_not_fit_leaves_the_tree_as_the_file_has_it(
        self, tmp_path, data_folder, catalogued
    ):
        catalogued.add_node(PATH, **sigma(1))
        wrong = catalog(
            tmp_path, data_folder, calibration=lambda path, signal: build("bin", {"x": 99, "y": 2})
        )
        tree = wrong.tree(PATH)
        assert "calibration in the configuration" in tree.calibration_error
        assert tree.recipe("root").parent is None
        assert tree.failure("gaussian_filter") is None


@pytest.mark.usefixtures("each_database")
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
        columns = ("name", "parent", "operation", "parameters")
        with by_hand(folder) as connection:
            given = {"tree": connection.scalar(sa.select(trees.c.id)), "created": "", "made": 99}
            described = [dict(zip(columns, row, strict=False)) for row in rows]
            connection.execute(
                nodes.insert(), [{**row, **given, "id": f"id of {row['name']}"} for row in described]
            )

    def test_fail_with_their_reason_and_nothing_else_does(self, tmp_path, data_folder, catalogued):
        node, _ = catalogued.add_node(PATH, **sigma(1))
        self.write(tmp_path, self.ODD)
        tree = catalog(tmp_path, data_folder).tree(PATH)
        for name, *_, reason in self.ODD:
            assert reason in str(tree.failure(name)), name
        assert set(tree.recipes) == {"root", "navigator", node.name}
        assert tree.parent_name("orphan") == "nobody"

    def test_a_long_chain_is_failed(self, tmp_path, data_folder, catalogued):
        catalogued.add_node(PATH, **sigma(1))
        chain = [
            (f"n{i}", f"id of n{i - 1}" if i else "root", "gaussian_filter", '{"sigma":1.0}')
            for i in range(3000)
        ]
        self.write(tmp_path, chain)
        tree = catalog(tmp_path, data_folder).tree(PATH)
        assert "64" in str(tree.failure("n2999"))
        assert tree.failure("n63") is None
        assert tree.failure("n64")

    def test_a_tree_of_10_000_nodes_is_full(self, tmp_path, data_folder, catalogued):
        catalogued.add_node(PATH, **sigma(1))
        rows = [(f"n{i}", "root", "gaussian_filter", f'{{"sigma":{2 + i / 1000}}}') for i in range(9996)]
        self.write(tmp_path, rows)
        catalogued = catalog(tmp_path, data_folder)
        assert catalogued.add_node(PATH, **sigma(100))[1]
        with pytest.raises(InvalidOperation, match="at most 10000 nodes"):
            catalogued.add_node(PATH, **sigma(101))
        assert len(catalogued.tree(PATH).nodes) == 10_000

    @pytest.mark.parametrize("name", ["root", "navigator", "a/b", "", "x" * 10**5])
    def test_a_name_that_cannot_be_is_shown_as_another(self, tmp_path, data_folder, catalogued, name):
        catalogued.add_node(PATH, **sigma(1))
        self.write(tmp_path, [(name, "root", "gaussian_filter", '{"sigma":3.0}')])
        tree = catalog(tmp_path, data_folder).tree(PATH)
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


@pytest.mark.usefixtures("each_database")
class TestPrepared:
    def test_are_made_when_their_file_is_known(self, tmp_path, data_folder):
        catalogued = catalog(tmp_path, data_folder)
        catalogued.prepare(PREPARED)
        catalogued.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
        assert names(catalogued) == ["first", "second"]
        assert catalogued.tree(PATH).nodes["first"].created_by == "configuration"

    def test_are_made_once(self, tmp_path, data_folder, catalogued):
        catalogued.prepare(PREPARED)
        ids = [node.id for node in catalogued.tree(PATH).nodes.values()]
        again = catalog(tmp_path, data_folder)
        again.prepare(PREPARED)
        assert [node.id for node in again.tree(PATH).nodes.values()] == ids

    def test_a_persons_node_of_the_same_name_stays(self, catalogued, caplog):
        own, _ = catalogued.add_node(PATH, **sigma(9), name="first")
        catalogued.prepare(PREPARED)
        assert catalogued.tree(PATH).nodes["first"] == own
        assert "is taken by another node" in caplog.text

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
    def test_what_cannot_be_meant_is_refused_at_once(self, catalogued, nodes, told):
        with pytest.raises(InvalidOperation, match=f"(?s)scan.hspy/signal.*{told}"):
            catalogued.prepare({"scan.hspy/signal": nodes})


def test_prepared_nodes_wait_for_the_database(tmp_path, data_folder, catalogued):
    (tmp_path / "catalogue.db").rename(tmp_path / "away")
    catalogued.prepare(PREPARED)
    assert names(catalogued) == []
    (tmp_path / "away").rename(tmp_path / "catalogue.db")
    catalogued.refresh()
    assert names(catalogued) == ["first", "second"]
