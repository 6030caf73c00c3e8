"""The service goes away, comes back, changes, refuses: the window says so and goes on."""

import numpy as np
import pytest
from viewer_service import StandIn, choose, diffraction_scan, encoded, file, node, opened, shown, tree

ROOT = ("signal", "root")
SCAN = encoded(5, 7, 6, 9)
PACE = {"heartbeat_ms": 100, "retry_ms": 50, "pulse_ms": 40}


@pytest.fixture
def stand_in():
    server = StandIn(file(signal=diffraction_scan())).start()
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, stand_in):
    with opened(qtbot, stand_in.url, **PACE) as window:
        qtbot.waitUntil(lambda: shown(window))
        yield window


def says(window, *words):
    return window.banner.isVisible() and all(word in window.banner.text.text() for word in words)


def test_a_service_that_goes_away_is_missed_and_found_again(qtbot, window, stand_in):
    window.session.move_to((4, 5))
    qtbot.waitUntil(lambda: shown(window))
    stand_in.stop()
    qtbot.waitUntil(lambda: says(window, "cannot be reached", "Trying again"))
    assert "not connected" in window.status.connection.text()
    stand_in.tree._mapping["signal"] = diffraction_scan(key="0b", offset=1000)
    stand_in.start()
    qtbot.waitUntil(lambda: not window.banner.isVisible(), timeout=60000)
    assert "not connected" not in window.status.connection.text()
    qtbot.waitUntil(lambda: window.session.state.node.key == "0b" and shown(window))
    assert window.session.state.position == (4, 5)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[4, 5] + 1000)
    np.testing.assert_array_equal(window.navigator.image.picture.raw, (SCAN + 1000).sum((2, 3)))


def test_moving_while_the_service_is_away_shows_the_frame_when_it_is_back(qtbot, window, stand_in):
    stand_in.stop()
    window.session.move_to((0, 6))
    qtbot.waitUntil(lambda: says(window, "cannot be reached"))
    stand_in.start()
    qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window), timeout=60000)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])


def test_a_lost_frame_is_asked_for_again_though_the_listing_came_first(qtbot, stand_in):
    with opened(qtbot, stand_in.url, heartbeat_ms=60000, retry_ms=1000, pulse_ms=40) as window:
        qtbot.waitUntil(lambda: shown(window))
        stand_in.traffic.refusals["/c/0/6/"] = (502, "no way through")
        window.session.move_to((0, 6))
        qtbot.waitUntil(lambda: says(window, "no way through"))
        with qtbot.waitSignal(window.session.library.indexing):
            stand_in.traffic.refusals.clear()
        qtbot.waitUntil(lambda: not window.banner.isVisible() and shown(window))
        np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])


def test_a_frame_from_the_cache_does_not_say_that_the_service_is_back(qtbot, stand_in):
    with opened(qtbot, stand_in.url, heartbeat_ms=60000, retry_ms=60000, pulse_ms=40) as window:
        qtbot.waitUntil(lambda: shown(window))
        cached = window.session.state.position
        stand_in.stop()
        window.session.move_to((0, 6))
        qtbot.waitUntil(lambda: says(window, "cannot be reached"))
        with qtbot.assertNotEmitted(window.session.presence.connected):
            window.session.move_to(cached)
            qtbot.waitUntil(lambda: shown(window))
        assert says(window, "cannot be reached")


def test_a_service_that_starts_after_the_viewer(qtbot, stand_in):
    stand_in.stop()
    with opened(qtbot, stand_in.url, **PACE) as window:
        qtbot.waitUntil(lambda: says(window, "cannot be reached"))
        stand_in.start()
        qtbot.waitUntil(lambda: shown(window), timeout=60000)
        assert not window.banner.isVisible()


def test_a_node_that_changed_is_listed_again(qtbot, window, stand_in):
    stand_in.tree._mapping["signal"] = diffraction_scan(key="0b", offset=500)
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: window.session.state.node.key == "0b" and shown(window))
    assert window.session.state.position == (1, 1)
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 1] + 500)
    assert says(window, "signal has changed", "root as it is now")


def test_a_node_that_is_gone_for_good_is_said_so_once(qtbot, window, stand_in):
    stand_in.traffic.refusals["/c/1/1/"] = (410, "this key is gone")
    stand_in.traffic.requests.clear()
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: says(window, "this key is gone"))
    assert len([url for url in stand_in.traffic.requests if "/c/1/1/" in url]) <= 2
    window.session.move_to((1, 2))
    qtbot.waitUntil(lambda: shown(window) and not window.banner.isVisible())


def test_a_node_that_was_deleted_is_missed(qtbot, window, stand_in):
    del stand_in.tree._mapping["signal"]._mapping["root"]
    window.session.try_again()
    qtbot.waitUntil(lambda: says(window, "signal/root", "gone"))


def test_a_frame_that_cannot_be_read_is_not_shown_as_another(qtbot, window, stand_in):
    stand_in.traffic.refusals["/c/1/1/"] = (422, "scan is cut off at frame (1, 1)")
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


def test_a_busy_service_is_asked_again_when_it_says(qtbot, window, stand_in):
    stand_in.traffic.refusals["/c/0/0/"] = (503, "job 4 is at 20 %")
    window.session.move_to((0, 0))
    qtbot.waitUntil(lambda: says(window, "being computed", "job 4 is at 20 %"))
    stand_in.traffic.refusals.clear()
    qtbot.waitUntil(lambda: shown(window) and not window.banner.isVisible())
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 0])


def test_a_navigator_that_fails_does_not_take_the_frame_with_it(qtbot, stand_in):
    stand_in.traffic.refusals["/navigator@"] = (422, "no sum")
    with opened(qtbot, stand_in.url, **PACE) as window:
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


def test_a_node_the_viewer_cannot_draw_says_why(qtbot, stand_in):
    records = np.zeros((3, 4), dtype="S5")
    axes = [{"name": n, "size": s, "units": None, "navigate": False} for n, s in (("y", 3), ("x", 4))]
    stand_in.tree._mapping["texts"] = tree({"root": node(records, axes)})
    with opened(qtbot, stand_in.url, **PACE) as window:
        qtbot.waitUntil(lambda: ("texts", "root") in window.tree.items)
        window.tree.list.itemClicked.emit(window.tree.items["texts", "root"], 0)
        qtbot.waitUntil(lambda: says(window, "records or text"))
        choose(qtbot, window, *ROOT)
        assert not window.banner.isVisible()


def test_trying_again_by_hand(qtbot, window, stand_in):
    stand_in.traffic.refusals["/c/1/1/"] = (500, "oops")
    window.session.move_to((1, 1))
    qtbot.waitUntil(lambda: says(window, "oops"))
    stand_in.traffic.refusals.clear()
    window.banner.again_button.click()
    qtbot.waitUntil(lambda: shown(window) and not window.banner.isVisible())
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[1, 1])
