"""Waiting for a whole scan: how far it is stands where the picture will be."""

import threading

import numpy as np
import pytest
from conftest import KEY, encoded, serving
from viewer_service import choose, opened, shown

from tiled_spyde.operations.whole import MeanOverScan
from viewer.awaiting import said_of

TREE = ("folder", "scan.hspy", "signal")
JOB = {"path": "folder/scan.hspy/signal/mean", "state": "computing", "done": 660, "of": 990}


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([JOB], "mean needs the whole scan: 66 %, 660 of 990 frames."),
        ([{**JOB, "path": "folder/scan.hspy/signal/preview@5f"}], "This needs the whole scan: 66 %, 660 of 990 "
         "frames."),
        ([{**JOB, "state": "waiting", "done": 0}], "mean needs the whole scan: 0 %, 0 of 990 frames."),
        ([{**JOB, "state": "stored"}, {**JOB, "path": "folder/scan.hspy/signal2/mean"}], ""),
        ([{**JOB, "of": 0}, {**JOB, "done": None}, {}, 5, None], ""),
        ({"jobs": []}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_what_is_said_of_what_the_service_lists(jobs, said):
    assert said_of(jobs, TREE) == said


def test_a_mean_that_takes_long_says_how_far_it_is(qtbot, scans, monkeypatch):
    go_on, take = threading.Event(), MeanOverScan.take

    def slow(self, *arguments):
        go_on.wait(100)
        return take(self, *arguments)

    monkeypatch.setattr(MeanOverScan, "take", slow)
    try:
        with serving([scans]) as service, opened(qtbot, service.url, KEY) as window:
            qtbot.waitUntil(lambda: len(window.session.library.all_trees()) >= 7)
            tree = next(tree for tree in window.session.library.all_trees() if tree.path[0] == "scan4d.hspy")
            choose(qtbot, window, *tree.root.path)
            path = (*tree.path, "mean")
            window.session.service.make_node(tree.path, "root", "mean_over_scan", {}, "mean")
            qtbot.waitUntil(lambda: path in window.tree.items)
            window.session.choose(window.session.find(path))
            message = window.signal.message
            qtbot.waitUntil(lambda: message.isVisible() and "mean needs the whole scan" in message.text())
            go_on.set()
            qtbot.waitUntil(lambda: shown(window) and not message.isVisible())
            np.testing.assert_allclose(window.signal.picture.raw, encoded((3, 5, 12, 16)).mean((0, 1)))
    finally:
        go_on.set()
