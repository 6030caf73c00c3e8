"""The straight lane and what it leaves to tiled, where it is easy to go wrong."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest
from conftest import KEY, serving, until
from fastapi.dependencies import utils
from test_lane import FULL, SCAN, SMOOTH, function_of, node

NODES = {
    SCAN: [
        {"name": "slow", "operation": "gaussian_filter", "parameters": {"sigma": 1.5}},
        {"name": "slower", "operation": "gaussian_filter", "parameters": {"sigma": 1.75}},
        {"name": "root.zarr", "operation": "gaussian_filter", "parameters": {"sigma": 2.5}},
    ]
}


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans], trees=NODES) as service:
        yield service


@pytest.mark.parametrize(("version", "key"), [("v3", "c/1/2/0/0"), ("v2", "1/2/0/0")])
def test_a_node_that_is_called_like_an_image_is_not_that_image(served, version, key):
    own, image = (f"/zarr/{version}/{SCAN}/root.zarr/{below}" for below in (key, f"0/{key}"))
    assert served.get(own).status_code == 200
    assert served.get(image).status_code == served.get(f"/custom{image}").status_code == 404
    assert served.get(f"/zarr/{version}/{SCAN}/slow.zarr/0/{key}").status_code == 200


@pytest.mark.parametrize(
    ("name", "address"),
    [("slow", f"{FULL}/{SCAN}/slow?filename=x&slice"), ("slower", f"/custom/zarr/v2/{SCAN}/slower/")],
)
def test_many_who_wait_for_frames_of_tiled_hold_up_nobody_else(served, name, address):
    """tiled has 40 threads for everything."""
    go, pool = Event(), node(served, name)._evaluator.pool
    with (
        httpx.Client(base_url=served.url, headers=dict(served.client.headers), timeout=60) as client,
        function_of(served, name, lambda frame: go.wait(60) and before(frame)) as before,
        ThreadPoolExecutor(60) as asking,
    ):
        asked = []
        try:
            for number in range(60):
                y, x = divmod(number % 15, 5)
                part = f"={y},{x},0:{number % 4 + 1}" if "?" in address else f"{y}.{x}.0.0"
                asked.append(asking.submit(client.get, f"{address}{part}"))
            until(lambda: sum(map(len, pool._open.values())) >= 40)
            assert served.get(f"/api/v1/metadata/{SCAN}/root", timeout=50).status_code == 200
        finally:
            go.set()
        assert {answer.result().status_code for answer in asked} == {200}


def test_a_connection_that_breaks_while_an_answer_is_sent_gets_no_second_one(served):
    assert served.get(f"{FULL}/{SCAN}/root?slice=0,0").status_code == 200  # from here on its right is known
    sent = []

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            raise OSError("broken")

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"{FULL}/{SCAN}/root",
        "query_string": b"slice=0,0",
        "headers": [(b"authorization", f"Apikey {KEY}".encode())],
    }
    with pytest.raises(OSError, match="broken"):
        asyncio.run(served.outer(scope, None, send))
    assert sent == ["http.response.start", "http.response.body"]


def test_no_signature_is_inspected_for_a_request(served, monkeypatch):
    assert served.get(f"/api/v1/metadata/{SCAN}/root").status_code == 200  # which has the routes made
    inspected, get_dependant = [], utils.get_dependant
    monkeypatch.setattr(
        utils, "get_dependant", lambda **given: inspected.append(given) or get_dependant(**given)
    )
    assert served.get(f"/api/v1/metadata/{SCAN}/root").status_code == 200
    assert not inspected
    served.app.dependency_overrides[test_no_signature_is_inspected_for_a_request] = dict
    try:
        assert served.get(f"/api/v1/metadata/{SCAN}/root").status_code == 200
    finally:
        del served.app.dependency_overrides[test_no_signature_is_inspected_for_a_request]
    assert inspected


def test_two_apps_of_one_process_keep_their_settings(scans):
    with serving([scans]) as closed, serving([scans], public=True) as public:
        for _ in range(2):
            for service, status in ((closed, 401), (public, 200)):
                anonymous = httpx.get(f"{service.url}/api/v1/metadata/{SCAN}/root")
                assert anonymous.status_code == status
            assert closed.get(f"/api/v1/metadata/{SCAN}/root").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        f"{FULL}/{SCAN}/smooth?slice=",
        f"{FULL}/{SCAN}/smooth?filename=x&slice=",
        f"/custom/zarr/v2/{SCAN}/smooth/",
    ],
)
def test_what_takes_too_long_is_given_up(scans, address):
    go = Event()
    with serving([scans], trees=SMOOTH, arguments={"deadline_seconds": 0.3}) as served:
        served.get(f"{FULL}/{SCAN}/smooth?slice=0:0")
        one, other = ("1.1.0.0", "1.2.0.0") if "zarr" in address else ("1,1", "1,2")
        with function_of(served, "smooth", lambda frame: go.wait(30) and before(frame)) as before:
            answer = served.get(address + one)
            go.set()
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "0.3 s" in answer.json()["detail"]
        until(lambda: served.get(address + other).status_code == 200)
