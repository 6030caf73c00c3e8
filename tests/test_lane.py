"""The straight lane: which requests it answers, and that it reads, computes and waits for no more than it must."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from conftest import KEY, encoded, running, serving, until

from tiled_spyde import bodies, codecs
from tiled_spyde.callers import credentials, digest, urgency_of
from tiled_spyde.errors import Busy
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.tickets import Urgency

SCAN = "scan4d.hspy/signal"
SMOOTH = {SCAN: [{"name": "smooth", "operation": "gaussian_filter", "parameters": {"sigma": 1.5}}]}
FULL, BLOCK = "/api/v1/array/full", "/api/v1/array/block"
BLOSC = "application/x-blosc"
PLAIN = [
    f"{FULL}/{SCAN}/root",
    f"{FULL}/{SCAN}/root?slice=1,2",
    f"{FULL}/{SCAN}/root?slice=1%2C2&expected_shape=12,16",
    f"{FULL}/{SCAN}/root?slice=-1,::-2,3:9:2&format=application%2Foctet-stream",
    f"{FULL}/{SCAN}/root?slice=0:0&format={BLOSC}",
    f"{BLOCK}/{SCAN}/root?block=2,4,0,0",
    f"{FULL}/{SCAN}/navigator?slice=1",
    f"{FULL}/{SCAN}/smooth?slice=0,1&format={BLOSC}",
    f"/zarr/v2/{SCAN}/root/1.2.0.0",
    f"/zarr/v2/{SCAN}/root/1/2/0/0",
    f"/zarr/v3/{SCAN}/root/c/1/2/0/0",
    f"/zarr/v2/{SCAN}/root.zarr/0/1/2/0/0",
    f"/zarr/v3/{SCAN}/root.zarr/0/c/1/2/0/0",
    f"/zarr/v3/{SCAN}/navigator/c/0/0",
    "/zarr/v3/image.hspy/signal/root/c/1/1",
]
UNUSUAL = [
    (f"{FULL}/{SCAN}/root?slice=1,2&filename=x.bin", {}),
    (f"{FULL}/{SCAN}/root?slice=1,2&slice=1,2", {}),
    (f"{FULL}/{SCAN}/root?slice=1,2&format=image/png", {}),
    (f"{FULL}/{SCAN}/root?slice=1,2&api_key={KEY}", {}),
    (f"{FULL}/{SCAN}/root?slice=1,2", {"Range": "bytes=0-9"}),
    (f"{FULL}/{SCAN}/root?slice=1,2", {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}),
    (f"{FULL}/{SCAN}/root?slice=1,2", {"Accept": "image/png, */*"}),
    (f"{FULL}/{SCAN}/root?slice=1,2", {"Cookie": f"tiled_api_key={KEY}"}),
    (f"{FULL}/{SCAN}/root?slice=1,2", {"User-Agent": "python-tiled/0.0.1"}),
    (f"{BLOCK}/{SCAN}/root?block=1,2,0,0&slice=0,0,1:5", {}),
    (f"{FULL}/{SCAN}//root?slice=1,2", {}),
    (f"/zarr/v3/{SCAN}/root/c/1/2/0/0?x=1", {}),
    (f"/zarr/v3/{SCAN}/root/zarr.json", {}),
    (f"/zarr/v3/{SCAN}/ky/c/0", {}),
    (f"/api/v1/metadata/{SCAN}/root", {}),
]
REFUSED = [
    f"{FULL}/{SCAN}/root?slice=9,9",
    f"{FULL}/{SCAN}/root?slice=::0",
    f"{FULL}/{SCAN}/root?slice=0,0,0,0,0",
    f"{FULL}/{SCAN}/root?expected_shape=1",
    f"{FULL}/{SCAN}?slice=0",
    f"{FULL}/{SCAN}/nothing",
    f"{FULL}/{SCAN}/root@{'0' * 32}",
    f"{BLOCK}/{SCAN}/root?block=9,0,0,0",
    f"{BLOCK}/{SCAN}/root",
    f"/zarr/v2/{SCAN}/root/00.0.0.0",
    f"/zarr/v3/{SCAN}/root/c/1/2",
]


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans], trees=SMOOTH) as service:
        yield service


def lane_answers(served, address, **asked):
    """The answer, and whether the lane gave it."""
    served.client.cookies.clear()  # a second credential, after a key in a query
    before = served.outer.answered
    answer = served.client.request(asked.pop("method", "GET"), address, **asked)
    return answer, served.outer.answered > before


def node(served, name="smooth"):
    return served.root["scan4d.hspy"]["signal"][name]


def fresh_node(served):
    """Make a node that nobody has asked anything of; return its name."""
    served.client.cookies.clear()
    made = served.client.post(
        f"/api/v1/nodes/{SCAN}",
        json={"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": fresh_node.sigma}},
    )
    fresh_node.sigma += 0.01
    assert made.status_code == 201, made.text
    return made.json()["data"]["id"]


fresh_node.sigma = 2.0


@contextmanager
def function_of(served, name, function):
    recipe = node(served, name).recipe
    before = recipe.function
    recipe.__dict__["function"] = function
    try:
        yield before
    finally:
        recipe.__dict__["function"] = before


@pytest.mark.parametrize("address", PLAIN)
def test_a_plain_request_needs_no_tiled(served, address):
    assert lane_answers(served, address)[0].status_code == 200  # from here on its right is known
    answer, straight = lane_answers(served, address)
    assert (answer.status_code, straight) == (200, True)
    head, straight = lane_answers(served, address, method="HEAD")
    assert (head.status_code, head.content, straight) == (200, b"", True)
    changing = {"date", "server-timing"}
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in answer.headers.items() if k not in changing
    }


@pytest.mark.parametrize(("address", "headers"), UNUSUAL)
def test_what_is_not_plain_is_left_to_tiled(served, address, headers):
    answer, straight = lane_answers(served, address, headers=headers)
    assert answer.status_code in (200, 400)
    assert not straight


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_wrong_is_said_by_tiled(served, address):
    answer, straight = lane_answers(served, address)
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]
    assert not straight


@pytest.mark.parametrize("address", [f"/zarr/v3/{SCAN}/root/c/3/0/0/0", f"/zarr/v2/{SCAN}/root/0.5.0.0"])
def test_a_chunk_out_of_range_is_a_404_of_the_lane(served, address):
    answer, straight = lane_answers(served, address)
    assert (answer.status_code, straight) == (404, True)
    assert answer.json()["detail"]
    with httpx.Client(base_url=served.url) as anonymous:
        assert anonymous.get(address).status_code == 401


def test_slices_are_numpys(served):
    whole = encoded((3, 5, 12, 16))
    for text, index in {
        "1,2": (1, 2),
        "-1,::-2,3:9:2": (-1, slice(None, None, -2), slice(3, 9, 2)),
        "0:99,:,5": (slice(0, 99), slice(None), 5),
        "2:1": (slice(2, 1),),
        "1,2,3,4": (1, 2, 3, 4),
    }.items():
        answer, straight = lane_answers(served, f"{FULL}/{SCAN}/root?slice={text}")
        assert straight
        assert answer.headers["x-array-shape"] == ",".join(map(str, whole[index].shape))
        assert answer.headers["x-array-dtype"] == "<u2"
        np.testing.assert_array_equal(
            np.frombuffer(answer.content, "<u2").reshape(whole[index].shape), whole[index]
        )


def test_a_chunk_is_encoded_once_for_all_its_addresses(served, monkeypatch):
    name, encodings = fresh_node(served), []
    whole = codecs.encode
    monkeypatch.setattr(codecs, "encode", lambda array: encodings.append(array) or whole(array))
    addresses = (
        f"/zarr/v3/{SCAN}/{name}/c/1/2/0/0",
        f"/zarr/v2/{SCAN}/{name}/1.2.0.0",
        f"/zarr/v2/{SCAN}/{name}.zarr/0/1/2/0/0",
        f"{BLOCK}/{SCAN}/{name}?block=1,2,0,0&format={BLOSC}",
        f"{FULL}/{SCAN}/{name}?slice=1,2&format={BLOSC}",
        f"/custom/zarr/v3/{SCAN}/{name}/c/1/2/0/0",  # past the lane
    )
    answers = [served.get(address) for address in addresses]
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert len(encodings) == 1


@pytest.mark.parametrize("encoding", list(bodies.default_compression_registry.encodings(bodies.OCTETS)))
def test_what_is_compressed_is_remembered(served, monkeypatch, encoding):
    made = []
    compress = bodies._compressed
    monkeypatch.setattr(bodies, "_compressed", lambda *given: made.append(given) or compress(*given))
    address, asked = f"{FULL}/{SCAN}/{fresh_node(served)}?slice=0,:,:,0", {"Accept-Encoding": encoding}
    with httpx.Client(base_url=served.url, headers=dict(served.client.headers)) as client:
        for _ in range(2):
            with client.stream("GET", address, headers=asked) as answer:
                raw = b"".join(answer.iter_raw())
            assert answer.headers.get("content-encoding", "identity") in (encoding, "identity")
            assert int(answer.headers["content-length"]) == len(raw)
    assert len(made) <= 1


def test_what_does_not_shrink_is_sent_as_it_is(served, monkeypatch):
    monkeypatch.setattr(bodies, "_WORTH_SENDING", 0.0)
    address = f"{FULL}/{SCAN}/{fresh_node(served)}?slice=0"
    for _ in range(2):
        answer, straight = lane_answers(served, address, headers={"Accept-Encoding": "gzip"})
        assert straight
        assert "content-encoding" not in answer.headers
        assert len(answer.content) == 5 * 12 * 16 * 4


@pytest.mark.parametrize("media_type", [BLOSC, "application/octet-stream"])
def test_a_304_computes_nothing(served, media_type):
    name, calls = fresh_node(served), []
    address = f"{FULL}/{SCAN}/{name}?slice=2,3&format={media_type}"
    tag = served.client.head(address).headers["etag"]
    cache = node(served, name)._evaluator.cache
    cache.bound(0)  # forgets the frame
    cache.bound(2**29)
    with function_of(served, name, lambda frame: calls.append(1) or before(frame)) as before:
        answer, straight = lane_answers(served, address, headers={"If-None-Match": f'"x", {tag}'})
        assert calls == []
        assert served.get(address).status_code == 200
        assert calls == [1]
    assert (answer.status_code, answer.content, straight) == (304, b"", True)
    assert answer.headers["etag"] == tag
    assert "content-type" not in answer.headers


def test_many_who_ask_for_the_same_frame_wait_for_one_computation(served):
    name, calls, together = fresh_node(served), [], Barrier(32)
    begun = Event()

    def function(frame):
        calls.append(1)
        begun.wait(120)
        return before(frame)

    def ask(_):
        with httpx.Client(base_url=served.url, headers=dict(served.client.headers), timeout=60) as client:
            client.get(f"{FULL}/{SCAN}/{name}?slice=0:0")
            together.wait(120)
            return client.get(f"/zarr/v3/{SCAN}/{name}/c/2/1/0/0").content

    with function_of(served, name, function) as before, ThreadPoolExecutor(32) as pool:
        answers = [pool.submit(ask, i) for i in range(32)]
        until(lambda: calls)
        begun.set()
        assert len({answer.result() for answer in answers}) == 1
    assert len(calls) == 1


def half_asked(served, address):
    """A connection that has asked and not been answered."""
    parts = urlsplit(served.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    head = f"GET {address} HTTP/1.1\r\nHost: x\r\nAuthorization: Apikey {KEY}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


@pytest.fixture
def given_up(served, monkeypatch):
    """Ask for a part of a new node, go away before it is there, and see that nobody waits for it then."""
    tickets, start = [], Evaluator.start

    def noticed(self, recipe, wanted, ticket, then=None):
        tickets.append(ticket)
        return start(self, recipe, wanted, ticket, then)

    def leave(query):
        name, begun, go = fresh_node(served), Event(), Event()

        def function(frame):
            begun.set()
            return go.wait(120) and before(frame)

        with function_of(served, name, function) as before:
            connection = half_asked(served, f"{FULL}/{SCAN}/{name}?{query}")
            try:
                assert begun.wait(120)
                ticket = tickets[-1]  # those before ask for the right to it
                assert ticket.wanted
                connection.close()
                until(lambda: not ticket.wanted)
            finally:
                go.set()
        return name

    monkeypatch.setattr(Evaluator, "start", noticed)
    return leave


def test_who_goes_away_is_not_waited_for(served, given_up):
    name = given_up("slice=1,1")
    assert served.get(f"{FULL}/{SCAN}/{name}?slice=1,2").status_code == 200


@pytest.mark.parametrize("query", ["format=text/csv&slice=0,0", "filename=x&slice=0,0"])
def test_who_goes_away_from_tiled_is_not_waited_for_either(given_up, query):
    given_up(query)


@pytest.mark.parametrize(
    ("error", "status"), [(Busy("all places are taken"), 503), (KeyError("secret"), 400)]
)
def test_what_fails_is_said_as_the_guard_says_it(served, monkeypatch, error, status):
    def fails(self, body, ticket=None):
        raise error

    monkeypatch.setattr(bodies.Bodies, "start", fails)
    monkeypatch.setattr(bodies.Bodies, "at_hand", lambda self, body: None)
    answer, straight = lane_answers(served, f"{FULL}/{SCAN}/root?slice=1,2")
    assert (answer.status_code, straight) == (status, True)
    assert "secret" not in answer.json()["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("query", ["slice=0,0", "slice=0,0&filename=x"])
def test_an_answer_says_where_its_time_went(served, query):
    answer = served.get(f"{FULL}/{SCAN}/{fresh_node(served)}?{query}")
    stages = [part.split(";")[0].strip() for part in answer.headers["server-timing"].split(",")]
    assert len(stages) == len(set(stages))
    assert stages
    for part in answer.headers["server-timing"].split(","):
        assert float(part.split("dur=")[1].split(";")[0]) >= 0


def test_a_new_node_is_seen_at_once_and_its_key_pins_it(served):
    name = fresh_node(served)
    address = f"/zarr/v3/{SCAN}/{name}/c/0/0/0/0"
    first, straight = lane_answers(served, address)
    assert (first.status_code, straight) == (200, True)
    key = served.get(f"/api/v1/metadata/{SCAN}/{name}").json()["data"]["attributes"]["metadata"][
        "attributes"
    ]["key"]
    pinned, straight = lane_answers(served, address.replace(name, f"{name}@{key}"))
    assert (pinned.content, straight) == (first.content, True)
    assert "immutable" in pinned.headers["cache-control"]
    assert served.get(address.replace(name, f"{name}@{'0' * 32}")).status_code == 410


def test_addresses_below_a_path_of_a_proxy(served):
    outer, root = served.outer, "/tools/spyde"

    async def mounted(scope, receive, send):
        if scope["type"] == "http":
            scope = {**scope, "root_path": root, "path": root + scope["path"]}
        await outer(scope, receive, send)

    with running(mounted) as url, httpx.Client(base_url=url, headers=dict(served.client.headers)) as client:
        before = outer.answered
        assert client.get(f"{FULL}/{SCAN}/root?slice=1,2").status_code == 200
        assert client.get(f"/zarr/v3/{SCAN}/root/c/9/9/9/9").status_code == 404
        assert outer.answered == before + 2


@pytest.mark.parametrize(
    ("priority", "urgency"),
    [
        (None, Urgency.LOOKED_AT),
        (b"u=1", Urgency.LOOKED_AT),
        (b"i, u=3", Urgency.LOOKED_AT),
        (b"u=4", Urgency.AHEAD),
        (b"u=5, i", Urgency.AHEAD),
        (b"u=6", Urgency.BULK),
        (b"U=7", Urgency.LOOKED_AT),
        (b"u=9", Urgency.LOOKED_AT),
        (b"u=7;x=1", Urgency.BULK),
        (b"u=5" + b" " * 1000, Urgency.LOOKED_AT),
    ],
)
def test_urgency_is_what_the_header_says(priority, urgency):
    assert urgency_of(priority) is urgency


def test_credentials_are_found_where_tiled_looks():
    both = {b"authorization": b"Bearer x", b"cookie": b"a=b; tiled_api_key=k"}
    assert len(credentials(both, b"api_key=q&x=1")) == 3
    assert credentials({b"cookie": b"tiled_csrf=1"}) == []
    assert credentials({b"cookie": b"tiled_api_key=k"}) != credentials({b"authorization": b"k"})
    assert digest(b"a", "b") != digest(b"a", "c")
