"""A copied link opens the same view in another window; whatever else it says is told, never a crash."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtWidgets
from viewer_service import PinnedMap, StandIn, choose, diffraction_scan, encoded, file, opened, shown

from viewer.__main__ import parse
from viewer.link import read
from viewer.picture import Scale
from viewer.view_state import Region

SCAN = encoded(5, 7, 6, 9)
TREE = ("scan.hspy", "signal")
Key, Control = QtCore.Qt.Key, QtCore.Qt.KeyboardModifier.ControlModifier


def copied(window):
    window.toolbar.link.click()
    return QtWidgets.QApplication.clipboard().text()


def opening(qtbot, url, fragment, api_key=None):
    """A window, as the command line opens one with a link."""
    from contextlib import contextmanager

    from viewer.session import Session
    from viewer.window import Window
    from viewer.wire import Service

    @contextmanager
    def window():
        made = Window(Session(Service(url, api_key)))
        qtbot.addWidget(made)
        made.show()
        made.linking.open(fragment)
        made.session.start()
        try:
            qtbot.waitUntil(lambda: shown(made))
            yield made
        finally:
            made.close()

    return window()


def test_a_copied_link_opens_this_very_view(qtbot, stand_in):
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *TREE, "halved")
        window.session.move_to((4, 1))
        qtbot.waitUntil(lambda: shown(window))
        window.toolbar.scales[Scale.SQRT].click()
        window.toolbar.colormaps.setCurrentText("viridis")
        window.toolbar.colormaps.activated.emit(window.toolbar.colormaps.currentIndex())
        window.set_levels((12.0, 345.5))
        window.signal.image.show_region(Region(1.0, 4.0, 2.0, 6.5))
        window.pinning.pin()
        for name in ("root", "halved"):
            window.comparing.mark((*TREE, name))
        window.toolbar.compare.click()
        window.comparing.panel.switches.difference.click()
        window.comparing.panel.switches.set_rate(4)
        window.comparing.panel.switches.flicker.click()
        window.comparing.panel.together.show_region(Region(1.0, 4.0, 2.0, 6.5), window.session.state.node)
        window.signal_contrast.histogram.dragged.emit((12.0, 345.5))
        command = shlex.split(copied(window))
    assert command[0] == "tiled-spyde-viewer"
    url, _, fragment = parse(command[1:]).url.partition("#")
    assert url == stand_in.url
    with opening(qtbot, url, fragment) as other:
        node = other.session.state.node
        assert (node.path, other.session.state.position) == ((*TREE, "halved"), (4, 1))
        contrast = other.session.contrasts.of(node)
        assert (contrast.scale, contrast.colormap, contrast.locked) == (Scale.SQRT, "viridis", True)
        assert other.session.contrasts.levels[node.family] == (12.0, 345.5)
        assert other.toolbar.scales[Scale.SQRT].isChecked()
        assert not other.signal.image.fitted
        part = other.comparing.panel.cell(0).image.region()
        assert (part.x0 < 2.1 and part.x1 > 6.4) or (part.y0 < 1.1 and part.y1 > 3.9)
        assert part.x1 - part.x0 < 9 or part.y1 - part.y0 < 6, "zoomed"
        switches = other.comparing.panel.switches
        assert switches.difference.isChecked()
        assert (switches.flicker.isChecked(), switches.rate.currentData()) == (True, 4)
        assert switches.shared.isChecked()
        assert other.comparing.levels(node) == (12.0, 345.5)
        assert other.pinning.positions == ((4, 1),)
        assert other.comparing.active
        assert other.comparing.paths == ((*TREE, "root"), (*TREE, "halved"))
        assert not other.banner.isVisible()


def test_what_is_compared_may_be_in_another_file(qtbot, stand_in):
    paths = ((*TREE, "root"), ("spectra.hspy", "signal", "root"))
    fragment = "v=1&node=scan.hspy/signal/root&with=root,/spectra.hspy/signal/root"
    with opening(qtbot, stand_in.url, fragment) as window:
        qtbot.waitUntil(lambda: window.comparing.active)
        assert window.comparing.paths == paths
        qtbot.waitUntil(lambda: window.comparing.panel.painted == {0, 1})
        assert not window.banner.isVisible()


def test_ctrl_l_copies_too(qtbot, stand_in):
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *TREE, "root")
        QtWidgets.QApplication.clipboard().clear()
        qtbot.keyClick(window, Key.Key_L, Control)
        assert "#v=1&node=scan.hspy/signal/root&at=2,3" in QtWidgets.QApplication.clipboard().text()
        qtbot.waitUntil(lambda: "Copied" in QtWidgets.QToolTip.text())


def test_no_link_holds_the_key(qtbot):
    closed = StandIn(PinnedMap({"scan.hspy": file(signal=diffraction_scan())}), api_key="very0secret").start()
    with opened(qtbot, f"{closed.url}/api/v1?api_key=very0secret") as window:
        qtbot.waitUntil(lambda: shown(window))
        text = copied(window)
    closed.stop()
    assert "secret" not in text
    assert "key" not in text


def test_a_curve_keeps_its_part_of_the_axis(qtbot, stand_in):
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, "spectra.hspy", "signal", "root")
        window.signal.curve.box.setXRange(2.0, 3.5, padding=0)
        window.signal.curve.fitted = False
        fragment = window.linking.text().partition("#")[2].rstrip('"')
    link, _ = read(fragment)
    assert link.zoom == pytest.approx((2.0, 3.5))
    with opening(qtbot, stand_in.url, fragment) as other:
        assert other.signal.curve.box.viewRange()[0] == pytest.approx([2.0, 3.5])
        other.comparing.mark(("spectra.hspy", "signal", "root"))
        other.comparing.mark(("spectra.hspy", "signal", "navigator"))
        other.toolbar.compare.click()
        plot = other.comparing.panel.places[0]
        qtbot.waitUntil(lambda: plot.view.box.viewRange()[0] == pytest.approx([2.0, 3.5], abs=0.05))
        plot.view.box.setXRange(2.5, 3.0, padding=0)
        link, _ = read(other.linking.text().partition("#")[2].rstrip('"'))
        assert link.zoom == pytest.approx((2.5, 3.0))


class Trying(PinnedMap):
    """Resolves a preview that is not listed."""

    def __getitem__(self, name):
        return super().__getitem__("halved" if name == "preview@0a" else name)


def test_a_node_that_is_not_kept_is_opened_by_its_key(qtbot, stand_in, monkeypatch):
    monkeypatch.setattr(stand_in.tree._mapping["scan.hspy"]._mapping["signal"], "__class__", Trying)
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, *TREE, "halved")
        window.session.choose(replace(window.session.state.node, path=(*TREE, "preview")))
        qtbot.waitUntil(lambda: shown(window))
        fragment = window.linking.text().partition("#")[2].rstrip('"')
    assert fragment.startswith("v=1&node=scan.hspy/signal/preview@0a&")
    with opening(qtbot, stand_in.url, fragment) as other:
        assert other.session.state.node.path == (*TREE, "preview"), other.banner.text.text()
        assert other.session.navigator is not None
        np.testing.assert_array_equal(other.signal.picture.raw, (SCAN[2, 3] / 2).astype("f4"))


@pytest.mark.parametrize(
    ("fragment", "word"),
    [
        ("v=1&node=scan.hspy/signal/gone", "'gone' is not in scan.hspy any more"),
        ("v=1&node=nowhere.mrc/signal/root", "nowhere.mrc/signal/root is not on this service"),
        ("v=1&node=scan.hspy/signal/preview@ffff", "'preview' is not there any more"),
        ("v=1&node=scan.hspy/signal/root&at=400,2", "its position is outside the scan"),
        ("v=1&node=scan.hspy/signal/root&at=1,2,3", "its position is of another scan"),
        ("v=1&node=scan.hspy/signal/root&levels=nan,1", "levels are no two rising numbers"),
        (
            "v=1&node=scan.hspy/signal/root&diff=yes&flicker=999",
            "diff is neither 0 nor 1; flicker '999' is no",
        ),
        ("v=1&node=scan.hspy/signal/root&zoom=0,1e29,0,1e-9&with=gone,gone", "'gone' cannot be compared"),
        ("v=1&node=scan.hspy/signal/root&pins=1;2,2,2;99,99", ""),
        ("v=1&node=broken.mrc", "broken.mrc"),
        ("v=7&node=a", "it is not of version 1"),
        ("<script>", "it is not of version 1"),
    ],
)
def test_what_a_link_may_say_is_never_a_crash(qtbot, stand_in, fragment, word):
    with opening(qtbot, stand_in.url, fragment) as window:
        qtbot.waitUntil(lambda: word in window.banner.text.text())
        assert window.session.state.node is not None
        assert not window.comparing.active
