"""What requests ask of the pool together, and how each of them gets its answer."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import Busy, ComputeError
from tiled_spyde.tickets import Ticket, Urgency

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    Part = Callable[["Job"], None]


class Job(Ticket):
    """The common claim of all who ask for the same: wanted until the last of them has gone.

    Parameters
    ----------
    parts : iterator of callable
        At least one. Made when they come to their turn, and called in any worker with this job, for its `check`
        and its `add`.
    result : callable
        Given nothing, returns the value when all parts have run.
    long : bool
        Whether a part takes so long that a worker is kept for others meanwhile.
    """

    __slots__ = ("_following", "_parts", "answered", "began", "key", "long", "requests", "result", "running")

    def __init__(self, parts: Iterator[Part], result: Callable[[], Any], long: bool = False) -> None:
        super().__init__()
        self._parts = parts
        self._following: Part | None = None
        self._advance()
        self.result = result
        self.long = long
        self.key: Hashable = None
        self.requests: list[Request] = []
        self.running = 0
        self.began = self.answered = False

    @property
    def left(self) -> bool:
        """Whether there are parts that nobody has taken."""
        return self._following is not None

    def take(self) -> Part:
        """Return the next part."""
        part = self._following
        assert part is not None  # noqa: S101 - for the type checker
        self._advance()
        return part

    def _advance(self) -> None:
        try:
            self._following = next(self._parts, None)
        except Exception as error:
            self._following = partial(_fail, error)

    def drop(self) -> None:
        """Leave out what is left, and let the parts that run end at their next check."""
        self._following = None
        self.abandon()


class Request:
    """One of those who ask for a job."""

    __slots__ = ("_left", "future", "job", "open", "since", "then", "ticket", "urgency")

    def __init__(
        self,
        ticket: Ticket,
        urgency: Urgency,
        then: Callable[[Any], Any] | None,
        left: Callable[[Request], None],
    ) -> None:
        self._left = left
        self.ticket = ticket
        self.urgency = urgency
        self.then = then
        self.future: Future[Any] = Future()
        self.since = perf_counter()
        self.job: Job
        self.open = True

    def give_up(self) -> None:
        """Whoever asked has gone."""
        self._left(self)


def _fail(error: Exception, _: Job) -> None:
    raise error


def made(request: Request, value: Any) -> tuple[Any, Exception | None]:
    """Return what a request makes of the value, and why it does not."""
    if request.then is None:
        return value, None
    begin = perf_counter()
    try:
        request.ticket.check()
        return request.then(value), None
    except BaseException as raised:
        return None, answer_of(raised)
    finally:
        if "encode" not in request.ticket.timings:  # it may have looked itself
            request.ticket.add("encode", perf_counter() - begin)


def done_here(job: Job, request: Request) -> Future[Any]:
    """Do a job in this thread, which is a worker: were it to wait for another, that might wait for it."""
    error: Exception | None = None
    value: Any = None
    try:
        while job.left:
            job.take()(job)
        value = job.result()
    except BaseException as raised:
        error = answer_of(raised)
    settle(request.future, *((None, error) if error else made(request, value)))
    return request.future


def answer_of(raised: BaseException) -> Exception:
    """Return an error that can be handed to another thread without ending it."""
    if isinstance(raised, MemoryError):
        return Busy("The server has not enough memory for this now. Ask for less, or try again in a moment.")
    if isinstance(raised, Exception):
        return raised
    return ComputeError(f"What computes this gave up ({type(raised).__name__}). Try other parameters.")


def settle(future: Future[Any], value: Any = None, error: Exception | None = None) -> None:
    """Give a future its value or error, unless whoever waits for it has cancelled it, or given up just now."""
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
