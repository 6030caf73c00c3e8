"""Several server processes behind one listening socket, and the parent that starts, restarts and ends them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    # Given whether it is the first of all, and what to call when it serves; returns the exit status.
    Work = Callable[[bool, Callable[[], None]], int]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0  # seconds before one that keeps dying is started again
_GOOD_LIFE = 60.0  # seconds after which a death is no longer one of a series
_GRACE = 10.0  # seconds that a worker has to end


@dataclass
class _Worker:
    process: Any = None
    ready: Connection | None = None
    began: float = 0.0
    due: float = 0.0
    deaths: int = 0


def supervise(count: int, work: Work) -> int:
    """Run `work` in `count` processes until a signal says to end; returns the exit status, or minus that signal.

    The others are started when the first one serves: so what is wrong with a configuration is said once.

    Parameters
    ----------
    count : int
    work : callable
        Pickled into each process. What it returns before it has ever served ends everything.
    """
    return _Supervisor(count, work).run()


class _Supervisor:
    def __init__(self, count: int, work: Work) -> None:
        self._work = work
        self._workers = [_Worker() for _ in range(count)]
        self._served = False
        self._context = multiprocessing.get_context("spawn")

    def run(self) -> int:
        with _signals() as caught:
            self._start(self._workers[0], first=True)
            try:
                while not (received := caught.received):
                    if (status := self._look()) is not None:
                        return status
                    self._wait(caught.woken)
            finally:
                self._end(caught)
        return -received

    def _look(self) -> int | None:
        """Start what is due; returns the exit status where nothing will ever serve."""
        for worker in self._workers:
            if worker.process is not None and not worker.process.is_alive():
                if not self._served:
                    return max(worker.process.exitcode or 0, 0) or 3
                self._bury(worker)
        if self._served:
            for worker in self._workers:
                if worker.process is None and worker.due <= time.monotonic():
                    self._start_again(worker)
        return None

    def _wait(self, woken: int) -> None:
        """Wait until something ends, serves or is due."""
        running = [worker.process.sentinel for worker in self._workers if worker.process is not None]
        starting = [worker.ready for worker in self._workers if worker.ready is not None]
        due = [worker.due for worker in self._workers if worker.process is None and self._served]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        for what in wait([*running, *starting, woken], timeout):
            for worker in self._workers:
                if worker.ready is what:
                    self._served |= worker.ready.poll() and _says_so(worker.ready)
                    worker.ready.close()
                    worker.ready = None

    def _start(self, worker: _Worker, first: bool = False) -> None:
        ready, theirs = self._context.Pipe(duplex=False)
        with theirs:
            worker.began = time.monotonic()
            process = self._context.Process(target=_run, args=(self._work, first, theirs))
            process.start()
        worker.process, worker.ready = process, ready

    def _start_again(self, worker: _Worker) -> None:
        """Start a successor; where the system has no room for one now, the others serve on."""
        try:
            self._start(worker)
        except OSError as error:
            worker.deaths += 1
            logger.warning(
                "No server process can be started (%s); trying again in %g s.", error, _put_off(worker)
            )

    def _bury(self, worker: _Worker) -> None:
        """Note a death, and when there is to be a successor: at once, then ever later."""
        lived = time.monotonic() - worker.began
        worker.deaths = 1 if lived > _GOOD_LIFE else worker.deaths + 1
        pause = _put_off(worker)
        logger.warning(
            "The server process %d ended (%s); another one is started in %g s.",
            worker.process.pid,
            worker.process.exitcode,
            pause,
        )
        worker.process.close()
        worker.process = None
        if worker.ready is not None:
            worker.ready.close()
            worker.ready = None

    def _end(self, caught: _Caught) -> None:
        """Let all end, and those that do not, or when a second signal comes, at once."""
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            process.terminate()
        seen, deadline = caught.count, time.monotonic() + _GRACE
        while any(process.is_alive() for process in processes):
            if caught.count > seen or time.monotonic() > deadline:
                for process in processes:
                    process.kill()
            wait([process.sentinel for process in processes if process.is_alive()], timeout=0.2)
        for process in processes:
            process.join()


def _put_off(worker: _Worker) -> float:
    """Set when a worker is due, and return in how many seconds."""
    # Of many deaths the power would be more than a float holds.
    pause = min(2.0 ** min(worker.deaths - 1, 10) / 2, _LONGEST_PAUSE) if worker.deaths > 1 else 0.0
    worker.due = time.monotonic() + pause
    return pause


@dataclass
class _Caught:
    """The signals that said to end."""

    woken: int  # becomes readable with the first one
    received: signal.Signals | None = None
    count: int = 0


@contextmanager
def _signals() -> Iterator[_Caught]:
    """Catch what asks this process to end."""
    reading, writing = os.pipe()
    caught = _Caught(reading)

    def catch(number: int, frame: object) -> None:
        caught.received = caught.received or signal.Signals(number)
        caught.count += 1
        os.write(writing, b".")

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _says_so(ready: Connection) -> bool:
    try:
        return bool(ready.recv())
    except EOFError:  # it died instead
        return False


def _run(work: Work, first: bool, ready: Connection) -> None:
    """Be one of the processes."""
    # Ctrl-C reaches all of them; the parent says what follows from it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, name="parent", daemon=True).start()
    sys.exit(work(first, lambda: ready.send(True)))


def _end_with_parent() -> None:
    """End when the parent has, however it did."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a child
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(3)
