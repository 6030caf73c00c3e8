"""What is served, and what becomes of it when files change, move and go."""

from __future__ import annotations

import os

import pytest
from catalog_samples import PATH, addresses, by_hand, catalog, database, names, sigma, source

from tiled_spyde.catalog import Catalog, Served, SourceFile
from tiled_spyde.errors import Gone, InvalidOperation, NotFound
from tiled_spyde.names import safe_name
from tiled_spyde.records import Remembered
from tiled_spyde.sources import Source


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

    def test_names_never_meet_whatever_lies_beside(self, tmp_path, data_folder):
        paths = [data_folder / n for n in ("a?b", "a*b", "a_b", safe_name("a?b"), "c/a?b", "c?/x", "c*/x")]
        there, back = catalog(tmp_path / "1", data_folder), catalog(tmp_path / "2", data_folder)
        there.update({path: source(path) for path in paths})
        for path in reversed(paths):
            back.update({path: source(path)})
        assert list(addresses(there.top)) == list(addresses(back.top))
        assert len(list(addresses(there.top))) == len(paths)

    def test_a_file_whose_name_is_no_text_is_remembered(self, tmp_path, data_folder):
        path = data_folder / os.fsdecode(b"\xff\xfe \xc3\xa9%41.tif")
        catalog(tmp_path, data_folder).update({path: source(path)})
        assert catalog(tmp_path, data_folder).known[path].path == path

    def test_served_names_and_single_files(self, tmp_path):
        places = [Served(tmp_path / "a", ("one",)), Served(tmp_path / "b" / "x.tif", ("two.tif",))]
        made = Catalog(database(tmp_path), [*places, Served(tmp_path / "a" / "in", ("in",))])
        found = ["a/s.tif", "b/x.tif", "a/in/t.tif", "b/other.tif", "ab/s.tif"]
        made.update({tmp_path / name: source(tmp_path / name) for name in found})
        assert list(addresses(made.top)) == [("in", "t.tif"), ("one", "s.tif"), ("two.tif",)]


@pytest.mark.usefixtures("each_database")
class TestFiles:
    def test_known_is_what_was_told(self, tmp_path, data_folder, catalogued):
        told = source(data_folder / "scan.hspy", "other", names=("a", "b"))
        catalogued.update({data_folder / "scan.hspy": told})
        assert catalogued.known[data_folder / "scan.hspy"] == told
        assert dict(catalog(tmp_path, data_folder).known) == {data_folder / "scan.hspy": told}

    def test_every_signal_is_a_tree(self, data_folder, catalogued):
        catalogued.update({data_folder / "two.h5": source(data_folder / "two.h5", names=("a", "b"))})
        assert list(catalogued.top.entries["two.h5"].trees) == ["a", "b"]

    def test_one_that_cannot_be_read_says_why(self, data_folder, catalogued):
        catalogued.update({data_folder / "bad.h5": Source(data_folder / "bad.h5", error="broken")})
        assert catalogued.top.entries["bad.h5"].error == "broken"
        with pytest.raises(NotFound):
            catalogued.tree(("bad.h5", "signal"))

    def test_listing_parses_nothing(self, tmp_path, data_folder, catalogued, monkeypatch):
        again = catalog(tmp_path, data_folder)
        monkeypatch.setattr(Remembered, "source", lambda self: pytest.fail("parsed"))
        assert [(name, file.signals, file.error) for name, file in again.top.entries.items()] == [
            ("scan.hspy", ("signal",), None)
        ]

    def test_a_file_becomes_a_folder_in_either_order(self, data_folder, catalogued):
        inside = data_folder / "scan.hspy" / "x.tif"
        catalogued.update({inside: source(inside)})
        catalogued.update({data_folder / "scan.hspy": None})
        assert list(addresses(catalogued.top)) == [("scan.hspy", "x.tif")]
        catalogued.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
        catalogued.update({inside: None})
        assert list(addresses(catalogued.top)) == [("scan.hspy",)]

    def test_a_snapshot_does_not_change(self, data_folder, catalogued):
        before = catalogued.top
        catalogued.update({data_folder / "scan.hspy": None})
        assert isinstance(before.entries["scan.hspy"], SourceFile)
        assert catalogued.top.entries == {}

    def test_a_source_that_makes_no_sense_any_more_is_said(self, tmp_path, data_folder, catalogued):
        with by_hand(tmp_path) as connection:
            connection.exec_driver_sql("UPDATE sources SET described = '{'")
        assert "makes no sense" in catalog(tmp_path, data_folder).known[data_folder / "scan.hspy"].error


@pytest.mark.usefixtures("each_database")
class TestFilesChange:
    def test_nodes_stay_and_what_no_longer_fits_is_failed(self, tmp_path, data_folder, catalogued):
        binned, _ = catalogued.add_node(PATH, parent="root", operation="bin", parameters={"x": 8, "y": 8})
        below, _ = catalogued.add_node(PATH, **{**sigma(1), "parent": binned.name})
        smooth, _ = catalogued.add_node(PATH, **sigma(2))
        old = {
            name: catalogued.tree(PATH).recipe(name).key for name in (binned.name, below.name, smooth.name)
        }
        catalogued.update(
            {data_folder / "scan.hspy": source(data_folder / "scan.hspy", "new", shape=(4, 5, 6, 6))}
        )
        for tree in catalogued.tree(PATH), catalog(tmp_path, data_folder).tree(PATH):
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
            catalogued.add_node(PATH, **{**sigma(5), "parent": below.name})
        catalogued.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
        assert catalogued.tree(PATH).recipe(below.name).key == old[below.name]

    def test_a_file_that_comes_back_has_its_nodes(self, tmp_path, data_folder, catalogued):
        node, _ = catalogued.add_node(PATH, **sigma(1))
        for change in (
            None,
            Source(data_folder / "scan.hspy", error="half written"),
        ):
            catalogued.update({data_folder / "scan.hspy": change})
            catalogued = catalog(tmp_path, data_folder)
            catalogued.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
            assert catalogued.tree(PATH).nodes[node.name].id == node.id

    @pytest.mark.parametrize("order", ["together", "old first", "new first", "restarted"])
    def test_a_moved_file_takes_its_nodes_along(self, tmp_path, data_folder, catalogued, order):
        node, _ = catalogued.add_node(PATH, **sigma(1))
        old, new = data_folder / "scan.hspy", data_folder / "archive" / "scan.hspy"
        batches = [{old: None}, {new: source(new)}]
        if order == "together":
            batches = [batches[0] | batches[1]]
        for batch in reversed(batches) if order == "new first" else batches:
            catalogued.update(batch)
            catalogued = catalog(tmp_path, data_folder) if order == "restarted" else catalogued
        for each in catalogued, catalog(tmp_path, data_folder):
            assert each.tree(("archive", *PATH)).nodes[node.name].id == node.id
        new.parent.mkdir()
        new.touch()
        catalogued.update({old: source(old)})
        assert names(catalogued) == []

    def test_a_copy_takes_nothing_and_nor_does_a_place_that_has_nodes(self, data_folder, catalogued):
        (data_folder / "scan.hspy").touch()
        node, _ = catalogued.add_node(PATH, **sigma(1))
        copy = data_folder / "copy" / "scan.hspy"
        catalogued.update({copy: source(copy)})
        assert names(catalogued, ("copy", *PATH)) == []
        catalogued.add_node(("copy", *PATH), **sigma(2), name="own")
        (data_folder / "scan.hspy").unlink()
        catalogued.update({data_folder / "scan.hspy": None})
        assert names(catalogued, ("copy", *PATH)) == ["own"]
        catalogued.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
        assert names(catalogued) == [node.name]

    @pytest.mark.parametrize("apart", [False, True])
    def test_nodes_go_to_another_served_folder_only_where_everyone_may_read_both(self, tmp_path, apart):
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        both = [Served(one, ("one",)), Served(two, ("two",))]
        catalogued = Catalog(database(tmp_path), both, apart=apart)
        old, new = one / "scan.hspy", two / "scan.hspy"
        catalogued.update({old: source(old)})
        node, _ = catalogued.add_node(("one", *PATH), **sigma(1))
        catalogued.update({old: None, new: source(new)})
        assert names(catalogued, ("two", *PATH)) == ([] if apart else [node.name])
        catalogued.update({one / "sub" / "scan.hspy": source(one / "sub" / "scan.hspy")})
        assert names(catalogued, ("one", "sub", *PATH)) == ([node.name] if apart else [])

    def test_a_served_folder_that_is_not_there_keeps_its_nodes(self, tmp_path, data_folder):
        disk = tmp_path / "disk"
        disk.mkdir()
        both = [Served(disk, ("disk",)), Served(data_folder, ("data",))]
        catalogued = Catalog(database(tmp_path), both)
        catalogued.update({folder / "s.tif": source(folder / "s.tif") for folder in (disk, data_folder)})
        node, _ = catalogued.add_node(("disk", "s.tif", "signal"), **sigma(1))
        disk.rmdir()
        catalogued.update({disk / "s.tif": None})
        assert names(catalogued, ("data", "s.tif", "signal")) == []
        catalogued.update({disk / "s.tif": source(disk / "s.tif")})
        assert names(catalogued, ("disk", "s.tif", "signal")) == [node.name]
