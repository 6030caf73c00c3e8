"""Chains that nobody has kept: what operations on a node come to, as long as the node is what it was.

Nothing is remembered here, and nothing computed: see `previews` for their addresses, `evaluate` for their bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field, TypeAdapter, ValidationError

from tiled_spyde.errors import Gone, InvalidOperation, SpydeError, TooLarge
from tiled_spyde.named import address_of as address_in
from tiled_spyde.named import entering, inputs_of
from tiled_spyde.node import PREVIEW, Node, as_text
from tiled_spyde.operations import build, explain
from tiled_spyde.operations.base import Strict
from tiled_spyde.recipe import MAX_STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tiled_spyde.operations.base import Operation
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.tree import SignalTree

    Keep = Callable[[tuple[str, ...], Operation], Operation]
    Others = frozenset[tuple[str, ...]]

MAX_STEPS_TEXT = 2**20
_BESIDE = 500  # bytes of all else that belongs to one
_EXPECTED = 'Send a list like [{"operation": "gaussian_filter", "parameters": {"sigma": 1.5}}].'


class Step(Strict):
    """One operation of a chain."""

    operation: str = Field(max_length=200)
    parameters: dict[str, Any] = Field(default_factory=dict)


_STEPS = TypeAdapter(list[Step])


@dataclass(frozen=True, slots=True)
class Preview:
    """A chain on a node.

    Parameters
    ----------
    place : str
        Which tree it belongs to: `SignalTree.place`.
    node : str
        Id of the node that it begins with.
    steps : str
        The operations with every parameter, as JSON.
    base : Recipe
        What the node came to when it was derived.
    recipe : Recipe
        What the chain came to.
    entering : frozenset of tuple of str
        Addresses of the other trees that it is made from.
    """

    place: str
    node: str
    steps: str
    base: Recipe
    recipe: Recipe
    entering: Others = frozenset()

    @property
    def key(self) -> str:
        """Content key of what it gives."""
        return self.recipe.key

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.steps) + _BESIDE


def steps_of(text: str) -> list[Step]:
    """Read steps from JSON.

    Raises
    ------
    InvalidOperation
        It is something else, or too many; the message says what is expected.
    """
    try:
        steps = _STEPS.validate_json(text)
    except ValidationError as error:
        raise InvalidOperation(f"steps: {explain(error)}. {_EXPECTED}") from None
    check_number(steps)
    return steps


def check_number(steps: Sequence[Step]) -> None:
    """Refuse more steps than any chain has.

    Raises
    ------
    InvalidOperation
    """
    if len(steps) > MAX_STEPS:
        raise InvalidOperation(f"A chain has at most {MAX_STEPS} steps; this one has {len(steps)}.")


def asks_of(path: str, steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the paths of all nodes that someone must be allowed to read for a chain on the node at `path`."""
    *here, _ = path.strip("/").split("/")
    named = dict.fromkeys(name for step in steps for name in _named_by(step))
    return (path, *("/".join(address_in(name, tuple(here))) for name in named))


def _named_by(step: Step) -> Collection[str]:
    """Return the nodes that parameters of a step name, as people write them; of what makes no sense, nothing."""
    if not any(isinstance(value, dict) and "node" in value for value in step.parameters.values()):
        return ()
    try:
        return build(step.operation, step.parameters).named.values()
    except SpydeError:
        return ()


def address_of(path: str, preview: Preview) -> str:
    """Return the pinned address of a preview of the node at `path`, percent-encoded as it stands in a URL."""
    above, slash, _ = path.strip("/").rpartition("/")
    return quote(f"{above}{slash}{PREVIEW}@{preview.key}", safe="/@")


def derive(
    tree: SignalTree, name: str, steps: Sequence[Step], keep: Keep, below: Preview | None = None
) -> Preview:
    """Resolve a chain on the node `name` of `tree`.

    Parameters
    ----------
    tree : SignalTree
    name : str
    steps : sequence of Step
    keep : callable
        Gives an operation in the tree at an address with the nodes that it names by their ids: `Catalog.kept`.
    below : Preview, optional
        What `name` is, where it is no node.

    Raises
    ------
    InvalidOperation, TooLarge
        An operation is unknown, does not fit or has parameters out of bounds; there are too many steps.
    """
    node, base, others = tree.nodes[name].id, tree.recipe(name), tree.entering(name)
    recipe, given = base, list[tuple[str, str]]()
    if below is not None:
        node, base, given, others = below.node, below.base, json.loads(below.steps), below.entering
    for number, step in enumerate(steps):
        try:
            operation = keep(tree.address, build(step.operation, step.parameters))
            recipe, more = _then(tree, recipe, operation)
        except SpydeError as error:
            where = f"Step {number + 1}: " if len(steps) > 1 else ""
            raise type(error)(f"{where}{error}") from error
        given.append((operation.name, as_text(operation)))
        others |= more
    text = json.dumps(given, separators=(",", ":"))
    if len(text) > MAX_STEPS_TEXT:
        raise TooLarge(f"The steps have {len(text)} characters; a preview has at most {MAX_STEPS_TEXT}.")
    return Preview(tree.place, node, text, base, recipe, others)


def derived_again(tree: SignalTree, node: str, steps: str, key: str) -> Preview:
    """Resolve the steps of a preview on the node with an id, as that is now.

    Raises
    ------
    Gone
        It comes to something else than `key`, or to nothing.
    """
    try:
        name = tree.name_of(node)
        if not name:
            raise InvalidOperation("it was deleted.")
        base, others = tree.recipe(name), tree.entering(name)
        recipe = base
        for operation, parameters in json.loads(steps):
            recipe, more = _then(tree, recipe, build(operation, json.loads(parameters)))
            others |= more
    except (SpydeError, ValueError, TypeError) as error:
        raise Gone(
            f"What this preview was derived from is not there as it was: {error} Undo that, or derive another."
        ) from error
    if recipe.key != key:
        raise Gone("What this preview was derived from has changed. Derive it again.")
    return Preview(tree.place, node, steps, base, recipe, others)


def is_current(preview: Preview, tree: SignalTree) -> bool:
    """Whether all that a preview is made from is as it was when it was derived; microseconds."""
    node, recipe = tree.by_id(preview.node), preview.recipe
    if node is None or tree.resolve(node) is not preview.base:
        return False
    try:
        while recipe is not preview.base and recipe.parent is not None and recipe.operation is not None:
            if recipe.inputs and recipe.inputs != inputs_of(tree, recipe.operation):
                return False
            recipe = recipe.parent
    except SpydeError:
        return False
    return True


def _then(tree: SignalTree, recipe: Recipe, operation: Operation) -> tuple[Recipe, Others]:
    """Return a recipe with one step more, and the addresses of the other trees that the step names nodes of."""
    after = recipe.then(operation, inputs_of(tree, operation))
    if not operation.named:
        return after, frozenset()
    return after, entering(tree, Node(PREVIEW, PREVIEW, None, operation.name, as_text(operation)))
