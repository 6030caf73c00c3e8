"""The outer guard round the tiled app: whatever happens inside, a client gets a clear answer.

What escapes tiled as an exception, and what it answers with 500, leaves as JSON with the status it
deserves, on a connection that stays open.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tiled_spyde.adapters import EXPECTED_SHAPE, RETRY_AFTER
from tiled_spyde.errors import status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

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


class Guard:
    """ASGI wrapper that answers for what tiled lets escape.

    Parameters
    ----------
    app : ASGI application
        The tiled app.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _leaves_its_folder(scope["path"]):
            await _answer(send, 404, "There is nothing at this address.")
            return
        EXPECTED_SHAPE.set(_expected_shape(scope))
        held = _Held(send)
        try:
            await self.app(scope, receive, held)
        except Exception as error:
            if held.started:
                logger.exception("The answer to %s broke off", scope["path"])
                raise
            await _answer(send, *_explain(error, scope))
        else:
            if held.failed:
                await _answer(send, *_reworded(held.body, scope))


class _Held:
    """Passes an answer on, but keeps a 500 back."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.failed = False
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            self.failed = True
        if not self.failed:
            self.started = True
            await self._send(message)
        elif len(self.body) < 10_000:
            self.body += message.get("body", b"")


def _explain(error: BaseException, scope: MutableMapping[str, Any]) -> tuple[int, str]:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if (status := status_of(error)) is not None:
        return status, str(error)
    logger.warning("%s %s failed inside", scope["method"], scope["path"], exc_info=error)
    if isinstance(error, _MALFORMED):
        if address_in(scope).startswith("/zarr/"):
            return 404, "There is no such array, group or chunk."
        if address_in(scope).startswith("/api/v1/array/") and b"format=" in scope["query_string"]:
            return 406, "This slice cannot be written in that format. Ask for application/octet-stream."
        return (
            400,
            f"This request makes no sense to the server ({type(error).__name__}). Check its parameters.",
        )
    return 503, f"The server could not answer just now ({type(error).__name__}). Try again."


def _reworded(body: bytes, scope: MutableMapping[str, Any]) -> tuple[int, str]:
    """Answer what tiled itself calls a 500: its own checks of a request that came too late."""
    try:
        detail = str(json.loads(body)["detail"])
    except (ValueError, LookupError, TypeError):
        detail = "This request makes no sense to the server. Check its parameters."
    logger.warning("%s %s: tiled answered 500: %s", scope["method"], scope["path"], detail)
    return 400, detail


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", RETRY_AFTER.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def address_in(scope: MutableMapping[str, Any]) -> str:
    """Return the path below the one that a proxy serves us at (``--root-path``)."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def _leaves_its_folder(path: str) -> bool:
    """Say whether a decoded path tries to climb: tiled's web page joins it to a folder on disk."""
    return "\x00" in path or ".." in re.split(r"[/\\]", path)


def _expected_shape(scope: MutableMapping[str, Any]) -> tuple[int, ...] | None:
    if (
        not address_in(scope).startswith("/api/v1/array/full/")
        or b"expected_shape" not in scope["query_string"]
    ):
        return None
    try:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("expected_shape", [""])[-1]
    except ValueError:
        return None
    if given == "scalar":
        return ()
    return tuple(map(int, given.split(","))) if _SHAPE.fullmatch(given) else None
