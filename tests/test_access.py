"""Without a credential nothing is readable on a private server, on any route."""

from __future__ import annotations

import re

import httpx
import pytest
from conftest import KEY, serving
from starlette.routing import Route, WebSocketRoute
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

SCAN = "scan4d.hspy/signal"
NODE = f"{SCAN}/root"
# Pages without data: the web page, its settings, the API's description, and how to log in.
OPEN = {
    "/",
    "/healthz",
    "/favicon.ico",
    "/ui/{path:path}",
    "/static",
    "/tiled-ui-settings",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/api/v1/",
}
# What a path parameter of a route is filled with, so that the route would answer if it were allowed to.
PATHS = ("", SCAN, NODE, "scan4d.hspy", "empty.hspy", f"{NODE}/zarr.json", f"{NODE}/c/0/0/0/0")
FILLED = {
    "block": "0/0/0/0",
    "slug": "x",
    "revision_number": "1",
    "webhook_id": "1",
    "uuid": "x",
    "provider": "x",
    "version": "v3",
}


@pytest.fixture(scope="module", params=["guarded", "plain tiled"])
def private(request, scans):
    with serving([scans], guarded=request.param == "guarded") as service:
        yield service


def routes_of(router, prefix=""):
    """Every route there is, also in included and mounted routers."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes_of(inner, prefix + getattr(route.include_context, "prefix", ""))
        elif isinstance(route, Route | WebSocketRoute) or hasattr(route, "path"):
            yield prefix + route.path, route


def all_routes(served):
    return list(routes_of(served.app))


def addresses(template):
    for path in PATHS:

        def fill(match, path=path):
            return path if match[1] == "path" else FILLED.get(match[1], "x")

        yield re.sub(r"\{(\w+)(?::\w+)?\}", fill, template)


def test_the_walk_sees_the_routes_of_all_families(private):
    found = {path for path, _ in all_routes(private)}
    assert len(found) >= 50
    for known in (
        "/api/v1/array/full/{path:path}",
        "/api/v1/search/{path:path}",
        "/api/v1/operations",
        "/custom/operations",
        "/api/v1/nodes/{path:path}",
        "/api/v1/nodes/{path:path}/undo",
        "/api/v1/nodes/{path:path}/history",
        "/custom/nodes/{path:path}",
        "/zarr/v2/{path:path}",
        "/zarr/v3/{path:path}/c/{block:path}",
        "/custom/zarr/{version}/{path:path}",
        "/api/v1/zarr/{version}/{path:path}",
    ):
        assert known in found


def test_nothing_is_readable_without_a_credential_on_any_route(private):
    leaked, asked = [], 0
    with httpx.Client(base_url=private.url, timeout=30) as anonymous:
        for template, route in all_routes(private):
            methods = getattr(route, "methods", None) or {"GET"}
            for method in methods:
                for address in addresses(template):
                    answer = anonymous.request(method, address, follow_redirects=False)
                    asked += 1
                    shows = b"scan4d" in answer.content.replace(address.encode(), b"")
                    shows = shows and answer.status_code < 400
                    if shows or (answer.status_code < 400 and template not in OPEN):
                        leaked.append((method, address, answer.status_code, answer.content[:80]))
    assert not leaked
    assert asked > 300


def test_the_same_addresses_answer_with_the_key(private):
    for address in (
        "/api/v1/search/",
        f"/api/v1/metadata/{NODE}",
        f"/api/v1/array/full/{NODE}?slice=1,2",
        f"/api/v1/array/block/{NODE}?block=0,0,0,0",
        f"/zarr/v2/{NODE}/.zarray",
        f"/zarr/v2/{NODE}/0.0.0.0",
        f"/zarr/v3/{NODE}/zarr.json",
        f"/zarr/v3/{NODE}/c/0/0/0/0",
        f"/custom/zarr/v3/{NODE}/c/0/0/0/0",
        f"/api/v1/zarr/v2/{NODE}/0.0.0.0",
        "/zarr/v3/",
        "/api/v1/operations",
        "/custom/operations",
    ):
        assert private.get(address).status_code == 200, address
        with httpx.Client(base_url=private.url) as anonymous:
            assert anonymous.get(address).status_code in (401, 404), address
            assert anonymous.get(address, headers={"Authorization": "Apikey wrong"}).status_code in (401, 404)


@pytest.mark.parametrize("scheme", ["header", "query", "cookie"])
def test_a_key_opens_however_it_is_sent(private, scheme):
    with httpx.Client(base_url=private.url) as client:
        address = f"/zarr/v3/{NODE}/c/0/0/0/0"
        if scheme == "header":
            answer = client.get(address, headers={"Authorization": f"Apikey {KEY}"})
        elif scheme == "query":
            answer = client.get(address, params={"api_key": KEY})
        else:
            answer = client.get(address, headers={"Cookie": f"tiled_api_key={KEY}"})
        assert answer.status_code == 200


def test_anonymous_people_make_no_nodes_even_on_a_public_server(scans):
    with serving([scans], public=True) as public:
        assert public.get(f"/api/v1/array/full/{NODE}?slice=0,0").status_code == 200
        assert public.get(f"/zarr/v3/{NODE}/c/0/0/0/0").status_code == 200
        assert public.get("/api/v1/operations").status_code == 200
        node = {"parent": "root", "operation": "sum"}
        for prefix in ("/api/v1", "/custom"):
            assert public.client.post(f"{prefix}/nodes/{SCAN}", json=node).status_code == 401
            assert public.client.patch(f"{prefix}/nodes/{NODE}", json={"name": "mine"}).status_code == 401
            assert public.client.delete(f"{prefix}/nodes/{NODE}").status_code == 401
            assert public.client.post(f"{prefix}/nodes/{SCAN}/undo", json={"change": 1}).status_code == 401
            assert public.client.get(f"{prefix}/nodes/{SCAN}/history").status_code == 200
        made = public.client.post(
            f"/api/v1/nodes/{SCAN}", json=node, headers={"Authorization": f"Apikey {KEY}"}
        )
        assert made.status_code == 201


def test_websockets_are_closed_too(private):
    for path in (NODE, SCAN, ""):
        address = f"{private.url.replace('http', 'ws')}/api/v1/stream/single/{path}"
        with pytest.raises((WebSocketException, OSError)), connect(address, open_timeout=10) as socket:
            socket.recv(timeout=1)
