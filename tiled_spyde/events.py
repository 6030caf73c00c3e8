"""What happens to the nodes of a tree, told to all who follow it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tiled_spyde.errors import SpydeError
from tiled_spyde.followers import Followers, event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from tiled_spyde.catalog import Catalog
    from tiled_spyde.snapshot import Address
    from tiled_spyde.tree import SignalTree


class Seen(NamedTuple):
    """What is told of a node."""

    name: str
    key: str | None
    version: int
    state: str


class View:
    """The nodes of a tree by their ids, as they are told of; of those that others enter, `mixed` says which trees."""

    def __init__(
        self, nodes: Mapping[str, Seen], mixed: Mapping[str, frozenset[Address]] | None = None
    ) -> None:
        self.nodes = nodes
        self.mixed = mixed or {}


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
    entering = {node.id: tree.entering(name) for name, node in tree.nodes.items()} if tree.is_mixed else {}
    return View(nodes, {id_: others for id_, others in entering.items() if others})


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


def _told(what: str, id_: str, seen: Seen) -> bytes:
    return event("node", {"what": what, "id": id_, **seen._asdict()})


class Streams(Followers):
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
        super().__init__()
        self._catalog = catalog
        self._state = state
        self._number = 0  # of states
        catalog.on_change(self.wake)

    def changed(self) -> None:
        """Say that the state of some node is another one, though no tree is; from any thread."""
        self._number += 1
        self.wake()

    def follow(
        self,
        path: Address,
        allowed: Callable[[], Awaitable[bool]],
        shown: Callable[[str], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Tell of the tree at `path` until it is gone; see `Followers.tell`.

        Parameters
        ----------
        path : tuple of str
        allowed : callable
            Whether somebody may still follow it.
        shown : callable, optional
            Whether he may know of the node with a name, which is asked where not everyone may.
        """
        change = self._catalog.revision
        seen: list[View] = []  # the tree as it was looked at last, and what he may know of it

        async def look() -> View | None:
            if (view := await self._view(path)) is None:
                return None
            if not seen or seen[0] is not view:
                seen[:] = view, await self._visible(view, shown)
            return seen[1]

        def said(before: View | None, now: View) -> bytes:
            return event("tree", {"change": change}) if before is None else news(before, now)

        return self.tell(path, look, said, allowed)

    async def _visible(self, view: View, shown: Callable[[str], Awaitable[bool]] | None) -> View:
        """Return what somebody may know of, of what a tree looks like."""
        if shown is None or not view.mixed or not self._catalog.apart:
            return view
        # It depends on nothing but the trees that enter a node: asked once of each set of these.
        one_of = {others: id_ for id_, others in view.mixed.items()}
        refused = {others for others, id_ in one_of.items() if not await shown(view.nodes[id_].name)}
        hidden = {id_ for id_, others in view.mixed.items() if others in refused}
        return View({id_: seen for id_, seen in view.nodes.items() if id_ not in hidden}) if hidden else view

    async def _view(self, path: Address) -> View | None:
        """Return what a tree looks like; None where there is none any more."""
        try:
            tree = self._catalog.tree(path)
        except SpydeError:
            return None
        return await self.look_once(path, (tree, self._number), lambda: view_of(tree, self._state))
