"""What a person does in the window, and what is then on the screen."""

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtGui
from viewer_service import (
    choose,
    encoded,
    opened,
    painted,
    place,
    press,
    settle,
    shown,
    unfold,
)

from viewer.panels.image import lookup_table
from viewer.picture import Scale
from viewer.tour.hand import drag
from viewer.view_state import Region

SCAN = encoded(5, 7, 6, 9)
ROOT = ("scan.hspy", "signal", "root")
Key = QtCore.Qt.Key
Shift = QtCore.Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def window(qtbot, stand_in):
    stand_in.traffic.requests.clear()
    stand_in.traffic.delays.clear()
    stand_in.traffic.refusals.clear()
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *ROOT)
        yield window


def test_the_first_scan_opens_by_itself_at_its_centre(qtbot, stand_in):
    with opened(qtbot, stand_in.url) as window:
        qtbot.waitUntil(lambda: shown(window))
        assert window.session.state.node.path == ROOT
        assert window.session.state.position == (2, 3)
        np.testing.assert_array_equal(window.signal.picture.raw, SCAN[2, 3])


def test_the_frame_at_the_crosshair_is_on_the_screen(window):
    view = window.signal.image
    view.set_levels((float(SCAN[2, 3].min()), float(SCAN[2, 3].max())))
    table = lookup_table("inferno")
    for row, column in [(0, 0), (0, 8), (5, 0), (5, 8), (2, 3)]:
        value = (int(SCAN[2, 3, row, column]) - int(SCAN[2, 3].min())) / 53
        expected = table[min(255, int(value * 256))]
        np.testing.assert_allclose(painted(view, row, column), expected, atol=6)


def test_the_navigator_is_complete_and_the_right_way_round(window):
    np.testing.assert_array_equal(window.navigator.image.picture.raw, SCAN.sum((2, 3)))
    levels = [
        sum(painted(window.navigator.image, row, column)) for row, column in [(0, 0), (0, 6), (4, 0), (4, 6)]
    ]
    assert levels == sorted(levels)
    assert levels[0] < levels[-1]


def test_dragging_the_crosshair_shows_the_frames_under_it(qtbot, window):
    view, seen = window.navigator.image, []
    window.session.framed.connect(lambda answer: seen.append(answer.request.position))
    drag(view, place(view, 2, 3), place(view, 4, 6))
    settle(qtbot, window, (4, 6))
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[4, 6])
    assert len(seen) > 1, "frames on the way are shown too"
    assert (view.crosshair.place.y(), view.crosshair.place.x()) == (4, 6)
    assert "(6, 4)" in window.signal.title.text()


def test_the_handle_can_be_grabbed_beside_its_centre(qtbot, window):
    """The crosshair keeps its distance to the hand: it does not jump when it is taken."""
    view = window.navigator.image
    off = QtCore.QPoint(8, -8)
    drag(view, place(view, 2, 3) + off, place(view, 2, 5) + off)
    settle(qtbot, window, (2, 5))


def test_dragging_out_of_the_scan_stops_at_its_edge(qtbot, window):
    view = window.navigator.image
    drag(view, place(view, 2, 3), place(view, 2, 3) + QtCore.QPoint(3000, -3000))
    settle(qtbot, window, (0, 6))


def test_a_click_jumps(qtbot, window):
    press(window.navigator.image, 1, 5)
    settle(qtbot, window, (1, 5))
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 5])


@pytest.mark.parametrize("panel", ["navigator", "signal"])
@pytest.mark.parametrize(
    ("key", "modifier", "position"),
    [
        (Key.Key_Left, None, (2, 2)),
        (Key.Key_Right, None, (2, 4)),
        (Key.Key_Up, None, (1, 3)),
        (Key.Key_Down, None, (3, 3)),
        (Key.Key_Right, Shift, (2, 6)),
        (Key.Key_Up, Shift, (0, 3)),
    ],
)
def test_arrow_keys_step(qtbot, window, panel, key, modifier, position):
    view = getattr(window, panel).view
    qtbot.keyClick(view, key, modifier or QtCore.Qt.KeyboardModifier.NoModifier)
    settle(qtbot, window, position)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[position])


def test_shift_steps_by_five(qtbot, window):
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    press_key = window.navigator.view
    qtbot.keyClick(press_key, Key.Key_Right, Shift)
    settle(qtbot, window, (2, 16))


def test_a_held_key_repeats(qtbot, window):
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    for _ in range(6):
        qtbot.keyPress(window.navigator.view, Key.Key_Right)
    settle(qtbot, window, (2, 17))


def test_toggling_nodes_keeps_position_zoom_and_levels(qtbot, window):
    press(window.navigator.image, 3, 1)
    settle(qtbot, window, (3, 1))
    view = window.signal.image
    view.show_region(Region(1.0, 4.0, 2.0, 6.5))
    zoom = view.region()
    levels = window.session.contrasts.levels[window.session.state.node.family]
    choose(qtbot, window, "scan.hspy", "signal", "halved")
    assert window.session.state.position == (3, 1)
    assert view.region() == zoom
    np.testing.assert_array_equal(window.signal.picture.raw, (SCAN[3, 1] / 2).astype("f4"))
    qtbot.keyClick(window, Key.Key_Space)
    qtbot.waitUntil(lambda: window.session.state.node.path == ROOT and shown(window))
    assert window.session.state.position == (3, 1)
    assert view.region() == zoom
    assert tuple(view.overview.getLevels()) == pytest.approx(levels)
    assert window.session.contrasts.levels[window.session.state.node.family] == levels


def test_levels_stay_while_frames_change_and_follow_when_unlocked(qtbot, window):
    before = tuple(window.signal.image.overview.getLevels())
    press(window.navigator.image, 4, 6)
    settle(qtbot, window, (4, 6))
    assert tuple(window.signal.image.overview.getLevels()) == before
    window.toolbar.lock.click()
    press(window.navigator.image, 0, 0)
    settle(qtbot, window, (0, 0))
    assert tuple(window.signal.image.overview.getLevels()) == pytest.approx(
        tuple(np.percentile(SCAN[0, 0], (1, 99)))
    )


def test_auto_takes_1_to_99_percent_of_what_is_shown(qtbot, window):
    press(window.navigator.image, 4, 6)
    settle(qtbot, window, (4, 6))
    window.toolbar.auto.click()
    expected = tuple(np.percentile(SCAN[4, 6], (1, 99)))
    assert tuple(window.signal.image.overview.getLevels()) == pytest.approx(expected)


def test_the_logarithm_is_applied_before_painting(qtbot, window):
    window.toolbar.scales[Scale.LOG].click()
    qtbot.waitUntil(lambda: window.signal.picture.stretch.scale is Scale.LOG)
    np.testing.assert_allclose(window.signal.image.overview.image, np.log1p(SCAN[2, 3]), rtol=1e-6)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[2, 3])


def test_dragging_a_level_of_the_histogram_sets_it(qtbot, window):
    window.show_histograms()
    histogram = window.signal_contrast.histogram
    low, high = window.session.contrasts.levels[window.session.state.node.family]
    middle = (low + high) / 2
    start = QtCore.QPoint(round(histogram.x_of(high)), 30)
    end = QtCore.QPoint(round(histogram.x_of(middle)), 30)
    drag(histogram, start, end)
    painted_low, painted_high = window.signal.image.overview.getLevels()
    assert painted_low == pytest.approx(low)
    assert painted_high == pytest.approx(middle, rel=0.02)


def test_an_unreadable_file_is_listed_and_says_why(qtbot, window):
    item = window.tree.items["broken.mrc",]
    assert "truncated: 12 of 1024 bytes" in item.toolTip(0)
    window.tree.list.itemClicked.emit(item, 0)
    assert "truncated: 12 of 1024 bytes" in window.banner.text.text()
    assert window.banner.isVisible()
    assert window.session.state.node.path == ROOT
    choose(qtbot, window, "scan.hspy", "signal", "halved")
    assert not window.banner.isVisible()


def test_the_list_says_shapes_and_nests_nodes_under_their_parents(qtbot, window):
    unfold(qtbot, window, "folder", "series.mrc", "signal")
    items = window.tree.items
    assert items[ROOT].text(1) == "7×5|9×6"
    assert items["scan.hspy", "signal", "halved"].parent() is items[ROOT]
    assert "scale(factor = 0.5)" in items["scan.hspy", "signal", "halved"].toolTip(0)
    assert items["scan.hspy", "signal"] is items[ROOT]
    assert items[ROOT].text(0) == "scan.hspy"
    assert items["folder", "series.mrc", "signal"].text(0) == "series.mrc"
    assert items["folder", "series.mrc"].parent() is items["folder",]


def test_under_the_mouse_index_units_and_intensity_are_read(qtbot, window):
    view = window.signal.image
    view.scene().sigMouseMoved.emit(view.box.mapViewToScene(QtCore.QPointF(7, 2)))
    text = window.status.mouse.text()
    assert "(7, 2)" in text
    assert "kx 0.3 nm⁻¹" in text
    assert "ky -0.05 nm⁻¹" in text
    assert f"I {SCAN[2, 3, 2, 7]}" in text
    window.session.move_to((4, 6))
    settle(qtbot, window, (4, 6))
    assert f"I {SCAN[4, 6, 2, 7]}" in window.status.mouse.text(), "a new frame is read out without a new move"
    navigator = window.navigator.image
    navigator.scene().sigMouseMoved.emit(navigator.box.mapViewToScene(QtCore.QPointF(6, 1)))
    assert "x 6 px (12 nm)" in window.status.mouse.text()


def test_the_scale_bar_follows_the_zoom(window):
    view = window.navigator.image
    view.show_region(Region(-0.5, 4.5, -0.5, 6.5))
    text, length = view.scale_bar.measure()
    (x0, x1), _ = view.box.viewRange()
    value, units = text.split()
    assert units == "nm"
    assert length / view.box.width() * (x1 - x0) * 2.0 == pytest.approx(float(value))
    assert float(value) <= (x1 - x0) * 2.0 / 3
    view.show_region(Region(1, 2, 1, 2.2))
    closer = view.scale_bar.measure()[0]
    assert closer != text


def test_the_status_bar_says_position_and_cost(qtbot, window):
    qtbot.waitUntil(lambda: "–" not in window.status.figures.text())
    assert "connected" in window.status.connection.text()
    assert "(3, 2)" in window.status.position.text()
    assert "x 6 nm · y 4 nm" in window.status.position.text()
    assert "MiB" in window.status.figures.text()


def test_a_frame_does_not_wait_for_the_navigator(qtbot, stand_in):
    stand_in.traffic.requests.clear()
    stand_in.traffic.held = {"/navigator@"}
    try:
        with opened(qtbot, stand_in.url) as window:
            qtbot.waitUntil(lambda: window.signal.picture is not None)
            for column in (4, 5, 6):
                window.session.move_to((1, column))
                qtbot.waitUntil(lambda column=column: window.signal.painted_at == (1, column))
            assert window.navigator.image.picture is None
            data = stand_in.traffic.data()
            first = next(url for url in data if "navigator@" in url)
            assert data.index(first) > 0, "the first frame was asked for before the navigator"
    finally:
        stand_in.traffic.held = set()


def test_the_navigator_comes_coarse_first(qtbot, window, stand_in):
    strides = []
    window.session.framed.connect(lambda answer: strides.append(answer.request.stride))
    stand_in.traffic.delays = {"large@": 0.2}
    choose(qtbot, window, "map.hspy", "signal", "large")
    assert strides[0] == 4
    assert strides[-1] == 1
    assert strides == sorted(strides, reverse=True)
    np.testing.assert_array_equal(window.signal.picture.raw, encoded(70, 45, dtype="f8"))


def test_the_newest_wins_on_a_slow_service(qtbot, window, stand_in):
    stand_in.traffic.delays = {"/root@0a/c/": 0.05}
    stand_in.traffic.requests.clear()
    for step in range(60):
        window.session.move_to((step % 5, step % 7))
        qtbot.wait(2)
    window.session.move_to((4, 0))
    settle(qtbot, window, (4, 0))
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[4, 0])


def test_the_window_lives_while_an_answer_takes_its_time(qtbot, window, stand_in):
    """Were it held up, then until the answer comes, which is after the ticks."""
    stand_in.traffic.held = {"/c/0/1/"}
    ticks = []
    timer = QtCore.QTimer(interval=10)
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start()
    window.session.move_to((0, 1))
    try:
        qtbot.waitUntil(lambda: any("/c/0/1/" in url for url in stand_in.traffic.data()))
        ticks.clear()
        qtbot.waitUntil(lambda: len(ticks) > 40)
        assert window.signal.painted_at != (0, 1)
    finally:
        stand_in.traffic.held = set()
        timer.stop()


def test_what_comes_next_is_fetched_ahead(qtbot, window, stand_in):
    for _ in range(20):  # as after many quick answers
        window.session.fetcher.window("frame").record(0.001)
    window.session.move_to((2, 4))
    qtbot.waitUntil(lambda: any("/c/2/5/" in url for url in stand_in.traffic.data()))
    qtbot.waitUntil(lambda: any("/c/2/6/" in url for url in stand_in.traffic.data()))
    said = {
        url.split("/c/")[1]: priority for url, priority in stand_in.traffic.priorities.items() if "/c/" in url
    }
    assert said["2/5/0/0?"] == said["2/6/0/0?"] == "u=5"
    assert said["2/4/0/0?"] == "u=1"
    assert said["0/0?"] == "u=3"  # the navigator


def test_keys_for_scale_levels_and_fit(qtbot, window):
    levels = tuple(window.signal.image.overview.getLevels())
    window.signal.set_levels((0.0, 1.0))
    qtbot.keyClick(window, Key.Key_A)
    assert tuple(window.signal.image.overview.getLevels()) == pytest.approx(levels)
    window.signal.image.show_region(Region(1, 2, 1, 2))
    qtbot.keyClick(window, Key.Key_F)
    assert window.signal.image.region().x1 > 8
    qtbot.keyClick(window, Key.Key_L)
    assert window.toolbar.scales[Scale.SQRT].isChecked()
    qtbot.waitUntil(lambda: window.signal.picture.stretch.scale is Scale.SQRT)
    np.testing.assert_allclose(window.signal.image.overview.image, np.sqrt(SCAN[2, 3]), rtol=1e-6)


def test_levels_of_the_navigator_are_its_own(window):
    signal = tuple(window.signal.image.overview.getLevels())
    window.navigator_contrast.histogram.dragged.emit((1000.0, 2000.0))
    assert tuple(window.navigator.image.overview.getLevels()) == (1000, 2000)
    assert tuple(window.signal.image.overview.getLevels()) == signal


def test_another_colormap_is_on_the_screen(window):
    window.toolbar.colormaps.setCurrentText("gray")
    window.toolbar.colormaps.activated.emit(window.toolbar.colormaps.currentIndex())
    red, green, blue = painted(window.signal.image, 2, 3)
    assert red == green == blue > 20


def test_both_themes_can_be_put_on(window):
    panel = window.tree.palette().color(window.tree.backgroundRole())
    seen = []
    for _ in range(2):
        window.toolbar.theme_button.click()
        seen.append(window.grab().toImage().pixelColor(4, 300).lightness())
    assert seen[0] > 200 > 60 > seen[1]
    assert panel == window.tree.palette().color(window.tree.backgroundRole())


def test_names_can_be_read_in_a_small_window(qtbot, window):
    window.resize(640, 400)
    assert window.tree.width() >= 300


def test_the_last_column_of_pixels_has_the_colour_of_the_canvas(window):
    for view in (window.signal.image, window.navigator.image):
        for role in (QtGui.QPalette.Base, QtGui.QPalette.Window):
            assert view.viewport().palette().color(role) == view.backgroundBrush().color()


def test_the_tool_tip_says_where_the_time_of_a_frame_went(qtbot, window, stand_in):
    stand_in.traffic.timing = "queue;dur=1.5, compute;dur=6"
    window.session.move_to((3, 1))
    qtbot.waitUntil(lambda: "queue 1.5 ms\ncompute 6.0 ms" in window.status.figures.toolTip())
