"""What HTTP asks of every answer: HEAD, conditional requests, encodings, caching, and scripts from elsewhere."""

from __future__ import annotations

import io

import blosc2
import httpx
import numpy as np
import pytest
from conftest import KEY, encoded, running, serving
from tiled.media_type_registration import default_compression_registry

from tiled_spyde import codecs
from tiled_spyde.guard import Guard

SCAN = "scan4d.hspy/signal"
HERE, ELSEWHERE = "https://here.example", "https://elsewhere.example"
RAW = "format=application/octet-stream"
ADDRESSES = [
    f"/api/v1/metadata/{SCAN}/root",
    f"/api/v1/search/{SCAN}",
    f"/api/v1/array/full/{SCAN}/root?{RAW}",
    f"/api/v1/array/full/{SCAN}/root?slice=1,2&format=application/x-blosc",
    f"/api/v1/array/block/{SCAN}/root?block=1,2,0,0&{RAW}",
    f"/zarr/v3/{SCAN}/root/zarr.json",
    f"/zarr/v3/{SCAN}/root/c/1/2/0/0",
    f"/zarr/v2/{SCAN}/root/1.2.0.0",
    f"/zarr/v2/{SCAN}/.zmetadata",
]
DATA = [address for address in ADDRESSES if "/array/" in address]
# Of the moment, not of what is answered.
CHANGING = {"date", "server-timing", "x-tiled-request-id", "set-cookie"}


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans], allow_origins=[HERE]) as service:
        yield service


def lasting(answer):
    return {name: value for name, value in answer.headers.items() if name not in CHANGING}


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(
    "address", [*ADDRESSES, "/healthz", "/zarr/v3", f"/zarr/v3/{SCAN}/root/c/9/9/9/9", "/nothing"]
)
def test_head_says_what_get_would(served, address, encoding):
    asked = {"headers": {"Accept-Encoding": encoding}}
    head, get = served.client.head(address, **asked), served.get(address, **asked)
    assert head.status_code == get.status_code
    assert lasting(head) == lasting(get)
    assert head.content == b""
    assert get.content


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd", "blosc2"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_what_a_client_has_is_not_sent_again(served, address, encoding):
    asked = {"Accept-Encoding": encoding}
    etag = served.client.head(address, headers=asked).headers["etag"]
    assert etag.startswith('"')
    assert etag.endswith('"')
    for tags in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = served.get(address, headers={"If-None-Match": tags, **asked})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"].removeprefix("W/").startswith(etag[:20])
        assert answer.headers["cache-control"] == "private, no-cache"
        assert {"Accept-Encoding", "Authorization", "Cookie"} <= set(answer.headers["vary"].split(", "))
        assert not {"content-length", "content-type", "content-encoding"} & set(answer.headers)
    assert served.get(address, headers={"If-None-Match": '"other"', **asked}).status_code == 200
    assert served.client.head(address, headers={"If-None-Match": etag, **asked}).status_code == 304


@pytest.mark.parametrize("numbers", range(1000, 1009))
@pytest.mark.parametrize("length", [1, 2])
def test_blosc2_takes_any_length(numbers, length):
    packed, data = io.BytesIO(), bytes(range(100)) * 101
    writer = default_compression_registry.dispatch("application/octet-stream", "blosc2")(packed)
    writer.write(data[:numbers] if length == 1 else np.frombuffer(data[: 2 * numbers], "u2").data)
    writer.close()
    assert blosc2.decompress(packed.getvalue()) == data[: length * numbers]


@pytest.mark.parametrize(
    "address", [f"/api/v1/array/full/{SCAN}/root?slice=0,0&{RAW}", f"/zarr/v3/{SCAN}/root/c/0/0/0/0"]
)
def test_rights_come_before_a_304(served, address):
    with httpx.Client(base_url=served.url) as anonymous:
        assert anonymous.get(address, headers={"If-None-Match": "*"}).status_code == 401


def test_other_bytes_have_another_tag(served):
    address = f"/api/v1/metadata/{SCAN}/root"
    tags = {
        served.get(address, headers={"Accept": accept, "Accept-Encoding": encoding}).headers["etag"]
        for accept in ("application/json", "application/x-msgpack")
        for encoding in ("identity", "gzip")
    }
    assert len(tags) == 4
    whole = served.client.head(f"/api/v1/array/full/{SCAN}/root?{RAW}").headers["etag"]
    assert whole != served.client.head(f"/api/v1/array/full/{SCAN}/root?slice=0&{RAW}").headers["etag"]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gzip", "gzip"),
        ("gzip;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0", None),
        ("gzip;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("nonsense, ;;q", None),
        ("", None),
    ],
)
def test_an_encoding_is_one_that_the_client_takes(served, asked, answered):
    answer = served.get(f"/api/v1/array/full/{SCAN}/root?{RAW}", headers={"Accept-Encoding": asked})
    assert answer.headers.get("content-encoding") == answered
    assert "Accept-Encoding" in answer.headers["vary"]
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<u2"), encoded((3, 5, 12, 16)).ravel())


def test_zarr_chunks_are_not_compressed_twice(served):
    answer = served.get(f"/zarr/v3/{SCAN}/root/c/0/0/0/0", headers={"Accept-Encoding": "gzip, zstd, blosc2"})
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_range_is_not_served_and_not_promised(served, address):
    answer = served.get(address, headers={"Range": "bytes=0-3"})
    assert answer.status_code == 200
    assert answer.headers["accept-ranges"] == "none"
    assert answer.content == served.get(address).content


@pytest.mark.parametrize("address", DATA)
def test_data_say_their_shape_and_dtype(served, address):
    answer = served.get(address)
    shape = tuple(map(int, answer.headers["x-array-shape"].split(",")))
    dtype = answer.headers["x-array-dtype"]
    part = encoded((3, 5, 12, 16))
    if "slice" in address:
        np.testing.assert_array_equal(codecs.decode(answer.content, shape, dtype), part[1, 2])
    else:
        part = part[1:2, 2:3] if "block" in address else part
        np.testing.assert_array_equal(np.frombuffer(answer.content, dtype).reshape(shape), part)


def test_a_pinned_slice_is_immutable(served):
    described = served.get(f"/api/v1/metadata/{SCAN}/root").json()["data"]["attributes"]["metadata"]
    pinned = f"{SCAN}/root@{described['attributes']['key']}"
    for address in (
        f"/api/v1/array/full/{pinned}?slice=0,0&{RAW}",
        f"/api/v1/array/block/{pinned}?block=0,0,0,0&{RAW}",
    ):
        assert "immutable" in served.get(address).headers["cache-control"]
    gone = served.get(f"/api/v1/array/full/{SCAN}/root@{'0' * 32}?slice=0,0&{RAW}")
    assert gone.status_code == 410
    assert "immutable" not in gone.headers["cache-control"]


def test_a_wrong_expected_shape_is_the_clients_error(served):
    for route, query in (("full", "slice=0,0"), ("block", "block=0,0,0,0")):
        address = f"/api/v1/array/{route}/{SCAN}/root?{query}&{RAW}"
        shape = "12,16" if route == "full" else "1,1,12,16"
        assert served.get(f"{address}&expected_shape={shape}").status_code == 200
        answer = served.get(f"{address}&expected_shape=7,7")
        assert answer.status_code == 422
        assert "7" in answer.json()["detail"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_zarr_needs_no_session(served, address):
    """Chunks set no cookies, also with the key in the address; tiled's own pages do."""
    with httpx.Client(base_url=served.url) as client:
        answer = client.get(address, params={**httpx.URL(address).params, "api_key": KEY})
        assert answer.status_code == 200
        assert ("set-cookie" in answer.headers) == (not address.startswith("/zarr/"))


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "wanted", ["authorization", "Range, If-None-Match", "x-anything,authorization", None]
)
def test_a_preflight_of_a_configured_origin_passes_without_a_key(served, address, wanted):
    headers = {"Origin": HERE, "Access-Control-Request-Method": "GET"}
    if wanted:
        headers["Access-Control-Request-Headers"] = wanted
    with httpx.Client(base_url=served.url) as anonymous:
        answer = anonymous.options(address, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == HERE
    allowed = answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    assert set((wanted or "authorization,range").lower().replace(" ", "").split(",")) <= set(allowed)
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "Origin" in answer.headers["vary"]


def test_a_preflight_of_another_origin_is_refused(served):
    answer = served.client.options(
        ADDRESSES[0], headers={"Origin": ELSEWHERE, "Access-Control-Request-Method": "GET"}
    )
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert "allow_origins" in answer.json()["detail"]


def exposed(answer):
    return set(answer.headers["access-control-expose-headers"].lower().split(", "))


@pytest.mark.parametrize("address", ADDRESSES)
def test_scripts_of_a_configured_origin_may_read_answers(served, address):
    answer = served.get(address, headers={"Origin": HERE})
    assert answer.headers["access-control-allow-origin"] == HERE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert {
        "etag",
        "content-length",
        "content-range",
        "retry-after",
        "x-array-shape",
        "x-array-dtype",
    } <= exposed(answer)
    assert answer.headers.get_list("access-control-allow-origin") == [HERE]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-origin" not in served.get(address, headers={"Origin": ELSEWHERE}).headers
    etag = answer.headers["etag"]
    same = served.get(address, headers={"Origin": HERE, "If-None-Match": etag})
    assert (same.status_code, same.headers["access-control-allow-origin"]) == (304, HERE)


def test_scripts_may_read_errors_too(served):
    with httpx.Client(base_url=served.url) as anonymous:
        for client, path, status in (
            (anonymous, ADDRESSES[0], 401),
            (anonymous, ADDRESSES[-1], 401),
            (served.client, "/zarr/v3/nothing/zarr.json", 404),
            (served.client, "/api/v1/metadata/..%2f..%2fx", 404),
            (served.client, f"/api/v1/array/full/{SCAN}/root?format=text/html", 406),
            (served.client, f"/api/v1/array/full/{SCAN}/root@{'0' * 32}", 410),
        ):
            answer = client.get(path, headers={"Origin": HERE})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == HERE
            assert "retry-after" in exposed(answer)


def test_a_server_that_is_busy_says_so_to_scripts():
    async def app(scope, receive, send):
        raise OSError

    app.state = type("State", (), {"allow_origins": [HERE]})
    with running(Guard(app)) as url:
        answer = httpx.get(f"{url}/zarr/v3/x", headers={"Origin": HERE})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["access-control-allow-origin"] == HERE


def test_any_origin_may_read_without_credentials(scans):
    with serving([scans], public=True, allow_origins=["*"]) as public:
        answer = public.get(ADDRESSES[-1], headers={"Origin": ELSEWHERE})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        preflight = public.client.options(
            ADDRESSES[-1], headers={"Origin": ELSEWHERE, "Access-Control-Request-Method": "GET"}
        )
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")


def test_without_configuration_no_origin_may_read(scans):
    with serving([scans], public=True) as public:
        answer = public.get(ADDRESSES[-1], headers={"Origin": HERE})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_below_a_path_of_a_proxy_everything_is_the_same(scans):
    """A proxy that takes its prefix off tells the server of it as root_path."""
    with serving([scans]) as inner:

        async def below(scope, receive, send):
            if scope["type"] == "http":
                scope = {**scope, "root_path": "/em", "path": "/em" + scope["path"]}
            await Guard(inner.app)(scope, receive, send)

        with (
            running(below) as url,
            httpx.Client(base_url=url, headers={"Authorization": f"Apikey {KEY}"}) as client,
        ):
            for address in ADDRESSES:
                answer = client.get(address)
                assert answer.status_code == 200, address
                assert answer.headers["cache-control"] == "private, no-cache"
            listing = client.request("PROPFIND", f"/zarr/v3/{SCAN}", headers={"Depth": "1"})
            assert f"<D:href>/em/zarr/v3/{SCAN}/root</D:href>" in listing.text
            assert client.head(f"/zarr/v3/{SCAN}/root/c/0/0/0/0").status_code == 200
