"""tiled's Python client and curl."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import KEY

from clients.nodes import NAMES, NODES_OF_TREE, TREE, assert_values

tiled = pytest.mark.client("tiled's Python client", package="tiled")
curled = pytest.mark.client("curl")


@contextmanager
def connected(access, *structure_clients):
    from tiled.client import from_uri

    key = {"api_key": KEY} if access.headers else {}
    client = from_uri(f"{access.url}/api/v1", *structure_clients, **key)
    try:
        yield client
    finally:
        client.context.http_client.close()


@pytest.fixture(scope="module")
def client(access):
    with connected(access) as client:
        yield client


@tiled
@pytest.mark.parametrize("name", NAMES)
def test_tiled_reads_the_node(client, access, name):
    node = access.nodes[name]
    array = client[tuple(node.path.split("/"))]
    assert_values(array.read(), node)
    assert len(array.dims) == len(node.dims)
    assert array.metadata["attributes"]["axes"][0]["units"] or name == "colours"


@tiled
@pytest.mark.check("slices, blocks")
def test_tiled_reads_slices_and_blocks(client, access):
    node = access.nodes["unicode and spaces"]
    array = client[tuple(node.path.split("/"))]
    np.testing.assert_array_equal(array[1, ::2, 3], node.values[1, ::2, 3])
    np.testing.assert_array_equal(array.read_block((2, 4, 0, 0)), node.values[2:, 4:])


@tiled
@pytest.mark.check("lazy with dask")
def test_tiled_reads_with_dask(access):
    node = access.nodes["unicode and spaces"]
    with connected(access, "dask") as client:
        lazy = client[tuple(node.path.split("/"))].read()
        np.testing.assert_array_equal(lazy[2, 3].compute(), node.values[2, 3])


@tiled
@pytest.mark.check("listed group")
def test_tiled_lists_a_tree(client):
    assert NODES_OF_TREE <= set(client[tuple(TREE.split("/"))])


@curled
@pytest.mark.parametrize("name", NAMES)
def test_curl_reads_the_node(curl, access, name, record_property):
    said = subprocess.run([curl, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    record_property("version", said.split()[1])
    node = access.nodes[name]
    headers = [word for key, value in access.headers.items() for word in ("-H", f"{key}: {value}")]
    url = f"{access.url}/api/v1/array/full/{node.quoted}?format=application/octet-stream"
    read = subprocess.run([curl, "-sf", *headers, url], check=True, stdout=subprocess.PIPE)
    assert read.stdout == node.values.tobytes()
