"""The service goes away, comes back, changes, refuses: the window says so and goes on."""

import numpy as np
import pytest
from viewer_service import PACE, StandIn, choose, diffraction_scan, encoded, file, node, opened, shown, tree

ROOT = ("signal", "root")
SCAN = encoded(5, 7, 6, 9)


def says(window, *words):
    return window.banner.isVisible() and all(word in window.banner.text.text() for word in words)


def test_a_service_that_goes_away_is_missed_and_found_again(qtbot, window, scan_service):
    window.session.move_to((4, 5))
    qtbot.waitUntil(lambda: shown(window))
    scan_service.stop()
    qtbot.waitUntil(lambda: says(window, "cannot be reached", "Trying again"))
    assert "not connected" in window.status.connection.text()
    scan_service.tree._mapping["signal"] = diffraction_scan(key="0b", offset=1000)
    scan_service.start()
    qtbot.waitUntil(lambda: not window.banner.isVisible(), timeout=60000)
    assert "not connected" not in window.status.connection.text()
    qtbot.waitUntil(lambda: window.session.state.node.key == "0b" and shown(window))
    assert window.session.state.position == (4, 5)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[4, 5] + 1000)
    np.testing.assert_array_equal(window.navigator.image.picture.raw, (SCAN + 1000).sum((2, 3)))


def test_moving_while_the_service_is_away_shows_the_frame_when_it_is_back(qtbot, window, scan_service):
    scan_service.stop()
    window.session.move_to((0, 6))
    qtbot.waitUntil(lambda: says(window, "cannot be reached"))
    scan_service.start()
    qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window), timeout=60000)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])


def test_a_lost_frame_is_asked_for_again_though_the_listing_came_first(qtbot, scan_service):
    with opened(qtbot, scan_service.url, heartbeat_ms=60000, retry_ms=1000, pulse_ms=40) as window:
        qtbot.waitUntil(lambda: shown(window))
        scan_service.traffic.refusals["/c/0/6/"] = (502, "no way through")
        window.session.move_to((0, 6))
        qtbot.waitUntil(lambda: says(window, "no way through"))
        with qtbot.waitSignal(window.session.library.indexing):
            scan_service.traffic.refusals.clear()
        qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window))
        np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])


def test_a_frame_from_the_cache_does_not_say_that_the_service_is_back(qtbot, scan_service):
    with opened(qtbot, scan_service.url, heartbeat_ms=60000, retry_ms=60000, pulse_ms=40) as window:
        qtbot.waitUntil(lambda: shown(window))
        cached = window.session.state.position
        scan_service.stop()
        window.session.move_to((0, 6))
        qtbot.waitUntil(lambda: says(window, "cannot be reached"))
        with qtbot.assertNotEmitted(window.session.presence.connected):
            window.session.move_to(cached)
            qtbot.waitUntil(lambda: shown(window))
        assert says(window, "cannot be reached")


def test_a_service_that_starts_after_the_viewer(qtbot, scan_service):
    scan_service.stop()
    with opened(qtbot, scan_service.url, **PACE) as window:
        qtbot.waitUntil(lambda: says(window, "cannot be reached"))
        scan_service.start()
        qtbot.waitUntil(lambda: shown(window), timeout=60000)
        assert not window.banner.isVisible()


def test_a_node_that_changed_is_listed_again(qtbot, window, scan_service):
    scan_service.tree._mapping["signal"] = diffraction_scan(key="0b", offset=500)
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: window.session.state.node.key == "0b" and shown(window))
    assert window.session.state.position == (1, 1)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 1] + 500)
    assert says(window, "signal has changed", "signal as it is now")


def test_a_node_that_is_gone_for_good_is_said_so_once(qtbot, window, scan_service):
    scan_service.traffic.refusals["/c/1/1/"] = (410, "this key is gone")
    scan_service.traffic.requests.clear()
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: says(window, "this key is gone"))
    assert len([url for url in scan_service.traffic.requests if "/c/1/1/" in url]) <= 2
    window.session.move_to((1, 2))
    qtbot.waitUntil(lambda: shown(window) and not window.banner.isVisible())


def test_a_node_that_was_deleted_is_missed(qtbot, window, scan_service):
    del scan_service.tree._mapping["signal"]._mapping["root"]
    window.session.try_again()
    qtbot.waitUntil(lambda: says(window, "signal/root", "gone"))


def test_a_frame_that_cannot_be_read_is_not_shown_as_another(qtbot, window, scan_service):
    scan_service.traffic.refusals["/c/1/1/"] = (422, "scan is cut off at frame (1, 1)")
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: says(window, "cut off at frame (1, 1)"))
    assert window.signal.picture is None
    assert "cut off" in window.signal.message.text()
    assert window.signal.message.isVisible()
    window.session.move_to((1, 2))
    qtbot.waitUntil(lambda: shown(window))
    assert not window.banner.isVisible()
    assert window.signal.image.isVisible()
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 2])


def test_a_busy_service_is_asked_again_when_it_says(qtbot, window, scan_service):
    scan_service.traffic.refusals["/c/0/0/"] = (503, "job 4 is at 20 %")
    window.session.move_to((0, 0))
    qtbot.waitUntil(lambda: says(window, "not there yet", "asked for again", "job 4 is at 20 %"))
    scan_service.traffic.refusals.clear()
    qtbot.waitUntil(lambda: shown(window) and not window.banner.isVisible())
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 0])


def test_a_navigator_that_fails_does_not_take_the_frame_with_it(qtbot, scan_service):
    scan_service.traffic.refusals["/navigator@"] = (422, "no sum")
    with opened(qtbot, scan_service.url, **PACE) as window:
        qtbot.waitUntil(lambda: says(window, "no sum"))
        assert window.signal.picture is not None
        window.session.move_to((4, 4))
        qtbot.waitUntil(lambda: window.signal.painted_at == (4, 4))


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_private_service_says_that_it_wants_a_key(qtbot, key):
    server = StandIn(file(signal=diffraction_scan()), api_key="opensesame").start()
    try:
        with opened(qtbot, server.url, key, **PACE) as window:
            qtbot.waitUntil(lambda: says(window, "key", "--api-key"))
            count = len(server.traffic.requests)
            qtbot.wait(600)
            assert len(server.traffic.requests) <= count + 1, "a wrong key is not tried again and again"
        with opened(qtbot, server.url, "opensesame", **PACE) as window:
            qtbot.waitUntil(lambda: shown(window))
    finally:
        server.stop()


def test_a_node_the_viewer_cannot_draw_says_why(qtbot, scan_service):
    records = np.zeros((3, 4), dtype="S5")
    axes = [{"name": n, "size": s, "units": None, "navigate": False} for n, s in (("y", 3), ("x", 4))]
    scan_service.tree._mapping["texts"] = tree({"root": node(records, axes)})
    with opened(qtbot, scan_service.url, **PACE) as window:
        qtbot.waitUntil(lambda: ("texts", "root") in window.tree.items)
        window.tree.list.itemClicked.emit(window.tree.items["texts", "root"], 0)
        qtbot.waitUntil(lambda: says(window, "records or text"))
        choose(qtbot, window, *ROOT)
        assert not window.banner.isVisible()


def test_trying_again_by_hand(qtbot, window, scan_service):
    scan_service.traffic.refusals["/c/1/1/"] = (500, "oops")
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: says(window, "oops"))
    scan_service.traffic.refusals.clear()
    window.banner.again_button.click()
    qtbot.waitUntil(lambda: shown(window) and not window.banner.isVisible())
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 1])


def listed(qtbot, window, times=2):
    """Let the file that is shown be looked into a few times more."""
    for _ in range(times):
        with qtbot.waitSignal(window.session.library.opened, timeout=60000):
            pass


def test_a_trouble_of_the_service_itself_passes(qtbot, window, scan_service):
    scan_service.traffic.refusals["/api/v1/?"] = (503, "no room for anybody")
    qtbot.waitUntil(lambda: says(window, "no room for anybody"))
    scan_service.traffic.refusals.clear()
    qtbot.waitUntil(lambda: not window.banner.isVisible())


def test_a_key_that_may_list_but_not_read_is_tried_again_after_the_list(qtbot, window, scan_service):
    scan_service.traffic.refusals["/c/"] = (401, "Not enough permissions")
    window.session.move_to((0, 6))
    qtbot.waitUntil(lambda: says(window, "asks for a key", "--api-key"))
    listed(qtbot, window)
    assert says(window, "asks for a key")
    scan_service.traffic.refusals.clear()
    qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window), timeout=60000)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])


def test_a_frame_from_the_cache_does_not_say_that_the_key_will_do(qtbot, window, scan_service):
    cached = window.session.state.position
    scan_service.traffic.refusals["/c/"] = (401, "Not enough permissions")
    window.session.move_to((0, 6))
    qtbot.waitUntil(lambda: says(window, "asks for a key"))
    with qtbot.assertNotEmitted(window.session.presence.connected):
        window.session.move_to(cached)
        qtbot.waitUntil(lambda: shown(window))
    assert says(window, "asks for a key")


def test_a_service_that_goes_away_after_it_refused_a_key_is_found_again(qtbot, window, scan_service):
    scan_service.traffic.refusals["/"] = (401, "Not for you")
    window.session.move_to((0, 6))
    qtbot.waitUntil(lambda: says(window, "asks for a key"))
    scan_service.stop()
    window.session.move_to((0, 5))
    qtbot.waitUntil(lambda: says(window, "cannot be reached", "Trying again"))
    scan_service.traffic.refusals.clear()
    scan_service.start()
    qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window), timeout=60000)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 5])


def test_a_service_that_is_found_again_may_be_farther_away(qtbot, window, scan_service):
    window.session.fetcher.distance.record(1e-9)
    scan_service.stop()
    qtbot.waitUntil(lambda: says(window, "cannot be reached"))
    scan_service.start()
    qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window), timeout=60000)
    assert window.session.fetcher.distance.seconds > 1e-9
