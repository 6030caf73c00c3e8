"""Changes as others see them: two servers on one database, a database that goes away, and what is computed again."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import encoded, serving, until
from test_changing import TREE, crop, data, delete, described, history, listed, make, patch, undo

from tiled_spyde.operations.filters import GaussianFilter
from tiled_spyde.places import database_in


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    hs.signals.Signal2D(encoded((3, 4, 12, 10))).save(tmp_path / "data" / "scan.hspy")
    return tmp_path / "data"


def test_what_one_server_answers_the_other_knows(folder, tmp_path):
    state = {"state": str(tmp_path / "state")}
    with serving([folder], arguments=state) as one, serving([folder], arguments=state) as two:
        old = make(one, "a").headers["ETag"].strip('"')
        until(lambda: "a" in listed(two))
        before = described(two, "a")
        assert patch(two, "a", {"parameters": {"sigma": 2.0}}, old).status_code == 200
        until(lambda: described(one, "a") == described(two, "a"))
        pinned = f"/api/v1/array/full/{TREE}/a@{before['key']}?slice=1,2"
        assert one.get(pinned).status_code == two.get(pinned).status_code == 410
        refused = patch(one, "a", {"name": "b"}, old)
        assert refused.status_code == 412
        assert refused.json()["data"]["attributes"]["metadata"]["attributes"] == described(two, "a")
        change = delete(one, "a").json()["data"]["change"]
        until(lambda: listed(two) == {"root", "navigator"})
        assert undo(two, change).status_code == 200
        until(lambda: listed(one) == {"root", "navigator", "a"})
        assert history(one).json() == history(two).json()


def test_below_a_failed_node_there_is_nothing_and_for_zarr_it_is_an_empty_group(folder, tmp_path):
    with serving([folder], arguments={"state": str(tmp_path / "state")}) as served:
        make(served, "cut", **crop(8))
        make(served, "edge", parent="cut", **crop(6))
        patch(served, "cut", crop(4))
        for nothing in ("api/v1/array/full/{}/x", "api/v1/metadata/{}/x", "zarr/v2/{}/.zarray"):
            assert served.get("/" + nothing.format(f"{TREE}/edge")).status_code == 404, nothing
        assert served.get(f"/zarr/v2/{TREE}/edge/.zgroup").status_code == 200
        assert served.get(f"/api/v1/search/{TREE}/edge").json()["data"] == []


def test_what_was_computed_once_is_there_when_the_parameters_come_back(folder, tmp_path, monkeypatch):
    computed = []
    function = GaussianFilter.function

    def counted(self, info):
        inner = function(self, info)
        return lambda frame: computed.append(self.sigma) or inner(frame)

    monkeypatch.setattr(GaussianFilter, "function", counted)
    with serving([folder], arguments={"state": str(tmp_path / "state")}) as served:
        make(served, "a", sigma=1.0)
        make(served, "b", sigma=3.0, parent="a")
        make(served, "other", sigma=4.0)
        first = data(served, "b").content, data(served, "other").content
        assert computed == [1.0, 3.0, 4.0]
        patch(served, "a", {"parameters": {"sigma": 2.0}})
        assert data(served, "b").content != first[0]
        assert computed == [1.0, 3.0, 4.0, 2.0, 3.0]
        undo(served, history(served).json()["data"][0]["change"])
        patch(served, "b", {"name": "c"})
        assert (data(served, "c").content, data(served, "other").content) == first
        assert computed == [1.0, 3.0, 4.0, 2.0, 3.0]


def test_while_the_database_is_away_nothing_changes_and_data_is_read(folder, tmp_path):
    kept = database_in(tmp_path / "state")
    with serving([folder], arguments={"state": str(tmp_path / "state")}) as served:
        make(served, "a")
        make(served, "taken", sigma=2.0)
        change = history(served).json()["data"][0]["change"]
        shown = described(served, "a")
        kept.rename(tmp_path / "elsewhere")
        for answer in (
            patch(served, "a", {"name": "b"}),
            delete(served, "a"),
            undo(served, change),
            history(served),
        ):
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert "it is gone" in answer.json()["detail"]
        assert described(served, "a") == shown
        assert data(served, "a").status_code == 200
        (tmp_path / "elsewhere").rename(kept)
        assert history(served).json()["data"][0]["change"] == change
        assert patch(served, "a", {"name": "b"}, shown["version"]).status_code == 200


def test_a_signal_may_be_called_as_a_route_is(tmp_path):
    for number, title in enumerate(("undo", "history", "apply", "recipe")):
        image = hs.signals.Signal2D(encoded((3, 4, 12, 10)))
        image.metadata.General.title = title
        image.save(tmp_path / f"{number}.hspy")
    with serving([tmp_path]) as served:
        for tree in ("0.hspy/undo", "1.hspy/history", "2.hspy/apply", "3.hspy/recipe"):
            address = f"/api/v1/nodes/{tree}"
            made = served.client.post(address, json={"parent": "root", "operation": "sum", "name": "undo"})
            assert made.status_code == 201, made.text
            (row,) = served.get(f"{address}/history").json()["data"]
            assert served.get(f"{address}/undo/history").json()["data"] == [row]
            answer = served.client.post(f"{address}/undo", json={"change": row["change"]})
            assert answer.json()["data"]["deleted"] == ["undo"]


def test_all_of_it_is_there_after_a_restart(folder, tmp_path):
    with serving([folder], arguments={"state": str(tmp_path / "state")}) as first:
        make(first, "a")
        make(first, "b", sigma=2.0)
        patch(first, "a", {"name": "c", "description": "kept", "parameters": {"sigma": 4.0}})
        change = delete(first, "b").json()["data"]["change"]
        rows, shown = history(first).json(), described(first, "c")
    with serving([folder], arguments={"state": str(tmp_path / "state")}) as again:
        assert listed(again) == {"root", "navigator", "c"}
        assert described(again, "c") == shown
        assert history(again).json() == rows
        assert [node["id"] for node in undo(again, change).json()["data"]["changed"]] == ["b"]
        expected = np.frombuffer(data(again, "c").content, "<f4")
        assert expected.size == 120
