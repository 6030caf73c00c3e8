"""The trees a server serves, as snapshots in memory.

Readers take the current snapshot without waiting; a change replaces it whole.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import NotFound
from tiled_spyde.operations import build
from tiled_spyde.tree import SignalTree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiled_spyde.sources import Root
    from tiled_spyde.tree import Node


@dataclass(frozen=True)
class SourceFile:
    """A file and the trees of its signals, or the reason why there are none."""

    trees: Mapping[str, SignalTree] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Folder:
    """What a folder contains, by safe name."""

    entries: Mapping[str, Folder | SourceFile] = field(default_factory=dict)


class Catalog:
    """All files, by their path below the served folders."""

    def __init__(self) -> None:
        self.top = Folder()
        self._folders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._lock = Lock()

    def add_file(
        self, path: tuple[str, ...], roots: tuple[Root, ...], error: str | None = None
    ) -> tuple[str, ...]:
        """Add a file with the trees its signals start with.

        Parameters
        ----------
        path : tuple of str
            Names of the folders and of the file; made safe and unique here.
        roots : tuple of Root
            The file's signals; empty when it cannot be read.
        error : str or None
            Why it cannot be read.

        Returns
        -------
        tuple of str
            Where it is served.
        """
        file = SourceFile({root.name: SignalTree.of(root) for root in roots}, error)
        with self._lock:
            folder = self._folder_for(path[:-1])
            held = self._entry(folder)
            taken = held.entries if isinstance(held, Folder) else {}
            address = (*folder, free_name(safe_name(path[-1]), taken))
            self.top = _with_entry(self.top, address, file)
        return address

    def tree(self, path: tuple[str, ...]) -> SignalTree:
        """Tree at ``(folders…, file, signal)``.

        Raises
        ------
        NotFound
            There is no tree there.
        """
        entry = self._entry(path[:-1])
        if not path or not isinstance(entry, SourceFile) or path[-1] not in entry.trees:
            raise NotFound(f"There is no tree at {'/'.join(path)!r}.")
        return entry.trees[path[-1]]

    def add_node(
        self,
        path: tuple[str, ...],
        *,
        parent: str,
        operation: str,
        parameters: Mapping[str, Any],
        name: str | None = None,
    ) -> tuple[Node, bool]:
        """Make a node in the tree at `path`, or find the one that is the same already.

        Returns
        -------
        node : Node
        made : bool
            False where it was there.

        Raises
        ------
        NotFound
            No such tree or parent.
        InvalidOperation
            The operation is unknown, does not fit, or its parameters are out of bounds.
        NameTaken
            Another node has this name.
        """
        step = build(operation, parameters)
        with self._lock:
            tree = self.tree(path)
            if parent in tree.nodes and (same := tree.find(parent, step, name)):
                return same, False
            grown = tree.with_node(name or tree.free_name(operation), parent, step)
            self._replace(path, grown)
        made = next(node for node in grown.nodes.values() if node.name not in tree.nodes)
        return made, True

    def _replace(self, path: tuple[str, ...], tree: SignalTree) -> None:
        entry = self._entry(path[:-1])
        trees = {**entry.trees, path[-1]: tree} if isinstance(entry, SourceFile) else {path[-1]: tree}
        self.top = _with_entry(self.top, path[:-1], SourceFile(trees))

    def _entry(self, path: tuple[str, ...]) -> Folder | SourceFile | None:
        entry: Folder | SourceFile | None = self.top
        for name in path:
            entry = entry.entries.get(name) if isinstance(entry, Folder) else None
        return entry

    def _folder_for(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Where the folder `path` is served: under safe names that no file and no other folder has."""
        if not path:
            return ()
        if path not in self._folders:
            above = self._folder_for(path[:-1])
            held = self._entry(above)
            taken = held.entries if isinstance(held, Folder) else {}
            self._folders[path] = (*above, free_name(safe_name(path[-1]), taken))
        return self._folders[path]


def safe_name(name: str) -> str:
    """Return `name` with everything that could be a separator or unprintable replaced by ``_``."""
    cleaned = re.sub(r"[^\w .,()+=-]", "_", unicodedata.normalize("NFC", name)).strip(" .")
    return cleaned[:150] or "unnamed"


def free_name(wanted: str, taken: Mapping[str, Any]) -> str:
    """Return `wanted`, with a number behind it where it is taken."""
    if wanted not in taken:
        return wanted
    return next(n for n in (f"{wanted}-{number}" for number in range(2, len(taken) + 3)) if n not in taken)


def _with_entry(folder: Folder, path: tuple[str, ...], entry: SourceFile) -> Folder:
    first, rest = path[0], path[1:]
    if not rest:
        return Folder({**folder.entries, first: entry})
    below = folder.entries.get(first)
    return Folder(
        {**folder.entries, first: _with_entry(below if isinstance(below, Folder) else Folder(), rest, entry)}
    )
