"""zarrita in a page of another origin, in headless Chromium: CORS, with a preflight for the key."""

from __future__ import annotations

import pytest

from clients.nodes import NAMES
from clients.zarrita import assert_lists_the_tree, assert_read_or_refused, request

pytestmark = [
    pytest.mark.client("zarrita in Chromium", package="zarrita", pins="package-lock.json"),
    pytest.mark.parametrize("version", [2, 3], scope="module"),
]


@pytest.fixture(scope="module")
def said(browse, other_origin, access, version):
    return browse(
        other_origin,
        {"wait": "() => globalThis.answer"},
        {"evaluate": "asked => answer(asked)", "argument": request(access, version)},
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(said, access, name, record_property):
    assert_read_or_refused(said["answers"][0], access, name, record_property)


@pytest.mark.check("consolidated group")
def test_it_lists_a_tree(said):
    assert_lists_the_tree(said["answers"][0])


@pytest.mark.check("another origin (CORS)")
def test_no_request_of_the_page_is_blocked(said):
    """What is not there, as the v3 metadata of a v2 store, may be a 404; a blocked request has no status."""
    assert not [request for request in said["failed"] if not request.endswith(" 404")]
    assert not [line for line in said["console"] if "CORS" in line["text"]]
