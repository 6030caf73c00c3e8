"""What nobody waits for any more is cancelled, so that the service notices: over real connections."""

import threading

import numpy as np
import pytest
from viewer_service import StandIn, choose, diffraction_scan, encoded, file, opened, shown

from viewer.connections import Call
from viewer.errors import Unreachable
from viewer.view_state import Request, Span
from viewer.wire import Service, locate

SCAN = encoded(5, 7, 6, 9)


@pytest.fixture
def stand_in():
    server = StandIn(file(signal=diffraction_scan())).start()
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, stand_in):
    with opened(qtbot, stand_in.url) as window:
        choose(qtbot, window, "signal", "root")
        yield window


@pytest.fixture
def service(stand_in):
    service = Service(stand_in.url)
    yield service
    service.close()


def address(service, y, x):
    return locate(Request(service.node(("signal", "root")), (y, x, Span(0, 6), Span(0, 9))))[0]


def asked(stand_in, part):
    return lambda: any(part in url for url in stand_in.traffic.data())


def left(stand_in, part):
    return lambda: any(part in url for url in stand_in.traffic.left)


def test_another_node_cancels_what_was_asked_for_the_last(qtbot, window, stand_in):
    stand_in.traffic.held.add("/c/0/6/")
    window.session.move_to((0, 6))
    qtbot.waitUntil(asked(stand_in, "root@0a/c/0/6/"))
    stand_in.traffic.held.clear()
    choose(qtbot, window, "signal", "halved")
    qtbot.waitUntil(left(stand_in, "root@0a/c/0/6/"))
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6] / 2)
    choose(qtbot, window, "signal", "root")  # over connections that were cut, and new ones
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])
    assert not window.banner.isVisible()


def test_moving_on_does_not_cancel(qtbot, window, stand_in):
    stand_in.traffic.held.add("/c/0/6/")
    window.session.move_to((0, 6))
    qtbot.waitUntil(asked(stand_in, "root@0a/c/0/6/"))
    for x in (5, 4, 3):
        window.session.move_to((1, x))
        qtbot.waitUntil(lambda: shown(window))
    assert stand_in.traffic.left == []


def test_closing_the_window_cancels(qtbot, window, stand_in):
    stand_in.traffic.held.add("/c/0/6/")
    window.session.move_to((0, 6))
    qtbot.waitUntil(asked(stand_in, "root@0a/c/0/6/"))
    window.close()
    qtbot.waitUntil(left(stand_in, "root@0a/c/0/6/"))


def test_a_call_that_is_ended_ends_and_the_next_goes_on(qtbot, service, stand_in):
    stand_in.traffic.held.add("/c/0/6/")
    call, ended, wanted = Call(), threading.Event(), address(service, 0, 6)

    def read():
        with pytest.raises(Unreachable):
            service.read(wanted, call)
        ended.set()

    service.read(address(service, 0, 0), Call())  # so that it goes over a connection that was there
    waiting = threading.Thread(target=read)
    waiting.start()
    qtbot.waitUntil(asked(stand_in, "/c/0/6/"))
    call.end()
    waiting.join(30)
    assert ended.is_set()
    qtbot.waitUntil(left(stand_in, "/c/0/6/"))
    stand_in.traffic.held.clear()
    np.testing.assert_array_equal(service.read(wanted, Call()).array[0, 0], SCAN[0, 6])


def test_a_call_that_was_ended_before_it_began_ends_at_once(service, stand_in):
    wanted = address(service, 0, 6)
    stand_in.traffic.held.add("/c/0/6/")
    for _ in range(2):  # over a new connection, and over one that was cut before
        call = Call()
        call.end()
        with pytest.raises(Unreachable):
            service.read(wanted, call)


def test_ending_a_call_that_is_over_cuts_nobody_elses(service):
    first, wanted = Call(), address(service, 0, 1)
    service.read(wanted, first)
    connection = service._connections._idle[-1]
    first.end()
    service.read(wanted, Call())
    assert service._connections._idle == [connection]


def test_connections_are_used_again(service):
    wanted = address(service, 0, 1)
    calls = [Call() for _ in range(5)]
    for call in calls:
        service.read(wanted, call)
    assert len(service._connections._idle) == 1
    assert [call.opening > 0 for call in calls] == [True, False, False, False, False]
