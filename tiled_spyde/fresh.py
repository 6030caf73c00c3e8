"""Whoever asks sees what any process has written before: a look at what is new before each answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from tiled_spyde.catalog import Catalog

    Scope = MutableMapping[str, Any]
    App = Callable[[Scope, Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds; what is known is served where the database takes longer


class Fresh:
    """ASGI wrapper that takes over what other processes changed, where they did, before a request goes on.

    Parameters
    ----------
    app : Lane
    catalog : Catalog
    """

    def __init__(self, app: Any, catalog: Catalog) -> None:
        self.app = app
        self.ending = getattr(app, "ending", lambda: None)
        self._catalog = catalog
        self._running: asyncio.Future[None] | None = None
        self._begun = 0.0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "http" and self._catalog.behind():
            await self._catch_up()
        await self.app(scope, receive, send)

    def at_once(self, scope: Scope) -> Any:
        """Answer what takes microseconds; None goes the usual way. See `Lane.at_once`."""
        return None if self._catalog.behind() else self.app.at_once(scope)

    async def _catch_up(self) -> None:
        """Wait until what was written by now is taken over: all who wait share one look."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _PATIENCE
        # One that was under way already may have read before the newest change.
        while self._catalog.behind() and (left := deadline - clock()) > 0:
            if self._running is None or self._running.done():
                self._running, self._begun = asyncio.ensure_future(asyncio.to_thread(self._refresh)), clock()
            elif clock() - self._begun >= _PATIENCE:
                return  # others have waited in vain: not each request anew
            await asyncio.wait({self._running}, timeout=left)

    def _refresh(self) -> None:
        try:
            self._catalog.refresh()
        except Exception as error:  # it is tried again soon, and said there
            logger.debug("What is known is served: %s", error)
