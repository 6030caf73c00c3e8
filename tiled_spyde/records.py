"""What stands in the database, as plain records, and every statement that reads or writes it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

import sqlalchemy as sa

from tiled_spyde.database import history, nodes, previews, sources, state, trees
from tiled_spyde.labels import plain_text
from tiled_spyde.named import named_in, trees_in
from tiled_spyde.node import Node, now
from tiled_spyde.sources import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from sqlalchemy.engine import Connection

    # A node before and after a change; None where there was or is none.
    Difference = tuple[Node | None, Node | None]

# SQLite takes 32 766 values in one statement, PostgreSQL's protocol as many.
_TOGETHER = 500
_FIELDS = tuple(Node.__dataclass_fields__)

# What is remembered of a tree: so many of the newest rows, as long as these have so many characters together.
MAX_HISTORY = 10_000
MAX_HISTORY_SIZE = 2**26
# What is read of it at once has about so many.
_READ_SIZE = 2**23


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


@dataclass(frozen=True)
class StoredTree:
    """What people made of one signal of one file, in the order they made it."""

    id: str
    path: Path
    signal: str
    fingerprint: str
    nodes: tuple[Node, ...] = ()

    @classmethod
    def of(cls, file: Remembered, signal: str) -> StoredTree:
        """Return a new tree of a signal."""
        return cls(uuid4().hex, file.path, signal, file.fingerprint)

    @cached_property
    def named(self) -> frozenset[str]:
        """Ids of the other trees that parameters of its nodes name nodes of."""
        return frozenset(id_ for node in self.nodes for id_ in trees_in(node.parameters))

    @property
    def unmixed(self) -> tuple[Node, ...]:
        """Nodes that nothing of another tree enters, directly or not."""
        mixed = {node.id for node in self.nodes if trees_in(node.parameters)}
        new = mixed
        while new:
            above = {f"#{id_}" for id_ in mixed}
            new = {
                node.id
                for node in self.nodes
                if node.id not in mixed and above & {f"#{node.parent}", *named_in(node.parameters).values()}
            }
            mixed = mixed | new
        return tuple(node for node in self.nodes if node.id not in mixed)


@dataclass(frozen=True, slots=True)
class Past:
    """What a change did to one node.

    Parameters
    ----------
    change : int
        Its number.
    node : str
        The id of the node.
    what : str
        ``made``, ``changed``, ``renamed``, ``deleted`` or ``undone``.
    at, by : str
        When (UTC, ISO 8601) and by whom.
    before, after : Node or None
        None where there was or is none.
    """

    change: int
    node: str
    what: str
    at: str
    by: str | None
    before: Node | None
    after: Node | None


@dataclass(frozen=True, slots=True)
class StoredPreview:
    """What somebody looked at without keeping it, as it stands in the database; see `tiled_spyde.previews`."""

    tree: str
    key: str
    node: str
    until: int
    size: int
    steps: str


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
    of_tree: dict[str, list[Node]] = {}
    columns = (nodes.c.tree, *(nodes.c[name] for name in _FIELDS))
    wanted = sa.select(*columns).join(trees).where(newer).order_by(nodes.c.made, nodes.c.name)
    for tree, *node in connection.execute(wanted):
        of_tree.setdefault(tree, []).append(Node(*node))
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


def write_differences(
    connection: Connection,
    number: int,
    tree: str,
    differences: Collection[Difference],
    what: str,
    by: str | None,
) -> None:
    """Write what a change does to nodes of the tree whose id is `tree`, and that it was done.

    Parameters
    ----------
    what : str
        ``made``, ``changed``, ``renamed``, ``deleted`` or ``undone``.
    by : str or None
        Who does it.
    """
    gone = [before.id for before, after in differences if before and not after]
    for some in _portions(gone):
        connection.execute(nodes.delete().where(nodes.c.id.in_(some)))
    for before, after in differences:
        if before and after:
            connection.execute(nodes.update().where(nodes.c.id == after.id).values(_fields(after)))
    if new := [{"tree": tree, **_fields(after)} for before, after in differences if after and not before]:
        connection.execute(nodes.insert(), new)
    done = {"change": number, "tree": tree, "what": what, "at": now(), "by": by}
    connection.execute(history.insert(), [done | _row_of(*difference) for difference in differences])
    _forget_the_oldest(connection, number, tree)


def past_of(connection: Connection, tree: str, *, node: str | None = None, limit: int) -> list[Past]:
    """Return what was done in a tree or to one node, newest first; fewer where that would be megabytes."""
    size_so_far = sa.func.sum(history.c.size).over(order_by=(history.c.change.desc(), history.c.node))
    wanted = sa.select(history, size_so_far.label("so_far")).where(history.c.tree == tree)
    if node is not None:
        wanted = wanted.where(history.c.node == node)
    found = wanted.order_by(history.c.change.desc(), history.c.node).limit(limit).subquery()
    return _past(connection, sa.select(found).where(found.c.so_far - found.c.size <= _READ_SIZE))


def past_change(connection: Connection, tree: str, number: int) -> list[Past]:
    """Return all that the change `number` did in a tree, in the order in which the nodes were made.

    Nothing where that is not remembered.
    """
    wanted = sa.select(history).where(history.c.tree == tree, history.c.change == number)
    return sorted(
        _past(connection, wanted), key=lambda done: max(n.made for n in (done.before, done.after) if n)
    )


def _past(connection: Connection, wanted: sa.Select[Any]) -> list[Past]:
    return [
        Past(row.change, row.node, row.what, row.at, row.by, _node(row.before), _node(row.after))
        for row in connection.execute(wanted)
    ]


def _node(text: str | None) -> Node | None:
    return None if text is None else Node(**json.loads(text))


def _fields(node: Node) -> dict[str, Any]:
    return {name: getattr(node, name) for name in _FIELDS}


def _row_of(before: Node | None, after: Node | None) -> dict[str, Any]:
    texts = [node and json.dumps(_fields(node), separators=(",", ":")) for node in (before, after)]
    size = sum(len(text) for text in texts if text)
    (id_, *_) = (node.id for node in (before, after) if node)
    return {"node": id_, "before": texts[0], "after": texts[1], "size": size}


def _forget_the_oldest(connection: Connection, number: int, tree: str) -> None:
    """Keep the history of a tree within bounds: whole changes are forgotten, never the one that is being made.

    A tenth more goes at a time: to find out what is beyond takes longer than all the rest of a change.
    """
    of_tree = history.c.tree == tree
    count, size = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(history.c.size)).where(of_tree)
    ).one()
    if count <= MAX_HISTORY and size <= MAX_HISTORY_SIZE:
        return
    newest = history.c.change.desc()
    rows = sa.select(
        history.c.change,
        sa.func.row_number().over(order_by=newest).label("number"),
        sa.func.sum(history.c.size).over(order_by=newest).label("so_far"),
    )
    of = rows.where(of_tree).subquery()
    beyond = sa.or_(of.c.number > MAX_HISTORY * 9 // 10, of.c.so_far > MAX_HISTORY_SIZE * 9 // 10)
    last = connection.scalar(sa.select(sa.func.max(of.c.change)).where(beyond, of.c.change < number))
    if last is not None:
        connection.execute(history.delete().where(of_tree, history.c.change <= last))


def previews_of(connection: Connection, keys: Collection[str], now: int) -> list[StoredPreview]:
    """Return the previews with these keys, of any tree, that are not over."""
    columns = [previews.c[name] for name in StoredPreview.__dataclass_fields__]
    return [
        StoredPreview(*row)
        for some in _portions(keys)
        for row in connection.execute(
            sa.select(*columns).where(previews.c.key.in_(some), previews.c.until > now)
        )
    ]


def write_previews(connection: Connection, wanted: Collection[StoredPreview]) -> None:
    """Write previews in the place of those that are the same."""
    for preview in wanted:
        same = (previews.c.tree == preview.tree) & (previews.c.key == preview.key)
        connection.execute(previews.delete().where(same))
    rows = [{name: getattr(row, name) for name in StoredPreview.__dataclass_fields__} for row in wanted]
    if rows:
        connection.execute(previews.insert(), rows)


def forget_previews(connection: Connection, now: int, most: int) -> None:
    """Take away the previews that are over, and the oldest as long as all have more than `most` bytes together."""
    connection.execute(previews.delete().where(previews.c.until <= now))
    newest_first = previews.c.until.desc()
    so_far = sa.func.sum(previews.c.size).over(order_by=newest_first).label("so_far")
    summed = sa.select(previews.c.until, so_far).subquery()
    last = connection.scalar(sa.select(sa.func.max(summed.c.until)).where(summed.c.so_far > most))
    if last is not None:
        connection.execute(previews.delete().where(previews.c.until <= last))


def _path(uri: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))


def _portions(paths: Collection[str]) -> Iterable[list[str]]:
    listed = list(paths)
    return (listed[start : start + _TOGETHER] for start in range(0, len(listed), _TOGETHER))
