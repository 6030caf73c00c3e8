"""Nodes that parameters name: by which words, in which tree, and what enters a node through them.

A kept parameter names a node of the same tree as ``#node`` and one of another tree as ``#tree/node``, both by their
ids, so it means the same when these get other names, or their file another place. A tree in which nobody has made
anything has no id yet: what is not kept names it by its address, ``#folder/file/signal/node``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from tiled_spyde.errors import InvalidOperation, NotFound, SpydeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Set

    from tiled_spyde.operations.base import Operation
    from tiled_spyde.recipe import Recipe

    Address = tuple[str, ...]

_BY_ID = "#"
_NONE: Mapping[str, str] = MappingProxyType({})


class Node(Protocol):
    """What is looked at of a `tree.Node`."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def parent(self) -> str | None: ...  # noqa: D102
    @property
    def inputs(self) -> Mapping[str, str]: ...  # noqa: D102


class Tree(Protocol):
    """What is looked at of a `tree.SignalTree`."""

    @property
    def address(self) -> Address: ...  # noqa: D102
    @property
    def nodes(self) -> Mapping[str, Node]: ...  # noqa: D102
    def others(self, id_: str, /) -> Tree | None: ...  # noqa: D102
    def by_id(self, id_: str, /) -> Node | None: ...  # noqa: D102
    def resolve(self, node: Any, depth: int = 0, /) -> Recipe | SpydeError: ...  # noqa: D102


def named_in(parameters: str) -> Mapping[str, str]:
    """Return how kept parameters name nodes, by parameter."""
    return _parsed(parameters) if f'"{_BY_ID}' in parameters else _NONE


@lru_cache(maxsize=4096)
def _parsed(parameters: str) -> Mapping[str, str]:
    try:
        given = json.loads(parameters).items()
    except (ValueError, AttributeError, RecursionError):
        return {}
    named = ((name, value.get("node")) for name, value in given if isinstance(value, dict))
    return {name: ref for name, ref in named if isinstance(ref, str) and ref.startswith(_BY_ID)}


def trees_in(parameters: str) -> Set[str]:
    """Return the ids of the other trees that kept parameters name nodes of."""
    return {ref[1:].partition("/")[0] for ref in named_in(parameters).values() if "/" in ref}


def address_of(name: str, here: Address) -> Address:
    """Return where the node is that a parameter of a node in the tree at `here` names, as people write it."""
    return tuple(name.strip("/").split("/")) if name.startswith("/") else (*here, name)


def kept(
    operation: Operation,
    here: Address,
    tree: Callable[[Address], Tree],
    called: Callable[[Address], str],
) -> Operation:
    """Return `operation`, which is made for the tree at `here`, with the nodes that it names by their ids.

    Parameters
    ----------
    operation : Operation
    here : tuple of str
    tree, called : callable
        Give the tree at an address, and its id, or its address where it has none.

    Raises
    ------
    NotFound
        There is no such node; the message names the parameter.
    """
    found = {}
    for parameter, name in operation.named.items():
        *there, last = address_of(name, here)
        try:
            node = tree(tuple(there)).nodes.get(last)
            if node is None:
                raise NotFound(f"There is no node {last[:100]!r} in {'/'.join(there)[:400]!r}.")
        except NotFound as error:
            raise NotFound(f"{operation.name}: {parameter}: {error}") from None
        other = "" if tuple(there) == here else f"{called(tuple(there))}/"
        found[parameter] = f"{_BY_ID}{other}{node.id}"
    return operation.naming(found)


def with_ids(parameters: str, id_of: Callable[[Address], str]) -> str:
    """Return parameters that are to be kept, with the ids of the trees that they name by their addresses."""
    for ref in set(named_in(parameters).values()):
        tree, _, node = ref.removeprefix(_BY_ID).rpartition("/")
        if "/" in tree:
            by_id = f"{_BY_ID}{id_of(tuple(tree.split('/')))}/{node}"
            parameters = parameters.replace(json.dumps(ref), json.dumps(by_id))
    return parameters


def paths_of(tree: Tree, node: Node) -> dict[str, str | None]:
    """Return the path of each node that a parameter of `node` names; None where there is none."""
    found: dict[str, str | None] = {}
    for parameter, ref in node.inputs.items():
        there, named = _find(tree, ref)
        found[parameter] = "/" + "/".join((*there.address, named.name)) if there and named else None
    return found


def entering(tree: Tree, node: Node) -> frozenset[Address]:
    """Return the addresses of the other trees that `node` is made from, directly or not."""
    return frozenset(there.address for there, _ in _all_above(tree, node)) - {tree.address}


def inputs_of(tree: Tree, operation: Operation, of: Node | None = None, depth: int = 0) -> dict[str, Recipe]:
    """Return the recipes of the nodes that parameters of `operation` name by their ids.

    Parameters
    ----------
    tree : Tree
        Of which it makes a node.
    operation : Operation
    of : Node, optional
        Whose operation it is to be: no node is made from itself.
    depth : int
        See `SignalTree.resolve`.

    Raises
    ------
    InvalidOperation
        One is not there, is failed, or is made from `of`; the message names the parameter.
    """
    found = {}
    for parameter, ref in operation.named.items():
        there, node = _find(tree, ref)
        if there is None or node is None:
            raise InvalidOperation(f"{operation.name}: {parameter}: the node that it names is not there.")
        if of is not None and any(is_of(above, tree, of) for above in _all_above(there, node)):
            raise InvalidOperation(
                f"{operation.name}: {parameter}: {node.name!r} is made from {of.name!r}, and nothing is made "
                "from itself."
            )
        recipe = there.resolve(node, depth)
        if isinstance(recipe, SpydeError):
            raise InvalidOperation(f"{operation.name}: {parameter}: {node.name!r} is failed: {recipe}")
        found[parameter] = recipe
    return found


def is_circular(tree: Tree, node: Node) -> bool:
    """Whether a node is made from itself."""
    refs = (f"{_BY_ID}{node.parent}", *node.inputs.values())
    found = ((there, above) for there, above in (_find(tree, ref) for ref in refs) if there and above)
    return any(is_of(one, tree, node) for there, above in found for one in _all_above(there, above))


def is_of(above: tuple[Tree, Node], tree: Tree, node: Node) -> bool:
    """Whether a node and the tree that it is in are those."""
    return (above[0].address, above[1].id) == (tree.address, node.id)


def _all_above(tree: Tree, node: Node) -> Iterator[tuple[Tree, Node]]:
    """Yield a node and all that it is made from, each with its tree."""
    waiting, seen = [(tree, node)], set()
    while waiting:
        there, node = waiting.pop()
        if (there.address, node.id) in seen:
            continue
        seen.add((there.address, node.id))
        yield there, node
        refs = (f"{_BY_ID}{node.parent}", *node.inputs.values())
        for tree_above, above in (_find(there, ref) for ref in refs):
            if tree_above is not None and above is not None:
                waiting.append((tree_above, above))


def _find(tree: Tree, ref: str) -> tuple[Tree | None, Node | None]:
    """Return the node that ``#node`` or ``#tree/node`` means, and the tree that it is in."""
    if not ref.startswith(_BY_ID):
        return None, None
    other, _, id_ = ref[1:].rpartition("/")
    there = tree.others(other) if other else tree
    return there, there.by_id(id_) if there else None
