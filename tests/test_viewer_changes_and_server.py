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
    assert window.banner.text.text() == "'binned' is called 'coarse' now."


def test_what_somebody_else_deletes_gives_way_to_what_it_was_made_from(qtbot, window, other):
    made = other.make_node(window.of, "root", "bin", {"x": 2}, "binned")
    below = other.make_node(window.of, "binned", "bin", {"y": 2}, "below")
    choose(qtbot, window, *below.path)
    changes.delete(other, below, recursive=False)
    qtbot.waitUntil(lambda: window.session.state.node.path == made.path and shown(window))
    assert "below is gone from the service" in window.banner.text.text()
    assert window.banner.text.text().endswith("This is binned.")
    changes.delete(other, made, recursive=False)
    qtbot.waitUntil(lambda: window.session.state.node.name == "root" and shown(window))
    assert window.banner.text.text().endswith("This is scan4d.hspy.")


def test_another_node_of_the_old_name_is_not_taken_for_it(qtbot, window, other):
    made = other.make_node(window.of, "root", "bin", {"x": 2}, "binned")
    choose(qtbot, window, *made.path)
    window.follower.close()  # both changes are listed at once
    changes.rename(other, made, "coarse")
    other.make_node(window.of, "root", "bin", {"y": 2}, "binned")
    window.session.relist()
    qtbot.waitUntil(lambda: window.session.state.node.name == "coarse" and shown(window))


def test_parameters_are_taken_back_and_the_history_says_who_did_what(qtbot, window, other):
    made = other.make_node(window.of, "root", "bin", {"x": 2}, "binned")
    choose(qtbot, window, *made.path)
    window.playground.change(made.path)
    window.playground.playing.attempt("bin", {"x": 4})
    qtbot.waitUntil(lambda: window.session.state.node.is_preview and shown(window))
    window.playground.playing.apply()
    qtbot.waitUntil(lambda: window.session.find(made.path).own_parameters["x"] == 4)
    assert window.tree.notice.text.text() == "Changed 'binned'."
    window.editing.show_history(made.path, window.of)
    qtbot.waitUntil(lambda: window.editing.menu is not None)
    window.editing.menu.close()
    told = [action.text().partition("   ")[2] for action in window.editing.menu.actions()]
    assert told == ["changed 'binned': x 2 → 4", "made 'binned'"]
    qtbot.keyClick(window, Key.Key_Z, QtCore.Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: window.session.find(made.path).own_parameters["x"] == 2 and shown(window))
    assert window.session.state.node.shape == made.shape
    assert not window.banner.isVisible()
    window.editing.menu.actions()[0].trigger()  # it was undone already
    qtbot.waitUntil(lambda: "Not undone (changed 'binned': x 2 → 4)" in window.banner.text.text())


def test_a_node_that_was_kept_is_taken_back(qtbot, window):
    window.playground.make(None)
    window.playground.playing.attempt("bin", {"x": 2})
    qtbot.waitUntil(lambda: window.session.state.node.is_preview and shown(window))
    window.playground.playing.keep("kept")
    kept = (*window.of, "kept")
    qtbot.waitUntil(lambda: window.session.state.node.path == kept and kept in window.tree.items)
    qtbot.keyClick(window, Key.Key_Z, QtCore.Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: window.session.state.node.name == "root" and kept not in window.tree.items)
    assert window.tree.notice.text.text() == "Undone: made 'kept'."


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
