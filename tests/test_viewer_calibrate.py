"""The calibration form in the window, on our own server and on services that cannot calibrate."""

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import KEY, encoded, serving
from fastapi import APIRouter, HTTPException
from pyqtgraph.Qt import QtCore
from viewer_service import StandIn, choose, diffraction_scan, file, opened, shown

STACK = encoded((12, 6, 8))
SPECTRUM = {"scale": "0.5", "units": "eV", "offset": "100"}
ROOT = ("stack.hspy", "signal", "root")
Key = QtCore.Qt.Key


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    hs.signals.Signal2D(STACK).save(folder / "stack.hspy")
    hs.signals.Signal1D(encoded((40,))).save(folder / "spectrum.hspy")
    return folder


@pytest.fixture
def window(qtbot, folder):
    with serving([folder]) as service, opened(qtbot, service.url, KEY) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(window.toolbar.calibrate.isEnabled)
        yield window


@pytest.fixture
def form(qtbot, window):
    window.toolbar.calibrate.click()
    return window.calibrate


def fill(qtbot, form, **texts):
    """Type into fields, by the last words of their names with _ for the dot."""
    for name, text in texts.items():
        path = next(
            path for path in form.fields if name in (path, path.replace(".", "_").removeprefix("axes_"))
        )
        field = form.fields[path]
        field.clear()
        qtbot.keyClicks(field, text)
        field.editingFinished.emit()
        qtbot.wait(1)  # a shape replaces the fields of the axes


def trouble(form, path):
    label = form.problems[path]
    return label.text() if label.isVisible() else ""


def test_what_is_uncalibrated_is_said_so(window):
    assert "uncalibrated (px)" in window.status.position.text()
    axis = window.signal.image.getPlotItem().getAxis("bottom")
    assert axis.labelText.endswith("uncalibrated (px)")
    assert window.toolbar.calibrate.objectName() == "wanted"


def test_a_stack_becomes_a_calibrated_scan(qtbot, window, form):
    window.session.move_to((7,))
    fill(qtbot, form, rows="3", columns="4", y_scale="2", y_units="nm", x_scale="2", x_units="nm")
    fill(qtbot, form, kx_scale="0.1", kx_units="1/nm", ky_scale="0.1", ky_units="1/nm", beam_energy="200")
    fill(qtbot, form, name="as a scan")
    qtbot.keyClick(form.fields["name"], Key.Key_Return)
    path = (*ROOT[:2], "as a scan")
    qtbot.waitUntil(lambda: window.session.state.node.path == path and shown(window))
    assert not form.isVisible()
    assert window.session.state.position == (1, 3), "frame 7 is still the one that is shown"
    np.testing.assert_array_equal(window.signal.picture.raw, STACK[7])
    sums = STACK.sum((1, 2)).reshape(3, 4)
    np.testing.assert_array_equal(window.navigator.image.picture.raw, sums)
    assert [axis.units for axis in window.session.state.node.axes] == ["nm", "nm", "1/nm", "1/nm"]
    assert window.session.state.node.axes[0].scale == 2
    assert "uncalibrated" not in window.status.position.text()
    assert window.toolbar.calibrate.objectName() == ""
    assert "beam_energy = 200" in window.tree.items[path].toolTip(0)
    window.session.move_to((2, 0))
    qtbot.waitUntil(lambda: window.signal.painted_at == (2, 0))
    np.testing.assert_array_equal(window.signal.picture.raw, STACK[8])


def test_the_product_is_checked_while_typing(qtbot, form):
    for columns, says, wrong in [
        ("5", "3 × 5 = 15, but there are 12 frames", True),
        ("4", "3 × 4 = 12 frames ✓", False),
    ]:
        form.fields["rows"].setText("3")
        form.fields["columns"].setText(columns)
        assert form.shape_line.text() == says
        assert form.fields["columns"].property("wrong") is wrong


def test_shapes_are_suggested(qtbot, form):
    buttons = [form.suggestions.itemAt(n).widget() for n in range(form.suggestions.count() - 1)]
    assert [button.text() for button in buttons] == ["3 × 4", "4 × 3", "2 × 6", "6 × 2"]
    buttons[1].click()
    assert (form.fields["rows"].text(), form.fields["columns"].text()) == ("4", "3")
    qtbot.waitUntil(lambda: "axes.ky.scale" in form.fields)


def test_what_was_typed_survives_another_shape(qtbot, form):
    fill(qtbot, form, x_scale="0.5", x_units="nm", beam_energy="80")
    form.counting.setCurrentText("integrating")
    fill(qtbot, form, rows="3", columns="4")
    assert form.fields["axes.kx.scale"].text() == "0.5"
    assert form.fields["axes.x.scale"].text() == "", "the scan's x is another axis"
    fill(qtbot, form, columns="", rows="")
    assert form.fields["axes.x.scale"].text() == "0.5"
    assert form.fields["beam_energy"].text() == "80"
    assert form.counting.currentText() == "integrating"


def test_closing_and_opening_again_loses_nothing(qtbot, window, form):
    fill(qtbot, form, beam_energy="80")
    qtbot.keyClick(form, Key.Key_Escape)
    assert not form.isVisible()
    qtbot.keyClick(window, Key.Key_K, QtCore.Qt.ControlModifier)
    assert form.isVisible()
    assert form.fields["beam_energy"].text() == "80"


def test_what_is_wrong_stands_at_its_field(qtbot, window, form):
    fill(qtbot, form, beam_energy="-5", x_scale="2", rows="5", columns="5")
    form.submit()
    assert "more than 0" in trouble(form, "beam_energy")
    assert "25, but there are 12" in trouble(form, "navigation_shape")
    assert form.fields["beam_energy"].property("wrong") is True
    assert len(window.session.library.trees[ROOT[:1]][0].nodes) == 2, "nothing was sent"
    fill(qtbot, form, beam_energy="5", rows="", columns="")
    form.submit()
    assert "units?" in trouble(form, "axes.x.units")
    assert trouble(form, "beam_energy") == ""


def test_what_the_service_refuses_stands_at_its_field_and_nothing_is_lost(qtbot, window, form):
    fill(qtbot, form, beam_energy="200", name="root")
    form.submit()
    qtbot.waitUntil(lambda: "choose another" in trouble(form, "name"))
    fill(qtbot, form, name="", x_name="y")
    form.submit()
    qtbot.waitUntil(lambda: "two would be called 'y'" in trouble(form, ""))
    fill(qtbot, form, pixel_size="55", x_name="x")
    form.submit()
    qtbot.waitUntil(lambda: "camera_length" in trouble(form, "pixel_size"))
    assert form.fields["beam_energy"].text() == "200"
    assert form.make_button.isEnabled()
    assert not window.banner.isVisible(), "it is said in the form, not twice"


def test_nothing_told_is_nothing_made(form):
    form.submit()
    assert "nothing has been changed" in trouble(form, "")


def test_help_comes_from_the_service(form):
    assert "Acceleration voltage" in form.fields["beam_energy"].toolTip()
    assert "Arrange the frames" in form.fields["rows"].toolTip()
    assert "value is 0" in form.fields["axes.x.center"].toolTip()


def test_a_single_spectrum_has_no_shape_to_tell(qtbot, window):
    choose(qtbot, window, "spectrum.hspy", "signal", "root")
    qtbot.waitUntil(window.toolbar.calibrate.isEnabled)
    window.toolbar.calibrate.click()
    form = window.calibrate
    assert "rows" not in form.fields
    (axis,) = window.session.state.node.axes
    fill(qtbot, form, **{f"axes.{axis.name}.{part}": t for part, t in SPECTRUM.items()})
    form.submit()
    qtbot.waitUntil(lambda: window.session.state.node.name == "calibrate" and shown(window))
    x, y = window.signal.curve.curve.getData()
    np.testing.assert_allclose(x, 100 + 0.5 * np.arange(axis.size))
    np.testing.assert_array_equal(y, encoded((40,)))


def test_every_tree_has_it_in_its_menu(qtbot, window, monkeypatch):
    asked = []
    window.tree.calibrate_asked.connect(asked.append)
    shown_menus = []
    monkeypatch.setattr(
        "viewer.panels.tree.QtWidgets.QMenu.popup", lambda menu, _place: shown_menus.append(menu)
    )
    rows = window.tree.list
    rows.customContextMenuRequested.emit(rows.visualItemRect(window.tree.items[ROOT]).center())
    (action,) = (action for action in shown_menus[0].actions() if action.text() == "Calibrate…")
    action.trigger()
    assert asked == [ROOT[:2]]
    assert window.calibrate.isVisible()


class TestNotPossible:
    @staticmethod
    def service(operations, refuses=None):
        routes = APIRouter()

        @routes.get("/operations")
        def listed():
            return [
                {"name": name, "summary": "", "parameters": {"properties": {"a": {}}}} for name in operations
            ]

        @routes.post("/nodes/{path:path}")
        def make(path: str, body: dict):
            if refuses:
                raise HTTPException(*refuses)
            raise HTTPException(422, "parent: Field required")

        return StandIn(file(signal=diffraction_scan()), routes=routes)

    @pytest.mark.parametrize(
        ("operations", "refuses", "says"),
        [
            (["scale"], None, "no operation that calibrates"),
            (["calibrate"], (403, "Not enough permissions"), "may look, but make nothing"),
            (["calibrate"], (401, "Not enough permissions"), "may look, but make nothing"),
            (["calibrate"], (404, "No such entry"), "No such entry"),
        ],
    )
    def test_the_button_says_why(self, qtbot, operations, refuses, says):
        server = self.service(operations, refuses).start()
        try:
            with opened(qtbot, server.url) as window:
                button = window.toolbar.calibrate
                qtbot.waitUntil(lambda: says in button.toolTip())
                assert not button.isEnabled()
                qtbot.waitUntil(lambda: shown(window))
                assert not window.banner.isVisible(), "a key that may only look is no trouble"
                assert "connected" in window.status.connection.text()
                probes = [url for url in server.traffic.requests if url == "/api/v1/nodes/signal?"]
                assert len(probes) <= 1
        finally:
            server.stop()

    def test_a_service_without_operations_at_all(self, qtbot):
        server = StandIn(file(signal=diffraction_scan())).start()
        try:
            with opened(qtbot, server.url) as window:
                qtbot.waitUntil(lambda: "no operation" in window.toolbar.calibrate.toolTip())
                assert not window.toolbar.calibrate.isEnabled()
        finally:
            server.stop()

    def test_the_probe_makes_nothing(self, qtbot):
        server = self.service(["calibrate"]).start()
        try:
            with opened(qtbot, server.url) as window:
                qtbot.waitUntil(window.toolbar.calibrate.isEnabled)
                qtbot.waitUntil(lambda: "/api/v1/nodes/signal?" in server.traffic.requests)
                assert window.toolbar.calibrate.isEnabled()
        finally:
            server.stop()
