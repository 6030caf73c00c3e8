"""What comes over HTTP: listings, data, nodes made at run time, and clear refusals."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from conftest import encoded, make_root, serving

from tiled_spyde.adapters import chunk_shape
from tiled_spyde.codecs import MEDIA_TYPE, decode
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.signals import Axis, SignalInfo

SCAN = "scan4d.hspy/signal"
SPECTRA = "spectra.hspy/signal"
IMAGE = "image.hspy/signal"
READY = {
    SCAN: [
        {"name": "smooth", "operation": "gaussian_filter", "parameters": {"sigma": 1.0}},
        {"name": "bright field", "operation": "virtual_image", "parameters": {}},
    ]
}


@pytest.fixture(scope="module", params=["guarded", "plain tiled"])
def served(request, scans):
    with serving([scans], trees=READY, guarded=request.param == "guarded") as service:
        yield service


@pytest.fixture(scope="module")
def guarded(scans):
    with serving([scans], trees=READY) as service:
        yield service


def listed(served, path=""):
    return {item["id"]: item["attributes"] for item in served.get(f"/api/v1/search/{path}").json()["data"]}


def attributes(served, path):
    return served.get(f"/api/v1/metadata/{path}").json()["data"]["attributes"]


def test_files_and_trees_are_listed_and_the_unreadable_say_why(served):
    files = listed(served)
    assert {"scan4d.hspy", "spectra.hspy", "image.hspy", "line.hspy"} <= files.keys()
    for name, reason in (("empty.hspy", "empty"), ("text.mrc", "text.mrc"), ("notes.xyz", "notes.xyz")):
        shown = files[name]["metadata"]["attributes"]
        assert shown["state"] == "failed"
        assert reason in shown["error"]
        assert "Traceback" not in shown["error"]
        assert listed(served, name) == {}
    (tree,) = listed(served, "scan4d.hspy").values()
    assert tree["specs"][0]["name"] == "SignalTree"
    assert {"root", "navigator", "smooth", "bright field"} <= listed(served, SCAN).keys()
    assert list(listed(served, IMAGE)) == ["root"]


def test_a_node_says_what_it_is(served):
    node = attributes(served, f"{SCAN}/smooth")
    shown = node["metadata"]["attributes"]
    assert [a["name"] for a in shown["axes"]] == ["y", "x", "ky", "kx"]
    assert [a["units"] for a in shown["axes"]] == ["nm", "nm", "1/nm", "1/nm"]
    assert [a["scale"] for a in shown["axes"]] == [0.5, 0.75, 1.0, 1.25]
    assert [a["navigate"] for a in shown["axes"]] == [True, True, False, False]
    assert shown["recipe"] == [{"operation": "gaussian_filter", "version": 1, "parameters": {"sigma": 1.0}}]
    assert shown["parent"] == "root"
    assert len(shown["key"]) == 32
    assert node["structure"]["dims"] == ["y", "x", "ky", "kx"]
    assert node["structure"]["data_type"]["endianness"] == "little"
    assert node["structure"]["chunks"][:2] == [[1] * 3, [1] * 5]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"{SCAN}/root", "2,3"),
        (f"{SCAN}/root", "::2,1:4,3,::5"),
        (f"{SCAN}/root", "-1,-1,::-2"),
        (f"{SCAN}/smooth", "2,3"),
        (f"{SCAN}/navigator", "::2,::2"),
        (f"{SCAN}/bright field", ""),
        (f"{SPECTRA}/root", "3,1:5"),
        (f"{IMAGE}/root", "::7,100:110"),
        (f"{SCAN}/smooth", "1:1"),
        (f"{SCAN}/navigator", ":,2:2"),
        ("line.hspy/signal/navigator", ""),
    ],
)
def test_a_slice_is_numpys_in_every_media_type(served, path, wanted):
    query = {"slice": wanted} if wanted else {}
    raw = served.get(f"/api/v1/array/full/{path}", params={**query, "format": "application/octet-stream"})
    blosc = served.get(f"/api/v1/array/full/{path}", params={**query, "format": MEDIA_TYPE})
    assert (raw.status_code, blosc.status_code) == (200, 200)
    assert blosc.headers["content-type"] == MEDIA_TYPE
    structure = attributes(served, path)["structure"]
    dtype = np.dtype(f"<{_kind(structure)}")
    whole = np.frombuffer(
        served.get(f"/api/v1/array/full/{path}", params={"format": "application/octet-stream"}).content, dtype
    ).reshape(structure["shape"])
    expected = eval(f"whole[{wanted or '...'}]", {"whole": whole})  # noqa: S307 - our own slices
    np.testing.assert_array_equal(np.frombuffer(raw.content, dtype).reshape(expected.shape), expected)
    np.testing.assert_array_equal(decode(blosc.content, expected.shape, dtype), expected)
    if path.endswith("root"):
        np.testing.assert_array_equal(whole, encoded(tuple(structure["shape"])))


def _kind(structure):
    described = structure["data_type"]
    return f"{described['kind']}{described['itemsize']}"


def test_a_block_is_a_chunk(served):
    answer = served.get(f"/api/v1/array/block/{IMAGE}/root", params={"block": "1,1"})
    assert answer.status_code == 200
    np.testing.assert_array_equal(
        np.frombuffer(answer.content, "<u2").reshape(18, 88), encoded((530, 600))[512:, 512:]
    )


@pytest.mark.parametrize("node", ["root", "smooth", "navigator"])
@pytest.mark.parametrize("wanted", ["", "::-1", "-2::-1", "0", "...", "-1,::-2,5:2:-1", "0:0", ":,:,::7,3"])
def test_a_slice_of_a_block_is_numpys(served, node, wanted):
    shape = attributes(served, f"{SCAN}/{node}")["structure"]["shape"]
    block = [1, 2, 0, 0] if len(shape) == 4 else [0, 0]
    wanted = ",".join(wanted.split(",")[: len(shape)]).replace("...", "")
    query = {"block": ",".join(map(str, block)), "format": "application/octet-stream"}
    whole = served.get(f"/api/v1/array/block/{SCAN}/{node}", params=query)
    part = served.get(f"/api/v1/array/block/{SCAN}/{node}", params={**query, "slice": wanted})
    assert (whole.status_code, part.status_code) == (200, 200)
    inside = (1, 1, *shape[2:]) if len(shape) == 4 else shape
    dtype = f"<{_kind(attributes(served, f'{SCAN}/{node}')['structure'])}"
    block = np.frombuffer(whole.content, dtype).reshape(inside)
    expected = eval(f"block[{wanted or '...'}]", {"block": block})  # noqa: S307 - our own slices
    np.testing.assert_array_equal(np.frombuffer(part.content, dtype).reshape(expected.shape), expected)


def test_a_pinned_address_is_the_node_and_an_old_one_is_gone(served):
    key = attributes(served, f"{SCAN}/smooth")["metadata"]["attributes"]["key"]
    for route in ("array/full", "metadata"):
        assert served.get(f"/api/v1/{route}/{SCAN}/smooth@{key}").status_code == 200
        gone = served.get(f"/api/v1/{route}/{SCAN}/smooth@{'0' * 32}")
        assert gone.status_code == 410
        assert "Ask for 'smooth' again" in gone.json()["detail"]
    assert served.get(f"/zarr/v3/{SCAN}/smooth@{key}/c/0/0/0/0").status_code == 200


def test_operations_are_described(served):
    described = {o["name"]: o for o in served.get("/api/v1/operations").json()}
    sigma = described["gaussian_filter"]["parameters"]["properties"]["sigma"]
    assert (sigma["unit"], sigma["default"], sigma["exclusiveMinimum"]) == ("px", 1.0, 0)
    assert described["savitzky_golay"]["accepts"] == {"signal_dimensions": [1]}
    assert served.get("/custom/operations").json() == list(described.values())


def make(served, tree, **node):
    return served.client.post(f"/api/v1/nodes/{tree}", json=node)


def test_a_node_is_made_once_and_read_at_once(served):
    wanted = {"parent": "smooth", "operation": "bin", "parameters": {"x": 4}, "name": "small"}
    made = make(served, SCAN, **wanted)
    assert made.status_code == 201, made.text
    assert made.headers["location"].endswith(f"/api/v1/metadata/{SCAN}/small")
    assert served.client.get(made.headers["location"]).status_code == 200
    assert made.json()["data"]["attributes"]["metadata"]["attributes"]["parent"] == "smooth"
    assert make(served, SCAN, **wanted).status_code == 200
    frame = served.get(f"/api/v1/array/full/{SCAN}/small", params={"slice": "1,2"})
    assert frame.status_code == 200
    assert len(frame.content) == 3 * 4 * 8
    assert "small" in listed(served, SCAN)


def test_a_node_without_a_name_is_named_after_its_operation(served):
    first = make(served, SPECTRA, parent="root", operation="savitzky_golay", parameters={"window_length": 5})
    again = make(served, SPECTRA, parent="root", operation="savitzky_golay", parameters={"window_length": 5})
    other = make(served, SPECTRA, parent="root", operation="savitzky_golay", parameters={"window_length": 7})
    assert [r.status_code for r in (first, again, other)] == [201, 200, 201]
    assert [r.json()["data"]["id"] for r in (first, again, other)] == [
        "savitzky_golay",
        "savitzky_golay",
        "savitzky_golay-2",
    ]


@pytest.mark.parametrize(
    ("tree", "node", "status", "message"),
    [
        (SCAN, {"parent": "root", "operation": "nope"}, 422, "There is no operation 'nope'"),
        (SCAN, {"parent": "nobody", "operation": "sum"}, 404, "no node 'nobody'"),
        (SCAN, {"parent": "root", "operation": "sum", "name": "smooth"}, 409, "taken"),
        (SCAN, {"parent": "root", "operation": "savitzky_golay"}, 422, "savitzky_golay needs"),
        (
            SCAN,
            {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": "wide"}},
            422,
            "sigma",
        ),
        (
            SCAN,
            {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": 0}},
            422,
            "greater than 0",
        ),
        (SCAN, {"parent": "bright field", "operation": "bin"}, 422, "bin needs"),
        (SCAN, {"parent": "root", "operation": "sum", "name": "a/b"}, 422, "name"),
        (SCAN, {"parent": "root", "operation": "sum", "name": "a@b"}, 422, "name"),
        (SCAN, {"parent": "root", "operation": "sum", "name": ""}, 201, None),
        (SCAN, {"parent": "root", "operation": "sum", "name": "x" * 101}, 422, "100"),
        (SCAN, {"operation": "sum"}, 422, "parent"),
        (SCAN, {"parent": "root", "operation": "sum", "colour": 1}, 422, "colour"),
        ("scan4d.hspy", {"parent": "root", "operation": "sum"}, 404, "no tree"),
        ("nowhere/signal", {"parent": "root", "operation": "sum"}, 404, ""),
        (f"{SCAN}/root", {"parent": "root", "operation": "sum"}, 404, "no tree"),
    ],
)
def test_bad_nodes_are_refused_with_the_reason(served, tree, node, status, message):
    if node.get("name") == "":
        node = {**node, "name": None}
        status, message = (201, 200), ""
    answer = make(served, tree, **node)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    if answer.status_code >= 400:
        assert message in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"parent": NaN}',
        b'{"parent": "root"',
        b"[" * 5000,
        b'"' + b"x" * 99,
    ],
)
def test_a_body_that_is_no_node_is_422(served, body):
    answer = served.client.post(f"/api/v1/nodes/{SCAN}", content=body)
    assert answer.status_code == 422
    assert "Send JSON with parent" in answer.json()["detail"]


def test_an_enormous_body_is_refused(served):
    assert served.client.post(f"/api/v1/nodes/{SCAN}", content=b"x" * (2**20 + 1)).status_code == 413


def test_deep_and_odd_parameters_are_refused(served):
    deep = b'{"parent":"root","operation":"crop","parameters":{"x":' + b"[" * 500 + b"]" * 500 + b"}}"
    assert served.client.post(f"/api/v1/nodes/{SCAN}", content=deep).status_code == 422
    nan = b'{"parent":"root","operation":"gaussian_filter","parameters":{"sigma":NaN}}'
    assert served.client.post(f"/api/v1/nodes/{SCAN}", content=nan).status_code == 422


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"/api/v1/array/full/{SCAN}/root?slice=3", {422}),
        (f"/api/v1/array/full/{SCAN}/root?slice=1,2,3,4,5", {422}),
        (f"/api/v1/array/full/{SCAN}/root?slice=a", {422}),
        (f"/api/v1/array/full/{SCAN}/root?slice=::0", {400, 422}),
        (f"/api/v1/array/full/{SCAN}/root?slice=,,", {400, 422}),
        (f"/api/v1/array/full/{SCAN}/nobody", {404}),
        (f"/api/v1/array/full/{SCAN}", {404}),
        ("/api/v1/array/full/empty.hspy/signal/root", {404}),
        (f"/api/v1/array/block/{SCAN}/root?block=3,0,0,0", {400, 422}),
        (f"/api/v1/array/block/{SCAN}/root?block=0,0", {400, 422}),
        (f"/api/v1/array/block/{SCAN}/root?block=x", {422}),
        (f"/api/v1/array/block/{SCAN}/root?block=0,0,0,0&expected_shape=1,1,1,1", {422}),
        (f"/zarr/v2/{SCAN}/root/3.0.0.0", {404}),
        (f"/zarr/v2/{SCAN}/root/0.0", {400, 404}),
        (f"/zarr/v3/{SCAN}/root/c/3/0/0/0", {404}),
        (f"/zarr/v3/{SCAN}/root/c/0/0/0/1", {404}),
        (f"/zarr/v3/{SCAN}/root/c/-1/0/0/0", {404}),
        (f"/zarr/v3/{SCAN}/root/c/0/0", {400, 404}),
        (f"/zarr/v3/{SCAN}/root/c/{10**30}/0/0/0", {404}),
    ],
)
def test_what_is_out_of_range_is_refused_before_reading(served, address, status):
    answer = served.get(address)
    assert answer.status_code in status, answer.text
    assert answer.json()["detail"]


def test_a_wrong_expected_shape_is_refused_before_reading(guarded):
    for wrong in ("1", "5,12,16,1", "scalar", "99999999999"):
        answer = guarded.get(f"/api/v1/array/full/{SCAN}/root?slice=1&expected_shape={wrong}")
        assert answer.status_code == 422
        assert "not the expected" in answer.json()["detail"]
    assert guarded.get(f"/api/v1/array/full/{SCAN}/root?slice=1&expected_shape=5,12,16").status_code == 200


def test_a_response_over_the_limit_is_refused_before_computing(scans):
    with serving([scans], response_bytesize_limit=10_000) as service:
        answer = service.get(f"/api/v1/array/full/{IMAGE}/root")
        assert answer.status_code == 400
        assert "limit" in answer.json()["detail"]
        assert service.get(f"/api/v1/array/full/{IMAGE}/root?slice=3").status_code == 200


def test_too_much_work_is_refused_before_computing(scans):
    with serving([scans], trees=READY, arguments={"max_seconds": 1e-4}) as service:
        answer = service.get(f"/api/v1/array/full/{SCAN}/smooth")
        assert answer.status_code == 400
        assert "15 positions" in answer.json()["detail"]
        assert service.get(f"/api/v1/array/full/{SCAN}/smooth?slice=1,1").status_code == 200


def test_a_file_truncated_after_opening_names_itself_and_the_position(tmp_path):
    path = tmp_path / "stack.mrc"
    frames = encoded((20, 64, 48))
    path.write_bytes(_mrc_header(48, 64, 20) + frames.astype("<u2").tobytes())
    whole = path.stat().st_size
    with serving([tmp_path]) as service:
        good = service.get(
            "/api/v1/array/full/stack.mrc/signal/root?slice=19&format=application/octet-stream"
        )
        np.testing.assert_array_equal(np.frombuffer(good.content, "<u2").reshape(64, 48), frames[19])
    with path.open("r+b") as file:
        file.truncate(whole - 2 * 48 * 64 * 2)
    with serving([tmp_path]) as service:
        assert service.get("/api/v1/array/full/stack.mrc/signal/root?slice=17").status_code == 200
        for address in (
            "/api/v1/array/full/stack.mrc/signal/root?slice=19",
            "/zarr/v3/stack.mrc/signal/root/c/19/0/0",
            "/api/v1/array/full/stack.mrc/signal/navigator",
        ):
            answer = service.get(address)
            assert answer.status_code == 422, answer.text
            assert "stack.mrc" in answer.json()["detail"]
            assert "19" in answer.json()["detail"] or "18" in answer.json()["detail"]


def test_a_file_replaced_under_the_server_is_gone_not_mixed(tmp_path):
    path = tmp_path / "stack.mrc"
    path.write_bytes(_mrc_header(48, 64, 20) + encoded((20, 64, 48)).astype("<u2").tobytes())
    with serving([tmp_path]) as service:
        before = service.get("/api/v1/array/full/stack.mrc/signal/root?slice=3")
        assert before.status_code == 200
        path.write_bytes(_mrc_header(48, 64, 20) + np.zeros(20 * 64 * 48, "<u2").tobytes())
        answer = service.get("/api/v1/array/full/stack.mrc/signal/root?slice=4")
        assert answer.status_code == 410
        assert "stack.mrc" in answer.json()["detail"]
        # What is remembered of the old key is the old file's, until the new one is noticed.
        again = service.get("/api/v1/array/full/stack.mrc/signal/root?slice=3")
        assert again.status_code == 410 or again.content == before.content


def _mrc_header(columns, rows, sections):
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, columns, rows, sections, 6, 0, 0, 0, columns, rows, sections)
    struct.pack_into("<6f", header, 40, columns, rows, sections, 90, 90, 90)
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    struct.pack_into("<i", header, 108, 20140)
    header[208:216] = b"MAP DD\0\0"
    return bytes(header)


def test_no_json_holds_nan(served):
    def refuse(constant):
        raise AssertionError(constant)

    for address in ("/api/v1/search/", f"/api/v1/search/{SCAN}", f"/zarr/v3/{SCAN}/root/zarr.json"):
        json.loads(served.get(address).text, parse_constant=refuse)


def test_a_folder_and_a_file_of_the_same_safe_name_are_both_served(tmp_path, monkeypatch):
    (tmp_path / "run_1.mrc").mkdir()
    data = _mrc_header(48, 64, 2) + encoded((2, 64, 48)).astype("<u2").tobytes()
    (tmp_path / "run#1.mrc").write_bytes(data)
    (tmp_path / "run_1.mrc" / "inside.mrc").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    with serving(["."]) as service:
        top = listed(service)
        assert len(top) == 2
        folder = next(name for name in top if "inside.mrc" in listed(service, name))
        assert service.get(f"/api/v1/array/full/{folder}/inside.mrc/signal/root?slice=1").status_code == 200


def test_no_chunk_is_larger_than_an_answer():
    axes = (Axis("x", 3, navigate=True), Axis("ky", 8192), Axis("kx", 8192))
    root = make_root((3, 4, 5))
    recipe = Recipe(replace(root, info=SignalInfo(axes, np.dtype("u2"))))
    assert chunk_shape(recipe) == (1, 8192, 8192)
    assert chunk_shape(recipe.then(build("bin", {"x": 1}))) == (1, 4096, 4096)
