"""Unmodified zarr clients read every dtype and every name, on a public server and with a key."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from urllib.parse import quote

import dask.array as da
import hyperspy.api as hs
import numpy as np
import obstore
import pytest
import tensorstore
import xarray as xr
import zarr
from conftest import KEY, Served, encoded, serving
from obstore.store import HTTPStore
from zarr.storage import ObjectStore

DTYPES = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]
SHAPE = (3, 5, 12, 16)
NAMES = ["c", "42", "0.0", "a b", "ü"]
SCAN = "Å scan µ (1).hspy/signal"
READY = {
    SCAN: [
        *(
            {"name": name, "operation": "gaussian_filter", "parameters": {"sigma": 1.0 + i}}
            for i, name in enumerate(NAMES)
        ),
        {"name": "cropped", "operation": "crop", "parameters": {"x": {"start": {"index": 3}}}},
        {"name": "total", "operation": "sum"},
    ]
}


def values(dtype):
    """Position-encoded; with what has no value where the dtype knows such."""
    array = encoded(SHAPE) % 2 == 0 if dtype == "bool" else encoded(SHAPE).astype(dtype)
    if array.dtype.kind == "i":
        array -= 100
    if array.dtype.kind in "fc":
        array[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    if array.dtype.kind == "c":
        array[1] *= 1j
    return array


@dataclass
class Reader(Served):
    """A server with what its clients must send."""

    headers: dict[str, str]

    @property
    def options(self):
        return {"storage_options": {"headers": self.headers}} if self.headers else {}

    def zarr(self, version, path):
        return f"{self.url}/zarr/v{version}/{path}"

    def obstore(self, address=""):
        options = {"default_headers": self.headers, "allow_http": True}
        return ObjectStore(HTTPStore.from_url(address or self.url, client_options=options), read_only=True)

    def tensorstore(self, version, path):
        headers = [f"{name}: {value}" for name, value in self.headers.items()]
        kvstore = {"driver": "http", "base_url": self.zarr(version, quote(path)) + "/", "headers": headers}
        driver = {2: "zarr", 3: "zarr3"}[version]
        return tensorstore.open({"driver": driver, "kvstore": kvstore}, read=True).result()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dtypes")
    for dtype in DTYPES:
        save(folder / f"dtype {dtype}.hspy", values(dtype))
    save(folder / f"{SCAN.partition('/')[0]}", encoded(SHAPE))
    save(folder / "image.hspy", encoded((530, 600)))
    return folder


def save(path, data):
    signal = hs.signals.Signal2D(data)
    for axis, name, units in zip(
        signal.axes_manager._axes[::-1], ("kx", "ky", "x", "y"), ("1/nm",) * 2 + ("nm",) * 2, strict=False
    ):
        axis.name, axis.units, axis.scale, axis.offset = name, units, 0.5, -2.0
    signal.save(path)


@pytest.fixture(scope="module", params=["public", "with a key"])
def served(request, folder):
    public = request.param == "public"
    with serving([folder], nodes=READY, public=public) as service:
        headers = {} if public else {"Authorization": f"Apikey {KEY}"}
        yield Reader(service.url, service.client, service.app, headers)


versions = pytest.mark.parametrize("version", [2, 3])


@versions
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_as_it_is(served, version, dtype):
    path = f"dtype {dtype}.hspy/signal/root"
    expected = values(dtype)
    through_fsspec = zarr.open_array(
        served.zarr(version, path), mode="r", zarr_format=version, **served.options
    )
    through_obstore = zarr.open_array(
        served.obstore(), path=f"zarr/v{version}/{path}", mode="r", zarr_format=version
    )
    for read in (
        through_fsspec[...],
        through_obstore[...],
        served.tensorstore(version, path).read().result(),
    ):
        assert read.dtype == expected.dtype
        np.testing.assert_array_equal(read, expected)


@versions
@pytest.mark.parametrize("name", ["root", "navigator", *NAMES, "cropped", "total"])
def test_every_name(served, version, name):
    path = f"{SCAN}/{name}"
    raw = served.get(f"/api/v1/array/full/{path}", params={"format": "application/octet-stream"})
    expected = np.frombuffer(raw.content, raw.headers["x-array-dtype"])
    expected = expected.reshape([int(size) for size in raw.headers["x-array-shape"].split(",")])
    through_fsspec = zarr.open_array(
        served.zarr(version, path), mode="r", zarr_format=version, **served.options
    )
    through_obstore = zarr.open_array(
        served.obstore(served.zarr(version, quote(SCAN))), path=name, zarr_format=version
    )
    for array in (through_fsspec, through_obstore):
        np.testing.assert_array_equal(array[...], expected)
        np.testing.assert_array_equal(array[1], expected[1])
    np.testing.assert_array_equal(served.tensorstore(version, path).read().result(), expected)


@versions
def test_groups_by_consolidated_metadata_and_by_listing(served, version):
    tree, top = served.zarr(version, SCAN), served.zarr(version, "")
    nodes = {"root", "navigator", *NAMES, "cropped", "total"}
    axes = {"y", "x", "ky", "kx", "kx_cropped"}
    consolidated = zarr.open_group(tree, mode="r", zarr_format=version, **served.options)
    assert set(consolidated.metadata.consolidated_metadata.metadata) == nodes | axes
    listed = zarr.open_group(tree, mode="r", zarr_format=version, use_consolidated=False, **served.options)
    assert {name for name, _ in listed.members()} == nodes | axes
    file = zarr.open_group(
        served.zarr(version, SCAN.partition("/")[0]), mode="r", zarr_format=version, **served.options
    )
    np.testing.assert_array_equal(file["signal/root"][1, 2], encoded(SHAPE)[1, 2])
    assert file["signal"]["c"].shape == SHAPE
    files = {f"dtype {dtype}.hspy" for dtype in DTYPES} | {SCAN.partition("/")[0], "image.hspy"}
    assert set(zarr.open_group(top, mode="r", zarr_format=version, **served.options)) == files


@versions
def test_obstore_lists_a_group(served, version):
    path = f"zarr/v{version}/{SCAN}"
    group = zarr.open_group(
        served.obstore(), path=path, mode="r", zarr_format=version, use_consolidated=False
    )
    assert {"root", *NAMES, "ky"} <= {name for name, _ in group.members()}
    listing = obstore.list_with_delimiter(served.obstore().store, prefix=f"zarr/v{version}")
    assert f"zarr/v{version}/image.hspy" in listing["common_prefixes"]
    consolidated = zarr.open_group(
        served.obstore(served.zarr(version, quote(SCAN))), mode="r", zarr_format=version
    )
    assert {"root", *NAMES, "ky"} <= set(consolidated)
    chunk = f"{path}/root/" + {2: "1.2.0.0", 3: "c/1/2/0/0"}[version]
    found = obstore.head(served.obstore().store, chunk)
    assert found["size"] == len(served.get(f"/{chunk}").content)
    assert found["e_tag"] == served.get(f"/{chunk}").headers["etag"]


@versions
@pytest.mark.parametrize("consolidated", [True, False])
def test_xarray_opens_a_tree_with_its_coordinates(served, version, consolidated):
    with xr.open_zarr(
        served.zarr(version, SCAN),
        consolidated=consolidated,
        zarr_format=version,
        chunks={},
        **served.options,
    ) as tree:
        assert tree["root"].dims == ("y", "x", "ky", "kx")
        assert tree["cropped"].dims == ("y", "x", "ky", "kx_cropped")
        assert tree["root"].dtype == np.uint16
        assert tree["root"].attrs["key"]
        assert tree["ky"].attrs["units"] == "1/nm"
        np.testing.assert_array_equal(tree["root"], encoded(SHAPE))
        # By value: the axes run from -2 in steps of 0.5.
        found = tree["root"].sel(y=-1.5, x=-1.0).sel(kx=0.6, method="nearest")
        np.testing.assert_array_equal(found, encoded(SHAPE)[1, 2, :, 5])
        np.testing.assert_allclose(tree["cropped"]["kx_cropped"][0], -0.5)


@versions
def test_xarray_keeps_what_has_no_value(served, version):
    with xr.open_zarr(
        served.zarr(version, "dtype f4.hspy/signal"), zarr_format=version, **served.options
    ) as tree:
        np.testing.assert_array_equal(tree["root"], values("f4"))
    with xr.open_zarr(
        served.zarr(version, "dtype u1.hspy/signal"), zarr_format=version, **served.options
    ) as tree:
        assert tree["root"].dtype == np.uint8


@versions
def test_dask_reads_chunk_by_chunk(served, version):
    array = zarr.open_array(
        served.zarr(version, f"{SCAN}/root"), mode="r", zarr_format=version, **served.options
    )
    lazy = da.from_zarr(array)
    assert lazy.chunksize == (1, 1, 12, 16)
    np.testing.assert_array_equal(lazy[2, 3].compute(), encoded(SHAPE)[2, 3])
    np.testing.assert_array_equal(lazy.sum((2, 3)).compute(), encoded(SHAPE).sum((2, 3)))


@versions
def test_edge_chunks(served, version):
    expected = encoded((530, 600))
    path = "image.hspy/signal/root"
    array = zarr.open_array(served.zarr(version, path), mode="r", zarr_format=version, **served.options)
    np.testing.assert_array_equal(array[500:, 590:], expected[500:, 590:])
    np.testing.assert_array_equal(served.tensorstore(version, path).read().result(), expected)


def test_tensorstore_knows_the_dimensions(served):
    assert served.tensorstore(3, f"{SCAN}/root").domain.labels == ("y", "x", "ky", "kx")


@versions
def test_an_image_group_is_a_group_of_one_array(served, version):
    group = zarr.open_group(
        served.zarr(version, f"{SCAN}/c.zarr"), mode="r", zarr_format=version, **served.options
    )
    assert list(group) == ["0"]
    node = zarr.open_array(served.zarr(version, f"{SCAN}/c"), mode="r", zarr_format=version, **served.options)
    np.testing.assert_array_equal(group["0"][...], node[...])
    np.testing.assert_array_equal(served.tensorstore(version, f"{SCAN}/c.zarr/0").read().result(), node[...])


def curl(served, path, *options):
    if shutil.which("curl") is None:
        pytest.fail("curl is needed: install the package curl")
    sent = [part for name, value in served.headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["curl", "-s", "-i", *sent, *options, f"{served.url}{path}"]
    head, _, body = subprocess.run(command, check=True, capture_output=True).stdout.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return (
        int(status.split()[1]),
        {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)},
        body,
    )


CURLED = [
    f"/api/v1/array/full/{quote(SCAN)}/root?slice=1&format=application/octet-stream",
    f"/zarr/v3/{quote(SCAN)}/a%20b/c/1/2/0/0",
    f"/zarr/v3/{quote(SCAN)}/zarr.json",
]


@pytest.mark.parametrize("path", CURLED)
def test_curl(served, path):
    status, headers, body = curl(served, path)
    assert (status, int(headers["content-length"])) == (200, len(body))
    status, compressed, same = curl(served, path, "--compressed")
    assert (status, same) == (200, body)
    assert ("content-encoding" in compressed) == ("/c/" not in path)
    assert compressed["etag"] == headers["etag"] or "content-encoding" in compressed
    status, found, nothing = curl(served, path, "--head")
    assert (status, nothing, found["content-length"]) == (200, b"", headers["content-length"])
    status, found, nothing = curl(served, path, "-H", f"If-None-Match: {headers['etag']}")
    assert (status, nothing, found["etag"]) == (304, b"", headers["etag"])
    status, found, whole = curl(served, path, "-r", "0-3")
    assert (status, found["accept-ranges"], whole) == (200, "none", body)
    status, _, answer = curl(served, f"/zarr/v3/{quote(SCAN)}/root/c/9/9/9/9")
    assert status == 404
    assert json.loads(answer)["detail"]
    if served.headers:
        assert curl(Reader(served.url, served.client, served.app, {}), path)[0] == 401
