"""Several people and several processes that follow a tree."""

from __future__ import annotations

from queue import Empty

import httpx
import pytest
from catalog_samples import sigma
from conftest import running, serving, until
from test_events import EVENTS, TREE, Follower, following
from test_lane_rights import proposals
from test_rights import api_key, logged_in
from test_workers import make, one_of_each, workers

from tiled_spyde import followers


def test_people_whose_rights_differ_are_told_of_their_own(scans, tmp_path):
    """Equal files, so equal keys: what cem makes is nothing that ben hears of, nor the other way round."""
    with (
        proposals(scans, tmp_path, 60.0) as facility,
        logged_in(facility, "ben") as ben,
        logged_in(facility, "cem") as cem,
        logged_in(facility, "nobody") as nobody,
    ):
        trees = [f"{folder}/scan.hspy/signal" for folder in ("one", "two")]
        for who, tree in ((ben, trees[1]), (cem, trees[0]), (nobody, trees[0]), (nobody, trees[1])):
            refused = who.get(EVENTS.format(tree))
            assert refused.status_code in (401, 403, 404)
        with Follower(ben, trees[0]) as his, Follower(cem, trees[1]) as hers:
            assert his.next()[0] == hers.next()[0] == "tree"
            catalog = facility.root.catalog
            for tree, name in zip(trees, ("his", "hers"), strict=True):
                catalog.add_node(tuple(tree.split("/")), **sigma(2), name=name)
            told = his.nodes("his") | hers.nodes("hers")
            assert told["his"]["key"] == told["hers"]["key"]
            with pytest.raises(Empty):
                his.events.get_nowait()


def test_a_revoked_key_is_told_nothing_more(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(followers, "_ALLOWED", 0.2)
    with proposals(scans, tmp_path, 0.2) as facility, logged_in(facility, "ben") as ben:
        tree = "one/scan.hspy/signal"
        secret = api_key(ben)
        with following(facility.url, tree, secret) as one:
            one.next()
            assert not one.ended
            ben.delete("/api/v1/auth/apikey", params={"first_eight": secret[:8]}).raise_for_status()
            until(lambda: one.ended)
            assert one.error is None


def test_a_stream_goes_through_a_proxy_at_a_path_of_its_own(scans):
    """As nginx does it: the path is cut off, and the server is told of it."""
    with serving([scans]) as service:
        outer = service.outer

        async def at_path(scope, receive, send):
            await outer(
                {**scope, "root_path": "/spyde", "path": "/spyde" + scope.get("path", "")}, receive, send
            )

        with running(at_path) as url, following(url) as one:
            assert one.next()[0] == "tree"


def test_what_one_worker_makes_is_told_by_all(scans, tmp_path):
    with workers(2, scans, state=tmp_path) as (parent, base), one_of_each(base, parent, 2) as each:
        clients = list(each.values())
        for client in clients:
            until(lambda client=client: client.get(f"/api/v1/metadata/{TREE}/root").status_code == 200)
        with Follower(clients[0]) as one, Follower(clients[1]) as other:
            assert one.next()[0] == other.next()[0] == "tree"
            with httpx.Client(base_url=base, headers=clients[0].headers, timeout=60) as maker:
                for number in range(3):
                    answer = make(maker, f"told {number}", 1 + number)
                    assert answer.status_code == 201
                    key = answer.json()["data"]["attributes"]["metadata"]["attributes"]["key"]
                    for follower in (one, other):
                        assert follower.nodes(f"told {number}")[f"told {number}"]["key"] == key
            parent.terminate()
            until(lambda: one.ended and other.ended)
            assert one.error is other.error is None  # each was ended, none broke off


def test_what_one_worker_computes_is_told_by_all(scans, tmp_path):
    """A job changes no tree: its beginning and its end are told of beside the database."""
    with workers(2, scans, state=tmp_path) as (parent, base), one_of_each(base, parent, 2) as each:
        clients = list(each.values())
        for client in clients:
            until(lambda client=client: client.get(f"/api/v1/metadata/{TREE}/root").status_code == 200)
        mean = {"operation": "mean_over_scan", "parent": "root", "name": "mean"}
        with (
            Follower(clients[0]) as one,
            Follower(clients[1]) as other,
            httpx.Client(base_url=base, headers=clients[0].headers, timeout=60) as maker,
        ):
            assert one.next()[0] == other.next()[0] == "tree"
            assert maker.post(f"/api/v1/nodes/{TREE}", json=mean).status_code == 201
            for follower in (one, other):
                assert follower.nodes("mean")["mean"]["state"] == "lazy"
            assert maker.post("/api/v1/jobs", json={"path": f"{TREE}/mean"}).status_code == 202
            for follower in (one, other):
                while follower.nodes("mean")["mean"]["state"] != "stored":
                    pass
