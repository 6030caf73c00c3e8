"""What a process knows of the database: files and trees, from which the snapshot that is served is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiled_spyde import records
from tiled_spyde.errors import NotFound
from tiled_spyde.kept import KeptTrees, MissingTree
from tiled_spyde.snapshot import Folder, Place, SourceFile, changed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from tiled_spyde.records import Remembered, StoredTree
    from tiled_spyde.snapshot import Address, Calibration, Served
    from tiled_spyde.sources import Source
    from tiled_spyde.tree import SignalTree


_NOWHERE = ("(not served)",)


class Memory:
    """Files and trees as they were when the database was looked at last.

    Parameters
    ----------
    served : sequence of Served
        What is served; of a path that lies in several, the innermost counts.
    calibration : callable
        ``(path, name of the signal)`` → the operation that a configuration puts before everything, or None.
    apart : bool
        Not everyone may read all served folders.

    Attributes
    ----------
    top : Folder
        What is served: replaced as a whole, so readers take it without waiting.
    files : dict
        By absolute path, what is served.
    stored : KeptTrees
        Trees that have nodes, by file and signal: also of files that are gone, or not served this time.
    seen : tuple
        Which database it was, and the number of the last change taken over.
    appeared : set of Address
        Files that are new, or hold something else; emptied by whoever looks.
    """

    def __init__(self, served: Sequence[Served], calibration: Calibration, *, apart: bool = False) -> None:
        self.top = Folder()
        self.files: dict[Path, SourceFile] = {}
        self.stored = KeptTrees()
        self.seen: tuple[object, int] = (None, -1)
        self.appeared: set[Address] = set()
        # What is called whenever `top` is another one.
        self.told: list[Callable[[], None]] = []
        # The innermost first.
        self.served = sorted(served, key=lambda place: -len(place.path.parts))
        self._calibration, self._apart = calibration, apart

    def served_at(self, path: Path) -> Served | None:
        """Return the innermost served folder that `path` lies in."""
        return next((place for place in self.served if place.holds(path)), None)

    def entry(self, path: Address) -> Folder | SourceFile | None:
        """Return what is at ``(folders…, file)``; None where there is nothing."""
        entry: Folder | SourceFile | None = self.top
        for name in path:
            entry = entry.entries.get(name) if isinstance(entry, Folder) else None
        return entry

    def has(self, path: Address) -> bool:
        """Whether there is a tree at ``(folders…, file, signal)``; nothing is parsed for it."""
        file = self.entry(path[:-1])
        return isinstance(file, SourceFile) and path[-1] in file.signals

    def file(self, path: Address) -> SourceFile:
        """File of the tree at ``(folders…, file, signal)``.

        Raises
        ------
        NotFound
            There is no tree there.
        """
        entry = self.entry(path[:-1])
        if not path or not isinstance(entry, SourceFile) or path[-1] not in entry.trees:
            raise NotFound(f"There is no tree at {'/'.join(path)!r}.")
        return entry

    def tree(self, path: Address) -> SignalTree:
        """Tree at ``(folders…, file, signal)``.

        Raises
        ------
        NotFound
            There is none.
        """
        return self.file(path).trees[path[-1]]

    def called(self, path: Address) -> str:
        """Return by what parameters name the tree at a path: its id, or its address where nobody has made anything.

        Raises
        ------
        NotFound
            There is no tree there.
        """
        stored = self.file(path).stored.get(path[-1])
        return stored.id if stored else "/".join(path)

    def other(self, called: str) -> SignalTree | MissingTree | None:
        """Return the tree that parameters name so; one whose file is gone is there, but nothing can be read from it."""
        if "/" in called:
            file = self.entry((path := tuple(called.split("/")))[:-1])
            return file.trees.get(path[-1]) if isinstance(file, SourceFile) else None
        if (tree := self.stored.tree(self.files, called)) or not (gone := self.stored.written(called)):
            return tree
        place = self.served_at(gone.path)
        # What stands nowhere, nobody may read: see `rights`.
        address = (*place.address(gone.path), gone.signal) if place else _NOWHERE
        return MissingTree(gone, address, self.other)

    def address(self, path: Address) -> tuple[Address, str | None]:
        """Return where the tree is that `path` means, and the id of the node in it; None for the tree itself.

        Raises
        ------
        NotFound
            There is neither.
        """
        try:
            self.tree(path)
            return path, None
        except NotFound:
            found = self.tree(path[:-1]).nodes.get(path[-1]) if len(path) > 1 else None
            if found is None:
                raise
            return path[:-1], found.id

    def made_elsewhere(self, tree: str, node: str) -> list[str]:
        """Return what is said of the nodes in other trees with a parameter that names this one, by ids.

        Where not everyone may read all folders, they are counted and not named.
        """
        found = [
            "/".join((*place.address(path), signal, name))
            for path, signal, name in self.stored.naming(tree, node)
            if path in self.files and (place := self.served_at(path))
        ]
        return ["a node of another folder"] * bool(found) if self._apart else list(map(repr, found))

    def knows(self, tree: StoredTree) -> bool:
        """Whether that tree is written already."""
        return any(tree.id == known.id for known in self.stored.get(tree.path, {}).values())

    def catch_up(
        self, connection: Connection, place: object, number: int, unwritten: Collection[Path]
    ) -> bool:
        """Take over what others changed, up to their change `number`; all of it from another database.

        Parameters
        ----------
        place : object
            Which database it is.
        unwritten : collection of pathlib.Path
            Of which this process knows something newer.
        """
        now = (place, number)
        if now == self.seen:
            return False
        whole = now[0] != self.seen[0] or number < self.seen[1]
        since = -1 if whole else self.seen[1]
        found: dict[Path, Remembered | None] = {
            row.path: row for row in records.remembered_since(connection, since) if self.served_at(row.path)
        }
        if not whole and records.forgotten(connection) > since:
            found |= dict.fromkeys(self.files.keys() - records.remembered_paths(connection))
        for path in unwritten:
            found.pop(path, None)
        trees = records.trees_since(connection, since)
        touched = set(self.stored) if whole else set()
        if whole:
            self.stored.clear()
        touched |= self.stored.keep(trees)
        self.show(
            {
                path: self.file_of(path, found.get(path, self.remembered(path)))
                for path in touched | found.keys()
            }
        )
        self.seen = now
        return True

    def remembered(self, path: Path) -> Remembered | None:
        """Return what the index holds of a file."""
        return self.files[path].remembered if path in self.files else None

    def file_of(
        self, path: Path, remembered: Remembered | None, source: Source | None = None
    ) -> SourceFile | None:
        """Return the file that is `remembered`, with its trees and what is open of it; None where it is gone."""
        if remembered is None:
            return None
        place = self.served_at(path)
        there = Place(place.address(path) if place else (), self.other, self._apart)
        file = SourceFile(remembered, self.stored.get(path, {}), self._calibration, source, there)
        before = self.files.get(path)
        return file if before is None else file.sharing(before)

    def show(self, files: Mapping[Path, SourceFile | None]) -> None:
        """Replace the snapshot by one with or without these files; nodes elsewhere that are made from theirs follow."""
        users = self.stored.users_of(files.keys())
        files = {**files, **{path: self.file_of(path, self.remembered(path)) for path in users}}
        addresses = {path: place.address(path) for path in files if (place := self.served_at(path))}
        if not addresses:
            return
        for path, address in addresses.items():
            file, before = files[path], self.remembered(path)
            if file is None:
                self.files.pop(path, None)
                continue
            self.files[path] = file
            if file.remembered != before:
                self.appeared.add(address)
        self.top = changed(self.top, ((address, files[path]) for path, address in addresses.items()))
        for told in self.told:
            told()

    def show_tree(self, path: Address, tree: SignalTree, written: Sequence[StoredTree]) -> None:
        """Show the tree at `path` as it is after a change of this process, by which those `written` are others."""
        file = self.file(path)
        self.stored.keep(written)
        here = file.remembered.path
        elsewhere = {one.path for one in written} - {here}
        others = {path: self.file_of(path, self.remembered(path)) for path in elsewhere}
        self.show({**others, here: file.with_tree(self.stored[here], path[-1], tree)})
