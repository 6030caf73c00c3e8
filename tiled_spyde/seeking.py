"""Whoever asks for a preview finds it, in whichever process it was derived: a look for it before the answer."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

from tiled_spyde.catalog import SourceFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, MutableMapping

    from tiled_spyde.catalog import Catalog
    from tiled_spyde.previews import Previews

    Scope = MutableMapping[str, Any]
    App = Callable[[Scope, Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"/preview@([0-9a-f]{32})(?=/|\.zarr|$)")
# In seconds: how long one that another process may be about to write is waited for, and between two looks.
_PATIENCE = 1.0
_PAUSE = 0.1


class Seeking:
    """ASGI wrapper that looks for previews which this process does not know, before a request for one goes on.

    Parameters
    ----------
    app : Lane
    catalog : Catalog
    previews : Previews
    """

    def __init__(self, app: Any, catalog: Catalog, previews: Previews) -> None:
        self.app = app
        self.ending = getattr(app, "ending", lambda: None)
        self._catalog = catalog
        self._previews = previews
        self._wanted: set[str] = set()
        self._looking: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "http" and (found := _ADDRESS.search(scope["path"])):
            await self._seek(scope["path"][: found.start()], found[1])
        await self.app(scope, receive, send)

    def at_once(self, scope: Scope) -> Any:
        """Answer what takes microseconds; None goes the usual way. See `Lane.at_once`."""
        return self.app.at_once(scope)

    async def _seek(self, path: str, key: str) -> None:
        """Wait until the preview `key` of the tree that `path` ends with is known, or has had time to be."""
        places = list(self._places(path))
        clock = asyncio.get_running_loop().time
        deadline = clock() + _PATIENCE
        while (
            not all(self._previews.knows(place, key) for place in places) and (left := deadline - clock()) > 0
        ):
            self._wanted.add(key)
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(self._look())
            await asyncio.wait({self._looking}, timeout=left)
            if not all(self._previews.knows(place, key) for place in places):
                await asyncio.sleep(_PAUSE)

    def _places(self, path: str) -> Iterator[str]:
        """Yield the trees that a path ends with: what stands before them is the address of a route."""
        parts = path.split("/")
        for start in range(1, len(parts)):
            entry = self._catalog.entry(tuple(parts[start:-1]))
            if isinstance(entry, SourceFile) and parts[-1] in entry.trees:
                yield entry.trees[parts[-1]].place

    async def _look(self) -> None:
        """Look for what is wanted: all who wait share one look."""
        while self._wanted:
            wanted, self._wanted = self._wanted, set()
            try:
                await asyncio.to_thread(self._previews.look_for, wanted)
            except Exception as error:  # what is known is served
                logger.debug("Previews of other processes are not seen: %s", error)
