"""The same requests to the lane, to the guard without it, and to plain tiled: the same answers, or better ones.

Where an answer is deliberately another than plain tiled's, `BETTER` says which and why.
"""

from __future__ import annotations

import json
import os
from urllib.parse import quote

import pytest
from conftest import KEY, running, serving
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from lane_parties import BLOSC, Asked, Dispatch, Three
from numcodecs.blosc import Blosc

# tiled scales a picture of one pixel by 0/0: a warning, which would be an error only here.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
EXAMPLES = int(os.environ.get("LANE_EXAMPLES", "200"))
HERE = "https://here.example"
OCTETS = "application/octet-stream"
SCAN = "scan4d.hspy/signal"
# Node and shape. Names as people give them: of other scripts, with spaces, and such that look like chunk keys.
NODES = {
    f"{SCAN}/root": (3, 5, 12, 16),
    f"{SCAN}/navigator": (3, 5),
    f"{SCAN}/größe 2": (3, 5, 12, 16),
    f"{SCAN}/c": (3, 5, 12, 16),
    f"{SCAN}/42": (3, 5),
    "image.hspy/signal/root": (530, 600),
    "line.hspy/signal/root": (7, 33),
    "spectra.hspy/signal/root": (4, 6, 40),
}
OTHERS = (SCAN, "scan4d.hspy", f"{SCAN}/nothing", "empty.hspy", "", f"{SCAN}/root/root", f"{SCAN}/ky")
TREES = {
    SCAN: [
        {"name": "größe 2", "operation": "gaussian_filter", "parameters": {"sigma": 1.5}},
        {"name": "c", "operation": "gaussian_filter", "parameters": {"sigma": 0.5}},
        {"name": "42", "operation": "sum", "parameters": {}},
    ]
}
# Headers in which lane and guard say the same; ETag and what is of the moment are looked at apart.
SAME = (
    "content-type",
    "content-encoding",
    "content-length",
    "x-array-shape",
    "x-array-dtype",
    "cache-control",
    "accept-ranges",
    "www-authenticate",
    "retry-after",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
)


@pytest.fixture(scope="module")
def three(scans):
    with serving([scans], trees=TREES, allow_origins=[HERE]) as served:
        lane, guard, plain = served.outer, served.outer.app, served.app

        with running(Dispatch(lane=lane, guard=guard, plain=plain)) as url:
            found = Three(url, lane)
            found.keys = {}
            for node in NODES:
                answer = served.get(f"/api/v1/metadata/{node}").json()
                found.keys[node] = answer["data"]["attributes"]["metadata"]["attributes"]["key"]
            yield found


numbers = st.integers(-7, 40).map(str)
bounds = st.one_of(st.just(""), numbers)
cuts = st.tuples(bounds, bounds, st.sampled_from(["", "", "1", "2", "-1", "-3", "0"])).map(":".join)
parts = st.one_of(numbers, st.integers(0, 2).map(str), cuts, st.just(":"))
junk = st.text("0123456789:,-+.e ٠x…%&=;/\x7f", max_size=9)
slices = st.one_of(st.lists(parts, max_size=5).map(",".join), junk)
indices = st.lists(st.one_of(st.integers(0, 5).map(str), numbers), min_size=1, max_size=5)
KEYS = ("zarr.json", ".zarray", "", "c", "c/", "0", "c/00/0/0/0", "00.0.0.0", "c/x", "c/9/9/9/9", "9.9")
ACCEPTS = (
    OCTETS,
    BLOSC,
    "*/*",
    f"{BLOSC}, */*",
    f"nonsense/none, {OCTETS}",
    f"{OCTETS};q=0.5",
    "text/html, */*;q=0.8",
    "application/json",
    "image/png",
    "",
    "x",
)
ENCODINGS = (
    "identity",
    "gzip",
    "gzip;q=0.5, zstd",
    "zstd;q=0, gzip",
    "blosc2, lz4, zstd, gzip, deflate, br",
    "*",
    "*;q=0",
    "lz4",
    ";;, nonsense",
    "",
)
CREDENTIALS = (
    {"Authorization": f"Apikey {KEY}"},
    {"Authorization": f"Apikey {KEY}"},
    {"Authorization": f"Apikey {KEY}"},
    {"Cookie": f"tiled_api_key={KEY}"},
    {"Cookie": f"tiled_csrf=x; tiled_api_key={KEY}"},
    {"Authorization": f"Apikey {KEY}", "Cookie": "tiled_api_key=other"},
    {"Authorization": "Apikey wrong"},
    {"Authorization": "Bearer wrong.token.here"},
    {"Authorization": KEY},
    {"Cookie": "tiled_api_key=wrong"},
    {},
)


def header(name, *values):
    return st.one_of(st.just({}), st.sampled_from(values).map(lambda value: {name: value}))


# What may be odd about a request; most are plain but for one or two of these.
ODDITIES = ("node", "pin", "numbers", "query", "media", "credential", "method", "headers", "condition")


def fitting(draw, size):
    """A part of a slice along an axis of `size`."""
    number = st.integers(-size, size - 1).map(str)
    cut = st.tuples(st.one_of(st.just(""), number), st.one_of(st.just(""), number)).map(":".join)
    return draw(st.one_of(number, cut, st.sampled_from([":", "::2", "::-1", "1::-3", ":999"])))


@st.composite
def requests(draw):
    """A request, and whether the right key is to be put behind its node."""
    odd = draw(st.sets(st.sampled_from(ODDITIES), max_size=2))
    node = draw(st.sampled_from(OTHERS if "node" in odd else list(NODES)))
    pin = draw(st.sampled_from(["@" + "0" * 32, "@x"] if "pin" in odd else ["", "", "@"]))
    shape = NODES.get(node, (3, 5))
    if "numbers" in odd:
        index, cut = draw(indices), draw(slices)
    else:
        index = [str(draw(st.integers(0, min(size - 1, 5)))) if size < 10 else "0" for size in shape]
        cut = ",".join(fitting(draw, size) for size in shape[: draw(st.integers(0, len(shape)))])
    route = draw(st.sampled_from(["full", "full", "block", "v2", "v3", "v3"]))
    query = {}
    if route in ("full", "block"):
        path = f"/api/v1/array/{route}/{node}{pin}"
        query |= {"slice": cut} if route == "full" else {"block": ",".join(index)}
        query |= draw(header("format", OCTETS, BLOSC))
    else:
        image = draw(st.sampled_from(["", "", "", ".zarr/0"]))
        dot = draw(st.sampled_from([".", "/"])) if route == "v2" else "/"
        path = f"/zarr/{route}/{node}{pin}{image}/{'c/' if route == 'v3' else ''}{dot.join(index)}"
    if "query" in odd and route not in ("full", "block"):
        path = f"{path.rpartition('/')[0]}/{draw(st.sampled_from(KEYS))}"
    elif "query" in odd:
        query |= draw(st.dictionaries(st.sampled_from(["slice", "block"]), slices, max_size=1))
        query |= draw(header("format", "image/png", "text/csv", "application/json", "x", ""))
        query |= draw(header("expected_shape", "12,16", ",".join(map(str, shape)), "scalar", "x", ""))
        query |= draw(
            st.sampled_from([{}, {"api_key": KEY}, {"api_key": "wrong"}, {"filename": "x"}, {"x": "1"}])
        )
    text = "&".join(f"{name}={draw(st.sampled_from([quote, str]))(value)}" for name, value in query.items())
    text = text if text.isascii() and text.isprintable() and " " not in text else quote(text, safe="=&")
    headers = dict(draw(st.sampled_from(CREDENTIALS[3:] if "credential" in odd else CREDENTIALS[:4])))
    headers |= draw(header("Accept", *(ACCEPTS[4:] if "media" in odd else ACCEPTS[:4])))
    headers |= draw(header("Accept-Encoding", *ENCODINGS)) | draw(
        header("Origin", HERE, "https://other.example")
    )
    headers |= draw(header("Priority", "u=5", "u=1, i"))
    if "headers" in odd:
        headers |= draw(header("Range", "bytes=0-9")) | draw(header("If-Match", "x"))
        headers |= draw(header("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"))
    if "condition" in odd:
        headers |= draw(header("If-None-Match", "*", '"x"', "x", 'W/"x", "y"', '"', "\xff"))
    method = draw(st.sampled_from(["HEAD", "POST"])) if "method" in odd else "GET"
    return Asked(path, text, method, headers, draw(st.booleans())), pin == "@"


def pinned(three, asked):
    """Put the right key behind the @ that has none."""
    for node in sorted(NODES, key=len, reverse=True):
        if f"/{node}@" in asked.path:
            return Asked(
                **{**vars(asked), "path": asked.path.replace(f"{node}@", f"{node}@{three.keys[node]}")}
            )
    return asked


def detail(answer):
    try:
        return json.loads(answer.octets)["detail"]
    except (ValueError, LookupError, TypeError):
        return answer.octets


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="LANE_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(made=requests())
def test_lane_guard_and_plain_tiled_say_the_same(three, made):
    asked, right_key = made
    asked = pinned(three, asked) if right_key else asked
    (lane, straight), guard, plain = three.lane(asked), three.ask("guard", asked), three.ask("plain", asked)
    event(f"{'lane' if straight else 'tiled'} {lane.status}")
    same_as_the_guard(lane, guard)
    same_as_tiled_or_better(asked, lane, plain)
    if straight and lane.status == 200:
        again, still = three.lane(
            Asked(**{**vars(asked), "headers": {**asked.headers, "If-None-Match": lane.headers["etag"]}})
        )
        assert (again.status, again.raw, still) == (304, b"", True)
        assert again.headers["etag"] == lane.headers["etag"]
        assert again.headers["cache-control"] == lane.headers["cache-control"]
        assert again.vary == lane.vary


def same_as_the_guard(lane, guard):
    assert lane.status == guard.status
    # The lane tells blosc2 how long an item is, so what it sends is shorter.
    apart = {"content-length"} if lane.headers.get("content-encoding") == "blosc2" else set()
    for name in set(SAME) - apart:
        assert lane.headers.get(name) == guard.headers.get(name), name
    assert lane.vary == guard.vary
    if lane.status in (200, 304):
        assert ("etag" in lane.headers) == ("etag" in guard.headers)
        assert lane.headers.get("etag", '""')[0] == '"' == lane.headers.get("etag", '""')[-1]
        assert lane.octets == guard.octets
    else:
        assert detail(lane) == detail(guard)


CHOOSY = "q=0 refuses an encoding, * takes any"


def is_choosy(asked):
    return bool({"q", "*"} & set(asked.headers.get("Accept-Encoding", "")))


BETTER = {
    "HEAD is answered like GET": lambda asked, lane, plain: asked.method == "HEAD" and plain.status == 405,
    "a tag is quoted, and * is any": lambda asked, lane, plain: lane.status == 304 and plain.status == 200,
    "what tiled fails on is said to be wrong": lambda asked, lane, plain: (
        plain.status >= 500 and lane.status < 500
    ),
    "zarr's routes ask for a credential, tiled's say there is nothing": lambda asked, lane, plain: (
        asked.path.startswith("/zarr/") and lane.status == 401 and plain.status >= 400
    ),
    "zarr refuses what is no chunk; tiled pads, or lists a container": lambda asked, lane, plain: (
        asked.path.startswith("/zarr/")
        and lane.status == 404
        and (plain.status >= 400 or plain.headers.get("content-type") != OCTETS)
    ),
    "zarr has more addresses: slashes in v2, an image's only level, consolidated groups": lambda asked, lane, plain: (
        asked.path.startswith("/zarr/") and plain.status in (400, 404, 422) and lane.status in (200, 304)
    ),
    CHOOSY: lambda asked, lane, plain: is_choosy(asked),
}


def same_as_tiled_or_better(asked, lane, plain):
    for better, holds in BETTER.items():
        if holds(asked, lane, plain):
            event(better)
            if better != CHOOSY:
                return
    assert lane.status == plain.status
    if lane.status != 200:
        return
    if asked.path.startswith("/zarr/"):
        if lane.octets and lane.headers["content-type"] == BLOSC:
            # tiled calls its chunks octets, shuffles their bytes, and pads in the same way.
            assert bytes(Blosc().decode(plain.octets)) == lane.octets
        return
    assert lane.octets == plain.octets
    assert lane.headers["content-type"] == plain.headers["content-type"]
    if not is_choosy(asked):
        assert lane.headers.get("content-encoding") == plain.headers.get("content-encoding")


def test_the_plain_case_is_what_is_mostly_generated(three):
    """The comparison above would say nothing if the lane let most of it fall through."""
    before = three.outer.answered
    for node, shape in NODES.items():
        key = {"Authorization": f"Apikey {KEY}"}
        first = "/".join("0" for _ in shape)
        for asked in (
            Asked(f"/api/v1/array/full/{node}", "slice=0", headers=key),
            Asked(f"/api/v1/array/block/{node}", f"block={first.replace('/', ',')}", headers=key),
            Asked(f"/zarr/v2/{node}/{first.replace('/', '.')}", headers=key),
            Asked(f"/zarr/v3/{node}/c/{first}", headers=key, mounted=True),
        ):
            assert three.lane(asked)[0].status == 200
    assert three.outer.answered == before + 4 * len(NODES)
