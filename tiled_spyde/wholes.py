"""Nodes that need the whole scan: each computed once, frame after frame, and stored.

The frames are computed by the pool as bulk, some at a time, and taken in one after the other in array order, so the
result does not depend on how many threads there are, nor on where a computation was broken off. The total is kept
on disk as it goes: who asks again after a cancel or a kill goes on there. Processes that share a store take turns by a
lock, and see each other's progress there.
"""

from __future__ import annotations

import math
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde import errors
from tiled_spyde.claims import answer_of, settle
from tiled_spyde.errors import Abandoned, Busy, Cancelled, SpydeError
from tiled_spyde.marks import Turn
from tiled_spyde.operations.whole import Whole
from tiled_spyde.slices import blocks
from tiled_spyde.tickets import Ticket, Urgency

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from numpy.typing import NDArray

    from tiled_spyde.recipe import Recipe
    from tiled_spyde.slices import Grid
    from tiled_spyde.store import Store

    Read = Callable[[Recipe, tuple[range, ...], Ticket], Future[NDArray[Any]]]
    State = Literal["waiting", "computing", "stored", "failed", "cancelled"]

# Frames that are held at once are up to so many bytes, and take up to so many seconds on one core.
_TOGETHER_BYTES = 16 << 20
_TOGETHER_SECONDS = 0.5
# How often others are looked at: whether they have ended, or want this to end.
_LOOK_SECONDS = 0.1
_MOST = 64
_NOTED = 1000
_ENDS = 10.0
_CANCEL, _FAILED, _PROGRESS = "cancel", "failed", "progress"
# What goes by itself, or when somebody makes room: the next who asks tries again.
_PASSING = (Busy, Abandoned, errors.StorageFull, errors.Unavailable, errors.SourceError)


@dataclass(frozen=True)
class Progress:
    """How far the computation of a node is, in frames."""

    state: State
    done: int
    of: int
    failure: str | None = None


@dataclass(eq=False)
class _Run:
    recipe: Recipe
    future: Future[None] = field(default_factory=Future)
    ticket: Ticket = field(default_factory=lambda: Ticket("job", Urgency.BULK))
    done: int = 0
    over: Event = field(default_factory=Event)


class Wholes:
    """Computes what needs a whole scan, and stores it.

    Parameters
    ----------
    store : Store
    read : callable
        ``(recipe, positions, ticket)`` → future of the frames there, shape ``(…positions, …frame)``.
    save_seconds : float
        How often the total is kept on disk.
    """

    def __init__(self, store: Store, read: Read, save_seconds: float = 2.0) -> None:
        self.store = store
        self.save_seconds = save_seconds
        # What is called when something begins or ends to be computed; from any thread, and must not wait.
        self.told: list[Callable[[], None]] = []
        self._read = read
        self._runs: dict[str, _Run] = {}
        # Why the last try failed, where the next may not; a full disk takes no note of it.
        self._passing: dict[str, str] = {}
        self._closed = False
        self._lock = Lock()

    def missing(self, recipe: Recipe) -> list[Recipe]:
        """Return what must be computed before a frame of `recipe`, and is not stored."""
        return [whole for whole in recipe.wholes if not self.store.has(whole.key)]

    def start(self, whole: Recipe, *, again: bool = False) -> Future[None]:
        """Have a node computed and stored; returns at once. Who asks meanwhile shares the work.

        Parameters
        ----------
        whole : Recipe
        again : bool
            Also where it has failed before, or somebody has cancelled it.

        Raises
        ------
        Cancelled, ComputeError
            It has failed, or was cancelled, and this is not `again`.
        Busy
            Too many are computed at once.
        """
        with self._lock:
            if (run := self._runs.get(whole.key)) is not None:
                return run.future
            if again:
                self.store.say(whole.key, _FAILED, None)
                self.store.say(whole.key, _CANCEL, None)
            elif failure := self._failure(whole.key):
                raise failure
            if self._closed or len(self._runs) >= _MOST:
                raise Busy(f"{len(self._runs)} nodes are being computed already. Try again in a moment.")
            run = self._runs[whole.key] = _Run(whole)
            self._passing.pop(whole.key, None)
        self._tell()
        Thread(target=self._run, args=(run, again), name=f"whole {whole.key[:8]}", daemon=True).start()
        return run.future

    def then(self, whole: Recipe, ticket: Ticket, begin: Callable[[], Future[Any]]) -> Future[Any]:
        """Have a node computed, and then what `begin` begins, without a thread that waits for it.

        Returns
        -------
        concurrent.futures.Future
            Of what `begin` returns; fails with `Abandoned` when the ticket is abandoned, which does not end the
            computation.

        Raises
        ------
        Cancelled, ComputeError, Busy
            As `start`.
        """
        promised: Future[Any] = Future()
        give_up = partial(settle, promised, error=Abandoned("Whoever asked for this has gone."))

        def end(value: Any = None, error: BaseException | None = None) -> None:
            ticket.forget(give_up)
            settle(promised, value, answer_of(error) if error else None)

        def hand_over(made: Future[Any]) -> None:
            error = made.exception()
            end(None if error else made.result(), error)

        def go_on(computed: Future[None]) -> None:
            try:
                computed.result()
                ticket.check()
                begin().add_done_callback(hand_over)
            except BaseException as error:
                end(error=error)

        computing = self.start(whole)
        ticket.when_abandoned(give_up)
        computing.add_done_callback(go_on)
        return promised

    def cancel(self, whole: Recipe) -> None:
        """End a computation, in whichever process it is; what is computed stays."""
        if not self.store.has(whole.key):
            self.store.say(whole.key, _CANCEL, True)
            with self._lock:
                run = self._runs.get(whole.key)
            if run is not None:
                run.ticket.abandon()
                run.over.wait(_ENDS)

    def progress(self, whole: Recipe) -> Progress:
        """Say how far a node is; some microseconds, or a small file where another process may know."""
        count = _positions(whole)
        if self.store.has(whole.key):
            return Progress("stored", count, count)
        if (run := self._runs.get(whole.key)) is not None and run.ticket.wanted:
            return Progress("computing", run.done, count)
        done = int(self.store.said(whole.key, _PROGRESS) or 0)
        if why := self._passing.get(whole.key):
            return Progress("failed", done, count, why)
        if failure := self._failure(whole.key):
            return Progress(
                "cancelled" if isinstance(failure, Cancelled) else "failed", done, count, str(failure)
            )
        return Progress("computing" if done and self._is_elsewhere(whole.key) else "waiting", done, count)

    def progress_below(self, recipe: Recipe) -> Progress:
        """Say how far all is that a frame of `recipe` needs from whole scans."""
        each = [self.progress(whole) for whole in _all_wholes(recipe)]
        done, of = sum(one.done for one in each), sum(one.of for one in each)
        for state in ("failed", "cancelled", "computing", "waiting"):
            if found := next((one for one in each if one.state == state), None):
                return Progress(found.state, done, of, found.failure)
        return Progress("stored", done, of)

    def state_of(self, recipe: Recipe) -> dict[str, Any]:
        """Return what a node's metadata say of its computation; nothing where it needs no whole scan."""
        if not recipe.wholes:
            return {}
        found = self.progress_below(recipe)
        if found.state == "stored":
            return {"state": "stored" if recipe.is_whole else "lazy"}
        if found.state == "computing":
            return {"state": "computing", "progress": {"done": found.done, "of": found.of}}
        return {"state": "failed" if found.state == "failed" else "lazy", "failure": found.failure}

    def close(self) -> None:
        """End all computations; each goes on from there when somebody asks again."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run in runs:
            run.ticket.abandon()
        for run in runs:
            run.over.wait(_ENDS)

    def _failure(self, key: str) -> SpydeError | None:
        if self.store.said(key, _CANCEL):
            return Cancelled("Computing this was cancelled. Start its job again to go on from there.")
        if not (told := self.store.said(key, _FAILED)):
            return None
        kind = getattr(errors, str(told.get("kind")), errors.ComputeError)
        return kind(f"{told.get('failure')} Start its job again once that is mended.")

    def _is_elsewhere(self, key: str) -> bool:
        """Whether another process computes it."""
        turn = Turn(self.store.place(key))
        if not turn.take():
            return True
        turn.give_back()
        return False

    def _tell(self) -> None:
        for told in self.told:
            told()

    # One thread for each, which computes nothing itself.

    def _run(self, run: _Run, again: bool) -> None:
        error: Exception | None = None
        try:
            for above in run.recipe.wholes_above:
                if not self.store.has(above.key):
                    self._wait(run, self.start(above, again=again))
            self._in_turn(run)
        except BaseException as raised:
            error = answer_of(raised)
            if (
                isinstance(error, _PASSING)
                and not isinstance(error, Abandoned)
                and len(self._passing) < _NOTED
            ):
                self._passing[run.recipe.key] = str(error)
            elif isinstance(error, SpydeError) and not isinstance(error, _PASSING):
                told = {"kind": type(error).__name__, "failure": str(error)}
                self.store.say(run.recipe.key, _FAILED, told)
        if isinstance(error, Abandoned):
            error = self._failure(run.recipe.key) or Busy("The server is ending. Try again in a moment.")
        with self._lock:
            del self._runs[run.recipe.key]
        run.over.set()
        settle(run.future, error=error)
        self._tell()

    def _in_turn(self, run: _Run) -> None:
        """Compute it, unless another process has or does: then wait for that."""
        key = run.recipe.key
        turn = Turn(self.store.place(key))
        while not self.store.has(key):
            if turn.take():
                try:
                    if not self.store.has(key):
                        self._compute(run)
                finally:
                    turn.give_back()
                return
            run.done = int(self.store.said(key, _PROGRESS) or 0)
            if failure := self._failure(key):
                raise failure
            self._check(run)
            run.over.wait(_LOOK_SECONDS)

    def _compute(self, run: _Run) -> None:
        recipe, store = run.recipe, self.store
        parent, operation = recipe.parent, recipe.operation
        if parent is None or not isinstance(operation, Whole):
            raise errors.InvalidSlice("Only what needs the whole scan is computed as a whole.")
        store.refuse_beyond(recipe.info.frame_bytes)
        run.done, total = store.saved(recipe.key, operation.total(parent.info))
        saved = monotonic()
        try:
            for count, frames in self._frames(run, parent):
                operation.take(total, frames.reshape(count, *parent.info.signal_shape))
                run.done += count
                store.say(recipe.key, _PROGRESS, run.done)
                if monotonic() - saved >= self.save_seconds:
                    store.save(recipe.key, run.done, total)
                    saved = monotonic()
        except Abandoned:
            with suppress(SpydeError):
                store.save(recipe.key, run.done, total)
            raise
        result = np.asarray(operation.result(total, run.done), recipe.info.dtype)
        store.write(recipe.key, recipe.info, result)
        store.forget(recipe.key)

    def _frames(self, run: _Run, parent: Recipe) -> Iterator[tuple[int, NDArray[Any]]]:
        """Give the frames that are not taken in yet, some at a time; the next ones are computed meanwhile."""
        ahead: tuple[int, Future[NDArray[Any]]] | None = None
        for positions in _rest(parent, run.done):
            begun = math.prod(map(len, positions)), self._begin(run, parent, positions)
            if ahead is not None:
                yield ahead[0], self._wait(run, ahead[1])
            ahead = begun
        if ahead is not None:
            yield ahead[0], self._wait(run, ahead[1])

    def _begin(self, run: _Run, parent: Recipe, positions: Grid) -> Future[NDArray[Any]]:
        """Begin to compute some frames, as soon as there is room for that."""
        while True:
            try:
                return self._read(parent, positions, run.ticket)
            except Busy:
                self._check(run)
                run.over.wait(_LOOK_SECONDS)

    def _wait(self, run: _Run, making: Future[Any]) -> Any:
        while True:
            self._check(run)
            try:
                return making.result(_LOOK_SECONDS)
            except NotYet:
                continue
            except CancelledError as error:
                raise Abandoned("It was given up.") from error

    def _check(self, run: _Run) -> None:
        """Raise once it is to end: here, or as another process says."""
        if self.store.said(run.recipe.key, _CANCEL):
            run.ticket.abandon()
        run.ticket.check()


def _all_wholes(recipe: Recipe) -> list[Recipe]:
    """Return what `recipe` needs from whole scans, and what that needs, the latter first."""
    found: dict[str, Recipe] = {}
    for whole in recipe.wholes:
        for above in whole.wholes_above:
            found |= {one.key: one for one in _all_wholes(above)}
        found[whole.key] = whole
    return list(found.values())


def _positions(whole: Recipe) -> int:
    return math.prod(whole.parent.info.navigation_shape) if whole.parent else 0


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
