"""napari's built-in reader and napari-ome-zarr, through `viewer.open`; the key comes from fsspec's configuration."""

from __future__ import annotations

import json

import pytest

from clients.conftest import HERE, run
from clients.nodes import NAMES, SCALES, assert_read

BUILTIN, OME = "napari", "napari-ome-zarr"
# The built-in reader takes arrays in anything called .zarr, the other one images as OME-NGFF has them.
SUFFIXES = {BUILTIN: ".zarr/0", OME: ".zarr"}
# napari shows no complex images, whoever reads them.
COMPLEX = {"complex64", "complex128"}
# OME-NGFF wants channels before the image's own axes, so a node with colours is no image of its kind.
COLOURS = ("colours", OME)

pytestmark = pytest.mark.parametrize("version", [2, 3], scope="module")
builtin = pytest.mark.client("napari, built-in reader", package="napari", pins="napari.txt")
ome = pytest.mark.client("napari-ome-zarr", package="napari-ome-zarr", pins="napari.txt")
plugins = pytest.mark.parametrize(
    "plugin", [pytest.param(BUILTIN, marks=builtin, id="builtin"), pytest.param(OME, marks=ome, id="ome")]
)


@pytest.fixture(scope="module")
def answers(napari, access, version):
    request = {
        plugin: {name: access.zarr(node, version, suffix) for name, node in access.nodes.items()}
        for plugin, suffix in SUFFIXES.items()
    }
    configured = {"FSSPEC_HTTP": json.dumps({"headers": access.headers})}
    return run(napari, HERE / "napari_client.py", request=request, env=configured)


@plugins
@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(answers, access, plugin, name, record_property):
    read = answers[plugin][name]
    if name in COMPLEX:
        record_property("lacks", "no")
        assert read == {"error": "NotImplementedError()"}
    elif (name, plugin) == COLOURS:
        record_property("lacks", "no")
        assert "returned no data" in read["error"]
    else:
        assert_read(read, access.nodes[name])


@ome
@pytest.mark.check("calibration")
def test_it_knows_scales_units_and_names(answers, access):
    for name, node in access.nodes.items():
        if name not in COMPLEX | {"colours"}:
            read = answers[OME][name]
            assert read["scale"] == list(SCALES[: len(node.dims)])
            assert [label.partition("_")[0] for label in read["labels"]] == [
                d.partition("_")[0] for d in node.dims
            ]
            reciprocal = [dim[0] == "k" for dim in node.dims]
            assert [unit == "1 / nanometer" for unit in read["units"]] == reciprocal or name == "spectra"
            assert all("nanometer" in unit for unit in read["units"])
