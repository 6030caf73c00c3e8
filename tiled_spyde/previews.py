"""Chains that nobody has kept: looked at once, they have a pinned address for a day.

Who derives one is answered from memory; a thread writes what was derived, several at a time, so that other processes
find it when they are asked for it. What is remembered here is no more than how to compute it: the bytes are the
evaluator's, by their key, and the same as those of a node that is kept.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from pydantic import Field, TypeAdapter, ValidationError

from tiled_spyde import records
from tiled_spyde.errors import Gone, InvalidOperation, NotFound, SpydeError, TooLarge
from tiled_spyde.named import address_of as address_in
from tiled_spyde.named import entering, inputs_of
from tiled_spyde.node import PREVIEW, Node, as_text
from tiled_spyde.operations import build, explain
from tiled_spyde.operations.base import Strict
from tiled_spyde.recipe import MAX_STEPS
from tiled_spyde.records import StoredPreview

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tiled_spyde.database import Database
    from tiled_spyde.operations.base import Operation
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.tree import SignalTree

logger = logging.getLogger(__name__)

# In seconds: from when it was derived last, and how much longer so that not each look at it is written.
_LASTS = 86_400
_RENEWED = 3600
# What is derived within so many seconds is written together.
_TOGETHER = 0.25
_TRIED_AGAIN = 1.0  # seconds after the database could not be written
_CLEARED = 600.0  # seconds between two looks for what is over
# In bytes, of steps as JSON: in memory, waiting to be written, and in the database.
_MOST_HELD = 32 * 2**20
_MOST_WAITING = 16 * 2**20
_MOST_STORED = 64 * 2**20
_BESIDE = 500  # bytes of all else that belongs to one
MAX_STEPS_TEXT = 2**20


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
    recipe : Recipe
        What it came to when it was derived.
    entering : frozenset of tuple of str
        Addresses of the other trees that it is made from.
    """

    place: str
    node: str
    steps: str
    recipe: Recipe
    entering: frozenset[tuple[str, ...]] = frozenset()

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


_EXPECTED = 'Send a list like [{"operation": "gaussian_filter", "parameters": {"sigma": 1.5}}].'


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


class Previews:
    """What was derived, of all trees: remembered within bounds, and written for other processes.

    Parameters
    ----------
    database : Database, optional
        Where other processes look for it. While it cannot be used, this process remembers what it has derived.
    kept : callable
        Gives an operation in the tree at an address with the nodes that it names by their ids: `Catalog.kept`.
    """

    def __init__(
        self,
        database: Database | None = None,
        kept: Callable[[tuple[str, ...], Operation], Operation] = lambda at, operation: operation,
    ) -> None:
        self._database = database
        self._kept = kept
        # What can be asked for, what is to be written, and what others wrote and nobody has resolved here.
        self._held: _Bounded[_Held] = _Bounded(_MOST_HELD)
        self._waiting: _Bounded[StoredPreview] = _Bounded(_MOST_WAITING)
        self._found: _Bounded[StoredPreview] = _Bounded(_MOST_WAITING)
        self._changing = Lock()
        self._due, self._ended = Event(), Event()
        self._thread: Thread | None = None
        self._cleared = -_CLEARED
        self._told = ""

    def derive(self, tree: SignalTree, name: str, steps: Sequence[Step]) -> Preview:
        """Resolve a chain on the node `name` of `tree`; nothing is computed or remembered.

        Raises
        ------
        InvalidOperation, TooLarge
            An operation is unknown, does not fit or has parameters out of bounds; there are too many steps.
        """
        node, given, recipe = tree.nodes[name].id, list[tuple[str, str]](), tree.recipe(name)
        others = tree.entering(name)
        if name == PREVIEW:
            below = self._of(tree, recipe.key)
            node, given, others = below.node, json.loads(below.steps), below.entering
        for number, step in enumerate(steps):
            try:
                operation = self._kept(tree.address, build(step.operation, step.parameters))
                recipe, more = _then(tree, recipe, operation)
            except SpydeError as error:
                where = f"Step {number + 1}: " if len(steps) > 1 else ""
                raise type(error)(f"{where}{error}") from error
            given.append((operation.name, as_text(operation)))
            others |= more
        text = json.dumps(given, separators=(",", ":"))
        if len(text) > MAX_STEPS_TEXT:
            raise TooLarge(f"The steps have {len(text)} characters; a preview has at most {MAX_STEPS_TEXT}.")
        return Preview(tree.place, node, text, recipe, others)

    def keep(self, preview: Preview) -> None:
        """Remember a preview that was just asked for, and have it written; microseconds."""
        address, now = (preview.place, preview.key), int(time.time())
        with self._changing:
            held = self._held.get(address)
            if held is not None and held.until - now > _LASTS:
                self._held.put(address, held)
                return
            until = now + _LASTS + _RENEWED
            self._held.put(address, _Held(preview, until, preview.size))
            if self._database is None or self._ended.is_set():
                return
            row = StoredPreview(preview.place, preview.key, preview.node, until, preview.size, preview.steps)
            self._waiting.put(address, row)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="previews", daemon=True)
                self._thread.start()
        self._due.set()

    def knows(self, place: str, key: str) -> bool:
        """Whether it is in memory; microseconds."""
        return (place, key) in self._held or (place, key) in self._found

    def get(self, tree: SignalTree, key: str) -> Preview:
        """Return the preview with a key.

        Raises
        ------
        NotFound
            No key was given.
        Gone
            It is over, was never derived, or its node is another one by now.
        """
        if not key:
            raise NotFound(f"{PREVIEW!r} is no node: a preview is named together with its key.")
        return self._of(tree, key)

    def look_for(self, keys: Collection[str]) -> None:
        """Look in the database for what other processes have derived; waits for it.

        Raises
        ------
        Unavailable
            The database cannot be read just now.
        """
        if self._database is None:
            return
        with self._database.reading() as connection:
            rows = records.previews_of(connection, keys, int(time.time()))
        with self._changing:
            for row in rows:
                self._found.put((row.tree, row.key), row)

    def close(self) -> None:
        """Write what waits, and end."""
        self._ended.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _of(self, tree: SignalTree, key: str) -> Preview:
        address, now = (tree.place, key), time.time()
        held = self._held.get(address)
        if held is not None and held.until > now:
            return held.preview
        row = self._found.get(address)
        if row is None or row.until <= now:
            raise Gone(
                "This preview is gone: it is kept for a day after it was derived last. Derive it again, or make "
                "it a node."
            )
        preview = self._resolved(tree, row)
        with self._changing:
            self._held.put(address, _Held(preview, row.until, preview.size))
            self._found.drop(address)
        return preview

    def _resolved(self, tree: SignalTree, row: StoredPreview) -> Preview:
        """Make a preview of what another process wrote."""
        node = tree.by_id(row.node)
        try:
            if node is None:
                raise NotFound("it was deleted")
            recipe, others = tree.recipe(node.name), tree.entering(node.name)
            for name, parameters in json.loads(row.steps):
                recipe, more = _then(tree, recipe, build(name, json.loads(parameters)))
                others |= more
        except (SpydeError, ValueError, TypeError) as error:
            raise Gone(
                f"The node that this preview was derived from is another one by now: {error}."
            ) from error
        if recipe.key != row.key:
            raise Gone("The node that this preview was derived from has changed. Derive it again.")
        return Preview(row.tree, row.node, row.steps, recipe, others)

    # In the thread that writes.

    def _run(self) -> None:
        ending = False
        while not ending:
            self._due.wait()
            ending = self._ended.wait(_TOGETHER)
            self._due.clear()
            try:
                self._write()
                self._told = ""
            except SpydeError as error:
                if self._told != str(error):
                    logger.warning("Other processes do not see previews of this one: %s", error)
                self._told = str(error)
                self._due.set()
                self._ended.wait(_TRIED_AGAIN)
            except Exception:
                logger.exception("Writing previews failed, and goes on")

    def _write(self) -> None:
        if self._database is None:
            return
        with self._changing:
            rows = self._waiting.taken()
        if not rows:
            return
        clearing = time.monotonic() - self._cleared > _CLEARED
        try:
            with self._database.writing(unmarked=True) as connection:
                records.write_previews(connection, list(rows.values()))
                if clearing:
                    records.forget_previews(connection, int(time.time()), _MOST_STORED)
        except SpydeError:
            with self._changing:
                for address, row in rows.items():
                    if self._waiting.get(address) is None:
                        self._waiting.put(address, row)
            raise
        if clearing:
            self._cleared = time.monotonic()


def _then(
    tree: SignalTree, recipe: Recipe, operation: Operation
) -> tuple[Recipe, frozenset[tuple[str, ...]]]:
    """Return a recipe with one step more, and the addresses of the other trees that the step names nodes of."""
    after = recipe.then(operation, inputs_of(tree, operation))
    if not operation.named:
        return after, frozenset()
    return after, entering(tree, Node(PREVIEW, PREVIEW, None, operation.name, as_text(operation)))


@dataclass(frozen=True, slots=True)
class _Held:
    preview: Preview
    until: int
    size: int


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


_S = TypeVar("_S", bound=_Sized)


class _Bounded(Generic[_S]):
    """Values by place and key within a number of bytes; the one that was put there first goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[tuple[str, str], _S] = OrderedDict()
        self._size = 0

    def __contains__(self, address: object) -> bool:
        return address in self._values

    def get(self, address: tuple[str, str]) -> _S | None:
        return self._values.get(address)

    def put(self, address: tuple[str, str], value: _S) -> None:
        self.drop(address)
        self._values[address] = value
        self._size += value.size
        while self._size > self._most:
            self._size -= self._values.popitem(last=False)[1].size

    def drop(self, address: tuple[str, str]) -> None:
        if (value := self._values.pop(address, None)) is not None:
            self._size -= value.size

    def taken(self) -> dict[tuple[str, str], _S]:
        values, self._values, self._size = dict(self._values), OrderedDict(), 0
        return values
