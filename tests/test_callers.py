"""Who asks: what is taken of a request, and what is not kept of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from tiled_spyde.callers import Watched, in_time
from tiled_spyde.errors import Busy
from tiled_spyde.tickets import Ticket


def test_a_body_where_none_belongs_is_forgotten():
    """However long it is and however slowly the answer comes: nothing of it is held."""
    left, ticket = iter(range(1000)), Ticket()

    async def receive():
        await asyncio.sleep(0)
        if next(left, None) is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"x" * 2**16, "more_body": True}

    async def app():
        async with Watched(receive, ticket) as watched:
            first = await watched()
            # It may be asked again and again whether somebody is there, as of a server.
            return [first, *[await asyncio.wait_for(watched(), 30) for _ in range(3)]]

    messages = asyncio.run(app())
    assert messages == [{"type": "http.request", "body": b"", "more_body": False}] + 3 * [
        {"type": "http.disconnect"}
    ]
    assert not ticket.wanted


def test_what_nobody_waits_for_any_more_is_given_up():
    late, cancelled = Ticket(), Ticket()

    async def app():
        with pytest.raises(Busy, match=r"longer than 0\.01 s"):
            await in_time(Future(), late, 0.01)
        waiting = asyncio.create_task(in_time(Future(), cancelled, 3600))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(app())
    assert not late.wanted
    assert not cancelled.wanted
