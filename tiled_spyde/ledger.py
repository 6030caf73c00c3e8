"""Changes of trees: each checked within its transaction against what others have done, written, and then shown."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING

from tiled_spyde import records
from tiled_spyde.changes import Changed
from tiled_spyde.errors import NotFound, Unavailable
from tiled_spyde.named import with_ids
from tiled_spyde.records import Past, Remembered, StoredTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from tiled_spyde.changes import Change
    from tiled_spyde.database import Database
    from tiled_spyde.memory import Memory
    from tiled_spyde.records import Difference
    from tiled_spyde.snapshot import Address
    from tiled_spyde.tree import SignalTree

# How long a change waits for another one of this process, in seconds.
_PATIENCE = 5.0


class Ledger:
    """One after the other, the changes of a process in a database that others write into as well.

    Parameters
    ----------
    database : Database
    memory : Memory
        What is shown; here brought up to date with every change.

    Attributes
    ----------
    unwritten : dict
        What the index found while the database could not be written: newer than what others have written.
    """

    def __init__(self, database: Database, memory: Memory) -> None:
        self.unwritten: dict[Path, Remembered | None] = {}
        self._database = database
        self._memory = memory
        self._changing = RLock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other thread change anything meanwhile.

        Raises
        ------
        Unavailable
            Others take too long.
        """
        if not self._changing.acquire(timeout=_PATIENCE):
            raise Unavailable("Too many changes wait for the database. Try again in a moment.")
        try:
            yield
        finally:
            self._changing.release()

    def begin(self, connection: Connection) -> int:
        """Begin a change with all that others have changed before it; returns its number."""
        number = records.begin_change(connection)
        self.catch_up(connection, number - 1)
        return number

    def catch_up(self, connection: Connection, number: int) -> bool:
        """Take over what others changed up to the change `number`; says whether there was anything."""
        return self._memory.catch_up(connection, self._database.place, number, self.unwritten)

    def change(self, path: Address, change: Change, by: str | None) -> Changed:
        """Do to the tree at `path` what `change` says; when this returns, it is durable.

        Raises
        ------
        NotFound
            There is no such tree.
        SpydeError
            As `change` does.
        Unavailable, StorageFull
            The database cannot take it just now.
        """
        memory = self._memory
        with self.alone():
            memory.tree(path)  # for one that is not there, no database is needed
            with self._database.writing() as connection:
                number = self.begin(connection)
                tree, stored = memory.tree(path), self._stored(path)
                what, found = change(tree, stored, partial(_last, connection, stored.id))
                if not found:
                    return Changed(tree, (), (), number)
                # Other trees that are named for the first time get their ids with this change, or not at all.
                named: dict[Address, StoredTree] = {path: stored}
                differences = [self._to_write(difference, number, named) for difference in found]
                for one in named.values():
                    records.write_tree(connection, number, one, new=not memory.knows(one))
                records.write_differences(connection, number, stored.id, differences, what, by)
            named[path] = stored = _after(stored, differences)
            memory.seen = (self._database.place, number)
            before, tree = tree, _grown(tree, stored, differences)
            memory.show_tree(path, tree, list(named.values()))
        return Changed(
            tree,
            tuple(tree.name_of(now.id) for _, now in differences if now),
            tuple(before.name_of(was.id) for was, now in differences if was and not now),
            number,
        )

    def past(self, path: Address, change: int) -> list[Past]:
        """Return what the change of that number did to each node of the tree at `path`.

        Raises
        ------
        NotFound
            There is no such tree, or it is not in its history (any more).
        Unavailable
            The database cannot be read just now.
        """
        tree = self._stored(path).id
        with self._database.reading() as connection:
            past = records.past_change(connection, tree, change)
        if not past:
            raise NotFound(
                f"There is no change {change} in the history of {'/'.join(path)!r}, or not any more."
            )
        return past

    def history(self, path: Address, limit: int) -> list[Past]:
        """Return what was done in the tree, or to the node, at `path`: newest first, at most so many.

        Raises
        ------
        NotFound
            There is neither.
        Unavailable
            The database cannot be read just now.
        """
        at, node = self._memory.address(path)
        with self._database.reading() as connection:
            return records.past_of(connection, self._stored(at).id, node=node, limit=limit)

    def _to_write(self, difference: Difference, number: int, named: dict[Address, StoredTree]) -> Difference:
        """Return a difference whose node knows which change it is from, and other trees by their ids.

        To `named` comes what is written of those that were named by their addresses.
        """
        before, after = difference
        if after is None:
            return difference

        def id_of(path: Address) -> str:
            if path not in named:
                named[path] = self._stored(path)
            return named[path].id

        parameters = with_ids(after.parameters, id_of)
        return before, replace(after, version=number, made=after.made or number, parameters=parameters)

    def _stored(self, path: Address) -> StoredTree:
        """Return what is written of the tree at `path`, or what will be when its first node is made."""
        file = self._memory.file(path)
        source = file.remembered
        before = file.stored.get(path[-1]) or StoredTree.of(source, path[-1])
        return replace(before, fingerprint=source.fingerprint)


def _after(stored: StoredTree, differences: Sequence[Difference]) -> StoredTree:
    """Return what is written after a change, in the order in which nodes were made, as a database gives it."""
    nodes = {node.id: node for node in stored.nodes}
    for before, after in differences:
        if after:
            nodes[after.id] = after
        elif before:
            del nodes[before.id]
    return replace(stored, nodes=tuple(sorted(nodes.values(), key=lambda node: (node.made, node.name))))


def _grown(tree: SignalTree, stored: StoredTree, differences: Sequence[Difference]) -> SignalTree:
    before, after = differences[0]
    if len(differences) == 1 and before is None and after and after is stored.nodes[-1]:
        return tree.with_one_more(after)  # what is done most, and ten times as fast
    return tree.with_nodes(stored.nodes)


def _last(connection: Connection, tree: str, node: str) -> Past | None:
    """Return what was done to a node last, if that is remembered."""
    return next(iter(records.past_of(connection, tree, node=node, limit=1)), None)
