"""The guard: whatever a client sends, it gets a clear answer on a connection that stays open."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import quote, urlsplit

import httpx
import pytest
from conftest import KEY, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiled_spyde.errors import STATUS, SourceError, SpydeError
from tiled_spyde.guard import Guard

SCAN = "scan4d.hspy/signal"


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans]) as service:
        yield service


def answer_of(app, path="/api/v1/array/full/x", query=b""):
    """Status and body that the guard round `app` sends."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": []}
    asyncio.run(Guard(app)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


def raising(error):
    async def app(scope, receive, send):
        raise error

    return app


@pytest.mark.parametrize("error", [kind("why and what to do") for kind in STATUS])
def test_our_errors_have_their_status(error):
    status, _, body = answer_of(raising(error))
    assert status == STATUS[type(error)]
    assert b"why and what to do" in body


def test_a_new_error_inherits_its_parents_status():
    class Fresh(SourceError):
        pass

    assert answer_of(raising(Fresh("x")))[0] == STATUS[SourceError]
    assert all(issubclass(kind, SpydeError) for kind in STATUS)


@pytest.mark.parametrize(
    ("error", "path", "status"),
    [
        (ValueError("secret"), "/api/v1/search/", 400),
        (KeyError("host"), "/api/v1/search/", 400),
        (ValueError("secret"), "/zarr/v3/a/c/x", 404),
        (OSError("secret"), "/api/v1/search/", 503),
        (MemoryError(), "/zarr/v3/a", 503),
        (ExceptionGroup("several", [ValueError("secret")]), "/api/v1/search/", 400),
    ],
)
def test_foreign_errors_are_no_500_and_tell_no_secret(error, path, status):
    found, headers, body = answer_of(raising(error), path)
    assert found == status
    assert b"secret" not in body
    assert (b"retry-after" in headers) == (status == 503)


def test_a_500_of_tiled_is_reworded_with_its_reason():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b'{"detail": "Block index out of range"}'})

    status, _, body = answer_of(app)
    assert status == 400
    assert b"Block index out of range" in body


def test_a_500_that_then_raises_is_answered_once():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"Internal Server Error"})
        raise ValueError("bad")

    assert answer_of(app)[0] == 400


@pytest.mark.parametrize(
    "query", ["format=text/html", "slice=0,0,0,0&format=text/csv", "slice=1:1&format=image/png"]
)
def test_a_format_that_does_not_suit_the_slice_is_said_so(served, query):
    answer = served.get(f"/api/v1/array/full/{SCAN}/root?{query}")
    assert answer.status_code == 406
    assert "format" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/ui/../../../../etc/passwd",
        "/ui/..%2f..%2f..%2f..%2fetc/passwd",
        "/ui/%2e%2e/%2e%2e/etc/passwd",
        "/ui/index.html/etc/passwd",
        "/static/..%2f..%2fetc/passwd",
        f"/api/v1/array/full/{SCAN}/..%2f..%2f..%2fetc/passwd",
        "/api/v1/metadata/..%2f..%2fetc",
        "/zarr/v2/..%2f..%2fetc/passwd",
        "/zarr/v3/%2e%2e/zarr.json",
        "/api/v1/asset/bytes/..%2f..%2fetc/passwd?id=1",
        "/api/v1/metadata/a%00b",
        "/ui/..%5c..%5cetc",
    ],
)
def test_no_path_leaves_its_folder(served, path):
    status, body = raw_get(served, path)
    assert status == 404
    assert b"root:" not in body


@pytest.mark.parametrize(
    "path", ["/ui//etc/passwd", "/ui///etc/passwd", "/ui/%2fetc/passwd", "//ui//etc/passwd"]
)
def test_a_double_slash_opens_no_file_of_the_disk(served, path):
    """tiled's web page answers with itself for whatever it does not know: that is what a person sees."""
    status, body = raw_get(served, path)
    assert status in (200, 404)
    assert b"root:" not in body


def raw_get(served, path, head=""):
    """Send a path exactly as it is: httpx would tidy it."""
    address = urlsplit(served.url)
    request = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Apikey {KEY}\r\nConnection: close\r\n{head}\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /api/v1/search/ HTTP/1.0\r\n\r\n",
        b"GET /zarr/v3/ HTTP/1.0\r\n\r\n",
        b"GET /api/v1/metadata/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/search/ HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /api/v1/search/ HTTP/1.1\r\nHost: x\r\nAuthorization: \xff\xfe\r\n\r\n",
        b"GET /api/v1/search/ HTTP/1.1\r\nHost: x\r\nCookie: tiled_api_key=\xff\r\n\r\n",
        b"GET /api/v1/array/full/x?slice=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/nodes/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW /api/v1/search/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_odd_requests_are_answered(served, request_bytes):
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        status = int(connection.recv(65536).split(b" ", 2)[1])
    assert 200 <= status < 500


NODES = st.sampled_from(
    [SCAN, f"{SCAN}/root", f"{SCAN}/navigator", "", "scan4d.hspy", "empty.hspy", "spectra.hspy/signal/root"]
)
NOISE = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(10**25), 10**25).map(str) | st.sampled_from(
    ["0", "1", "-1", "", ":", "::2", "0:2", "::-1", "...", "a"]
)
PARTS = st.lists(NUMBERS, max_size=6)
FAMILIES = st.sampled_from(
    [
        "/api/v1/array/full/",
        "/api/v1/array/block/",
        "/api/v1/metadata/",
        "/api/v1/search/",
        "/api/v1/search-deep/",
        "/api/v1/distinct/",
        "/api/v1/container/full/",
        "/api/v1/table/full/",
        "/api/v1/table/partition/",
        "/api/v1/ragged/full/",
        "/api/v1/awkward/full/",
        "/api/v1/awkward/buffers/",
        "/api/v1/node/full/",
        "/api/v1/revisions/",
        "/api/v1/asset/bytes/",
        "/api/v1/nodes/",
        "/api/v1/operations/",
        "/zarr/v2/",
        "/zarr/v3/",
        "/custom/nodes/",
        "/ui/",
        "/",
    ]
)
SUFFIXES = (
    st.sampled_from(
        ["", "/", "/.zarray", "/.zattrs", "/.zgroup", "/.zmetadata", "/zarr.json", "/c", "/c/", "@0", "@"]
    )
    | PARTS.map(lambda p: "/c/" + "/".join(p))
    | PARTS.map(lambda p: "/" + ".".join(p))
    | NOISE.map(lambda t: "/" + quote(t, safe=""))
)
QUERIES = st.dictionaries(
    st.sampled_from(
        "slice block expected_shape format fields select_metadata sort page[offset] page[limit] page[cursor] filename "
        "column partition omit_links max_depth filter[fulltext][condition][text] filter[eq][condition][key] "
        "filter[eq][condition][value] filter[regex][condition][key] filter[regex][condition][pattern] "
        "filter[specs][condition][include] filter[structure_family][condition][value] metadata specs counts id".split()
    ),
    PARTS.map(",".join)
    | NOISE
    | st.sampled_from(["application/octet-stream", "text/csv", "image/png", "json", "[[", '"', "(a", "null"]),
    max_size=3,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Accept",
            "Accept-Encoding",
            "If-None-Match",
            "Range",
            "X-Forwarded-Host",
            "Content-Type",
            "User-Agent",
            "Origin",
            "Depth",
            "Access-Control-Request-Method",
            "Access-Control-Request-Headers",
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
    | st.sampled_from(["*/*", "gzip;q=0", "bytes=0-", "blosc2", "python-tiled/x", "*", 'W/"a", "', "1"]),
    max_size=3,
)
METHODS = st.sampled_from(["GET"] * 6 + ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])


@pytest.mark.filterwarnings("ignore:Python Tiled client version")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(METHODS, FAMILIES, NODES, SUFFIXES, QUERIES, HEADERS)
def test_no_request_gives_a_500_or_loses_its_connection(served, method, family, node, suffix, query, headers):
    with httpx.Client(base_url=served.url, timeout=60) as client:
        request = client.build_request(
            method,
            family + quote(node) + suffix,
            params=query,
            headers={"Authorization": f"Apikey {KEY}", **headers},
        )
        answer = client.send(request)
        assert answer.status_code < 500, (request.url, answer.text)
        if answer.status_code >= 400 and method != "HEAD" and answer.content:
            assert "Traceback" not in answer.text
        assert client.get("/healthz").status_code == 200
