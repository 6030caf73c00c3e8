"""Recipes over HTTP: from one scan to another, with rights, and whatever else is sent."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import encoded, serving
from hypothesis import given
from hypothesis import strategies as st
from source_files import write_hspy

from tiled_spyde import client
from tiled_spyde.remote import close_connections
from tiled_spyde.routes.travel import MAX_BODY
from tiled_spyde.steps import open_signal

SCAN, COPY, OTHER = "scan.hspy/it_s", "copy/scan.hspy/it_s", "other.hspy/signal"
KEYED = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("travelling")
    write_hspy(folder / "scan.hspy", encoded((3, 5, 12, 16)), 2, title="it's")
    (folder / "copy").mkdir()
    shutil.copyfile(folder / "scan.hspy", folder / "copy" / "scan.hspy")
    write_hspy(folder / "other.hspy", encoded((4, 2, 10, 16)), 2)
    write_hspy(folder / 'naïve "\n.hspy', encoded((7, 33)), 1)
    return folder


@pytest.fixture(scope="module")
def service(files):
    with serving([files], public=True) as served:
        served.client.headers["Authorization"] = "Apikey secret"
        yield served
    close_connections()


@pytest.fixture(scope="module")
def tree(service):
    """Smooth, a part of it, its bright field, and rows that only twelve rows have."""
    for name, parent, operation, parameters in (
        ("smooth", "root", "gaussian_filter", {"sigma": 0.8}),
        ("part", "smooth", "crop", {"x": {"start": {"index": 3}}}),
        ("bright", "part", "virtual_image", {"detector": {"kind": "disk", "radius": {"value": 4}}}),
        ("rows", "root", "crop", {"y": {"start": {"index": 10}}}),
    ):
        node = {"name": name, "parent": parent, "operation": operation, "parameters": parameters}
        assert service.client.post(f"/api/v1/nodes/{SCAN}", json=node).status_code == 201
    return SCAN


def recipe(service, path, **parameters):
    return service.get(f"/api/v1/nodes/{path}/recipe", params=parameters)


def apply(service, path, document, **more):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return service.client.post(f"/api/v1/nodes/{path}/apply", content=content, headers=KEYED, **more)


def attributes(service, path):
    return service.get(f"/api/v1/metadata/{path}").json()["data"]["attributes"]["metadata"]["attributes"]


def test_a_tree_travels_to_the_same_scan_and_to_another_and_to_a_script(service, tree, files):
    document = recipe(service, tree).raise_for_status().json()
    assert apply(service, COPY, document).json()["data"]["made"] == ["smooth", "part", "bright", "rows"]
    for node in ("smooth", "part", "bright", "rows"):
        assert attributes(service, f"{COPY}/{node}")["key"] == attributes(service, f"{tree}/{node}")["key"]

    answer = apply(service, OTHER, document)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data["made"] == ["smooth", "part", "bright"]
    assert data["there"] == []
    (left,) = data["left"]
    assert left["name"] == "rows"
    assert "outside the axis" in left["why"]
    assert apply(service, OTHER, document).json()["data"] == data | {"made": [], "there": data["made"]}

    names = {"__name__": "recipe"}
    exec(recipe(service, OTHER, format="script").text, names)  # noqa: S102 - our own server
    for node, signal in names["recipe"](files / "other.hspy").items():
        sent = service.get(
            f"/api/v1/array/full/{OTHER}/{node}", params={"format": "application/octet-stream"}
        )
        assert sent.content == np.asarray(signal.data).tobytes()


def test_what_is_sent_is_a_file_with_a_safe_name(service, tree):
    answer = recipe(service, tree)
    assert answer.headers["content-type"] == "application/json"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="scan.hspy.it_s.recipe.json";')
    answer = recipe(service, tree, format="script", node="part")
    assert answer.headers["content-type"] == "text/x-python; charset=utf-8"
    assert 'filename="scan.hspy.part.recipe.py"' in answer.headers["content-disposition"]


def test_a_hostile_file_name_stays_a_name(service, files):
    (file,) = [
        entry for entry in service.get("/api/v1/search/").json()["data"] if entry["id"].startswith("na")
    ]
    answer = recipe(service, f"{file['id']}/signal", format="script")
    assert answer.status_code == 200
    assert "\n" not in answer.headers["content-disposition"]
    assert answer.headers["content-disposition"].count('"') == 2
    names = {"__name__": "recipe"}
    exec(answer.text, names)  # noqa: S102 - our own server
    assert (files / 'naïve "\n.hspy').name in (
        recipe(service, f"{file['id']}/signal").json()["source"]["file"],
    )
    assert names["recipe"](files / 'naïve "\n.hspy')["root"].data.shape == (7, 33)


def test_nothing_says_where_the_files_are(service, tree, files):
    for kind in ("json", "script"):
        assert str(files.parent) not in recipe(service, tree, format=kind).text


@pytest.mark.parametrize(
    ("path", "parameters", "status", "words"),
    [
        ("scan.hspy/nothing", {}, 404, "nothing"),
        ("scan.hspy", {}, 404, "no tree"),
        (f"{SCAN}/root", {}, 404, "no tree"),
        (SCAN, {"node": "nothing"}, 404, "no node 'nothing'"),
        (SCAN, {"node": "smooth@abc"}, 404, "no node 'smooth@abc'"),
        (SCAN, {"format": "exe"}, 422, "json or script"),
    ],
)
def test_what_has_no_recipe(service, tree, path, parameters, status, words):
    answer = recipe(service, path, **parameters)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_reading_is_enough_to_take_a_recipe_and_not_to_apply_one(service, tree):
    nobody = {"headers": {"Authorization": ""}}
    answer = service.client.get(f"/api/v1/nodes/{tree}/recipe", headers={"Authorization": ""})
    assert answer.status_code == 200
    answer = service.client.post(f"/api/v1/nodes/{COPY}/apply", json=answer.json(), **nobody)
    assert answer.status_code == 401


def test_without_a_right_there_is_no_recipe(files):
    with serving([files]) as closed:
        for method, path in (("GET", "recipe"), ("POST", "apply")):
            answer = closed.client.request(
                method, f"/api/v1/nodes/{SCAN}/{path}", headers={"Authorization": ""}
            )
            assert answer.status_code == 401


SMOOTH = {"name": "n", "operation": "gaussian_filter", "parameters": {"sigma": 1.0}}


def of(*nodes, **more):
    return {"format": "tiled-spyde recipe", "version": 1, "nodes": list(nodes), **more}


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        (b"", 422, "body"),
        (b"[]", 422, "body"),
        (b'"' + b"x" * MAX_BODY, 413, str(MAX_BODY)),
        ({"format": "other", "version": 1, "nodes": []}, 422, "format"),
        ({"format": "tiled-spyde recipe", "version": 2, "nodes": []}, 422, "version"),
        (of({**SMOOTH, "operation": "os.system"}), 422, "There is no operation 'os.system'"),
        (of({**SMOOTH, "parameters": {"sigma": float("nan")}}), 422, "sigma"),
        (of({**SMOOTH, "parameters": {"sigma": float("inf")}}), 422, "sigma"),
        (of({**SMOOTH, "parameters": {"sigma": 10**400}}), 422, "sigma"),
        (of({**SMOOTH, "parent": "n"}), 422, "made from itself"),
        (of({**SMOOTH, "parent": "m"}, {**SMOOTH, "name": "m", "parent": "n"}), 422, "made from itself"),
        (of({**SMOOTH, "name": "a/b"}), 422, "not usable"),
        (of({**SMOOTH, "name": "navigator"}), 422, "tree's own"),
        (of(*[{**SMOOTH, "name": f"n{i}"} for i in range(10_000)]), 422, "9998"),
        (of({**SMOOTH, "__class__": "x"}), 422, "Extra inputs"),
        (of(SMOOTH, source={"file": "/etc/passwd"}), 422, "source"),
        (b'{"format": "tiled-spyde recipe", "version": 1, "nodes": ' + b"[" * 100_000, 422, "body"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_recipe_is_refused_and_nothing_is_made(service, document, status, words):
    before = service.get(f"/api/v1/search/{OTHER}").json()["meta"]["count"]
    answer = apply(service, OTHER, document)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 2000
    assert service.get(f"/api/v1/search/{OTHER}").json()["meta"]["count"] == before


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "parent", "operation", "parameters", "version", "description"]), json_values
    )
    | json_values
)
def test_anything_may_be_sent(service, node):
    answer = apply(service, OTHER, of(node))
    assert 400 <= answer.status_code < 500, answer.text
    assert isinstance(answer.json()["detail"], str)


def test_a_notebook_gets_recipes_and_scripts_of_trees_and_nodes(service, tree, files):
    address = f"{service.url}/api/v1/metadata/{tree}"
    assert client.recipe(address, api_key="secret") == recipe(service, tree).json()
    one = client.recipe(f"{address}/part", api_key="secret")
    assert [node["name"] for node in one["nodes"]] == ["smooth", "part"]
    assert (
        client.script(f"{address}/part", api_key="secret")
        == recipe(service, tree, format="script", node="part").text
    )
    assert open_signal(files / "scan.hspy").data.shape == (3, 5, 12, 16)


def make(service, path, name, operation, **parameters):
    node = {"name": name, "parent": "root", "operation": operation, "parameters": parameters}
    service.client.post(f"/api/v1/nodes/{path}", json=node).raise_for_status()


def test_nodes_as_parameters_travel_by_name_within_a_tree_and_by_path_between_trees(service, tree):
    make(service, COPY, "mean", "mean_over_scan")
    make(service, COPY, "flat", "subtract_reference", reference={"node": "mean"})
    make(service, COPY, "mixed", "subtract_reference", reference={"node": f"/{tree}/root"})
    document = recipe(service, COPY).json()
    said = {node["name"]: node["parameters"] for node in document["nodes"]}
    assert said["flat"] == {"reference": {"node": "mean"}}
    assert said["mixed"] == {"reference": {"node": f"/{tree}/root"}}
    for _ in range(2):
        done = apply(service, tree, document).json()["data"]
        assert done["left"] == []
    assert {"mean", "flat", "mixed"} <= set(done["there"])
    assert attributes(service, f"{tree}/flat")["key"] == attributes(service, f"{COPY}/flat")["key"]

    text = recipe(service, COPY, format="script").text
    assert "flat = apply(root, 'subtract_reference', reference=mean)" in text
    assert "mixed = apply(root, 'subtract_reference', reference=scan_hspy_root)" in text
    alone = recipe(service, COPY, format="script", node="mixed").text
    assert "reference=scan_hspy_root" in alone
    assert "flat" not in alone
