"""Who may read which node: tiled decides, and what it said is remembered for a while."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tiled_spyde import metrics
from tiled_spyde.callers import asked, digest

if TYPE_CHECKING:
    from tiled_spyde.callers import App, Scope

_MOST = 16_384
_SCOPE = "read:data"
# Takes nothing of any array, and so computes nothing; but tiled asks for the same right as for all of it.
_NOTHING = b"slice=0:0&format=application/octet-stream"
_UNKNOWN = "unknown"

Permit = tuple[bytes, str, str]


class Permits:
    """What tiled has allowed, in a bounded table; never longer than a credential lasts.

    Parameters
    ----------
    app : ASGI application
        tiled, with the guard round it.
    seconds : float
        For how long a right is remembered; 0: tiled is asked each time.
    expiring : bool
        Whether API keys expire: several people use the server.
    """

    def __init__(self, app: App, seconds: float = 60.0, *, expiring: bool = False) -> None:
        self._app = app
        self._seconds = seconds
        self._expiring = expiring
        self._until: OrderedDict[Permit, float] = OrderedDict()
        self._asked: dict[Permit, asyncio.Task[bool]] = {}

    def knows(self, credential: bytes, node: str) -> bool:
        """Whether this credential may read the data of a node, as far as that is remembered; microseconds."""
        until = self._until.get((digest(credential), node, _SCOPE))
        return until is not None and time.monotonic() < until

    async def ask(self, credential: bytes, node: str, scope: Scope) -> bool:
        """Ask tiled whether the credential in the request `scope` may read the data of a node."""
        permit = (digest(credential), node, _SCOPE)
        if self._seconds <= 0:
            return await self._probe(node, scope)
        if (asking := self._asked.get(permit)) is None:
            # Not of this request, which may be given up while others wait for the same.
            asking = asyncio.get_running_loop().create_task(self._learn(permit, credential, dict(scope)))
            self._asked[permit] = asking
            asking.add_done_callback(lambda _: self._asked.pop(permit, None))
        return await asyncio.shield(asking)

    async def _learn(self, permit: Permit, credential: bytes, scope: Scope) -> bool:
        # What was decided counts from before it was asked: nothing that is revoked meanwhile lasts longer.
        now, clock = time.time(), time.monotonic()
        if not await self._probe(permit[1], scope):
            return False
        lasts = min(self._seconds, await self._expiry(credential, scope) - now)
        self._until[permit] = clock + lasts
        self._until.move_to_end(permit)
        while len(self._until) > _MOST:
            self._until.popitem(last=False)
        return True

    async def _probe(self, node: str, scope: Scope) -> bool:
        metrics.probed()
        path, _, _ = node.partition("\0")  # see `plain.Named`
        status, _ = await asked(self._app, f"/api/v1/array/full/{path}", _NOTHING, scope)
        return status == 200

    async def _expiry(self, credential: bytes, scope: Scope) -> float:
        """Return when a credential that tiled has accepted expires, in seconds since 1970."""
        scheme, _, secret = credential.removeprefix(b"header ").partition(b" ")
        if scheme.lower() == b"bearer":
            return _token_expiry(secret)
        if not credential or not self._expiring:
            return float("inf")
        status, body = await asked(self._app, "/api/v1/auth/apikey", b"", scope)
        try:
            until = json.loads(body)["expiration_time"] if status == 200 else _UNKNOWN
            return _moment(until) if until else float("inf")
        except (ValueError, LookupError, TypeError):
            return 0.0  # that it is good now says nothing of later: nothing is remembered


def _token_expiry(token: bytes) -> float:
    """Read when a token ends; who reads it here has had it checked before. One that does not say so is never old."""
    try:
        payload = token.split(b".")[1]
        said: Any = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        return float(said["exp"])
    except (ValueError, LookupError, TypeError):
        return float("inf")


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
