"""Nodes that are changed, deleted and brought back, over HTTP."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import hyperspy.api as hs
import pytest
from conftest import encoded, serving

TREE = "scan.hspy/signal"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changing")
    hs.signals.Signal2D(encoded((3, 4, 12, 10))).save(folder / "scan.hspy")
    return folder


@pytest.fixture(scope="module")
def steady(folder, tmp_path_factory):
    """For tests that leave nothing behind by which others fare differently."""
    with serving([folder], arguments={"state": str(tmp_path_factory.mktemp("state"))}) as service:
        make(service, "a")
        make(service, "taken", sigma=2.0)
        yield service


@pytest.fixture
def served(folder, tmp_path):
    with serving([folder], arguments={"state": str(tmp_path)}) as service:
        yield service


ASKS_FOR_DATA = (
    "/api/v1/array/full/{}?slice=1,2",
    "/api/v1/array/full/{}?format=text/csv",
    "/api/v1/array/block/{}?block=1,2,0,0",
    "/zarr/v2/{}/1.2.0.0",
    "/zarr/v3/{}/c/1/2/0/0",
    "/zarr/v3/{}.zarr/0/c/1/2/0/0",
)


def make(served, name, sigma=1.0, parent="root", **others):
    node = {
        "name": name,
        "parent": parent,
        "operation": "gaussian_filter",
        "parameters": {"sigma": sigma},
    } | others
    return served.client.post(f"/api/v1/nodes/{TREE}", json=node)


def crop(stop):
    return {
        "operation": "crop",
        "parameters": {"x": {"stop": {"index": stop}}, "y": {"stop": {"index": stop}}},
    }


def patch(served, name, change, version=None):
    headers = {} if version is None else {"If-Match": f'"{version}"'}
    return served.client.patch(f"/api/v1/nodes/{TREE}/{name}", json=change, headers=headers)


def delete(served, name, **given):
    return served.client.delete(f"/api/v1/nodes/{TREE}/{name}", **given)


def undo(served, change):
    return served.client.post(f"/api/v1/nodes/{TREE}/undo", json={"change": change})


def history(served, path=TREE, **parameters):
    return served.client.get(f"/api/v1/nodes/{path}/history", params=parameters)


def described(served, name):
    answer = served.get(f"/api/v1/metadata/{TREE}/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["attributes"]["metadata"]["attributes"]


def data(served, name):
    return served.get(f"/api/v1/array/full/{TREE}/{name}?slice=1,2&format=application/octet-stream")


def listed(served):
    return {entry["id"] for entry in served.get(f"/api/v1/search/{TREE}").json()["data"]}


def test_a_node_says_its_version_and_can_be_described_and_renamed(served):
    made = make(served, "a")
    version = described(served, "a")["version"]
    assert made.headers["ETag"] == f'"{version}"'
    answer = patch(served, "a", {"name": "b", "description": " why \n it is there\0 "}, version)
    shown = answer.json()["data"]
    assert answer.status_code == 200
    assert shown["id"] == "b"
    assert shown["links"]["self"].endswith(f"{TREE}/b")
    attributes = shown["attributes"]["metadata"]["attributes"]
    assert attributes == described(served, "b")
    assert attributes["description"] == "why \n it is there?"
    assert attributes["version"] > version
    assert answer.headers["ETag"] == f'"{attributes["version"]}"'
    assert attributes["key"] == made.json()["data"]["attributes"]["metadata"]["attributes"]["key"]
    assert served.get(f"/api/v1/metadata/{TREE}/a").status_code == 404
    assert patch(served, "b", {"description": None}).json()["data"]["id"] == "b"
    assert described(served, "b")["description"] is None


def test_what_changes_nothing_is_no_change(served):
    version = make(served, "a").headers["ETag"]
    for change in (
        {},
        {"name": "a"},
        {"parameters": {"sigma": 1}},
        {"operation": "gaussian_filter"},
        {"name": None},
    ):
        answer = patch(served, "a", change)
        assert (answer.status_code, answer.headers["ETag"]) == (200, version)
    assert [done["what"] for done in history(served).json()["data"]] == ["made"]


def test_what_is_made_from_a_node_follows_it(served):
    make(served, "first", sigma=1.0)
    make(served, "second", sigma=2.0, parent="first")
    old = {name: described(served, name) for name in ("first", "second")}
    before = {name: data(served, name).content for name in old}
    assert patch(served, "first", {"parameters": {"sigma": 3.0}}).status_code == 200
    for name, then in old.items():
        assert described(served, name)["key"] != then["key"]
        for address in (
            f"array/full/{TREE}/{name}@{then['key']}?slice=1,2",
            f"metadata/{TREE}/{name}@{then['key']}",
        ):
            assert served.get(f"/api/v1/{address}").status_code == 410
        assert served.get(f"/zarr/v3/{TREE}/{name}@{then['key']}/c/1/2/0/0").status_code == 410
        assert data(served, name).content != before[name]
    assert described(served, "second")["version"] == old["second"]["version"]
    assert patch(served, "first", {"parameters": {"sigma": 1.0}}).status_code == 200
    for name, then in old.items():
        assert described(served, name)["key"] == then["key"]
        assert data(served, name).content == before[name]


def test_what_no_longer_fits_says_why_and_comes_back(served):
    make(served, "cut", **crop(8))
    make(served, "edge", parent="cut", **crop(6))
    make(served, "below", parent="edge")
    good = {name: described(served, name) for name in ("edge", "below")}
    done = patch(served, "cut", crop(4))
    assert done.status_code == 200
    assert {"root", "navigator", "cut", "edge", "below"} == listed(served)
    for name, then in good.items():
        failed = described(served, name)
        assert failed["state"] == "failed"
        assert ("crop" if name == "edge" else "edge") in failed["failure"]
        assert failed["key"] is failed["recipe"] is None
        assert "axes" not in failed
        for same in ("id", "version", "parent", "operation", "parameters", "description", "created"):
            assert failed[same] == then[same]
        entry = served.get(f"/api/v1/metadata/{TREE}/{name}").json()["data"]["attributes"]
        assert entry["structure_family"] == "container"
        assert [spec["name"] for spec in entry["specs"]] == ["SignalNode"]
        for address in ASKS_FOR_DATA:
            refused = served.get(address.format(f"{TREE}/{name}"))
            assert (refused.status_code, failed["failure"] in refused.json()["detail"]) == (422, True), (
                address
            )
        pinned = f"/api/v1/metadata/{TREE}/{name}@{then['key']}"
        assert served.get(pinned).status_code == 410
    # A failed one can be renamed, but mended only from above.
    assert (
        patch(served, "below", {"name": "lower"}).json()["data"]["attributes"]["structure_family"]
        == "container"
    )
    refused = patch(served, "lower", {"parameters": {"sigma": 2.0}})
    assert refused.status_code == 422
    assert "mend" in refused.json()["detail"]
    assert patch(served, "edge", crop(5)).status_code == 422
    assert patch(served, "edge", crop(3)).status_code == 200
    assert described(served, "lower")["state"] == "lazy"
    undone = undo(served, history(served).json()["data"][0]["change"])
    assert undone.json()["data"]["changed"][0]["attributes"]["metadata"]["attributes"]["state"] == "failed"
    assert patch(served, "cut", crop(8)).status_code == 200
    assert described(served, "edge")["key"] == good["edge"]["key"]
    assert described(served, "lower")["key"] == good["below"]["key"]


def test_deleting_asks_for_what_is_made_from_it(served):
    make(served, "a")
    make(served, "b", parent="a")
    make(served, "c", parent="b")
    answer = delete(served, "a")
    assert answer.status_code == 409
    assert "'b' is made from 'a'" in answer.json()["detail"]
    assert listed(served) >= {"a", "b", "c"}
    answer = delete(served, "a", params={"recursive": "true"})
    assert answer.status_code == 200
    assert answer.json()["data"]["deleted"] == ["a", "b", "c"]
    assert listed(served) == {"root", "navigator"}
    assert data(served, "c").status_code == 404
    assert delete(served, "a").status_code == 404


def test_an_undone_deletion_brings_back_the_very_nodes(served):
    make(served, "a")
    make(served, "b", parent="a")
    old = {name: described(served, name) for name in "ab"}
    bytes_before = data(served, "b").content
    change = delete(served, "a", params={"recursive": "true"}).json()["data"]["change"]
    answer = undo(served, change).json()["data"]
    assert [node["id"] for node in answer["changed"]] == ["a", "b"]
    assert answer["deleted"] == []
    assert answer["change"] > change
    for name in "ab":
        assert described(served, name) | {"version": 0} == old[name] | {"version": 0}
        assert described(served, name)["version"] == answer["change"]
    assert data(served, "b").content == bytes_before
    assert undo(served, answer["change"]).json()["data"]["deleted"] == ["a", "b"]
    assert listed(served) == {"root", "navigator"}


def test_an_undo_that_cannot_be_says_who_and_when(served):
    version = int(make(served, "a").headers["ETag"].strip('"'))
    renamed = int(patch(served, "a", {"name": "b"}).headers["ETag"].strip('"'))
    patch(served, "b", {"parameters": {"sigma": 5.0}})
    answer = undo(served, renamed)
    assert answer.status_code == 409
    (last, *_) = history(served).json()["data"]
    assert last["at"] in answer.json()["detail"]
    assert undo(served, last["change"]).status_code == 200
    assert undo(served, renamed).status_code == 200
    make(served, "child", parent="a")
    answer = undo(served, version)
    assert answer.status_code == 409
    assert "'child' is made from 'a'" in answer.json()["detail"]
    child = delete(served, "child").json()["data"]["change"]
    gone = delete(served, "a").json()["data"]["change"]
    answer = undo(served, child)
    assert answer.status_code == 409
    assert "is deleted" in answer.json()["detail"]
    make(served, "a", sigma=9.0)
    answer = undo(served, gone)
    assert answer.status_code == 409
    assert "'a' was taken" in answer.json()["detail"]
    for unknown in (version + 1000, 2**63 - 1):
        assert undo(served, unknown).status_code == 404
    for bad in (0, -1, 2**63, "x", None, 1.5):
        assert undo(served, bad).status_code == 422


def test_history_tells_what_was_done_to_a_tree_and_to_a_node(served):
    make(served, "a")
    make(served, "other")
    patch(served, "a", {"name": "b"})
    patch(served, "b", {"parameters": {"sigma": 2.0}, "description": "more"})
    delete(served, "other")
    undo(served, history(served).json()["data"][0]["change"])
    rows = history(served).json()["data"]
    assert [(row["what"], row["name"]) for row in rows] == [
        ("undone", "other"),
        ("deleted", "other"),
        ("changed", "b"),
        ("renamed", "b"),
        ("made", "other"),
        ("made", "a"),
    ]
    assert [row["change"] for row in rows] == sorted((row["change"] for row in rows), reverse=True)
    changed = rows[2]
    assert (changed["before"]["parameters"], changed["after"]["parameters"]) == (
        {"sigma": 1.0},
        {"sigma": 2.0},
    )
    assert (changed["before"]["description"], changed["after"]["description"]) == (None, "more")
    assert changed["id"] == described(served, "b")["id"]
    assert changed["by"] is None
    assert rows[1]["after"] is rows[5]["before"] is None
    of_node = history(served, f"{TREE}/b").json()["data"]
    assert of_node == [row for row in rows if row["name"] in "ab"]
    assert history(served, limit=2).json()["data"] == rows[:2]
    for bad in (0, -1, 1001, "x"):
        assert history(served, limit=bad).status_code == 422
    assert history(served, f"{TREE}/root").json()["data"] == []
    for missing in (f"{TREE}/nobody", "scan.hspy", "nothing/at/all"):
        assert history(served, missing).status_code == 404


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('"{v}"', 200),
        ('"0", "{v}"', 200),
        ("*", 200),
        ('W/"{v}"', 412),
        ('W/"{v}", "0"', 412),
        ('"{v}0"', 412),
        ("{v}", 412),
        ("", 412),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_change_is_made_to_the_version_that_is_meant(steady, header, status, method):
    answer = make(steady, None, sigma=3.0)
    name, version = answer.json()["data"]["id"], answer.headers["ETag"].strip('"')
    answer = steady.client.request(
        method,
        f"/api/v1/nodes/{TREE}/{name}",
        json={"parameters": {"sigma": 4.0}},
        headers={"If-Match": header.format(v=version)},
    )
    assert answer.status_code == status
    if status == 412:
        assert answer.headers["ETag"] == f'"{version}"'
        shown = answer.json()["data"]["attributes"]["metadata"]["attributes"]
        assert shown == described(steady, name)
        assert shown["parameters"] == {"sigma": 3.0}
    delete(steady, name)


def test_of_many_writers_exactly_one_wins_each_round(served):
    version = make(served, "a").headers["ETag"].strip('"')

    def write(sigma):
        return patch(served, "a", {"parameters": {"sigma": sigma}}, version)

    with ThreadPoolExecutor(4) as people:
        for round_ in range(1, 5):
            answers = list(people.map(write, [10 * round_ + number for number in range(4)]))
            assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
            (won,) = [answer for answer in answers if answer.status_code == 200]
            now = described(served, "a")
            for answer in answers:
                assert answer.json()["data"]["attributes"]["metadata"]["attributes"] == now
            version = won.headers["ETag"].strip('"')


BAD = [
    ("a", {"name": "taken"}, 409, "taken"),
    ("a", {"name": "root"}, 409, "own"),
    ("a", {"name": "a/b"}, 422, "not usable"),
    ("a", {"name": ""}, 422, "not usable"),
    ("a", {"name": "\ud800"}, 422, ""),
    ("a", {"name": "x" * 1001}, 422, "name"),
    ("a", {"operation": "rm -rf"}, 422, "rm -rf"),
    ("a", {"operation": "sum", "parameters": {"sigma": 1}}, 422, "sigma"),
    ("a", {"parameters": {"sigma": -1}}, 422, "sigma"),
    ("a", {"parameters": {"sigma": 1e999}}, 422, "sigma"),
    ("a", {"parameters": {"sigma": float("nan")}}, 422, "sigma"),
    ("a", {"parameters": []}, 422, "parameters"),
    ("a", {"parent": "root"}, 422, "parent"),
    ("a", {"description": "x" * 10_001}, 422, "10000"),
    ("a", {"description": 7}, 422, "description"),
    ("a", crop(99), 422, "crop"),
    ("root", {"description": "mine"}, 422, "own"),
    ("navigator", {"name": "map"}, 422, "own"),
    ("nobody", {"name": "b"}, 404, ""),
]


@pytest.mark.parametrize(("name", "change", "status", "told"), BAD)
def test_a_bad_change_is_refused_and_changes_nothing(steady, name, change, status, told):
    before = steady.get(f"/api/v1/search/{TREE}").json()["data"], history(steady).json()
    answer = steady.client.patch(f"/api/v1/nodes/{TREE}/{name}", content=json.dumps(change))
    assert answer.status_code == status, answer.text
    assert told in answer.text
    assert (steady.get(f"/api/v1/search/{TREE}").json()["data"], history(steady).json()) == before


def test_what_is_no_change_at_all_is_refused(served):
    make(served, "a")
    address = f"/api/v1/nodes/{TREE}/a"
    for body in (b"", b"null", b"[1]", b"{", b"\xff", b'{"parameters": ' + b"[" * 10**5):
        assert served.client.patch(address, content=body).status_code == 422
    assert served.client.patch(address, content=b"x" * (2**20 + 1)).status_code == 413
    big = {"parameters": {"sigma": 1.0, "more": "x" * 2**19}}
    assert 400 <= served.client.patch(address, json=big).status_code < 500
    assert served.client.delete(address, params={"recursive": "perhaps"}).status_code == 422
    for name in ("root", "navigator"):
        assert delete(served, name, params={"recursive": "true"}).status_code == 422
    for path in ("", "scan.hspy", TREE):
        assert served.client.patch(f"/api/v1/nodes/{path}", json={}).status_code in (404, 405, 422)
        assert served.client.delete(f"/api/v1/nodes/{path}").status_code in (404, 405, 422)
    assert listed(served) == {"root", "navigator", "a"}
