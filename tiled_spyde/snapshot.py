"""What is served at one moment: folders, files and their trees. Immutable, and replaced as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tiled_spyde.errors import SpydeError
from tiled_spyde.names import safe_name
from tiled_spyde.tree import Others, SignalTree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiled_spyde.node import Node
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.records import Remembered, StoredTree
    from tiled_spyde.sources import Root, Source

Address = tuple[str, ...]
Calibration = Callable[[Path, str], "Operation | None"]


@dataclass(frozen=True)
class Served:
    """A file or folder that is served.

    Parameters
    ----------
    path : pathlib.Path
        Absolute.
    name : tuple of str
        Where it stands in the tree; empty: the folder's content stands at the top.
    """

    path: Path
    name: Address = ()

    def holds(self, path: Path) -> bool:
        """Whether `path` lies here."""
        inside, here = str(path), str(self.path)
        return inside.startswith(here) and (inside == here or inside[len(here.rstrip("/"))] == "/")

    def address(self, path: Path) -> Address:
        """Where `path`, which lies here, is served."""
        below = tuple(map(safe_name, path.relative_to(self.path).parts))
        return (*self.name, *below) or (safe_name(path.name),)


class Place(NamedTuple):
    """Where a file is served.

    Parameters
    ----------
    address : tuple of str
    others : callable
        Gives a tree by its id, for parameters that are nodes of other trees.
    apart : bool
        Not everyone who may read the file may read the others.
    """

    address: Address = ()
    others: Others = lambda tree: None
    apart: bool = False


class SourceFile:
    """A file: what is remembered of it, and its trees, made when somebody looks at them.

    Parameters
    ----------
    remembered : Remembered
        From the index.
    stored : mapping of str to StoredTree
        What people made, by signal.
    calibration : callable
        ``(path, name of the signal)`` → what a configuration puts before everything.
    source : Source, optional
        What `remembered` says, where somebody has it already.
    place : Place, optional
    """

    def __init__(
        self,
        remembered: Remembered,
        stored: Mapping[str, StoredTree],
        calibration: Calibration,
        source: Source | None = None,
        place: Place | None = None,
    ) -> None:
        if source is not None:
            self.__dict__["source"] = source
        self.place = place or Place()
        self.remembered = remembered
        self.stored = stored
        self._calibration = calibration

    @property
    def error(self) -> str | None:
        """Why the file cannot be read; for people."""
        return self.remembered.error

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of its signals; nothing is parsed for it."""
        return self.remembered.signals

    def made(self, signal: str) -> tuple[Node, ...]:
        """Return what people made of a signal, as far as everyone who may read the file may know of it."""
        stored = self.stored.get(signal)
        if stored is None:
            return ()
        return stored.unmixed if self.place.apart else stored.nodes

    @cached_property
    def source(self) -> Source:
        """What is known of the file without opening it."""
        return self.remembered.source()

    @cached_property
    def trees(self) -> Mapping[str, SignalTree]:
        """The tree of each signal, by its name."""
        return {root.name: self._tree(root) for root in self.source.roots}

    def sharing(self, before: SourceFile) -> SourceFile:
        """Return this file, with what `before` has open and resolved where both are the same on disk."""
        if before.remembered != self.remembered or "source" not in before.__dict__:
            return self
        self.__dict__["source"] = before.source
        if "trees" in before.__dict__ and not self._names_others(before):
            self.__dict__["trees"] = {
                name: tree
                if self.stored.get(name) is before.stored.get(name)
                else tree.with_nodes(self.stored[name].nodes if name in self.stored else ())
                for name, tree in before.trees.items()
            }
        return self

    def with_tree(self, kept: Mapping[str, StoredTree], signal: str, tree: SignalTree) -> SourceFile:
        """Return the file with a tree that has grown; `kept` is what is written of all its trees now."""
        grown = SourceFile(self.remembered, kept, self._calibration, self.source, self.place)
        if not grown._names_others(self):
            grown.__dict__["trees"] = {**self.trees, signal: tree}
        return grown

    def _names_others(self, before: SourceFile) -> bool:
        """Whether something of other trees enters it, or did: then what is resolved may be old."""
        return any(tree.named for file in (self, before) for tree in file.stored.values())

    def _tree(self, root: Root) -> SignalTree:
        stored = self.stored.get(root.name)
        nodes = stored.nodes if stored else ()
        try:
            calibration: Operation | SpydeError | None = self._calibration(self.remembered.path, root.name)
        except SpydeError as error:
            calibration = error
        place = f"{self.remembered.path.as_uri()}#{root.name}"
        address = (*self.place.address, root.name)
        return SignalTree.of(root, calibration, nodes, place, address, self.place.others)


@dataclass(frozen=True, eq=False)
class Folder:
    """What a folder contains, by safe name, in the order of the names."""

    entries: Mapping[str, Folder | SourceFile] = field(default_factory=dict)


def changed(folder: Folder, changes: Iterable[tuple[Address, SourceFile | None]]) -> Folder:
    """Return `folder` with files put at addresses below it, or taken away (None); what is empty goes too."""
    entries = dict(folder.entries)
    below: dict[str, list[tuple[Address, SourceFile | None]]] = {}
    for (first, *rest), file in changes:
        if rest:
            below.setdefault(first, []).append((tuple(rest), file))
        elif file is not None:
            entries[first] = file
        elif isinstance(entries.get(first), SourceFile):
            del entries[first]
    for name, deeper in below.items():
        held = entries.get(name)
        inner = changed(held if isinstance(held, Folder) else Folder(), deeper)
        if inner.entries:
            entries[name] = inner
        elif isinstance(held, Folder):
            del entries[name]
    same_names = entries.keys() == folder.entries.keys()
    return Folder(entries if same_names else dict(sorted(entries.items())))


class Known(Mapping[Path, "Source"]):
    """Sources by path, each parsed when it is asked for; who asks shares what the file has then."""

    def __init__(self, files: Mapping[Path, SourceFile]) -> None:
        self._files = dict(files)

    def __getitem__(self, path: Path) -> Source:
        return self._files[path].source

    def __iter__(self) -> Iterator[Path]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
