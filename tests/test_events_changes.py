"""What is re-pointed, renamed, deleted and undone is told to who follows, and previews stay what they were."""

from __future__ import annotations

from conftest import serving
from test_derive import TREE, ask
from test_events import following
from test_workers import make


def test_each_change_is_told_with_what_follows_from_it(scans):
    with serving([scans]) as served, following(served.url) as one:
        assert one.next()[0] == "tree"
        make(served.client, "above", 1.0)
        below = {"parent": "above", "operation": "sum", "name": "below"}
        assert served.client.post(f"/api/v1/nodes/{TREE}", json=below).status_code == 201
        made = one.nodes("above", "below")
        path = f"/api/v1/nodes/{TREE}/above"

        answer = served.client.patch(path, json={"parameters": {"sigma": 2.0}})
        assert answer.status_code == 200, answer.text
        changed = one.nodes("above", "below")
        for name in changed:
            assert changed[name]["what"] == "changed"
            assert changed[name]["id"] == made[name]["id"]
            assert changed[name]["key"] != made[name]["key"]
        assert changed["above"]["version"] > made["above"]["version"]
        assert answer.headers["etag"] == f'"{changed["above"]["version"]}"'

        assert served.client.patch(path, json={"name": "renamed"}).status_code == 200
        renamed = one.nodes("renamed")["renamed"]
        assert (renamed["what"], renamed["id"], renamed["key"]) == (
            "changed", made["above"]["id"], changed["above"]["key"],
        )  # fmt: skip

        gone = served.client.delete(f"/api/v1/nodes/{TREE}/renamed", params={"recursive": "true"})
        assert gone.status_code == 200, gone.text
        told = one.nodes("renamed", "below")
        assert {said["what"] for said in told.values()} == {"deleted"}
        assert {said["key"] for said in told.values()} == {None}

        number = gone.json()["data"]["change"]
        assert served.client.post(f"/api/v1/nodes/{TREE}/undo", json={"change": number}).status_code == 200
        again = one.nodes("renamed", "below")
        assert {said["what"] for said in again.values()} == {"made"}
        assert again["renamed"]["key"] == renamed["key"]


def test_a_preview_is_gone_while_its_node_is_another_one(scans):
    with serving([scans]) as served:
        make(served.client, "above", 1.0)
        path = f"/api/v1/derive/{TREE}/above"
        before = ask(served.client, path, slice="1,2", format="application/octet-stream")
        assert before.status_code == 200
        pinned = f"/api/v1/array/full/{before.headers['x-node']}?slice=1,2&format=application/octet-stream"
        for change in (
            lambda: served.client.patch(f"/api/v1/nodes/{TREE}/above", json={"parameters": {"sigma": 3.0}}),
            lambda: served.client.delete(f"/api/v1/nodes/{TREE}/above"),
        ):
            assert change().status_code == 200
            now = served.get(pinned)
            assert now.status_code == 410
            assert "derive" in now.json()["detail"].lower()
            done = served.get(f"/api/v1/nodes/{TREE}/history").json()["data"][0]["change"]
            undone = served.client.post(f"/api/v1/nodes/{TREE}/undo", json={"change": done})
            assert undone.status_code == 200
            again = served.get(pinned)
            assert (again.status_code, again.content) == (200, before.content)
