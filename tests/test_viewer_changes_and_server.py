"""The viewer's list on our own server: what others do is seen at once, what is done here can be undone."""

import numpy as np
import pytest
from conftest import KEY, encoded, serving
from pyqtgraph.Qt import QtCore, QtWidgets
from viewer_service import choose, opened, shown

from viewer import changes
from viewer.wire import Service

SCAN = encoded((3, 5, 12, 16))
Key = QtCore.Qt.Key


@pytest.fixture(scope="module")
def service(scans):
    with serving([scans]) as served:
        yield served


@pytest.fixture
def other(service):
    """Somebody else."""
    other = Service(service.url, KEY)
    yield other
    other.close()


@pytest.fixture
def window(qtbot, service, other):
    with opened(qtbot, service.url, KEY) as window:
        qtbot.waitUntil(
            lambda: any(tree.path[0] == "scan4d.hspy" for tree in window.session.library.all_trees())
        )
        tree = next(tree for tree in window.session.library.all_trees() if tree.path[0] == "scan4d.hspy")
        choose(qtbot, window, *tree.root.path)
        qtbot.waitUntil(lambda: window.follower.live)
        window.of = tree.path
        yield window
        for node in other.tree(tree.path).nodes:
            if node.parent == "root" and node.name != "navigator":
                changes.delete(other, node, recursive=True)


def test_what_somebody_else_makes_and_deletes_is_listed(qtbot, window, other):
    made = other.make_node(window.of, "root", "bin", {"x": 2}, "binned")
    qtbot.waitUntil(lambda: made.path in window.tree.items)
    changes.delete(other, made, recursive=False)
    qtbot.waitUntil(lambda: made.path not in window.tree.items)


def test_what_somebody_else_renames_stays_on_the_screen(qtbot, window, other):
    made = other.make_node(window.of, "root", "bin", {"x": 2}, "binned")
    choose(qtbot, window, *made.path)
    changes.rename(other, made, "coarse")
    qtbot.waitUntil(lambda: window.session.state.node.name == "coarse" and shown(window))
    assert not window.banner.isVisible()


def test_rename_delete_and_undo(qtbot, window, other):
    made = other.make_node(window.of, "root", "bin", {"x": 2}, "binned")
    other.make_node(window.of, "binned", "bin", {"y": 2}, "below")
    qtbot.waitUntil(lambda: (*window.of, "below") in window.tree.items)
    choose(qtbot, window, *made.path)
    qtbot.keyClick(window, Key.Key_F2)
    box = window.tree.list.findChild(QtWidgets.QLineEdit, "name")
    box.selectAll()
    qtbot.keyClicks(box, "coarse")
    qtbot.keyClick(box, Key.Key_Return)
    coarse = (*window.of, "coarse")
    qtbot.waitUntil(lambda: window.session.state.node.path == coarse and coarse in window.tree.items)
    window.tree.mark(coarse)
    qtbot.keyClick(window, Key.Key_Delete)
    assert "'below' is made from 'coarse'" in window.tree.notice.text.text()
    window.tree.notice.button.click()
    qtbot.waitUntil(lambda: window.tree.notice.text.text() == "Deleted 'coarse' and 1 made from it.")
    assert [node.name for node in other.tree(window.of).nodes] == ["root", "navigator"]
    window.tree.notice.button.click()
    qtbot.waitUntil(lambda: window.session.state.node.path == coarse and shown(window))
    expected = SCAN[window.session.state.position].reshape(6, 2, 8, 2).sum((1, 3), dtype="u8")
    np.testing.assert_array_equal(window.signal.picture.raw, expected)
