"""What the tests of zarrita share: the same module reads in Node and in a browser."""

from __future__ import annotations

from clients.nodes import NODES_OF_TREE, TREE, assert_read

COMPLEX = {"complex64", "complex128"}


def request(access, version):
    """Ask for every node and for one tree's listing."""
    return {
        "headers": access.headers,
        "format": f"v{version}",
        "nodes": {name: access.zarr(node, version) for name, node in access.nodes.items()},
        "groups": {"tree": f"{access.url}/zarr/v{version}/{TREE}"},
    }


def assert_read_or_refused(answers, access, name, record_property):
    """Require the values; of a dtype that JavaScript or zarrita lacks, that the client says so."""
    read = answers["nodes"][name]
    if name in COMPLEX or (name == "float16" and not answers["float16"]):
        record_property("lacks", "no")
        assert "nsupported" in read["error"]
    else:
        assert_read(read, access.nodes[name])


def assert_lists_the_tree(answers):
    """Require every array of the tree in its consolidated metadata."""
    found = answers["groups"]["tree"]
    assert isinstance(found, list), found
    assert {item["path"].strip("/") for item in found if item["kind"] == "array"} >= NODES_OF_TREE
