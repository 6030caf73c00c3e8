"""Unmodified clients read every node: tiled's own, zarr-python 3 over HTTP, and curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import zarr
from conftest import KEY, encoded, serving

SCAN = "scan4d.hspy/signal"
READY = {
    SCAN: [
        {"name": "smooth", "operation": "gaussian_filter", "parameters": {"sigma": 1.0}},
        {"name": "bright field", "operation": "virtual_image", "parameters": {}},
        {"name": "cropped", "operation": "crop", "parameters": {"x": {"start": {"index": 3}}}},
    ],
    "spectra.hspy/signal": [
        {"name": "smooth", "operation": "savitzky_golay", "parameters": {"window_length": 7}},
    ],
    "image.hspy/signal": [
        {"name": "binned", "operation": "bin", "parameters": {"x": 3}},
        {"name": "total", "operation": "sum"},
    ],
}
NODES = [
    f"{SCAN}/root",
    f"{SCAN}/navigator",
    f"{SCAN}/smooth",
    f"{SCAN}/bright field",
    f"{SCAN}/cropped",
    "spectra.hspy/signal/root",
    "spectra.hspy/signal/smooth",
    "spectra.hspy/signal/navigator",
    "image.hspy/signal/root",
    "image.hspy/signal/binned",
    "image.hspy/signal/total",
    "line.hspy/signal/root",
    "line.hspy/signal/navigator",
]


@pytest.fixture(scope="module", params=["guarded", "plain tiled"])
def served(request, scans):
    with serving([scans], nodes=READY, guarded=request.param == "guarded") as service:
        yield service


def whole(served, path):
    """Read the node by the simplest way there is."""
    structure = served.get(f"/api/v1/metadata/{path}").json()["data"]["attributes"]["structure"]
    described = structure["data_type"]
    data = served.get(f"/api/v1/array/full/{path}", params={"format": "application/octet-stream"})
    dtype = np.dtype(f"<{described['kind']}{described['itemsize']}")
    return np.frombuffer(data.content, dtype).reshape(structure["shape"])


def test_the_reference_is_the_file_itself(served):
    np.testing.assert_array_equal(whole(served, f"{SCAN}/root"), encoded((3, 5, 12, 16)))
    np.testing.assert_array_equal(whole(served, "image.hspy/signal/root"), encoded((530, 600)))
    total = encoded((530, 600)).sum(dtype="u8")
    np.testing.assert_array_equal(whole(served, "image.hspy/signal/total"), [total])


@pytest.mark.parametrize("path", NODES)
@pytest.mark.parametrize("version", [2, 3])
def test_zarr_python_reads_every_node(served, path, version):
    """Edge chunks too: 530 x 600 in tiles of 512, 15 positions in chunks of 32 x 32."""
    array = zarr.open_array(
        f"{served.url}/zarr/v{version}/{path}",
        mode="r",
        zarr_format=version,
        storage_options={"headers": {"Authorization": f"Apikey {KEY}"}},
    )
    expected = whole(served, path)
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array[...], expected)
    named = array.metadata.dimension_names if version == 3 else array.attrs["_ARRAY_DIMENSIONS"]
    dims = served.get(f"/api/v1/metadata/{path}").json()["data"]["attributes"]["structure"]["dims"]
    # An axis that a node has cut has that node's name behind its own, within zarr's groups.
    assert [name.removesuffix(f"_{path.rpartition('/')[2]}") for name in named] == dims


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_chunk_is_one_frame(served, version):
    array = zarr.open_array(
        f"{served.url}/zarr/v{version}/{SCAN}/smooth",
        mode="r",
        zarr_format=version,
        storage_options={"headers": {"Authorization": f"Apikey {KEY}"}},
    )
    assert array.chunks == (1, 1, 12, 16)
    np.testing.assert_array_equal(array[2, 3], whole(served, f"{SCAN}/smooth")[2, 3])


@contextmanager
def tiled_client(served, *structure_clients):
    from tiled.client import from_uri

    client = from_uri(f"{served.url}/api/v1", *structure_clients, api_key=KEY)
    try:
        yield client
    finally:
        client.context.http_client.close()


def test_tileds_python_client_reads_every_node(served):
    with tiled_client(served) as client:
        for path in NODES:
            node = client
            for part in path.split("/"):
                node = node[part]
            expected = whole(served, path)
            np.testing.assert_array_equal(node.read(), expected)
            np.testing.assert_array_equal(node[0], expected[0])
        node = client["scan4d.hspy"]["signal"]["smooth"]
        assert node.dims == ("y", "x", "ky", "kx")
        np.testing.assert_array_equal(node[1, ::2, 3], whole(served, f"{SCAN}/smooth")[1, ::2, 3])
        assert node.metadata["attributes"]["axes"][2]["units"] == "1/nm"


def test_tileds_dask_client_reads_a_node(served):
    with tiled_client(served, "dask") as client:
        lazy = client["scan4d.hspy"]["signal"]["smooth"].read()
        np.testing.assert_array_equal(lazy[2, 3].compute(), whole(served, f"{SCAN}/smooth")[2, 3])


def test_curl_reads_every_node(served, tmp_path):
    if shutil.which("curl") is None:
        pytest.fail("curl is needed: install the package curl")
    for path in NODES:
        target = tmp_path / "node.raw"
        url = f"{served.url}/api/v1/array/full/{path.replace(' ', '%20')}?format=application/octet-stream"
        command = ["curl", "-sf", "-H", f"Authorization: Apikey {KEY}", "-o", str(target), url]
        subprocess.run(command, check=True)
        assert target.read_bytes() == whole(served, path).tobytes()
    listing = subprocess.run(
        ["curl", "-sf", f"{served.url}/api/v1/search/{SCAN}?api_key={KEY}"], check=True, capture_output=True
    )
    assert {"root", "navigator", "smooth"} <= {item["id"] for item in json.loads(listing.stdout)["data"]}
