"""The straight lane: plain requests for frames answered before the framework, everything else left to it.

An ASGI wrapper round the guarded tiled app. What it answers, and with which headers, is what the app would
(``tests/test_lane_differential.py`` compares them), but nothing is validated, negotiated or hashed twice.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.version import InvalidVersion, Version
from starlette.datastructures import MutableHeaders

from tiled_spyde import headers as http
from tiled_spyde import metrics
from tiled_spyde.callers import credentials, gone, ticket_of, too_late
from tiled_spyde.guard import Finished, answer, explain, job_of, path_of
from tiled_spyde.permits import Permits
from tiled_spyde.plain import PREFIXES, Plain, laid_out
from tiled_spyde.server import GIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiled_spyde.bodies import Bodies, Body, Octets
    from tiled_spyde.callers import Receive, Scope, Send
    from tiled_spyde.guard import Guard
    from tiled_spyde.plain import Named, RawHeaders
    from tiled_spyde.previews import Previews
    from tiled_spyde.tickets import Ticket

logger = logging.getLogger(__name__)

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
# Where a request keeps its claim, once it was asked at once.
_CLAIM = "tiled_spyde.claim"
# Who gets a frame within so many seconds has not gone: looking takes longer than most frames.
_WATCHED = 2e-3
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
    previews : Previews, optional
        Of chains that nobody keeps; without them tiled answers for those.
    ending : callable
        Ends the answers that would never end by themselves: called when the server stops.
    """

    root: Any
    snapshot: Callable[[], object]
    bodies: Bodies
    remember_rights_seconds: float = 60.0
    deadline_seconds: float = 120.0
    previews: Previews | None = None
    ending: Callable[[], None] = lambda: None


class Prompt(NamedTuple):
    """An answer that is there.

    Parameters
    ----------
    status : int
    headers : tuple of (bytes, bytes)
    lines : bytes
        The same as they go over the wire.
    body : bytes-like
        As it is sent: empty where only the head was asked for.
    """

    status: int
    headers: RawHeaders
    lines: bytes
    body: Octets


class _Claim(NamedTuple):
    """What a plain request asks for, and with which headers and credentials."""

    named: Named
    headers: Mapping[bytes, bytes]
    credentials: list[bytes]

    @property
    def credential(self) -> bytes:
        return self.credentials[0] if self.credentials else b""


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
        self.ending = settings.ending
        self.answered = 0
        self._bodies = settings.bodies
        self._deadline = settings.deadline_seconds
        self._previews = settings.previews
        self._plain = Plain(settings.root, settings.snapshot, self._vary, settings.previews)
        expiring = bool(getattr(getattr(app.app, "state", None), "authenticated", False))
        self._permits = Permits(app, settings.remember_rights_seconds, expiring=expiring)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if _CLAIM not in scope and (prompt := self.at_once(scope)) is not None:
            await _send(send, prompt, scope)
            return
        claim: _Claim | None = scope.pop(_CLAIM)
        if claim is None:
            await self.app(scope, receive, send)
            return
        credential, node = claim.credential, claim.named.permit
        tried = self._permits.knows(credential, node)
        if not tried and not await self._permits.ask(credential, node, scope):
            await self.app(scope, receive, send)
            return
        self.answered += 1
        await self._answer(claim, tried, scope, receive, send)

    def at_once(self, scope: Scope) -> Prompt | None:
        """Answer what takes microseconds, with neither a task nor messages.

        A server may ask here first; where it gets None, the request goes the usual way.
        """
        try:
            claim = scope[_CLAIM] = self._claim(scope)
            if claim is None or not self._permits.knows(claim.credential, claim.named.permit):
                return None
            prompt = self._prompt(claim, scope)
        except Exception as error:  # the usual way meets it again, and says it
            logger.debug("Not at once: %s", error)
            scope.setdefault(_CLAIM, None)
            return None
        if prompt is not None:
            self.answered += 1
        return prompt

    def _claim(self, scope: Scope) -> _Claim | None:
        """Return what a plain request asks for; None: tiled answers."""
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            return None
        path = path_of(scope)
        if not path.startswith(PREFIXES):
            return None
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not _UNUSUAL.isdisjoint(headers):
            return None
        found = credentials(headers)
        if len(found) > 1 or not _is_supported(headers.get(b"user-agent", b"")):
            return None
        named = self._plain.find(
            path, scope["query_string"], headers.get(b"accept"), headers.get(b"accept-encoding", b"")
        )
        return None if named is None else _Claim(named, headers, found)

    def _prompt(self, claim: _Claim, scope: Scope) -> Prompt | None:
        """Return the answer to a claim that is allowed, if it is at hand."""
        named, headers = claim.named, claim.headers
        if named.body is None:
            return None
        if named.preview is not None and self._previews is not None:
            self._previews.keep(named.preview)
        known = headers.get(b"if-none-match")
        if known and http.matches(known.decode("latin-1"), named.tag):
            # All but Content-Type, which speaks of a body.
            shared = self._shared(headers.get(b"origin"))
            metrics.answered({}, True, 304, 0)
            return Prompt(304, (*named.headers[1:], *shared), named.lines_of_304 + laid_out(shared), b"")
        began = perf_counter()
        octets = self._bodies.at_hand(named.body)
        if octets is None:
            return None
        return self._whole(claim, named.body, octets, {"read": perf_counter() - began}, scope)

    def _whole(
        self, claim: _Claim, body: Body, octets: Octets, timings: Mapping[str, float], scope: Scope
    ) -> Prompt:
        """Return the answer that brings a body."""
        more = self._shared(claim.headers.get(b"origin"))
        if body.encoding and (encoding := body.encoding_of(octets)):
            more = (*more, (b"content-encoding", encoding.encode()))
        length, timing = b"%d" % len(octets), http.server_timing(timings).encode()
        sent = octets if scope["method"] == "GET" else b""
        metrics.answered(timings, True, 200, len(sent))
        named = claim.named
        lines = b"%scontent-length: %s\r\nserver-timing: %s\r\n" % (named.lines, length, timing)
        headers = (*named.headers, (b"content-length", length), (b"server-timing", timing), *more)
        return Prompt(200, headers, lines + laid_out(more) if more else lines, sent)

    async def _answer(self, claim: _Claim, tried: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a claim that is allowed, and was `tried` at once or not."""
        body = claim.named.body
        if body is None:
            await answer(self._finished(send, scope), 404, _NOTHING)
            return
        try:
            prompt = None if tried else self._prompt(claim, scope)
            if prompt is None:
                ticket = ticket_of(scope, claim.headers, claim.credentials)
                ticket.node = claim.named.node
                if (octets := await self._made(body, ticket, receive)) is None:
                    return
                prompt = self._whole(claim, body, octets, ticket.timings, scope)
        except Exception as error:
            await answer(self._finished(send, scope), *explain(error, scope), location=job_of(error))
            return
        await _send(send, prompt, scope)

    async def _made(self, body: Body, ticket: Ticket, receive: Receive) -> Octets | None:
        """Return a body once it is there; None where whoever asked has gone meanwhile.

        Raises
        ------
        Busy
            It took too long, or as many wait already as may.
        """
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        left: asyncio.Task[None] | None = None

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        def watch() -> None:
            nonlocal left
            left = loop.create_task(gone(receive))
            left.add_done_callback(end)

        due = (loop.call_later(_WATCHED, watch), loop.call_later(self._deadline, end))
        making = None
        try:
            making = self._bodies.start(body, ticket)
            making.add_done_callback(lambda _: loop.call_soon_threadsafe(end))
            await over
            if making.done():
                return making.result()
        finally:
            for timer in due:
                timer.cancel()
            if left is not None:
                left.cancel()
            if making is not None and not making.done():
                ticket.abandon()
        if left is not None and left.done():
            return None
        raise too_late(self._deadline, ticket)

    def _shared(self, origin: bytes | None) -> RawHeaders:
        """Return what lets scripts of another origin read the answer."""
        if origin is None or not self.app.origins:
            return ()
        return _allowing(origin.decode("latin-1"), tuple(self.app.origins))

    def _finished(self, send: Send, scope: Scope) -> Finished:
        return Finished(send, scope, self.app.origins, lane=True)

    def _vary(self) -> str:
        return ", ".join((*http.VARYING, "Origin") if self.app.origins else http.VARYING)


async def _send(send: Send, prompt: Prompt, scope: Scope) -> None:
    if (give := scope.get(GIVE)) is not None and give(prompt):
        return
    await send({"type": "http.response.start", "status": prompt.status, "headers": prompt.headers})
    await send({"type": "http.response.body", "body": prompt.body})


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
