"""One computation over a whole scan: its frames in, one result out.

The frames are computed by the pool as bulk, some at a time, and taken in one after the other in array order, so the
result does not depend on how many threads there are, nor on where a computation was broken off. The total is kept
on disk as it goes.
"""

from __future__ import annotations

import math
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import Abandoned, Busy, InvalidSlice, SpydeError
from tiled_spyde.operations.whole import Whole
from tiled_spyde.slices import blocks
from tiled_spyde.tickets import Ticket, Urgency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tiled_spyde.recipe import Recipe
    from tiled_spyde.slices import Grid
    from tiled_spyde.store import Store

    Read = Callable[[Recipe, tuple[range, ...], Ticket], Future[NDArray[Any]]]

# Words of what is under way that other processes read: that it is to end, why it has failed, how far it is.
CANCEL, FAILED, PROGRESS = "cancel", "failed", "progress"
# Frames that are held at once are up to so many bytes, and take up to so many seconds on one core.
_TOGETHER_BYTES = 16 << 20
_TOGETHER_SECONDS = 0.5
# How often others are looked at: whether they have ended, or want this to end.
LOOK_SECONDS = 0.1
# What nobody keeps ends when nobody has wanted it for so long: the next value of a slider may need it, too.
_LEFT_SECONDS = 1.0


class Run:
    """A node that needs the whole scan, while it is computed.

    Parameters
    ----------
    recipe : Recipe
        Of the node.
    store : Store

    Attributes
    ----------
    future : concurrent.futures.Future
        Of its end.
    ticket : Ticket
        Abandoned when it is to end before.
    done : int
        How many frames are taken in.
    over : threading.Event
    """

    def __init__(self, recipe: Recipe, store: Store) -> None:
        self.recipe = recipe
        self.future: Future[None] = Future()
        self.ticket = Ticket("job", Urgency.BULK)
        self.done = int(store.said(recipe.key, PROGRESS) or 0)
        self.over = Event()
        self._store = store
        # Whether it goes on whoever is there; else whose claims it serves, and since when there are none.
        self._kept = False
        self._askers: set[Ticket] = set()
        self._left = 0.0
        self._joining = Lock()

    def join(self, asker: Ticket | None) -> bool:
        """Let it go on for `asker`, or, with None, whoever is there; False where it is ending already."""
        with self._joining:
            if not self.ticket.wanted:
                return False
            self._kept = self._kept or asker is None
            if asker is not None:
                self._askers.add(asker)
            return True

    def leave(self, asker: Ticket) -> None:
        """Take back what `join` was told."""
        with self._joining:
            self._askers.discard(asker)
            self._left = monotonic()

    def check(self) -> None:
        """Raise once it is to end: here, or as another process says, or because everybody has left."""
        with self._joining:
            alone = not self._kept and not self._askers
            if (alone and monotonic() - self._left >= _LEFT_SECONDS) or self._store.said(
                self.recipe.key, CANCEL
            ):
                self.ticket.abandon()
        self.ticket.check()

    def wait(self, making: Future[Any]) -> Any:
        """Wait for what is being made, and return it."""
        while True:
            self.check()
            try:
                return making.result(LOOK_SECONDS)
            except NotYet:
                continue
            except CancelledError as error:
                raise Abandoned("It was given up.") from error

    def compute(self, read: Read, save_seconds: float) -> None:
        """Take in what is not taken in yet, and store the result.

        Parameters
        ----------
        read : callable
            ``(recipe, positions, ticket)`` → future of the frames there, shape ``(…positions, …frame)``.
        save_seconds : float
            How often the total is kept on disk.
        """
        recipe, store = self.recipe, self._store
        parent, operation = recipe.parent, recipe.operation
        if parent is None or not isinstance(operation, Whole):
            raise InvalidSlice("Only what needs the whole scan is computed as a whole.")
        store.refuse_beyond(recipe.info.frame_bytes)
        self.done, total = store.saved(recipe.key, operation.total(parent.info))
        saved = monotonic()
        try:
            for count, frames in self._frames(parent, read):
                operation.take(total, frames.reshape(count, *parent.info.signal_shape))
                self.done += count
                store.say(recipe.key, PROGRESS, self.done)
                if monotonic() - saved >= save_seconds:
                    store.save(recipe.key, self.done, total)
                    saved = monotonic()
        except Abandoned:
            with suppress(SpydeError):
                store.save(recipe.key, self.done, total)
            raise
        result = np.asarray(operation.result(total, self.done), recipe.info.dtype)
        store.write(recipe.key, recipe.info, result)
        store.forget(recipe.key)

    def _frames(self, parent: Recipe, read: Read) -> Iterator[tuple[int, NDArray[Any]]]:
        """Give the frames that are not taken in yet, some at a time; the next ones are computed meanwhile."""
        ahead: tuple[int, Future[NDArray[Any]]] | None = None
        for positions in _rest(parent, self.done):
            begun = math.prod(map(len, positions)), self._begin(parent, positions, read)
            if ahead is not None:
                yield ahead[0], self.wait(ahead[1])
            ahead = begun
        if ahead is not None:
            yield ahead[0], self.wait(ahead[1])

    def _begin(self, parent: Recipe, positions: Grid, read: Read) -> Future[NDArray[Any]]:
        """Begin to compute some frames, as soon as there is room for that."""
        while True:
            try:
                return read(parent, positions, self.ticket)
            except Busy:
                self.check()
                self.over.wait(LOOK_SECONDS)


def _rest(parent: Recipe, done: int) -> Iterator[Grid]:
    """Split the scan, in array order, into what is computed at once; without the first `done` positions."""
    scan = tuple(map(range, parent.info.navigation_shape))
    size = max(1, parent.info.frame_bytes, parent.root_frame_bytes)
    most = max(1, min(_TOGETHER_BYTES // size, int(_TOGETHER_SECONDS / max(parent.seconds, 1e-6))))
    for block in blocks(scan, most):
        count = math.prod(map(len, block))
        if done < count:
            yield from _without(block, done)
        done = max(0, done - count)


def _without(block: Grid, done: int) -> Iterator[Grid]:
    """Return `block` without its first `done` positions."""
    if not done:
        yield block
        return
    (first, *rest) = block
    inside = math.prod(map(len, rest))
    whole, part = divmod(done, inside)
    if part:
        for inner in _without(tuple(rest), part):
            yield (first[whole : whole + 1], *inner)
        whole += 1
    if first[whole:]:
        yield (first[whole:], *rest)
