"""Trees that a configuration prepares: their schema, and the order in which their nodes can be made."""

from __future__ import annotations

import logging
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from pydantic import Field, TypeAdapter, ValidationError

from tiled_spyde.errors import Gone, InvalidOperation, SpydeError, StorageFull, Unavailable
from tiled_spyde.node import ROOT, as_text, check_name
from tiled_spyde.operations import build
from tiled_spyde.operations.base import Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Address = tuple[str, ...]

logger = logging.getLogger(__name__)

# Who has made the nodes that a configuration names.
BY = "configuration"


class PreparedNode(Strict):
    """One node to make."""

    operation: str = Field(max_length=200, description="Name of a registered operation")
    parameters: dict[str, Any] = Field(default_factory=dict)
    parent: str = Field(ROOT, max_length=200, description="Name of the node it is made from")
    name: str | None = Field(None, max_length=200, description="After the operation when left out")


_NODES: TypeAdapter[tuple[PreparedNode, ...]] = TypeAdapter(tuple[PreparedNode, ...])


class Prepared:
    """What a configuration asks for, made as soon as its file is known.

    Parameters
    ----------
    has : callable
        Whether there is a tree at an address.
    add_node : callable
        `Catalog.add_node`.
    """

    def __init__(self, has: Callable[[Address], bool], add_node: Callable[..., Any]) -> None:
        self._has, self._add_node = has, add_node
        self._wanted: dict[Address, tuple[PreparedNode, ...]] = {}
        # Trees whose nodes are still to be made.
        self._due: set[Address] = set()

    def ask(self, trees: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Have nodes made; as `checked`, which says what is wrong with them."""
        wanted = checked(trees)
        self._wanted |= wanted
        self._due |= wanted.keys()

    def make(self, appeared: set[Address]) -> None:
        """Make what is due where there is a file by now; also in files that `appeared`, which is emptied."""
        self._due |= {address for address in self._wanted if address[:-1] in appeared}
        appeared.clear()
        for address in sorted(filter(self._has, self._due)):
            try:
                for wanted in self._wanted[address]:
                    make(self._add_node, address, wanted)
            except (Unavailable, StorageFull) as error:
                logger.warning("Prepared nodes of %s are made later: %s", "/".join(address), error)
                return
            self._due.discard(address)


def checked(
    trees: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[tuple[str, ...], tuple[PreparedNode, ...]]:
    """Return the nodes to make by the address of their tree, parents before what is made from them.

    Parameters
    ----------
    trees : mapping
        By ``folder/file/signal``; a node has the fields of `PreparedNode`.

    Raises
    ------
    InvalidOperation
        Names the tree and the node that cannot be meant so.
    """
    return {
        tuple(str(at).strip("/").split("/")): _checked_nodes(str(at), nodes) for at, nodes in trees.items()
    }


def make(add_node: Callable[..., Any], address: tuple[str, ...], wanted: PreparedNode) -> None:
    """Make a node with `Catalog.add_node`, or say why that cannot be; one that people have deleted is not made again.

    Raises
    ------
    Unavailable, StorageFull
        It can be made later.
    """
    once = wanted.name or wanted.model_dump_json()
    try:
        add_node(address, **wanted.model_dump(), by=BY, once=once)
    except (Unavailable, StorageFull):
        raise
    except Gone:
        logger.debug("A prepared node of %s was changed or deleted, and is left so.", "/".join(address))
    except SpydeError as error:
        logger.warning("A prepared node of %s is not made: %s", "/".join(address), error)


def _checked_nodes(address: str, nodes: Any) -> tuple[PreparedNode, ...]:
    try:
        described = _NODES.validate_python(nodes, strict=False)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "nodes"
        raise InvalidOperation(
            f"{address}: {where}: {problem['msg']}. Each node has an operation and, if needed, parameters, "
            "parent and name."
        ) from None
    for number, node in enumerate(described):
        _check(f"{address}: node {node.name or number}", node)
    return tuple(_in_order(address, described))


def _check(which: str, node: PreparedNode) -> None:
    try:
        as_text(build(node.operation, node.parameters))
        if node.name is not None:
            check_name(node.name)
    except SpydeError as error:
        raise type(error)(f"{which}: {error}") from None


def _in_order(address: str, nodes: tuple[PreparedNode, ...]) -> list[PreparedNode]:
    numbers = {node.name: number for number, node in enumerate(nodes) if node.name is not None}
    order = {number: [numbers[n.parent]] if n.parent in numbers else [] for number, n in enumerate(nodes)}
    try:
        return [nodes[number] for number in TopologicalSorter(order).static_order()]
    except CycleError as error:
        circle = " ← ".join(str(nodes[number].name) for number in error.args[1])
        raise InvalidOperation(f"{address}: nodes are made from each other in a circle: {circle}.") from None
