"""Who asks: their credential, how urgent it is to them, and whether they are still there."""

from __future__ import annotations

import asyncio
import re
import secrets
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote

from starlette.requests import cookie_parser
from tiled.server.utils import API_KEY_COOKIE_NAME

from tiled_spyde.errors import Busy, Computing
from tiled_spyde.tickets import Ticket, Urgency

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
    from concurrent.futures import Future

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

T = TypeVar("T")

_COOKIE = API_KEY_COOKIE_NAME.encode()
_URGENCY = re.compile(rb"(?:^|,)\s*u\s*=\s*([0-7])\s*(?:[,;]|$)")
_SHORT = 200
# Stands in the scope of a request for a head alone, which the guard makes one for all of it.
BODILESS = "tiled_spyde.bodiless"
# And the list in which a route leaves what the guard then streams: it takes a third of the memory, a sixth of the time.
STREAM = "tiled_spyde.stream"
_MOST_BODY = 64 * 1024
# So that what is kept of a credential is of no use outside of this process.
_SALT = secrets.token_bytes(32)


def credentials(headers: Mapping[bytes, bytes], query: bytes = b"") -> list[bytes]:
    """Return each credential that stands in a request, wherever tiled looks for one; usually one or none."""
    found = []
    if (authorization := headers.get(b"authorization")) is not None:
        found.append(b"header " + authorization)
    if (cookie := headers.get(b"cookie")) is not None and _COOKIE in cookie:
        key = cookie_parser(cookie.decode("latin-1")).get(API_KEY_COOKIE_NAME)
        if key is not None:
            found.append(b"cookie " + key.encode("latin-1", "replace"))
    if b"api_key" in query:
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        found += [b"query " + value.encode("latin-1") for name, value in given if name == "api_key"]
    return found


def digest(credential: bytes, host: str = "") -> bytes:
    """Return what is kept instead of a credential: 16 bytes, another for each process."""
    return blake2b(credential + b"\0" + host.encode(), digest_size=16, key=_SALT).digest()


def urgency_of(priority: bytes | None) -> Urgency:
    """Read the header ``Priority`` (RFC 9218): up to 3 is looked at, 4 and 5 are ahead of it, the rest is bulk."""
    return Urgency.LOOKED_AT if not priority or len(priority) > _SHORT else _urgency(priority)


@lru_cache(maxsize=64)
def _urgency(priority: bytes) -> Urgency:
    found = _URGENCY.search(priority)
    wanted = int(found[1]) if found else 3
    return Urgency.LOOKED_AT if wanted <= 3 else Urgency.AHEAD if wanted <= 5 else Urgency.BULK


def ticket_of(scope: Scope, headers: Mapping[bytes, bytes], found: list[bytes]) -> Ticket:
    """Return the claim of a request with the credentials `found`."""
    host = (scope.get("client") or ("",))[0]
    return Ticket(digest(b"\0".join(found), host).hex(), urgency_of(headers.get(b"priority")))


async def in_time(making: Future[T], ticket: Ticket, seconds: float) -> T:
    """Wait for what the pool makes, and give it up after so many seconds.

    Raises
    ------
    Busy
        It was not there in time.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(making), seconds)
    except TimeoutError:
        ticket.abandon()
        raise too_late(seconds, ticket) from None
    except asyncio.CancelledError:  # with the request
        ticket.abandon()
        raise


def too_late(seconds: float, ticket: Ticket) -> Busy:
    """Return what is said of an answer that was not there in time."""
    if ticket.job is not None:
        job = ticket.job()
        return Computing(
            f"This needs the whole scan, and was not there within {seconds:g} s. A job goes on computing it: ask again "
            f"when that is done ({job}).",
            job,
        )
    return Busy(
        f"This took longer than {seconds:g} s, and was given up. Ask for less, or later: others may have been before "
        "you."
    )


class Watched:
    """Messages of a request, whose ticket is abandoned when whoever asked has gone.

    Use as an async context manager, and as the ``receive`` of the app inside.

    Parameters
    ----------
    receive : callable
        Of the server.
    ticket : Ticket
    has_body : bool
        Whether a body means something. Where not, one that comes all the same is read and forgotten.
    """

    def __init__(self, receive: Receive, ticket: Ticket, *, has_body: bool = False) -> None:
        self._receive = receive
        self._ticket = ticket
        self._has_body = has_body
        self._begun = False
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> Message:
        """Return the body, and from then on that whoever asked has gone, once he has."""
        if self._has_body and self._task is None:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._ticket.abandon()
            elif not message.get("more_body", False):
                self._start()
            return message
        if not self._has_body and not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def __aenter__(self) -> Watched:
        if not self._has_body:
            self._start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        await gone(self._receive)
        self._ticket.abandon()
        self._gone.set()


async def asked(app: App, path: str, query: bytes, scope: Scope) -> tuple[int, bytes]:
    """Ask an app with the credential of the request `scope`; returns the status, and some of what it says."""
    status, body = 0, bytearray()

    async def receive() -> Message:
        if sent:
            await asyncio.Event().wait()
        sent.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif len(body) < _MOST_BODY:
            body.extend(message.get("body", b""))

    sent: list[bool] = []
    await app(_question(path, query, scope), receive, send)
    return status, bytes(body)


def _question(path: str, query: bytes, scope: Scope) -> Scope:
    whole = scope.get("root_path", "") + path
    kept = (b"host", b"authorization", b"cookie", b"x-forwarded-proto", b"x-forwarded-host")
    return {
        **scope,
        "method": "GET",
        "path": whole,
        "raw_path": quote(whole).encode(),
        "query_string": query,
        "headers": [(name, value) for name, value in scope["headers"] if name in kept],
        "state": dict(scope.get("state", {})),
    }


async def stream(told: AsyncGenerator[bytes], receive: Receive, send: Send) -> None:
    """Send the rest of an answer as it comes, until whoever asked has gone."""

    async def tell() -> None:
        async for part in told:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    loop = asyncio.get_running_loop()
    telling, left = loop.create_task(tell()), loop.create_task(gone(receive))
    try:
        await asyncio.wait({telling, left}, return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
    finally:
        telling.cancel()
        left.cancel()
        await asyncio.gather(telling, left, return_exceptions=True)
        await told.aclose()


async def gone(receive: Receive) -> None:
    """Wait until whoever asked has gone, and forget what he sends till then."""
    while (await receive())["type"] != "http.disconnect":
        pass
