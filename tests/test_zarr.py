"""zarr by our own routes: which path names what, and how answers are cached."""

from __future__ import annotations

import itertools
import re

import httpx
import numpy as np
import pytest
from conftest import KEY, encoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr_samples import DOCUMENT, ODD, SCAN, described

from tiled_spyde import codecs

CHUNK = {"v2": "{}/0.0.0.0", "v3": "{}/c/0/0/0/0"}


@pytest.mark.parametrize("version", ["v2", "v3"])
@pytest.mark.parametrize("name", ["root", *ODD])
def test_a_node_may_have_any_name(named, name, version):
    assert described(named, f"{SCAN}/{name}/{DOCUMENT[version]}", version)["shape"] == [3, 5, 12, 16]
    answer = named.get(f"/zarr/{version}/{CHUNK[version].format(f'{SCAN}/{name}')}")
    expected = named.get(
        f"/api/v1/array/full/{SCAN}/{name}?slice=0,0&format=application/octet-stream"
    ).content
    dtype = "<u2" if name == "root" else "<f4"
    assert codecs.decode(answer.content, (12, 16), dtype).tobytes() == expected


@pytest.mark.parametrize("path", ["c/0/line.hspy", "zarr.json/line.hspy", "c/0/c/0/line.hspy"])
def test_a_folder_may_have_any_name(named, path):
    whole = named.get(f"/api/v1/array/full/{path}/signal/root?format=application/octet-stream").content
    document = described(named, f"{path}/signal/root/zarr.json")
    assert document["shape"] == document["chunk_grid"]["configuration"]["chunk_shape"]
    first = ["0"] * len(document["shape"])
    for key in ("v3/{}/c/" + "/".join(first), "v2/{}/" + ".".join(first)):
        frame = named.get(f"/zarr/{key.format(f'{path}/signal/root')}").content
        assert codecs.decode(frame, tuple(document["shape"]), "<u2").tobytes() == whole
    assert described(named, path.rpartition("/")[0] + "/zarr.json")["node_type"] == "group"


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
def test_a_chunk_that_is_not_there_is_a_404(named, key):
    answer = named.get(f"/zarr/v3/{SCAN}/root/{key}")
    assert answer.status_code == 404
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "key",
    ["3.0.0.0", "0.0.0", "0.0.0.0.0", "-1.0.0.0", "0.0.0.", "00.0.0.0", "c/0/0/0/0", "0/0.0.0", "zarr.json"],
)
def test_a_v2_chunk_that_is_not_there_is_a_404(named, key):
    assert named.get(f"/zarr/v2/{SCAN}/root/{key}").status_code == 404
    assert named.get(f"/zarr/v2/{SCAN}/root/0/0/0/0").status_code == 200


@pytest.mark.parametrize(
    "path", [f"{SCAN}/root/zarr/v3/{SCAN}/root", f"{SCAN}/nothing", "nothing", "root.zarr"]
)
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_what_is_not_there_has_no_document(named, path, version):
    for name in (".zgroup", ".zattrs", ".zarray", ".zmetadata", "zarr.json"):
        assert named.get(f"/zarr/{version}/{path}/{name}").status_code == 404


def test_nothing_is_computed_for_a_chunk_that_is_not_there_or_not_wanted(named, monkeypatch):
    from tiled_spyde.evaluate import Evaluator

    path = f"/zarr/v3/{SCAN}/c/c/2/4/0/0"
    etag = named.get(path).headers["etag"]
    asked = []
    for how in ("at_hand", "start", "read"):
        monkeypatch.setattr(Evaluator, how, lambda *given: asked.append(given))
    same = named.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == etag
    assert same.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in same.headers["vary"]
    assert named.get(f"/zarr/v3/{SCAN}/c/c/3/4/0/0").status_code == 404
    assert not asked


@pytest.mark.parametrize(("shape", "chunk"), [((530, 600), (512, 512))])
def test_edge_chunks_are_padded_to_full_size(named, shape, chunk):
    frame = named.get("/zarr/v3/image.hspy/signal/root/c/1/1").content
    tile = codecs.decode(frame, chunk, "<u2")
    np.testing.assert_array_equal(tile[:18, :88], encoded(shape)[512:, 512:])
    assert not tile[18:].any()
    assert not tile[:, 88:].any()


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_group_lists_its_members_for_people_and_for_fsspec(named, version):
    for address in (f"/zarr/{version}/{SCAN}", f"/zarr/{version}/{SCAN}/"):
        page = named.get(address)
        assert page.headers["content-type"].startswith("text/html")
        links = re.findall(r'<a href="([^"]*)"', page.text)
        assert {"root", "navigator", *ODD, "ky"} <= set(links)
        base = httpx.URL(address).join(re.search(r'<base href="([^"]*)"', page.text)[1])
        assert base.path == f"/zarr/{version}/{SCAN}/"
    assert "scan4d.hspy" in named.get(f"/zarr/{version}").text
    assert named.get(f"/zarr/{version}/").status_code == 200


def test_webdav_lists_one_level(named):
    answer = named.client.request("PROPFIND", f"/zarr/v3/{SCAN}", headers={"Depth": "1"})
    assert answer.status_code == 207
    assert f"<D:href>/zarr/v3/{SCAN}/a%20b</D:href>" in answer.text
    assert named.client.request("PROPFIND", f"/zarr/v3/{SCAN}").status_code == 403
    assert named.client.request("PROPFIND", "/zarr/v3/nothing", headers={"Depth": "1"}).status_code == 404
    with httpx.Client(base_url=named.url) as anonymous:
        assert anonymous.request("PROPFIND", f"/zarr/v3/{SCAN}", headers={"Depth": "1"}).status_code == 401


def test_a_pinned_chunk_is_immutable_and_gone_when_the_key_is_another(named):
    key = described(named, f"{SCAN}/c/zarr.json")["attributes"]["key"]
    by_name = named.get(f"/zarr/v3/{SCAN}/c/c/1/2/0/0")
    pinned = named.get(f"/zarr/v3/{SCAN}/c@{key}/c/1/2/0/0")
    assert pinned.content == by_name.content
    assert pinned.headers["etag"] == by_name.headers["etag"]
    assert by_name.headers["cache-control"] == "private, no-cache"
    assert "immutable" in pinned.headers["cache-control"]
    assert "set-cookie" not in pinned.headers
    for below in ("zarr.json", "c/1/2/0/0"):
        assert named.get(f"/zarr/v3/{SCAN}/c@{'0' * 32}/{below}").status_code == 410
        with httpx.Client(base_url=named.url) as anonymous:
            assert anonymous.get(f"/zarr/v3/{SCAN}/c@{'0' * 32}/{below}").status_code == 401


def test_different_chunks_have_different_tags(named):
    tags = [
        named.get(f"/zarr/v3/{SCAN}/{node}/c/{y}/{x}/0/0").headers["etag"]
        for node, y, x in itertools.product(("root", "c"), range(2), range(2))
    ]
    assert len(set(tags)) == len(tags)
    assert named.get(f"/zarr/v2/{SCAN}/c/1.1.0.0").headers["etag"] == tags[-1]


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
def test_every_path_is_answered_the_same_by_its_rules(named, version, parts):
    """Nothing but 200 and 404, whatever is asked, and a document only where it is named last."""
    answer = named.get(f"/zarr/{version}/{'/'.join(parts)}")
    assert answer.status_code in (200, 404), answer.text
    if answer.status_code == 200 and answer.headers["content-type"] == "application/json":
        assert parts[-1] in (".zarray", "zarr.json")


def test_zarr_without_a_key_is_a_401_as_everything_else(named):
    with httpx.Client(base_url=named.url) as anonymous:
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
