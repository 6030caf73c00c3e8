"""Nodes that enter others as parameters, changed, deleted, brought back, previewed and followed."""

from __future__ import annotations

import json
import shutil

import httpx
import numpy as np
import pytest
from conftest import KEY, encoded, serving
from test_events import Follower
from test_rights import TREES, facility, logged_in
from test_rights_of_inputs import FIRST, SECOND

TREE, OTHER = "a.hspy/signal", "b.hspy/signal"
DATA = encoded((3, 5, 12, 16))

__all__ = ["facility"]


@pytest.fixture(scope="module")
def folder(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changing-inputs")
    for name in ("a.hspy", "b.hspy"):
        shutil.copyfile(scans / "scan4d.hspy", folder / name)
    return folder


@pytest.fixture
def served(folder, tmp_path):
    with serving([folder], arguments={"state": str(tmp_path)}) as service:
        yield service


def reference(node):
    return {"parameters": {"reference": {"node": node}}}


def make(served, name, operation="gaussian_filter", at=TREE, **given):
    node = {"name": name, "parent": "root", "operation": operation, **given}
    answer = served.client.post(f"/api/v1/nodes/{at}", json=node)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["data"]["attributes"]["metadata"]["attributes"]


def patch(served, name, change, at=TREE, **headers):
    return served.client.patch(f"/api/v1/nodes/{at}/{name}", json=change, headers=headers)


def delete(served, name, at=TREE, **given):
    return served.client.delete(f"/api/v1/nodes/{at}/{name}", params=given)


def undo(served, change, at=TREE):
    return served.client.post(f"/api/v1/nodes/{at}/undo", json={"change": change})


def last_change(served, at=TREE):
    return served.get(f"/api/v1/nodes/{at}/history", params={"limit": 1}).json()["data"][0]["change"]


def node(served, name, at=TREE):
    answer = served.get(f"/api/v1/metadata/{at}/{name}").raise_for_status()
    return answer.json()["data"]["attributes"]["metadata"]["attributes"]


def frame(served, name, at=TREE):
    asked = {"slice": "1,2", "format": "application/octet-stream"}
    return served.get(f"/api/v1/array/full/{at}/{name}", params=asked).raise_for_status().content


@pytest.mark.parametrize("at", [TREE, OTHER])
def test_users_of_a_node_that_is_re_pointed_follow(served, at):
    make(served, "smooth", at=at, parameters={"sigma": 1.0})
    make(served, "user", "subtract_reference", **reference(f"/{at}/smooth"))
    make(served, "below", parent="user")
    keys, first = [node(served, name)["key"] for name in ("user", "below")], frame(served, "user")
    assert patch(served, "smooth", {"parameters": {"sigma": 2.0}}, at).status_code == 200
    now = [node(served, name)["key"] for name in ("user", "below")]
    assert not set(now) & set(keys)
    assert frame(served, "user") != first
    assert served.get(f"/api/v1/array/full/{TREE}/user@{keys[0]}").status_code == 410
    assert undo(served, last_change(served, at), at).status_code == 200
    assert [node(served, name)["key"] for name in ("user", "below")] == keys
    assert frame(served, "user") == first


def test_another_node_enters_and_the_first_again(served):
    make(served, "mean", "mean_over_scan")
    made = make(served, "user", "subtract_reference", **reference("root"))
    answer = patch(served, "user", reference("mean"), **{"If-Match": f'"{made["version"]}"'})
    assert answer.status_code == 200, answer.text
    assert node(served, "user")["inputs"] == {"reference": f"/{TREE}/mean"}
    expected = DATA[1, 2] - DATA.mean(axis=(0, 1))
    np.testing.assert_allclose(
        np.frombuffer(frame(served, "user"), "<f4").reshape(12, 16), expected, atol=1e-3
    )
    assert patch(served, "user", reference("root"), **{"If-Match": f'"{made["version"]}"'}).status_code == 412
    assert undo(served, last_change(served)).status_code == 200
    assert node(served, "user")["inputs"] == {"reference": f"/{TREE}/root"}
    assert node(served, "user")["key"] == made["key"]


def test_what_enters_again_changes_nothing(served):
    made = make(served, "user", "subtract_reference", **reference("root"))
    for name in ("root", f"/{TREE}/root"):
        answer = patch(served, "user", reference(name))
        assert answer.headers["etag"] == f'"{made["version"]}"'


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("user", 422, "nothing is made from itself"),
        ("below", 422, "nothing is made from itself"),
        ("#x", 404, ""),
    ],
)
def test_what_cannot_enter_is_refused(served, name, status, said):
    make(served, "user", "subtract_reference", **reference("root"))
    make(served, "below", parent="user")
    answer = patch(served, "user", reference(name))
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert node(served, "user")["inputs"] == {"reference": f"/{TREE}/root"}


def test_nothing_is_made_from_itself_by_an_undo(served):
    make(served, "a", "subtract_reference", **reference("root"))
    make(served, "b", "subtract_reference", **reference("a"))
    assert patch(served, "b", reference("root")).status_code == 200
    change = last_change(served)
    assert patch(served, "a", reference("b")).status_code == 200
    answer = undo(served, change)
    assert answer.status_code == 409
    assert "made from itself" in answer.json()["detail"]
    assert node(served, "b")["inputs"] == {"reference": f"/{TREE}/root"}


def test_what_enters_others_is_not_deleted_before_them(served):
    make(served, "smooth")
    make(served, "here", "subtract_reference", **reference("smooth"))
    answer = delete(served, "smooth")
    assert answer.status_code == 409
    assert "'here'" in answer.json()["detail"]
    make(served, "there", "subtract_reference", OTHER, **reference(f"/{TREE}/here"))
    answer = delete(served, "smooth", recursive=True)
    assert answer.status_code == 409
    assert f"'{OTHER}/there'" in answer.json()["detail"]
    assert delete(served, "there", OTHER).status_code == 200
    gone = delete(served, "smooth", recursive=True)
    assert set(gone.json()["data"]["deleted"]) == {"smooth", "here"}
    assert undo(served, gone.json()["data"]["change"]).status_code == 200
    assert node(served, "here")["inputs"] == {"reference": f"/{TREE}/smooth"}


def test_a_node_of_another_tree_keeps_what_made_it_from_being_undone(served):
    make(served, "smooth")
    change = last_change(served)
    make(served, "there", "subtract_reference", OTHER, **reference(f"/{TREE}/smooth"))
    answer = undo(served, change)
    assert answer.status_code == 409
    assert f"'{OTHER}/there'" in answer.json()["detail"]


def test_what_somebody_may_not_read_is_not_named_to_him(facility):
    with logged_in(facility, "ada") as ada:
        assert ada.post(
            f"/api/v1/nodes/{SECOND}", json={"parent": "root", "operation": "gaussian_filter", "name": "open"}
        ).is_success
        hidden = {"parent": "root", "operation": "subtract_reference", "name": "hidden"}
        assert ada.post(f"/api/v1/nodes/{FIRST}", json={**hidden, **reference(f"/{SECOND}/open")}).is_success
    with logged_in(facility, "cem") as cem:  # edits the second, and does not see the first
        for recursive in (False, True):
            answer = cem.delete(f"/api/v1/nodes/{SECOND}/open", params={"recursive": recursive})
            assert answer.status_code == 409
            assert "hidden" not in answer.text
            assert FIRST.partition("/")[0] not in answer.text
    with logged_in(facility, "ada") as ada:
        assert ada.delete(f"/api/v1/nodes/{FIRST}/hidden").is_success
        assert ada.delete(f"/api/v1/nodes/{SECOND}/open").is_success


def test_what_enters_a_node_is_told_of_to_those_who_may_read_it(facility):
    place = TREES["*"]
    with (
        logged_in(facility, "cem") as cem,
        logged_in(facility, "ben") as ben,
        logged_in(facility, "ada") as ada,
    ):
        with Follower(cem, place) as blind, Follower(ben, place) as seeing:
            for follower in (blind, seeing):
                assert follower.events.get(timeout=60)[0] == "tree"
            hidden = {"parent": "root", "operation": "subtract_reference", "name": "told"}
            step = {"parent": "told", "operation": "gaussian_filter", "name": "told-below"}
            for wanted in ({**hidden, **reference(f"/{FIRST}/root")}, step):
                made = ada.post(f"/api/v1/nodes/{place}", json=wanted)
                assert made.is_success, made.text
            last = {"parent": "root", "operation": "gaussian_filter", "name": "last"}
            assert ada.post(f"/api/v1/nodes/{place}", json=last).is_success
            told = {who: names_until(follower, "last") for who, follower in (("cem", blind), ("ben", seeing))}
        assert told == {"cem": {"last"}, "ben": {"told", "told-below", "last"}}
        for client, names in ((cem, {"last"}), (ben, {"told", "told-below", "last"})):
            history = client.get(f"/api/v1/nodes/{place}/history", params={"limit": 3}).json()["data"]
            assert {done["name"] for done in history} == names
        gone = ada.delete(f"/api/v1/nodes/{place}/told", params={"recursive": True})
        assert gone.is_success
        for client, seen in ((cem, False), (ben, True)):
            assert ("told" in client.get(f"/api/v1/nodes/{place}/history").text) == seen
        assert ada.delete(f"/api/v1/nodes/{place}/last").is_success


def names_until(follower, last):
    told = set()
    while last not in told:
        told.add(follower.events.get(timeout=60)[1]["name"])
    return told


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_preview_with_a_node_that_enters(served, method):
    make(served, "mean", "mean_over_scan")
    steps = [{"operation": "gaussian_filter"}, {"operation": "subtract_reference", **reference("mean")}]
    asked = {"slice": "1,2", "format": "application/octet-stream"}
    url = f"/api/v1/derive/{TREE}/root"
    if method == "GET":
        answer = served.get(url, params={"steps": json.dumps(steps), **asked})
    else:
        answer = served.client.post(url, json={"steps": steps, **asked})
    assert answer.status_code == 200, answer.text
    pinned = served.get(f"/api/v1/array/full/{answer.headers['x-node']}", params=asked)
    assert pinned.content == answer.content
    make(served, "smooth", **{"parameters": {}})
    kept = make(served, "kept", "subtract_reference", parent="smooth", **reference("mean"))
    assert answer.headers["x-node"].endswith(f"@{kept['key']}")
    assert frame(served, "kept") == answer.content


def test_a_preview_of_what_needs_the_whole_scan_can_have_a_job(served):
    asked = {
        "steps": json.dumps([{"operation": "mean_over_scan"}]),
        "slice": "",
        "format": "application/octet-stream",
    }
    answer = served.get(f"/api/v1/derive/{TREE}/root", params=asked)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(np.frombuffer(answer.content, "<f8").reshape(12, 16), DATA.mean(axis=(0, 1)))
    assert served.get("/api/v1/jobs").json()["data"] == []  # nobody waited in vain
    job = served.client.post("/api/v1/jobs", json={"path": answer.headers["x-node"]}).json()["data"]
    assert job["path"] == answer.headers["x-node"]
    assert job["state"] == "stored"


def test_nobody_previews_what_he_may_not_read(facility):
    mixing = {
        "parent": "root",
        "operation": "subtract_reference",
        "name": "mixing",
        **reference(f"/{FIRST}/root"),
    }
    with logged_in(facility, "ada") as ada:
        assert ada.post(f"/api/v1/nodes/{TREES['*']}", json=mixing).is_success
    for name, status in {"ada": 200, "cem": 404}.items():
        with logged_in(facility, name) as client:
            step = {"operation": "subtract_reference", **reference(f"/{FIRST}/root")}
            asked = {"steps": json.dumps([step, {"operation": "gaussian_filter"}]), "slice": "0,0"}
            answer = client.get(f"/api/v1/derive/{TREES['*']}/root", params=asked)
            assert answer.status_code == status, answer.text
            if status == 200:
                pinned = answer.headers["x-node"]
            for address in (f"/api/v1/array/full/{pinned}?slice=0,0", f"/api/v1/metadata/{pinned}"):
                assert client.get(address).status_code == status
    with logged_in(facility, "ada") as ada:
        assert ada.delete(f"/api/v1/nodes/{TREES['*']}/mixing").is_success


def test_who_follows_a_tree_is_told_when_a_job_ends(served):
    made = make(served, "mean", "mean_over_scan")
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Apikey {KEY}"}, timeout=60) as client:
        with Follower(client, TREE) as follower:
            assert follower.events.get(timeout=60)[0] == "tree"
            assert served.client.post("/api/v1/jobs", json={"path": f"{TREE}/mean"}).status_code == 202
            told = []
            while not told or told[-1]["state"] != "stored":
                told.append(follower.events.get(timeout=60)[1])
        assert {(one["what"], one["id"], one["key"]) for one in told} == {("state", made["id"], made["key"])}
        assert {one["state"] for one in told} <= {"computing", "stored"}
