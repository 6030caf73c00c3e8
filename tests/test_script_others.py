"""Scripts of recipes with nodes of other files: the server's bytes still, and still nothing becomes code."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest
from conftest import encoded, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import write_hspy
from test_lane_rights import proposals
from test_rights import logged_in
from test_script import ALONE, NASTY, assert_harmless, documents, script, server_bytes, texts

from tiled_spyde.script import script_of
from tiled_spyde.travel import foreign

ONE, OTHER, THIRD = "one/scan.hspy/signal", "other/scan.hspy/signal", "third.hspy/signal"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    for name, much in (("one/scan", 1), ("other/scan", 2), ("third", 3)):
        place = folder / f"{name}.hspy"
        place.parent.mkdir(exist_ok=True)
        write_hspy(place, encoded((3, 5, 12, 16)) * much, 2, title="signal")
    return folder


@pytest.fixture(scope="module")
def service(files):
    with serving([files]) as served:
        keep(served, THIRD, "mean", "mean_over_scan")
        keep(served, OTHER, "less", "subtract_reference", reference={"node": f"/{THIRD}/mean"})
        keep(served, OTHER, "shifts", "centre_of_mass", parent="less")
        keep(served, ONE, "smooth", "gaussian_filter", sigma=1.5)
        keep(served, ONE, "centred", "centre_by_shifts", parent="smooth", shifts={"node": f"/{OTHER}/shifts"})
        keep(served, ONE, "flat", "divide_by_reference", reference={"node": f"/{THIRD}/mean"})
        keep(served, ONE, "less", "subtract_reference", parent="flat", reference={"node": f"/{OTHER}/root"})
        yield served


def keep(served, tree, name, operation, parent="root", **parameters):
    node = {"name": name, "parent": parent, "operation": operation, "parameters": parameters}
    made = served.client.post(f"/api/v1/nodes/{tree}", json=node)
    assert made.status_code == 201, made.text


def run(tmp_path, text, *words):
    (tmp_path / "recipe.py").write_text(text)
    command = [sys.executable, "-c", ALONE, "recipe.py", *map(str, words)]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)


def test_a_script_with_nodes_of_other_files_gives_the_servers_bytes(service, files, tmp_path):
    text = script(service, ONE).text
    assert "left out" not in text
    assert text.count("open_signal(") == 3
    names = ("smooth", "centred", "flat", "less")
    pairs = [word for name in names for word in ("--node", name, "--save", f"{name}.npy")]
    others = (f"--other=other/scan.hspy={files}/other/scan.hspy", f"--other=third.hspy={files}/third.hspy")
    done = run(tmp_path, text, files / "one/scan.hspy", *pairs, *others)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert np.load(tmp_path / f"{name}.npy").tobytes() == server_bytes(service, ONE, name), name


def test_another_file_is_looked_for_beside_the_first(service, files, tmp_path):
    text = script(service, OTHER, node="less").text
    assert (
        run(tmp_path, script(service, ONE).text, files / "one/scan.hspy").returncode == 2
    )  # two are called so
    there = files / "other/scan.hspy"
    (tmp_path / "scan.hspy").symlink_to(there)
    missing = run(tmp_path, text, "scan.hspy", "--node", "less", "--save", "less.npy")
    assert missing.returncode == 2
    assert "--other third.hspy=FILE" in missing.stderr
    (tmp_path / "third.hspy").symlink_to(files / "third.hspy")
    assert run(tmp_path, text, "scan.hspy", "--node", "less", "--save", "less.npy").returncode == 0
    assert np.load(tmp_path / "less.npy").tobytes() == server_bytes(service, OTHER, "less")
    wrong = run(tmp_path, text, "scan.hspy", "--other", "x.hspy=third.hspy")
    assert wrong.returncode == 2
    assert "give one of third.hspy" in wrong.stderr


def test_of_another_file_nobody_is_told_what_he_may_not_read(scans, tmp_path):
    """ben reads a folder, and cem another: what is made from both, only who may read both."""
    with proposals(scans, tmp_path, 60.0) as facility, logged_in(facility, "cem") as cem:
        catalog = facility.root.catalog
        one, two = (f"{folder}/scan.hspy/signal" for folder in ("one", "two"))
        given = {"operation": "mean_over_scan", "parameters": {}}
        catalog.add_node(tuple(one.split("/")), parent="root", name="secret", **given)
        given = {"operation": "subtract_reference", "parameters": {"reference": {"node": f"/{one}/secret"}}}
        catalog.add_node(tuple(two.split("/")), parent="root", name="less", **given)
        answer = cem.get(f"/api/v1/nodes/{two}/recipe?format=script")
        assert answer.status_code == 200
        assert "secret" not in answer.text
        assert f"'{one}" not in answer.text


@st.composite
def mixed(draw):
    """A hostile document, and hostile ones of the nodes that it names."""
    document, paths = draw(documents()), draw(st.lists(texts, min_size=1, max_size=3))
    named = [f"/{path}/{draw(st.sampled_from(NASTY))}/root" for path in paths]
    nodes = tuple(
        node.model_copy(update={"parameters": {**node.parameters, "reference": {"node": name}}})
        for node, name in zip(document.nodes, named * len(document.nodes), strict=False)
    )
    document = document.model_copy(update={"nodes": nodes})
    return document, {path: draw(documents()) for path in foreign(document)}


@given(mixed())
@settings(max_examples=150)
def test_nothing_that_anybody_wrote_of_others_becomes_code(given):
    document, others = given
    text = script_of(document, None, others)
    assert_harmless(text)
    opened = sum(
        isinstance(node, ast.Call) and node.func.id == "open_signal" for node in ast.walk(ast.parse(text))
    )
    assert opened == 1 + len({path.rpartition("/")[0] for path in others})
