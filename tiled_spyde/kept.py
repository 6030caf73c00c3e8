"""What people made of each file, in memory: also of files that are gone, or not served this time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.named import named_in
from tiled_spyde.node import NAVIGATOR, ROOT, Node, by_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Set
    from pathlib import Path

    from tiled_spyde.records import StoredTree
    from tiled_spyde.snapshot import Address, SourceFile
    from tiled_spyde.tree import Others, SignalTree


class MissingTree:
    """A tree whose file is gone, or has its signal no more: what is made from its nodes is failed, and says so.

    Parameters
    ----------
    stored : StoredTree
    address : tuple of str
        Where it was served.
    others : callable
        As of `SignalTree`.
    """

    def __init__(self, stored: StoredTree, address: Address, others: Others) -> None:
        self.address = address
        self.nodes = by_name([Node(ROOT, ROOT), Node(NAVIGATOR, NAVIGATOR, ROOT)], stored.nodes)
        self.others = others
        self._by_id = {node.id: node for node in self.nodes.values()}
        self._gone = InvalidOperation(
            f"{stored.path.name!r} is not there any more, or has no {stored.signal!r}. Put it back, or name "
            "another node."
        )

    def by_id(self, id_: str) -> Node | None:
        """Node that has this id."""
        return self._by_id.get(id_)

    def resolve(self, node: Node, depth: int = 0) -> InvalidOperation:
        """Return why no node of it can be read."""
        return self._gone


class KeptTrees(Mapping["Path", "Mapping[str, StoredTree]"]):
    """Trees by file and signal, and which of them are made from which others."""

    def __init__(self) -> None:
        self._by_path: dict[Path, dict[str, StoredTree]] = {}
        # By id; and by file, the ids of other trees that parameters name.
        self._places: dict[str, tuple[Path, str]] = {}
        self._named: dict[Path, frozenset[str]] = {}

    def __getitem__(self, path: Path) -> Mapping[str, StoredTree]:
        return self._by_path[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._by_path)

    def __len__(self) -> int:
        return len(self._by_path)

    def keep(self, trees: Iterable[StoredTree]) -> set[Path]:
        """Put trees in the place of what was known of them; returns the files that they are and were of."""
        ids = {tree.id: tree for tree in trees}
        before = {self._places[id_] for id_ in ids if id_ in self._places}
        for path, signal in before:
            self._by_path[path] = {name: of for name, of in self._by_path[path].items() if name != signal}
        for id_, tree in ids.items():
            self._by_path[tree.path] = {**self._by_path.get(tree.path, {}), tree.signal: tree}
            self._places[id_] = (tree.path, tree.signal)
        touched = {path for path, _ in before} | {tree.path for tree in ids.values()}
        for path in touched:
            named = frozenset[str]().union(*(tree.named for tree in self._by_path[path].values()))
            self._named.pop(path, None)
            if named:
                self._named[path] = named
            if not self._by_path[path]:
                del self._by_path[path]
        return touched

    def clear(self) -> None:
        """Forget all."""
        self._by_path, self._places, self._named = {}, {}, {}

    def tree(self, files: Mapping[Path, SourceFile], id_: str) -> SignalTree | None:
        """Return the tree with an id, where its file is among `files` and has its signal."""
        path, signal = self._places.get(id_, (None, ""))
        file = files.get(path) if path else None
        return file.trees.get(signal) if file else None

    def written(self, id_: str) -> StoredTree | None:
        """Return what is written of the tree with an id."""
        path, signal = self._places.get(id_, (None, ""))
        return self._by_path[path][signal] if path else None

    def naming(self, tree: str, node: str) -> list[tuple[Path, str, str]]:
        """Return the nodes of other trees with a parameter that names a node, by ids: file, signal and name of each."""
        ref = f"#{tree}/{node}"
        return [
            (path, signal, user.name)
            for path, named in self._named.items()
            if tree in named
            for signal, kept in self._by_path[path].items()
            for user in kept.nodes
            if ref in named_in(user.parameters).values()
        ]

    def users_of(self, paths: Set[Path]) -> set[Path]:
        """Return the other files with nodes that are made from nodes of these files', directly or not."""
        found, new = set(paths), set(paths) if self._named else set()
        while new:
            ids = {tree.id for path in new for tree in self._by_path.get(path, {}).values()}
            new = {path for path, named in self._named.items() if named & ids} - found
            found |= new
        return found - paths
