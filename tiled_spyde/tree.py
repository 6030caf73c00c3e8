"""A SignalTree: one root, the nodes people make from it, and the navigator they point into.

A tree is an immutable snapshot. Adding a node gives a new one, so a reader never sees half a change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tiled_spyde.errors import Gone, InvalidOperation, NameTaken, NotFound
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiled_spyde.operations.base import Operation
    from tiled_spyde.sources import Root

ROOT = "root"
NAVIGATOR = "navigator"

MAX_NAME = 100
MAX_NODES = 10_000
# No separator of paths, keys or queries, nothing unprintable, and no leading dot.
_NAME = re.compile(r"(?!\.)[^\W_](?:[\w .,()+=-]*[\w)+])?", re.UNICODE)


@dataclass(frozen=True)
class Node:
    """What people make: a name, and an operation on a parent; the root has neither parent nor operation."""

    id: str
    name: str
    parent: str | None = None
    operation: Operation | None = None


@dataclass(frozen=True)
class SignalTree:
    """One root and its nodes.

    Parameters
    ----------
    root : Root
        The signal in a file.
    nodes : mapping of str to Node
        By name, parents before children.
    recipes : mapping of str to Recipe
        By name: every node resolved.
    """

    root: Root
    nodes: Mapping[str, Node]
    recipes: Mapping[str, Recipe]

    @classmethod
    def of(cls, root: Root) -> SignalTree:
        """Return the tree every signal starts with: its root, and a navigator where there is a scan."""
        tree = cls(root, {ROOT: Node("root", ROOT)}, {ROOT: Recipe(root)})
        if root.info.navigation_axes and root.info.signal_axes:
            return tree.with_node(NAVIGATOR, ROOT, build("sum", {}))
        return tree

    def with_node(self, name: str, parent: str, operation: Operation) -> SignalTree:
        """Return the tree with one node more.

        Raises
        ------
        NotFound
            There is no such parent.
        NameTaken
            Another node has this name.
        InvalidOperation
            The name is not usable, the operation does not fit its parent, or the tree is full.
        """
        if parent not in self.nodes:
            raise NotFound(f"There is no node {parent!r} in this tree; there are: {self._some_names()}.")
        if name in self.nodes:
            raise NameTaken(f"The name {name!r} is taken by another node; choose another.")
        check_name(name)
        if len(self.nodes) >= MAX_NODES:
            raise InvalidOperation(f"A tree has at most {MAX_NODES} nodes; delete some first.")
        recipe = self.recipes[parent].then(operation)
        node = Node(uuid4().hex, name, parent, operation)
        return replace(self, nodes={**self.nodes, name: node}, recipes={**self.recipes, name: recipe})

    def find(self, parent: str, operation: Operation, name: str | None) -> Node | None:
        """Node that is this very step already, under `name` where one is given."""
        wanted = [name] if name else [known for known in self.nodes if known != NAVIGATOR]
        nodes = (self.nodes[known] for known in wanted if known in self.nodes)
        return next((node for node in nodes if node.parent == parent and node.operation == operation), None)

    def free_name(self, wanted: str) -> str:
        """Return `wanted`, with a number behind it where it is taken."""
        numbered = (f"{wanted}-{number}" for number in range(2, MAX_NODES + 2))
        return wanted if wanted not in self.nodes else next(n for n in numbered if n not in self.nodes)

    def recipe(self, address: str) -> Recipe:
        """Recipe of ``name`` or of the pinned ``name@key``.

        Raises
        ------
        NotFound
            No node of that name.
        Gone
            The node has another key by now.
        """
        name, _, key = address.partition("@")
        if name not in self.recipes:
            raise NotFound(f"There is no node {name!r} in this tree.")
        recipe = self.recipes[name]
        if key and key != recipe.key:
            raise Gone(
                f"{name!r} has changed: its key is {recipe.key} now, not {key}. Ask for {name!r} again."
            )
        return recipe

    def _some_names(self) -> str:
        names = list(self.nodes)
        return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def check_name(name: Any) -> None:
    """Refuse a name that cannot stand in a URL or on a screen.

    Raises
    ------
    InvalidOperation
        Says what a name may consist of.
    """
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidOperation(
            f"name: {str(name)[:40]!r} is not usable. A name has 1 to {MAX_NAME} letters, digits, spaces or "
            "any of . , ( ) + = - _, and starts with a letter or digit."
        )
