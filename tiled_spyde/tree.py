"""A SignalTree: one root, the nodes people make from it, and the navigator they point into.

A tree is an immutable snapshot. A change gives a new one, so a reader never sees half of it. A node is resolved to
its recipe when somebody looks at it; one that cannot be is failed, and says why.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

from tiled_spyde.errors import Gone, InvalidOperation, NameTaken, NotFound, SpydeError
from tiled_spyde.named import entering, inputs_of
from tiled_spyde.node import NAVIGATOR, OWN_NAMES, PREVIEW, ROOT, Node, as_text, by_name, check_name, now
from tiled_spyde.operations import build
from tiled_spyde.recipe import MAX_STEPS, Recipe

if TYPE_CHECKING:
    from tiled_spyde.named import Tree
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.sources import Root

MAX_NODES = 10_000

# From the id of another tree, or its address where it has none, to what it is now; None where there is none.
Others = Callable[[str], "Tree | None"]


class _Endless(Exception):
    """A node has too many steps, or is made from itself."""


@dataclass(frozen=True, eq=False)
class SignalTree:
    """One root and its nodes.

    Parameters
    ----------
    root : Root
        The signal in a file.
    nodes : mapping of str to Node
        By name.
    calibration_error : str or None
        Why the calibration that a configuration asks for is not there.
    place : str
        What tells it from all other trees: its file and the signal in it.
    address : tuple of str
        Where it is served.
    others : callable
        Gives the other trees that parameters name.
    """

    root: Root
    nodes: Mapping[str, Node]
    calibration_error: str | None = None
    # By id. A tree and one that it grows to share what is resolved: they differ in nothing else.
    _resolved: MutableMapping[str, Recipe | SpydeError] = field(default_factory=dict, repr=False)
    _names: Mapping[str, str] = field(default_factory=dict, repr=False)
    place: str = ""
    address: tuple[str, ...] = ()
    others: Others = field(default=lambda tree: None, repr=False)

    @classmethod
    def of(
        cls,
        root: Root,
        calibration: Operation | SpydeError | None = None,
        nodes: tuple[Node, ...] = (),
        place: str = "",
        address: tuple[str, ...] = (),
        others: Others = lambda tree: None,
    ) -> SignalTree:
        """Return the tree of a signal: its root, a navigator where there can be one, and `nodes`.

        Parameters
        ----------
        root : Root
            The signal in a file.
        calibration : Operation, optional
            What a configuration puts before everything: the node ``root`` is the root with it applied.
            Where it does not fit, the root is as the file has it, and the tree says why.
        nodes : tuple of Node
            What people made of it. Any that makes no sense is kept, and failed.
        place, address, others
            As of the class.
        """
        first, error = _calibrated(root, calibration)
        held = [Node(ROOT, ROOT)]
        resolved: dict[str, Recipe | SpydeError] = {ROOT: first}
        navigator = build("sum", {})
        if first.info.navigation_axes and first.info.signal_axes:
            found = _attempt(first, navigator)
            if isinstance(found, Recipe):
                held.append(Node(NAVIGATOR, NAVIGATOR, ROOT, navigator.name, as_text(navigator)))
                resolved[NAVIGATOR] = found
        shown = by_name(held, nodes)
        return cls(root, shown, error, resolved, _names_by_id(shown), place, address, others)

    def with_nodes(self, nodes: Iterable[Node]) -> SignalTree:
        """Return the tree with `nodes` besides its own two; what they are made from as before stays resolved."""
        held = by_name((node for name, node in self.nodes.items() if name in OWN_NAMES), nodes)
        names = _names_by_id(held)
        resolved: dict[str, Recipe | SpydeError] = {}
        for node in held.values():
            resolved |= self._still_right(node, held, names, resolved)
        return replace(self, nodes=held, _resolved=resolved, _names=names)

    @property
    def recipes(self) -> Mapping[str, Recipe]:
        """Every node that is not failed, resolved; by name."""
        return _Recipes(self)

    def failure(self, name: str) -> SpydeError | None:
        """Why the node `name` is failed: its operation does not fit what its parent is now, or none knows it."""
        found = self.resolve(self.nodes[name])
        return found if isinstance(found, SpydeError) else None

    def parent_name(self, name: str) -> str | None:
        """Name of the parent; its id where there is no such node."""
        parent = self.nodes[name].parent
        return self._names.get(parent, parent) if parent else None

    def name_of(self, id_: str) -> str:
        """Name of the node with this id; empty where there is none."""
        return self._names.get(id_, "")

    def users_of(self, name: str) -> list[str]:
        """Names of the nodes of this tree that are made from this one, or have a parameter that names it."""
        return self._users.get(self.nodes[name].id, [])

    def below(self, name: str) -> list[str]:
        """Names of all nodes that would not be there without this one, the nearest first."""
        found = dict.fromkeys(self.users_of(name))
        for user in (waiting := list(found)):  # which grows meanwhile
            new = [name for name in self.users_of(user) if name not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return [user for user in found if user != name]

    def entering(self, name: str) -> frozenset[tuple[str, ...]]:
        """Addresses of the other trees that a node is made from: who reads it must be allowed to read them."""
        return self._entering(name) if self.is_mixed else frozenset()

    # Each is looked for once: where something else may enter a tree by now, the tree is made anew.
    @cached_property
    def _entering(self) -> Callable[[str], frozenset[tuple[str, ...]]]:
        return cache(lambda name: entering(self, self.nodes[name]))

    @cached_property
    def is_mixed(self) -> bool:
        """Whether parameters name nodes of other trees."""
        return any("/" in ref for node in self.nodes.values() for ref in node.inputs.values())

    def grown(
        self, name: str | None, parent: str, operation: Operation, by: str | None = None
    ) -> tuple[SignalTree, Node]:
        """Return the tree with one node more, and the node.

        Raises
        ------
        NotFound
            There is no such parent.
        NameTaken
            Another node has this name.
        InvalidOperation
            The name is not usable, the operation does not fit its parent, or the tree is full.
        TooLarge
            The parameters take too much room.
        """
        if parent not in self.nodes:
            raise NotFound(f"There is no node {parent!r} in this tree; there are: {self._some_names()}.")
        name = self.free_name(operation.name) if name is None else name
        self.check_free(name)
        if len(self.nodes) >= MAX_NODES:
            raise InvalidOperation(f"A tree has at most {MAX_NODES} nodes; delete some first.")
        if failure := self.failure(parent):
            raise InvalidOperation(f"{parent!r} is failed, so nothing can be made from it: {failure}")
        above = self.nodes[parent].id
        node = Node(uuid4().hex, name, above, operation.name, as_text(operation), now(), by)
        self.recipes[parent].then(operation, inputs_of(self, operation))
        return self.with_one_more(node), node

    def with_one_more(self, node: Node) -> SignalTree:
        """Return the tree with a node that fits."""
        held, names = {**self.nodes, node.name: node}, {**self._names, node.id: node.name}
        return replace(self, nodes=held, _names=names)

    def showing(self, parent: str, recipe: Recipe) -> SignalTree:
        """Return the tree with a chain that nobody keeps as its node ``preview``; nothing is copied.

        Parameters
        ----------
        parent : str
            Id of the node that the chain begins with.
        recipe : Recipe
            The chain.
        """
        last = recipe.operation
        node = Node(PREVIEW, PREVIEW, parent, *((last.name, as_text(last)) if last else ()))
        return replace(
            self,
            # Only the first of each is ever written to.
            nodes=ChainMap({PREVIEW: node}, self.nodes),  # type: ignore[arg-type]
            _resolved=ChainMap({PREVIEW: recipe}, self._resolved),
            _names=ChainMap({PREVIEW: PREVIEW}, self._names),  # type: ignore[arg-type]
        )

    def by_id(self, id_: str) -> Node | None:
        """Node that has this id."""
        name = self._names.get(id_)
        return None if name is None else self.nodes.get(name)

    def find(self, parent: str, operation: Operation, name: str | None) -> Node | None:
        """Node that is this very step already, under `name` where one is given."""
        if parent not in self.nodes:
            return None
        step = (self.nodes[parent].id, operation.name, as_text(operation))
        wanted = self.nodes.values() if name is None else filter(None, [self.nodes.get(name)])
        same = (node for node in wanted if (node.parent, node.operation, node.parameters) == step)
        return next((node for node in same if name or node.name != NAVIGATOR), None)

    def free_name(self, wanted: str) -> str:
        """Return `wanted`, with a number behind it where it is taken."""
        if wanted not in self.nodes:
            return wanted
        # Most are called after their operation: the next number is close to how many there are.
        there = sum(node.operation == wanted for node in self.nodes.values() if node.name != NAVIGATOR)
        numbered = (f"{wanted}-{number}" for number in count(max(2, there + 1)))
        return next(name for name in numbered if name not in self.nodes)

    def recipe(self, address: str) -> Recipe:
        """Recipe of ``name`` or of the pinned ``name@key``.

        Raises
        ------
        NotFound
            No node of that name.
        Gone
            The node has another key by now, or none because it is failed.
        InvalidOperation, TooLarge
            The node is failed.
        """
        name, _, key = address.partition("@")
        if name not in self.nodes:
            raise NotFound(f"There is no node {name!r} in this tree.")
        found = self.resolve(self.nodes[name])
        if isinstance(found, SpydeError):
            if key:
                raise Gone(f"{name!r} has changed, and is failed now: {found}")
            raise found
        if key and key != found.key:
            raise Gone(
                f"{name!r} has changed: its key is {found.key} now, not {key}. Ask for {name!r} again."
            )
        return found

    def fitting(self, name: str, operation: Operation) -> Operation:
        """Return `operation` if the node `name` may have it instead of its own.

        Raises
        ------
        InvalidOperation
            It does not fit what the node is made from, or that is failed, or names what is made from the node.
        """
        above = self.parent_name(name) or ""
        if above not in self.nodes or (failure := self.failure(above)):
            why = failure if above in self.nodes else "it is not in this tree"
            raise InvalidOperation(
                f"{name!r} is made from {above!r}, which is failed; mend that first: {why}"
            )
        self.recipes[above].then(operation, inputs_of(self, operation, of=self.nodes[name]))
        return operation

    def check_free(self, name: str) -> None:
        """Refuse a name that no new node can have.

        Raises
        ------
        NameTaken, InvalidOperation
        """
        if name in OWN_NAMES:
            raise NameTaken(f"The name {name!r} is the tree's own; choose another.")
        check_name(name)
        if name in self.nodes:
            raise NameTaken(f"The name {name!r} is taken by another node; choose another.")

    @cached_property
    def _users(self) -> dict[str, list[str]]:
        """By id, the names of the nodes that are made from it."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for id_ in dict.fromkeys(node.made_from):
                found.setdefault(id_, []).append(node.name)
        return found

    def _still_right(
        self, node: Node, nodes: Mapping[str, Node], names: Mapping[str, str], known: Mapping[str, object]
    ) -> dict[str, Recipe]:
        """Return what is resolved of one of `nodes` and of all it is made from, if they are the same here.

        Nothing where parameters name nodes: resolving those again is cheap, and they may be others now.
        """
        chain: list[Node] = []
        while node.id not in known and node.parent and len(chain) <= MAX_STEPS:
            here = self.nodes.get(self._names.get(node.id, ""))
            if here is None or _step_of(here) != _step_of(node) or node.inputs or node.parent not in names:
                return {}
            chain.append(node)
            node = nodes[names[node.parent]]
        found: dict[str, Recipe] = {}
        for same in (node, *reversed(chain)):
            if not isinstance(recipe := self._resolved.get(same.id), Recipe):
                break
            found[same.id] = recipe
        return found

    def resolve(self, node: Node, depth: int = 0) -> Recipe | SpydeError:
        """Return a node's recipe, or why it is failed; `depth` steps below another one, for circles have no end."""
        found = self._resolved.get(node.id)
        if found is None:
            try:
                found = self._step(node, depth)
            except _Endless:
                if depth:  # one above may be all right, seen from itself
                    raise
                found = InvalidOperation(
                    f"{node.name!r} has more than {MAX_STEPS} steps, or is made from itself."
                )
            self._resolved[node.id] = found
        return found

    def _step(self, node: Node, depth: int) -> Recipe | SpydeError:
        if depth > MAX_STEPS:
            raise _Endless
        name = self._names.get(node.parent or "")
        if name is None:
            return InvalidOperation(f"The parent of {node.name!r} is not in this tree.")
        above = self.resolve(self.nodes[name], depth + 1)
        if isinstance(above, SpydeError):
            return InvalidOperation(f"{name!r}, which it is made from, is failed: {above}")
        try:
            operation = build(node.operation, json.loads(node.parameters))
            return above.then(operation, inputs_of(self, operation, depth=depth + 1))
        except SpydeError as error:
            return error
        except (TypeError, ValueError, RecursionError):
            return InvalidOperation("Its parameters are no JSON. Was the database changed by hand?")

    def _some_names(self) -> str:
        names = list(self.nodes)
        return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


class _Recipes(Mapping[str, Recipe]):
    """Recipes of the nodes that are not failed, resolved when asked for."""

    def __init__(self, tree: SignalTree) -> None:
        self._tree = tree

    def __getitem__(self, name: str) -> Recipe:
        if (error := self._tree.failure(name)) is not None:
            raise KeyError(name) from error
        return self._tree.recipe(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._tree.nodes if self._tree.failure(name) is None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _names_by_id(nodes: Mapping[str, Node]) -> dict[str, str]:
    return {node.id: name for name, node in nodes.items()}


def _step_of(node: Node) -> tuple[str | None, str, str]:
    return node.parent, node.operation, node.parameters


def _calibrated(root: Root, calibration: Operation | SpydeError | None) -> tuple[Recipe, str | None]:
    plain = Recipe(root)
    if calibration is None:
        return plain, None
    found = calibration if isinstance(calibration, SpydeError) else _attempt(plain, calibration)
    if isinstance(found, SpydeError):
        return plain, f"The calibration in the configuration does not fit this signal: {found}"
    return found, None


def _attempt(above: Recipe, operation: Operation) -> Recipe | SpydeError:
    try:
        return above.then(operation)
    except SpydeError as error:
        return error
