"""What of a tree somebody may know of: no node that something enters which he may not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import HTTPException

from tiled_spyde.named import entering
from tiled_spyde.node import OWN_NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from tiled_spyde.catalog import Catalog
    from tiled_spyde.records import Past
    from tiled_spyde.tree import SignalTree

    Require = Callable[[str, list[str]], Awaitable[Any]]
    Address = tuple[str, ...]


async def visible(require: Require, catalog: Catalog, tree: SignalTree, past: Sequence[Past]) -> list[Past]:
    """Return what was done to nodes that whoever asks may know of, as these were and are."""
    if not catalog.apart:
        return list(past)
    then = {node.id: node for done in past for node in (done.before, done.after) if node}
    now = {node.id: node for node in tree.nodes.values() if node.name not in OWN_NAMES}
    there, known = tree.with_nodes((then | now).values()), dict[tuple[str, ...], bool]()
    found = []
    for done in past:
        others = {
            one
            for node in (done.before, done.after, now.get(done.node))
            if node
            for one in entering(there, node)
        }
        for address in others - known.keys():
            known[address] = await _may(require, address)
        if all(known[address] for address in others):
            found.append(done)
    return found


async def visible_names(
    require: Require, catalog: Catalog, tree: SignalTree, names: Iterable[str]
) -> list[str]:
    """Return the names of the nodes that whoever asks may know of."""
    if not catalog.apart:
        return list(names)
    entering = {name: tree.entering(name) for name in names}
    # It depends on nothing but the trees that enter a node: asked once of each set of these.
    one_of = {others: name for name, others in entering.items() if others}
    refused = {others for others, name in one_of.items() if not await _may(require, (*tree.address, name))}
    return [name for name, others in entering.items() if others not in refused]


async def refuse_hidden(require: Require, catalog: Catalog, path: Address) -> None:
    """Refuse to delete the node at a path if one is made from it that whoever asks may not know of.

    Raises
    ------
    NotFound
        There is no such tree.
    HTTPException
        409, without its name.
    """
    tree, name = catalog.tree(path[:-1]), path[-1] if path else ""
    below = tree.below(name) if catalog.apart and name in tree.nodes else []
    if len(await visible_names(require, catalog, tree, below)) < len(below):
        raise HTTPException(
            409,
            f"Something that you may not read is made from {name!r}. Ask whoever may to delete that first.",
        )


async def _may(require: Require, address: Address) -> bool:
    try:
        await require("/".join(address), ["read:metadata"])
    except HTTPException:
        return False
    return True
