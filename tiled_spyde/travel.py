"""Recipes that travel: a tree, or one node and what it is made from, as a document.

It names nodes and operations, never ids, paths of a server or code.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tiled_spyde.errors import InvalidOperation, NotFound, SpydeError
from tiled_spyde.named import paths_of
from tiled_spyde.node import NAVIGATOR, ROOT
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.operations.base import Strict
from tiled_spyde.recipe import MAX_STEPS, package_versions
from tiled_spyde.tree import MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from tiled_spyde.node import Node
    from tiled_spyde.tree import SignalTree

FORMAT: Literal["tiled-spyde recipe"] = "tiled-spyde recipe"
OWN = (ROOT, NAVIGATOR)

_Text = Annotated[str, Field(max_length=10_000)]


class Origin(Strict):
    """Which signal the recipe was made for; for people, and for nobody to open."""

    file: _Text = Field(description="Its name, without folders")
    signal: _Text = Field(description="Name of the signal in it")
    shape: tuple[int, ...] = Field(description="In array order, as the file has it")
    dtype: _Text = Field(description="As numpy writes it")
    key: _Text = Field(description="Of the root: equal keys, equal bytes")


class Step(Strict):
    """One operation with every parameter."""

    operation: str = Field(max_length=200)
    version: int | None = Field(None, description="Of the operation, where the recipe is from")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description='Left out: its default. A node is {"node": "NAME"} in the same tree, else {"node": "/PATH"}',
    )


class NodeStep(Step):
    """A node: a step, and what it is applied to."""

    name: str = Field(max_length=1000)
    parent: str = Field(ROOT, max_length=1000, description="root, navigator or another node's name")
    description: _Text | None = None
    failure: _Text | None = Field(None, description="Why it could not be computed where the recipe is from")

    @property
    def made_from(self) -> tuple[str, ...]:
        """Names of the nodes of the same tree that it is made from."""
        return (self.parent, *(name for name in named(self.parameters) if not name.startswith("/")))


class LeftOut(Strict):
    """A node that is not there, and why."""

    name: _Text
    why: _Text


class Document(Strict):
    """A recipe as it travels."""

    format: Literal["tiled-spyde recipe"]
    version: Literal[1]
    source: Origin | None = None
    calibration: Step | None = Field(
        None, description="What a configuration put before everything; not made anywhere else"
    )
    nodes: tuple[NodeStep, ...] = Field(
        max_length=MAX_NODES - len(OWN), description="Parents before the others"
    )
    left: tuple[LeftOut, ...] = Field((), description="Nodes of the tree that no recipe can be written of")
    versions: dict[_Text, _Text] = Field({}, description="Of the packages that compute, where it is from")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [node.name for node in self.nodes]
        for name in names:
            if name in OWN:
                raise ValueError(f"nodes: no node can be called {name!r}; that is the tree's own")
        for name, times in Counter(names).items():
            if times > 1:
                raise ValueError(f"nodes: two are called {name[:40]!r}")
        known = {*names, *OWN}
        for node in self.nodes:
            for above in node.made_from:
                if above not in known:
                    raise ValueError(
                        f"nodes: {node.name[:40]!r} is made from {above[:40]!r}, which is not in the recipe"
                    )
        return self


def named(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the nodes that parameters name: by name in the same tree, or by path with a slash before it."""
    for value in parameters.values():
        if isinstance(value, dict) and value.keys() == {"node"} and isinstance(value["node"], str):
            yield value["node"]


def foreign(document: Document) -> set[str]:
    """Paths of the nodes of other trees that parameters name: who reads or makes it must be allowed to read them."""
    return {name for node in document.nodes for name in named(node.parameters) if name.startswith("/")}


def without(document: Document, refused: Collection[str]) -> Document:
    """Return a recipe without the nodes that name one of the paths `refused`, and those that are made from them."""
    lost: set[str] = set()
    for step in document.nodes:
        if lost.intersection(step.made_from) or not set(refused).isdisjoint(named(step.parameters)):
            lost.add(step.name)
    nodes = tuple(step for step in document.nodes if step.name not in lost)
    return document.model_copy(update={"nodes": nodes})


# From a tree to a document.


def document_of(tree: SignalTree, file: str, only: str | None = None) -> Document:
    """Return the recipe of a whole tree, or of one node and what it is made from.

    Parameters
    ----------
    tree : SignalTree
    file : str
        Name of its file, for people.
    only : str, optional
        Name of a node.

    Raises
    ------
    NotFound
        There is no such node.
    InvalidOperation
        No recipe can be written of it.
    """
    if only is not None and only not in tree.nodes:
        raise NotFound(f"There is no node {only!r} in this tree.")
    left: list[LeftOut] = []
    steps = [
        step for node in tree.nodes.values() if node.name not in OWN and (step := _step(tree, node, left))
    ]
    ordered, circles = in_order(steps)
    left += (LeftOut(name=step.name, why=_why(tree, step.name)) for step in circles)
    if only is not None:
        if lost := next((one for one in left if one.name == only), None):
            raise InvalidOperation(f"No recipe can be written of {only!r}: {lost.why}")
        wanted = _with_above(only, ordered)
        ordered, left = [step for step in ordered if step.name in wanted], []
    return Document(
        format=FORMAT,
        version=1,
        source=_origin(tree, file),
        calibration=calibration_of(tree),
        nodes=tuple(ordered),
        left=tuple(left),
        versions=package_versions(),
    )


def calibration_of(tree: SignalTree) -> Step | None:
    """Return what a configuration puts before everything in this tree."""
    operation = tree.recipe(ROOT).operation
    if operation is None:
        return None
    return Step(
        operation=operation.name, version=operation.version, parameters=operation.model_dump(mode="json")
    )


def in_order(steps: Iterable[NodeStep]) -> tuple[list[NodeStep], list[NodeStep]]:
    """Return steps so that what each is made from comes before it, and those for which there is no such order.

    What stands in such an order stays as it is. Of chains that are too long, the end has no order either.
    """
    ordered: list[NodeStep] = []
    waiting, there = list(steps), set(OWN)
    for _ in range(MAX_STEPS + 1):  # each round takes up at least one more step of every chain
        later = []
        for step in waiting:
            if there.issuperset(step.made_from):
                ordered.append(step)
                there.add(step.name)
            else:
                later.append(step)
        if len(later) == len(waiting):
            break
        waiting = later
    return ordered, waiting


def _origin(tree: SignalTree, file: str) -> Origin:
    info, key = tree.root.info, tree.recipe(ROOT).key
    return Origin(file=file, signal=tree.root.name, shape=info.shape, dtype=str(info.dtype), key=key)


def _step(tree: SignalTree, node: Node, left: list[LeftOut]) -> NodeStep | None:
    """Return the step of a node; what makes no sense, as after a change of the database by hand, is left out."""
    try:
        parameters = _by_name(tree, node)
        build(node.operation, parameters)
        return NodeStep(
            name=node.name,
            parent=tree.parent_name(node.name) or "",
            operation=node.operation,
            version=REGISTRY[node.operation].version,
            parameters=parameters,
            description=node.description,
            failure=_why(tree, node.name) if tree.failure(node.name) else None,
        )
    except (SpydeError, TypeError, ValueError, AttributeError, RecursionError):
        left.append(LeftOut(name=node.name, why=_why(tree, node.name)))
        return None


def _by_name(tree: SignalTree, node: Node) -> dict[str, Any]:
    """Return the parameters of a node as they travel: nodes by name, those of other trees by path."""
    here = f"/{'/'.join(tree.address)}/"
    named = {name: path.removeprefix(here) for name, path in paths_of(tree, node).items() if path}
    parameters: dict[str, Any] = json.loads(node.parameters)
    return parameters | {name: {"node": other} for name, other in named.items()}


def renamed(parameters: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return parameters with other names of the nodes that they name."""
    return {
        key: {"node": names.get(value["node"], value["node"])} if list(named({key: value})) else value
        for key, value in parameters.items()
    }


def _why(tree: SignalTree, name: str) -> str:
    return str(tree.failure(name) or "what it is made from has no recipe.")[:10_000]


def _with_above(name: str, ordered: list[NodeStep]) -> set[str]:
    """Return the names of a node and of all that it is made from."""
    wanted = {name}
    for step in reversed(ordered):
        if step.name in wanted:
            wanted.update(step.made_from)
    return wanted
