"""Waiting for a whole scan: how far it is stands where the picture will be; there it is cancelled and begun again."""

import threading

import numpy as np
import pytest
from conftest import KEY, encoded, serving
from pyqtgraph.Qt import QtWidgets
from viewer_service import choose, opened, shown

from tiled_spyde.operations.whole import MeanOverScan
from viewer import changes
from viewer.awaiting import begin, cancel, said_of, what_of
from viewer.described import node_from_json
from viewer.rows import description
from viewer.wire import Service

SCAN = encoded((3, 5, 12, 16))
NODE = ("scan.hspy", "signal", "mean")
ARRAY = {"shape": [2], "chunks": [[2]], "data_type": {"kind": "f", "itemsize": 4}}


@pytest.mark.parametrize(
    ("name", "told", "said", "what"),
    [
        ("mean", {"state": "computing", "progress": {"done": 660, "of": 990}},
         "mean needs the whole scan: 66 %, 660 of 990 frames.", "Cancel"),
        ("preview", {"state": "computing", "progress": {"done": 0, "of": 990}},
         "This needs the whole scan: 0 %, 0 of 990 frames.", "Cancel"),
        ("mean", {"state": "computing"}, "mean needs the whole scan.", "Cancel"),
        ("mean", {"state": "lazy", "failure": "It was cancelled."}, "Computing mean was cancelled.", "Compute"),
        ("mean", {"state": "failed", "failure": "The disk is full."}, "The disk is full.", "Compute"),
    ],
)  # fmt: skip
def test_what_is_said_and_can_be_done(name, told, said, what):
    described = {
        "structure_family": "array",
        "structure": ARRAY,
        "metadata": {"attributes": {"key": "0a", **told}},
    }
    node = node_from_json((*NODE[:-1], name), described)
    assert (said_of(node), what_of(node)) == (said, what)


@pytest.mark.parametrize(
    "told", [{"state": "failed", "failure": "a cycle"}, {"state": "lazy"}, {"state": "stored"}]
)
def test_of_what_needs_no_computing_or_cannot_be_nothing_is_offered(told):
    family = "container" if told["state"] == "failed" else "array"
    described = {"structure_family": family, "structure": ARRAY, "metadata": {"attributes": told}}
    assert what_of(node_from_json(NODE, described)) == ""


class Held(threading.Event):
    """Lets no mean over a scan go on before it is set, and one that was cancelled not even then."""

    def __init__(self):
        super().__init__()
        self.runs = {}

    def wait_or_end(self):
        while not self.wait(0.02):
            for run in list(self.runs.values()):
                run.check()


@pytest.fixture
def held(monkeypatch):
    held, take = Held(), MeanOverScan.take

    def slow(self, *arguments):
        held.wait_or_end()
        return take(self, *arguments)

    monkeypatch.setattr(MeanOverScan, "take", slow)
    yield held
    held.set()


@pytest.fixture
def window(qtbot, scans, held):
    with serving([scans]) as service, opened(qtbot, service.url, KEY) as window:
        qtbot.waitUntil(lambda: len(window.session.library.all_trees()) >= 7)
        tree = next(tree for tree in window.session.library.all_trees() if tree.path[0] == "scan4d.hspy")
        choose(qtbot, window, *tree.root.path)
        qtbot.waitUntil(window.toolbar.play.isEnabled)
        window.of, held.runs = tree.path, service.root.lane.bodies._evaluator.wholes._runs
        yield window
        held.set()


def says(window, text, button):
    message = window.signal.message
    return message.isVisible() and text in message.text() and message.button.text() == button


@pytest.fixture
def mean(qtbot, window):
    """A mean that is being computed, and shown."""
    made = window.session.service.make_node(window.of, "root", "mean_over_scan", {}, "mean")
    qtbot.waitUntil(lambda: made.path in window.tree.items)
    window.session.choose(window.session.find(made.path))
    qtbot.waitUntil(lambda: says(window, "mean needs the whole scan", "Cancel"))
    return made


def test_a_mean_is_cancelled_where_its_picture_will_be_and_begun_again(qtbot, window, held, mean):
    window.signal.message.button.click()
    qtbot.waitUntil(lambda: says(window, "Computing mean was cancelled.", "Compute"))
    qtbot.waitUntil(lambda: not held.runs)
    assert not window.banner.isVisible()
    qtbot.waitUntil(lambda: window.tree.row(mean.path).detail == "cancelled")
    window.signal.message.button.click()
    qtbot.waitUntil(lambda: says(window, "mean needs the whole scan", "Cancel"))
    held.set()
    qtbot.waitUntil(lambda: shown(window) and not window.signal.message.isVisible())
    np.testing.assert_allclose(window.signal.picture.raw, SCAN.mean((0, 1)))
    qtbot.waitUntil(lambda: "cancelled" not in window.tree.row(mean.path).detail)


def entry(window, path, text):
    """What a node's menu offers under a text; None where it does not."""
    menu = QtWidgets.QMenu()
    window.tree.menu_opened.emit(menu, window.tree.row(path))
    window.menu = menu  # else it is gone with its entries
    return next((action for action in menu.actions() if action.text() == text), None)


def test_a_node_of_the_list_is_cancelled_and_begun_again(qtbot, window, held, mean):
    choose(qtbot, window, *window.of, "root")
    qtbot.waitUntil(lambda: window.session.find(mean.path).state == "computing")
    assert entry(window, mean.path, "Compute") is None
    entry(window, mean.path, "Cancel computing").trigger()
    qtbot.waitUntil(lambda: window.tree.row(mean.path).detail == "cancelled" and not held.runs)
    assert "cancelled" in description(window.session.find(mean.path))
    entry(window, mean.path, "Compute").trigger()
    qtbot.waitUntil(lambda: window.session.find(mean.path).state == "computing")
    held.set()
    qtbot.waitUntil(lambda: window.session.find(mean.path).state == "stored")
    assert entry(window, mean.path, "Compute") is entry(window, mean.path, "Cancel computing") is None
    assert entry(window, (*window.of, "root"), "Compute") is None


def test_what_somebody_else_cancels_and_begins_again_is_followed(qtbot, window, held, mean):
    other = Service(window.session.service.url, KEY)
    try:
        cancel(other, mean.path)
        qtbot.waitUntil(lambda: says(window, "Computing mean was cancelled.", "Compute"))
        begin(other, mean.path)
        qtbot.waitUntil(lambda: says(window, "mean needs the whole scan", "Cancel"))
        held.set()
        qtbot.waitUntil(lambda: shown(window) and not window.signal.message.isVisible())
    finally:
        other.close()


def test_whoever_may_make_nothing_is_offered_nothing(qtbot, window, held, mean, monkeypatch):
    monkeypatch.setattr(window.session.maker, "why_not_make", lambda _tree: "This key may look.")
    qtbot.waitUntil(lambda: says(window, "mean needs the whole scan", ""))
    assert not window.signal.message.button.isVisible()
    offered = entry(window, mean.path, "Cancel computing")
    assert (offered.isEnabled(), offered.toolTip()) == (False, "This key may look.")


def test_what_cannot_be_cancelled_says_why(qtbot, window, held, mean):
    other = Service(window.session.service.url, KEY)
    try:
        offered = entry(window, mean.path, "Cancel computing")
        changes.delete(other, mean, recursive=False)
        offered.trigger()
        qtbot.waitUntil(lambda: window.banner.isVisible() and "mean" in window.banner.text.text())
    finally:
        other.close()


@pytest.fixture
def tried(qtbot, window):
    """A mean that is tried, and being computed."""
    window.toolbar.play.click()
    window.playground.playing.attempt("mean_over_scan", {})
    qtbot.waitUntil(lambda: says(window, "This needs the whole scan", "Cancel"))


def test_a_preview_is_cancelled_and_begun_again(qtbot, window, held, tried):
    window.signal.message.button.click()
    qtbot.waitUntil(lambda: says(window, "Computing mean_over_scan (preview) was cancelled.", "Compute"))
    qtbot.waitUntil(lambda: not held.runs)
    window.signal.message.button.click()
    qtbot.waitUntil(lambda: says(window, "This needs the whole scan", "Cancel"))
    held.set()
    qtbot.waitUntil(lambda: window.session.state.node.is_preview and shown(window))
    np.testing.assert_allclose(window.signal.picture.raw, SCAN.mean((0, 1)))


LEFT = {
    "discarded": lambda window: window.parameters.discard.click(),
    "another node": lambda window: window.session.show((*window.of, "navigator")),
    "another operation": lambda window: window.playground.playing.attempt("bin", {"x": 2}),
    "closed": lambda window: window.close(),
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
def test_what_is_only_tried_ends_when_it_is_left(qtbot, window, held, tried, leave):
    assert held.runs
    leave(window)
    qtbot.waitUntil(lambda: not held.runs)
