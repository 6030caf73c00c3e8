"""The files and trees a server serves, as snapshots in memory over the database.

Readers take the current snapshot without waiting. A change is written first, whole or not at all; when it is
durable, the snapshot is replaced.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from tiled_spyde import arriving, changes, named, records
from tiled_spyde.errors import StorageFull, Unavailable, Unusable
from tiled_spyde.ledger import Ledger
from tiled_spyde.memory import Memory
from tiled_spyde.moves import changed_trees
from tiled_spyde.operations import build
from tiled_spyde.prepared import Prepared
from tiled_spyde.records import Past, Remembered
from tiled_spyde.snapshot import Address, Calibration, Folder, Known, Served, SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import EllipsisType

    from tiled_spyde.changes import Changed
    from tiled_spyde.database import Database
    from tiled_spyde.node import Node
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.sources import Source
    from tiled_spyde.travel import Document
    from tiled_spyde.tree import SignalTree

__all__ = ["Catalog", "Folder", "Served", "SourceFile"]

logger = logging.getLogger(__name__)


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
        self._database = database
        self._memory = Memory(served, calibration, apart=apart)
        self._ledger = Ledger(database, self._memory)
        self.apart = apart
        self._prepared = Prepared(self._memory.has, self.add_node)
        # What `_database` looked like from outside before it was read last, and how often `top` changed unwritten.
        self._mark = -1
        self._outside: object = None
        self._unseen = 0
        try:
            self.refresh()
        except Unusable:
            raise
        except Unavailable as error:
            logger.warning("%s Serving without what it holds until it can be read.", error)

    @property
    def top(self) -> Folder:
        """All that is served at this moment."""
        return self._memory.top

    @property
    def revision(self) -> int:
        """Number that is another one after each change, and the same in all processes that have seen it."""
        return max(self._memory.seen[1], 0) + self._unseen

    def on_change(self, told: Callable[[], None]) -> None:
        """Have `told` called whenever `top` is another one, in the thread that changed it: it must not wait."""
        self._memory.told.append(told)

    @property
    def known(self) -> Mapping[Path, Source]:
        """What the index remembers below the served folders; a source is parsed when it is asked for."""
        return Known(self._memory.files)

    def entry(self, path: Address) -> Folder | SourceFile | None:
        """Return what is at ``(folders…, file)``; None where there is nothing."""
        return self._memory.entry(path)

    def tree(self, path: Address) -> SignalTree:
        """Tree at ``(folders…, file, signal)``.

        Raises
        ------
        NotFound
            There is no tree there.
        """
        return self._memory.tree(path)

    def add_node(
        self,
        path: Address,
        *,
        parent: str,
        operation: str,
        parameters: Mapping[str, Any],
        name: str | None = None,
        by: str | None = None,
        once: str | None = None,
    ) -> tuple[Node, bool]:
        """Make a node in the tree at `path`, or find the one that is the same already.

        When it returns, the node is durable; when it raises, there is none.

        Parameters
        ----------
        once : str, optional
            What tells this node from all others that are made in this tree a single time, so that it is not made
            again when people have changed it.

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
        Gone
            It was made `once`, and is deleted.
        TooLarge
            The parameters take too much room.
        Unavailable, StorageFull
            The database cannot take it just now.
        """
        built, kept, by = build(operation, parameters), partial(self.kept, path), changes.person(by)
        # What cannot be, or is there already, needs no database.
        tree, step = self.tree(path), kept(built)
        if (same := tree.find(parent, step, name)) is not None:
            return same, False
        tree.grown(name, parent, step, by)
        done = self._ledger.change(path, changes.making(name, parent, built, kept, by, once), by)
        if done.changed:
            return done.tree.nodes[done.changed[0]], True
        found = done.tree.find(parent, kept(built), name)
        assert found is not None  # noqa: S101 - or it would have been made
        return found, False

    def apply(
        self, path: Address, document: Document, refused: Mapping[str, str], by: str | None = None
    ) -> arriving.Applied:
        """Make the nodes of a recipe in the tree at `path`, in one change or not at all; see `arriving.apply`.

        Raises
        ------
        NotFound, Unavailable, StorageFull
            As `add_node`.
        """
        arrival = arriving.Arrival(document, refused, changes.person(by), partial(self.kept, path))
        # What makes nothing needs no database.
        if arrival.nodes_in(self.tree(path)):
            self._ledger.change(path, arrival.change, arrival.by)
        return arrival.done

    def change_node(
        self,
        path: Address,
        *,
        name: str | None = None,
        description: str | EllipsisType | None = ...,
        operation: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        if_match: str | None = None,
        by: str | None = None,
    ) -> Changed:
        """Rename, describe or re-point the node at ``(folders…, file, signal, node)``; what is left out stays.

        Parameters
        ----------
        parameters : mapping, optional
            All of them, not only those that differ.
        if_match : str, optional
            As the header of this name: the change is only made while the node has one of these versions.

        Raises
        ------
        NotFound
            No such tree or node.
        Outdated
            The node has another version.
        NameTaken
            Another node has this name.
        InvalidOperation
            The node is the tree's own, the name cannot be, the operation is unknown or does not fit.
        TooLarge
            The parameters take too much room.
        Unavailable, StorageFull
            The database cannot take it just now.
        """
        tree, node = path[:-1], path[-1] if path else ""
        wanted = changes.Wanted(name, description, operation, parameters)
        change = changes.changing(node, wanted, if_match, partial(self.kept, tree))
        return self._ledger.change(tree, change, changes.person(by))

    def delete_node(
        self, path: Address, *, recursive: bool = False, if_match: str | None = None, by: str | None = None
    ) -> Changed:
        """Delete the node at ``(folders…, file, signal, node)``; with `recursive` all that is made from it too.

        Raises
        ------
        NotFound, InvalidOperation, Outdated, Unavailable, StorageFull
            As `change_node`.
        Conflict
            Others are made from it.
        """
        tree, node = path[:-1], path[-1] if path else ""
        change = changes.deleting(node, if_match, self._memory.made_elsewhere, recursive=recursive)
        return self._ledger.change(tree, change, changes.person(by))

    def undo(self, path: Address, change: int, by: str | None = None) -> Changed:
        """Put back what a change did in the tree at `path`, as a new change.

        Raises
        ------
        NotFound
            No such tree, or the change is not in its history (any more).
        Conflict, NameTaken
            What it did was changed again since, or what it needs is not there.
        InvalidOperation
            The tree is full.
        Unavailable, StorageFull
            The database cannot take it just now.
        """
        undoing = changes.undoing(self.past(path, change), self._memory.made_elsewhere)
        return self._ledger.change(path, undoing, changes.person(by))

    def past(self, path: Address, change: int) -> list[Past]:
        """Return what a change did to each node of the tree at `path`; see `Ledger.past`."""
        return self._ledger.past(path, change)

    def history(self, path: Address, limit: int) -> list[Past]:
        """Return what was done in the tree, or to the node, at `path`; see `Ledger.history`."""
        return self._ledger.history(path, limit)

    def kept(self, path: Address, operation: Operation, now: SignalTree | None = None) -> Operation:
        """Return `operation`, for the tree at `path`, with the nodes that it names as kept ones do; see `named.kept`.

        `now` is that tree, where it is only about to be shown.
        """

        def tree(at: Address) -> SignalTree:
            return now if now is not None and at == path else self.tree(at)

        return named.kept(operation, path, tree, self._memory.called)

    def update(self, sources: Mapping[Path, Source | None]) -> None:
        """Take over what the index found; None where a file is gone.

        What is found is served even where it cannot be written just now: it is written with the next batch.
        Nodes stay with the path of their file, whatever it holds now. Where a file was moved to a place
        that has no nodes, they go along.

        Parameters
        ----------
        sources : mapping of pathlib.Path to Source or None
            By absolute path; what lies outside the served folders is passed over.
        """
        found = {
            path: None if source is None else Remembered.of(path, source)
            for path, source in sources.items()
            if self._memory.served_at(path) and self._database.takes(path)
        }
        with self._ledger.alone():
            self._ledger.unwritten |= found
            touched = set(found)
            try:
                touched |= self._write_unwritten()
            except (Unavailable, StorageFull) as error:
                logger.warning("What was found in the folders is served, but not remembered: %s", error)
                self._unseen += 1
            memory = self._memory
            memory.show(
                {
                    path: memory.file_of(path, found.get(path, memory.remembered(path)), sources.get(path))
                    for path in touched
                }
            )
            self._prepared.make(memory.appeared)

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
        with self._ledger.alone():
            self._prepared.ask(trees)
            self._prepared.make(self._memory.appeared)

    def refresh(self) -> bool:
        """Take over what other processes changed; says whether there was anything.

        Raises
        ------
        Unavailable
            The database cannot be read just now.
        """
        with self._ledger.alone():
            # From before it is read: what is written meanwhile is noticed the next time. Until then it is behind.
            mark = self._database.mark()
            try:
                with self._database.reading() as connection:
                    news = self._ledger.catch_up(connection, records.changes(connection))
            finally:
                self._mark = mark
            self._prepared.make(self._memory.appeared)
        return news

    def behind(self) -> bool:
        """Whether a process of this machine has changed something since the last `refresh`; in a microsecond."""
        return self._database.mark() != self._mark

    def follow(self) -> bool:
        """`refresh` if the database looks as if somebody had changed it, whoever and where; says as that.

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

    def _write_unwritten(self) -> set[Path]:
        """Write what the index found, and what follows for trees; returns the files whose trees that are."""
        with self._database.writing() as connection:
            number = self._ledger.begin(connection)
            records.remember(connection, number, self._ledger.unwritten)
            memory = self._memory
            trees = changed_trees(
                memory.stored, memory.files, self._ledger.unwritten, memory.served, apart=self.apart
            )
            for tree in trees:
                records.write_tree(connection, number, tree, new=False)
        memory.seen = (self._database.place, number)
        self._ledger.unwritten, self._unseen = {}, 0
        return memory.stored.keep(trees)
