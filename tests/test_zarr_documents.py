"""What the documents of zarr say of a node, of its axes and of a group, and OME-NGFF of an image."""

from __future__ import annotations

import re

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import encoded, make_root, serving
from zarr_samples import DOCUMENT, ODD, SCAN, described

from tiled_spyde import codecs
from tiled_spyde.operations import build
from tiled_spyde.signals import Axis
from tiled_spyde.tree import SignalTree
from tiled_spyde.zarr_documents import Array, Group, document, multiscales
from tiled_spyde.zarr_nodes import dimension_names


def test_one_value_has_one_element(named):
    zarray = described(named, "image.hspy/signal/total/.zarray", "v2")
    assert zarray["shape"] == zarray["chunks"] == [1]
    value = codecs.decode(named.get("/zarr/v2/image.hspy/signal/total/0").content, (1,), zarray["dtype"])
    assert value[0] == encoded((530, 600)).sum(dtype="u8")


def test_metadata_say_what_is_sent(named):
    """Blosc lz4, bit-shuffled: a Blosc frame says so of itself."""
    frame = named.get(f"/zarr/v3/{SCAN}/root/c/0/0/0/0").content
    bit_shuffled, lz4 = frame[2] & 0b100, frame[2] >> 5
    assert (bool(bit_shuffled), lz4, frame[3]) == (True, 1, 2)
    v3 = described(named, f"{SCAN}/root/zarr.json")
    assert v3["codecs"][1]["configuration"]["shuffle"] == "bitshuffle"
    assert v3["codecs"][1]["configuration"]["typesize"] == 2
    v2 = described(named, f"{SCAN}/root/.zarray", "v2")
    assert (v2["compressor"]["cname"], v2["compressor"]["shuffle"]) == ("lz4", 2)
    assert v2["fill_value"] is None


def test_attributes_are_the_nodes_metadata(named):
    node = "spectra.hspy/signal/root"
    ours = named.get(f"/api/v1/metadata/{node}").json()["data"]["attributes"]["metadata"]["attributes"]
    names = ours.pop("_ARRAY_DIMENSIONS")
    assert described(named, f"{node}/zarr.json")["attributes"] == ours
    assert described(named, f"{node}/.zattrs", "v2") == {**ours, "_ARRAY_DIMENSIONS": names}
    assert described(named, f"{node}/zarr.json")["dimension_names"] == names


def test_a_name_of_a_dimension_means_one_axis_in_the_whole_tree(named):
    """Else xarray opens no tree with a cropped node in it; nor one with a node of an axis' name."""
    members = described(named, f"{SCAN}/zarr.json")["consolidated_metadata"]["metadata"]
    sizes: dict[str, int] = {}
    for shown in members.values():
        for name, size in zip(shown["dimension_names"], shown["shape"], strict=True):
            assert sizes.setdefault(name, size) == size
    assert members["root"]["dimension_names"] == ["y", "x", "ky", "kx_root"]
    assert members["cropped"]["dimension_names"] == ["y", "x", "ky", "kx_cropped"]
    assert sizes["kx_cropped"] == 13
    for name in set(members) - set(ODD) - {"root", "navigator", "cropped", "total"}:
        assert members[name]["dimension_names"] == [name]


def test_names_of_dimensions_are_found_once_for_a_tree_of_any_size():
    tree = SignalTree.of(make_root((3, 5, 12, 16)))
    for name in ("one", "two"):
        tree, _ = tree.grown(name, "root", build("gaussian_filter", {}))
    assert dimension_names(tree) is dimension_names(tree)
    grown, _ = tree.grown("cut", "root", build("crop", {"x": {"start": {"index": 3}}}))
    assert "kx_cut" in dimension_names(grown).values()
    assert "kx_cut" not in dimension_names(tree).values()


def test_coordinates_have_the_values_of_the_axes(named):
    document = described(named, f"{SCAN}/ky/zarr.json")
    assert (document["shape"], document["data_type"], document["attributes"]["units"]) == (
        [12],
        "float64",
        "1/nm",
    )
    axis = next(
        axis
        for axis in described(named, f"{SCAN}/root/zarr.json")["attributes"]["axes"]
        if axis["name"] == "ky"
    )
    values = codecs.decode(named.get(f"/zarr/v2/{SCAN}/ky/0").content, (12,), "<f8")
    np.testing.assert_allclose(values, axis["offset"] + axis["scale"] * np.arange(12))
    assert named.get(f"/zarr/v2/{SCAN}/ky/1").status_code == 404


@pytest.mark.parametrize("path", [SCAN, "scan4d.hspy"])
def test_consolidated_metadata_are_those_of_the_members(named, path):
    v3 = described(named, f"{path}/zarr.json")["consolidated_metadata"]["metadata"]
    v2 = described(named, f"{path}/.zmetadata", "v2")["metadata"]
    assert len(v3) >= 15
    for name, found in v3.items():
        alone = described(named, f"{path}/{name}/zarr.json")
        assert {**alone, "consolidated_metadata": 0} == {**found, "consolidated_metadata": 0}
    for name, found in v2.items():
        assert described(named, f"{path}/{name}", "v2") == found
    assert {name for name in v2 if name.endswith(".zarray")} == {
        f"{name}/.zarray" for name, found in v3.items() if found["node_type"] == "array"
    }


def test_a_folder_is_not_consolidated(named):
    assert "consolidated_metadata" not in described(named, "zarr.json")
    assert named.get("/zarr/v2/.zmetadata").status_code == 404
    assert described(named, ".zgroup", "v2") == {"zarr_format": 2}


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_an_image_group_has_the_node_as_its_only_level(named, version):
    path = f"/zarr/{version}/{SCAN}/c.zarr"
    level = described(named, f"{SCAN}/c.zarr/0/{DOCUMENT[version]}", version)
    assert level["shape"] == [3, 5, 12, 16]
    key = {"v2": "1/2/0/0", "v3": "c/1/2/0/0"}[version]
    assert named.get(f"{path}/0/{key}").content == named.get(f"/zarr/v3/{SCAN}/c/c/1/2/0/0").content
    found = re.findall(r'<a href="([^"]*)"', named.get(path).text)
    assert found == ["0"]
    for wrong in ("1/.zarray", "1/zarr.json", "0/1/.zarray", "0.0.0.0", "c/0/0/0/0", "0/c/9/0/0/0"):
        assert named.get(f"{path}/{wrong}").status_code == 404


def test_an_image_says_its_axes_in_ome_ngff(named):
    old = described(named, f"{SCAN}/c.zarr/.zattrs", "v2")["multiscales"][0]
    new = described(named, f"{SCAN}/c.zarr/zarr.json")
    ome = new["attributes"]["ome"]
    assert (old["version"], ome["version"]) == ("0.4", "0.5")
    assert ome["multiscales"][0] == {k: v for k, v in old.items() if k != "version"}
    assert [axis["name"] for axis in old["axes"]] == ["y", "x", "ky", "kx"]
    assert old["axes"][0]["unit"] == "nanometer"
    scale, translation = old["datasets"][0]["coordinateTransformations"]
    axes = described(named, f"{SCAN}/root/zarr.json")["attributes"]["axes"]
    assert scale["scale"] == [axis["scale"] for axis in axes]
    assert translation["translation"] == [axis["offset"] for axis in axes]
    assert new["consolidated_metadata"]["metadata"].keys() == {"0"}


def test_a_node_goes_before_the_image_of_another(named):
    """There is a node `root.zarr`: its name is its own."""
    assert described(named, f"{SCAN}/root.zarr/zarr.json")["node_type"] == "array"
    assert described(named, f"{SCAN}/root.zarr.zarr/zarr.json")["node_type"] == "group"


@pytest.mark.parametrize("number", range(2, 6))
def test_ome_ngff_allows_these_axes(number):
    """Time, then one of its own kind, then two or three of space."""
    axes = tuple(Axis(name, 4) for name in "abcde"[:number])
    kinds = [axis["type"] for axis in multiscales("", axes, "0.5")[0]["axes"]]
    assert 2 <= kinds.count("space") <= 3
    assert kinds == sorted(kinds, key=["time", "scan", "space"].index)
    assert len([kind for kind in kinds if kind != "space"]) == len(
        {kind for kind in kinds if kind != "space"}
    )


@pytest.mark.parametrize("names", ["a", "abcdef", ["y", "x", "colour"]])
def test_what_ome_ngff_has_no_word_for_is_left_out(names):
    assert multiscales("", tuple(Axis(name, 3) for name in names), "0.4") == []


def test_an_axis_that_is_not_uniform_or_not_finite_has_a_plain_scale():
    axes = (Axis("y", 3, values=(1.0, 2.0, 5.0)), Axis("x", 3, scale=float("nan"), offset=float("inf")))
    level = multiscales("", axes, "0.5")[0]["datasets"][0]
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 1.0]}]


@pytest.mark.parametrize(
    ("dtype", "v2", "v3", "fill"),
    [
        ("bool", "|b1", "bool", False),
        ("u1", "|u1", "uint8", 0),
        ("i1", "|i1", "int8", 0),
        (">u2", "<u2", "uint16", 0),
        ("i8", "<i8", "int64", 0),
        ("f2", "<f2", "float16", 0.0),
        (">f8", "<f8", "float64", 0.0),
        ("c8", "<c8", "complex64", [0.0, 0.0]),
        ("c16", "<c16", "complex128", [0.0, 0.0]),
    ],
)
def test_dtypes_in_the_words_of_both_formats(dtype, v2, v3, fill):
    array = Array(
        (2,), (2,), np.dtype(dtype), lambda: ("x",), dict, "key", lambda part: np.zeros(2, dtype)[part]
    )
    assert document(".zarray", array)["dtype"] == v2
    said = document("zarr.json", array)
    assert (said["data_type"], said["fill_value"]) == (v3, fill)
    assert document(".zgroup", array) is None
    assert document(".zarray", Group()) is None


def test_not_a_number_stays_out_of_json(tmp_path):
    signal = hs.signals.Signal2D(np.array([[[np.nan, np.inf], [-np.inf, 1.0]]] * 2, "f4"))
    signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", float("nan"))
    signal.save(tmp_path / "a.hspy")
    with serving([tmp_path / "a.hspy"]) as served:
        tree = re.search(r'<a href="([^"]*)"', served.get("/zarr/v3/a.hspy").text)[1]
        for version, name in (("v2", ".zattrs"), ("v2", ".zarray"), ("v3", "zarr.json")):
            described(served, f"a.hspy/{tree}/root/{name}", version)
        described(served, f"a.hspy/{tree}/.zmetadata", "v2")
        frame = codecs.decode(served.get(f"/zarr/v3/a.hspy/{tree}/root/c/0/0/0").content, (2, 2), "<f4")
        np.testing.assert_array_equal(frame, signal.data[0])
