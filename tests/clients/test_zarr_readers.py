"""What reads zarr beside the tests themselves: zarr-python 3 over two stores, dask, xarray, tensorstore."""

from __future__ import annotations

from urllib.parse import quote

import dask.array as da
import numpy as np
import pytest
import tensorstore
import xarray as xr
import zarr
from obstore.store import HTTPStore
from zarr.storage import ObjectStore

from clients.nodes import NAMES, NODES_OF_TREE, TREE, assert_values


def through_fsspec(access, node, version):
    return zarr.open_array(
        access.zarr(node, version),
        mode="r",
        zarr_format=version,
        storage_options={"headers": access.headers},
    )


def zarr_over_fsspec(access, node, version):
    array = through_fsspec(access, node, version)
    return array[...], dims_of(array)


def obstore(access):
    options = {"default_headers": access.headers, "allow_http": True}
    return ObjectStore(HTTPStore.from_url(access.url, client_options=options), read_only=True)


def zarr_over_obstore(access, node, version):
    array = zarr.open_array(
        obstore(access), path=f"zarr/v{version}/{node.path}", mode="r", zarr_format=version
    )
    return array[...], dims_of(array)


def dask_over_zarr(access, node, version):
    array = through_fsspec(access, node, version)
    return da.from_zarr(array).compute(), dims_of(array)


def xarray_over_zarr(access, node, version):
    tree = access.zarr(node, version).rpartition("/")[0]
    options = {"storage_options": {"headers": access.headers}}
    with xr.open_zarr(tree, zarr_format=version, chunks=None, **options) as dataset:
        array = dataset[node.path.rpartition("/")[2]]
        return array.to_numpy(), array.dims


def with_tensorstore(access, node, version):
    headers = [f"{name}: {value}" for name, value in access.headers.items()]
    kvstore = {"driver": "http", "base_url": access.zarr(node, version) + "/", "headers": headers}
    spec = {"driver": "zarr" if version == 2 else "zarr3", "kvstore": kvstore}
    array = tensorstore.open(spec, read=True).result()
    return array.read().result(), array.domain.labels if version == 3 else None


def dims_of(array):
    v3 = array.metadata.zarr_format == 3
    return array.metadata.dimension_names if v3 else array.attrs["_ARRAY_DIMENSIONS"]


READERS = {
    zarr_over_fsspec: ("zarr-python 3, fsspec", "zarr"),
    zarr_over_obstore: ("zarr-python 3, obstore", "zarr"),
    dask_over_zarr: ("dask", "dask"),
    xarray_over_zarr: ("xarray", "xarray"),
    with_tensorstore: ("tensorstore", "tensorstore"),
}
readers = pytest.mark.parametrize(
    "read",
    [
        pytest.param(read, id=client, marks=pytest.mark.client(client, package=package))
        for read, (client, package) in READERS.items()
    ],
)


@readers
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(access, read, version, name):
    values, dims = read(access, access.nodes[name], version)
    assert_values(np.asarray(values), access.nodes[name])
    assert dims is None or tuple(dims) == access.nodes[name].dims


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "consolidated",
    [
        pytest.param(True, marks=pytest.mark.check("consolidated group")),
        pytest.param(False, marks=pytest.mark.check("listed group")),
    ],
)
class TestGroups:
    """A tree is a group, with consolidated metadata and without."""

    @pytest.mark.client("zarr-python 3, fsspec", package="zarr")
    def test_zarr_over_fsspec(self, access, version, consolidated):
        url = f"{access.url}/zarr/v{version}/{quote(TREE)}"
        options = {"storage_options": {"headers": access.headers}}
        group = zarr.open_group(url, mode="r", zarr_format=version, use_consolidated=consolidated, **options)
        assert set(group.array_keys()) >= NODES_OF_TREE

    @pytest.mark.client("zarr-python 3, obstore", package="zarr")
    def test_zarr_over_obstore(self, access, version, consolidated):
        path = f"zarr/v{version}/{TREE}"
        store, options = obstore(access), {"zarr_format": version, "use_consolidated": consolidated}
        group = zarr.open_group(store, path=path, mode="r", **options)
        assert set(group.array_keys()) >= NODES_OF_TREE

    @pytest.mark.client("xarray", package="xarray")
    def test_xarray(self, access, version, consolidated):
        url = f"{access.url}/zarr/v{version}/{quote(TREE)}"
        options = {"storage_options": {"headers": access.headers}, "consolidated": consolidated}
        with xr.open_zarr(url, zarr_format=version, chunks=None, **options) as tree:
            assert set(tree.data_vars) >= NODES_OF_TREE
