"""Containers over HTTP: listed, searched and sorted from the index, and what says why it cannot be computed."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import KEY, encoded, serving, until
from tiled.client import from_uri
from tiled.queries import FullText, Key, Regex

FILES = {
    "foil.hspy": ("Strained foil", (3, 5, 12, 16), 2, "electron_diffraction"),
    "map.hspy": ("Dust", (4, 6, 40), 1, "EDS_TEM"),
    "deep/er/line.hspy": ("LSMO", (7, 33), 1, "EELS"),
    "deep/image.hspy": ("Foil, overview", (20, 30), 2, ""),
}
TREES = {
    "map.hspy/Dust": [{"operation": "savitzky_golay", "parameters": {"window_length": 7}, "name": "smooth"}]
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    for name, (title, shape, axes, kind) in FILES.items():
        signal = (hs.signals.Signal2D if axes == 2 else hs.signals.Signal1D)(encoded(shape))
        signal.metadata.General.title = title
        signal.metadata.Signal.signal_type = kind
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        signal.save(folder / name)
    (folder / "broken.mrc").write_text("this is no image")
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with serving([folder], trees=TREES) as service:
        yield service


@pytest.fixture(scope="module")
def client(served):
    client = from_uri(f"{served.url}/api/v1", api_key=KEY)
    yield client
    client.context.http_client.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (FullText("foil"), ["foil.hspy"]),
        (FullText("dust"), ["map.hspy"]),
        (Key("signal_type") == "EDS_TEM", ["map.hspy"]),
        (Key("shape") == [3, 5, 12, 16], ["foil.hspy"]),
        (Key("state") == "failed", ["broken.mrc"]),
        (Key("size") > 0, ["broken.mrc", "foil.hspy", "map.hspy"]),
        (Key("modified") > "2020", ["broken.mrc", "foil.hspy", "map.hspy"]),
        (Key("modified") > "2100", []),
    ],
)
def test_files_of_a_folder_are_found(client, query, found):
    assert list(client.search(query)) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (FullText("foil"), {"foil.hspy/Strained_foil", "deep/image.hspy/Foil_overview"}),
        (FullText("lsmo"), {"deep/er/line.hspy/LSMO"}),
        (Key("signal_type") == "EELS", {"deep/er/line.hspy/LSMO"}),
        (FullText("savitzky"), {"map.hspy/Dust"}),
        (Key("navigation_shape") == [4, 6], {"map.hspy/Dust"}),
        (FullText("smooth"), {"map.hspy/Dust"}),
    ],
)
def test_trees_are_found_below_any_folder(client, query, found):
    results = client.search_deep(query)
    assert {"/".join(path) for path in results} == found
    for path in results:
        assert "root" in list(results[path])


def test_trees_below_one_folder(client):
    assert {"/".join(path) for path in client["deep"].search_deep(FullText("foil"))} == {
        "image.hspy/Foil_overview"
    }


def test_sorting(client):
    assert list(client.sort(("name", -1))) == ["map.hspy", "foil.hspy", "deep", "broken.mrc"]
    assert list(client.sort(("title", 1)))[:2] == ["map.hspy", "foil.hspy"]
    by_size = [
        client[name].metadata["attributes"]["size"] for name in client.sort(("size", 1)) if name != "deep"
    ]
    assert by_size == sorted(by_size)


def test_a_regular_expression_is_a_400_that_says_what_to_use(served):
    query = {"filter[regex][condition][key]": "title", "filter[regex][condition][pattern]": "(a+)+$"}
    assert Regex.__name__ == "Regex"
    answer = served.get(
        "/api/v1/search/", params=query | {"filter[regex][condition][case_sensitive]": "true"}
    )
    assert answer.status_code == 400
    assert "FullText" in answer.json()["detail"]


def test_searching_opens_no_file(folder, served, monkeypatch):
    """Not even when the data are away."""
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    try:
        query = {"filter[fulltext][condition][text]": "dust"}
        found = served.get("/api/v1/search/", params=query).json()["data"]
        assert [entry["id"] for entry in found] == ["map.hspy"]
    finally:
        hidden.rename(folder)


def test_pages(client, served):
    first = served.get("/api/v1/search/?page[limit]=2").json()
    assert [entry["id"] for entry in first["data"]] == ["broken.mrc", "deep"]
    assert first["meta"]["count"] == 4
    second = served.get("/api/v1/search/?page[limit]=2&page[offset]=2").json()
    assert [entry["id"] for entry in second["data"]] == ["foil.hspy", "map.hspy"]


def test_a_node_that_no_longer_fits_says_why_and_the_others_follow(tmp_path):
    path = tmp_path / "scan.hspy"
    hs.signals.Signal2D(encoded((3, 4, 12, 16))).save(path)
    crop = {"name": "cropped", "operation": "crop", "parameters": {"x": {"start": {"index": 12}}}}
    below = {
        "name": "below",
        "parent": "cropped",
        "operation": "gaussian_filter",
        "parameters": {"sigma": 1.0},
    }
    smooth = {"name": "smooth", "operation": "gaussian_filter", "parameters": {"sigma": 1.0}}
    with serving([tmp_path], trees={"scan.hspy/signal": [crop, below, smooth]}) as service:
        tree = "scan.hspy/signal"
        old = service.get(f"/api/v1/metadata/{tree}/smooth").json()["data"]["attributes"]["metadata"]
        pinned = f"/api/v1/array/full/{tree}/smooth@{old['attributes']['key']}?slice=1,1"
        assert service.get(pinned).status_code == 200
        hs.signals.Signal2D(encoded((3, 4, 12, 10)) + 1).save(tmp_path / "new.hspy")
        (tmp_path / "new.hspy").replace(path)

        def attributes(name):
            node = service.get(f"/api/v1/metadata/{tree}/{name}").json()["data"]["attributes"]
            return node["structure_family"], node["metadata"]["attributes"]

        until(lambda: attributes("cropped")[1]["state"] == "failed")
        family, failed = attributes("cropped")
        assert family == "container"
        assert "crop" in failed["failure"]
        assert "cropped" in attributes("below")[1]["failure"]
        listed = {entry["id"] for entry in service.get(f"/api/v1/search/{tree}").json()["data"]}
        assert {"root", "navigator", "cropped", "below", "smooth"} <= listed
        assert service.get(pinned).status_code == 410
        assert attributes("smooth")[1]["key"] != old["attributes"]["key"]
        answer = service.get(f"/api/v1/array/full/{tree}/root?slice=1,2&format=application/octet-stream")
        expected = (encoded((3, 4, 12, 10)) + 1)[1, 2]
        np.testing.assert_array_equal(np.frombuffer(answer.content, "<u2").reshape(12, 10), expected)
        for address in (f"/api/v1/array/full/{tree}/cropped", f"/zarr/v3/{tree}/cropped/c/0/0/0/0"):
            assert service.get(address).status_code == 422


def test_what_is_made_is_there_after_a_restart(tmp_path, folder):
    state = {"state": str(tmp_path / "state")}
    wanted = {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": 2.0}, "name": "mine"}
    with serving([folder], arguments=state) as service:
        made = service.client.post("/api/v1/nodes/foil.hspy/Strained_foil", json=wanted)
        assert made.status_code == 201
        key = made.json()["data"]["attributes"]["metadata"]["attributes"]["key"]
    with serving([folder / "foil.hspy"], arguments=state, wait=False) as service:
        # From the index: nobody has looked at the file yet.
        node = service.get("/api/v1/metadata/foil.hspy/Strained_foil/mine").json()["data"]["attributes"]
        assert node["metadata"]["attributes"]["key"] == key
        assert service.client.post("/api/v1/nodes/foil.hspy/Strained_foil", json=wanted).status_code == 200


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("search", [("filter[fulltext][condition][text]", "foil")] * 11),
        ("search-deep", [("filter[fulltext][condition][text]", "foil")] * 11),
        ("search", [("filter[fulltext][condition][text]", " ".join(map(str, range(100))))]),
        ("search", [("sort", f"key{i}") for i in range(11)]),
    ],
)
def test_a_search_that_would_keep_everyone_waiting_is_refused(served, route, asked):
    answer = served.client.get(f"/api/v1/{route}/", params=asked)
    assert answer.status_code == 400
    assert "At most" in answer.json()["detail"]


def test_a_file_whose_name_is_no_text_is_listed_found_and_read_by_everyone(folder, tmp_path):
    (tmp_path / os.fsdecode(b"bad\xff name.hspy")).write_bytes((folder / "foil.hspy").read_bytes())
    with serving([tmp_path], public=True) as service:
        (entry,) = service.client.get("/api/v1/search/").json()["data"]
        for address in (
            "/api/v1/search-deep/?filter[fulltext][condition][text]=bad",
            f"/api/v1/search/{entry['id']}",
            f"/api/v1/metadata/{entry['id']}/Strained_foil/root",
            f"/zarr/v3/{entry['id']}/zarr.json",
            f"/zarr/v2/{entry['id']}/.zmetadata",
        ):
            answer = service.get(address)
            assert answer.status_code == 200, address
            json.loads(answer.content.decode())


@contextmanager
def locked(database):
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
    other.close()


@contextmanager
def away(database):
    database.rename(database.with_suffix(".away"))
    yield
    database.with_suffix(".away").rename(database)


@contextmanager
def damaged(database):
    whole = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    yield
    database.write_bytes(whole)


@pytest.mark.parametrize("trouble", [locked, away, damaged])
def test_without_its_database_a_server_goes_on_reading_and_asks_writers_to_come_back(
    tmp_path, folder, trouble
):
    wanted = {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": 3.0}, "name": "late"}
    nodes, frame = "/api/v1/nodes/foil.hspy/Strained_foil", "array/full/foil.hspy/Strained_foil"
    with serving([folder], arguments={"state": str(tmp_path)}) as service:
        kept = service.client.post(nodes, json={**wanted, "name": "early", "parameters": {"sigma": 2.0}})
        assert kept.status_code == 201
        with trouble(tmp_path / "catalog.sqlite"):
            refused = service.client.post(nodes, json=wanted)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert "database" in refused.json()["detail"]
            assert service.get(f"/api/v1/{frame}/early?slice=1,2").status_code == 200
            assert service.get(f"/api/v1/{frame}/late?slice=1,2").status_code == 404
        assert service.client.post(nodes, json=wanted).status_code == 201
        assert service.get(f"/api/v1/{frame}/late?slice=1,2").status_code == 200
    with serving([folder], arguments={"state": str(tmp_path)}) as service:
        for name in ("early", "late"):
            assert service.get(f"/api/v1/{frame}/{name}?slice=1,2").status_code == 200


def test_a_container_is_not_sent_as_a_whole(served):
    for path in ("", "foil.hspy", "foil.hspy/Strained_foil"):
        answer = served.get(f"/api/v1/container/full/{path}?format=application/json")
        assert answer.status_code == 400
        assert "Ask for their nodes" in answer.json()["detail"]


def test_a_folders_calibration_is_in_its_trees_and_in_the_key(folder, tmp_path):
    rules = [
        {"match": "foil*", "calibrate": {"beam_energy": 200, "axes": {"x": {"scale": 2, "units": "nm"}}}},
        {"match": "map*", "calibrate": {"navigation_shape": [5, 5]}},
    ]
    arguments = {"paths": [], "folders": [{"path": str(folder), "name": "", "calibration": rules}]}
    with serving([], arguments=arguments) as service, serving([folder]) as plain:

        def attributes(where, path):
            return where.get(f"/api/v1/metadata/{path}").json()["data"]["attributes"]["metadata"][
                "attributes"
            ]

        path = "foil.hspy/Strained_foil/root"
        calibrated, bare = attributes(service, path), attributes(plain, path)
        assert calibrated["key"] != bare["key"]
        assert calibrated["instrument"]["beam_energy"] == 200
        assert [axis["units"] for axis in calibrated["axes"]].count("nm") == 1
        assert calibrated["state"] == "stored"
        refused = attributes(service, "map.hspy/Dust")
        assert "navigation_shape" in refused["calibration_error"]
        assert (
            attributes(service, "map.hspy/Dust/root")["key"] == attributes(plain, "map.hspy/Dust/root")["key"]
        )
