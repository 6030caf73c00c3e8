"""What is tried is shown at pinned positions, and beside what it is made from."""

import numpy as np
import pytest
from derive_service import DATA, deriving
from pyqtgraph.Qt import QtCore
from test_viewer_playing import pick, previewed, set_factor
from viewer_service import choose, drag, opened, shown

ROOT = ("signal", "root")
Key = QtCore.Qt.Key


@pytest.fixture
def window(qtbot):
    server = deriving().start()
    with opened(qtbot, server.url) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(window.toolbar.play.isEnabled)
        yield window
    server.stop()


@pytest.fixture
def form(qtbot, window):
    """The form, open for the root, with the first preview painted."""
    window.toolbar.play.click()
    pick(window, "multiply")
    qtbot.waitUntil(lambda: previewed(window, "multiply"))
    return window.parameters


def test_what_is_tried_is_shown_at_all_pinned_positions(qtbot, window, form):
    pins = ((0, 1), (4, 6), (3, 3))
    for position in pins:
        window.session.move_to(position)
        qtbot.keyClick(window, Key.Key_P)
    seen = set()
    first = window.pinning.panel.cells[0]
    window.session.fetcher.answered.connect(
        lambda _answer: seen.add(first.image.picture is not None or first.image.picture)
    )
    slider = form.row("factor").editor.slider
    start = QtCore.QPoint(slider.width() // 5, slider.height() // 2)
    qtbot.waitUntil(lambda: all(cell.image.picture is not None for cell in window.pinning.panel.cells))
    seen.clear()
    drag(slider, start, start + QtCore.QPoint(slider.width() // 3, 0))
    factor = form.values()["factor"]
    assert factor > 1

    def followed():
        cells = window.pinning.panel.cells
        raws = [cell.image.picture.raw for cell in cells if cell.image.picture is not None]
        expected = [(DATA[pin] * factor).astype("f4") for pin in pins]
        return len(raws) == 3 and all(map(np.array_equal, raws, expected))

    qtbot.waitUntil(followed)
    assert seen == {True}, "the picture before stays until the next is there"
    form.discard.click()
    factor = 1
    qtbot.waitUntil(lambda: not window.session.state.node.is_preview and followed())


def test_what_is_tried_stands_beside_what_it_is_made_from(qtbot, window, form):
    qtbot.keyClick(window, Key.Key_C)
    panel, beside = window.comparing.panel, window.comparing.beside
    qtbot.waitUntil(lambda: panel.painted == {0, 1})
    assert window.comparing.paths == (ROOT, ("signal", "preview"))
    panel.switches.difference.click()
    qtbot.waitUntil(lambda: panel.painted == {0, 1, 2})
    blanks = []
    window.session.fetcher.answered.connect(
        lambda _answer: blanks.append(panel.cell(1).image.picture is None)
    )
    for factor in (2, 3, 5):
        set_factor(form, factor)
    qtbot.waitUntil(lambda: previewed(window, "multiply", factor=5))
    qtbot.waitUntil(lambda: np.array_equal(beside.painted[1].value.raw, (DATA[2, 3] * 5).astype("f4")))
    qtbot.waitUntil(lambda: np.array_equal(panel.cell(2).image.picture.raw, (DATA[2, 3] * 4).astype("f4")))
    assert not any(blanks), "the picture before stays until the next is there"
    form.keep.click()
    qtbot.waitUntil(lambda: window.session.state.node.name == "multiply" and shown(window))
    assert window.comparing.paths == (ROOT, ("signal", "multiply"))
    qtbot.waitUntil(lambda: panel.painted == {0, 1, 2})
    assert not window.banner.isVisible()
