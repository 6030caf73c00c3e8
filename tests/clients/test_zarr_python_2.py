"""zarr-python 2 over fsspec, in its own environment: arrays, and trees by consolidated metadata."""

from __future__ import annotations

import pytest

from clients.conftest import HERE, run
from clients.nodes import NAMES, NODES_OF_TREE, TREE, assert_read

pytestmark = [
    pytest.mark.client("zarr-python 2", package="zarr", pins="zarr2.txt"),
    pytest.mark.check("zarr v2"),
]


@pytest.fixture(scope="module")
def answers(zarr2, access):
    request = {
        "headers": access.headers,
        "nodes": {name: access.zarr(node, 2) for name, node in access.nodes.items()},
        "groups": {"tree": f"{access.url}/zarr/v2/{TREE}"},
        "plain groups": {"tree": f"{access.url}/zarr/v2/{TREE}"},
    }
    return run(zarr2, HERE / "zarr2_client.py", request=request)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(answers, access, name):
    assert_read(answers["nodes"][name], access.nodes[name])


@pytest.mark.check("consolidated group")
def test_it_reads_a_tree_by_its_consolidated_metadata(answers, access):
    read = answers["groups"]["tree"]
    assert "error" not in read, read["error"]
    assert NODES_OF_TREE <= set(read)
    for node in access.nodes.values():
        if node.path.startswith("größe"):
            assert_read(read[node.path.rpartition("/")[2]], node)


@pytest.mark.check("listed group")
def test_it_lists_a_tree_without_consolidated_metadata(answers):
    assert NODES_OF_TREE <= set(answers["plain groups"]["tree"])
