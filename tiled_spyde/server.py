"""How the app is run: uvicorn, with bounds on what a client may take without asking anything.

uvicorn waits for ever for a head that is never finished, for a body that trickles in and for an answer that
nobody reads. Here all connections are looked through once in a while, and those that have not come on since
long ago are closed. A request itself pays nothing for that.
"""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Iterable, Iterator

    AtOnce = Callable[[Any], Any]

# Data are parsed in portions, so that a head is not much longer than its bound when that is noticed.
_PORTION = 2**14
# An answer that is taken more slowly than so many bytes in `answer_seconds` is not waited for.
_PROGRESS = 2**16
# Where a request has what takes its answer as a whole.
GIVE = "tiled_spyde.give"
_parse = HttpToolsProtocol.data_received


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take.

    Parameters
    ----------
    head_seconds : float
        From its beginning (of a new connection: from when it was made) until a request's head is complete.
    body_seconds : float
        From then until its body is.
    answer_seconds : float
        In which at least 64 KiB of an answer must be taken.
    idle_seconds : float
        Between an answer and the next request. Longer than proxies keep an idle connection, for theirs must
        not be closed while they send.
    head_bytes : int
        Of a request's head.
    connections : int
        At the same time; more are answered 503. As far as the system has descriptors for them.
    """

    head_seconds: float = 10.0
    body_seconds: float = 60.0
    answer_seconds: float = 60.0
    idle_seconds: int = 75
    head_bytes: int = 2**16
    connections: int = 4000


class Server(uvicorn.Server):
    """uvicorn that looks through its connections while it runs."""

    def __init__(
        self,
        config: uvicorn.Config,
        limits: Limits,
        when_started: Callable[[], None],
        when_ending: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._when_started = when_started
        self._when_ending = when_ending
        shortest = min(limits.head_seconds, limits.body_seconds, limits.answer_seconds)
        # on_tick is called ten times a second.
        self._ticks = max(1, min(10, int(shortest * 2)))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        if self.started:
            self._when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, and say so before what is being answered is waited for."""
        self._when_ending()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Do what is due; says whether to end."""
        if counter % self._ticks == 0:
            _look_through(self.server_state.connections)
        return await super().on_tick(counter)


class Cycle(RequestResponseCycle):
    """One request and its answer, which may be there at once."""

    def give(self, prompt: Any) -> bool:
        """Send an answer whose head is laid out: checking nine headers takes as long as finding the frame.

        Returns
        -------
        bool
            Whether that could be done; else it is to be sent as messages.
        """
        if self.flow.write_paused or self.disconnected or self.response_started or not self.keep_alive:
            return False
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        ours = _lines(tuple(self.default_headers))
        head = b"".join((STATUS_LINE[prompt.status], ours, prompt.lines, b"\r\n"))
        self.transport.writelines((head, prompt.body) if prompt.body else (head,))
        self.message_event.set()
        # Not held any longer: it refers to the connection, which refers to this.
        done, self.on_response = self.on_response, _nothing
        done()
        return True


def _nothing() -> None:
    pass


@lru_cache(maxsize=4)
def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Lay out the headers that all answers have for a second: date and server."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


class Protocol(HttpToolsProtocol):
    """One connection, with bounds.

    Parameters
    ----------
    limits : Limits
    at_once : callable
        Gives the answer to a request (its ASGI scope) that takes microseconds, or None.
    *args, **kwargs
        uvicorn's.
    """

    def __init__(self, limits: Limits, at_once: AtOnce, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._at_once = at_once
        self._counted: Any = None
        self._first = True  # whether nothing of what has come last was asked at once
        self._head = 0  # bytes of the head that is being counted
        self._drained = 0  # how often the client has taken enough to go on
        self._stage: tuple[Any, ...] | None = None
        self._since = self.loop.time()
        self._unsent = 0

    # What is called for each request: nothing here may cost anything.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse it where there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._since = self.loop.time()
        if len(self.connections) > self._limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "The server has too many connections. Try again.")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer what is at hand here and now, and start a task for all else.

        Only the first of what was sent together: who sends much in advance does not hold up the others.
        """
        cycle.__class__ = Cycle
        if self._first and cycle.keep_alive and not self.flow.write_paused:
            self._first = False
            prompt = self._at_once(cycle.scope)
            if prompt is not None and cycle.give(prompt):  # type: ignore[attr-defined]
                return
        cast("dict[str, Any]", cycle.scope)[GIVE] = cycle.give  # type: ignore[attr-defined]
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Parse, unless the head is too long."""
        self._first = True
        if len(data) <= _PORTION:
            self._take(data)
            return
        for start in range(0, len(data), _PORTION):
            if not self.transport.is_closing():
                self._take(data[start : start + _PORTION])

    def _take(self, data: bytes) -> None:
        _parse(self, data)
        if (scope := self.scope) is not None and "method" not in scope:
            self._count(len(data))

    def resume_writing(self) -> None:
        """Go on with an answer, for the client has taken some of it."""
        self._drained += 1
        self.flow.resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed, in words that clients read."""
        self._refuse(HTTPStatus.BAD_REQUEST, "This is no HTTP request that can be understood.")

    # What is called now and then.

    def _count(self, received: int) -> None:
        """Count what has come of a head that is not complete."""
        if self._counted is not self.scope:
            self._counted, self._head = self.scope, 0
        self._head += received
        if self._head > self._limits.head_bytes and not self.transport.is_closing():
            self._refuse_head()

    def look(self, now: float) -> None:
        """Close the connection if what it waits for has been due for long."""
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return  # it is gone already
        stage, allowed = self._waits_for()
        if stage != self._stage:
            self._stage, self._since = stage, now
        elif stage and now - self._since > allowed:
            self._give_up(stage)

    def _waits_for(self) -> tuple[tuple[Any, ...] | None, float]:
        """Return what the client is to do next, and how long it may take; None where it is our turn."""
        limits, cycle = self._limits, self.cycle
        if unsent := self.transport.get_write_buffer_size():
            if not 0 <= self._unsent - unsent < _PROGRESS:
                self._unsent = unsent
            return ("take", self._unsent, self._drained), limits.answer_seconds
        if cycle is None or cycle.response_complete:
            begun = self.timeout_keep_alive_task is None or "method" not in self.scope
            return (("head", cycle) if begun else None), limits.head_seconds
        return (("body", cycle) if cycle.more_body else None), limits.body_seconds

    def _give_up(self, stage: tuple[Any, ...]) -> None:
        silent = self.cycle is None and self.headers is None
        answering = stage[0] == "body" and self.cycle.response_started
        if stage[0] == "take" or silent or answering:
            self.transport.abort()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request took too long to arrive. Send it at once.")

    def _refuse_head(self) -> None:
        if self.headers:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The headers of a request may have {self._limits.head_bytes} bytes together.",
            )
        else:
            self._refuse(
                HTTPStatus.REQUEST_URI_TOO_LONG, f"An address may have {self._limits.head_bytes} bytes."
            )

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer a request that never reaches the app, and close."""
        body = json.dumps({"detail": detail}).encode()
        retry = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{retry}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _look_through(connections: Iterable[Any]) -> None:
    for connection in list(connections):
        if isinstance(connection, Protocol):  # not a WebSocket
            connection.look(connection.loop.time())


def server(
    app: Any,
    root_path: str = "",
    limits: Limits | None = None,
    started: Callable[[], None] = lambda: None,
) -> Server:
    """Return the server of an ASGI app, still to be run: ``server(app).run(sockets=[…])``.

    Parameters
    ----------
    app : ASGI application
        What its ``at_once`` gives, if it has such, needs no task. Its ``ending``, if it has such, is called when
        the server stops.
    root_path : str
        Where a proxy serves it.
    limits : Limits, optional
        Other than the usual.
    started : callable
        Called when it serves.
    """
    limits = limits or Limits()
    at_once = getattr(app, "at_once", lambda scope: None)
    config = uvicorn.Config(
        app,
        http=partial(Protocol, limits, at_once),  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=3,
        root_path=root_path,
    )
    return Server(config, limits, started, getattr(app, "ending", lambda: None))


@contextmanager
def serving(app: Any, listening: socket.socket) -> Iterator[None]:
    """Serve in a thread."""
    running = server(app)
    thread = Thread(target=running.run, kwargs={"sockets": [listening]}, name="server")
    thread.start()
    try:
        yield
    finally:
        running.should_exit = True
        thread.join()


def allow_many_connections() -> None:
    """Take as many file descriptors as the system lets this process have: each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
