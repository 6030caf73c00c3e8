"""An answer that is given at once is, line by line, the one that uvicorn would have made of its messages."""

from __future__ import annotations

import socket

import httpx
import pytest
from conftest import KEY, until_indexed
from raw_http import RAW, Wire, request

from tiled_spyde.app import build, config_for
from tiled_spyde.server import Cycle, Protocol, serving

FULL = "/api/v1/array/full/scan4d.hspy/signal/root"
OWN = {"connection", "date", "server-timing"}


@pytest.fixture(scope="module")
def url(scans, tmp_path_factory):
    config = config_for(
        [str(scans)], api_key=KEY, state=str(tmp_path_factory.mktemp("state")), settle_seconds=0.02
    )
    config.allow_origins = ["http://elsewhere"]
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with serving(build(config), listening):
        with httpx.Client(base_url=address, headers={"Authorization": f"Apikey {KEY}"}, timeout=60) as client:
            until_indexed(client)
            client.get(f"{FULL}?slice=1,2&{RAW}").raise_for_status()
        yield address


@pytest.fixture
def at_once(monkeypatch):
    """The statuses of the answers that were given as a whole."""
    seen = []
    plain = Cycle.give

    def give(self, prompt):
        given = plain(self, prompt)
        if given:
            seen.append(prompt.status)
        return given

    monkeypatch.setattr(Cycle, "give", give)
    return seen


@pytest.fixture
def asked_at_once(monkeypatch):
    """The requests that were answered before a task was started."""
    seen = []
    plain = Protocol._start_asgi_task

    def start(self, cycle, app):
        plain(self, cycle, app)
        if cycle.response_complete:
            seen.append(cycle)

    monkeypatch.setattr(Protocol, "_start_asgi_task", start)
    return seen


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        (f"{FULL}?slice=1,2&{RAW}", (), 200),
        (f"{FULL}?slice=0:0&{RAW}", (), 200),
        (f"{FULL}?slice=1,2&{RAW}", ("Accept-Encoding: gzip", "Origin: http://elsewhere"), 200),
        (f"{FULL}?slice=1,2&{RAW}", ("If-None-Match: *",), 304),
        ("/zarr/v3/scan4d.hspy/signal/root/c/1/2/0/0", ("Origin: http://elsewhere",), 200),
    ],
)
def test_an_answer_at_once_is_uvicorns(url, at_once, target, headers, status, method):
    with Wire(url) as kept, Wire(url) as closed:
        one = kept.ask(request(target, *headers, method=method))
        again = kept.ask(request(target, *headers, method=method))
        assert kept.connections == 1
        assert at_once == [status] * 2
        other = closed.ask(request(target, *headers, "Connection: close", method=method))
        assert at_once == [status] * 2
    assert one.status == other.status == status
    assert one.body == again.body == other.body
    shown = [{k: v for k, v in answer.headers.items() if k not in OWN} for answer in (one, again, other)]
    assert shown[0] == shown[1] == shown[2]
    assert {"date", "server", "etag"} <= one.headers.keys()
    assert other.closed


def test_answers_to_pipelined_requests_come_in_order(url, asked_at_once):
    targets = [f"{FULL}?slice={y},{x}&{RAW}" for y in range(3) for x in range(5)]
    with Wire(url) as wire:
        alone = [wire.ask(request(target)).body for target in targets]
        asked_at_once.clear()
        wire.send(b"".join(map(request, targets)))
        assert [wire.receive().body for _ in targets] == alone
        assert 0 < len(asked_at_once) < len(targets)  # lest others wait for who sends much in advance
        assert wire.connections == 1
