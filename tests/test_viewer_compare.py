"""Several nodes at the same position: painted together, linked, in turns, and what lies between them."""

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore
from viewer_service import (
    PinnedMap,
    StandIn,
    choose,
    diffraction_scan,
    encoded,
    file,
    node,
    opened,
    scan_axes,
    shown,
    tree,
)
from viewer_service import axis as an_axis

from viewer.compared import why_no_difference
from viewer.picture import Scale
from viewer.view_state import Region

SCAN = encoded(5, 7, 6, 9)
TREE = ("scan.hspy", "signal")
ROOT, HALVED, CENTRE = (*TREE, "root"), (*TREE, "halved"), (*TREE, "centre")
ENERGY = an_axis("Energy", 50, 0.1, "keV")
Key = QtCore.Qt.Key


@pytest.fixture(scope="module")
def service():
    scan = diffraction_scan()
    navigation = scan_axes(5, 7)
    smaller = [an_axis("ky", 3, 0.2, "1/nm", offset=-0.2), an_axis("kx", 4, 0.2, "1/nm", offset=-0.3)]
    shifted = [an_axis("ky", 6, 0.1, "1/nm"), an_axis("kx", 9, 0.1, "1/nm")]
    scan._mapping["binned"] = node(encoded(5, 7, 3, 4), [*navigation, *smaller], "0b", "root")
    scan._mapping["shifted"] = node(SCAN + np.uint16(3), [*navigation, *shifted], "0b", "root")
    spectra = encoded(5, 7, 50, dtype="<f4")
    curves = {
        name: node(spectra * factor, [*navigation, ENERGY], f"0{factor}", parent)
        for name, factor, parent in (("root", 1, None), ("twice", 2, "root"))
    }
    stand_in = StandIn(PinnedMap({"scan.hspy": file(signal=scan), "spectra.hspy": file(signal=tree(curves))}))
    yield stand_in.start()
    stand_in.stop()


@pytest.fixture
def window(qtbot, service):
    service.traffic.delays.clear()
    service.traffic.refusals.clear()
    with opened(qtbot, service.url) as window:
        choose(qtbot, window, *ROOT)
        yield window


def compare(qtbot, window, *names):
    for name in names:
        window.comparing.mark((*TREE, name))
    qtbot.keyClick(window, Key.Key_C)
    qtbot.waitUntil(lambda: together(window))
    return window.comparing.panel


def together(window):
    """All are painted, at the position that is pointed at."""
    beside = window.comparing.beside
    at = {answer.request.position for answer in beside.painted.values() if answer.request.node.kind != "map"}
    older = any(beside.is_older(which) for which in range(len(beside.nodes)))
    there = at <= {window.session.state.position} and not older
    return there and len(beside.painted) == len(beside.nodes)


def cells(panel):
    return [panel.cell(which) for which in range(len(panel.nodes))]


def test_nodes_chosen_in_the_list_stand_side_by_side(qtbot, window):
    for path in (ROOT, HALVED):
        place = window.tree.list.visualItemRect(window.tree.items[path]).center()
        qtbot.mouseClick(window.tree.list.viewport(), QtCore.Qt.LeftButton, QtCore.Qt.ControlModifier, place)
    assert window.session.state.node.path == ROOT, "Ctrl+click shows nothing by itself"
    assert window.tree.items[ROOT].text(1).startswith("A ")
    assert window.tree.items[HALVED].text(1).startswith("B ")
    qtbot.keyClick(window, Key.Key_C)
    qtbot.waitUntil(lambda: together(window))
    one, other = cells(window.comparing.panel)
    np.testing.assert_array_equal(one.image.picture.raw, SCAN[2, 3])
    np.testing.assert_array_equal(other.image.picture.raw, (SCAN[2, 3] / 2).astype("f4"))
    assert one.isVisible()
    assert other.isVisible()
    assert not window.signal.isVisible()
    assert "A · scan.hspy" in one.title.text()
    assert "(3, 2)" in other.title.text()
    qtbot.keyClick(window, Key.Key_C)
    assert window.signal.isVisible()
    assert window.tree.items[ROOT].text(1) == "7×5|9×6"


def test_two_are_laid_out_as_the_room_for_them_is(qtbot, window):
    panel = compare(qtbot, window, "root", "halved")
    one, other = cells(panel)
    window.resize(1300, 1000)
    qtbot.waitUntil(lambda: other.x() == one.x() and other.y() > one.y())
    window.resize(2600, 600)
    qtbot.waitUntil(lambda: other.x() > one.x() and other.y() == one.y())


def test_nothing_chosen_compares_a_node_with_what_it_was_made_from(qtbot, window):
    choose(qtbot, window, *HALVED)
    window.toolbar.compare.click()
    qtbot.waitUntil(lambda: together(window))
    assert window.comparing.paths == (ROOT, HALVED)


def test_one_node_alone_is_not_compared_and_it_says_how(qtbot, window):
    qtbot.keyClick(window, Key.Key_C)
    assert "Ctrl+click" in window.banner.text.text()
    assert not window.comparing.active
    assert not window.toolbar.compare.isChecked()


def test_they_move_together(qtbot, window):
    panel, sets = compare(qtbot, window, "root", "halved"), []
    window.comparing.beside.came.connect(
        lambda _came: sets.append({a.request.position for a in window.comparing.beside.painted.values()})
    )
    for position in ((0, 0), (4, 6), (1, 2)):
        window.session.move_to(position)
        qtbot.waitUntil(lambda: together(window))
        one, other = cells(panel)
        np.testing.assert_array_equal(one.image.picture.raw, SCAN[position])
        np.testing.assert_array_equal(other.image.picture.raw, (SCAN[position] / 2).astype("f4"))
    assert sets


def test_a_slow_one_shows_its_older_picture_dimmed_and_holds_up_nobody(qtbot, window, service):
    panel = compare(qtbot, window, "root", "halved")
    service.traffic.delays["halved@0a/c/4/6/"] = 3.0
    window.session.move_to((4, 6))
    one, other = cells(panel)
    qtbot.waitUntil(lambda: bool((one.image.picture.raw == SCAN[4, 6]).all()))
    qtbot.waitUntil(other.sign.isVisible)
    assert other.image.overview.opacity() < 1
    assert one.image.overview.opacity() == 1
    np.testing.assert_array_equal(other.image.picture.raw, (SCAN[2, 3] / 2).astype("f4"))
    assert "(3, 2)" in other.title.text()
    qtbot.waitUntil(lambda: together(window))
    assert not other.sign.isVisible()
    np.testing.assert_array_equal(other.image.picture.raw, (SCAN[4, 6] / 2).astype("f4"))


def test_zoom_and_crosshair_are_linked_by_what_is_on_the_axes(qtbot, window):
    panel = compare(qtbot, window, "root", "binned")
    one, other = cells(panel)
    one.image.show_region(Region(0.5, 4.5, 1.0, 7.0))
    here, there = one.image.region(), other.image.region()
    middle = (here.x0 + here.x1) / 2 * 0.1 - 0.4
    assert (there.x0 + there.x1) / 2 * 0.2 - 0.3 == pytest.approx(middle, abs=0.02)
    one.image.hovered.emit((5.0, 2.0))  # kx = 0.1, ky = -0.05
    assert other.image.crosshair.isVisible()
    assert not one.image.crosshair.isVisible()
    assert other.image.crosshair.place.x() == pytest.approx(2.0)
    assert other.image.crosshair.place.y() == pytest.approx(0.75)
    assert f"{SCAN[2, 3, 2, 5]}" in one.title.text()
    assert f"{encoded(5, 7, 3, 4)[2, 3, 1, 2]}" in other.title.text()
    one.image.hovered.emit(None)
    assert not other.image.crosshair.isVisible()


def test_levels_are_shared_or_each_its_own(qtbot, window):
    panel = compare(qtbot, window, "root", "halved")
    one, other = (cell.image for cell in cells(panel))
    both = (
        np.percentile(SCAN[2, 3] / 2, 1),
        np.percentile(SCAN[2, 3], 99),
    )
    assert tuple(one.overview.getLevels()) == pytest.approx(both)
    assert tuple(other.overview.getLevels()) == pytest.approx(both)
    panel.switches.shared.click()
    assert tuple(other.overview.getLevels()) == pytest.approx(np.percentile(SCAN[2, 3] / 2, (1, 99)))
    assert tuple(one.overview.getLevels()) == pytest.approx(np.percentile(SCAN[2, 3], (1, 99)))
    panel.switches.shared.click()
    window.signal_contrast.histogram.dragged.emit((10.0, 900.0))
    assert tuple(one.overview.getLevels()) == (10, 900)
    assert tuple(other.overview.getLevels()) == (10, 900)
    window.toolbar.auto.click()
    assert tuple(other.overview.getLevels()) == pytest.approx(both)


def test_scale_and_colormap_are_those_of_the_toolbar(qtbot, window):
    panel = compare(qtbot, window, "root", "halved")
    window.toolbar.scales[Scale.LOG].click()
    images = [cell.image for cell in cells(panel)]
    qtbot.waitUntil(lambda: all(image.picture.stretch.scale is Scale.LOG for image in images))
    window.toolbar.colormaps.setCurrentText("gray")
    window.toolbar.colormaps.activated.emit(window.toolbar.colormaps.currentIndex())
    for image in images:
        red, green, blue = image.overview.lut[200][:3]
        assert red == green == blue


def test_the_difference_is_of_both_at_one_position(qtbot, window):
    panel = compare(qtbot, window, "root", "halved")
    qtbot.keyClick(window, Key.Key_D)
    qtbot.waitUntil(lambda: panel.cell(2) is not None and panel.cell(2).image.picture is not None)
    for position in ((0, 1), (3, 3)):
        window.session.move_to(position)
        expected = (SCAN[position] / 2).astype("f4") - SCAN[position].astype("f4")
        qtbot.waitUntil(lambda e=expected: bool((panel.cell(2).image.picture.raw == e).all()))
    low, high = panel.cell(2).image.overview.getLevels()
    assert low == -high < 0
    assert panel.cell(2).image.picture.raw.dtype == np.float32
    assert "B − A" in panel.cell(2).title.text()
    assert panel.isAncestorOf(window.focusWidget()), "keys still step, flicker and close"
    qtbot.keyClick(window, Key.Key_D)
    qtbot.waitUntil(lambda: together(window))
    assert panel.cell(2) is None


@pytest.mark.parametrize(
    ("name", "why"), [("binned", "shapes differ: 6 × 9 and 3 × 4"), ("shifted", "axes differ: ky goes from")]
)
def test_what_cannot_be_subtracted_says_why(qtbot, window, name, why):
    panel = compare(qtbot, window, "root", name)
    panel.switches.difference.click()
    assert why in panel.cell(2).message.text()
    qtbot.waitUntil(lambda: together(window))
    assert panel.cell(2).stack.currentWidget() is panel.cell(2).message


def test_a_and_b_flicker_in_one_place(qtbot, window):
    panel, raws = compare(qtbot, window, "root", "halved"), []
    first, second = cells(panel)
    qtbot.keyClick(window, Key.Key_F)
    assert window.comparing._flicker.interval() == 250, "both twice a second"
    assert not second.isVisible()
    for letter in ("B", "A", "B"):
        qtbot.waitUntil(lambda letter=letter: f"<b>{letter} " in first.title.text())
        raws.append(first.image.picture.raw.copy())
    half = (SCAN[2, 3] / 2).astype("f4")
    for raw, expected in zip(raws, (half, SCAN[2, 3], half), strict=True):
        np.testing.assert_array_equal(raw, expected)
    panel.switches.rate.setCurrentIndex(3)
    panel.switches.rate.activated.emit(3)
    assert window.comparing._flicker.interval() == 62
    qtbot.keyClick(window, Key.Key_F)
    assert second.isVisible()
    np.testing.assert_array_equal(first.image.picture.raw, SCAN[2, 3])
    np.testing.assert_array_equal(second.image.picture.raw, half)


def test_b_is_shown_while_the_space_bar_is_held(qtbot, window):
    panel = compare(qtbot, window, "root", "halved")
    first, second = cells(panel)
    focus = window.focusWidget() or window
    qtbot.keyPress(focus, Key.Key_Space)
    assert "<b>B " in first.title.text()
    assert not second.isVisible()
    qtbot.keyRelease(focus, Key.Key_Space)
    assert "<b>A " in first.title.text()
    assert second.isVisible()
    assert window.session.state.node.path == ROOT, "where nothing is compared it toggles: here it does not"


def test_curves_lie_in_one_plot_with_what_is_between_them(qtbot, window):
    choose(qtbot, window, "spectra.hspy", "signal", "twice")
    window.toolbar.compare.click()
    qtbot.waitUntil(lambda: together(window))
    window.comparing.panel.switches.difference.click()
    plot, below = window.comparing.panel.places[0], window.comparing.panel.places[2]
    assert plot is window.comparing.panel.places[1]
    qtbot.waitUntil(lambda: set(plot.view.curves) == {0, 1} and set(below.view.curves) == {2})
    curves = {**plot.view.curves, **below.view.curves}
    spectrum = encoded(5, 7, 50, dtype="<f4")[2, 3]
    for which, expected in ((0, spectrum), (1, 2 * spectrum), (2, spectrum)):
        np.testing.assert_array_equal(curves[which].getData()[1], expected)
    assert len({curve.opts["pen"].color().name() for curve in curves.values()}) == 3
    assert "A · spectra.hspy" in plot.legend.text()
    plot.view.box.setXRange(2.0, 3.5, padding=0)
    qtbot.waitUntil(lambda: below.view.box.viewRange()[0] == pytest.approx([2.0, 3.5], abs=0.05))
    plot.view.hovered.emit((2.51, 0.0))
    assert f"I {round(spectrum[25])}" in plot.legend.text()
    assert f"I {round(2 * spectrum[25])}" in plot.legend.text()
    assert below.view.crosshair.isVisible()
    window.comparing.panel.switches.flicker.click()
    qtbot.waitUntil(lambda: [curve.isVisible() for curve in plot.view.curves.values()] == [False, True])
    qtbot.waitUntil(lambda: [curve.isVisible() for curve in plot.view.curves.values()] == [True, False])
    window.comparing.panel.switches.flicker.click()
    assert all(curve.isVisible() for curve in plot.view.curves.values())


def test_a_map_stands_beside_frames_and_is_asked_for_once(qtbot, window, service):
    panel = compare(qtbot, window, "centre", "root")
    np.testing.assert_array_equal(cells(panel)[0].image.picture.raw, SCAN[:, :, 3, 4])
    service.traffic.requests.clear()
    window.session.move_to((0, 5))
    qtbot.waitUntil(lambda: bool((cells(panel)[1].image.picture.raw == SCAN[0, 5]).all()))
    assert not [url for url in service.traffic.data() if "centre@" in url]


def test_a_node_that_changes_its_key_is_never_mixed_with_itself(qtbot, window, service, monkeypatch):
    panel = compare(qtbot, window, "root", "halved")
    nodes = service.tree._mapping["scan.hspy"]._mapping["signal"]._mapping
    other = diffraction_scan("0e", offset=5)._mapping["halved"]
    monkeypatch.setitem(nodes, "halved", other)
    window.session.relist()
    qtbot.waitUntil(lambda: panel.nodes[1].key == "0e" and together(window))
    np.testing.assert_array_equal(cells(panel)[1].image.picture.raw, ((SCAN[2, 3] + 5) / 2).astype("f4"))
    np.testing.assert_array_equal(cells(panel)[0].image.picture.raw, SCAN[2, 3])


def test_a_node_that_is_refused_says_so_and_the_others_go_on(qtbot, window, service):
    panel = compare(qtbot, window, "root", "halved")
    service.traffic.refusals["halved@0a/c/4/6/"] = (422, "no such thing")
    window.session.move_to((4, 6))
    qtbot.waitUntil(lambda: "no such thing" in cells(panel)[1].message.text())
    qtbot.waitUntil(lambda: bool((cells(panel)[0].image.picture.raw == SCAN[4, 6]).all()))
    assert not window.banner.isVisible()
    service.traffic.refusals.clear()
    window.session.move_to((4, 5))
    qtbot.waitUntil(lambda: together(window))
    assert cells(panel)[1].stack.currentWidget() is cells(panel)[1].image


def test_a_click_on_another_node_shows_that_alone(qtbot, window):
    compare(qtbot, window, "root", "halved")
    choose(qtbot, window, *TREE, "binned")
    assert not window.comparing.active
    assert window.signal.isVisible()
    assert shown(window)


def test_keys_of_the_comparison_do_nothing_without_one(qtbot, window):
    qtbot.keyClick(window, Key.Key_D)
    qtbot.keyClick(window, Key.Key_F)
    assert not window.comparing.panel.switches.difference.isChecked()
    assert not window.comparing.panel.switches.flicker.isChecked()


def test_six_at_most(qtbot, window):
    for number in range(7):
        window.comparing.mark((*TREE, f"node {number}"))
    assert len(window.comparing.paths) == 6
    assert "6 nodes are compared at most" in window.banner.text.text()


# The parts that need no window


def test_nothing_is_between_a_node_and_itself(window):
    one = window.session.find(ROOT)
    assert why_no_difference(one, one) == ""
    assert why_no_difference(one, window.session.find(CENTRE)) == "one is an image, the other a map"
