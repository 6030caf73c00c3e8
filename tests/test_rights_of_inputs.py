"""Who reads a node must be allowed to read all that enters it, also from other folders."""

from __future__ import annotations

import pytest
from conftest import serving
from test_rights import AUTHENTICATION, ONE, POLICY, TREES, TWO, api_key, facility, listed, logged_in

from tiled_spyde.rights import Person, rights_from

FULL = "/api/v1/array/full"
# ben edits the first folder and reads the second; cem edits the second and knows nothing of the first.
FIRST, SECOND = TREES["1"], TREES["2"]
SECRET = {
    "operation": "subtract_reference",
    "parent": "root",
    "parameters": {"reference": {"node": f"/{SECOND}/root"}},
}

__all__ = ["AUTHENTICATION", "ONE", "POLICY", "TWO", "api_key", "facility", "serving"]
EVERYWHERE = (
    f"{FULL}/{{}}?slice=0,0&format=application/octet-stream",
    "/api/v1/metadata/{}",
    "/zarr/v2/{}/.zarray",
    "/zarr/v3/{}/c/0/0/0/0",
)


def statuses(client, path):
    return [client.get(address.format(path)).status_code for address in EVERYWHERE]


@pytest.fixture(scope="module")
def mixed(facility):
    """Two nodes in the folder that everyone reads, which are made from one of the first folder."""
    with logged_in(facility, "ada") as ada:
        made = ada.post(
            f"/api/v1/nodes/{TREES['*']}",
            json={**SECRET, "name": "secret", "parameters": {"reference": {"node": f"/{FIRST}/root"}}},
        )
        assert made.status_code == 201, made.text
        for below in ({"operation": "gaussian_filter", "parent": "secret", "name": "below"},):
            assert ada.post(f"/api/v1/nodes/{TREES['*']}", json=below).status_code == 201
    return facility


def test_only_who_may_read_both_reads_it(mixed):
    for node in ("secret", "below"):
        path = f"{TREES['*']}/{node}"
        for name, allowed in {"ada": True, "ben": True, "cem": False, "dan": False}.items():
            with logged_in(mixed, name) as client:
                assert statuses(client, f"{TREES['*']}/root") == [200] * 4
                assert statuses(client, path) == ([200] * 4 if allowed else [404] * 4), (name, node)
                shown = listed(client, TREES["*"])
                assert (node in shown) == allowed
                group = client.get(f"/zarr/v3/{TREES['*']}/zarr.json").text
                assert allowed or f'"{node}"' not in group
                counted = client.get(f"/api/v1/search/{TREES['*']}").json()["meta"]["count"]
                assert counted == (4 if allowed else 2)


def test_a_right_is_remembered_for_what_enters_now(mixed):
    """A node that something else enters from tomorrow on is another one to whoever may read it today."""
    if not hasattr(mixed.outer, "_plain"):
        pytest.skip("plain tiled asks each time")
    for node, elsewhere in {"root": "", "secret": f"\0{ONE}", "below": f"\0{ONE}"}.items():
        path = f"{TREES['*']}/{node}"
        named = mixed.outer._plain.find(f"{FULL}/{path}", b"slice=0,0", None, b"")
        assert (named.node, named.permit) == (path, path + elsewhere)


def test_the_pinned_address_is_as_closed(mixed):
    with logged_in(mixed, "ben") as ben:
        node = ben.get(f"/api/v1/metadata/{TREES['*']}/secret").json()["data"]["attributes"]["metadata"][
            "attributes"
        ]
    for name, status in {"ben": 200, "cem": 404}.items():
        with logged_in(mixed, name) as client:
            assert statuses(client, f"{TREES['*']}/secret@{node['key']}") == [status] * 4


def test_nobody_makes_a_node_from_what_he_may_not_read(facility):
    with logged_in(facility, "cem") as cem:  # edits the second, and does not see the first
        for reference in (f"/{FIRST}/root", f"/{FIRST}/nothing"):
            answer = cem.post(
                f"/api/v1/nodes/{SECOND}",
                json={
                    "operation": "subtract_reference",
                    "parent": "root",
                    "parameters": {"reference": {"node": reference}},
                },
            )
            assert answer.status_code == 404
            assert "12 ×" not in answer.text
        assert statuses(cem, f"{SECOND}/subtract_reference") == [404] * 4


def test_who_may_edit_a_folder_makes_nothing_from_a_node_there_that_he_may_not_read(facility):
    with logged_in(facility, "ada") as ada:
        hidden = {**SECRET, "name": "hidden", "parameters": {"reference": {"node": f"/{FIRST}/root"}}}
        assert ada.post(f"/api/v1/nodes/{SECOND}", json=hidden).status_code == 201
    with logged_in(facility, "cem") as cem:
        for step in (
            {"operation": "gaussian_filter", "parent": "hidden"},
            {
                "operation": "subtract_reference",
                "parent": "root",
                "parameters": {"reference": {"node": "hidden"}},
            },
        ):
            assert cem.post(f"/api/v1/nodes/{SECOND}", json=step).status_code == 404
        assert cem.post("/api/v1/jobs", json={"path": f"{SECOND}/hidden"}).status_code == 404


def test_a_job_is_seen_by_who_may_read_its_node_and_by_who_made_it(facility):
    with (
        logged_in(facility, "ben") as ben,
        logged_in(facility, "cem") as cem,
        logged_in(facility, "dan") as dan,
    ):
        made = ben.post(f"/api/v1/nodes/{FIRST}", json={"operation": "mean_over_scan", "parent": "root"})
        assert made.status_code == 201
        job = ben.post("/api/v1/jobs", json={"path": f"{FIRST}/mean_over_scan"}).json()["data"]
        assert job["by"] == "ben"
        for client, status in ((ben, 200), (cem, 404), (dan, 404)):
            for address in (f"/api/v1/jobs/{job['id']}", f"/api/v1/jobs/{job['id']}/events"):
                assert client.get(address).status_code == status
            assert (job["id"] in client.get("/api/v1/jobs").text) == (status == 200)
        assert cem.delete(f"/api/v1/jobs/{job['id']}").status_code == 404
        # cem has the same scan, and so the same key: what ben had computed is there for him under his own node.
        assert (
            cem.post(
                f"/api/v1/nodes/{SECOND}", json={"operation": "mean_over_scan", "parent": "root"}
            ).status_code
            == 201
        )
        assert cem.get(f"{FULL}/{SECOND}/mean_over_scan", params={"slice": "0"}).status_code == 200
        assert (
            cem.post("/api/v1/jobs", json={"path": f"{SECOND}/mean_over_scan"}).json()["data"]["id"]
            != job["id"]
        )


def test_a_key_for_one_folder_reads_nothing_that_another_enters(mixed):
    with logged_in(mixed, "ada") as ada:
        secret = api_key(ada, access_tags=["standards"], scopes=["read:metadata", "read:data"])
    with logged_in(mixed, "nobody") as client:
        client.headers["Authorization"] = f"Apikey {secret}"
        assert statuses(client, f"{TREES['*']}/root") == [200] * 4
        assert statuses(client, f"{TREES['*']}/secret") == [404] * 4


def test_rights_are_those_of_all_that_enters():
    top = rights_from([(["one"], ["ben"], ["cem"]), (["two"], ["cem"], [])], {})
    both = top.of("one").entered_by([top.at(("two", "file", "signal"))])
    ben, cem = (Person(frozenset({name}), known=True) for name in ("ben", "cem"))
    assert not both.shown_to(ben)
    assert both.shown_to(cem)
    assert both.editable_by(cem)
    assert both.of("below") == both
