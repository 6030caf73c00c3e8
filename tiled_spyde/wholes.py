"""Nodes that need the whole scan: each computed once, whoever asks, and stored.

Who asks again after a cancel or a kill goes on where that was. Processes that share a store take turns by a lock, and
see each other's progress there.
"""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from tiled_spyde import errors
from tiled_spyde.claims import answer_of, settle
from tiled_spyde.errors import Abandoned, Busy, Cancelled, SpydeError
from tiled_spyde.marks import Turn
from tiled_spyde.runs import CANCEL, FAILED, LOOK_SECONDS, PROGRESS, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from tiled_spyde.recipe import Recipe
    from tiled_spyde.runs import Read
    from tiled_spyde.store import Store
    from tiled_spyde.tickets import Ticket

    State = Literal["waiting", "computing", "stored", "failed", "cancelled"]

_MOST = 64
_NOTED = 1000
_ENDS = 10.0
# Who is given up at his deadline has waited about that long.
_IN_TIME = 0.9
# What goes by itself, or when somebody makes room: the next who asks tries again.
_PASSING = (Busy, Abandoned, errors.StorageFull, errors.Unavailable, errors.SourceError)


@dataclass(frozen=True)
class Progress:
    """How far the computation of a node is, in frames."""

    state: State
    done: int
    of: int
    failure: str | None = None


class Wholes:
    """Computes what needs a whole scan, and stores it.

    Parameters
    ----------
    store : Store
    read : callable
        ``(recipe, positions, ticket)`` → future of the frames there, shape ``(…positions, …frame)``.
    save_seconds : float
        How often the total is kept on disk.

    Attributes
    ----------
    computing : int
        How many are computed in this process now.
    ended : collections.Counter
        How computations in this process ended: ``stored``, ``failed``, or ``interrupted`` by somebody or with the
        server.
    """

    def __init__(self, store: Store, read: Read, save_seconds: float = 2.0) -> None:
        self.store = store
        self.save_seconds = save_seconds
        # What is called when something begins or ends to be computed; from any thread, and must not wait.
        self.told: list[Callable[[], None]] = []
        self.computing = 0
        self.ended: Counter[str] = Counter()
        self._read = read
        self._runs: dict[str, Run] = {}
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
        return self._joined(whole, None, again).future

    def then(
        self,
        whole: Recipe,
        ticket: Ticket,
        begin: Callable[[], Future[Any]],
        patience: float | None = None,
    ) -> Future[Any]:
        """Have a node computed, and then what `begin` begins, without a thread that waits for it.

        Parameters
        ----------
        whole : Recipe
        ticket : Ticket
        begin : callable
        patience : float, optional
            For what nobody keeps, for how long who asks waits, in seconds: who goes before that ends the computation,
            unless others want it. By default it goes on.

        Returns
        -------
        concurrent.futures.Future
            Of what `begin` returns; fails with `Abandoned` when the ticket is abandoned.

        Raises
        ------
        Cancelled, ComputeError, Busy
            As `start`.
        """
        promised: Future[Any] = Future()
        run = self._joined(whole, None if patience is None else ticket)
        began = monotonic()

        def give_up() -> None:
            settle(promised, error=Abandoned("Whoever asked for this has gone."))
            if patience is not None and monotonic() - began < _IN_TIME * patience:
                run.leave(ticket)
            else:  # he was told that it goes on
                run.join(None)

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

        ticket.when_abandoned(give_up)
        run.future.add_done_callback(go_on)
        return promised

    def cancel(self, key: str) -> None:
        """End the computation of the node with a key, in whichever process it is; what is computed stays."""
        if not self.store.has(key):
            self.store.say(key, CANCEL, True)
            with self._lock:
                run = self._runs.get(key)
            if run is not None:
                run.ticket.abandon()
                run.over.wait(_ENDS)

    def progress(self, whole: Recipe) -> Progress:
        """Say how far a node is; some microseconds, or a small file where another process may know."""
        return self._progress(whole.key, _positions(whole))

    def progress_of(self, needs: Mapping[str, int]) -> Progress:
        """Say how far all of `needs` is together, in positions of a scan by key; see `needs_of`."""
        each = [self._progress(key, count) for key, count in needs.items()]
        done, of = sum(one.done for one in each), sum(one.of for one in each)
        for state in ("failed", "cancelled", "computing", "waiting"):
            if found := next((one for one in each if one.state == state), None):
                return Progress(found.state, done, of, found.failure)
        return Progress("stored", done, of)

    def state_of(self, recipe: Recipe) -> dict[str, Any]:
        """Return what a node's metadata say of its computation; nothing where it needs no whole scan."""
        if not recipe.wholes:
            return {}
        found = self.progress_of(needs_of(recipe))
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

    def _joined(self, whole: Recipe, asker: Ticket | None, again: bool = False) -> Run:
        """Return the computation of a node, begun where nobody has; see `start` and `Run.join`."""
        with self._lock:
            if (run := self._runs.get(whole.key)) is not None and run.join(asker):
                return run
            if again:
                self.store.say(whole.key, FAILED, None)
                self.store.say(whole.key, CANCEL, None)
            elif failure := self._failure(whole.key):
                raise failure
            if self._closed or len(self._runs) >= _MOST:
                raise Busy(f"{len(self._runs)} nodes are being computed already. Try again in a moment.")
            run = self._runs[whole.key] = Run(whole, self.store)
            run.join(asker)
            self._passing.pop(whole.key, None)
        self._tell()
        Thread(target=self._run, args=(run, again), name=f"whole {whole.key[:8]}", daemon=True).start()
        return run

    def _progress(self, key: str, count: int) -> Progress:
        if self.store.has(key):
            return Progress("stored", count, count)
        if (run := self._runs.get(key)) is not None and run.ticket.wanted:
            return Progress("computing", run.done, count)
        begun = self.store.said(key, PROGRESS)
        done = int(begun or 0)
        if why := self._passing.get(key):
            return Progress("failed", done, count, why)
        if failure := self._failure(key):
            return Progress(
                "cancelled" if isinstance(failure, Cancelled) else "failed", done, count, str(failure)
            )
        elsewhere = begun is not None and self._is_elsewhere(key)
        return Progress("computing" if elsewhere else "waiting", done, count)

    def _failure(self, key: str) -> SpydeError | None:
        if self.store.said(key, CANCEL):
            return Cancelled("Computing this was cancelled. Start its job again to go on from there.")
        if not (told := self.store.said(key, FAILED)):
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

    def _run(self, run: Run, again: bool) -> None:
        error: Exception | None = None
        try:
            for above in run.recipe.wholes_above:
                if not self.store.has(above.key):
                    needed = self._joined(above, run.ticket, again)
                    try:
                        run.wait(needed.future)
                    finally:
                        needed.leave(run.ticket)
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
                self.store.say(run.recipe.key, FAILED, told)
        if isinstance(error, Abandoned):
            error = self._failure(run.recipe.key) or Busy("The server is ending. Try again in a moment.")
        with self._lock:
            if self._runs.get(run.recipe.key) is run:
                del self._runs[run.recipe.key]
        run.over.set()
        settle(run.future, error=error)
        self._tell()

    def _in_turn(self, run: Run) -> None:
        """Compute it, unless another process has or does: then wait for that."""
        key = run.recipe.key
        turn = Turn(self.store.place(key))
        while not self.store.has(key):
            if turn.take():
                try:
                    if not self.store.has(key):
                        self.store.say(key, PROGRESS, run.done)
                        self._tell()  # only now do other processes see it
                        self._compute(run)
                finally:
                    turn.give_back()
                return
            run.done = int(self.store.said(key, PROGRESS) or 0)
            if failure := self._failure(key):
                raise failure
            run.check()
            run.over.wait(LOOK_SECONDS)

    def _compute(self, run: Run) -> None:
        how = "failed"
        with self._lock:
            self.computing += 1
        try:
            run.compute(self._read, self.save_seconds)
            how = "stored"
        except Abandoned:
            how = "interrupted"
            raise
        finally:
            with self._lock:
                self.computing -= 1
                self.ended[how] += 1


def needs_of(recipe: Recipe) -> dict[str, int]:
    """Return what `recipe` needs from whole scans, and what that needs, the latter first: positions by key."""
    found: dict[str, int] = {}
    for whole in recipe.wholes:
        for above in whole.wholes_above:
            found |= needs_of(above)
        found[whole.key] = _positions(whole)
    return found


def _positions(whole: Recipe) -> int:
    return math.prod(whole.parent.info.navigation_shape) if whole.parent else 0
