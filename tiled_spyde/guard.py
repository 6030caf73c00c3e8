"""The outer guard round the tiled app: every request gets one clear answer with the headers it needs.

What escapes tiled as an exception, and what it answers with 500, leaves as JSON with the status it
deserves, on a connection that stays open. What HTTP asks of every answer (HEAD, conditional requests, CORS, caching)
is done here once, for tiled's routes and ours.
"""

from __future__ import annotations

import json
import logging
import re
from traceback import walk_tb
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders

from tiled_spyde import headers as http
from tiled_spyde import metrics
from tiled_spyde.adapters import ARRAY_ASKED, EXPECTED_SHAPE, RETRY_AFTER
from tiled_spyde.callers import BODILESS, STREAM, Watched, credentials, stream, ticket_of
from tiled_spyde.codecs import SERIALIZED
from tiled_spyde.errors import Computing, status_of
from tiled_spyde.tickets import TICKET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping

    from tiled_spyde.callers import App, Message, Receive, Scope, Send
    from tiled_spyde.tickets import Ticket

logger = logging.getLogger(__name__)

# What parsing a malformed request raises inside tiled and its libraries.
_MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    AssertionError,
)
_SHAPE = re.compile(r"\d{1,18}(,\d{1,18}){0,30}")
# Where tiled mounts a tree's own routes: ours for zarr stand in for its own.
_OWN_ROUTES = "/custom"
_DATA = ("/api/", "/zarr/", f"{_OWN_ROUTES}/")
# Where frames are read and computed: what nobody waits for any more is dropped.
_FRAMES = ("/api/v1/array/", "/api/v1/ragged/", "/api/v1/derive/", "/zarr/")
_ARRAYS = "/api/v1/array/"
_CHAINS = "/api/v1/derive/"
_ZARR = re.compile(r"/zarr/v[23](?=/|$)")
_PINNED_DATA = re.compile(r"/api/v1/array/(?:full|block)/.*@[^/]+")


class Guard:
    """ASGI wrapper that answers for what tiled lets escape.

    Parameters
    ----------
    app : ASGI application
        The tiled app; origins whose scripts may read its answers are its ``state.allow_origins``.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        finished = Finished(send, scope, self.origins)
        asked = Headers(scope=scope)
        if _leaves_its_folder(scope["path"]):
            await answer(finished, 404, "There is nothing at this address.")
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            await _answer_preflight(finished, asked, self.origins)
        else:
            EXPECTED_SHAPE.set(_expected_shape(scope))
            ARRAY_ASKED.set(path_of(scope).startswith(_ARRAYS))
            SERIALIZED.set(finished.described)
            await self._claimed(scope, receive, finished)

    @property
    def origins(self) -> Collection[str]:
        """Whose scripts may read the answers."""
        found: Collection[str] = getattr(getattr(self.app, "state", None), "allow_origins", ())
        return found

    async def _claimed(self, scope: Scope, receive: Receive, send: Finished) -> None:
        """Answer under a ticket, which is abandoned when whoever asks for frames has gone."""
        headers = dict(scope["headers"])
        send.ticket = ticket_of(scope, headers, credentials(headers, scope["query_string"]))
        TICKET.set(send.ticket)
        taken = _as_tiled_takes_it(scope)
        path, has_body = path_of(scope), scope["method"] == "POST"
        if path.startswith(_CHAINS if has_body else _FRAMES) and scope["method"] in ("GET", "HEAD", "POST"):
            async with Watched(receive, send.ticket, has_body=has_body) as watched:
                await self._guarded(taken, watched, send)
        else:
            await self._guarded(taken, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = _Held(send)
        scope[STREAM] = held.stream
        try:
            await self.app(scope, receive, held)
            for told in held.stream:
                await stream(told, receive, send)
        except Exception as error:
            if held.started:
                logger.exception("The answer to %s broke off", scope["path"])
                raise
            await answer(send, *explain(error, scope))
        else:
            if held.failed:
                await answer(send, *_reworded(held.body, scope))


class _Held:
    """Passes an answer on, but keeps a 500 back, and the end of one that goes on as a stream."""

    def __init__(self, send: Send) -> None:
        self._send = send
        # Where a route puts what is to be told, rather than telling it through all of tiled's middlewares.
        self.stream: list[AsyncGenerator[bytes]] = []
        self.started = False
        self.failed = False
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            self.failed = True
        if self.stream and message["type"] == "http.response.body":
            return
        if self.stream:
            kept = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
            message = {**message, "headers": kept}
        if not self.failed:
            self.started = True
            await self._send(message)
        elif len(self.body) < 10_000:
            self.body += message.get("body", b"")


class Finished:
    """Completes the headers of an answer, and leaves out a body that is not wanted.

    Parameters
    ----------
    send : callable
        Of the server.
    scope : dict
        Of the request.
    origins : collection of str
        Whose scripts may read the answer.
    lane : bool
        Whether the straight lane gives it, else tiled.
    """

    def __init__(self, send: Send, scope: Scope, origins: Collection[str], lane: bool = False) -> None:
        self._send = send
        self._lane = lane
        self._status = self._size = 0
        self._path, self._root_path = path_of(scope), scope.get("root_path", "")
        self._method = scope["method"]
        self._asked = Headers(scope=scope)
        self._origins = origins
        self._bodiless = False
        # Filled while the answer is made: what an array looks like on the wire.
        self.described: dict[str, str] = {}
        self.ticket: Ticket | None = None

    async def __call__(self, message: Message) -> None:
        """Pass on a message of the answer."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message.get("headers", ()))}
            message["status"] = self._finish(message["status"], MutableHeaders(raw=message["headers"]))
            self._status = message["status"]
            self._bodiless = self._method == "HEAD" or message["status"] in (204, 304)
        elif message["type"] == "http.response.body":
            if self._bodiless:
                message = {**message, "body": b""}
            self._count(message)
        await self._send(message)

    def _count(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        if not message.get("more_body", False):
            timings = self.ticket.timings if self.ticket else {}
            metrics.answered(timings, self._lane, self._status, self._size)

    def _finish(self, status: int, headers: MutableHeaders) -> int:
        http.allow_origin(headers, self._asked.get("origin"), self._origins)
        headers.setdefault("accept-ranges", "none")
        if status == 401:
            headers.setdefault("www-authenticate", "Bearer")
        if headers.get("location", "").startswith(
            "/"
        ):  # of a job: it is not known there where the app is mounted
            headers["location"] = self._root_path + headers["location"]
        if status == 200:
            headers.update(self.described)
            if self.ticket and self.ticket.timings:
                said = headers.get("server-timing", "")
                headers["server-timing"] = http.server_timing(self.ticket.timings, said)
        if self._path.startswith(_DATA):
            self._say_how_to_keep(status, headers)
        if self._method in ("GET", "HEAD"):  # others answer the tag that a change is compared with
            http.tag_representation(headers)
        return self._unless_known(status, headers)

    def _say_how_to_keep(self, status: int, headers: MutableHeaders) -> None:
        pinned = status in (200, 304) and _PINNED_DATA.fullmatch(self._path)
        if headers.get("cache-control") not in (http.IMMUTABLE, "no-store"):
            headers["cache-control"] = http.IMMUTABLE if pinned else http.REVALIDATED
        http.add_vary(headers, *http.VARYING)
        if self._path.startswith("/zarr/") and "set-cookie" in headers:
            # Nothing there needs a session, and some caches keep no answer that sets one.
            del headers["set-cookie"]

    def _unless_known(self, status: int, headers: MutableHeaders) -> int:
        known = http.matches(self._asked.get("if-none-match"), headers.get("etag", ""))
        if status == 200 and known and self._method in ("GET", "HEAD"):
            status = 304
        if status == 304:
            for name in {"content-length", "content-type", "content-encoding"} & set(headers):
                del headers[name]
        return status


async def _answer_preflight(send: Send, asked: Headers, origins: Collection[str]) -> None:
    if not {asked.get("origin"), "*"} & set(origins):
        await answer(
            send, 403, "No script of this origin may read the server: see allow_origins in its configuration."
        )
        return
    await _send(send, 204, http.preflight(asked), b"")


def _as_tiled_takes_it(scope: Scope) -> Scope:
    """Return the request as tiled understands it: GET for HEAD, encodings without q, zarr at our routes."""
    # A double slash makes the path below /ui an absolute one, which tiled would open on disk.
    scope = {**scope, "path": re.sub("//+", "/", scope["path"])}
    if scope["method"] == "HEAD":
        # It costs what GET costs: only so is Content-Length right, and the frame is remembered for the GET to come.
        scope["method"], scope[BODILESS] = "GET", True
    scope["headers"] = [
        (
            name,
            http.accepted_encodings(value.decode("latin-1")).encode()
            if name == b"accept-encoding"
            else value,
        )
        for name, value in scope["headers"]
    ]
    if _ZARR.match(path := path_of(scope)):
        own = f"{_OWN_ROUTES}{path}" + ("/" if _ZARR.fullmatch(path) else "")
        scope["path"] = scope.get("root_path", "") + own
        scope["raw_path"] = quote(scope["path"]).encode()
    return scope


def path_of(scope: Scope) -> str:
    """Path below where the app is mounted, as its routes see it."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def explain(error: BaseException, scope: Scope) -> tuple[int, str]:
    """Return status and words for what went wrong with a request."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if (status := status_of(error)) is not None:
        return status, str(error)
    logger.warning("%s %s failed inside", scope["method"], scope["path"], exc_info=error)
    if isinstance(error, OSError) and path_of(scope).startswith("/ui/"):
        return 404, "The web page has no such file."
    if isinstance(error, _MALFORMED):
        if "/zarr/v" in scope["path"]:
            return 404, "There is no such array, group or chunk."
        if _was_being_written(error):
            return 406, "This slice cannot be written in that format. Ask for application/octet-stream."
        return (
            400,
            f"This request makes no sense to the server ({type(error).__name__}). Check its parameters.",
        )
    return 503, f"The server could not answer just now ({type(error).__name__}). Try again."


def _was_being_written(error: BaseException) -> bool:
    """Whether it was one of tiled's writers of formats that failed."""
    return any(
        "/tiled/serialization/" in frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)
    )


def _reworded(body: bytes, scope: Scope) -> tuple[int, str]:
    """Answer what tiled itself calls a 500: its own checks of a request that came too late."""
    try:
        detail = str(json.loads(body)["detail"])
    except (ValueError, LookupError, TypeError):
        detail = "This request makes no sense to the server. Check its parameters."
    logger.warning("%s %s: tiled answered 500: %s", scope["method"], scope["path"], detail)
    return 400, detail


def job_of(error: BaseException) -> str:
    """Return the address of the job that computes what is asked for, where there is one."""
    return error.job if isinstance(error, Computing) else ""


async def answer(send: Send, status: int, detail: str, location: str = "") -> None:
    """Send an error as JSON; `send` is best a `Finished`."""
    headers = {"content-type": "application/json"}
    if location:
        headers["location"] = location
    if status == 503:
        headers["retry-after"] = RETRY_AFTER
    body = json.dumps({"detail": detail}, ensure_ascii=False, separators=(",", ":"))
    await _send(send, status, headers, body.encode(errors="replace"))


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if status != 204:
        raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _leaves_its_folder(path: str) -> bool:
    """Say whether a decoded path tries to climb: tiled's web page joins it to a folder on disk."""
    return "\x00" in path or ".." in re.split(r"[/\\]", path)


def _expected_shape(scope: Scope) -> tuple[int, ...] | None:
    if not path_of(scope).startswith("/api/v1/array/full/") or b"expected_shape" not in scope["query_string"]:
        return None
    try:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("expected_shape", [""])[-1]
    except ValueError:
        return None
    if given == "scalar":
        return ()
    return tuple(map(int, given.split(","))) if _SHAPE.fullmatch(given) else None
