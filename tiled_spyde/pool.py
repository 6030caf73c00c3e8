"""Threads that work for requests: what a person looks at first, each client in turn, and nothing for whoever has gone.

A job is given as parts of some 20 ms at most: one slow frame, or several fast ones. Between two parts it gives way to
whatever is more urgent, so a large tile never holds up a frame. Workers wait only for what runs already, never for a
job that is in the queue: the one would wait for the other.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Condition, Lock, Thread, get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tiled_spyde.claims import Request, answer_of, done_here, made, settle
from tiled_spyde.errors import Abandoned, Busy
from tiled_spyde.tickets import Urgency

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from concurrent.futures import Future

    from tiled_spyde.claims import Job, Part
    from tiled_spyde.tickets import Ticket

# What takes longer in one part, in seconds, leaves a worker to what a person looks at.
LONG = 0.1
# Every so many parts something less urgent goes first: others wait longer for it, but nobody for ever.
_TURN = 16
# A worker without work ends after so many seconds; the next one costs 0.1 ms.
_IDLE = 10.0
# A function that does not end holds up the end of the server for so many seconds.
_ENDS = 10.0
# One client has at most this part of the queue.
_SHARE = 4
_MOST_FIRST = tuple(map(int, Urgency))
# By turns, for either may be there all the time.
_LEAST_FIRST = (_MOST_FIRST[::-1], (*_MOST_FIRST[1:], _MOST_FIRST[0]))
_GONE = "Whoever asked for this has gone."
_ENDING = "The server is ending. Try again in a moment."


class Pool:
    """Worker threads that take parts of jobs.

    Parameters
    ----------
    workers : int or None
        Threads; as many as cores by default. They start with the work, and end when there is none.
    most_waiting : int
        Requests that are not answered yet, of one client a quarter; who comes then is refused.

    Attributes
    ----------
    started, finished, dropped, refused : list of int
        By urgency: jobs begun; requests answered, given up by who asked, and refused.
    """

    def __init__(self, workers: int | None = None, most_waiting: int = 1024) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.most_waiting = most_waiting
        self.started, self.finished, self.dropped, self.refused = ([0] * len(Urgency) for _ in range(4))
        self._jobs: dict[Hashable, Job] = {}
        # By urgency and client, in the order in which they come to their turn: requests whose job has parts left.
        self._queues: list[OrderedDict[str, dict[Request, None]]] = [OrderedDict() for _ in Urgency]
        self._open: dict[str, set[Request]] = {}  # of each client
        self._threads: dict[int, Thread] = {}
        self._idle = 0
        self._taken = 0
        self._long = 0
        self._closed = False
        self._lock = Lock()
        self._work_there = Condition(self._lock)

    @property
    def busy(self) -> int:
        """Workers that work."""
        return len(self._threads) - self._idle

    @property
    def waiting(self) -> list[int]:
        """By urgency, requests whose job has parts that nobody works at."""
        with self._lock:
            return [sum(map(len, queue.values())) for queue in self._queues]

    def submit(
        self,
        job: Job,
        ticket: Ticket,
        then: Callable[[Any], Any] | None = None,
        key: Hashable = None,
        urgency: Urgency | None = None,
    ) -> Future[Any]:
        """Have a job done; returns at once.

        Parameters
        ----------
        job : Job
            Left alone where another of the same key is on its way: that one gives the value.
        ticket : Ticket
            Whose it is. When it is abandoned the future fails at once with `Abandoned`.
        then : callable, optional
            What to make of the value, in a worker.
        key : hashable, optional
            Equal keys mean equal values.
        urgency : Urgency, optional
            Instead of the ticket's.

        Returns
        -------
        concurrent.futures.Future
            Of what `then` makes of the value; fails with what the first part raised that failed.

        Raises
        ------
        Busy
            Too many wait already, or the pool is closed.
        """
        request = Request(ticket, ticket.urgency if urgency is None else urgency, then, self._give_up)
        if get_ident() in self._threads:
            return done_here(job, request)
        with self._lock:
            self._refuse_crowd(request)
            self._wake()
            self._enter(request, job, key)
        ticket.when_abandoned(request.give_up)
        if not request.open:
            ticket.forget(request.give_up)
        return request.future

    def close(self) -> None:
        """End the threads, once they have done what they are at (10 s at most); what waits fails with `Busy`."""
        with self._lock:
            self._closed = True
            left = [request for client in self._open.values() for request in client]
            for request in left:
                self._leave(request)
            threads = list(self._threads.values())
            self._work_there.notify_all()
        for request in left:
            settle(request.future, error=Busy(_ENDING))
        until = perf_counter() + _ENDS
        for thread in threads:
            thread.join(max(0.0, until - perf_counter()))

    # Requests come and go: with the lock held, where nothing else is said.

    def _refuse_crowd(self, request: Request) -> None:
        if self._closed:
            raise Busy(_ENDING)
        mine, of_all = len(self._open.get(request.ticket.client, ())), sum(map(len, self._open.values()))
        if of_all >= self.most_waiting or mine >= max(1, self.most_waiting // _SHARE):
            self.refused[request.urgency] += 1
            raise Busy(
                f"{of_all} requests wait already, {mine} of them yours. Try again in a moment, or ask for fewer "
                "at a time."
            )

    def _enter(self, request: Request, job: Job, key: Hashable) -> None:
        if key is not None:
            job = self._jobs.setdefault(key, job)
            job.key = key
        request.job = job
        job.requests.append(request)
        client = request.ticket.client
        self._open.setdefault(client, set()).add(request)
        if job.left:
            self._queues[request.urgency].setdefault(client, {})[request] = None

    def _leave(self, request: Request) -> None:
        """Forget a request, and its job where it was the last one."""
        job, client = request.job, request.ticket.client
        request.open = False
        request.ticket.forget(request.give_up)
        job.requests.remove(request)
        mine = self._open[client]
        mine.remove(request)
        if not mine:
            del self._open[client]
        self._unqueue(request)
        if not job.requests:
            job.drop()
            self._forget(job)

    def _unqueue(self, request: Request) -> None:
        queue, client = self._queues[request.urgency], request.ticket.client
        if (waiting := queue.get(client)) is not None:
            waiting.pop(request, None)
            if not waiting:
                del queue[client]

    def _forget(self, job: Job) -> None:
        """Let nobody join a job any more."""
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]

    def _give_up(self, request: Request) -> None:
        """Drop a request whose ticket was abandoned; takes the lock."""
        with self._lock:
            if not request.open:
                return
            self._leave(request)
            self.dropped[request.urgency] += 1
        settle(request.future, error=Abandoned(_GONE))

    # Workers; `_next` and `_ended` take the lock, what they call has it.

    def _wake(self) -> None:
        """Have one more worker look for work."""
        if self._idle:
            self._work_there.notify()
        elif len(self._threads) < self.workers:
            thread = Thread(target=self._work, name="pool", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more threads
                if not self._threads:
                    raise Busy("The server has no thread left for this. Try again in a moment.") from error
            else:
                self._threads[thread.ident or 0] = thread

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            job, part, long = taken
            error, begin = None, perf_counter()
            try:
                job.check()
                part(job)
            except BaseException as raised:
                error = answer_of(raised)
            if self._ended(job, long, perf_counter() - begin, error):
                self._answer(job, error)

    def _next(self) -> tuple[Job, Part, bool] | None:
        """Return the part that is next, when there is one; None when this worker is to end."""
        with self._lock:
            while not self._closed:
                if (taken := self._take()) is not None:
                    return taken
                self._idle += 1
                called = self._work_there.wait(_IDLE)
                self._idle -= 1
                if not called and not any(self._queues):
                    break
            del self._threads[get_ident()]
        return None

    def _take(self) -> tuple[Job, Part, bool] | None:
        turn, others = divmod(self._taken + 1, _TURN)
        for urgency in _MOST_FIRST if others else _LEAST_FIRST[turn % len(_LEAST_FIRST)]:
            for client, waiting in self._queues[urgency].items():
                for request in waiting:
                    if self._may_begin(request.job, urgency):
                        return self._begin(request.job, urgency, client)
        return None

    def _may_begin(self, job: Job, urgency: int) -> bool:
        """Whether a worker is left for what a person looks at, when this one has taken a part."""
        return urgency == 0 or not job.long or self._long < max(1, self.workers - 1)

    def _begin(self, job: Job, urgency: int, client: str) -> tuple[Job, Part, bool]:
        self._taken += 1
        part, long = job.take(), job.long and urgency > 0
        job.running += 1
        self._long += long
        self._queues[urgency].move_to_end(client)
        if not job.began:
            job.began = True
            self.started[urgency] += 1
            now = perf_counter()
            for request in job.requests:
                request.ticket.add("queue", now - request.since)
        if not job.left:
            for request in job.requests:
                self._unqueue(request)
        if any(self._queues):
            self._wake()
        return job, part, long

    def _ended(self, job: Job, long: bool, seconds: float, error: Exception | None) -> bool:
        """Say whether a job is to be answered now: its last part has run, or the first one has failed.

        True once for each job: of what other parts have made beside one that failed, nobody may be given anything.
        """
        with self._lock:
            job.running -= 1
            self._long -= long
            job.long = job.long or seconds > LONG
            if long and any(self._queues):
                self._wake()  # what was kept waiting may begin, while this worker still makes answers
            if job.answered or (error is None and (job.left or job.running)):
                return False
            job.answered = True
            self._forget(job)
            if error is not None:
                job.drop()
                for request in job.requests:
                    self._unqueue(request)
            return True

    def _answer(self, job: Job, error: Exception | None) -> None:
        """Give all who ask for a job its value, or the error that ended it."""
        value = None
        if error is None and job.wanted:
            try:
                value = job.result()
            except BaseException as raised:
                error = answer_of(raised)
        with self._lock:
            requests = list(job.requests)
        for request in requests:
            answer, failed = (None, error) if error else made(request, value)
            for stage, seconds in tuple(
                job.timings.items()
            ):  # parts beside one that failed may be at work still
                request.ticket.add(stage, seconds)
            with self._lock:
                if not request.open:
                    continue
                self._leave(request)
                self.finished[request.urgency] += 1
            settle(request.future, answer, failed)
