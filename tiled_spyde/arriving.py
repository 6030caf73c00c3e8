"""A recipe that arrives in another tree: checked as a whole, then each node is made where it fits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tiled_spyde.errors import InvalidOperation, SpydeError
from tiled_spyde.labels import plain_text
from tiled_spyde.node import MAX_NAME, ROOT, check_name
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.recipe import MAX_STEPS
from tiled_spyde.travel import OWN, calibration_of, foreign, in_order, named, renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiled_spyde.node import Node
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.records import Difference
    from tiled_spyde.travel import Document, NodeStep
    from tiled_spyde.tree import SignalTree

    Keep = Callable[[Operation, SignalTree], Operation]

# Nodes of other trees that parameters may name: for each, somebody's right is asked for.
MAX_FOREIGN = 100


@dataclass
class Applied:
    """What became of the nodes of a recipe.

    Parameters
    ----------
    made, there : list of str
        Names of the nodes that are new, and of those that were the same already.
    left : list of dict
        ``name`` in the recipe, and ``why`` it is not made.
    notes : list of dict
        ``name`` in the recipe, and what else is to be known (``note``).
    """

    made: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)


class Arrival:
    """A recipe on its way into a tree, as a change of it; see `apply`.

    Attributes
    ----------
    done : Applied
        What became of it, when it was looked at last.
    """

    def __init__(self, document: Document, refused: Mapping[str, str], by: str | None, keep: Keep) -> None:
        self.by = by
        self.done = Applied()
        self._document, self._refused, self._keep = document, refused, keep
        self._looked: tuple[SignalTree, list[Node]] | None = None

    def nodes_in(self, tree: SignalTree) -> list[Node]:
        """Return the nodes that are new in a tree."""
        if self._looked is None or self._looked[0] is not tree:  # or others were faster
            self.done, nodes = apply(self._document, tree, self._refused, self.by, self._keep)
            self._looked = tree, nodes
        return self._looked[1]

    def change(self, tree: SignalTree, *_: object) -> tuple[str, list[Difference]]:
        """Make them; a `changes.Change`."""
        return "made", [(None, node) for node in self.nodes_in(tree)]


def check(document: Document) -> None:
    """Refuse a document that can be applied nowhere.

    Raises
    ------
    InvalidOperation
        A node's name cannot be one, an operation is unknown, a parameter is not what the operation takes, a chain has
        too many steps or goes round in a circle: the message names the node. Parameters name too many nodes of other
        trees.
    """
    for step in document.nodes:
        try:
            check_name(step.name)
            build(step.operation, step.parameters)
        except SpydeError as error:
            raise InvalidOperation(f"{step.name[:40]!r}: {error}") from None
    if len(foreign(document)) > MAX_FOREIGN:
        raise InvalidOperation(f"Parameters name more than {MAX_FOREIGN} nodes of other trees.")
    ordered, waiting = in_order(document.nodes)
    lengths = dict.fromkeys(OWN, 0)
    for step in ordered:
        lengths[step.name] = 1 + max(lengths[above] for above in step.made_from)
    long = next(
        (step for step in (*ordered, *waiting) if lengths.get(step.name, MAX_STEPS + 1) > MAX_STEPS), None
    )
    if long is not None:
        raise InvalidOperation(
            f"{long.name[:40]!r} has more than {MAX_STEPS} steps, or is made from itself. Nothing is made."
        )


def apply(
    document: Document,
    tree: SignalTree,
    refused: Mapping[str, str] | None = None,
    by: str | None = None,
    keep: Keep = lambda operation, tree: operation,
) -> tuple[Applied, list[Node]]:
    """Return what becomes of a recipe in another tree, and the nodes that are new; nothing is changed.

    Parameters
    ----------
    document : Document
        Checked.
    tree : SignalTree
    refused : mapping of str to str, optional
        Why paths that parameters name may not be read.
    by : str, optional
        Who makes them.
    keep : callable
        Gives an operation for a tree with the nodes that it names by their ids: `Catalog.kept`.
    """
    done, made, names = Applied(), [], {name: name for name in OWN}
    _note_calibration(document, tree, done)
    for step in in_order(document.nodes)[0]:
        try:
            _check_above(step, names, refused or {})
            parent, given = names[step.parent], renamed(step.parameters, names)
            operation = keep(build(step.operation, given), tree)
            name = _name_for(step.name, parent, operation, tree)
            if name in tree.nodes:
                done.there.append(name)
            else:
                tree, node = tree.grown(name, parent, operation, by)
                made.append(replace(node, description=_plain(step.description)))
                done.made.append(name)
        except SpydeError as error:
            done.left.append({"name": step.name, "why": str(error)})
        else:
            names[step.name] = name
            _note(step, name, done)
    return done, made


def _check_above(step: NodeStep, names: Mapping[str, str], refused: Mapping[str, str]) -> None:
    for above in step.made_from:
        if above not in names:
            raise InvalidOperation(f"{above!r}, which it is made from, is left out.")
    for path in named(step.parameters):
        if path in refused:
            raise InvalidOperation(f"{path}: {refused[path]}")


def _name_for(wanted: str, parent: str, operation: Operation, tree: SignalTree) -> str:
    """Return the name under which a step is there already, or can be made: its own, or one with a number."""
    if wanted not in tree.nodes or tree.find(parent, operation, wanted):
        return wanted
    short = _short(wanted)
    alike = (name for name in tree.nodes if name == short or _is_numbered(name, short))
    same = next((name for name in alike if tree.find(parent, operation, name)), None)
    return same or tree.free_name(short)


def _plain(description: str | None) -> str | None:
    return plain_text(description or "").replace("\0", "?").strip() or None


def _is_numbered(name: str, short: str) -> bool:
    return name.startswith(f"{short}-") and name[len(short) + 1 :].isdecimal()


def _short(name: str) -> str:
    """Return as much of a name as leaves room for a number behind it."""
    return name if len(name) <= MAX_NAME - 6 else name[: MAX_NAME - 6].rstrip(" .,(=-_")


def _note(step: NodeStep, name: str, done: Applied) -> None:
    here = REGISTRY[step.operation].version
    if step.version not in (None, here):
        note = f"{step.operation} is version {here} here, and was {step.version} there: numbers may differ."
        done.notes.append({"name": step.name, "note": note})
    if name != step.name:
        note = f"The name is taken by another node: it is called {name!r} here."
        done.notes.append({"name": step.name, "note": note})


def _note_calibration(document: Document, tree: SignalTree, done: Applied) -> None:
    here, there = calibration_of(tree), document.calibration
    if there is not None and there != here:
        note = (
            "Where the recipe is from, the configuration calibrates the signal, and here it does not do the same: "
            "positions and distances may mean something else."
        )
        done.notes.append({"name": ROOT, "note": note})
