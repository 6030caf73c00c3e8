"""Pinned addresses of what nobody has kept, over HTTP: for every client, in every process, to whom they may."""

from __future__ import annotations

import json
from contextlib import ExitStack
from threading import Event
from urllib.parse import quote

import numpy as np
import pytest
import zarr
from conftest import KEY, serving, until
from raw_http import Wire, request
from test_derive import SMOOTH, TREE, array_of, ask, text
from test_lane_rights import proposals
from test_rights import logged_in
from test_workers import one_of_each, workers

from tiled_spyde import codecs
from tiled_spyde.operations.filters import GaussianFilter
from tiled_spyde.tickets import Ticket, Urgency


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans]) as service:
        yield service


@pytest.fixture(scope="module")
def derived(served):
    answer = ask(served.client, slice="1,2")
    return answer.headers["x-node"], array_of(answer), answer


class TestEveryClient:
    """What a pinned address is good for."""

    def test_tiled(self, served, derived):
        address, frame, _ = derived
        for query in ("full/{}?slice=1,2", "block/{}?block=1,2,0,0"):
            answer = served.get(f"/api/v1/array/{query.format(address)}")
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert (np.frombuffer(answer.content, frame.dtype) == frame.ravel()).all()
        as_json = served.get(f"/api/v1/array/full/{address}?slice=1,2&format=application/json")
        assert np.allclose(as_json.json(), frame, atol=1e-3)
        said = served.get(f"/api/v1/metadata/{address}").json()["data"]["attributes"]["metadata"][
            "attributes"
        ]
        assert address.endswith(said["key"])

    @pytest.mark.parametrize("version", [2, 3])
    def test_zarr(self, served, derived, version):
        address, frame, _ = derived
        options = {"client_kwargs": {}, "headers": {"Authorization": f"Apikey {KEY}"}}
        array = zarr.open_array(
            f"{served.url}/zarr/v{version}/{address}", mode="r", storage_options=options, zarr_format=version
        )
        assert array.shape == (3, 5, 12, 16)
        assert (array[1, 2] == frame).all()
        image = zarr.open_group(
            f"{served.url}/zarr/v{version}/{address}.zarr",
            mode="r",
            storage_options=options,
            zarr_format=version,
        )
        assert (image["0"][1, 2] == frame).all()

    def test_the_lane(self, served, derived):
        address, frame, first = derived
        before = served.outer.answered
        chunk = served.get(f"/zarr/v3/{address}/c/1/2/0/0")
        sliced = served.get(f"/api/v1/array/full/{address}?slice=1,2&format=application/octet-stream")
        assert served.outer.answered == before + 2
        assert (codecs.decode(chunk.content, frame.shape, frame.dtype) == frame).all()
        assert (
            sliced.headers["etag"]
            == ask(served.client, slice="1,2", format="application/octet-stream").headers["etag"]
        )
        assert first.status_code == 200

    def test_it_is_in_no_listing(self, served, derived):
        names = {entry["id"] for entry in served.get(f"/api/v1/search/{TREE}").json()["data"]}
        assert not any(name.startswith("preview") for name in names)
        assert "preview" not in served.get(f"/zarr/v3/{TREE}/zarr.json").text

    @pytest.mark.parametrize("name", ["preview", "preview@", "preview@" + "0" * 32])
    def test_any_other_key_is_none(self, served, name):
        for address in (f"/api/v1/array/full/{TREE}/{name}?slice=0", f"/api/v1/metadata/{TREE}/{name}"):
            assert served.get(address).status_code in (404, 410)
        assert served.get(f"/zarr/v3/{TREE}/{name}/c/0/0/0/0").status_code in (404, 410)


def test_people_whose_rights_differ_have_no_previews_in_common(scans, tmp_path):
    """Equal files have equal keys: what ben previews in his folder is not in cem's."""
    with (
        proposals(scans, tmp_path, 60.0) as facility,
        logged_in(facility, "ben") as ben,
        logged_in(facility, "cem") as cem,
        logged_in(facility, "nobody") as nobody,
    ):
        one, two = (f"{folder}/scan.hspy/signal" for folder in ("one", "two"))
        his = ask(ben, f"/api/v1/derive/{one}/root", slice="1,2")
        assert his.status_code == 200
        address = his.headers["x-node"]
        key, tag = address.rpartition("@")[2], his.headers["etag"]
        assert address == f"{one}/preview@{key}"

        def ways(tree):
            yield f"/api/v1/derive/{tree}/root?steps={text(SMOOTH)}&slice=1,2"
            yield f"/api/v1/derive/{tree}/root?steps={text(SMOOTH)}"
            yield f"/api/v1/derive/{tree}/preview@{key}?steps=[]&slice=1,2"
            yield f"/api/v1/array/full/{tree}/preview@{key}?slice=1,2"
            yield f"/api/v1/metadata/{tree}/preview@{key}"
            yield f"/zarr/v2/{tree}/preview@{key}/1.2.0.0"
            yield f"/zarr/v3/{tree}/preview@{key}/c/1/2/0/0"
            yield f"/zarr/v3/{tree}/preview@{key}.zarr/0/c/1/2/0/0"

        for asked in ({}, {"If-None-Match": tag}, {"If-None-Match": "*"}):
            for way in ways(one):
                assert ben.get(way, headers=asked).status_code in (200, 304), way
                for person in (cem, nobody):
                    refused = person.get(way, headers=asked)
                    assert refused.status_code in (401, 403, 404), way
                    assert refused.headers.get("etag") != tag
                    assert "x-node" not in refused.headers
        sent = {"steps": SMOOTH, "slice": "1,2"}
        assert [who.post(f"/api/v1/derive/{one}/root", json=sent).status_code for who in (ben, cem)] == [
            200,
            404,
        ]
        # Nor is it there under cem's own address, until cem asks for the same.
        pinned = f"/api/v1/array/full/{two}/preview@{key}?slice=1,2"
        assert cem.get(pinned).status_code == 410
        assert ask(cem, f"/api/v1/derive/{two}/root", slice="1,2").headers["x-node"] == f"{two}/preview@{key}"
        assert cem.get(pinned).status_code == 200
        assert ben.get(pinned).status_code in (403, 404)
        assert json.loads(cem.get(f"/api/v1/search/{two}").text)


def test_a_preview_of_one_worker_is_served_by_all(scans, tmp_path):
    with workers(2, scans, state=tmp_path) as (parent, base), one_of_each(base, parent, 2) as each:
        one, other = each.values()
        for client in (one, other):
            until(lambda client=client: client.get(f"/api/v1/metadata/{TREE}/root").status_code == 200)
        for number, (here, there) in enumerate([(one, other), (other, one)] * 3):
            steps = [{"operation": "gaussian_filter", "parameters": {"sigma": 1 + number / 4}}]
            answer = ask(here, steps=steps, slice="1,2", format="application/octet-stream")
            assert answer.status_code == 200
            address = answer.headers["x-node"]
            found = there.get(f"/api/v1/array/full/{address}?slice=1,2&format=application/octet-stream")
            assert found.status_code == 200, found.text
            assert found.content == answer.content
            assert there.get(f"/zarr/v3/{address}/c/1/2/0/0").status_code == 200
            again = ask(
                there, f"/api/v1/derive/{address}", [], slice="1,2", format="application/octet-stream"
            )
            assert again.content == answer.content


def test_a_preview_of_a_changed_node_is_gone_on_all_workers_and_after_an_undo_on_none(scans, tmp_path):
    with workers(2, scans, state=tmp_path) as (parent, base), one_of_each(base, parent, 2) as each:
        one, other = each.values()
        for client in (one, other):
            until(lambda client=client: client.get(f"/api/v1/metadata/{TREE}/root").status_code == 200)
        assert one.post(
            f"/api/v1/nodes/{TREE}", json={"parent": "root", "name": "base", **SMOOTH[0]}
        ).is_success
        answer = ask(one, f"/api/v1/derive/{TREE}/base", slice="1,2", format="application/octet-stream")
        address = answer.headers["x-node"]
        ways = [f"/api/v1/array/full/{address}?slice=1,2", f"/zarr/v3/{address}/c/1/2/0/0"]

        def statuses():
            return {client.get(way).status_code for client in (one, other) for way in ways}

        assert statuses() == {200}
        change = {"operation": "gaussian_filter", "parameters": {"sigma": 3.0}}
        changed = other.patch(f"/api/v1/nodes/{TREE}/base", json=change)
        assert changed.status_code == 200
        assert statuses() == {410}
        for client in (one, other):
            assert "changed" in client.get(ways[0]).json()["detail"]
        number = changed.json()["data"]["attributes"]["metadata"]["attributes"]["version"]
        assert one.post(f"/api/v1/nodes/{TREE}/undo", json={"change": number}).status_code == 200
        assert statuses() == {200}


@pytest.mark.parametrize("how", ["lane", "framework", "body"])
def test_whoever_has_gone_is_not_computed_for(scans, monkeypatch, how):
    abandoned, abandon = [], Ticket.abandon

    def counted(self):
        abandoned.append(self)
        abandon(self)

    begun, ends = Event(), Event()

    def function(self, info):
        def slow(frame):
            begun.set()
            ends.wait(3600)
            return frame

        return slow

    path = f"/api/v1/derive/{TREE}/root"
    if how == "body":
        body = json.dumps({"steps": SMOOTH, "slice": "0,0"}).encode()
        asked = request(path, f"Content-Length: {len(body)}", method="POST", body=body)
    else:
        more = ("Range: bytes=0-",) if how == "framework" else ()
        asked = request(f"{path}?steps={quote(text(SMOOTH))}&slice=0,0", *more)
    # What takes too long is given up as well: not that is meant.
    with serving([scans], arguments={"deadline_seconds": 3600}) as service:
        monkeypatch.setattr(Ticket, "abandon", counted)
        monkeypatch.setattr(GaussianFilter, "function", function)
        try:
            with Wire(service.url) as wire:
                wire.send(asked)
                assert begun.wait(60)
                assert not abandoned
            until(lambda: abandoned)
        finally:
            ends.set()
        assert service.client.get("/api/v1/operations").status_code == 200


@pytest.mark.parametrize("way", ["lane", "framework"])
def test_of_a_slider_that_is_moved_little_is_computed_and_the_last_is(scans, monkeypatch, way):
    """Thirty values, each before the one before it is there: as many as there are threads, and the last one."""
    computed, ends = [], Event()

    def function(self, info):
        def slow(frame):
            computed.append(self.sigma)
            ends.wait(3600)
            return frame + self.sigma

        return slow

    more = ("Range: bytes=0-",) if way == "framework" else ()
    with (
        serving([scans], arguments={"workers": 2, "deadline_seconds": 3600}) as service,
        ExitStack() as ending,
    ):
        ending.callback(ends.set)
        monkeypatch.setattr(GaussianFilter, "function", function)
        pool = service.root.lane.bodies._evaluator.pool
        dropped, before = pool.dropped[Urgency.LOOKED_AT], None
        for number in range(30):
            step = [{"operation": "gaussian_filter", "parameters": {"sigma": 1.0 + number}}]
            wire = ending.enter_context(Wire(service.url))
            path = f"/api/v1/derive/{TREE}/root?steps={quote(text(step))}&slice=0,0"
            wire.send(request(path, *more))
            if before is not None:
                before.close()
                until(lambda number=number: pool.dropped[Urgency.LOOKED_AT] == dropped + number)
            before = wire
        ends.set()
        assert b"200 OK" in before.peek()
        assert len(computed) <= 3
        assert computed[-1] == 30.0
