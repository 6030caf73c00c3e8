"""What people do to nodes, as functions of a tree as it is within the transaction: they say what differs after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import Conflict, Gone, InvalidOperation, NameTaken, NotFound, Outdated
from tiled_spyde.headers import still_holds
from tiled_spyde.labels import plain_text
from tiled_spyde.named import is_circular
from tiled_spyde.node import OWN_NAMES, as_text
from tiled_spyde.operations import build
from tiled_spyde.tree import MAX_NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tiled_spyde.node import Node
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.records import Difference, Past, StoredTree
    from tiled_spyde.tree import SignalTree

    # Gives what was done last to the node with an id.
    Last = Callable[[str], Past | None]
    # From a tree, what is written of it, and what was done last: what is done now, and what differs after it.
    Change = Callable[[SignalTree, StoredTree, Last], tuple[str, list[Difference]]]
    # From an operation to the same with the nodes that it names by their ids.
    Kept = Callable[[Operation], Operation]
    # From the ids of a tree and of a node in it, how to say which nodes of other trees are made from that.
    Elsewhere = Callable[[str, str], list[str]]

MAX_DESCRIPTION = 10_000


@dataclass(frozen=True)
class Changed:
    """What a change came to.

    Parameters
    ----------
    tree : SignalTree
        As it is after it.
    changed : tuple of str
        Names of the nodes that are another one now, or there again.
    deleted : tuple of str
        Names of those that are gone.
    change : int
        Its number.
    """

    tree: SignalTree
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    change: int


@dataclass(frozen=True)
class Wanted:
    """What somebody wants a node to be; None leaves a part as it is.

    Parameters
    ----------
    name : str or None
    description : str, None or ...
        ``...`` leaves it as it is.
    operation : str or None
    parameters : mapping or None
        All of them; None takes the defaults of another operation.
    """

    name: str | None = None
    description: str | EllipsisType | None = ...
    operation: str | None = None
    parameters: Mapping[str, Any] | None = None

    def of(self, tree: SignalTree, name: str, node: Node, kept: Kept) -> Node:
        """Return `node`, shown as `name`, as it is wanted.

        Raises
        ------
        NotFound, NameTaken, InvalidOperation, TooLarge
        """
        if self.parameters is not None or self.operation not in (None, node.operation):
            operation = node.operation if self.operation is None else self.operation
            step = kept(build(operation, self.parameters or {}))
            if (step.name, as_text(step)) != (node.operation, node.parameters):
                fitting = tree.fitting(name, step)
                node = replace(node, operation=fitting.name, parameters=as_text(fitting))
        if not isinstance(self.description, EllipsisType):
            node = replace(node, description=_checked(self.description))
        if self.name is not None and self.name != name:
            tree.check_free(self.name)
            node = replace(node, name=self.name)
        return node


def person(by: str | None) -> str | None:
    """Return a name in characters that any database takes."""
    return by and plain_text(by).replace("\0", "?")


def making(
    name: str | None, parent: str, operation: Operation, kept: Kept, by: str | None, once: str | None = None
) -> Change:
    """Make a node; nothing is to be done where the same is there.

    Parameters
    ----------
    name, parent, operation
        As of `SignalTree.grown`, with nodes as people name them.
    kept : callable
        Gives the operation as it is kept.
    by : str or None
        Who makes it.
    once : str, optional
        What tells it from all nodes that are made in a tree a single time, whatever people do with it then.
    """

    def change(tree: SignalTree, stored: StoredTree, last: Last) -> tuple[str, list[Difference]]:
        step = kept(operation)
        if tree.find(parent, step, name) is not None:
            return "made", []
        _, node = tree.grown(name, parent, step, by)
        if once is not None:
            id_ = blake2b(f"{stored.id}/{once}".encode(), digest_size=16).hexdigest()
            if tree.name_of(id_) or last(id_):
                raise Gone(f"{node.name!r} was made before, and was changed or deleted since.")
            node = replace(node, id=id_)
        return "made", [(None, node)]

    return change


def changing(name: str, wanted: Wanted, if_match: str | None, kept: Kept) -> Change:
    """Rename, describe or re-point the node `name`, if it is one that `if_match` means."""

    def change(tree: SignalTree, stored: StoredTree, last: Last) -> tuple[str, list[Difference]]:
        before = _own(tree, stored, name)
        _refuse_outdated(tree, name, if_match, last)
        after = wanted.of(tree, name, before, kept)
        what = "renamed" if replace(after, name=before.name) == before else "changed"
        return what, [] if after == before else [(before, after)]

    return change


def deleting(name: str, if_match: str | None, elsewhere: Elsewhere, *, recursive: bool) -> Change:
    """Delete the node `name`, if it is one that `if_match` means; with `recursive` all made from it too."""

    def change(tree: SignalTree, stored: StoredTree, last: Last) -> tuple[str, list[Difference]]:
        node = _own(tree, stored, name)
        _refuse_outdated(tree, name, if_match, last)
        users = list(map(repr, tree.users_of(name)))
        if users and not recursive:
            raise Conflict(
                f"{_said(users)} made from {name!r}. Delete them first, or all together (?recursive=true)."
            )
        gone = {tree.nodes[user].id for user in tree.below(name)} - {node.id}
        _refuse_users(elsewhere, stored, [node.id, *gone], name)
        return "deleted", [(node, None), *((other, None) for other in stored.nodes if other.id in gone)]

    return change


def undoing(past: Sequence[Past], elsewhere: Elsewhere) -> Change:
    """Put back what `past`, which is all that one change did, was before it."""

    def change(tree: SignalTree, stored: StoredTree, last: Last) -> tuple[str, list[Difference]]:
        there = {node.id: node for node in stored.nodes}
        for done in past:
            if _meaning(there.get(done.node)) != _meaning(done.after):
                which = done.after or done.before
                raise Conflict(
                    f"{which and which.name!r} was changed again since{_told(last(done.node))}. Undo that first."
                )
        _refuse_gaps(tree, there, past, last)
        for done in past:
            if done.before is None:
                _refuse_users(elsewhere, stored, [done.node], tree.name_of(done.node))
        differences = [(there.get(done.node), done.before) for done in past]
        _refuse_circles(tree, there, differences)
        return "undone", differences

    return change


def _own(tree: SignalTree, stored: StoredTree, name: str) -> Node:
    """Return the node that is shown as `name`, as it is written."""
    if name not in tree.nodes:
        raise NotFound(f"There is no node {name!r} in this tree.")
    found = next((node for node in stored.nodes if node.id == tree.nodes[name].id), None)
    if name in OWN_NAMES or found is None:
        raise InvalidOperation(f"{name!r} is the tree's own: it cannot be changed or deleted.")
    return found


def _refuse_outdated(tree: SignalTree, name: str, if_match: str | None, last: Last) -> None:
    node = tree.nodes[name]
    if not still_holds(if_match, f'"{node.version}"'):
        raise Outdated(
            f"{name!r} was changed meanwhile{_told(last(node.id))}: its version is {node.version}. "
            "Look at it as it is now, and try again if you still want to.",
            tree,
            name,
        )


def _refuse_gaps(tree: SignalTree, there: Mapping[str, Node], past: Sequence[Past], last: Last) -> None:
    """Refuse to undo what would leave two nodes with one name, or some without what they are made from."""
    undone = {done.node: done.before for done in past}
    names = {node.name: node for node in there.values() if node.id not in undone}
    after = {id_: node for id_, node in {**there, **undone}.items() if node}
    for done in past:
        before = done.before
        if before is None:
            name = tree.name_of(done.node)
            if users := [user for user in tree.users_of(name) if tree.nodes[user].id not in undone]:
                raise Conflict(
                    f"{_said(list(map(repr, users)))} made from {name!r} since. Delete them first."
                )
        elif before.name in names:
            raise NameTaken(
                f"The name {before.name!r} was taken by another node since"
                f"{_told(last(names[before.name].id))}. Give that another name first."
            )
        elif missing := _wanted(before, there.get(done.node)) - after.keys():
            raise Conflict(
                f"What {before.name!r} is made from is deleted{_told(last(min(missing)))}. Undo that first."
            )
    if len(after) + len(OWN_NAMES & tree.nodes.keys()) > MAX_NODES:
        raise InvalidOperation(f"A tree has at most {MAX_NODES} nodes; delete some first.")


def _meaning(node: Node | None) -> Node | None:
    """Return what of a node is compared: whatever people can change."""
    return node and replace(node, version=0)


def _checked(description: str | None) -> str | None:
    text = plain_text(description or "").replace("\0", "?").strip()
    if len(text) > MAX_DESCRIPTION:
        raise InvalidOperation(
            f"description: it has {len(text)} characters; a node keeps at most {MAX_DESCRIPTION}."
        )
    return text or None


def _wanted(node: Node, now: Node | None) -> set[str]:
    """Return the ids of what a node would be made from, and is not made from now."""
    return set(node.made_from).difference(OWN_NAMES, now.made_from if now else ())


def _refuse_users(elsewhere: Elsewhere, stored: StoredTree, ids: Iterable[str], name: str) -> None:
    """Refuse to delete what nodes of other trees are made from: these cannot be deleted along with it."""
    if users := [user for id_ in ids for user in elsewhere(stored.id, id_)]:
        raise Conflict(
            f"{_said(users)} made from {name!r}, or from what is made from it. Delete or change that first."
        )


def _refuse_circles(tree: SignalTree, there: Mapping[str, Node], differences: Sequence[Difference]) -> None:
    """Refuse to undo what would leave a node that is made from itself."""
    entered = [now for _, now in differences if now and now.inputs]
    undone = {node.id: now for was, now in differences if (node := was or now)}
    after = tree.with_nodes(node for node in {**there, **undone}.values() if node) if entered else tree
    for node in entered:
        if is_circular(after, node):
            raise Conflict(
                f"{node.name!r} would be made from itself: what it was made from is made from it since. "
                "Change that first."
            )


def _said(names: Sequence[str]) -> str:
    some = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"{some} {'is' if len(names) == 1 else 'are'}"


def _told(done: Past | None) -> str:
    """By whom and when, as far as that is known."""
    return "" if done is None else f" (by {done.by or 'somebody'}, {done.at}: {done.what})"
