"""What stands in the database, as plain records, and every statement that reads or writes it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import sqlalchemy as sa

from tiled_spyde.database import nodes, sources, state, trees
from tiled_spyde.labels import plain_text
from tiled_spyde.sources import Source
from tiled_spyde.tree import Node

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy.engine import Connection


# SQLite takes 32 766 values in one statement, PostgreSQL's protocol as many.
_TOGETHER = 500


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the index holds of a source; all but the little a listing needs stays as text until asked for."""

    path: Path
    fingerprint: str
    error: str | None
    signals: tuple[str, ...]
    described: str

    @classmethod
    def of(cls, path: Path, source: Source) -> Remembered:
        """Return what is to be remembered of `source`."""
        names = tuple(signal.name for signal in source.signals)
        described = json.dumps(source.to_json(), separators=(",", ":"))
        error = source.error and plain_text(source.error).replace("\0", "?")
        return cls(path, source.fingerprint, error, names, described)

    def source(self) -> Source:
        """Return the source; one that says so where its text cannot be understood."""
        try:
            return Source.from_json(json.loads(self.described))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return Source(self.path, error=f"What is remembered of this file makes no sense ({error}).")


@dataclass(frozen=True, slots=True)
class Stored:
    """A node as it stands in the database; whether it still makes sense is for the tree to say."""

    id: str
    name: str
    parent: str
    operation: str
    parameters: str
    created: str
    created_by: str | None

    @classmethod
    def of(cls, node: Node) -> Stored:
        """Return what is written of a new node, in characters that any database takes."""
        by = node.created_by and plain_text(node.created_by).replace("\0", "?")
        above, made = node.parent or "", node.created or ""
        return cls(node.id, node.name, above, node.operation, node.parameters, made, by)

    def node(self) -> Node:
        """Return the node that was written."""
        return Node(
            self.id, self.name, self.parent, self.operation, self.parameters, self.created, self.created_by
        )


@dataclass(frozen=True, slots=True)
class StoredTree:
    """What people made of one signal of one file, in the order they made it."""

    id: str
    path: Path
    signal: str
    fingerprint: str
    nodes: tuple[Stored, ...] = ()


def changes(connection: Connection) -> int:
    """Return how many changes the database has seen."""
    return connection.scalar(sa.select(state.c.changes)) or 0


def forgotten(connection: Connection) -> int:
    """Return the number of the last change that forgot a source."""
    return connection.scalar(sa.select(state.c.forgotten)) or 0


def begin_change(connection: Connection) -> int:
    """Return this change's number. Changes get theirs in the order in which they are committed."""
    connection.execute(state.update().values(changes=state.c.changes + 1))
    return changes(connection)


def remembered_since(connection: Connection, number: int) -> Iterator[Remembered]:
    """Return the sources that changed after the change `number`."""
    wanted = sa.select(sources).where(sources.c.changed > number)
    for row in connection.execute(wanted):
        yield Remembered(
            _path(row.path), row.fingerprint, row.error, tuple(json.loads(row.signals)), row.described
        )


def remembered_paths(connection: Connection) -> set[Path]:
    """Every source in the index."""
    return {_path(uri) for uri in connection.scalars(sa.select(sources.c.path))}


def trees_since(connection: Connection, number: int) -> list[StoredTree]:
    """Trees that changed after the change `number`, with all their nodes."""
    newer = trees.c.changed > number
    of_tree: dict[str, list[Stored]] = {}
    columns = (nodes.c.tree, *(nodes.c[name] for name in Stored.__dataclass_fields__))
    wanted = sa.select(*columns).join(trees).where(newer).order_by(nodes.c.made, nodes.c.name)
    for tree, *node in connection.execute(wanted):
        of_tree.setdefault(tree, []).append(Stored(*node))
    found = sa.select(trees.c.id, trees.c.path, trees.c.signal, trees.c.fingerprint).where(newer)
    return [
        StoredTree(id_, _path(path), signal, fingerprint, tuple(of_tree.get(id_, ())))
        for id_, path, signal, fingerprint in connection.execute(found)
    ]


def remember(connection: Connection, number: int, changed: Mapping[Path, Remembered | None]) -> None:
    """Write what the index found out; None forgets a source."""
    for some in _portions([path.as_uri() for path in changed]):
        connection.execute(sources.delete().where(sources.c.path.in_(some)))
    if None in changed.values():
        connection.execute(state.update().values(forgotten=number))
    rows = [
        {
            "path": path.as_uri(),
            "fingerprint": row.fingerprint,
            "error": row.error,
            "signals": json.dumps(row.signals),
            "described": row.described,
            "changed": number,
        }
        for path, row in changed.items()
        if row is not None
    ]
    if rows:
        connection.execute(sources.insert(), rows)


def write_tree(connection: Connection, number: int, tree: StoredTree, *, new: bool) -> None:
    """Write a tree's row, without its nodes."""
    row = {
        "path": tree.path.as_uri(),
        "signal": tree.signal,
        "fingerprint": tree.fingerprint,
        "changed": number,
    }
    if new:
        connection.execute(trees.insert().values(id=tree.id, **row))
    else:
        connection.execute(trees.update().where(trees.c.id == tree.id).values(**row))


def add_node(connection: Connection, number: int, tree: str, node: Stored) -> None:
    """Write a node of the tree whose id is `tree`."""
    fields = {name: getattr(node, name) for name in Stored.__dataclass_fields__}
    connection.execute(nodes.insert().values(tree=tree, made=number, **fields))


def _path(uri: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))


def _portions(paths: Collection[str]) -> Iterable[list[str]]:
    listed = list(paths)
    return (listed[start : start + _TOGETHER] for start in range(0, len(listed), _TOGETHER))
