"""Nodes that are compared go on as they are now: renamed, deleted, moved on while they flicker, looked at closely."""

import numpy as np
import pytest
from changing_service import Changes
from pyqtgraph.Qt import QtCore
from viewer_service import (
    PACE,
    PinnedMap,
    StandIn,
    choose,
    diffraction_scan,
    encoded,
    failed,
    file,
    node,
    opened,
    tree,
)
from viewer_service import axis as an_axis

from viewer.view_state import Region

SCAN = encoded(5, 7, 6, 9)
TREE, AT = ("scan.hspy", "signal"), "scan.hspy/signal"
LARGE = encoded(2048, 2600)
Key = QtCore.Qt.Key


@pytest.fixture
def service():
    axes = [an_axis("y", 2048, 0.1, "nm"), an_axis("x", 2600, 0.1, "nm")]
    large = {
        "root": node(LARGE, axes, chunks=(512, 512)),
        "more": node(LARGE + np.uint16(3), axes, "0b", "root", chunks=(512, 512)),
    }
    files = {"scan.hspy": file(signal=diffraction_scan()), "large.hspy": file(signal=tree(large))}
    changes = Changes(PinnedMap(files))
    stand_in = StandIn(changes.top, routes=changes.router).start()
    stand_in.changes = changes
    yield stand_in
    stand_in.stop()


@pytest.fixture
def window(qtbot, service):
    with opened(qtbot, service.url, **PACE) as window:
        choose(qtbot, window, *TREE, "root")
        qtbot.waitUntil(lambda: window.follower.live and bool(service.changes.followers))
        yield window


def compare(qtbot, window, *paths):
    for path in paths:
        window.comparing.mark(path)
    qtbot.keyClick(window, Key.Key_C)
    qtbot.waitUntil(lambda: set(range(len(paths))) <= window.comparing.panel.painted)
    return window.comparing.panel


def names(window):
    return [path[-1] for path in window.comparing.paths]


def rename(service, old, new):
    nodes = service.changes.tree(AT)._mapping
    nodes[new] = nodes.pop(old)
    service.changes.tell("node", {"what": "changed", "name": new})


def test_a_node_that_others_rename_is_compared_on(qtbot, window, service):
    panel = compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    rename(service, "halved", "half")
    qtbot.waitUntil(lambda: names(window) == ["root", "half"])
    assert "B · half" in panel.cell(1).title.text()
    assert panel.cell(1).image.picture is not None, "the bytes are the same: nothing is wiped off"
    window.session.move_to((4, 6))
    expected = (SCAN[4, 6] / 2).astype("f4")
    qtbot.waitUntil(lambda: np.array_equal(panel.cell(1).image.picture.raw, expected))


def test_the_shown_node_may_be_renamed_while_it_is_compared(qtbot, window, service):
    choose(qtbot, window, *TREE, "halved")
    compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    rename(service, "halved", "half")
    qtbot.waitUntil(lambda: window.session.state.node.name == "half")
    assert window.comparing.active
    assert names(window) == ["root", "half"]


def test_of_three_two_stay_when_somebody_deletes_one_and_of_two_none(qtbot, window, service):
    compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"), (*TREE, "centre"))
    service.changes.put(AT, "centre", None)
    qtbot.waitUntil(lambda: names(window) == ["root", "halved"])
    assert window.banner.text.text() == "centre cannot be compared any more: removed from the service."
    qtbot.waitUntil(lambda: window.comparing.panel.painted == {0, 1})
    service.changes.put(AT, "halved", None)
    qtbot.waitUntil(lambda: not window.comparing.active)
    assert "halved cannot be compared any more" in window.banner.text.text()
    assert window.signal.isVisible()
    assert window.signal.picture is not None


def test_a_node_that_fails_says_why_in_its_place_until_it_is_mended(qtbot, window, service):
    panel = compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    panel.together.show_region(Region(1.0, 4.0, 2.0, 6.5), window.session.state.node)
    sound = service.changes.tree(AT)._mapping["halved"]
    service.changes.put(AT, "halved", failed("its parent has no axes any more"))
    qtbot.waitUntil(lambda: panel.cell(1).message.isVisible())
    assert panel.cell(1).message.text() == "its parent has no axes any more"
    qtbot.waitUntil(lambda: 0 in panel.painted)
    panel.cell(0).image.hovered.emit((3.0, 2.0))
    panel.cell(1).image.hovered.emit((3.0, 2.0))
    panel.switches.flicker.click()
    panel.switches.flicker.click()
    panel.switches.difference.click()
    service.changes.put(AT, "halved", sound)
    qtbot.waitUntil(lambda: panel.painted == {0, 1, 2})
    assert not panel.cell(1).message.isVisible()


def test_what_is_shown_need_not_be_compared_itself(qtbot, window, service):
    choose(qtbot, window, *TREE, "centre")
    compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    described = service.changes.tree(AT)._mapping["centre"].metadata()["attributes"]
    described.update(title="seen anew")
    service.changes.tell("node", {"what": "changed", "name": "centre"})
    qtbot.waitUntil(lambda: window.session.state.node.title == "seen anew")
    assert window.comparing.active
    choose(qtbot, window, *TREE, "navigator")
    assert not window.comparing.active, "another one that is chosen ends it"


def test_after_a_flicker_both_are_of_the_present_position(qtbot, window):
    panel = compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    panel.switches.flicker.click()
    window.session.move_to((4, 6))
    beside = window.comparing.beside
    qtbot.waitUntil(lambda: {answer.request.position for answer in beside.painted.values()} == {(4, 6)})
    panel.switches.flicker.click()
    for which, expected in ((0, SCAN[4, 6]), (1, (SCAN[4, 6] / 2).astype("f4"))):
        np.testing.assert_array_equal(panel.cell(which).image.picture.raw, expected)
        assert panel.cell(which).isVisible()
        assert "(6, 4)" in panel.cell(which).title.text()


def test_a_flicker_fills_the_panel(qtbot, window):
    panel = compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    first = panel.cell(0)
    qtbot.waitUntil(lambda: first.height() * first.width() < 0.6 * panel.height() * panel.width())
    panel.switches.flicker.click()
    qtbot.waitUntil(lambda: first.height() * first.width() > 0.85 * panel.height() * panel.width())


def test_large_images_are_refined_where_they_are_looked_at_and_their_difference_too(qtbot, window):
    choose(qtbot, window, "large.hspy", "signal", "root")
    panel = compare(qtbot, window, ("large.hspy", "signal", "root"), ("large.hspy", "signal", "more"))
    panel.switches.difference.click()
    qtbot.waitUntil(lambda: panel.painted == {0, 1, 2})
    assert all("every 4th pixel" in panel.cell(which).title.text() for which in range(3))
    panel.cell(0).image.fitted = False
    panel.cell(0).image.show_region(Region(1000, 1060, 1200, 1270))
    for which in range(3):
        qtbot.waitUntil(lambda w=which: panel.cell(w).image.detail.image is not None)
        assert "every" not in panel.cell(which).title.text()
    row, column, value = panel.cell(1).image.value_at(1231, 1033)
    assert (row, column, value) == (1033, 1231, LARGE[1033, 1231] + np.uint16(3))
    row, column, value = panel.cell(2).image.value_at(1231, 1033)
    assert (row, column) == (1033, 1231)
    assert value == (3 if LARGE[1033, 1231] < 2**16 - 3 else 3 - 2**16)


def test_a_map_beside_frames_shows_where_they_are_from_and_is_pointed_into(qtbot, window):
    panel = compare(qtbot, window, (*TREE, "root"), (*TREE, "centre"))
    crosshair = panel.cell(1).image.crosshair
    assert crosshair.isVisible()
    window.session.move_to((4, 1))
    assert (crosshair.place.y(), crosshair.place.x()) == (4, 1)
    qtbot.waitUntil(lambda: f"I {SCAN[4, 1, 3, 4]}" in panel.cell(1).title.text())
    panel.cell(1).image.box.pointed.emit(5.2, 0.9)
    assert window.session.state.position == (1, 5)
    assert (crosshair.place.y(), crosshair.place.x()) == (1, 5)


def test_the_levels_that_are_shared_are_those_of_the_histogram(qtbot, window):
    compare(qtbot, window, (*TREE, "root"), (*TREE, "halved"))
    levels = window.comparing.levels(window.session.state.node)
    window.show_histograms()
    assert window.signal_contrast.histogram._levels == pytest.approx(levels)
