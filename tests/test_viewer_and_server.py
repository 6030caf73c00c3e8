"""The viewer on our own server, from files on disk to pixels."""

import numpy as np
import pytest
from conftest import KEY, encoded, serving
from viewer_service import choose, opened, press, shown

from viewer.tour import take_tour

SCAN = encoded((3, 5, 12, 16))


@pytest.fixture(scope="module")
def service(scans):
    with serving([scans]) as served:
        yield served


@pytest.fixture
def window(qtbot, service):
    with opened(qtbot, service.url, KEY) as window:
        qtbot.waitUntil(lambda: len(window.session.library.all_trees()) >= 7)
        yield window


def tree_of(window, file):
    return next(tree for tree in window.session.library.all_trees() if tree.path[0] == file)


def test_a_scan_is_pointed_into(qtbot, window):
    choose(qtbot, window, *tree_of(window, "scan4d.hspy").root.path)
    np.testing.assert_array_equal(window.navigator.image.picture.raw, SCAN.sum((2, 3), dtype="f8"))
    for row, column in [(0, 0), (2, 4), (1, 3)]:
        press(window.navigator.image, row, column)
        qtbot.waitUntil(lambda here=(row, column): window.session.state.position == here and shown(window))
        np.testing.assert_array_equal(window.signal.picture.raw, SCAN[row, column])


def test_spectra_images_and_line_scans_are_shown(qtbot, window):
    choose(qtbot, window, *tree_of(window, "spectra.hspy").root.path)
    y, x = window.session.state.position
    np.testing.assert_array_equal(window.signal.picture.raw, encoded((4, 6, 40))[y, x])
    choose(qtbot, window, *tree_of(window, "image.hspy").root.path)
    np.testing.assert_array_equal(window.signal.picture.raw, encoded((530, 600)))
    choose(qtbot, window, *tree_of(window, "line.hspy").root.path)
    (x,) = window.session.state.position
    np.testing.assert_array_equal(window.signal.picture.raw, encoded((7, 33))[x])


def test_files_that_cannot_be_read_say_why(window):
    item = window.tree.items["empty.hspy",]
    window.tree.list.itemClicked.emit(item, 0)
    assert window.banner.isVisible()
    assert window.banner.text.text().count("empty.hspy") == 1
    assert tree_of(window, "empty.hspy").error in item.toolTip(0)


def test_a_node_made_by_the_service_is_shown_where_the_crosshair_is(qtbot, window):
    tree = tree_of(window, "scan4d.hspy")
    choose(qtbot, window, *tree.root.path)
    window.session.move_to((2, 1))
    made = []
    window.session.fetcher.answered.connect(
        lambda answer: made.append(answer) if answer.view == "made" else None
    )
    service = window.session.service
    window.session.fetcher.call(
        "made", lambda: service.make_node(tree.path, "root", "bin", {"x": 2}, "binned")
    )
    qtbot.waitUntil(lambda: bool(made))
    assert made[0].error is None
    window.session.relist()
    choose(qtbot, window, *tree.path, "binned")
    assert window.session.state.position == (2, 1)
    expected = SCAN[2, 1].reshape(6, 2, 8, 2).sum((1, 3), dtype="u8")
    np.testing.assert_array_equal(window.signal.picture.raw, expected)


def test_the_tour(qtbot, window, tmp_path, capsys):
    assert take_tour(window, tmp_path) == 0
    assert len(list(tmp_path.glob("*.png"))) >= 4
    assert "skipped" not in capsys.readouterr().out


def test_plain_tiled_serves_the_viewer_too(qtbot, scans):
    with serving([scans], guarded=False) as plain, opened(qtbot, plain.url, KEY) as window:
        qtbot.waitUntil(lambda: len(window.session.library.all_trees()) >= 7)
        choose(qtbot, window, *tree_of(window, "scan4d.hspy").root.path)
        press(window.navigator.image, 1, 3)
        qtbot.waitUntil(lambda: window.session.state.position == (1, 3) and shown(window))
        np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 3])
