"""What happens to the nodes of a tree, told to all who follow it: as server-sent events.

A follower is told how the tree differs from what it was told last, so one that reads slowly gets less often the same
news: nothing is queued. What differs is found out once for all who follow the same tree.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from tiled_spyde.errors import Busy, SpydeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from tiled_spyde.catalog import Catalog
    from tiled_spyde.snapshot import Address
    from tiled_spyde.tree import SignalTree

# In seconds: between two signs of life, between two looks whether someone may still follow, and between two pieces
# of news, so that writers in a loop are told of together.
_ALIVE = 15.0
_ALLOWED = 60.0
_PAUSE = 0.05
MOST = 1000


class Seen(NamedTuple):
    """What is told of a node."""

    name: str
    key: str | None
    version: int
    state: str


class View:
    """The nodes of a tree by their ids, as they are told of; `mixed`, those that something of another tree enters."""

    def __init__(self, nodes: Mapping[str, Seen], mixed: frozenset[str] = frozenset()) -> None:
        self.nodes = nodes
        self.mixed = mixed


def state_of(tree: SignalTree, name: str) -> tuple[str, str | None]:
    """Return the state of a node, and its key where it has one; may read samples of a file."""
    try:
        recipe = tree.recipe(name)
        return ("stored" if recipe.stored else "lazy"), recipe.key
    except SpydeError:
        return "failed", None


def view_of(tree: SignalTree, state: Callable[[SignalTree, str], tuple[str, str | None]] = state_of) -> View:
    """Look at all nodes of a tree; takes milliseconds where there are thousands."""
    nodes: dict[str, Seen] = {}
    for name, node in tree.nodes.items():
        said, key = state(tree, name)
        nodes[node.id] = Seen(name, key, getattr(node, "version", 0), said)
    mixed = (node.id for name, node in tree.nodes.items() if tree.entering(name)) if tree.is_mixed else ()
    return View(nodes, frozenset(mixed))


@lru_cache(maxsize=8)  # all who follow a tree are told the same
def news(before: View, after: View) -> bytes:
    """Return the events that lead from one view of a tree to another; empty where they are equal."""
    told = []
    for id_, now in after.nodes.items():
        then = before.nodes.get(id_)
        if then is None:
            told.append(_told("made", id_, now))
        elif then != now:
            only_state = then._replace(state=now.state) == now
            told.append(_told("state" if only_state else "changed", id_, now))
    gone = before.nodes.keys() - after.nodes.keys()
    told += [
        _told("deleted", id_, then._replace(key=None)) for id_, then in before.nodes.items() if id_ in gone
    ]
    return b"".join(told)


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """Lay out one event."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _told(what: str, id_: str, seen: Seen) -> bytes:
    return event("node", {"what": what, "id": id_, **seen._asdict()})


class Streams:
    """All who follow trees of a catalogue.

    Parameters
    ----------
    catalog : Catalog
    state : callable
        Gives state and key of a node of a tree, in a thread.
    """

    def __init__(
        self, catalog: Catalog, state: Callable[[SignalTree, str], tuple[str, str | None]] = state_of
    ) -> None:
        self._catalog = catalog
        self._state = state
        self._following: Counter[Address] = Counter()
        self._wakers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # What each tree that is followed looks like, and of which tree and which number of states that is.
        self._views: dict[Address, tuple[SignalTree, int, asyncio.Task[View]]] = {}
        self._number = 0
        self._ended = False
        catalog.on_change(self._wake)

    def __len__(self) -> int:
        return len(self._wakers)

    def changed(self) -> None:
        """Say that the state of some node is another one, though no tree is; from any thread."""
        self._number += 1
        self._wake()

    def close(self) -> None:
        """End all streams; on the event loop, or when that has ended."""
        self._ended = True
        self._wake()

    def check_room(self) -> None:
        """Refuse one more than may follow at a time.

        Raises
        ------
        Busy
        """
        if self._ended or len(self) >= MOST:
            raise Busy(
                f"{len(self)} follow trees here, as many as may. Look at the tree from time to time instead."
            )

    async def follow(
        self,
        path: Address,
        allowed: Callable[[], Awaitable[bool]],
        shown: Callable[[str], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Tell of the tree at `path` until it is gone, the server ends, or `allowed` says so.

        Parameters
        ----------
        path : tuple of str
        allowed : callable
            Whether somebody may still follow it.
        shown : callable, optional
            Whether he may know of the node with a name, which is asked where not everyone may.

        Yields
        ------
        bytes
            Events as they go over the wire, at least one each 15 s.
        """
        waker = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._wakers.add(waker)
        self._following[path] += 1
        try:
            async for said in self._told(path, waker, allowed, shown):
                yield said
        finally:
            self._wakers.discard(waker)
            self._following[path] -= 1
            if not self._following[path]:
                del self._following[path]
                self._views.pop(path, None)

    async def _told(
        self,
        path: Address,
        waker: asyncio.Event,
        allowed: Callable[[], Awaitable[bool]],
        shown: Callable[[str], Awaitable[bool]] | None,
    ) -> AsyncGenerator[bytes]:
        clock, change = asyncio.get_running_loop().time, self._catalog.revision
        if (view := await self._view(path)) is None or self._ended:
            return
        before = await self._visible(view, shown)
        yield event("tree", {"change": change})
        alive, asked = clock(), clock()
        while True:
            due = min(alive + _ALIVE, asked + _ALLOWED) - clock()
            with suppress(TimeoutError):
                await asyncio.wait_for(waker.wait(), max(due, 0.001))
            waker.clear()
            if clock() - asked >= _ALLOWED:
                if not await allowed():
                    return
                asked = clock()
            if self._ended or (now := await self._view(path)) is None:
                return
            view, after = now, before if now is view else await self._visible(now, shown)
            if said := news(before, after) if after is not before else b"":
                yield said
                await asyncio.sleep(_PAUSE)
            elif clock() - alive >= _ALIVE:
                yield b": still here\n\n"
            else:
                continue
            before, alive = after, clock()

    async def _visible(self, view: View, shown: Callable[[str], Awaitable[bool]] | None) -> View:
        """Return what somebody may know of, of what a tree looks like."""
        if shown is None or not view.mixed or not self._catalog.apart:
            return view
        hidden = {id_ for id_ in view.mixed if not await shown(view.nodes[id_].name)}
        return View({id_: seen for id_, seen in view.nodes.items() if id_ not in hidden}) if hidden else view

    async def _view(self, path: Address) -> View | None:
        """Return what a tree looks like; None where there is none any more."""
        try:
            tree = self._catalog.tree(path)
        except SpydeError:
            return None
        held = self._views.get(path)
        if held is None or held[0] is not tree or held[1] != self._number:
            looking = asyncio.ensure_future(asyncio.to_thread(view_of, tree, self._state))
            held = self._views[path] = (tree, self._number, looking)
        # Not of this stream, which may be given up while others wait for the same.
        return await asyncio.shield(held[2])

    def _wake(self) -> None:
        if self._wakers and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for waker in self._wakers:
            waker.set()
