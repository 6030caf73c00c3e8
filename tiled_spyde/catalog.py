"""The files and trees a server serves, as snapshots in memory over the database.

Readers take the current snapshot without waiting. A change is written first, whole or not at all; when it is
durable, the snapshot is replaced.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tiled_spyde import prepared, records
from tiled_spyde.errors import NotFound, StorageFull, Unavailable, Unusable
from tiled_spyde.moves import changed_trees
from tiled_spyde.operations import build
from tiled_spyde.records import Remembered, Stored, StoredTree
from tiled_spyde.snapshot import Address, Calibration, Folder, Known, Served, SourceFile, changed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from tiled_spyde.database import Database
    from tiled_spyde.sources import Source
    from tiled_spyde.tree import Node, SignalTree

__all__ = ["Catalog", "Folder", "Served", "SourceFile"]

logger = logging.getLogger(__name__)

# How long a change waits for another one of this process, in seconds.
_PATIENCE = 5.0


class Catalog:
    """All files below the served folders, and what people made of them.

    Parameters
    ----------
    database : Database
        Where it lasts.
    served : sequence of Served
        What is served; of a path that lies in several, the innermost counts.
    calibration : callable, optional
        ``(path, name of the signal)`` → the operation that a configuration puts before everything, or None.
    apart : bool
        Not everyone may read all served folders, so nothing goes from one to another.
    """

    def __init__(
        self,
        database: Database,
        served: Sequence[Served],
        calibration: Calibration = lambda path, signal: None,
        *,
        apart: bool = False,
    ) -> None:
        self.top = Folder()
        self._database = database
        # The innermost first.
        self._served = sorted(served, key=lambda place: -len(place.path.parts))
        self._calibration = calibration
        self._apart = apart
        self._prepared: dict[Address, tuple[prepared.PreparedNode, ...]] = {}
        # Prepared trees whose nodes are still to be made.
        self._due: set[Address] = set()
        self._files: dict[Path, SourceFile] = {}
        # By file and signal: also of files that are gone, or not served this time.
        self._stored: dict[Path, dict[str, StoredTree]] = {}
        # What the index found while the database could not be written.
        self._unwritten: dict[Path, Remembered | None] = {}
        self._seen: tuple[object, int] = (None, -1)
        # What `_database` looked like from outside before it was read last, and how often `top` changed unwritten.
        self._mark = -1
        self._outside: object = None
        self._unseen = 0
        self._changing = RLock()
        try:
            self.refresh()
        except Unusable:
            raise
        except Unavailable as error:
            logger.warning("%s Serving without what it holds until it can be read.", error)

    @property
    def revision(self) -> int:
        """Number that is another one after each change, and the same in all processes that have seen it."""
        return max(self._seen[1], 0) + self._unseen

    @property
    def known(self) -> Mapping[Path, Source]:
        """What the index remembers below the served folders; a source is parsed when it is asked for."""
        return Known(self._files)

    def entry(self, path: Address) -> Folder | SourceFile | None:
        """Return what is at ``(folders…, file)``; None where there is nothing."""
        entry: Folder | SourceFile | None = self.top
        for name in path:
            entry = entry.entries.get(name) if isinstance(entry, Folder) else None
        return entry

    def tree(self, path: Address) -> SignalTree:
        """Tree at ``(folders…, file, signal)``.

        Raises
        ------
        NotFound
            There is no tree there.
        """
        return self._file(path).trees[path[-1]]

    def add_node(
        self,
        path: Address,
        *,
        parent: str,
        operation: str,
        parameters: Mapping[str, Any],
        name: str | None = None,
        by: str | None = None,
    ) -> tuple[Node, bool]:
        """Make a node in the tree at `path`, or find the one that is the same already.

        When it returns, the node is durable; when it raises, there is none.

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
        TooLarge
            The parameters take too much room.
        Unavailable, StorageFull
            The database cannot take it just now.
        """
        step = build(operation, parameters)
        with self._alone():
            # What cannot be, or is there already, needs no database.
            tree = self.tree(path)
            if (same := tree.find(parent, step, name)) is not None:
                return same, False
            grown, node = tree.grown(name, parent, step, by)
            with self._database.writing() as connection:
                number = self._begin(connection)
                if self.tree(path) is not tree:  # another process was faster
                    if (same := self.tree(path).find(parent, step, name)) is not None:
                        return same, False
                    grown, node = self.tree(path).grown(name, parent, step, by)
                stored = self._write_node(connection, number, path, node)
            self._seen = (self._database.place, number)
            file = self._file(path)
            self._keep([stored])
            self._show({file.remembered.path: file.with_tree(stored, grown)})
        return node, True

    def update(self, changes: Mapping[Path, Source | None]) -> None:
        """Take over what the index found; None where a file is gone.

        What is found is served even where it cannot be written just now: it is written with the next batch.
        Nodes stay with the path of their file, whatever it holds now. Where a file was moved to a place
        that has no nodes, they go along.

        Parameters
        ----------
        changes : mapping of pathlib.Path to Source or None
            By absolute path; what lies outside the served folders is passed over.
        """
        found = {
            path: None if source is None else Remembered.of(path, source)
            for path, source in changes.items()
            if self._served_at(path) and self._database.takes(path)
        }
        with self._alone():
            self._unwritten |= found
            touched = set(found)
            try:
                touched |= self._write_unwritten()
            except (Unavailable, StorageFull) as error:
                logger.warning("What was found in the folders is served, but not remembered: %s", error)
                self._unseen += 1
            self._show(
                {
                    path: self._file_of(path, found.get(path, self._remembered(path)), changes.get(path))
                    for path in touched
                }
            )
            self._make_prepared()

    def prepare(self, trees: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Make nodes as soon as their file is known, unless they are there.

        Parameters
        ----------
        trees : mapping
            For ``folder/file/signal``, the nodes to make: ``operation``, and if needed ``parent`` (``root``),
            ``parameters`` and ``name``.

        Raises
        ------
        InvalidOperation
            A node is described otherwise, its operation is unknown, or nodes are made from each other in a
            circle.
        """
        wanted = prepared.checked(trees)
        with self._alone():
            self._prepared |= wanted
            self._due |= wanted.keys()
            self._make_prepared()

    def refresh(self) -> bool:
        """Take over what other processes changed; says whether there was anything.

        Raises
        ------
        Unavailable
            The database cannot be read just now.
        """
        with self._alone():
            # From before it is read: what is written meanwhile is noticed the next time. Until then it is behind.
            mark = self._database.mark()
            try:
                with self._database.reading() as connection:
                    news = self._catch_up(connection, records.changes(connection))
            finally:
                self._mark = mark
            self._make_prepared()
        return news

    def behind(self) -> bool:
        """Whether a process of this machine has changed something since the last `refresh`; in a microsecond."""
        return self._database.mark() != self._mark

    def follow(self) -> bool:
        """`refresh` if the database looks as if somebody had changed it, whoever and where.

        Returns
        -------
        bool
            Whether there was anything.

        Raises
        ------
        Unavailable
            It cannot be read just now.
        """
        outside = self._database.outside()
        if outside == self._outside and not self.behind():
            return False
        news = self.refresh()
        self._outside = outside
        return news

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._changing.acquire(timeout=_PATIENCE):
            raise Unavailable("Too many changes wait for the database. Try again in a moment.")
        try:
            yield
        finally:
            self._changing.release()

    def _file(self, path: Address) -> SourceFile:
        entry = self.entry(path[:-1])
        if not path or not isinstance(entry, SourceFile) or path[-1] not in entry.trees:
            raise NotFound(f"There is no tree at {'/'.join(path)!r}.")
        return entry

    # In the database.

    def _begin(self, connection: Connection) -> int:
        """Begin a change with all that others have changed before it."""
        number = records.begin_change(connection)
        self._catch_up(connection, number - 1)
        return number

    def _catch_up(self, connection: Connection, number: int) -> bool:
        """Take over what others changed, up to their change `number`; all of it from another database."""
        now = (self._database.place, number)
        if now == self._seen:
            return False
        whole = now[0] != self._seen[0] or number < self._seen[1]
        since = -1 if whole else self._seen[1]
        found: dict[Path, Remembered | None] = {
            row.path: row for row in records.remembered_since(connection, since) if self._served_at(row.path)
        }
        if not whole and records.forgotten(connection) > since:
            found |= dict.fromkeys(self._files.keys() - records.remembered_paths(connection))
        for path in self._unwritten:  # what this process saw last is newer
            found.pop(path, None)
        trees = records.trees_since(connection, since)
        touched = set(self._stored) if whole else set()
        if whole:
            self._stored = {}
        touched |= self._keep(trees)
        self._show(
            {
                path: self._file_of(path, found.get(path, self._remembered(path)))
                for path in touched | found.keys()
            }
        )
        self._seen = now
        return True

    def _write_node(self, connection: Connection, number: int, path: Address, node: Node) -> StoredTree:
        file, signal = self._file(path), path[-1]
        source, before = file.remembered, file.stored.get(signal)
        row = Stored.of(node)
        tree = before or StoredTree(uuid4().hex, source.path, signal, source.fingerprint)
        tree = replace(tree, fingerprint=source.fingerprint, nodes=(*tree.nodes, row))
        records.write_tree(connection, number, tree, new=before is None)
        records.add_node(connection, number, tree.id, row)
        return tree

    def _write_unwritten(self) -> set[Path]:
        """Write what the index found, and what follows for trees; returns the files whose trees that are."""
        with self._database.writing() as connection:
            number = self._begin(connection)
            records.remember(connection, number, self._unwritten)
            trees = changed_trees(self._stored, self._files, self._unwritten, self._served, apart=self._apart)
            for tree in trees:
                records.write_tree(connection, number, tree, new=False)
        self._seen = (self._database.place, number)
        self._unwritten, self._unseen = {}, 0
        return self._keep(trees)

    def _make_prepared(self) -> None:
        for address in sorted(self._due):
            file = self.entry(address[:-1])
            if not isinstance(file, SourceFile) or address[-1] not in file.signals:
                continue
            try:
                for wanted in self._prepared[address]:
                    prepared.make(self.add_node, address, wanted)
            except (Unavailable, StorageFull) as error:
                logger.warning("Prepared nodes of %s are made later: %s", "/".join(address), error)
                return
            self._due.discard(address)

    # In memory.

    def _keep(self, trees: Iterable[StoredTree]) -> set[Path]:
        """Put trees in the place of what was known of them; returns the files that they are and were of."""
        ids = {tree.id: tree for tree in trees}
        if not ids:
            return set()
        left = {p for p, of in self._stored.items() if any(tree.id in ids for tree in of.values())}
        for path in left:
            kept = {signal: tree for signal, tree in self._stored[path].items() if tree.id not in ids}
            self._stored[path] = kept
        for tree in ids.values():
            self._stored[tree.path] = {**self._stored.get(tree.path, {}), tree.signal: tree}
        for path in left:
            if not self._stored[path]:
                del self._stored[path]
        return left | {tree.path for tree in ids.values()}

    def _remembered(self, path: Path) -> Remembered | None:
        return self._files[path].remembered if path in self._files else None

    def _file_of(
        self, path: Path, remembered: Remembered | None, source: Source | None = None
    ) -> SourceFile | None:
        if remembered is None:
            return None
        file = SourceFile(remembered, self._stored.get(path, {}), self._calibration, source)
        before = self._files.get(path)
        return file if before is None else file.sharing(before)

    def _show(self, files: Mapping[Path, SourceFile | None]) -> None:
        """Replace the snapshot by one with these files in it, or without them."""
        addresses = {path: place.address(path) for path in files if (place := self._served_at(path))}
        if not addresses:
            return
        for path in addresses:
            if (file := files[path]) is not None:
                self._files[path] = file
            else:
                self._files.pop(path, None)
        self.top = changed(self.top, ((address, files[path]) for path, address in addresses.items()))
        shown = set(addresses.values())
        self._due |= {address for address in self._prepared if address[:-1] in shown}

    def _served_at(self, path: Path) -> Served | None:
        """Return the innermost served folder that `path` lies in."""
        return next((place for place in self._served if place.holds(path)), None)
