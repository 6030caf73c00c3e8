"""Renaming, deleting and bringing back nodes from the list, on a service that does it and on one that does not."""

import pytest
from changing_service import Changes
from pyqtgraph.Qt import QtCore, QtWidgets
from viewer_service import (
    PACE,
    PinnedMap,
    StandIn,
    choose,
    diffraction_scan,
    encoded,
    failed,
    file,
    node,
    opened,
    scan_axes,
    shown,
)

TREE = ("scan.hspy", "signal")
HALVED, CHILD = (*TREE, "halved"), (*TREE, "child")
Key = QtCore.Qt.Key


@pytest.fixture
def service():
    scan = diffraction_scan()
    axes = [*scan_axes(5, 7), *scan_axes(6, 9)]
    for axis in axes[2:]:
        axis["navigate"] = False
    scan._mapping["child"] = node(encoded(5, 7, 6, 9), axes, "0c", "halved", version=4)
    scan._mapping["misfit"] = failed("its parent has no beam energy any more")
    changes = Changes(PinnedMap({"scan.hspy": file(signal=scan)}), telling=False)
    stand_in = StandIn(changes.top, routes=changes.router).start()
    stand_in.changes = changes
    yield stand_in
    stand_in.stop()


@pytest.fixture
def window(qtbot, service):
    with opened(qtbot, service.url, **PACE) as window:
        choose(qtbot, window, *HALVED)
        qtbot.waitUntil(
            lambda: sum("signal/root?" in url and "/nodes/" in url for url in service.traffic.requests) == 2
        )
        yield window


def listed(window):
    return {path[-1] for path in window.tree.items if len(path) == 3}


def type_name(qtbot, window, name):
    """F2, another name, Enter."""
    qtbot.keyClick(window, Key.Key_F2)
    box = window.tree.list.findChild(QtWidgets.QLineEdit, "name")
    assert box is not None
    box.selectAll()
    qtbot.keyClicks(box, name)
    qtbot.keyClick(box, Key.Key_Return)


def menu_of(window, path):
    menu = QtWidgets.QMenu()
    window.tree.menu_opened.emit(menu, window.tree.row(path))
    return {action.text(): (action.isEnabled(), action.toolTip()) for action in menu.actions()}


def test_a_node_is_renamed_in_its_place_and_stays_on_the_screen(qtbot, window):
    window.session.move_to((4, 1))
    type_name(qtbot, window, "half as bright")
    renamed = (*TREE, "half as bright")
    qtbot.waitUntil(lambda: window.session.state.node.path == renamed and shown(window))
    assert window.session.state.position == (4, 1)
    qtbot.waitUntil(lambda: renamed in window.tree.items and HALVED not in window.tree.items)
    assert window.tree.items[renamed].text(0) == "half as bright"
    assert not window.banner.isVisible()


def test_a_name_that_is_taken_is_told_and_nothing_is_lost(qtbot, window):
    type_name(qtbot, window, "centre")
    qtbot.waitUntil(lambda: "'halved' keeps its name: There is a node called" in window.banner.text.text())
    assert window.tree.items[HALVED].text(0) == "halved"
    assert window.session.state.node.path == HALVED


def test_whoever_was_faster_wins_and_the_other_is_told(qtbot, window, service):
    service.changes.tree("scan.hspy/signal")._mapping["halved"].metadata()["attributes"]["version"] = 7
    type_name(qtbot, window, "mine")
    words = "'halved' keeps its name: 'halved' is of version 7, changed by ada"
    qtbot.waitUntil(lambda: words in window.banner.text.text())
    assert "mine" not in service.changes.tree("scan.hspy/signal")._mapping
    qtbot.waitUntil(lambda: window.session.find(HALVED).version == 7)
    type_name(qtbot, window, "mine")
    qtbot.waitUntil(lambda: (*TREE, "mine") in window.tree.items)


def test_deleting_asks_in_the_list_where_others_depend_on_it_and_can_be_undone(qtbot, window):
    notice = window.tree.notice
    window.tree.mark(HALVED)
    qtbot.keyClick(window, Key.Key_Delete)
    assert notice.text.text() == "'child' is made from 'halved'. Delete all?"
    assert notice.button.text() == "Delete 2"
    assert {"halved", "child"} <= listed(window)
    notice.button.click()
    qtbot.waitUntil(lambda: notice.text.text() == "Deleted 'halved' and 1 made from it.")
    qtbot.waitUntil(lambda: not {"halved", "child"} & listed(window))
    qtbot.waitUntil(lambda: window.session.state.node.path == (*TREE, "root") and shown(window))
    assert not window.banner.isVisible()
    notice.button.click()
    qtbot.waitUntil(lambda: {"halved", "child"} <= listed(window))
    qtbot.waitUntil(lambda: window.session.state.node.path == HALVED and shown(window))
    assert notice.text.text() == "Undone: deleted 'halved' and 1 made from it."
    notice.button.click()
    qtbot.waitUntil(lambda: not {"halved", "child"} & listed(window))
    qtbot.waitUntil(lambda: window.session.state.node.path == (*TREE, "root") and shown(window))
    assert not window.banner.isVisible()


def test_a_name_is_taken_back_and_given_again(qtbot, window):
    control, shift = QtCore.Qt.KeyboardModifier.ControlModifier, QtCore.Qt.KeyboardModifier.ShiftModifier
    type_name(qtbot, window, "dim")
    qtbot.waitUntil(lambda: window.session.state.node.name == "dim" and shown(window))
    assert window.tree.notice.text.text() == "Renamed 'halved' to 'dim'."
    qtbot.keyClick(window, Key.Key_Z, control)
    qtbot.waitUntil(lambda: window.session.state.node.path == HALVED and shown(window))
    assert window.tree.notice.text.text() == "Undone: renamed 'halved' to 'dim'."
    qtbot.keyClick(window, Key.Key_Z, control | shift)
    qtbot.waitUntil(lambda: window.session.state.node.name == "dim" and shown(window))
    assert window.tree.notice.text.text() == "Done again: renamed 'halved' to 'dim'."
    assert not window.banner.isVisible(), "whoever does it need not be told"


def test_what_nothing_depends_on_is_deleted_at_once_and_ctrl_z_brings_it_back(qtbot, window):
    window.tree.mark(CHILD)
    qtbot.keyClick(window, Key.Key_Delete)
    qtbot.waitUntil(lambda: "child" not in listed(window))
    assert window.session.state.node.path == HALVED, "another node was shown, and still is"
    qtbot.keyClick(window, Key.Key_Z, QtCore.Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: "child" in listed(window))


def test_a_dependant_that_is_not_listed_yet_is_asked_about_too(qtbot, window, service):
    service.traffic.delays["/search/"] = 30.0  # the list does not follow
    scan = service.changes.tree("scan.hspy/signal")
    scan._mapping["new"] = node(encoded(5, 7), scan_axes(5, 7), "0d", "child", chunks=(5, 7))
    window.tree.mark(CHILD)
    qtbot.keyClick(window, Key.Key_Delete)
    qtbot.waitUntil(
        lambda: "Others are made from 'child': new. Delete all?" in window.tree.notice.text.text()
    )
    assert {"child", "new"} <= set(scan._mapping)
    service.traffic.delays.clear()


def test_what_cannot_be_brought_back_is_told(qtbot, window, service):
    window.tree.mark(CHILD)
    qtbot.keyClick(window, Key.Key_Delete)
    qtbot.waitUntil(lambda: "child" not in listed(window))
    service.changes.put("scan.hspy/signal", "child", node(encoded(5, 7), scan_axes(5, 7), "0d", "root"))
    window.tree.notice.button.click()
    qtbot.waitUntil(
        lambda: "Not undone (deleted 'child'): Somebody has made another" in window.banner.text.text()
    )


def test_what_the_rights_do_not_allow_is_disabled_and_says_why(qtbot, service):
    service.changes.forbidden = {"DELETE"}
    with opened(qtbot, service.url, **PACE) as window:
        choose(qtbot, window, *HALVED)
        qtbot.waitUntil(lambda: not menu_of(window, HALVED)["Delete"][0])
        assert "not on this server" in menu_of(window, HALVED)["Delete"][1]
        assert menu_of(window, HALVED)["Rename"][0]
        qtbot.keyClick(window, Key.Key_Delete)
        qtbot.waitUntil(lambda: "not on this server" in window.banner.text.text())
        assert "halved" in listed(window)


def test_files_and_what_a_tree_has_of_itself_stay_as_they_are(qtbot, window, service):
    for path in ((*TREE, "root"), (*TREE, "navigator")):
        for what in ("Rename", "Delete"):
            enabled, tip = menu_of(window, path)[what]
            assert not enabled
            assert "was made" in tip
    assert set(service.changes.tree("scan.hspy/signal")._mapping) >= {"root", "navigator"}


def test_a_service_that_keeps_its_nodes_says_so(qtbot, scan_service):
    with opened(qtbot, scan_service.url, **PACE) as window:
        choose(qtbot, window, "signal", "halved")
        qtbot.waitUntil(lambda: not menu_of(window, ("signal", "halved"))["Rename"][0])
        assert "keeps its nodes as they are" in menu_of(window, ("signal", "halved"))["Rename"][1]


def test_a_failed_node_is_listed_says_why_and_can_be_deleted(qtbot, window, service):
    path = (*TREE, "misfit")
    item = window.tree.items[path]
    assert item.text(1) == "failed"
    assert "no beam energy" in item.toolTip(0)
    window.tree.mark(path)
    qtbot.keyClick(window, Key.Key_Delete)
    qtbot.waitUntil(lambda: "misfit" not in listed(window))


def test_the_progress_of_a_node_is_in_the_list_and_moves_no_picture(qtbot, window, service):
    asked = len(service.traffic.data())
    described = service.changes.tree("scan.hspy/signal")._mapping["halved"].metadata()["attributes"]
    for done in (9, 62):
        described.update(state="computing", progress={"done": done, "of": 100})
        window.session.relist()
        qtbot.waitUntil(lambda done=done: window.tree.items[HALVED].text(1) == f"{done} %")
    assert "being computed" in window.tree.items[HALVED].toolTip(0)
    described.update(state="stored", progress=None)
    window.session.relist()
    qtbot.waitUntil(lambda: window.tree.items[HALVED].text(1) == "7×5|9×6")
    assert len(service.traffic.data()) == asked
