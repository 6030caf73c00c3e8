"""Other parameters for a node that is there: applied, overtaken by somebody else, or kept as a new one."""

import numpy as np
import pytest
from derive_service import DATA, deriving
from viewer_service import choose, opened, shown

NODE = ("signal", "twice")


@pytest.fixture
def server():
    server = deriving().start()
    server.workshop.keep("twice", "multiply", {"factor": 2.0}, 3)
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, server):
    with opened(qtbot, server.url) as window:
        choose(qtbot, window, *NODE)
        qtbot.waitUntil(window.toolbar.play.isEnabled)
        yield window


@pytest.fixture
def form(qtbot, window):
    """The form with the parameters of the node."""
    window.tree.change_asked.emit(NODE)
    qtbot.waitUntil(lambda: window.session.state.node.is_preview and shown(window))
    return window.parameters


def told(window, factor):
    """Whether the preview with a factor is painted."""
    node = window.session.state.node
    there = node.is_preview and node.own_parameters.get("factor") == factor
    return there and not window.playground.playing.waiting and shown(window)


def changes(server):
    return [body for what, body in server.workshop.asked if what == "change"]


def test_the_form_has_the_parameters_of_the_node(form):
    assert form.values() == {"factor": 2.0, "clip": False}
    assert not form.operation.isEnabled()
    assert form.apply.isVisible()
    assert form.keep.text() == "Keep as new"
    assert "twice" in form.title.text()


def test_applying_changes_the_node(qtbot, server, window, form):
    form.row("factor").editor.spin.setValue(5.0)
    qtbot.waitUntil(lambda: told(window, 5.0))
    form.apply.click()
    qtbot.waitUntil(lambda: window.session.state.node.path == NODE and shown(window))
    (change,) = changes(server)
    assert change == {"operation": "multiply", "parameters": {"factor": 5.0}, "if_match": '"3"'}
    assert not form.isVisible()
    np.testing.assert_array_equal(window.signal.picture.raw, DATA[window.session.state.position] * 5.0)
    qtbot.waitUntil(lambda: window.session.find(NODE).version == 4)


def test_whoever_is_overtaken_is_told_and_loses_nothing(qtbot, server, window, form):
    form.row("factor").editor.spin.setValue(5.0)
    qtbot.waitUntil(lambda: told(window, 5.0))
    server.workshop.keep("twice", "multiply", {"factor": 9.0}, 4)
    form.apply.click()
    qtbot.waitUntil(lambda: "changed by ada" in window.banner.text.text())
    row = form.row("factor")
    assert form.values()["factor"] == 5.0, "what was told is still there"
    assert "now 9" in row.problem.text()
    row.reset.click()
    qtbot.waitUntil(lambda: told(window, 9.0))
    row.editor.spin.setValue(5.0)
    qtbot.waitUntil(lambda: told(window, 5.0))
    form.apply.click()
    qtbot.waitUntil(lambda: window.session.state.node.path == NODE and shown(window))
    assert [change["if_match"] for change in changes(server)] == ['"3"', '"4"']
    assert server.workshop.nodes["twice"]["parameters"] == {"factor": 5.0}


def test_kept_as_new_the_node_stays(qtbot, server, window, form):
    form.row("factor").editor.spin.setValue(5.0)
    qtbot.waitUntil(lambda: told(window, 5.0))
    form.name.setText("five times")
    form.keep.click()
    qtbot.waitUntil(lambda: window.session.state.node.name == "five times" and shown(window))
    assert not changes(server)
    assert server.workshop.nodes["twice"]["parameters"] == {"factor": 2.0}


def test_discarding_leaves_the_node_as_it_was(qtbot, server, window, form):
    form.row("factor").editor.spin.setValue(5.0)
    qtbot.waitUntil(lambda: told(window, 5.0))
    form.discard.click()
    qtbot.waitUntil(lambda: window.session.state.node.path == NODE and shown(window))
    np.testing.assert_array_equal(window.signal.picture.raw, DATA[window.session.state.position] * 2.0)
    assert not changes(server)


def test_a_node_that_is_changed_elsewhere_while_nothing_was_applied_is_told_when_it_is(
    qtbot, server, window, form
):
    server.workshop.keep("twice", "multiply", {"factor": 9.0}, 4)
    window.session.relist()
    qtbot.waitUntil(lambda: window.session.find(NODE).version == 4)
    assert form.values()["factor"] == 2.0
    form.row("clip").editor.box.click()
    form.apply.click()
    qtbot.waitUntil(lambda: "changed by ada" in window.banner.text.text())
