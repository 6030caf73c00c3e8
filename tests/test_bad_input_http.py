"""Requests that nobody sends in good faith: a status that says what is wrong, on a connection that stays."""

from __future__ import annotations

import json
from urllib.parse import quote

import httpx
import pytest
from conftest import KEY, encoded, serving, until_indexed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import RAW, Wire, request
from test_cli import started, wait_for

NODE = "scan4d.hspy/signal/root"
FULL, BLOCK, META = f"/api/v1/array/full/{NODE}", f"/api/v1/array/block/{NODE}", f"/api/v1/metadata/{NODE}"
V2, V3 = f"/zarr/v2/{NODE}", f"/zarr/v3/{NODE}"
FRAME, CHUNK = f"{FULL}?slice=1,2&{RAW}", f"{V3}/c/1/2/0/0"
SCAN = encoded((3, 5, 12, 16))
GOOD = request(FRAME)
LONG = "9" * 400


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans / "scan4d.hspy", scans / "spectra.hspy"]) as service:
        yield service


@pytest.fixture
def wire(served):
    with Wire(served.url) as connected:
        yield connected


def check(wire, raw, statuses=range(200, 500), kept=True):
    """Ask; the answer is one of `statuses`, and the connection serves the next."""
    answer = wire.ask(raw)
    said = f"{raw[:200]!r}: {answer.status} {answer.body[:300]!r}"
    assert answer.status in statuses, said
    if answer.status >= 400 and answer.body and not answer.closed:
        assert json.loads(answer.body)["detail"], said
    if kept:
        assert not answer.closed, said
    good = wire.ask(GOOD)
    assert (good.status, good.body) == (200, SCAN[1, 2].tobytes()), said
    return answer


NO_SLICES = [
    *(",", ":::", "1:2:3:4", "--1", "%2B1", "1.5", "nan", "1e3", "0x1", "...", "None", "true", "[0]", "(0)"),
    *("1;2", "%00", "%ff%fe", "%E2%80", "%", "%zz", "%201", "a" * 100, ":" * 3000, "-", "1,", "²"),
    *("::0", "::0,::0", "0,::0", "3", "-4", "0,5", LONG, f"-{LONG}", "9" * 5000, "0,0,0,0,0"),
    *(",".join("0" * 40), ",".join(":" * 40), ",".join([LONG] * 40)),
]
SLICES = [
    *("", ":", "-1", "-3:", "::-1", "2:1", "0,0,5:5", f"0:{LONG}", f"-{LONG}:", f"::{LONG}", f"::-{LONG}"),
    *(f"{LONG}:", f":-{LONG}", f"{LONG}::-{LONG}", "1,2,::7,::-3", ",".join("0" * 4)),
]


def sliced(text):
    """What numpy makes of a slice."""
    parts = [p for p in text.split(",") if p]
    cuts = [slice(*(int(b) if b else None for b in p.split(":"))) if ":" in p else int(p) for p in parts]
    return tuple(cuts)


@pytest.mark.parametrize("text", NO_SLICES, ids=lambda text: text[:20])
def test_what_is_no_slice_is_refused(wire, text):
    text = quote(text, safe="%:,;[]()") if not text.isascii() else text
    check(wire, request(f"{FULL}?slice={text}&{RAW}"), (400, 422))
    if "::" in text or not set(text) <= set(
        ":,"
    ):  # a block has its own number of axes, and lets some be left out
        check(wire, request(f"{BLOCK}?block=0,0,0,0&slice={text}&{RAW}"), (400, 422))


@pytest.mark.parametrize("text", SLICES, ids=lambda text: text[:20])
def test_what_is_a_slice_is_answered_as_numpy_does(wire, text):
    whole = check(wire, request(f"{FULL}?slice={text}&{RAW}"), [200])
    assert whole.body == SCAN[sliced(text)].tobytes()
    block = check(wire, request(f"{BLOCK}?block=1,2,0,0&{RAW}"), [200])
    assert block.body == SCAN[1, 2].tobytes()


@pytest.mark.parametrize(
    "text", ["::-1", "0,0,2:9", f"0,0,0:{LONG}", f"0,0,::{LONG}", "0,0,5:5", f"0:{LONG}", "-1"]
)
def test_a_slice_of_a_block_is_numpys_too(wire, text):
    """tiled computes the shape that is to come in 64 bits, and refuses what has no place there."""
    answer = check(
        wire, request(f"{BLOCK}?block=1,2,0,0&slice={text}&{RAW}"), (200, 400) if LONG in text else [200]
    )
    if answer.status == 200:
        assert answer.body == SCAN[1:2, 2:3][sliced(text)].tobytes()


NO_BLOCKS = ["", f"{LONG},0,0,0", ",".join("0" * 40)]
NO_BLOCKS += "0 0,0,0 0,0,0,0,0 -1,0,0,0 9,9,9,9 0,0,0,: a,b,c,d %D9%A3,0,0,0 1.0,0,0,0 ,,, %00".split()


@pytest.mark.parametrize("text", NO_BLOCKS)
def test_what_is_no_block_is_refused(wire, text):
    check(wire, request(f"{BLOCK}?block={text}&{RAW}"), (400, 404, 422))


@pytest.mark.parametrize("shape", ["", "a", "-1", "scalar", "1,2,3", "1," * 50, "%00", "12,17", LONG, "²"])
def test_a_shape_that_is_not_its_own_is_refused(wire, shape):
    for address in (f"{FULL}?slice=0,0", f"{BLOCK}?block=0,0,0,0"):
        check(wire, request(f"{address}&expected_shape={quote(shape, safe='%,')}&{RAW}"), (400, 422))


TARGETS = {
    404: [
        *("/%", "/%zz", "/api/v1/metadata/%00", "/api/v1/metadata/%ff", f"{FULL}%00", f"/api/v1/metadata/{LONG}"),
        *("/api/v1/metadata/%2e%2e/%2e%2e", "/api/v1/../../etc/passwd", "/zarr/v3/%2e%2e/zarr.json", "/ui/%2e%2e/x"),
        *(f"{V3}/c/{k}" for k in ("0/0/0", "-1/0/0/0", "00/0/0/0", "1e0/0/0/0", "%D9%A3/0/0/0", "9/9/9/9")),
        *(f"{V3}/c/{LONG}/0/0/0", f"{V3}/zarr.json/x", f"{V3}/c/0/0/0/0%00", "/zarr/v3/" + "a/" * 3000),
        *(f"{V2}/{k}" for k in ("0.0.0", "0.0.0.0.0", "-1.0.0.0", "a.b.c.d", "0.0.0.0.", f"{LONG}.0.0.0")),
        *("/api/v1/array/full/", "/api/v1/array/block/x?block=0", "/healthz/x", "*"),
    ],
    410: [f"{FULL}@{'0' * 32}?slice=0,0", f"{FULL}@@@?slice=0,0", f"{META}@%D9%A3"],
    401: [f"{FRAME}&api_key=wrong"],
    400: [f"{FRAME}&api_key=%ff", f"{META}?select_metadata=%5B"],
    422: [f"{BLOCK}", "/api/v1/search/?page[limit]=-1", "/api/v1/search/?page[offset]=x", "/api/v1/search/?sort=%00"],
    200: [
        *("//", "///api///v1//metadata//", f"http://elsewhere:99{META}", f"{META}?&&&===&", f"{META}?%00=%00"),
        *(f"/{FRAME}", f"{META}?{'a=b&' * 3000}", f"{FRAME}&{RAW}&{RAW}", f"{V3}//c//0/0/0/0?x=%ff"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("status", "target"), [(s, t) for s, targets in TARGETS.items() for t in targets])
def test_a_strange_address_is_named_for_what_it_is(wire, status, target):
    check(wire, request(target), [status])


HEADERS = [
    *("Range: bytes=0-3", "Range: bytes=3-0", "Range: bytes=-", "Range: lines=1-2", f"Range: bytes={LONG}-"),
    *("Range: bytes=" + "3-3," * 2000, b"Range: \xff\xfe", "If-Range: x", "If-Match: *", "If-Match: x"),
    *(
        "If-None-Match: x",
        'If-None-Match: "',
        "If-None-Match: W/",
        "If-None-Match: ,,,",
        b"If-None-Match: \xff",
    ),
    *(
        'If-None-Match: "' + 'a","' * 3000,
        "If-Modified-Since: yesterday",
        "If-Modified-Since: Sat, 99 Foo 2026",
    ),
    *(
        "If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT",
        "Accept-Encoding: gzip;q=2",
        "Accept-Encoding: ;;,,",
    ),
    *(
        b"Accept-Encoding: \xff\xfe",
        "Accept-Encoding: " + "gzip," * 2000,
        "Accept-Encoding: gzip;q=nan, *;q=0",
    ),
    *(
        "Accept: */*;q=nan",
        "Priority: u=9",
        "Priority: u=-1",
        "Priority: u",
        b"Priority: \xff",
        "Priority: u=٣",
    ),
    *(
        "Priority: " + "u=1," * 2000,
        "Priority: i",
        "Priority: u=1e400",
        "Priority: u=1;x",
        f"Priority: u={LONG}",
    ),
    *(
        "Content-Length: 0",
        b"Cookie: \xff=\xfe",
        "Cookie: ==;;;",
        b"X-Forwarded-For: \xff",
        "X-Forwarded-Proto: x",
    ),
    *(
        b"Origin: \xff",
        "Origin: null",
        "Upgrade: h2c",
        "Expect: 100-continue",
        "Expect: nonsense",
        "TE: trailers",
    ),
    *(b"X-Tiled-Request-ID: \xff", "User-Agent: python-tiled/9.9.9.9.9.9"),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: str(header)[:30])
def test_a_strange_header_changes_nothing(wire, header):
    for target in (FRAME, CHUNK, META):
        answer = check(wire, request(target, header), [200])
        if target != META and "content-encoding" not in answer.headers:
            assert answer.body == wire.ask(request(target)).body


@pytest.mark.parametrize(
    ("header", "statuses"),
    [
        (b"Accept: \xe9", [406]),
        ("Accept: ;", [400, 406]),
        ("Accept: nonsense", [406]),
        ("Accept: text/html", [406]),
        ("Accept: " + "a/b," * 2000, [406]),
        ("Accept: application/json;q=x", [200, 406]),
        ("Upgrade: websocket", [200, 400, 426]),
    ],
)
def test_what_cannot_be_given_is_said_to_be_so(wire, header, statuses):
    check(wire, request(f"{FULL}?slice=0,0", header), statuses)


@pytest.mark.parametrize("target", [FRAME, CHUNK, META])
def test_headers_twice_are_one_or_the_other(wire, target):
    plain = wire.ask(request(target))
    for header in (
        "Accept: */*",
        "Range: bytes=0-3",
        "Priority: u=1",
        "Cookie: a=b",
        "Accept-Encoding: identity",
    ):
        assert check(wire, request(target, header, header), [200]).body == plain.body
    check(wire, request(target, f"Authorization: Apikey {KEY}x"), (200, 400, 401))
    check(wire, request(target, f"Authorization: Apikey {KEY}x", key=None), [401])
    check(wire, request(target, key=None), [401])
    for credential in (b"Apikey \xff\xfe", b"Basic %%%", b"Bearer a.b.c", b"Bearer", b"", b"Apikey", b"\xff"):
        check(wire, request(target, b"Authorization: " + credential, key=None), (400, 401, 404))


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "OPTIONS", "MKCOL", "LOCK"]
)
def test_a_method_that_is_not_for_this(wire, method):
    for target in (FRAME, CHUNK):
        check(wire, request(target, method=method), (405, 422))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
        request(FRAME, method="BREW"),
        request(FRAME, method="G" * 300),
        request(FRAME, version="9.9"),
        request(FRAME, "Bad Header: x"),
        request(FRAME, "nocolon"),
        request(FRAME, b"X: a\x00b"),
        request(FRAME, "Content-Length: -5"),
        request(FRAME, "Content-Length: 3", "Content-Length: 4", body=b"abc"),
        request(FRAME, "Transfer-Encoding: chunked", body=b"zz\r\nhello\r\n0\r\n\r\n"),
        request(b"/api/v1/metadata/\xff\xfe"),
        request("/api/v1/metadata/é"),
        request("nowhere"),
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_what_is_no_http_is_answered_400_and_closed(served, raw):
    with Wire(served.url) as wire:
        answer = wire.ask(raw)
        assert (answer.status, answer.closed) == (400, True)
    with Wire(served.url) as wire:
        assert wire.ask(GOOD).status == 200


def test_what_is_longer_than_an_address_may_be(served):
    """A server may read it and refuse the slice, or stop reading; it answers in either case."""
    for raw in (request(f"{FULL}?slice={'1' * 100_000}&{RAW}"), request(FRAME, f"X: {'x' * 100_000}")):
        with Wire(served.url) as wire:
            assert wire.ask(raw).status in (200, 400, 414, 422, 431)


@pytest.mark.parametrize("target", [FRAME, CHUNK])
def test_a_body_that_nobody_wants_is_passed_over(wire, target):
    plain = wire.ask(request(target))
    sized = request(target, "Content-Length: 5", body=b"hello")
    parts = b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"
    for raw in (sized, request(target, "Transfer-Encoding: chunked", body=parts)):
        assert check(wire, raw, [200]).body == plain.body
    wire.send(request(target, "Content-Length: 5"))
    wire.send(b"hello" + GOOD)
    assert wire.receive().body == plain.body
    assert wire.receive().body == SCAN[1, 2].tobytes()


def test_requests_in_one_piece_are_answered_in_their_order(wire):
    positions = [(i, j) for i in range(3) for j in range(5)]
    asked = [request(f"{FULL}?slice={i},{j}&{RAW}") for i, j in positions]
    wire.send(b"".join(a + request(f"{FULL}?slice=x&{RAW}") for a in asked))
    for position in positions:
        assert wire.receive().body == SCAN[position].tobytes()
        assert wire.receive().status == 422
    assert wire.connections == 1


def test_http_1_0(served):
    for header in ("Connection: keep-alive", "Connection: close", "X: x"):
        with Wire(served.url) as wire:
            answer = wire.ask(request(FRAME, header, version="1.0"))
            assert (answer.status, answer.body) == (200, SCAN[1, 2].tobytes())


def test_a_continue_is_sent_to_who_waits_for_it(wire):
    target = f"/api/v1/nodes/{NODE.rpartition('/')[0]}"
    wire.send(request(target, "Expect: 100-continue", "Content-Length: 3", method="POST"))
    assert wire.peek().startswith(b"HTTP/1.1 100")
    wire.send(b"{{{")
    assert wire.receive().status == 422
    assert wire.ask(GOOD).status == 200


# Anything at all, in every place of a request where a client may write something.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=40)
number = st.integers(-(10**30), 10**30).map(str) | st.sampled_from(["", "-", "0", "1", "2", "5"])
cut = st.lists(number, min_size=1, max_size=4).map(":".join)
slices = st.lists(cut, max_size=6).map(",".join) | text
escaped = st.text(st.sampled_from("%0123456789abcdefABCDEF/.@"), max_size=30)
paths = st.sampled_from([FULL, BLOCK, META, V2, V3, "/api/v1/search/", "/api/v1/nodes/", "/zarr/v3/", "/"])
places = st.builds(
    "{}{}{}".format, paths, st.sampled_from(["", "/", "/c/", "@", "//"]), slices.map(quote) | escaped
)
names = st.sampled_from(
    ["slice", "block", "format", "expected_shape", "page[limit]", "filter[eq][condition][key]", "sort"]
)
queries = st.lists(st.tuples(names, slices | text | escaped), max_size=4)
values = st.lists(st.integers(32, 255).filter(lambda octet: octet != 127), max_size=60).map(bytes)
fields = st.sampled_from(
    "Range If-None-Match If-Match If-Range If-Modified-Since Accept Accept-Encoding Priority Cookie Origin "
    "X-Forwarded-Proto Forwarded User-Agent Access-Control-Request-Method".split()
)
methods = st.sampled_from(["GET"] * 6 + ["HEAD", "OPTIONS", "POST", "DELETE", "PROPFIND"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places, queries, st.lists(st.tuples(fields, values), max_size=3), methods)
def test_nothing_in_a_request_makes_the_server_fail(wire, place, query, headers, method):
    asked = "&".join(f"{name}={quote(value, safe='%:,')}" for name, value in query)
    lines = [name.encode() + b": " + value for name, value in headers]
    check(wire, request(f"{place}?{asked}", *lines, method=method), kept=False)


def bad_requests():
    """Each kind once."""
    yield from (request(f"{FULL}?slice={text}&{RAW}") for text in NO_SLICES if text.isascii())
    yield from (request(target) for status, targets in TARGETS.items() if status >= 400 for target in targets)
    yield from (request(FRAME, header) for header in HEADERS)
    yield from (request(FRAME, b"User-Agent: python-tiled/\xff"), request(FRAME, b"Range: \x01"))
    yield from (request(f"{FULL}?slice=0,0", f"Accept: nonsense/{n}") for n in range(20))
    yield from (request(f"/api/v1/metadata/{n}{LONG}") for n in range(20))


def resident(process):
    with open(f"/proc/{process.pid}/statm") as said:
        return int(said.read().split()[1]) * 4096


def test_thousands_of_bad_requests_leave_no_memory_behind(scans, tmp_path):
    """In a process of its own, over four connections; the first thousand warms up what is remembered on purpose."""
    command = ["serve", str(scans / "scan4d.hspy"), "--port", "0", "--api-key", KEY, "--state", str(tmp_path)]
    with started("tiled_spyde.cli", *command) as (process, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        with httpx.Client(base_url=url, headers={"Authorization": f"Apikey {KEY}"}) as client:
            until_indexed(client)
        asked = list(bad_requests())
        before = None
        with Wire(url) as wire:
            for count in range(5000):
                assert wire.ask(asked[count % len(asked)]).status < 500
                if count == 1000:
                    before = resident(process)
            assert wire.ask(GOOD).body == SCAN[1, 2].tobytes()
        grown = resident(process) - before
        assert grown < 30e6, f"{grown / 1e6:.0f} MB"
        assert process.poll() is None
