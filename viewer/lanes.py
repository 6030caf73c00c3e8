"""The workers of one view: one pending slot, a window of requests on the way, a cache. No Qt."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from viewer.errors import Garbled, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from viewer.view_state import Request
    from viewer.wire import Address, Crop

    Read = Callable[[Address], tuple[NDArray[Any], int]]

CACHE_BYTES = 256 * 1024**2
MOST_IN_FLIGHT = 8
# Workers that still wait for an abandoned answer must not be missing for the next node.
MOST_WORKERS = 2 * MOST_IN_FLIGHT


class AdaptiveWindow:
    """How many requests may be on the way: more while that costs no latency, fewer when they queue.

    No fixed number is right: a far service wants many, one that computes one at a time wants one.
    """

    GROW_BELOW, SHRINK_ABOVE = 1.35, 1.6
    # The smallest round trip is believed a little less with every answer, so that a service that
    # became slower for good is not taken for one that queues.
    FADE = 1.01

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self.most = most
        self._size = 1.0
        self._smallest = math.inf

    @property
    def size(self) -> int:
        """Requests that may be on the way now."""
        return int(self._size)

    def record(self, round_trip: float) -> None:
        """Learn from one answer that took `round_trip` seconds."""
        self._smallest = min(round_trip, self._smallest * self.FADE)
        if round_trip < self.GROW_BELOW * self._smallest:
            self._size = min(float(self.most), self._size + 0.5)
        elif round_trip > self.SHRINK_ABOVE * self._smallest:
            self._size = max(1.0, self._size - 1.0)

    def restart(self) -> None:
        """Forget the smallest round trip: another node costs something else."""
        self._smallest = math.inf


class Cache:
    """Arrays by address, the least recently used forgotten beyond a number of bytes. Thread-safe."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self.capacity = capacity
        self.used = 0
        self._arrays: OrderedDict[Address, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, address: Address) -> NDArray[Any] | None:
        """Return the array, or None."""
        with self._lock:
            if (array := self._arrays.get(address)) is not None:
                self._arrays.move_to_end(address)
            return array

    def put(self, address: Address, array: NDArray[Any]) -> None:
        """Remember an array; one that is larger than a quarter of the cache is not worth the others."""
        if array.nbytes > self.capacity // 4:
            return
        array.flags.writeable = False
        with self._lock:
            if (old := self._arrays.pop(address, None)) is not None:
                self.used -= old.nbytes
            self._arrays[address] = array
            self.used += array.nbytes
            while self.used > self.capacity:
                self.used -= self._arrays.popitem(last=False)[1].nbytes

    def __contains__(self, address: Address) -> bool:
        with self._lock:
            return address in self._arrays


@dataclass(frozen=True)
class Answer:
    """What came of one request or call.

    Parameters
    ----------
    view : str
        Who asked.
    sequence : int
        Grows with every request.
    request : Request or None
        None for a call.
    value : object
        What `work` made of the array, or what the call returned; None after an error.
    error : ServiceError or None
        Why there is no value.
    latency, round_trip : float
        Seconds from asking to the answer, and of the HTTP exchange alone (0 from the cache).
    bytes : int
        Bytes that travelled (0 from the cache).
    """

    view: str
    sequence: int
    request: Request | None
    value: Any = None
    error: ServiceError | None = None
    latency: float = 0.0
    round_trip: float = 0.0
    bytes: int = 0


@dataclass
class Job:
    """One thing asked for: a slice and what to make of it."""

    sequence: int
    request: Request
    address: Address
    crop: Crop
    work: Callable[[NDArray[Any]], Any]
    asked_at: float = field(default_factory=perf_counter)


@dataclass
class Flight:
    """One request on the way; `job` is who waits for it, None when it is fetched ahead."""

    address: Address
    job: Job | None
    counted: bool = True


class Lane:
    """The workers of one view: one pending slot, a window of requests on the way."""

    def __init__(self, view: str, read: Read, cache: Cache, deliver: Callable[[Answer], None]) -> None:
        self.view = view
        self.window = AdaptiveWindow()
        self._read, self._cache, self._deliver = read, cache, deliver
        self._wake = threading.Condition()
        self._pending: Job | None = None
        self._ahead: deque[Address] = deque()
        self._flights: dict[Address, Flight] = {}
        self._abandoned = 0
        self._workers: list[threading.Thread] = []
        self._waiting = 0
        self._closed = False

    def ask(self, job: Job) -> None:
        """Make `job` the pending one."""
        with self._wake:
            self._pending = job
            self._hire()
            self._wake.notify()

    def ahead(self, addresses: Iterable[Address]) -> None:
        """Fetch these when nothing else is asked for; replaces what was to be fetched ahead."""
        with self._wake:
            self._ahead = deque(addresses)
            self._hire()
            self._wake.notify()

    def drop(self) -> None:
        """Want nothing of what was asked so far. What is on the way still lands in the cache."""
        with self._wake:
            self._pending = None
            self._ahead.clear()
            for flight in self._flights.values():
                flight.job, flight.counted = None, False
            self.window.restart()

    def close(self) -> None:
        """Take no more work."""
        with self._wake:
            self._closed = True
            self._pending = None
            self._ahead.clear()
            self._wake.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the workers to end, until `deadline` (of `perf_counter`)."""
        for worker in self._workers:
            worker.join(max(0.0, deadline - perf_counter()))

    def _hire(self) -> None:
        """Start another worker where all are busy. Called with the lock held."""
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
                self._finish(task, self._cache.get(task.address), 0.0, 0)

    def _take(self) -> Flight | Job | None:
        """Wait for the next thing to do; None when closed."""
        with self._wake:
            while not self._closed:
                if (task := self._choose()) is not None:
                    return task
                self._waiting += 1
                self._wake.wait()
                self._waiting -= 1
            return None

    def _choose(self) -> Flight | Job | None:
        """Choose the pending job first, then what is fetched ahead. Called with the lock held."""
        job = self._pending
        if job is not None and job.address in self._cache:
            self._pending = None
            return job
        if job is not None and (flight := self._flights.get(job.address)) is not None:
            flight.job, flight.counted = job, True
            self._pending = job = None
        if self._on_the_way() >= self.window.size:
            return None
        if job is not None:
            self._pending = None
            return self._start(job.address, job)
        while self._ahead:
            address = self._ahead.popleft()
            if address not in self._cache and address not in self._flights:
                return self._start(address, None)
        return None

    def _on_the_way(self) -> int:
        return sum(flight.counted for flight in self._flights.values())

    def _start(self, address: Address, job: Job | None) -> Flight:
        flight = self._flights[address] = Flight(address, job)
        if self._pending is not None or self._ahead:
            self._hire()
        return flight

    def _fly(self, flight: Flight) -> None:
        """Read one address; who waits for it then gets the answer."""
        started = perf_counter()
        array, size = None, 0
        error: ServiceError | None = None
        try:
            array, size = self._read(flight.address)
            self._cache.put(flight.address, array)
        except ServiceError as caught:
            error = caught
        except Exception as caught:  # a fault of ours: a worker that died would leave the view waiting
            error = Garbled(f"{flight.address.url} cannot be read: {caught!r}.")
        round_trip = perf_counter() - started
        with self._wake:
            del self._flights[flight.address]
            if flight.counted and error is None:
                self.window.record(round_trip)
            self._wake.notify_all()
        if flight.job is not None:
            self._finish(flight.job, array, round_trip, size, error)

    def _finish(
        self,
        job: Job,
        array: NDArray[Any] | None,
        round_trip: float,
        size: int,
        error: ServiceError | None = None,
    ) -> None:
        """Make an array ready for painting and send it on its way to the GUI thread."""
        if array is None and error is None:  # forgotten between choosing and getting
            return self.ask(job)
        value = None
        try:
            value = None if array is None else job.work(array[job.crop])
        except Exception as caught:
            error = Garbled(f"{'/'.join(job.request.node.path)} cannot be drawn: {caught!r}.")
        latency = perf_counter() - job.asked_at
        return self._deliver(
            Answer(self.view, job.sequence, job.request, value, error, latency, round_trip, size)
        )
