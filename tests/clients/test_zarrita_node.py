"""zarrita in Node: arrays, and trees by consolidated metadata."""

from __future__ import annotations

import pytest

from clients.conftest import run
from clients.nodes import NAMES
from clients.zarrita import assert_lists_the_tree, assert_read_or_refused, request

pytestmark = [
    pytest.mark.client("zarrita in Node", package="zarrita", pins="package-lock.json"),
    pytest.mark.parametrize("version", [2, 3], scope="module"),
]


@pytest.fixture(scope="module")
def answers(node, access, version):
    return run("node", "node_client.mjs", request=request(access, version), cwd=node)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(answers, access, name, record_property):
    assert_read_or_refused(answers, access, name, record_property)


@pytest.mark.check("consolidated group")
def test_it_lists_a_tree(answers):
    assert_lists_the_tree(answers)
