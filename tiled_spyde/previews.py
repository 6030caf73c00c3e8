"""Chains that nobody has kept: looked at once, they have a pinned address for a day.

Who derives one is answered from memory; a thread writes what was derived, several at a time, so that other processes
find it when they are asked for it. What is remembered here is no more than how to compute it: the bytes are the
evaluator's, by their key, and the same as those of a node that is kept. As the pinned address of such a node, that of
a preview is gone as soon as what it is made from is something else: in every process, and after a restart.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tiled_spyde import chains, records
from tiled_spyde.errors import Gone, NotFound, SpydeError
from tiled_spyde.node import PREVIEW
from tiled_spyde.records import StoredPreview

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tiled_spyde.chains import Keep, Preview, Step
    from tiled_spyde.database import Database
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


class Previews:
    """What was derived, of all trees: remembered within bounds, and written for other processes.

    Parameters
    ----------
    database : Database, optional
        Where other processes look for it. While it cannot be used, this process remembers what it has derived.
    kept : callable
        Gives an operation in the tree at an address with the nodes that it names by their ids: `Catalog.kept`.

    Attributes
    ----------
    derived : int
        How many chains were asked for that nobody had asked for within a day.
    """

    def __init__(
        self, database: Database | None = None, kept: Keep = lambda at, operation: operation
    ) -> None:
        self.derived = 0
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

    @property
    def remembered(self) -> int:
        """How many can be asked for here without a look in the database."""
        return len(self._held)

    def derive(self, tree: SignalTree, name: str, steps: Sequence[Step]) -> Preview:
        """Resolve a chain on the node or preview `name` of `tree`; see `chains.derive`. Nothing is remembered."""
        below = self._of(tree, tree.recipe(name).key) if name == PREVIEW else None
        return chains.derive(tree, name, steps, self._kept, below)

    def keep(self, preview: Preview) -> None:
        """Remember a preview that was just asked for, and have it written; microseconds."""
        address, now = (preview.place, preview.key), int(time.time())
        with self._changing:
            held = self._held.get(address)
            if held is not None and held.until - now > _LASTS:
                self._held.put(address, _Held(preview, held.until))
                return
            self.derived += held is None
            until = now + _LASTS + _RENEWED
            self._held.put(address, _Held(preview, until))
            if self._database is None or self._ended.is_set():
                return
            row = StoredPreview(preview.place, preview.key, preview.node, until, preview.size, preview.steps)
            self._waiting.put(address, row)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="previews", daemon=True)
                self._thread.start()
        self._due.set()

    def knows(self, place: str, key: str) -> bool:
        """Whether it is in memory, and not over; microseconds."""
        address, now = (place, key), time.time()
        return any(
            one is not None and one.until > now for one in (self._held.get(address), self._found.get(address))
        )

    def get(self, tree: SignalTree, key: str) -> Preview:
        """Return the preview with a key.

        Raises
        ------
        NotFound
            No key was given.
        Gone
            It is over, was never derived, or what it is made from is something else by now.
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
        held, found = self._held.get(address), self._found.get(address)
        if held is not None and held.until > now:
            preview, until = held.preview, held.until
            if chains.is_current(preview, tree):
                return preview
            node, steps = preview.node, preview.steps
        elif found is not None and found.until > now:
            node, steps, until = found.node, found.steps, found.until
        else:
            raise Gone(
                "This preview is gone: it is kept for a day after it was derived last. Derive it again, or make "
                "it a node."
            )
        preview = chains.derived_again(tree, node, steps, key)
        with self._changing:
            self._held.put(address, _Held(preview, until))
            self._found.drop(address)
        return preview

    # In the thread that writes.

    def _run(self) -> None:
        ending = False
        while not ending:
            self._due.wait()
            self._due.clear()  # first: whoever ends this from here on is heard in the next turn
            ending = self._ended.wait(_TOGETHER)
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


@dataclass(frozen=True, slots=True)
class _Held:
    preview: Preview
    until: int

    @property
    def size(self) -> int:
        return self.preview.size


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

    def __len__(self) -> int:
        return len(self._values)

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
