"""zarr by our own routes: which path names what, what the documents say, and how answers are cached."""

from __future__ import annotations

import itertools
import json
import re

import httpx
import hyperspy.api as hs
import numpy as np
import pytest
from conftest import KEY, encoded, make_root, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiled_spyde import codecs
from tiled_spyde.operations import build
from tiled_spyde.signals import Axis
from tiled_spyde.tree import SignalTree
from tiled_spyde.zarr_documents import Array, Group, document, multiscales
from tiled_spyde.zarr_nodes import dimension_names

SCAN = "scan4d.hspy/signal"
# Names that are also words of zarr.
ODD = ["c", "42", "0.0", "a b", "ü", "root.zarr", "zarr.json", "kx"]
READY = {
    SCAN: [
        *(
            {"name": name, "operation": "gaussian_filter", "parameters": {"sigma": 1.0 + i}}
            for i, name in enumerate(ODD)
        ),
        {"name": "cropped", "operation": "crop", "parameters": {"x": {"start": {"index": 3}}}},
        {"name": "total", "operation": "sum"},
    ],
    "image.hspy/signal": [{"name": "total", "operation": "sum"}],
}
CHUNK = {"v2": "{}/0.0.0.0", "v3": "{}/c/0/0/0/0"}
DOCUMENT = {"v2": ".zarray", "v3": "zarr.json"}


@pytest.fixture(scope="module")
def served(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    for path in scans.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for below in ("c/0", "zarr.json", "c/0/c/0"):
        (folder / below).mkdir(parents=True, exist_ok=True)
        (folder / below / "0").mkdir(exist_ok=True)
        (folder / below / "line.hspy").write_bytes((scans / "line.hspy").read_bytes())
    with serving([folder], trees=READY) as service:
        yield service


def described(served, path, version="v3"):
    answer = served.get(f"/zarr/{version}/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(answer.text, parse_constant=refuse)


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("name", ["root", *ODD])
def test_a_node_may_have_any_name(served, name, version):
    assert described(served, f"{SCAN}/{name}/{DOCUMENT[version]}", version)["shape"] == [3, 5, 12, 16]
    answer = served.get(f"/zarr/{version}/{CHUNK[version].format(f'{SCAN}/{name}')}")
    expected = served.get(
        f"/api/v1/array/full/{SCAN}/{name}?slice=0,0&format=application/octet-stream"
    ).content
    dtype = "<u2" if name == "root" else "<f4"
    assert codecs.decode(answer.content, (12, 16), dtype).tobytes() == expected


@pytest.mark.parametrize("path", ["c/0/line.hspy", "zarr.json/line.hspy", "c/0/c/0/line.hspy"])
def test_a_folder_may_have_any_name(served, path):
    whole = served.get(f"/api/v1/array/full/{path}/signal/root?format=application/octet-stream").content
    document = described(served, f"{path}/signal/root/zarr.json")
    assert document["shape"] == document["chunk_grid"]["configuration"]["chunk_shape"]
    first = ["0"] * len(document["shape"])
    for key in ("v3/{}/c/" + "/".join(first), "v2/{}/" + ".".join(first)):
        frame = served.get(f"/zarr/{key.format(f'{path}/signal/root')}").content
        assert codecs.decode(frame, tuple(document["shape"]), "<u2").tobytes() == whole
    assert described(served, path.rpartition("/")[0] + "/zarr.json")["node_type"] == "group"


@pytest.mark.parametrize(
    "key",
    [
        "c/3/0/0/0",
        "c/0/5/0/0",
        "c/0/0/1/0",
        "c/-1/0/0/0",
        "c/0/0/0",
        "c/0/0/0/0/0",
        "c",
        "c/0/0/0/x",
        "c/00/0/0/0",
        "c/0.0.0.0",
        "c/+1/0/0/0",
        "c/1e0/0/0/0",
        "c/٠/0/0/0",
        "0/0/0/0",
        "0.0.0.0",
        "c/" + "9" * 18 + "/0/0/0",
        "c/0/0/0/0/zarr.json",
        "c/zarr.json",
        "nothing/zarr.json",
        "zarr.json/zarr.json",
        ".zarray",
        "root/zarr.json",
    ],
)
def test_a_chunk_that_is_not_there_is_a_404(served, key):
    answer = served.get(f"/zarr/v3/{SCAN}/root/{key}")
    assert answer.status_code == 404
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "key",
    ["3.0.0.0", "0.0.0", "0.0.0.0.0", "-1.0.0.0", "0.0.0.", "00.0.0.0", "c/0/0/0/0", "0/0.0.0", "zarr.json"],
)
def test_a_v2_chunk_that_is_not_there_is_a_404(served, key):
    assert served.get(f"/zarr/v2/{SCAN}/root/{key}").status_code == 404
    assert served.get(f"/zarr/v2/{SCAN}/root/0/0/0/0").status_code == 200


@pytest.mark.parametrize(
    "path", [f"{SCAN}/root/zarr/v3/{SCAN}/root", f"{SCAN}/nothing", "nothing", "root.zarr"]
)
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_what_is_not_there_has_no_document(served, path, version):
    for name in (".zgroup", ".zattrs", ".zarray", ".zmetadata", "zarr.json"):
        assert served.get(f"/zarr/{version}/{path}/{name}").status_code == 404


def test_nothing_is_computed_for_a_chunk_that_is_not_there_or_not_wanted(served, monkeypatch):
    from tiled_spyde.evaluate import Evaluator

    path = f"/zarr/v3/{SCAN}/c/c/2/4/0/0"
    etag = served.get(path).headers["etag"]
    asked = []
    for how in ("at_hand", "start", "read"):
        monkeypatch.setattr(Evaluator, how, lambda *given: asked.append(given))
    same = served.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == etag
    assert same.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in same.headers["vary"]
    assert served.get(f"/zarr/v3/{SCAN}/c/c/3/4/0/0").status_code == 404
    assert not asked


@pytest.mark.parametrize(("shape", "chunk"), [((530, 600), (512, 512))])
def test_edge_chunks_are_padded_to_full_size(served, shape, chunk):
    frame = served.get("/zarr/v3/image.hspy/signal/root/c/1/1").content
    tile = codecs.decode(frame, chunk, "<u2")
    np.testing.assert_array_equal(tile[:18, :88], encoded(shape)[512:, 512:])
    assert not tile[18:].any()
    assert not tile[:, 88:].any()


def test_one_value_has_one_element(served):
    zarray = described(served, "image.hspy/signal/total/.zarray", "v2")
    assert zarray["shape"] == zarray["chunks"] == [1]
    value = codecs.decode(served.get("/zarr/v2/image.hspy/signal/total/0").content, (1,), zarray["dtype"])
    assert value[0] == encoded((530, 600)).sum(dtype="u8")


def test_metadata_say_what_is_sent(served):
    """Blosc lz4, bit-shuffled: a Blosc frame says so of itself."""
    frame = served.get(f"/zarr/v3/{SCAN}/root/c/0/0/0/0").content
    bit_shuffled, lz4 = frame[2] & 0b100, frame[2] >> 5
    assert (bool(bit_shuffled), lz4, frame[3]) == (True, 1, 2)
    v3 = described(served, f"{SCAN}/root/zarr.json")
    assert v3["codecs"][1]["configuration"]["shuffle"] == "bitshuffle"
    assert v3["codecs"][1]["configuration"]["typesize"] == 2
    v2 = described(served, f"{SCAN}/root/.zarray", "v2")
    assert (v2["compressor"]["cname"], v2["compressor"]["shuffle"]) == ("lz4", 2)
    assert v2["fill_value"] is None


def test_attributes_are_the_nodes_metadata(served):
    node = "spectra.hspy/signal/root"
    ours = served.get(f"/api/v1/metadata/{node}").json()["data"]["attributes"]["metadata"]["attributes"]
    names = ours.pop("_ARRAY_DIMENSIONS")
    assert described(served, f"{node}/zarr.json")["attributes"] == ours
    assert described(served, f"{node}/.zattrs", "v2") == {**ours, "_ARRAY_DIMENSIONS": names}
    assert described(served, f"{node}/zarr.json")["dimension_names"] == names


def test_a_name_of_a_dimension_means_one_axis_in_the_whole_tree(served):
    """Else xarray opens no tree with a cropped node in it; nor one with a node of an axis' name."""
    members = described(served, f"{SCAN}/zarr.json")["consolidated_metadata"]["metadata"]
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


def test_coordinates_have_the_values_of_the_axes(served):
    document = described(served, f"{SCAN}/ky/zarr.json")
    assert (document["shape"], document["data_type"], document["attributes"]["units"]) == (
        [12],
        "float64",
        "1/nm",
    )
    axis = next(
        axis
        for axis in described(served, f"{SCAN}/root/zarr.json")["attributes"]["axes"]
        if axis["name"] == "ky"
    )
    values = codecs.decode(served.get(f"/zarr/v2/{SCAN}/ky/0").content, (12,), "<f8")
    np.testing.assert_allclose(values, axis["offset"] + axis["scale"] * np.arange(12))
    assert served.get(f"/zarr/v2/{SCAN}/ky/1").status_code == 404


@pytest.mark.parametrize("path", [SCAN, "scan4d.hspy"])
def test_consolidated_metadata_are_those_of_the_members(served, path):
    v3 = described(served, f"{path}/zarr.json")["consolidated_metadata"]["metadata"]
    v2 = described(served, f"{path}/.zmetadata", "v2")["metadata"]
    assert len(v3) >= 15
    for name, found in v3.items():
        alone = described(served, f"{path}/{name}/zarr.json")
        assert {**alone, "consolidated_metadata": 0} == {**found, "consolidated_metadata": 0}
    for name, found in v2.items():
        assert described(served, f"{path}/{name}", "v2") == found
    assert {name for name in v2 if name.endswith(".zarray")} == {
        f"{name}/.zarray" for name, found in v3.items() if found["node_type"] == "array"
    }


def test_a_folder_is_not_consolidated(served):
    assert "consolidated_metadata" not in described(served, "zarr.json")
    assert served.get("/zarr/v2/.zmetadata").status_code == 404
    assert described(served, ".zgroup", "v2") == {"zarr_format": 2}


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_group_lists_its_members_for_people_and_for_fsspec(served, version):
    for address in (f"/zarr/{version}/{SCAN}", f"/zarr/{version}/{SCAN}/"):
        page = served.get(address)
        assert page.headers["content-type"].startswith("text/html")
        links = re.findall(r'<a href="([^"]*)"', page.text)
        assert {"root", "navigator", *ODD, "ky"} <= set(links)
        base = httpx.URL(address).join(re.search(r'<base href="([^"]*)"', page.text)[1])
        assert base.path == f"/zarr/{version}/{SCAN}/"
    assert "scan4d.hspy" in served.get(f"/zarr/{version}").text
    assert served.get(f"/zarr/{version}/").status_code == 200


def test_webdav_lists_one_level(served):
    answer = served.client.request("PROPFIND", f"/zarr/v3/{SCAN}", headers={"Depth": "1"})
    assert answer.status_code == 207
    assert f"<D:href>/zarr/v3/{SCAN}/a%20b</D:href>" in answer.text
    assert served.client.request("PROPFIND", f"/zarr/v3/{SCAN}").status_code == 403
    assert served.client.request("PROPFIND", "/zarr/v3/nothing", headers={"Depth": "1"}).status_code == 404
    with httpx.Client(base_url=served.url) as anonymous:
        assert anonymous.request("PROPFIND", f"/zarr/v3/{SCAN}", headers={"Depth": "1"}).status_code == 401


def test_a_pinned_chunk_is_immutable_and_gone_when_the_key_is_another(served):
    key = described(served, f"{SCAN}/c/zarr.json")["attributes"]["key"]
    named = served.get(f"/zarr/v3/{SCAN}/c/c/1/2/0/0")
    pinned = served.get(f"/zarr/v3/{SCAN}/c@{key}/c/1/2/0/0")
    assert pinned.content == named.content
    assert pinned.headers["etag"] == named.headers["etag"]
    assert named.headers["cache-control"] == "private, no-cache"
    assert "immutable" in pinned.headers["cache-control"]
    assert "set-cookie" not in pinned.headers
    for below in ("zarr.json", "c/1/2/0/0"):
        assert served.get(f"/zarr/v3/{SCAN}/c@{'0' * 32}/{below}").status_code == 410
        with httpx.Client(base_url=served.url) as anonymous:
            assert anonymous.get(f"/zarr/v3/{SCAN}/c@{'0' * 32}/{below}").status_code == 401


def test_different_chunks_have_different_tags(served):
    tags = [
        served.get(f"/zarr/v3/{SCAN}/{node}/c/{y}/{x}/0/0").headers["etag"]
        for node, y, x in itertools.product(("root", "c"), range(2), range(2))
    ]
    assert len(set(tags)) == len(tags)
    assert served.get(f"/zarr/v2/{SCAN}/c/1.1.0.0").headers["etag"] == tags[-1]


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_an_image_group_has_the_node_as_its_only_level(served, version):
    path = f"/zarr/{version}/{SCAN}/c.zarr"
    level = described(served, f"{SCAN}/c.zarr/0/{DOCUMENT[version]}", version)
    assert level["shape"] == [3, 5, 12, 16]
    key = {"v2": "1/2/0/0", "v3": "c/1/2/0/0"}[version]
    assert served.get(f"{path}/0/{key}").content == served.get(f"/zarr/v3/{SCAN}/c/c/1/2/0/0").content
    found = re.findall(r'<a href="([^"]*)"', served.get(path).text)
    assert found == ["0"]
    for wrong in ("1/.zarray", "1/zarr.json", "0/1/.zarray", "0.0.0.0", "c/0/0/0/0", "0/c/9/0/0/0"):
        assert served.get(f"{path}/{wrong}").status_code == 404


def test_an_image_says_its_axes_in_ome_ngff(served):
    old = described(served, f"{SCAN}/c.zarr/.zattrs", "v2")["multiscales"][0]
    new = described(served, f"{SCAN}/c.zarr/zarr.json")
    ome = new["attributes"]["ome"]
    assert (old["version"], ome["version"]) == ("0.4", "0.5")
    assert ome["multiscales"][0] == {k: v for k, v in old.items() if k != "version"}
    assert [axis["name"] for axis in old["axes"]] == ["y", "x", "ky", "kx"]
    assert old["axes"][0]["unit"] == "nanometer"
    scale, translation = old["datasets"][0]["coordinateTransformations"]
    axes = described(served, f"{SCAN}/root/zarr.json")["attributes"]["axes"]
    assert scale["scale"] == [axis["scale"] for axis in axes]
    assert translation["translation"] == [axis["offset"] for axis in axes]
    assert new["consolidated_metadata"]["metadata"].keys() == {"0"}


def test_a_node_goes_before_the_image_of_another(served):
    """There is a node `root.zarr`: its name is its own."""
    assert described(served, f"{SCAN}/root.zarr/zarr.json")["node_type"] == "array"
    assert described(served, f"{SCAN}/root.zarr.zarr/zarr.json")["node_type"] == "group"


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


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["v2", "v3"]),
    st.lists(
        st.sampled_from(
            ["scan4d.hspy", "signal", "root", "c", "0", "42", "0.0", "zarr.json", ".zarray", "kx_root"]
        ),
        max_size=9,
    ),
)
def test_every_path_is_answered_the_same_by_its_rules(served, version, parts):
    """Nothing but 200 and 404, whatever is asked, and a document only where it is named last."""
    answer = served.get(f"/zarr/{version}/{'/'.join(parts)}")
    assert answer.status_code in (200, 404), answer.text
    if answer.status_code == 200 and answer.headers["content-type"] == "application/json":
        assert parts[-1] in (".zarray", "zarr.json")


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


def test_zarr_without_a_key_is_a_401_as_everything_else(served):
    with httpx.Client(base_url=served.url) as anonymous:
        for path in (
            f"{SCAN}/root/zarr.json",
            f"{SCAN}/root/c/0/0/0/0",
            SCAN,
            "",
            "nothing/zarr.json",
            f"{SCAN}/root/c/9",
        ):
            for headers in ({}, {"Authorization": "Apikey wrong"}):
                for prefix in ("/zarr", "/custom/zarr", "/api/v1/zarr"):
                    answer = anonymous.get(f"{prefix}/v3/{path}", headers=headers)
                    assert answer.status_code == 401, (prefix, path)
                    assert "www-authenticate" in answer.headers
    assert KEY not in answer.text
