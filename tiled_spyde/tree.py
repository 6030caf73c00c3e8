"""A SignalTree: one root, the nodes people make from it, and the navigator they point into.

A tree is an immutable snapshot. Adding a node gives a new one, so a reader never sees half a change. A node is
resolved to its recipe when somebody looks at it; one that cannot be is failed, and says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tiled_spyde.errors import Gone, InvalidOperation, NameTaken, NotFound, SpydeError, TooLarge
from tiled_spyde.operations import build
from tiled_spyde.recipe import MAX_STEPS, Recipe

if TYPE_CHECKING:
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.sources import Root

ROOT = "root"
NAVIGATOR = "navigator"

MAX_NAME = 100
MAX_NODES = 10_000
MAX_PARAMETERS = 2**18
# No separator of paths, keys or queries, nothing unprintable, and no leading dot.
_NAME = re.compile(r"(?!\.)[^\W_](?:[\w .,()+=-]*[\w)+])?", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Node:
    """What people make: a name, and an operation on a parent; the root has neither parent nor operation.

    Parameters
    ----------
    id : str
        Stays when the node gets another name; a parent is known by it.
    name : str
        Unique in its tree.
    parent : str or None
        The id of the node it is made from.
    operation, parameters : str
        What it does: a registered name, and every parameter as JSON with sorted keys.
    created, created_by : str or None
        When (UTC, ISO 8601) and by whom it was made.
    """

    id: str
    name: str
    parent: str | None = None
    operation: str = ""
    parameters: str = "{}"
    created: str | None = None
    created_by: str | None = None


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
    """

    root: Root
    nodes: Mapping[str, Node]
    calibration_error: str | None = None
    # By id. A tree and those that grow from it share what is resolved: their nodes differ in nothing else.
    _resolved: dict[str, Recipe | SpydeError] = field(default_factory=dict, repr=False)
    _names: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, root: Root, calibration: Operation | SpydeError | None = None, nodes: tuple[Node, ...] = ()
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
        by_name = {node.name: node for node in held}
        for node in nodes:
            shown = _addressable(node, by_name)
            by_name[shown.name] = shown
        return cls(root, by_name, error, resolved, {node.id: node.name for node in by_name.values()})

    @property
    def recipes(self) -> Mapping[str, Recipe]:
        """Every node that is not failed, resolved; by name."""
        return _Recipes(self)

    def failure(self, name: str) -> SpydeError | None:
        """Why the node `name` is failed: its operation does not fit what its parent is now, or none knows it."""
        found = self._resolve(self.nodes[name])
        return found if isinstance(found, SpydeError) else None

    def parent_name(self, name: str) -> str | None:
        """Name of the parent; its id where there is no such node."""
        parent = self.nodes[name].parent
        return self._names.get(parent, parent) if parent else None

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
        self._check_new(name)
        if failure := self.failure(parent):
            raise InvalidOperation(f"{parent!r} is failed, so nothing can be made from it: {failure}")
        above = self.nodes[parent].id
        made = datetime.now(UTC).isoformat(timespec="milliseconds")
        node = Node(uuid4().hex, name, above, operation.name, as_text(operation), made, by)
        self._resolved[node.id] = self.recipes[parent].then(operation)
        held, names = {**self.nodes, name: node}, {**self._names, node.id: name}
        return replace(self, nodes=held, _names=names), node

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
        found = self._resolve(self.nodes[name])
        if isinstance(found, SpydeError):
            if key:
                raise Gone(f"{name!r} has changed, and is failed now: {found}")
            raise found
        if key and key != found.key:
            raise Gone(
                f"{name!r} has changed: its key is {found.key} now, not {key}. Ask for {name!r} again."
            )
        return found

    def _check_new(self, name: str) -> None:
        if name in (ROOT, NAVIGATOR):
            raise NameTaken(f"The name {name!r} is the tree's own; choose another.")
        check_name(name)
        if name in self.nodes:
            raise NameTaken(f"The name {name!r} is taken by another node; choose another.")
        if len(self.nodes) >= MAX_NODES:
            raise InvalidOperation(f"A tree has at most {MAX_NODES} nodes; delete some first.")

    def _resolve(self, node: Node) -> Recipe | SpydeError:
        """Climb to what is resolved already, and come down again; a cycle is a climb that does not end."""
        chain: list[Node] = []
        while node.id not in self._resolved:
            chain.append(node)
            name = self._names.get(node.parent or "")
            if name is None:
                self._resolved[node.id] = InvalidOperation(
                    f"The parent of {node.name!r} is not in this tree."
                )
            elif len(chain) > MAX_STEPS:
                self._resolved[node.id] = InvalidOperation(
                    f"{node.name!r} has more than {MAX_STEPS} steps, or is made from itself."
                )
            else:
                node = self.nodes[name]
        for below in reversed(chain):
            if below.id not in self._resolved:
                self._resolved[below.id] = self._step(below)
        return self._resolved[chain[0].id if chain else node.id]

    def _step(self, node: Node) -> Recipe | SpydeError:
        above = self._resolved[node.parent or ""]
        if isinstance(above, SpydeError):
            return InvalidOperation(
                f"{self.parent_name(node.name)!r}, which it is made from, is failed: {above}"
            )
        try:
            return _attempt(above, build(node.operation, json.loads(node.parameters)))
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


def as_text(operation: Operation) -> str:
    """Return every parameter of `operation` as JSON with sorted keys: equal steps, equal texts.

    Raises
    ------
    TooLarge
        It has more than `MAX_PARAMETERS` characters.
    """
    text = json.dumps(operation.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    if len(text) > MAX_PARAMETERS:
        raise TooLarge(
            f"{operation.name}: the parameters have {len(text)} characters; a node keeps at most "
            f"{MAX_PARAMETERS}. Use fewer or coarser ones."
        )
    return text


def is_name(name: str) -> bool:
    """Whether a node may be called so."""
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


def check_name(name: Any) -> None:
    """Refuse a name that cannot stand in a URL or on a screen.

    Raises
    ------
    InvalidOperation
        Says what a name may consist of.
    """
    if not isinstance(name, str) or not is_name(name):
        raise InvalidOperation(
            f"name: {str(name)[:40]!r} is not usable. A name has 1 to {MAX_NAME} letters, digits, spaces or "
            "any of . , ( ) + = - _, and starts with a letter or digit."
        )


def _addressable(node: Node, taken: Mapping[str, Node]) -> Node:
    """Return `node` under a name and an id that can be addressed, whatever was written into the database."""
    name, own = node.name, {ROOT, NAVIGATOR}
    if node.id in own:
        node = replace(node, id=f"?{node.id}")
    if name not in own and name not in taken and isinstance(name, str) and is_name(name):
        return node
    return replace(node, name=f"node-{blake2b(str(node.id).encode(), digest_size=4).hexdigest()}")


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
