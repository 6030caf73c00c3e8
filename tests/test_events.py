"""Following a tree: everybody is told what happens to its nodes."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import contextmanager
from queue import Queue
from threading import Thread

import httpx
import pytest
from catalog_samples import catalog as catalog_of
from catalog_samples import sigma, source
from conftest import KEY, serving, until
from raw_http import Wire, request
from test_workers import make

from tiled_spyde import events, followers
from tiled_spyde.events import Seen, Streams, View, news, view_of

TREE = "scan4d.hspy/signal"
EVENTS = "/api/v1/nodes/{}/events"
PLACE = ("a.hspy", "signal")


class Follower:
    """Reads a stream in a thread of its own."""

    def __init__(self, client, tree=TREE, **asked):
        self._client, self.events, self.comments = client, Queue(), 0
        self.answer, self.ended = None, False
        self._asked = client.build_request("GET", EVENTS.format(tree), **asked)
        self._thread = Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._thread.start()
        until(lambda: self.answer is not None or self.ended)
        return self

    def __exit__(self, *_):
        if self.answer is not None:
            for pooled in self._client._transport._pool.connections:
                pooled._connection._network_stream._sock.shutdown(2)
        self._thread.join(60)

    def _read(self):
        name, self.error = "", None
        try:
            self.answer = self._client.send(self._asked, stream=True)
            for line in self.answer.iter_lines():
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self.events.put((name, json.loads(line[6:])))
                elif line.startswith(":"):
                    self.comments += 1
        except httpx.TransportError as error:
            self.error = error
        self.ended = True

    def next(self):
        return self.events.get(timeout=60)

    def nodes(self, *names):
        """The next events, by name of the node, until there is one of each of `names`."""
        told = {}
        while names and not set(names) <= told.keys():
            kind, said = self.next()
            assert kind == "node"
            told[said["name"]] = said
        return told


@contextmanager
def following(url, tree=TREE, key=KEY, **asked):
    headers = {"Authorization": f"Apikey {key}"} if key else {}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
        Follower(client, tree, **asked) as one,
    ):
        yield one


@pytest.fixture(params=["guarded", "plain tiled"], scope="module")
def served(request, scans):
    with serving([scans], guarded=request.param == "guarded") as service:
        yield service


def test_what_is_made_is_told_at_once(served):
    with following(served.url) as one, following(served.url) as other:
        for follower in (one, other):
            assert follower.answer.status_code == 200
            assert follower.next() == ("tree", {"change": served.root.catalog.revision})
        for number in range(3):
            name = f"told {number} {len(served.root.catalog.tree(tuple(TREE.split('/'))).nodes)}"
            made = make(served.client, name, 1 + number / 8).json()["data"]["attributes"]["metadata"][
                "attributes"
            ]
            for follower in (one, other):
                said = follower.nodes(name)[name]
                assert said["what"] == "made"
                assert (said["id"], said["key"], said["state"]) == (made["id"], made["key"], "lazy")


@pytest.mark.parametrize("encoding", ["gzip, deflate, br, zstd", "blosc2", "identity"])
def test_the_headers_let_nobody_collect_it_first(served, encoding):
    with following(served.url, headers={"Accept-Encoding": encoding}) as one:
        assert one.next()[0] == "tree"
        assert one.answer.headers["content-type"].startswith("text/event-stream")
        assert one.answer.headers["cache-control"] == "no-store"
        assert one.answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in one.answer.headers
        assert "content-length" not in one.answer.headers


def test_who_is_told_nothing_is_told_that_it_is_there(served, monkeypatch):
    monkeypatch.setattr(followers, "_ALIVE", 0.05)
    with following(served.url) as one:
        until(lambda: one.comments > 3)
        assert one.events.qsize() == 1


def test_the_key_may_stand_in_the_address(served, monkeypatch):
    """A browser's EventSource sends no headers."""
    monkeypatch.setattr(followers, "_ALLOWED", 0.05)
    monkeypatch.setattr(followers, "_ALIVE", 0.05)
    with following(served.url, key=None, params={"api_key": KEY}) as one:
        until(lambda: one.comments > 5)
        assert not one.ended


@pytest.mark.parametrize(
    ("tree", "key", "status"),
    [
        (TREE, None, 401),
        (TREE, "wrong", 401),
        (f"{TREE}/root", KEY, 404),
        ("scan4d.hspy", KEY, 404),
        ("nothing/here", KEY, 404),
    ],
)
def test_who_may_not_and_what_cannot_be_followed(served, tree, key, status):
    headers = {"Authorization": f"Apikey {key}"} if key else {}
    answer = httpx.get(served.url + EVENTS.format(tree), headers=headers, timeout=60)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_a_head_alone_ends(scans):
    with serving([scans / "line.hspy"]) as service:
        for _ in range(2):
            answer = service.client.head(EVENTS.format("line.hspy/signal"))
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
        assert service.get("/api/v1/metadata/line.hspy").status_code == 200


def test_there_are_no_more_than_may_be(scans, monkeypatch):
    monkeypatch.setattr(followers, "MOST", 3)
    with serving([scans / "line.hspy"]) as service:
        tree = "line.hspy/signal"
        with (
            following(service.url, tree) as a,
            following(service.url, tree) as b,
            following(service.url, tree) as c,
        ):
            for one in (a, b, c):
                one.next()
            refused = service.get(EVENTS.format(tree))
            assert refused.status_code == 503
            assert "retry-after" in refused.headers

        def again():
            with following(service.url, tree) as one:
                return one.answer.status_code == 200

        until(again)


def streams_of(service):
    told = (getattr(told, "__self__", None) for told in service.root.catalog._memory.told)
    return next(streams for streams in told if isinstance(streams, Streams))


def test_who_vanishes_leaves_nothing(scans):
    with serving([scans]) as service:
        streams = streams_of(service)
        for _ in range(3):
            wires = [Wire(service.url) for _ in range(10)]
            for wire in wires:
                wire.send(request(EVENTS.format(TREE)))
                assert b"200 OK" in wire.peek()
            until(lambda: len(streams) == 10)
            for wire in wires:
                wire.close()
            until(lambda: not len(streams))
            assert not streams._looks
            assert not streams._following


def test_a_server_that_ends_ends_them(scans):
    with serving([scans]) as service:
        streams = streams_of(service)
        with following(service.url) as one:
            one.next()
            streams.close()
            until(lambda: one.ended)
            assert one.error is None
        assert service.get(EVENTS.format(TREE)).status_code == 503


def test_a_connection_goes_on_after_a_stream_has_ended(scans, tmp_path):
    shutil.copyfile(scans / "line.hspy", tmp_path / "line.hspy")
    with serving([tmp_path], arguments={"settle_seconds": 0.1}) as service, Wire(service.url) as wire:
        wire.send(request(EVENTS.format("line.hspy/signal")))
        assert b"200 OK" in wire.peek()
        (tmp_path / "line.hspy").unlink()
        answer = wire.receive()  # a tree that is gone has no more news
        assert answer.status == 200
        assert b"event: tree" in answer.body
        assert wire.ask(request("/api/v1/metadata/")).status == 200
        assert wire.connections == 1


class TestNews:
    """What is told of the way from one state to another."""

    def test_each_difference_once(self):
        before = View(
            {
                "1": Seen("a", "k1", 1, "lazy"),
                "2": Seen("b", "k2", 1, "lazy"),
                "3": Seen("c", "k3", 1, "lazy"),
            }
        )
        after = View(
            {
                "1": Seen("a", "k9", 2, "lazy"),
                "2": Seen("b", "k2", 1, "stored"),
                "4": Seen("d", None, 3, "failed"),
            }
        )
        told = [json.loads(part.split(b"data: ")[1]) for part in news(before, after).strip().split(b"\n\n")]
        assert [(one["what"], one["id"], one["name"], one["key"]) for one in told] == [
            ("changed", "1", "a", "k9"),
            ("state", "2", "b", "k2"),
            ("made", "4", "d", None),
            ("deleted", "3", "c", None),
        ]
        assert news(after, after) == b""

    def test_a_name_is_told_as_it_is(self):
        said = news(View({}), View({"1": Seen("µ\n\nevent: node", "k", 0, "lazy")}))
        assert said.count(b"\n") == 3

    def test_a_failed_node_has_no_key(self, tmp_path):
        catalog = catalog_of(tmp_path / "state", tmp_path / "data")
        path = tmp_path / "data" / "a.hspy"
        catalog.update({path: source(path)})
        node, _ = catalog.add_node(PLACE, **sigma(1))
        assert view_of(catalog.tree(PLACE)).nodes[node.id].state == "lazy"
        catalog.update({path: source(path, "g", shape=(9,), signal_axes=0)})
        seen = view_of(catalog.tree(PLACE)).nodes[node.id]
        assert (seen.state, seen.key) == ("failed", None)

    def test_the_root_is_stored(self, tmp_path):
        catalog = catalog_of(tmp_path / "state", tmp_path / "data")
        catalog.update({tmp_path / "data" / "a.hspy": source(tmp_path / "data" / "a.hspy")})
        assert view_of(catalog.tree(PLACE)).nodes["root"].state == "stored"

    def test_a_change_of_the_catalogue_is_said_to_who_wants_to_know(self, tmp_path):
        catalog = catalog_of(tmp_path / "state", tmp_path / "data")
        seen = []
        catalog.on_change(lambda: seen.append(catalog.top))
        catalog.update({tmp_path / "data" / "a.hspy": source(tmp_path / "data" / "a.hspy")})
        catalog.add_node(PLACE, **sigma(1))
        assert len(set(map(id, seen))) == 2
        assert seen[-1] is catalog.top


def test_who_reads_slowly_gets_the_latest_and_nothing_is_queued(scans, monkeypatch):
    """However much happens meanwhile, a follower's next news is one difference, from what it was told to what is."""
    made = []
    plain = events.news

    def counted(before, after):
        made.append((before, after))
        return plain(before, after)

    monkeypatch.setattr(events, "news", counted)
    # As if a client took the first event only after a hundred changes.
    monkeypatch.setattr(followers, "_PAUSE", 0.0)
    with serving([scans]) as service:
        streams, catalog = streams_of(service), service.root.catalog
        path = tuple(TREE.split("/"))

        async def slowly():
            told = streams.follow(path, None)
            said = [await anext(told)]
            for number in range(100):
                catalog.add_node(path, **sigma(1 + number), name=f"n{number}")
            said.append(await anext(told))
            await told.aclose()
            return said

        first, second = asyncio.run(slowly())
        assert first.startswith(b"event: tree")
        assert second.count(b'"made"') == 100
        assert len(made) == 1
        assert not len(streams)


def test_a_state_that_changes_without_a_tree_is_told_too(scans):
    states = {}

    def state(tree, name):
        return states.get(name, "lazy"), "k"

    with serving([scans]) as service:
        path = tuple(TREE.split("/"))
        streams = Streams(service.root.catalog, state)

        async def computing():
            told = streams.follow(path, None)
            await anext(told)
            states["root"] = "computing"
            streams.changed()
            said = await anext(told)
            await told.aclose()
            return said

        (event,) = asyncio.run(computing()).split(b"\n\n")[:-1]
        said = json.loads(event.split(b"data: ")[1])
        assert (said["what"], said["name"], said["state"]) == ("state", "root", "computing")
