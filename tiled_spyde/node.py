"""What people make: a node as it is written down, and what it may be called."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import InvalidOperation, TooLarge
from tiled_spyde.named import named_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiled_spyde.operations.base import Operation

ROOT = "root"
NAVIGATOR = "navigator"
# What a chain that nobody keeps is called, together with its key: see `tiled_spyde.previews`.
PREVIEW = "preview"
OWN_NAMES = frozenset({ROOT, NAVIGATOR, PREVIEW})

MAX_NAME = 100
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
        What it does: a registered name, and every parameter as JSON with sorted keys. One that is a node names it by
        its id: ``#node``, or ``#tree/node`` for a node of another tree.
    created, created_by : str or None
        When (UTC, ISO 8601) and by whom it was made.
    description : str or None
        What people say of it.
    made, version : int
        Numbers of the changes that made it, and that changed it last; 0 where nobody did.
    """

    id: str
    name: str
    parent: str | None = None
    operation: str = ""
    parameters: str = "{}"
    created: str | None = None
    created_by: str | None = None
    description: str | None = None
    made: int = 0
    version: int = 0

    @property
    def inputs(self) -> Mapping[str, str]:
        """Nodes that its parameters name, by parameter."""
        return named_in(self.parameters)

    @property
    def made_from(self) -> tuple[str, ...]:
        """Ids of the nodes of the same tree that it is made from: its parent, and what its parameters name."""
        inside = (ref[1:] for ref in self.inputs.values() if "/" not in ref)
        return (*filter(None, (self.parent,)), *inside)

    def values(self) -> dict[str, Any] | None:
        """Return every parameter by name; None where somebody has written something else into the database."""
        try:
            found = json.loads(self.parameters, parse_constant=_refuse)
        except (TypeError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


def by_name(own: Iterable[Node], made: Iterable[Node]) -> dict[str, Node]:
    """Return a tree's own nodes and those that people made, each under a name that can be addressed."""
    held = {node.name: node for node in own}
    for node in made:
        shown = _addressable(node, held)
        held[shown.name] = shown
    return held


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


def now() -> str:
    """UTC, as ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def is_preview(path: str) -> bool:
    """Whether a path is the pinned address of what nobody keeps."""
    return path.rpartition("/")[2].startswith(f"{PREVIEW}@")


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


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _addressable(node: Node, taken: Mapping[str, Node]) -> Node:
    """Return `node` under a name and an id that can be addressed, whatever was written into the database."""
    name = node.name
    if node.id in OWN_NAMES:
        node = replace(node, id=f"?{node.id}")
    if name not in OWN_NAMES and name not in taken and isinstance(name, str) and is_name(name):
        return node
    return replace(node, name=f"node-{blake2b(str(node.id).encode(), digest_size=4).hexdigest()}")
