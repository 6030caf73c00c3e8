"""Headers by the letter of RFC 9110, on headers alone."""

from __future__ import annotations

import pytest
from starlette.datastructures import MutableHeaders

from tiled_spyde.headers import (
    accepted_encodings,
    add_vary,
    allow_origin,
    matches,
    opaque,
    tag_representation,
)


@pytest.mark.parametrize(
    ("if_none_match", "same"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"c" ,"a"', True),
        ("*", True),
        (" * ", True),
        ('"b"', False),
        ('"a-gzip"', False),
        ("a", False),
        ('"b*"', False),
        ("", False),
        (None, False),
    ],
)
def test_if_none_match_is_a_list_compared_weakly(if_none_match, same):
    assert matches(if_none_match, '"a"') is same
    assert matches(if_none_match, 'W/"a"') is same


@pytest.mark.parametrize(("if_none_match", "same"), [('""', False), ('"a"', False), ("*", True)])
def test_what_has_no_tag_is_known_to_nobody(if_none_match, same):
    assert matches(if_none_match, "") is same


@pytest.mark.parametrize("etag", ['"x, y"', 'W/"x, y"'])
def test_a_comma_within_a_tag_does_not_part_it(etag):
    assert opaque(etag) == "x, y"
    assert matches('"x, y"', etag)


@pytest.mark.parametrize(
    ("given", "tag"),
    [
        ({"etag": "abc", "content-type": "application/json"}, '"abc-json"'),
        ({"etag": "abc", "content-type": "application/x-msgpack"}, '"abc-x-msgpack"'),
        ({"etag": '"abc"', "content-type": "application/json"}, '"abc"'),
        ({"etag": '"abc"', "content-encoding": "gzip"}, '"abc-gzip"'),
        ({"etag": 'W/"abc"', "content-encoding": "zstd"}, 'W/"abc-zstd"'),
    ],
)
def test_other_bytes_have_another_tag(given, tag):
    headers = MutableHeaders(given)
    tag_representation(headers)
    assert headers["etag"] == tag


@pytest.mark.parametrize(
    ("asked", "understood"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("gzip;q=0", ""),
        ("gzip;q=0.0, zstd;q=0.5, blosc2", "blosc2, zstd"),
        ("GZIP; Q=0.5", "gzip"),
        ("identity", "identity"),
        ("identity, *;q=0", "identity"),
        ("*", "gzip"),
        ("gzip;q=0, *", ""),
        ("", ""),
        (",;q=1,gzip;q=zwei,%", ""),
    ],
)
def test_qualities_of_encodings_are_understood(asked, understood):
    assert accepted_encodings(asked) == understood


def test_vary_names_each_header_once():
    headers = MutableHeaders({"vary": "accept-encoding"})
    add_vary(headers, "Accept", "Accept-Encoding")
    assert headers["vary"] == "accept-encoding, Accept"
    everything = MutableHeaders({"vary": "*"})
    add_vary(everything, "Accept")
    assert everything["vary"] == "*"


HERE, ELSEWHERE = "https://here.example", "https://elsewhere.example"


@pytest.mark.parametrize(
    ("origin", "allowed", "said", "credentials"),
    [
        (HERE, [HERE], HERE, "true"),
        (ELSEWHERE, [HERE], None, None),
        (None, [HERE], None, None),
        (HERE, [], None, None),
        (HERE, ["*"], "*", None),
        (HERE, ["*", HERE], HERE, "true"),
        ("null", [HERE], None, None),
    ],
)
def test_credentials_only_for_an_origin_that_is_named(origin, allowed, said, credentials):
    headers = MutableHeaders(
        {"access-control-allow-origin": "left over", "access-control-allow-credentials": "true"}
    )
    assert allow_origin(headers, origin, allowed) is (said is not None)
    assert headers.get("access-control-allow-origin") == said
    assert headers.get("access-control-allow-credentials") == credentials
    assert ("Origin" in headers.get("vary", "")) == bool(allowed)
