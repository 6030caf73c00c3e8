"""Images in their own colours, and curves with gaps: what is painted is what is in the file."""

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore
from viewer_service import (
    PinnedMap,
    StandIn,
    axis,
    choose,
    file,
    node,
    opened,
    painted,
    place,
    press,
    scan_axes,
    settle,
    tree,
)

from viewer.panels.curve import CurveView
from viewer.picture import prepare
from viewer.theme import LIGHT
from viewer.view_state import Region

PLANE = [axis("y", 6, 0.5, "nm"), axis("x", 8, 0.5, "nm")]
SPECTRUM = np.where((np.arange(40) > 14) & (np.arange(40) < 26), np.nan, 100.0 + np.arange(40)).astype("<f4")


def colours(*shape, dtype):
    """Position-encoded: red follows the row, green the column, blue the frame."""
    top = np.iinfo(dtype).max
    frame, row, column = np.indices(shape[:3])
    parts = [row * top // 5, column * top // 7, frame * top // 4, np.full(shape[:3], top)]
    return np.stack(parts[: shape[3]], axis=-1).astype(dtype)


RGB8, RGB16 = colours(5, 6, 8, 3, dtype="<u1"), colours(5, 6, 8, 4, dtype="<u2")


@pytest.fixture(scope="module")
def server():
    line = [axis("n", 5, navigate=True)]
    stack = tree(
        {
            "root": node(RGB8, [*line, *PLANE, axis("colour", 3)]),
            "navigator": node(RGB8.sum((1, 2, 3), dtype="f8"), line, parent="root", chunks=(5,)),
        }
    )
    large = np.zeros((1500, 1400, 3), "<u1")
    large[..., 0], large[..., 1] = np.indices((1500, 1400)) // 8
    axes = [axis("y", 1500), axis("x", 1400), axis("colour", 3)]
    broken = np.stack([np.full(40, 50.0), SPECTRUM]).astype("<f4")
    spectra = node(broken, [axis("n", 2, navigate=True), axis("Energy", 40, 0.1, "keV")])
    many = {
        "image.tif": file(signal=tree({"root": node(RGB16[4], [*PLANE, axis("colour", 4)])})),
        "large.tif": file(signal=tree({"root": node(large, axes, chunks=(512, 512, 3))})),
        "plain.tif": file(signal=tree({"root": node(RGB8[0, ..., 0].copy(), PLANE)})),
        "spectra.hspy": file(signal=tree({"root": spectra})),
        "stack.tif": file(signal=stack),
    }
    server = StandIn(PinnedMap(many)).start()
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, server):
    server.traffic.requests.clear()
    with opened(qtbot, server.url) as window:
        yield window


CORNERS = [(0, 0), (0, 7), (5, 0), (5, 7), (2, 3)]


def test_eight_bits_are_painted_as_they_are(qtbot, window):
    choose(qtbot, window, "stack.tif", "signal", "root")
    for row, column in CORNERS:
        np.testing.assert_allclose(painted(window.signal.image, row, column), RGB8[2, row, column], atol=2)
    np.testing.assert_array_equal(window.signal.picture.raw, RGB8[2])


def test_sixteen_bits_are_scaled(qtbot, window):
    choose(qtbot, window, "image.tif", "signal", "root")
    for row, column in CORNERS:
        expected = RGB16[4, row, column, :3] / 257
        np.testing.assert_allclose(painted(window.signal.image, row, column), expected, atol=2)


def test_a_stack_of_them_is_pointed_into(qtbot, window, server):
    choose(qtbot, window, "stack.tif", "signal", "root")
    press(window.navigator.curve, window.navigator.curve.crosshair.place.y(), 4)
    settle(qtbot, window, (4,))
    np.testing.assert_allclose(painted(window.signal.image, 5, 7), (255, 255, 255), atol=2)
    qtbot.keyClick(window.signal.view, QtCore.Qt.Key.Key_Left)
    settle(qtbot, window, (3,))
    np.testing.assert_array_equal(window.signal.picture.raw, RGB8[3])
    frames = [url for url in server.traffic.data() if "/zarr/v3/stack.tif/signal/root@0a/c/3/" in url]
    assert frames == ["/zarr/v3/stack.tif/signal/root@0a/c/3/0/0/0?"], (
        "one frame is one chunk, colours and all"
    )


def test_a_large_one_refines_where_it_is_looked_at(qtbot, window):
    choose(qtbot, window, "large.tif", "signal", "root")
    view = window.signal.image
    assert view.overview.image.shape == (750, 700, 3)
    np.testing.assert_allclose(painted(view, 800, 640), (100, 80, 0), atol=2)
    view.show_region(Region(700, 800, 600, 700))
    qtbot.waitUntil(lambda: view.detail.image is not None)
    assert view.detail.image.shape[2] == 3
    np.testing.assert_allclose(painted(view, 760, 648), (95, 81, 0), atol=2)
    assert view.value_at(648, 760)[2].tolist() == [95, 81, 0]


def test_the_colours_of_a_pixel_are_read_out(qtbot, window):
    choose(qtbot, window, "stack.tif", "signal", "root")
    view = window.signal.image
    view.scene().sigMouseMoved.emit(view.box.mapViewToScene(QtCore.QPointF(7, 5)))
    assert window.status.mouse.text() == "(7, 5) · x 3.5 nm · y 2.5 nm · R 255 · G 255 · B 127"


def test_there_is_no_contrast_to_choose(qtbot, window):
    toolbar = window.toolbar
    choose(qtbot, window, "stack.tif", "signal", "root")
    controls = [*toolbar.scales.values(), toolbar.colormaps, toolbar.auto, toolbar.lock]
    assert not any(control.isEnabled() for control in controls)
    assert not window.signal_contrast.isVisible()
    qtbot.keyClick(window, QtCore.Qt.Key.Key_L)
    qtbot.keyClick(window, QtCore.Qt.Key.Key_A)
    np.testing.assert_allclose(painted(window.signal.image, 5, 0), RGB8[2, 5, 0], atol=2)
    choose(qtbot, window, "plain.tif", "signal", "root")
    assert all(control.isEnabled() for control in controls)
    assert window.signal_contrast.isVisible()
    low, high = (painted(window.signal.image, row, 0) for row in (0, 5))
    assert low[0] == low[1] == low[2] < 5
    assert high[0] == high[1] == high[2] > 250


def test_the_list_says_that_it_is_in_colour(qtbot, window):
    choose(qtbot, window, "stack.tif", "signal", "root")
    assert window.tree.items["stack.tif",].text(1) == "5|8×6 RGB"
    assert "Colour image" in window.signal.title.text()


class TestGaps:
    def test_what_is_missing_in_a_spectrum_is_a_gap(self, qtbot, window):
        choose(qtbot, window, "spectra.hspy", "signal", "root")
        assert window.session.state.position == (1,)
        window.set_theme("light")
        view = window.signal.curve
        gap, there = (self.column(view, index) for index in (20, 5))
        paper = LIGHT.panel.lstrip("#")
        background = tuple(int(paper[i : i + 2], 16) for i in (0, 2, 4))
        assert not any(self.blue(colour) for colour in gap), "neither line nor filling in the gap"
        assert any(self.blue(colour) for colour in there)
        assert background in gap
        assert np.isnan(view.picture.shown[20])
        assert view.picture.limits == (100.0, 139.0)

    @staticmethod
    def column(view, index):
        """All colours on the screen above one index."""
        image = view.grab().toImage()
        low, high = view.box.viewRange()[1]
        x = 0.1 * index
        top, bottom = (place(view, value, x) for value in (high, low))
        colours = (image.pixelColor(top.x(), y) for y in range(top.y() + 2, bottom.y() - 2))
        return {(colour.red(), colour.green(), colour.blue()) for colour in colours}

    @staticmethod
    def blue(colour):
        return colour[2] - colour[0] > 18

    def test_infinities_are_no_gaps(self):
        picture = prepare(np.array([1.0, np.inf, np.nan, 3.0]))
        np.testing.assert_array_equal(picture.shown, [1, 3, np.nan, 3])

    def test_the_crosshair_of_a_curve_survives_a_gap(self, qtbot):
        view = CurveView()
        qtbot.addWidget(view)
        from viewer.nodes import Axis

        view.set_axes((Axis("n", 3),))
        view.point_at(1)
        picture = prepare(np.array([1.0, np.nan, 3.0]))
        view.paint_picture(picture, picture.limits)
        assert np.isfinite(view.crosshair.place.y())

    def test_an_image_with_gaps_stays_quick_to_paint(self):
        assert np.isfinite(prepare(np.array([[1.0, np.nan], [2.0, 3.0]])).shown).all()


def test_a_map_over_a_scan_with_three_values_is_no_image_in_colour(qtbot):
    data = np.arange(5 * 7 * 3, dtype="<u1").reshape(5, 7, 3)
    root = node(data, [*scan_axes(5, 7), axis("colour", 3)])
    server = StandIn(PinnedMap({"m": file(signal=tree({"root": root}))})).start()
    try:
        with opened(qtbot, server.url) as window:
            choose(qtbot, window, "m", "signal", "root")
            np.testing.assert_array_equal(window.signal.picture.raw, data[2, 3])
    finally:
        server.stop()
