"""Positions that are kept in view: the same node at three places at once."""

import pytest
from pyqtgraph.Qt import QtCore
from viewer_service import choose, encoded, failed, opened, settle, shown

from viewer.view_state import Region

SCAN = encoded(5, 7, 6, 9)
TREE = ("scan.hspy", "signal")
Key = QtCore.Qt.Key


@pytest.fixture
def window(qtbot, stand_in):
    stand_in.traffic.delays.clear()
    stand_in.traffic.refusals.clear()
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *TREE, "root")
        yield window


def pin(qtbot, window, *positions):
    for position in positions:
        window.session.move_to(position)
        qtbot.keyClick(window, Key.Key_P)


def pinned(window):
    """What is painted of each pinned position."""
    cells = window.pinning.panel.cells[: len(window.pinning.positions)]
    return [cell.image.picture.raw if cell.image.picture is not None else None for cell in cells]


def wait_for(qtbot, window, *expected):
    def there():
        found = pinned(window)
        return len(found) == len(expected) and all(
            raw is not None and raw.shape == e.shape and bool((raw == e).all())
            for raw, e in zip(found, expected, strict=True)
        )

    qtbot.waitUntil(there)


def test_pinned_frames_stay_while_the_crosshair_moves(qtbot, window):
    assert not window.pinning.panel.isVisible()
    pin(qtbot, window, (0, 1), (4, 6))
    window.session.move_to((2, 2))
    wait_for(qtbot, window, SCAN[0, 1], SCAN[4, 6])
    assert window.pinning.panel.isVisible()
    assert [(p.y(), p.x()) for p in window.pinning.marks.places] == [(0, 1), (4, 6)]
    assert "(1, 0)" in window.pinning.panel.cells[0].title.text()


def test_all_show_the_node_that_is_shown(qtbot, window):
    pin(qtbot, window, (0, 1), (4, 6), (3, 3))
    choose(qtbot, window, *TREE, "halved")
    wait_for(qtbot, window, *((SCAN[p] / 2).astype("f4") for p in ((0, 1), (4, 6), (3, 3))))
    levels = window.session.contrasts.levels[window.session.state.node.family]
    for cell in window.pinning.panel.cells:
        qtbot.waitUntil(lambda c=cell: tuple(c.image.overview.getLevels()) == pytest.approx(levels))
    window.signal_contrast.histogram.dragged.emit((3.0, 30.0))
    for cell in window.pinning.panel.cells:
        assert tuple(cell.image.overview.getLevels()) == (3, 30)


def test_three_at_most_and_p_again_takes_one_away(qtbot, window):
    pin(qtbot, window, (0, 0), (1, 1), (2, 2), (3, 3))
    assert window.pinning.positions == ((0, 0), (1, 1), (2, 2))
    assert "3 positions are pinned at most" in window.banner.text.text()
    pin(qtbot, window, (1, 1))
    assert window.pinning.positions == ((0, 0), (2, 2))
    wait_for(qtbot, window, SCAN[0, 0], SCAN[2, 2])
    window.pinning.panel.cells[0].close_button.click()
    assert window.pinning.positions == ((2, 2),)
    wait_for(qtbot, window, SCAN[2, 2])
    assert not window.pinning.panel.cells[1].isVisible()
    window.pinning.panel.cells[0].close_button.click()
    assert not window.pinning.panel.isVisible()
    assert window.pinning.marks.places == ()


def test_they_show_the_part_that_is_looked_at(qtbot, window):
    pin(qtbot, window, (0, 1))
    window.signal.image.show_region(Region(1.0, 4.0, 2.0, 6.5))
    pin(qtbot, window, (4, 6))
    for cell in window.pinning.panel.cells[:2]:
        part = cell.image.region()
        assert part.x0 < 2.1 or part.y0 < 1.1
        assert (part.x1 - part.x0 < 9) or (part.y1 - part.y0 < 6)
        assert (part.x0 + part.x1) / 2 == pytest.approx(4.25, abs=0.1)
    qtbot.keyClick(window, Key.Key_F)
    for cell in window.pinning.panel.cells[:2]:
        part = cell.image.region()
        assert part.x0 < -0.4
        assert part.x1 > 8.4


def test_they_are_there_again_after_a_node_without_positions(qtbot, window, stand_in, monkeypatch):
    pin(qtbot, window, (0, 1), (4, 6))
    nodes = stand_in.tree._mapping["scan.hspy"]._mapping["signal"]._mapping
    sound = nodes["halved"]
    choose(qtbot, window, *TREE, "halved")
    monkeypatch.setitem(nodes, "halved", failed("no axes any more"))
    window.session.relist()
    qtbot.waitUntil(lambda: window.session.state.node.error is not None)
    assert not window.pinning.panel.isVisible()
    monkeypatch.setitem(nodes, "halved", sound)
    window.session.relist()
    qtbot.waitUntil(lambda: window.session.state.node.error is None)
    assert window.pinning.positions == ((0, 1), (4, 6))
    wait_for(qtbot, window, *((SCAN[p] / 2).astype("f4") for p in ((0, 1), (4, 6))))
    choose(qtbot, window, *TREE, "centre")
    assert not window.pinning.panel.isVisible()
    assert [(p.y(), p.x()) for p in window.pinning.marks.places] == [(0, 1), (4, 6)]


def test_the_marks_are_on_the_navigator(qtbot, window):
    pin(qtbot, window, (1, 5))
    window.session.move_to((4, 0))
    settle(qtbot, window, (4, 0))
    view = window.navigator.image
    place = view.mapFromScene(view.box.mapViewToScene(QtCore.QPointF(5, 1)))
    disc = view.grab().toImage().pixelColor(place + QtCore.QPoint(5, 0)).lightness()
    window.pinning.drop(0)
    assert disc < 110
    assert view.grab().toImage().pixelColor(place + QtCore.QPoint(5, 0)).lightness() != disc


def test_curves_are_pinned_too(qtbot, window):
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    pin(qtbot, window, (0, 3))
    cell = window.pinning.panel.cells[0]
    expected = encoded(5, 23, 50, dtype="<u4")[0, 3]
    qtbot.waitUntil(
        lambda: cell.curve.picture is not None and bool((cell.curve.picture.raw == expected).all())
    )
    assert cell.stack.currentWidget() is cell.curve


def test_another_scan_has_no_pins(qtbot, window):
    pin(qtbot, window, (0, 3))
    choose(qtbot, window, "spectra.hspy", "signal", "root")
    assert window.pinning.positions == ()
    assert not window.pinning.panel.isVisible()


def test_what_has_no_positions_is_not_pinned(qtbot, window):
    choose(qtbot, window, "image.mrc", "signal", "root")
    qtbot.keyClick(window, Key.Key_P)
    assert window.pinning.positions == ()


def test_a_frame_that_is_refused_says_so_where_it_would_be(qtbot, window, stand_in):
    stand_in.traffic.refusals["/root@0a/c/4/6/"] = (422, "no such thing")
    pin(qtbot, window, (0, 0), (4, 6))
    window.session.move_to((2, 2))
    cell = window.pinning.panel.cells[1]
    qtbot.waitUntil(lambda: "no such thing" in cell.message.text() and shown(window))
