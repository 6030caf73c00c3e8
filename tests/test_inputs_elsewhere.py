"""Nodes of other trees that parameters name: where nobody has made anything yet, and where the file is gone."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest
from catalog_samples import addresses, contents, source
from catalog_samples import catalog as catalog_of
from conftest import serving, until
from test_database import read_only
from test_previews import previewing
from test_rights import AUTHENTICATION, POLICY, logged_in

from tiled_spyde.chains import Step
from tiled_spyde.errors import InvalidOperation, NameTaken, NotFound, Unavailable
from tiled_spyde.events import Streams, view_of
from tiled_spyde.named import paths_of
from tiled_spyde.previews import Previews

HERE, THERE = ("a.hspy", "signal"), ("b.hspy", "signal")
OTHER = {"reference": {"node": "/b.hspy/signal/root"}}
STEP = [Step(operation="subtract_reference", parameters=OTHER)]


@pytest.fixture
def kept(each_database, tmp_path):
    """A catalogue with two files."""
    data = tmp_path / "data"
    made = catalog_of(tmp_path / "state", data)
    made.update({data / name: source(data / name, name[0]) for name in ("a.hspy", "b.hspy")})
    return made


def minus(catalog, name=None, at=HERE, parent="root"):
    return catalog.add_node(at, parent=parent, operation="subtract_reference", parameters=OTHER, name=name)[0]


def written(tmp_path):
    return contents(tmp_path / "state")["trees"]


class TestATreeInWhichNobodyHasMadeAnything:
    def test_naming_it_writes_nothing(self, kept, tmp_path):
        before = contents(tmp_path / "state")
        preview = Previews(None, kept.kept).derive(kept.tree(HERE), "root", STEP)
        assert preview.entering == {THERE}
        with pytest.raises(NotFound, match="no node 'nothing'"):
            minus(kept, parent="nothing")
        with pytest.raises(NameTaken):
            minus(kept, "root")
        assert contents(tmp_path / "state") == before
        node = minus(kept)
        assert kept.tree(HERE).recipe(node.name).key == preview.key

    def test_it_gets_its_id_with_the_first_node_that_names_it(self, kept, tmp_path):
        first, second = minus(kept, "first"), minus(kept, "second")
        assert len(written(tmp_path)) == 2
        assert minus(kept) == first
        assert json.loads(first.parameters) == json.loads(second.parameters)
        again = catalog_of(tmp_path / "state", tmp_path / "data")
        assert paths_of(again.tree(HERE), again.tree(HERE).nodes["first"]) == {
            "reference": "/b.hspy/signal/root"
        }
        kept.add_node(THERE, parent="root", operation="sum", parameters={})
        assert len(written(tmp_path)) == 2

    def test_two_processes_give_it_one(self, kept, tmp_path):
        other = catalog_of(tmp_path / "state", tmp_path / "data", marked=False)
        assert len({minus(one).id for one in (kept, other)}) == 1
        assert len(written(tmp_path)) == 2

    def test_a_signal_of_the_same_file_too(self, tmp_path):
        data = tmp_path / "data"
        made = catalog_of(tmp_path / "state", data)
        made.update({data / "b.hspy": source(data / "b.hspy", names=("signal", "second"))})
        node = minus(made, at=("b.hspy", "second"))
        for catalog in (made, catalog_of(tmp_path / "state", data)):
            assert catalog.tree(("b.hspy", "second")).entering(node.name) == {THERE}
            assert catalog.add_node(THERE, parent="root", operation="sum", parameters={})[0].name == "sum"

    @pytest.mark.parametrize("file", ['µ "x" & 100 %.hspy', "#a.hspy", "back\\slash.hspy", "日本語/ß.hspy"])
    def test_whatever_its_file_is_called(self, kept, tmp_path, file):
        path = tmp_path / "data" / file
        kept.update({path: source(path, "odd")})
        address = next(at for at in addresses(kept.top) if at not in {("a.hspy",), ("b.hspy",)})
        other = {"reference": {"node": f"/{'/'.join(address)}/signal/root"}}
        node, _ = kept.add_node(HERE, parent="root", operation="subtract_reference", parameters=other)
        assert len(written(tmp_path)) == 2
        for catalog in (kept, catalog_of(tmp_path / "state", tmp_path / "data")):
            tree = catalog.tree(HERE)
            assert tree.failure(node.name) is None
            assert tree.entering(node.name) == {(*address, "signal")}
            assert "/signal/" not in tree.nodes[node.name].parameters

    def test_another_process_finds_a_preview_that_names_it(self, kept, tmp_path):
        with previewing(tmp_path) as one, previewing(tmp_path) as two:
            for held in (one, two):
                held._kept = kept.kept
            preview = one.derive(kept.tree(HERE), "root", STEP)
            one.keep(preview)
            one.close()
            two.look_for([preview.key])
            found = two.get(kept.tree(HERE), preview.key)
            assert (found.recipe.key, found.entering) == (preview.key, {THERE})
            assert len(written(tmp_path)) == 0

    def test_it_is_previewed_while_nothing_can_be_written(self, tmp_path):
        data, state = tmp_path / "data", tmp_path / "state"
        made = catalog_of(state, data)
        made.update({data / name: source(data / name, name[0]) for name in ("a.hspy", "b.hspy")})
        with read_only(state):
            served = catalog_of(state, data)
            preview = Previews(None, served.kept).derive(served.tree(HERE), "root", STEP)
            with pytest.raises(Unavailable, match="read-only"):
                minus(served)
        node = minus(made)
        assert made.tree(HERE).recipe(node.name).key == preview.key


def test_who_may_know_of_nodes_is_asked_once_for_all_that_the_same_enters(tmp_path):
    data = tmp_path / "data"
    made = catalog_of(tmp_path / "state", data, apart=True)
    made.update({data / name: source(data / name, name[0]) for name in ("a.hspy", "b.hspy")})
    for name in ("one", "two", "three"):
        minus(made, name)
    made.add_node(HERE, parent="root", operation="sum", parameters={}, name="own")
    asked = []

    async def shown(name):
        asked.append(name)
        return False

    found = asyncio.run(Streams(made)._visible(view_of(made.tree(HERE)), shown))
    assert {seen.name for seen in found.nodes.values()} == {"root", "navigator", "own"}
    assert len(asked) == 1


class TestAFileThatIsGone:
    def test_what_is_made_from_it_says_so_and_still_counts_it(self, kept, tmp_path):
        kept.add_node(THERE, parent="root", operation="mean_over_scan", parameters={}, name="mean")
        mean = {"reference": {"node": "/b.hspy/signal/mean"}}
        node, _ = kept.add_node(HERE, parent="root", operation="subtract_reference", parameters=mean)
        below, _ = kept.add_node(HERE, parent=node.name, operation="gaussian_filter", parameters={})
        key = kept.tree(HERE).recipe(node.name).key
        kept.update({tmp_path / "data" / "b.hspy": None})
        for catalog in (kept, catalog_of(tmp_path / "state", tmp_path / "data")):
            tree = catalog.tree(HERE)
            for name in (node.name, below.name):
                assert tree.entering(name) == {THERE}
                assert "'b.hspy' is not there any more" in str(tree.failure(name))
            assert paths_of(tree, node) == {"reference": "/b.hspy/signal/mean"}
            with pytest.raises(InvalidOperation, match="is failed"):
                catalog.add_node(HERE, parent=node.name, operation="sum", parameters={})
        kept.change_node((*HERE, node.name), name="mended later")
        kept.update({tmp_path / "data" / "b.hspy": source(tmp_path / "data" / "b.hspy", "b")})
        assert kept.tree(HERE).recipe("mended later").key == key

    def test_nor_does_anybody_see_it_who_might_not_read_it(self, scans, tmp_path):
        data = tmp_path / "data"
        for name in ("open", "closed"):
            (data / name).mkdir(parents=True)
            shutil.copyfile(scans / "scan4d.hspy", data / name / "scan.hspy")
        folders = [
            {"path": str(data / "open"), "readers": ["*"]},
            {"path": str(data / "closed"), "editors": ["ben"]},
        ]
        tree, reference = "open/scan.hspy/signal", {"reference": {"node": "/closed/scan.hspy/signal/root"}}
        node = {"parent": "root", "operation": "subtract_reference", "parameters": reference, "name": "minus"}
        given = {"folders": folders, "state": str(tmp_path / "state")}
        with (
            serving(
                [], public=True, arguments=given, access_control=POLICY, authentication=AUTHENTICATION
            ) as served,
            logged_in(served, "ada") as ada,
            logged_in(served, "ben") as ben,
            logged_in(served, "cem") as cem,
        ):
            assert ada.post(f"/api/v1/nodes/{tree}", json=node).status_code == 201

            def found(client):
                answer = client.get(f"/api/v1/metadata/{tree}/minus").json()
                return answer.get("data") and answer["data"]["attributes"]["metadata"]["attributes"]["state"]

            assert [found(one) for one in (ada, ben, cem)] == ["lazy", "lazy", None]
            (data / "closed" / "scan.hspy").unlink()
            until(lambda: found(ben) == "failed")
            assert [found(one) for one in (ada, ben, cem)] == ["failed", "failed", None]
            assert "minus" not in cem.get(f"/api/v1/search/{tree}").text
            assert "minus" not in cem.get(f"/api/v1/nodes/{tree}/recipe").text
            assert "minus" not in cem.get(f"/api/v1/nodes/{tree}/history").text
            for address in ("api/v1/array/full/{}?slice=0,0", "zarr/v3/{}/c/0/0/0/0"):
                statuses = [one.get("/" + address.format(f"{tree}/minus")).status_code for one in (ben, cem)]
                assert statuses == [422, 404]
