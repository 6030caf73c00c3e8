"""Who asks: their credential, how urgent it is to them, and whether they are still there."""

from __future__ import annotations

import asyncio
import re
import secrets
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import cookie_parser
from tiled.server.utils import API_KEY_COOKIE_NAME

from tiled_spyde.errors import Busy
from tiled_spyde.tickets import Ticket, Urgency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping
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
        raise too_late(seconds) from None
    except asyncio.CancelledError:  # with the request
        ticket.abandon()
        raise


def too_late(seconds: float) -> Busy:
    """Return what is said of an answer that was not there in time."""
    return Busy(
        f"This took longer than {seconds:g} s, and was given up. Ask for less, or later: others may have been before "
        "you."
    )


class Watched:
    """Messages of a request for which a body means nothing, whose ticket is abandoned when whoever asked has gone.

    Use as an async context manager, and as the ``receive`` of the app inside. A body that comes all the same is read
    and forgotten, however long it is.
    """

    def __init__(self, receive: Receive, ticket: Ticket) -> None:
        self._receive = receive
        self._ticket = ticket
        self._begun = False
        self._gone = asyncio.Event()

    async def __call__(self) -> Message:
        """Return an empty body, and from then on that whoever asked has gone, once he has."""
        if not self._begun:
            self._begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def __aenter__(self) -> Watched:
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        await gone(self._receive)
        self._ticket.abandon()
        self._gone.set()


async def gone(receive: Receive) -> None:
    """Wait until whoever asked has gone, and forget what he sends till then."""
    while (await receive())["type"] != "http.disconnect":
        pass
