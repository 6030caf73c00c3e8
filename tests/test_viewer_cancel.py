"""What nobody waits for any more is cancelled, so that the service notices: over real connections."""

import socket
import threading
from contextlib import suppress
from functools import partial

import httpx
import numpy as np
import pytest
from viewer_service import choose, encoded, shown

from viewer.addresses import locate
from viewer.connections import Call, Connections
from viewer.errors import Unreachable
from viewer.view_state import Request, Span
from viewer.wire import Service

SCAN = encoded(5, 7, 6, 9)


@pytest.fixture
def service(scan_service):
    service = Service(scan_service.url)
    yield service
    service.close()


def address(service, y, x):
    return locate(Request(service.node(("signal", "root")), (y, x, Span(0, 6), Span(0, 9))))[0]


def asked(scan_service, part):
    return lambda: any(part in url for url in scan_service.traffic.data())


def left(scan_service, part):
    return lambda: any(part in url for url in scan_service.traffic.left)


def test_another_node_cancels_what_was_asked_for_the_last(qtbot, window, scan_service):
    scan_service.traffic.held.add("/c/0/6/")
    window.session.move_to((0, 6))
    qtbot.waitUntil(asked(scan_service, "root@0a/c/0/6/"))
    scan_service.traffic.held.clear()
    choose(qtbot, window, "signal", "halved")
    qtbot.waitUntil(left(scan_service, "root@0a/c/0/6/"))
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6] / 2)
    choose(qtbot, window, "signal", "root")  # over connections that were cut, and new ones
    np.testing.assert_array_equal(window.signal.picture.raw, SCAN[0, 6])
    assert not window.banner.isVisible()


def test_moving_on_does_not_cancel(qtbot, window, scan_service):
    scan_service.traffic.held.add("/c/0/6/")
    window.session.move_to((0, 6))
    qtbot.waitUntil(asked(scan_service, "root@0a/c/0/6/"))
    for x in (5, 4, 3):
        window.session.move_to((1, x))
        qtbot.waitUntil(lambda: shown(window))
    assert scan_service.traffic.left == []


def test_closing_the_window_cancels(qtbot, window, scan_service):
    scan_service.traffic.held.add("/c/0/6/")
    window.session.move_to((0, 6))
    qtbot.waitUntil(asked(scan_service, "root@0a/c/0/6/"))
    window.close()
    qtbot.waitUntil(left(scan_service, "root@0a/c/0/6/"))


def test_a_call_that_is_ended_ends_and_the_next_goes_on(qtbot, service, scan_service):
    scan_service.traffic.held.add("/c/0/6/")
    call, ended, wanted = Call(), threading.Event(), address(service, 0, 6)

    def read():
        with pytest.raises(Unreachable):
            service.read(wanted, call)
        ended.set()

    service.read(address(service, 0, 0), Call())  # so that it goes over a connection that was there
    waiting = threading.Thread(target=read)
    waiting.start()
    qtbot.waitUntil(asked(scan_service, "/c/0/6/"))
    call.end()
    waiting.join(30)
    assert ended.is_set()
    qtbot.waitUntil(left(scan_service, "/c/0/6/"))
    scan_service.traffic.held.clear()
    np.testing.assert_array_equal(service.read(wanted, Call()).array[0, 0], SCAN[0, 6])


def test_a_call_that_was_ended_before_it_began_ends_at_once(service, scan_service):
    wanted = address(service, 0, 6)
    scan_service.traffic.held.add("/c/0/6/")
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


class Forgetful:
    """A service that answers so many requests over each connection, and closes it at the next."""

    def __init__(self, answers):
        self.requests, self._answers = 0, answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.client = partial(httpx.Client, base_url="http://{}:{}".format(*self._listening.getsockname()))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with suppress(OSError):
            while True:
                with self._listening.accept()[0] as connection:
                    left = self._answers
                    while connection.recv(65536):
                        self.requests += 1
                        if not left:
                            break
                        left -= 1
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(30)


@pytest.mark.parametrize(("answers", "requests"), [(1, 5), (0, 1)])
def test_a_connection_that_was_closed_while_idle_is_replaced_and_a_new_one_is_not(answers, requests):
    service = Forgetful(answers)
    connections = Connections(service.client)
    try:
        if answers:
            assert [connections.ask("/", None, {}, Call()).text for _ in range(3)] == ["hi"] * 3
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                connections.ask("/", None, {}, Call())
        assert service.requests == requests
    finally:
        connections.close()
        service.close()
