"""Playing on our own server: every operation it has, previewed, kept and read again."""

import numpy as np
import pytest
from conftest import KEY, encoded, serving
from viewer_service import choose, opened, press, settle, shown

SCAN = encoded((3, 5, 12, 16))


@pytest.fixture
def window(qtbot, scans):
    with serving([scans]) as service, opened(qtbot, service.url, KEY) as window:
        qtbot.waitUntil(lambda: len(window.session.library.all_trees()) >= 7)
        tree = next(tree for tree in window.session.library.all_trees() if tree.path[0] == "scan4d.hspy")
        choose(qtbot, window, *tree.root.path)
        qtbot.waitUntil(window.toolbar.play.isEnabled)
        window.toolbar.play.click()
        yield window


def pick(window, operation):
    box = window.parameters.operation
    box.setCurrentIndex(box.findData(operation))
    box.activated.emit(box.currentIndex())


def previewed(window, operation):
    node = window.session.state.node
    there = node.is_preview and node.operations[-1] == operation
    return there and not window.playground.playing.waiting and shown(window)


def binned(position, x, y):
    return SCAN[position].reshape(12 // y, y, 16 // x, x).sum((1, 3), dtype="u8")


def test_a_parameter_is_slid_the_crosshair_moved_and_the_node_kept(qtbot, window):
    pick(window, "bin")
    qtbot.waitUntil(lambda: previewed(window, "bin"))
    window.parameters.row("x").editor.spin.setValue(4)
    qtbot.waitUntil(lambda: previewed(window, "bin") and window.signal.picture.raw.shape == (3, 4))
    press(window.navigator.image, 2, 1)
    settle(qtbot, window, (2, 1))
    np.testing.assert_array_equal(window.signal.picture.raw, binned((2, 1), 4, 4))
    key = window.session.state.node.key
    window.parameters.name.setText("four by four")
    window.parameters.keep.click()
    qtbot.waitUntil(lambda: window.session.state.node.name == "four by four" and shown(window))
    assert window.session.state.node.key == key
    np.testing.assert_array_equal(window.signal.picture.raw, binned((2, 1), 4, 4))


def test_every_operation_for_a_pattern_is_previewed_or_says_what_is_missing(qtbot, window):
    form = window.parameters
    for number in range(form.operation.count()):
        name = form.operation.itemData(number)
        pick(window, name)
        told = [row for row in form.rows() if row.problem.text()]
        if not told:
            qtbot.waitUntil(lambda name=name: previewed(window, name) or form.trouble.isVisible())
        assert not form.trouble.text(), name


def test_what_the_server_refuses_stands_at_its_field(qtbot, window):
    pick(window, "subtract_background")
    qtbot.waitUntil(lambda: previewed(window, "subtract_background"))
    row = window.parameters.row("min_sigma")
    row.editor.spin.setValue(100)
    qtbot.waitUntil(row.problem.isVisible)
    assert "less than max_sigma" in row.problem.text()


def test_a_reference_pattern_from_another_scan_is_subtracted(qtbot, window):
    session, corner = window.session, {"start": {"index": 0}, "stop": {"index": 12}}
    image = next(tree for tree in session.library.all_trees() if tree.path[0] == "image.hspy").path
    wide = {**corner, "stop": {"index": 16}}
    session.service.make_node(image, "root", "crop", {"y": corner, "x": wide}, "reference")
    session.library.open(image[:1])
    qtbot.waitUntil(lambda: session.find((*image, "reference")) is not None)
    window.toolbar.play.click()
    pick(window, "subtract_reference")
    editor = window.parameters.row("reference").editor
    editor.box.setCurrentIndex(editor.box.findText(f"/{'/'.join(image)}/reference"))
    editor.box.activated.emit(editor.box.currentIndex())
    qtbot.waitUntil(lambda: previewed(window, "subtract_reference"))
    reference = encoded((530, 600))[:12, :16]
    position = session.state.position
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[position] - reference.astype("f4"))
    window.parameters.keep.click()
    qtbot.waitUntil(lambda: not session.state.node.is_preview and shown(window))
    assert "subtract_reference" in session.state.node.operations


def test_a_preview_that_is_a_single_number_says_it_and_follows_its_slider(qtbot, window):
    image = next(tree for tree in window.session.library.all_trees() if tree.path[0] == "image.hspy")
    choose(qtbot, window, *image.root.path)
    window.toolbar.play.click()
    pick(window, "virtual_image")
    qtbot.waitUntil(lambda: previewed(window, "virtual_image"))
    before = window.signal.message.text()
    assert window.signal.message.isVisible()
    slider = window.parameters.row("detector.radius").editor.slider
    slider.setValue(slider.value() + slider.maximum() // 9)
    qtbot.waitUntil(lambda: previewed(window, "virtual_image") and window.signal.message.text() != before)
    assert float(window.signal.message.text()) > float(before)
