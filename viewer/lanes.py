"""The workers of one view: one pending slot, a window of requests on the way, what comes next. No Qt.

What is looked at goes first and is never cancelled while a person moves: older answers are discarded.
What is fetched ahead has a bound of its own, waits while anything is looked for, and is let go when the
travel turns. Where a view wants nothing more of a node, its connections are closed, so that the service
stops working for it.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from viewer.connections import Call
from viewer.errors import Busy, Garbled, ServiceError
from viewer.nodes import Kind
from viewer.pace import MOST_IN_FLIGHT, AdaptiveWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from viewer.addresses import Address, Crop
    from viewer.cache import Cache
    from viewer.nodes import Node
    from viewer.pace import Distance
    from viewer.trials import Trial
    from viewer.view_state import Request
    from viewer.wire import Received

    Read = Callable[[Address, Call], Received]

# Those of what is looked at, those ahead, and some that are just being cancelled.
MOST_WORKERS = 2 * MOST_IN_FLIGHT + 4
# A position that stays the newest for so long is where the person stopped: it does not wait for a slot.
REST_SECONDS = 0.025
# After a service had no room, the next question waits for so long at most: it is about another position.
BUSY_SECONDS = 1.0
# RFC 9218: what is looked at goes before anything else, maps cost a frame for each position.
LOOKED_AT, WHOLE_MAP, AHEAD = "u=1", "u=3", "u=5"


@dataclass(frozen=True)
class Answer:
    """What came of one request or call.

    Parameters
    ----------
    view : str
        Who asked.
    sequence : int
        Grows with every request.
    request : Request, Trial or None
        None for a call.
    value : object
        What `work` made of the array, or what the call returned; None after an error.
    error : ServiceError or None
        Why there is no value.
    latency, round_trip : float
        Seconds from asking to the answer, and of the HTTP exchange alone (0 from the cache).
    bytes : int
        Bytes that travelled (0 from the cache).
    stages : dict of str to float
        Seconds that the service says it took, by stage.
    node : Node or None
        What a trial turned out to be.
    """

    view: str
    sequence: int
    request: Any
    value: Any = None
    error: ServiceError | None = None
    latency: float = 0.0
    round_trip: float = 0.0
    bytes: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    node: Node | None = None


@dataclass
class Job:
    """One thing asked for: a slice and what to make of it. `alone` where all that was asked before is outdated."""

    sequence: int
    request: Request | Trial
    address: Address
    crop: Crop
    work: Callable[[NDArray[Any]], Any]
    asked_at: float = field(default_factory=perf_counter)
    not_before: float = 0.0  # what a busy service asked for when it was asked for the same
    alone: bool = False


@dataclass
class Flight:
    """One request on the way; `job` is who waits for it, None when it is fetched ahead."""

    address: Address
    job: Job | None
    call: Call


class Lane:
    """The workers of one view.

    Parameters
    ----------
    view : str
        Whose.
    read : callable
        Address, call → what came; called in the workers.
    cache : Cache
        Shared with other views.
    distance : Distance
        How far the service is; shared with other views.
    deliver : callable
        Gets each answer, in a worker.
    """

    def __init__(
        self, view: str, read: Read, cache: Cache, distance: Distance, deliver: Callable[[Answer], None]
    ) -> None:
        self.view = view
        self.window = AdaptiveWindow()
        self._read, self._cache, self._distance, self._deliver = read, cache, distance, deliver
        self._wake = threading.Condition()
        self._pending: Job | None = None
        self._ahead: deque[Address] = deque()
        self._flights: dict[Address, Flight] = {}
        self._workers: list[threading.Thread] = []
        self._waiting = 0
        self._started_at = 0.0
        self._not_before = self._ahead_not_before = 0.0  # the service was busy
        self._closed = False

    @property
    def on_the_way(self) -> int:
        """How many requests are on the way; takes no lock, so it may just have changed."""
        return len(self._flights)

    @property
    def free(self) -> bool:
        """True where what is asked now is on its way at once."""
        with self._wake:
            return self._pending is None and self._on_the_way(looked_at=True) < self.window.size

    def ask(self, job: Job) -> None:
        """Make `job` the pending one."""
        with self._wake:
            self._pending = job
            self._call_one()

    def ahead(self, addresses: Iterable[Address], turned: bool = False) -> None:
        """Fetch these when nothing else is asked for; replaces what was to be fetched ahead.

        Parameters
        ----------
        addresses : iterable of Address
            The most likely first.
        turned : bool
            True where what is on the way ahead leads elsewhere. It is let go where it costs work; an answer
            that is only far would be here before the service heard of it.
        """
        with self._wake:
            slow = self.window.slow(self._distance.seconds)
            self._ahead = deque(list(addresses)[: 1 if slow else None])
            if turned and slow:
                self._let_go([flight for flight in self._flights.values() if flight.job is None])
            self._call_one()

    def drop(self) -> None:
        """Want nothing of what was asked so far: its connections are closed, the service stops working for it."""
        with self._wake:
            self._forget()
            self._not_before = self._ahead_not_before = 0.0
            self.window.restart()

    def close(self) -> None:
        """Take no more work."""
        with self._wake:
            self._closed = True
            self._forget()
            self._wake.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the workers to end, until `deadline` (of `perf_counter`)."""
        for worker in self._workers:
            worker.join(max(0.0, deadline - perf_counter()))

    def _forget(self) -> None:
        self._pending = None
        self._ahead.clear()
        self._let_go(list(self._flights.values()))

    def _let_go(self, flights: Iterable[Flight]) -> None:
        """Cancel what is on the way; whoever asks for the same again asks anew. With the lock held."""
        for flight in flights:
            flight.job = None
            del self._flights[flight.address]
            flight.call.end()

    def _call_one(self) -> None:
        """Let one worker look: all of them would stand in the GUI thread's way. Called with the lock held."""
        if not self._workers:
            self._hire()
        self._wake.notify()

    def _wake_another(self) -> None:
        """Let another worker look, where there is anything left. Called with the lock held."""
        if self._pending is not None or self._ahead:
            self._wake.notify()

    def _hire(self) -> None:
        """Start another worker where none waits. Called with the lock held."""
        if not self._waiting and len(self._workers) < MOST_WORKERS and not self._closed:
            name = f"viewer-{self.view}-{len(self._workers)}"
            worker = threading.Thread(target=self._work, name=name, daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        while (task := self._take()) is not None:
            if isinstance(task, Flight):
                self._fly(task)
            else:
                self._finish(task, self._cache.get(task.address))

    def _take(self) -> Flight | Job | None:
        """Wait for the next thing to do; None when closed."""
        with self._wake:
            while not self._closed:
                if (task := self._choose(perf_counter())) is not None:
                    self._hire()  # here, since starting a thread takes its time: the GUI thread has none
                    self._wake_another()
                    return task
                self._waiting += 1
                self._wake.wait(self._patience(perf_counter()))
                self._waiting -= 1
            return None

    def _choose(self, now: float) -> Flight | Job | None:
        """Choose the pending job first, then what is fetched ahead. Called with the lock held."""
        job = self._pending
        if job is not None and job.address in self._cache:
            self._pending = None
            return job
        if job is not None and (flight := self._flights.get(job.address)) is not None:
            flight.job = job
            self._pending = job = None
        if job is not None:
            if job.alone and now >= job.asked_at + REST_SECONDS:
                self._let_go(list(self._flights.values()))
            if now < self._start_at(job):
                return None
            self._pending, self._started_at = None, now
            return self._start(job.address, job)
        if now < self._ahead_not_before:
            return None
        while self._ahead and self._on_the_way(looked_at=False) < self._most_ahead():
            address = self._ahead.popleft()
            if address not in self._cache and address not in self._flights:
                return self._start(address, None)
        return None

    def _start_at(self, job: Job) -> float:
        """Return when a job may start, as things are: `inf` for not before another has landed."""
        on_the_way, rested = self._on_the_way(looked_at=True), job.asked_at + REST_SECONDS
        allowed = max(self._not_before, job.not_before)
        if on_the_way >= self.window.size:
            passing = on_the_way == self.window.size or job.alone
            return max(rested, allowed) if passing else math.inf
        paced = self._started_at + self.window.spacing(self._distance.seconds)
        return max(min(rested, paced), allowed) if on_the_way else allowed

    def _patience(self, now: float) -> float | None:
        """Return the seconds until something may be chosen by the mere passing of time; None for never."""
        start_at = math.inf
        if self._pending is not None:
            start_at = self._start_at(self._pending)
        elif self._ahead and now < self._ahead_not_before:
            start_at = self._ahead_not_before
        return max(0.0, start_at - now) if math.isfinite(start_at) else None

    def _on_the_way(self, looked_at: bool) -> int:
        return sum((flight.job is not None) is looked_at for flight in self._flights.values())

    def _most_ahead(self) -> int:
        """Return how much may be fetched ahead: of a slow node nothing while its workers are wanted."""
        slow = self.window.slow(self._distance.seconds)
        return 0 if slow and self._on_the_way(looked_at=True) else self.window.ahead(self._distance.seconds)

    def _start(self, address: Address, job: Job | None) -> Flight:
        flight = self._flights[address] = Flight(address, job, Call(_priority(job)))
        return flight

    def _fly(self, flight: Flight) -> None:
        """Read one address; who waits for it then gets the answer."""
        started = perf_counter()
        received: Received | None = None
        error: ServiceError | None = None
        try:
            received = self._read(flight.address, flight.call)
            if received.node is None:
                self._cache.put(flight.address, received.array)
        except ServiceError as caught:
            error = caught
        except Exception as caught:  # a fault of ours: a worker that died would leave the view waiting
            error = Garbled(f"{flight.address.url} cannot be read: {caught!r}.")
        round_trip = perf_counter() - started - flight.call.opening
        with self._wake:
            if not flight.call.ended:
                del self._flights[flight.address]
                self._learn(round_trip, error, flight.job is not None)
            job = flight.job
            self._wake_another()
        if job is not None:
            self._finish(job, None if received is None else received.array, error, round_trip, received)

    def _learn(self, round_trip: float, error: ServiceError | None, looked_at: bool) -> None:
        """Set the pace by one answer. Called with the lock held."""
        if error is None:
            self._distance.record(round_trip)
            self.window.record(round_trip)
        elif isinstance(error, Busy):
            now = perf_counter()
            self.window.begin_anew()
            self._ahead_not_before = now + error.retry_after
            if looked_at:
                self._not_before = now + min(error.retry_after, BUSY_SECONDS)

    def _finish(
        self,
        job: Job,
        array: NDArray[Any] | None,
        error: ServiceError | None = None,
        round_trip: float = 0.0,
        received: Received | None = None,
    ) -> None:
        """Make an array ready for painting and send it on its way to the GUI thread."""
        if array is None and error is None:  # forgotten between choosing and getting
            return self._ask_again(job)
        value = None
        try:
            value = None if array is None else job.work(array[job.crop])
        except Exception as caught:
            error = Garbled(f"{'/'.join(job.request.node.path)} cannot be drawn: {caught!r}.")
        latency = perf_counter() - job.asked_at
        came = (received.bytes, received.stages, received.node) if received is not None else (0, {})
        return self._deliver(
            Answer(self.view, job.sequence, job.request, value, error, latency, round_trip, *came)
        )

    def _ask_again(self, job: Job) -> None:
        """Put a job back, unless something newer is there."""
        with self._wake:
            if self._pending is None and not self._closed:
                self._pending = job
                self._wake.notify()


def _priority(job: Job | None) -> str:
    """Return the ``Priority`` of a request."""
    if job is None:
        return AHEAD
    return WHOLE_MAP if job.request.node.kind is Kind.MAP else LOOKED_AT
