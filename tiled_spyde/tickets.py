"""One request's claim to be worked for: who asks, how urgent it is, whether it is still wanted, where its time went."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import IntEnum
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING

from tiled_spyde.errors import Abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Several threads may work for one ticket; held for a sum.
_ADDING = Lock()


class Urgency(IntEnum):
    """What goes first: what a person looks at, then what is fetched ahead, then bulk."""

    LOOKED_AT = 0
    AHEAD = 1
    BULK = 2


class Ticket:
    """The claim of one request.

    Parameters
    ----------
    client : str
        Who asks; equal for all requests of one client, and nothing that could be taken for a credential.
    urgency : Urgency
    """

    __slots__ = ("_abandoned", "_then", "client", "job", "node", "timings", "urgency")

    def __init__(self, client: str = "", urgency: Urgency = Urgency.LOOKED_AT) -> None:
        self.client = client
        self.urgency = urgency
        # Path of the node that is asked for, and what gives the address of the job that it waits for.
        self.node = ""
        self.job: Callable[[], str] | None = None
        self._abandoned = False
        self._then: list[Callable[[], None]] = []
        # Seconds by stage: queue, read, compute, encode.
        self.timings: dict[str, float] = {}

    @property
    def wanted(self) -> bool:
        """False once whoever asked has gone."""
        return not self._abandoned

    def abandon(self) -> None:
        """Say that whoever asked has gone; from any thread."""
        self._abandoned = True
        self._call()

    def when_abandoned(self, then: Callable[[], None]) -> None:
        """Have `then` called once whoever asked has gone, in the thread that says so; at once where it is so."""
        self._then.append(then)
        if self._abandoned:
            self._call()

    def forget(self, then: Callable[[], None]) -> None:
        """Take back what `when_abandoned` was told."""
        with suppress(ValueError):
            self._then.remove(then)

    def _call(self) -> None:
        # Popping is atomic: each is called once, whoever comes first.
        with suppress(IndexError):
            while True:
                self._then.pop()()

    def check(self) -> None:
        """Raise `Abandoned` once whoever asked has gone."""
        if self._abandoned:
            raise Abandoned("Whoever asked for this has gone.")

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.add(stage, perf_counter() - begin)

    def add(self, stage: str, seconds: float) -> None:
        """Add time to a stage."""
        with _ADDING:
            self.timings[stage] = self.timings.get(stage, 0.0) + seconds


# Of the request that is being answered, where it is not handed on by hand: tiled calls our adapters.
TICKET: ContextVar[Ticket | None] = ContextVar("TICKET", default=None)
