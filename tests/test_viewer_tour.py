"""The tour drives the window by itself."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import KEY, serving
from fastapi import APIRouter, HTTPException, Response
from pyqtgraph.Qt import QtGui
from viewer_service import StandIn, axis, diffraction_scan, encoded, file, node, opened, scan_axes, tree

from viewer.tour import guide, take_tour
from viewer.tour.looking import changed_parameters
from viewer.wire import Service

SCHEMA = {
    "properties": {"factor": {"type": "number", "default": 0.5}, "clip": {"type": "boolean", "default": True}}
}


@pytest.fixture
def workshop():
    """A service that makes one kind of node, and remembers what it was asked for."""
    routes, scan = APIRouter(), diffraction_scan()

    @routes.get("/operations")
    def operations():
        return [{"name": "scale", "summary": "Multiply.", "parameters": SCHEMA}]

    @routes.post("/nodes/{path:path}", status_code=201)
    def make(path: str, body: dict, response: Response):
        if server.refuses:
            raise HTTPException(403, "this service makes no nodes")
        server.asked.append(body)
        factor = body["parameters"]["factor"]
        axes = [*scan_axes(5, 7), axis("ky", 6), axis("kx", 9)]
        data = (encoded(5, 7, 6, 9) * factor).astype("<f4")
        scan._mapping["scale_2"] = node(data, axes, "0c", "root", (("scale", body["parameters"]),))
        response.headers["Location"] = f"/api/v1/nodes/{path}/scale_2"
        return {}

    server = StandIn(file(signal=scan), routes=routes)
    server.asked, server.refuses = [], False
    server.start()
    yield server
    server.stop()


def screenshots(folder, capsys):
    paths = sorted(folder.iterdir())
    assert [str(path) for path in paths] == [
        line for line in capsys.readouterr().out.splitlines() if ".png" in line
    ]
    images = [QtGui.QImage(str(path)) for path in paths]
    assert all(image.width() > 1000 for image in images)
    assert len({bytes(image.constBits().asarray(image.byteCount())) for image in images}) == len(images)
    return [path.name for path in paths]


def test_open_move_toggle_change(qtbot, workshop, tmp_path, capsys):
    with opened(qtbot, workshop.url) as window:
        painted = []
        window.session.framed.connect(lambda answer: painted.append(answer))
        assert take_tour(window, tmp_path / "shots") == 0
    names = ["01_open.png", "02_move.png", "03_toggle.png", "04_change.png", "05_virtual_image.png"]
    assert screenshots(tmp_path / "shots", capsys) == names
    assert [body for body in workshop.asked if body] == [  # an empty wish asks whether one may make nodes
        {"parent": "root", "operation": "scale", "parameters": {"factor": 0.75, "clip": True}}
    ]
    made = [answer for answer in painted if answer.request.node.name == "scale_2"]
    y, x = made[-1].request.position
    assert (y, x) != (2, 3), "the crosshair was moved before"
    np.testing.assert_allclose(made[-1].value.raw, encoded(5, 7, 6, 9)[y, x] * 0.75)


def test_a_parameter_is_played_with_kept_compared_and_reopened(qtbot, scans, tmp_path, capsys):
    with serving([scans / "scan4d.hspy"]) as service:
        with opened(qtbot, service.url, KEY) as window:
            assert take_tour(window, tmp_path) == 0, capsys.readouterr().err
            shown = window.session.state.node
            compared = window.comparing.beside.nodes
        names = [name.partition("_")[2].removesuffix(".png") for name in screenshots(tmp_path, capsys)]
        assert names[-7:] == ["play", "keep", "compare", "pins", "rename", "delete", "reopened"]
        there = Service(service.url, KEY)
        try:
            kept = there.tree(shown.tree).node("kept")
        finally:
            there.close()
    assert kept.key == shown.key, "deleted, and brought back as it was"
    assert kept.own_parameters["min_sigma"] != 5.0, "what the slider said"
    assert [node.name for node in compared] == ["root", "kept"]


def test_the_command_takes_the_tour(workshop, tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "viewer",
        workshop.url,
        "--tour",
        str(tmp_path),
        "--theme",
        "light",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(path) for path in sorted(tmp_path.iterdir())]


def test_a_service_that_makes_no_nodes_is_toured_all_the_same(qtbot, workshop, tmp_path, capsys):
    workshop.refuses = True
    with opened(qtbot, workshop.url) as window:
        assert take_tour(window, tmp_path) == 0
    assert "skipped" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 4


def test_a_service_without_scans_ends_the_tour_with_a_sentence(qtbot, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(guide, "BOUND_SECONDS", 0.5)
    server = StandIn(file(signal=tree({}))).start()
    try:
        with opened(qtbot, server.url) as window:
            assert take_tour(window, tmp_path) == 1
    finally:
        server.stop()
    assert "no scan with navigation axes" in capsys.readouterr().err


def test_other_parameters_stay_within_their_bounds():
    schema = {
        "properties": {
            "sigma": {"type": "number", "default": 5.0, "maximum": 50},
            "narrow": {"type": "number", "default": 5.0, "maximum": 6},
            "window": {"type": "integer", "default": 3},
            "clip": {"type": "boolean", "default": True},
            "mode": {"type": "string", "default": "a"},
        }
    }
    expected = {"sigma": 7.5, "narrow": 5.0, "window": 4, "clip": True, "mode": "a"}
    assert changed_parameters(schema, {}) == expected
    assert changed_parameters(schema, {"sigma": 2.0, "mode": "b"}) == {**expected, "sigma": 3.0, "mode": "b"}
