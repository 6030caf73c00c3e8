"""Those who follow something as server-sent events: woken when it may be another, told how it differs.

A follower is told how it differs from what he was told last, so one that reads slowly gets less often the same news:
nothing is queued. What it looks like is found out once for all who follow the same.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from tiled_spyde.errors import Busy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping

T = TypeVar("T")

# In seconds: between two signs of life, between two looks whether someone may still follow, and between two pieces
# of news, so that writers in a loop are told of together.
_ALIVE = 15.0
_ALLOWED = 60.0
_PAUSE = 0.05
MOST = 1000


class Followers:
    """All who follow something of one kind."""

    def __init__(self) -> None:
        self._following: Counter[Hashable] = Counter()
        self._wakers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # What each that is followed looks like, and what else was the case then.
        self._looks: dict[Hashable, tuple[object, asyncio.Task[Any]]] = {}
        self._ended = False

    def __len__(self) -> int:
        return len(self._wakers)

    def wake(self) -> None:
        """Have all look again; from any thread."""
        if self._wakers and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake_all)

    def close(self) -> None:
        """End all; on the event loop, or when that has ended."""
        self._ended = True
        self.wake()

    def check_room(self) -> None:
        """Refuse one more than may follow at a time.

        Raises
        ------
        Busy
        """
        if self._ended or len(self) >= MOST:
            raise Busy(f"{len(self)} follow here, as many as may. Look at it yourself from time to time.")

    async def tell(
        self,
        name: Hashable,
        look: Callable[[], Awaitable[T | None]],
        said: Callable[[T | None, T], bytes],
        allowed: Callable[[], Awaitable[bool]],
        again: Callable[[T], float] = lambda now: inf,
    ) -> AsyncGenerator[bytes]:
        """Tell one follower until there is nothing more to follow, the server ends, or `allowed` says so.

        Parameters
        ----------
        name : hashable
            What he follows.
        look : callable
            Gives what it looks like now, and None once it is gone.
        said : callable
            From what he was told of last (None at first) and what it looks like now, to the events that say so.
        allowed : callable
            Whether he may still follow it.
        again : callable
            In how many seconds it may be another without anybody waking him; 0: never, it has ended.

        Yields
        ------
        bytes
            Events as they go over the wire, or a comment, at least each 15 s.
        """
        waker, self._loop = asyncio.Event(), asyncio.get_running_loop()
        clock, before = self._loop.time, None
        alive = asked = clock()
        self._wakers.add(waker)
        self._following[name] += 1
        try:
            while not self._ended and (now := await look()) is not None:
                quiet = clock() - alive >= _ALIVE
                if told := said(before, now) or (b": still here\n\n" if quiet else b""):
                    yield told
                    await asyncio.sleep(_PAUSE)
                    alive = clock()
                before, rest = now, again(now)
                if not rest:
                    return
                due = min(alive + _ALIVE, asked + _ALLOWED, clock() + rest) - clock()
                with suppress(TimeoutError):
                    await asyncio.wait_for(waker.wait(), max(due, 0.001))
                waker.clear()
                if clock() - asked >= _ALLOWED:
                    if not await allowed():
                        return
                    asked = clock()
        finally:
            self._wakers.discard(waker)
            self._following[name] -= 1
            if not self._following[name]:
                del self._following[name]
                self._looks.pop(name, None)

    async def look_once(self, name: Hashable, stamp: object, look: Callable[[], T]) -> T:
        """Look, in a thread, at what `name` looks like: once for all who ask while `stamp` is the same."""
        held = self._looks.get(name)
        if held is None or held[0] != stamp:
            held = self._looks[name] = stamp, asyncio.ensure_future(asyncio.to_thread(look))
        # Not of this follower, who may leave while others wait for the same.
        found: T = await asyncio.shield(held[1])
        return found

    def _wake_all(self) -> None:
        for waker in self._wakers:
            waker.set()


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """Lay out one event."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
