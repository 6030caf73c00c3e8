"""Connections that can be cut: a request that nobody waits for any more is not worked for either.

HTTP/1.1 has no other way to take a request back than to close its connection, and a client that waits
for an answer cannot be told to stop. So each connection carries one request at a time, its socket is
known (httpcore's ``trace`` extension tells of it when it is opened), and another thread may shut it.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPENED = ("connect_tcp.complete", "start_tls.complete")
# What a connection says that the other end gave up: while it was idle, or in the middle.
LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Call:
    """One request on the way, which another thread may end.

    Parameters
    ----------
    priority : str
        Its ``Priority`` header (RFC 9218); empty for none.
    """

    def __init__(self, priority: str = "") -> None:
        self.priority = priority
        self.ended = False
        self.opening = 0.0  # seconds until there was a connection: they say nothing of the service's pace
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def end(self) -> None:
        """Hang up: the service sees the connection close. From any thread, at any time, without waiting."""
        with self._lock:
            self.ended = True
            self._shut()

    def goes_over(self, opened: socket.socket | None) -> None:
        """Note the socket that carries it; None when it carries it no more."""
        with self._lock:
            self._socket = opened
            if self.ended:
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # closed by the other end, or by its own thread
                # Not the method of a TLS socket, which takes its state from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Connection:
    """A client with one kept-alive connection, for one request at a time.

    Parameters
    ----------
    client : httpx.Client
        Used for nothing else.
    """

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self._socket: socket.socket | None = None
        self._call: Call | None = None
        self._began = 0.0

    def ask(self, url: str, told: object, headers: Mapping[str, str], call: Call) -> httpx.Response:
        """Send a request and wait for all of its answer; raises what httpx does, also when it was ended.

        What is `told` goes as JSON with POST, which changes nothing either; None is GET.

        The other end may close an idle connection just as the request is on its way: it then goes over a new one.
        """
        self._call = call
        call.goes_over(self._socket)
        method, content = ("GET", {}) if told is None else ("POST", {"json": told})
        more: dict[str, Any] = {**content, "headers": dict(headers), "extensions": {"trace": self._trace}}
        asked = partial(self.client.request, method, url, **more)
        try:
            return asked()
        except LOST:
            if call.ended or call.opening:
                raise
            return asked()
        finally:
            call.goes_over(None)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if self._call is None:
            return
        if event.endswith("connect_tcp.started"):
            self._began = perf_counter()
        elif event.endswith(OPENED):
            self._call.opening = perf_counter() - self._began
            self._socket = info["return_value"].get_extra_info("socket")
            self._call.goes_over(self._socket)


class Connections:
    """As many connections as there are requests at a time, kept for the next ones. Thread-safe.

    Parameters
    ----------
    make : callable
        Gives a client of its own for each connection.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self._make = make
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, url: str, told: object, headers: Mapping[str, str], call: Call) -> httpx.Response:
        """Send a request over a connection that is idle, or a new one."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or Connection(self._make())
        try:
            return connection.ask(url, told, headers, call)
        finally:
            with self._lock:
                self._idle.append(connection)
                closed = self._closed
            if closed:
                connection.client.close()

    def close(self) -> None:
        """Close all that are idle; those in use are closed after their request."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.client.close()
