"""The list of files: while the service is indexing, when files come and go, with thousands of them."""

import gc
import time

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtWidgets
from viewer_service import (
    PinnedMap,
    StandIn,
    axis,
    choose,
    diffraction_scan,
    encoded,
    failed,
    file,
    node,
    opened,
    shown,
    tree,
    unfold,
    unreadable,
)

from viewer.nodes import Entry, Sort
from viewer.panels.tree import TreePanel
from viewer.walk import Changes

PACE = {"heartbeat_ms": 200, "retry_ms": 50, "pulse_ms": 40}
ROOT = ("a scan.hspy", "signal", "root")
Key = QtCore.Qt.Key
MANY = 1500


def folder(files, **attributes):
    return PinnedMap(files, metadata={"attributes": attributes} if attributes else None)


@pytest.fixture
def server():
    top = {"a scan.hspy": file(signal=diffraction_scan()), "folder": folder({})}
    server = StandIn(folder(top)).start()
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, server):
    with opened(qtbot, server.url, **PACE) as window:
        qtbot.waitUntil(lambda: shown(window))
        yield window


def put(server, *path, item):
    into = server.tree
    for name in path[:-1]:
        into = into[name]
    into._mapping[path[-1]] = item


def names(window):
    rows = window.tree.list
    return [rows.topLevelItem(row).text(0) for row in range(rows.topLevelItemCount())]


def indexing(server, done, of, scanning=True):
    told = {"indexing": {"done": done, "of": of, "scanning": scanning}}
    server.tree._metadata = {"attributes": told}


class TestComingAndGoing:
    def test_a_new_file_appears_without_a_click(self, qtbot, window, server):
        put(server, "b.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: names(window) == ["a scan.hspy", "b.hspy", "folder"])
        qtbot.waitUntil(lambda: window.tree.items["b.hspy",].text(1) == "7×5|9×6")
        put(server, "folder", "c.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: ("folder", "c.hspy") in window.tree.items)

    def test_no_other_file_is_shown_in_the_place_of_one_that_is_gone(self, qtbot, window, server):
        put(server, "b.hspy", item=file(signal=diffraction_scan()))
        choose(qtbot, window, "b.hspy", "signal", "root")
        window.tree.list.setFocus()
        del server.tree._mapping["b.hspy"]
        qtbot.waitUntil(lambda: "b.hspy" not in names(window))
        qtbot.wait(300)  # longer than the pause after which a reached row is shown
        assert window.session.state.node.path == ("b.hspy", "signal", "root")
        assert "is gone from the service" in window.banner.text.text()
        assert window.tree.list.currentItem() is None

    def test_names_stand_below_each_other_before_files_are_looked_into(self, qtbot):
        panel = TreePanel()
        qtbot.addWidget(panel)
        panel.change(Changes(put=(Entry(("a.hspy",), Sort.FILE), Entry(("folder",), Sort.FOLDER))))
        qtbot.waitUntil(lambda: len(panel.items) == 2)
        assert not panel.items["a.hspy",].icon(0).isNull()
        assert panel.items["folder",].icon(0).isNull(), "a folder has its triangle"

    def test_nothing_selected_unfolded_or_scrolled_is_lost(self, qtbot, window, server):
        for number in range(60):
            put(server, f"scan_{number}.hspy", item=file(signal=diffraction_scan()))
        put(server, "folder", "c.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: len(names(window)) == 62 and ("folder", "c.hspy") in window.tree.items)
        choose(qtbot, window, "a scan.hspy", "signal", "halved")
        rows, items = window.tree.list, window.tree.items
        items["folder",].setExpanded(True)
        items["a scan.hspy",].setExpanded(False)
        window.tree.mark(ROOT)
        rows.scrollToItem(items["scan_30.hspy",], QtWidgets.QAbstractItemView.PositionAtTop)
        qtbot.waitUntil(lambda: rows.itemAt(0, 0) is items["scan_30.hspy",])
        for number in range(20):
            put(server, f"earlier_{number}.hspy", item=file(signal=diffraction_scan()))
        del server.tree._mapping["scan_3.hspy"]
        qtbot.waitUntil(lambda: len(names(window)) == 81 and not window.tree._work)
        assert rows.itemAt(0, 0) is items["scan_30.hspy",]
        assert rows.currentItem() is items[ROOT]
        assert items["folder",].isExpanded()
        assert not items["a scan.hspy",].isExpanded()
        assert window.session.state.node.name == "halved"

    def test_files_stand_as_people_count(self, qtbot, window, server):
        for number in (10, 2, 1):
            put(server, f"scan_{number}.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: len(names(window)) == 5)
        assert names(window) == ["a scan.hspy", "folder", "scan_1.hspy", "scan_2.hspy", "scan_10.hspy"]

    def test_a_file_that_is_removed_is_missed(self, qtbot, window, server):
        put(server, "b.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: "b.hspy" in names(window))
        del server.tree._mapping["a scan.hspy"]
        qtbot.waitUntil(lambda: names(window) == ["b.hspy", "folder"])
        qtbot.waitUntil(lambda: "is gone from the service" in window.banner.text.text())
        choose(qtbot, window, "b.hspy", "signal", "root")
        assert not window.banner.isVisible()

    def test_a_folder_that_is_removed_takes_its_files_along(self, qtbot, window, server):
        put(server, "folder", "c.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: ("folder", "c.hspy") in window.tree.items)
        del server.tree._mapping["folder"]
        qtbot.waitUntil(lambda: ("folder",) not in window.tree.items)
        assert ("folder", "c.hspy") not in window.tree.items
        put(server, "folder", item=folder({"d.hspy": file(signal=diffraction_scan())}))
        qtbot.waitUntil(lambda: ("folder", "d.hspy") in window.tree.items)

    def test_a_file_that_changed_is_shown_as_it_is_now(self, qtbot, window, server):
        put(server, "a scan.hspy", item=file(signal=diffraction_scan(key="0b", offset=300)))
        qtbot.waitUntil(lambda: window.session.state.node.key == "0b" and shown(window))
        np.testing.assert_array_equal(window.signal.picture.raw, encoded(5, 7, 6, 9)[2, 3] + 300)
        assert "a scan.hspy/signal has changed" in window.banner.text.text()

    def test_a_file_becomes_readable_when_it_is_complete(self, qtbot, window, server):
        put(server, "late.mrc", item=unreadable("truncated: 12 of 1024 bytes"))
        qtbot.waitUntil(lambda: ("late.mrc",) in window.tree.items)
        item = window.tree.items["late.mrc",]
        qtbot.waitUntil(lambda: item.text(1) == "unreadable")
        assert "truncated" in item.toolTip(0)
        put(server, "late.mrc", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: item.text(1) == "7×5|9×6")
        assert window.tree.items["late.mrc", "signal", "root"] is item

    def test_coming_back_to_the_window_looks_at_once(self, qtbot, server):
        with opened(qtbot, server.url, heartbeat_ms=10**6, pulse_ms=10**6) as window:
            qtbot.waitUntil(lambda: shown(window))
            put(server, "b.hspy", item=file(signal=diffraction_scan()))
            qtbot.wait(150)
            assert "b.hspy" not in names(window)
            window.isActiveWindow = lambda: True
            QtWidgets.QApplication.sendEvent(window, QtCore.QEvent(QtCore.QEvent.ActivationChange))
            qtbot.waitUntil(lambda: "b.hspy" in names(window))

    def test_a_quiet_service_is_asked_little(self, qtbot, window, server):
        frames = window.session.fetcher._lane("frame")
        qtbot.waitUntil(lambda: not frames._ahead and not frames._flights)  # what is ahead has come, too
        server.traffic.requests.clear()
        qtbot.wait(1200)  # ten calm pulses of 120 ms, and six heartbeats
        assert len(server.traffic.requests) <= 10 * 6 + 8
        assert not server.traffic.data(), "nothing that is shown is fetched again"


class TestIndexing:
    def test_its_progress_is_told_and_what_is_there_is_listed(self, qtbot, server):
        indexing(server, 1200, 5000)
        with opened(qtbot, server.url, **PACE) as window:
            finder = window.tree.finder
            qtbot.waitUntil(lambda: finder.line.text() == "Looking through the folders: 1200 of 5000")
            qtbot.waitUntil(lambda: finder.progress.isVisible() and shown(window))
            assert finder.progress.value() / finder.progress.maximum() == pytest.approx(0.24)
            put(server, "b.hspy", item=file(signal=diffraction_scan()))
            indexing(server, 1300, 5000)
            qtbot.waitUntil(lambda: "1300 of 5000" in finder.line.text() and "b.hspy" in names(window))
            indexing(server, 5000, 5000, scanning=False)
            qtbot.waitUntil(lambda: finder.line.text() == "2 files" and not finder.progress.isVisible())

    def test_before_anything_is_counted(self, qtbot, server):
        server.tree._mapping.clear()
        indexing(server, 0, 0)
        with opened(qtbot, server.url, **PACE) as window:
            qtbot.waitUntil(lambda: window.tree.finder.line.text() == "Looking through the folders…")
            indexing(server, 0, 0, scanning=False)
            qtbot.waitUntil(lambda: window.tree.finder.line.text() == "No files yet")


class TestFailed:
    def test_a_node_that_failed_says_why_and_is_not_asked_for(self, qtbot, window, server):
        nodes = server.tree["a scan.hspy"]["signal"]
        nodes._mapping["old"] = failed("calibrate: navigation_shape: 3 × 5 needs 15 frames; there are 14.")
        unfold(qtbot, window, "a scan.hspy", "signal", "old")
        item = window.tree.items["a scan.hspy", "signal", "old"]
        assert item.text(1) == "failed"
        assert "needs 15 frames" in item.toolTip(0)
        server.traffic.requests.clear()
        window.tree.list.itemClicked.emit(item, 0)
        qtbot.waitUntil(lambda: "needs 15 frames" in window.signal.message.text())
        assert "needs 15 frames" in window.banner.text.text()
        qtbot.wait(300)
        assert not server.traffic.data()
        assert window.signal.message.isVisible()
        window.tree.list.itemClicked.emit(window.tree.items[ROOT], 0)
        qtbot.waitUntil(lambda: shown(window) and window.signal.image.isVisible())
        assert not window.banner.isVisible()
        np.testing.assert_array_equal(window.signal.picture.raw, encoded(5, 7, 6, 9)[2, 3])

    def test_a_failed_node_after_a_curve_leaves_nothing_of_it(self, qtbot, window, server, capfd):
        line = [axis("n", 4, navigate=True), axis("Energy", 5, 0.1, "keV")]
        nodes = {"root": node(encoded(4, 5, dtype="<f4"), line), "old": failed("it no longer fits")}
        put(server, "spectra.hspy", item=file(signal=tree(nodes)))
        choose_curve = ("spectra.hspy", "signal", "root")
        choose(qtbot, window, *choose_curve)
        window.tree.list.itemClicked.emit(window.tree.items["spectra.hspy", "signal", "old"], 0)
        qtbot.waitUntil(lambda: window.signal.message.isVisible())
        assert window.signal.curve.picture is None
        assert "Traceback" not in capfd.readouterr().err
        choose(qtbot, window, *choose_curve)
        assert window.signal.curve.isVisible()

    def test_a_file_that_cannot_be_looked_into_says_why_once(self, qtbot, window, server):
        put(server, "bad.hspy", item=file(signal=diffraction_scan()))
        server.traffic.refusals["/search/bad.hspy"] = (422, "its header is cut off")
        qtbot.waitUntil(lambda: ("bad.hspy",) in window.tree.items)
        item = window.tree.items["bad.hspy",]
        qtbot.waitUntil(lambda: "its header is cut off" in item.toolTip(0))
        assert item.text(1) == "unreadable"
        server.traffic.requests.clear()
        window.tree.list.itemClicked.emit(item, 0)
        assert "its header is cut off" in window.banner.text.text()
        qtbot.wait(300)
        assert not [url for url in server.traffic.requests if "bad.hspy" in url]

    def test_a_file_the_service_had_no_room_for_is_looked_into_again(self, qtbot, window, server):
        server.traffic.refusals["/search/busy.hspy"] = (503, "no room")
        put(server, "busy.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: any("/search/busy.hspy" in url for url in server.traffic.requests))
        qtbot.waitUntil(lambda: not window.session.library._opening)
        server.traffic.refusals.clear()
        qtbot.waitUntil(lambda: ("busy.hspy", "signal", "root") in window.tree.items)

    def test_a_folder_that_cannot_be_listed_hides_no_other(self, qtbot, window, server):
        server.traffic.refusals["/search/folder"] = (410, "moved away")
        put(server, "later", item=folder({"c.hspy": file(signal=diffraction_scan())}))
        qtbot.waitUntil(lambda: ("later", "c.hspy") in window.tree.items)


def test_of_what_is_typed_quickly_only_the_last_is_searched_for(qtbot, window, server):
    library = window.session.library
    with qtbot.waitSignal(library.found, check_params_cb=lambda text, _paths: text == "scan"):
        for text in ("s", "sc", "sca", "scan"):
            library.search(text)
    sought = [
        url.partition("[text]=")[2].partition("&")[0] for url in server.traffic.requests if "[text]=" in url
    ]
    assert set(sought) == {"s", "scan"}


class TestKeyboard:
    def test_arrow_keys_alone_show_the_node(self, qtbot, window):
        rows = window.tree.list
        unfold(qtbot, window, "a scan.hspy", "signal", "halved")
        rows.setFocus()
        rows.setCurrentItem(window.tree.items[ROOT])
        for key, name in [(Key.Key_Down, "navigator"), (Key.Key_Down, "halved"), (Key.Key_Up, "navigator")]:
            qtbot.keyClick(rows, key)
            qtbot.waitUntil(lambda name=name: window.session.state.node.name == name and shown(window))
            assert QtWidgets.QApplication.focusWidget() in (rows, None), "the keyboard stays in the list"

    def test_rows_passed_by_are_not_fetched(self, qtbot, window, server):
        for number in range(30):
            put(server, f"scan_{number}.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: len(names(window)) == 32)
        qtbot.waitUntil(lambda: not window.tree._work)
        server.traffic.requests.clear()
        window.tree.list.setCurrentItem(window.tree.items["scan_0.hspy",])
        for _ in range(40):
            qtbot.keyClick(window.tree.list, Key.Key_Down)
        qtbot.waitUntil(lambda: window.session.state.node.path[0].startswith("scan_") and shown(window))
        scans = {
            url.partition("scan_")[2].partition("/")[0] for url in server.traffic.data() if "/scan_" in url
        }
        assert scans == {"29.hspy"}

    def test_what_is_looked_for_is_found_by_name_and_by_title(self, qtbot, window, server):
        for name in ("gold.mrc", "Gold again.mrc", "silver.mrc"):
            put(server, "folder", name, item=file(signal=diffraction_scan()))
        put(server, "other.mrc", item=PinnedMap(
            {"signal": diffraction_scan()}, metadata={"attributes": {"state": "ready", "title": "GOLD on carbon"}}
        ))  # fmt: skip
        qtbot.waitUntil(
            lambda: ("folder", "silver.mrc") in window.tree.items and ("other.mrc",) in window.tree.items
        )
        items, finder = window.tree.items, window.tree.finder
        qtbot.keyClick(window, Key.Key_F, QtCore.Qt.ControlModifier)
        qtbot.keyClicks(finder.box, "gold")
        visible = {"folder": False, "folder/gold.mrc": False, "folder/Gold again.mrc": False, "other.mrc": False,
                   "folder/silver.mrc": True, "a scan.hspy": True}  # fmt: skip
        qtbot.waitUntil(
            lambda: {path: items[tuple(path.split("/"))].isHidden() for path in visible} == visible
        )
        assert finder.line.text() == "3 of 5 files"
        assert items["folder",].isExpanded()
        qtbot.keyClick(finder.box, Key.Key_Down)
        assert window.tree.list.currentItem() is not None
        assert not window.tree.list.currentItem().isHidden()
        qtbot.keyClick(finder.box, Key.Key_Escape)
        qtbot.waitUntil(lambda: not any(item.isHidden() for item in items.values()))
        assert not items["folder",].isExpanded(), "folders are folded as they were"
        assert finder.line.text() == "5 files"

    def test_what_is_found_is_seen_from_its_first(self, qtbot, window, server):
        for number in range(60):
            put(server, f"scan_{number}.hspy", item=file(signal=diffraction_scan()))
        qtbot.waitUntil(lambda: len(names(window)) == 62 and not window.tree._work)
        rows, items = window.tree.list, window.tree.items
        rows.scrollToBottom()
        qtbot.keyClicks(window.tree.finder.box, "hspy")
        qtbot.waitUntil(lambda: items["folder",].isHidden())
        assert rows.itemAt(4, 4) is items["a scan.hspy",]

    def test_nobody_types_before_asking_to(self, qtbot, window):
        assert window.focusWidget() is window.signal.image
        qtbot.keyClick(window.focusWidget(), Key.Key_Right)
        qtbot.waitUntil(lambda: window.session.state.position == (2, 4))

    def test_letters_in_the_box_are_no_shortcuts(self, qtbot, window):
        scale = window.session.contrasts.of(window.session.state.node).scale
        qtbot.keyClicks(window.tree.finder.box, "all of")
        assert window.tree.finder.box.text() == "all of"
        assert window.session.contrasts.of(window.session.state.node).scale is scale


@pytest.fixture
def turns(monkeypatch):
    """Seconds of the window's own thread that each turn at the list took."""
    took = []

    def timed(function):
        def turn(*arguments):
            started = time.thread_time()
            function(*arguments)
            took.append(time.thread_time() - started)

        return turn

    for name in ("_draw_some", "change", "show_file", "_tell_seen", "_filter"):
        monkeypatch.setattr(TreePanel, name, timed(getattr(TreePanel, name)))
    gc.disable()  # a collection that falls into a turn is not the list's doing
    yield took
    gc.enable()


def test_thousands_of_files_come_page_by_page_without_a_stall(qtbot, turns):
    scan = file(signal=diffraction_scan())
    server = StandIn(folder({f"scan_{n}.hspy": scan for n in range(MANY)})).start()
    try:
        with opened(qtbot, server.url) as window:
            rows = window.tree.list
            qtbot.waitUntil(lambda: rows.topLevelItemCount() == MANY and not window.tree._work, timeout=20000)
            assert names(window) == [f"scan_{n}.hspy" for n in range(MANY)]
            assert shown(window)
            pages = [url for url in server.traffic.requests if url.startswith("/api/v1/search/?")]
            assert len(pages) < 2 * MANY / 200 + 4
            into = {url.split("/")[4] for url in server.traffic.requests if "/search/scan_" in url}
            assert len(into) < 80, "only files on the screen are looked into"
            window.tree.finder.box.setText("scan_77")
            qtbot.waitUntil(lambda: window.tree.items["scan_1.hspy",].isHidden())
        assert len(turns) > 20
        assert sorted(turns)[-3] < 0.008, "but for hiccups of a loaded machine"
    finally:
        server.stop()


def test_a_tree_at_the_top_is_shown_too(qtbot):
    server = StandIn(tree({"x": diffraction_scan()})).start()
    try:
        with opened(qtbot, server.url, **PACE) as window:
            qtbot.waitUntil(lambda: shown(window))
            assert window.session.state.node.path == ("x", "root")
    finally:
        server.stop()
