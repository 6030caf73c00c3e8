"""Who may change, delete and undo what, and see what was done: as the folder says, also for failed nodes."""

from __future__ import annotations

import httpx
import pytest
from test_rights import EDITS, SEES, TREES, api_key, facility, logged_in

__all__ = ["facility"]

READING = ["read:metadata", "read:data"]


def crop(stop):
    return {"operation": "crop", "parameters": {"x": {"stop": {"index": stop}}}}


def make(client, tree, name, **others):
    node = {"name": name, "parent": "root", "operation": "sum"} | others
    answer = client.post(f"/api/v1/nodes/{TREES[tree]}", json=node)
    assert answer.status_code == 201, answer.text
    return int(answer.headers["ETag"].strip('"'))


@pytest.fixture
def nodes(facility, request):
    """In every tree a good and a failed node, and the change that made the good one."""
    made = {}
    with logged_in(facility, "ada") as ada:
        for tree, path in TREES.items():
            make(ada, tree, "cut", **crop(4))
            make(ada, tree, "failed", parent="cut", **crop(3))
            assert ada.patch(f"/api/v1/nodes/{path}/cut", json=crop(2)).status_code == 200
            made[tree] = make(ada, tree, "good")
        yield made
        for path in TREES.values():
            ada.delete(f"/api/v1/nodes/{path}/cut?recursive=true")
            ada.delete(f"/api/v1/nodes/{path}/good")


def calls(client, path, name):
    """What may change things, of which nothing comes to anything for want of a right or of sense."""
    node = f"/api/v1/nodes/{path}/{name}"
    yield client.patch(node, json={"parameters": {"no": "such"}}), 422
    yield client.delete(node, headers={"If-Match": '"0"'}), 412
    yield client.post(f"/api/v1/nodes/{path}/undo", json={"change": 10**9}), 404


@pytest.mark.parametrize("name", SEES)
@pytest.mark.parametrize("node", ["good", "failed"])
def test_editors_change_readers_look_and_others_know_of_nothing(facility, nodes, name, node):
    with logged_in(facility, name) as client:
        for tree, path in TREES.items():
            for answer, allowed in calls(client, path, node):
                if tree in EDITS[name]:
                    assert answer.status_code == allowed, answer.text
                elif name == "nobody":
                    assert answer.status_code == 401
                else:
                    assert answer.status_code == (403 if tree in SEES[name] else 404)
            for at in (path, f"{path}/{node}"):
                answer = client.get(f"/api/v1/nodes/{at}/history")
                assert answer.status_code == (200 if tree in SEES[name] else 404)
            answer = client.get(f"/api/v1/metadata/{path}/{node}")
            assert answer.status_code == (200 if tree in SEES[name] else 404)


def test_a_failed_node_is_mended_and_deleted_by_editors_only(facility, nodes):
    address = f"/api/v1/nodes/{TREES['2']}/failed"
    with logged_in(facility, "ben") as reader, logged_in(facility, "cem") as editor:
        assert reader.patch(address, json=crop(1)).status_code == 403
        assert editor.patch(address, json=crop(1)).status_code == 200
        assert reader.delete(address).status_code == 403
        assert editor.delete(address).status_code == 200
        rows = reader.get(f"/api/v1/nodes/{TREES['2']}/history?limit=2").json()["data"]
        assert [(row["what"], row["name"], row["by"]) for row in rows] == [
            ("deleted", "failed", "cem"),
            ("changed", "failed", "cem"),
        ]


def test_undoing_needs_the_right_to_what_it_does(facility, nodes):
    """A key that may rename undoes a renaming, and neither a making nor a deletion."""
    path = TREES["2"]
    with logged_in(facility, "cem") as cem:
        scopes = {
            "rename": [*READING, "write:metadata"],
            "make": [*READING, "write:metadata", "create:node"],
            "delete": [*READING, "write:metadata", "delete:node"],
            "read": READING,
        }
        keys = {what: api_key(cem, scopes=wanted) for what, wanted in scopes.items()}
        deleted = cem.delete(f"/api/v1/nodes/{path}/failed").json()["data"]["change"]
        renamed = cem.patch(f"/api/v1/nodes/{path}/good", json={"name": "better"})
        change = int(renamed.headers["ETag"].strip('"'))

    def undo(what, change):
        headers = {"Authorization": f"Apikey {keys[what]}"}
        with httpx.Client(base_url=facility.url, headers=headers) as client:
            return client.post(f"/api/v1/nodes/{path}/undo", json={"change": change}).status_code

    assert undo("read", change) == 401
    assert undo("rename", change) == 200
    for what in scopes:
        assert undo(what, nodes["2"]) == 401
        assert undo(what, deleted) == 401
    with logged_in(facility, "cem") as cem:
        for number in (deleted, nodes["2"]):
            assert cem.post(f"/api/v1/nodes/{path}/undo", json={"change": number}).status_code == 200


def test_a_change_of_another_tree_is_none_of_this_one(facility, nodes):
    with logged_in(facility, "ben") as ben:
        answer = ben.post(f"/api/v1/nodes/{TREES['1']}/undo", json={"change": nodes["2"]})
        assert answer.status_code == 404
