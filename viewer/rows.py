"""What the list of files shows: entries, trees and nodes → rows. Pure: no Qt."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from viewer.nodes import NAVIGATOR, Sort
from viewer.readout import shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from viewer.nodes import Entry, Node, Tree

    Path = tuple[str, ...]

STATES = {
    "stored": "stored: read as it is",
    "lazy": "computed where you look",
    "computing": "being computed",
    "failed": "failed",
}
CANCELLED = "cancelled"
# Marks in front of a name: the colour's name in the theme, and whether it is full or a ring.
GOOD, RING, BUSY, BAD, BAD_RING = (
    ("good", True),
    ("good", False),
    ("busy", True),
    ("bad", True),
    ("bad", False),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list.

    Parameters
    ----------
    path : tuple of str
        What the line is about; `also` are others it stands for (a file with one signal is its root node).
    text, detail, tip : str
        Name, what stands at the right, and what the mouse hovering over it tells.
    mark : tuple or None
        Colour and fill of the dot in front.
    node : tuple of str or None
        The node a click shows; None for a file that has not been looked into, and for a folder.
    bold, faint : bool
        A signal, or something that cannot be shown.
    children : tuple of Row
        Lines below it.
    """

    path: Path
    text: str
    detail: str = ""
    tip: str = ""
    mark: tuple[str, bool] | None = None
    node: Path | None = None
    tree: Path | None = None
    also: tuple[Path, ...] = ()
    bold: bool = False
    faint: bool = False
    folder: bool = False
    changeable: bool = False
    children: tuple[Row, ...] = ()


def row_of(entry: Entry, trees: Sequence[Tree] | None) -> Row:
    """Row of an entry; `trees` are None where nobody has looked into it yet."""
    name = entry.path[-1]
    if entry.sort is Sort.FOLDER:
        return Row(entry.path, name, folder=True, tip="/".join(entry.path))
    error = entry.error or next((tree.error for tree in trees or () if tree.error), None)
    if error is not None:
        return Row(entry.path, name, "unreadable", error, BAD_RING, faint=True)
    if trees is None:
        return Row(entry.path, name, bold=True, tip="/".join(entry.path))
    if len(trees) == 1:
        return _signal_row(trees[0], entry.path)
    signals = tuple(_signal_row(tree, tree.path) for tree in trees)
    detail = "" if trees else "no signal"
    return Row(entry.path, name, detail, "/".join(entry.path), bold=True, children=signals)


def _signal_row(tree: Tree, path: Path) -> Row:
    """One signal: its row is its root node."""
    root = tree.root
    name = root.name if root else None
    known = {node.name for node in tree.nodes}
    below: dict[str | None, list[Node]] = {}
    for node in tree.nodes:
        if node is not root:
            listed_under = node.parent in known and node.parent != node.name
            below.setdefault(node.parent if listed_under else name, []).append(node)
    children = _node_rows(below, name)
    if root is None:
        return Row(path, path[-1], "empty", "/".join(tree.path), tree=tree.path, also=(tree.path,), bold=True)
    row = _node_row(root, children)
    return Row(path, row.text, row.detail, row.tip, row.mark, root.path, tree.path, (tree.path, root.path), True,
               children=children)  # fmt: skip


def _node_rows(below: dict[str | None, list[Node]], parent: str | None) -> tuple[Row, ...]:
    """Rows of what was made from `parent`, and from that in turn."""
    return tuple(_node_row(node, _node_rows(below, node.name)) for node in below.pop(parent, []))


def _node_row(node: Node, children: tuple[Row, ...]) -> Row:
    failed = node.error is not None
    detail = "failed" if failed else CANCELLED if node.cancelled else _done(node) or shape_text(node)
    return Row(node.path, node.called, detail, description(node), _mark(node), node.path, node.tree,
               faint=failed, changeable=node.parent is not None and node.name != NAVIGATOR,
               children=children)  # fmt: skip


def _done(node: Node) -> str:
    """How far a node is that is being computed."""
    if node.state != "computing" or node.progress is None:
        return ""
    done, of = node.progress
    return f"{100 * done // of} %"


def _mark(node: Node) -> tuple[str, bool]:
    """Full green: read as stored; green ring: computed where you look; orange, red: as they say."""
    if node.error is not None or node.state == "failed":
        return BAD
    if node.state == "computing":
        return BUSY
    return GOOD if node.state == "stored" or not node.operations else RING


def description(node: Node) -> str:
    """Tooltip: what it was made by, and what it is."""
    steps = [
        f"{name}({', '.join(f'{key} = {value}' for key, value in json.loads(parameters).items())})"
        for name, parameters in zip(node.operations, node.parameters, strict=True)
    ]
    shape = " × ".join(f"{axis.name} {axis.size}" for axis in node.axes)
    array = f"{shape} {node.dtype.name}" if shape else ""
    state = CANCELLED if node.cancelled else STATES.get(node.state, node.state)
    lines = ["/".join(node.path), node.title, array, *steps, state, node.error]
    return "\n".join(line for line in lines if line)


def reading_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key as people count: ``scan_2`` before ``scan_10``."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def matching(text: str, paths: Iterable[Path], found: frozenset[Path] = frozenset()) -> set[Path]:
    """Paths that a person looks for, with the folders above them.

    Parameters
    ----------
    text : str
        Every word of it stands somewhere in the path, whatever its case.
    paths : iterable of tuple of str
        All there are.
    found : frozenset of tuple of str
        What the service found for the same text, in titles and types.
    """
    words = text.casefold().split()
    matches: set[Path] = set()
    for path in paths:
        name = "/".join(path).casefold()
        if path in found or all(word in name for word in words):
            matches.update(path[:length] for length in range(1, len(path) + 1))
    return matches
