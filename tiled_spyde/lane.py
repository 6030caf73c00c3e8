"""The straight lane: plain requests for frames answered before the framework, everything else left to it.

An ASGI wrapper round the guarded tiled app. What it answers, and with which headers, is what the app would
(``tests/test_lane_differential.py`` compares them), but nothing is validated, negotiated or hashed twice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version
from starlette.datastructures import MutableHeaders

from tiled_spyde import headers as http
from tiled_spyde import metrics
from tiled_spyde.callers import credentials, gone, ticket_of, too_late
from tiled_spyde.guard import Finished, answer, explain, path_of
from tiled_spyde.permits import Permits
from tiled_spyde.plain import PREFIXES, Plain, laid_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiled_spyde.bodies import Bodies, Body, Octets
    from tiled_spyde.callers import Receive, Scope, Send
    from tiled_spyde.guard import Guard
    from tiled_spyde.plain import Named, RawHeaders
    from tiled_spyde.tickets import Ticket

_METHODS = ("GET", "HEAD")
# What only tiled knows to answer.
_UNUSUAL = frozenset(
    (
        b"range",
        b"if-range",
        b"if-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"content-length",
        b"transfer-encoding",
        b"expect",
    )
)
_TILED_CLIENT = b"python-tiled/"
_NOTHING = "There is no such array, group or chunk."


@dataclass(frozen=True)
class LaneSettings:
    """What the lane needs to know of a tree.

    Parameters
    ----------
    root : Listing
        All that is served.
    snapshot : callable
        Gives an object that is another one as soon as anything is served differently.
    bodies : Bodies
    remember_rights_seconds : float
        For how long it is remembered what a credential may read; 0: tiled is asked each time.
    deadline_seconds : float
        What takes longer is answered 503, and given up.
    """

    root: Any
    snapshot: Callable[[], object]
    bodies: Bodies
    remember_rights_seconds: float = 60.0
    deadline_seconds: float = 120.0


class Lane:
    """ASGI wrapper that answers plain requests for frames itself.

    Parameters
    ----------
    app : Guard
        Round the tiled app.
    settings : LaneSettings

    Attributes
    ----------
    answered : int
        How many requests needed no tiled.
    """

    def __init__(self, app: Guard, settings: LaneSettings) -> None:
        self.app = app
        self.answered = 0
        self._bodies = settings.bodies
        self._deadline = settings.deadline_seconds
        self._plain = Plain(settings.root, settings.snapshot, self._vary)
        expiring = bool(getattr(getattr(app.app, "state", None), "authenticated", False))
        self._permits = Permits(app, settings.remember_rights_seconds, expiring=expiring)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            await self.app(scope, receive, send)
            return
        path = path_of(scope)
        if not path.startswith(PREFIXES) or not await self._answers(path, scope, receive, send):
            await self.app(scope, receive, send)

    async def _answers(self, path: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request, or return False: it is not plain, or not allowed."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not _UNUSUAL.isdisjoint(headers):
            return False
        found = credentials(headers)
        if len(found) > 1 or not _is_supported(headers.get(b"user-agent", b"")):
            return False
        named = self._plain.find(
            path, scope["query_string"], headers.get(b"accept"), headers.get(b"accept-encoding", b"")
        )
        if named is None:
            return False
        credential = found[0] if found else b""
        if not self._permits.knows(credential, named.node) and not await self._permits.ask(
            credential, named.node, scope
        ):
            return False
        self.answered += 1
        await self._answer(named, headers, found, scope, receive, send)
        return True

    async def _answer(
        self,
        named: Named,
        headers: Mapping[bytes, bytes],
        found: list[bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if named.body is None:
            await answer(self._finished(send, scope), 404, _NOTHING)
            return
        shared = self._shared(headers.get(b"origin"))
        known = headers.get(b"if-none-match")
        if known and http.matches(known.decode("latin-1"), named.tag):
            # All but Content-Type, which speaks of a body.
            lines = named.lines_of_304 + laid_out(shared)
            await _send(send, 304, (*named.headers[1:], *shared), lines, 0, b"")
            metrics.answered({}, True, 304, 0)
            return
        try:
            began = perf_counter()
            octets = self._bodies.at_hand(named.body)
            if octets is not None:
                timings = {"read": perf_counter() - began}
                timing = b"read;dur=%.3f" % (timings["read"] * 1000)
            else:
                ticket = ticket_of(scope, headers, found)
                octets = await self._made(named.body, ticket, receive)
                if octets is None:
                    return
                timings = ticket.timings
                timing = http.server_timing(timings).encode()
        except Exception as error:
            await answer(self._finished(send, scope), *explain(error, scope))
            return
        described: RawHeaders = ((b"content-length", b"%d" % len(octets)), (b"server-timing", timing))
        if named.body.encoding and (encoding := named.body.encoding_of(octets)):
            described += ((b"content-encoding", encoding.encode()),)
        body = octets if scope["method"] == "GET" else b""
        lines = named.lines + laid_out((*described, *shared))
        await _send(send, 200, (*named.headers, *described, *shared), lines, len(body), body)
        metrics.answered(timings, True, 200, len(body))

    async def _made(self, body: Body, ticket: Ticket, receive: Receive) -> Octets | None:
        """Return a body once it is there; None where whoever asked has gone meanwhile.

        Raises
        ------
        Busy
            It took too long, or as many wait already as may.
        """
        making = self._bodies.start(body, ticket)
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        making.add_done_callback(lambda _: loop.call_soon_threadsafe(end))
        left = loop.create_task(gone(receive))
        left.add_done_callback(end)
        deadline = loop.call_later(self._deadline, end)
        try:
            await over
            if making.done():
                return making.result()
        finally:
            deadline.cancel()
            left.cancel()
            if not making.done():
                ticket.abandon()
        if left.done():
            return None
        raise too_late(self._deadline)

    def _shared(self, origin: bytes | None) -> RawHeaders:
        """Return what lets scripts of another origin read the answer."""
        if origin is None or not self.app.origins:
            return ()
        return _allowing(origin.decode("latin-1"), tuple(self.app.origins))

    def _finished(self, send: Send, scope: Scope) -> Finished:
        return Finished(send, scope, self.app.origins, lane=True)

    def _vary(self) -> str:
        return ", ".join((*http.VARYING, "Origin") if self.app.origins else http.VARYING)


async def _send(
    send: Send, status: int, headers: RawHeaders, lines: bytes, length: int, body: Octets
) -> None:
    """Send an answer; `lines` are `headers` for a server that takes them (`server.Cycle`)."""
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send({**start, "laid_out": lines + b"\r\n", "length": length})
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=64)
def _allowing(origin: str, origins: tuple[str, ...]) -> RawHeaders:
    headers = MutableHeaders(raw=[])
    http.allow_origin(headers, origin, origins)
    return tuple((name, value) for name, value in headers.raw if name != b"vary")


@lru_cache(maxsize=64)
def _is_supported(client: bytes) -> bool:
    """Whether a client is none of tiled's own that are too old for the server."""
    if not client.startswith(_TILED_CLIENT):
        return True
    from tiled.server.app import MINIMUM_SUPPORTED_PYTHON_CLIENT_VERSION

    try:
        version = Version(client.removeprefix(_TILED_CLIENT).decode())
    except (InvalidVersion, ValueError):
        return False
    return bool(version >= MINIMUM_SUPPORTED_PYTHON_CLIENT_VERSION)
