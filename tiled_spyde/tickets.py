"""One request's claim to be worked for: who asks, how urgent it is, whether it is still wanted, where its time went."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from time import perf_counter
from typing import TYPE_CHECKING

from tiled_spyde.errors import Abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator


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

    __slots__ = ("_abandoned", "client", "timings", "urgency")

    def __init__(self, client: str = "", urgency: Urgency = Urgency.LOOKED_AT) -> None:
        self.client = client
        self.urgency = urgency
        self._abandoned = False
        # Seconds by stage: queue, read, compute, encode.
        self.timings: dict[str, float] = {}

    @property
    def wanted(self) -> bool:
        """False once whoever asked has gone."""
        return not self._abandoned

    def abandon(self) -> None:
        """Say that whoever asked has gone; from any thread."""
        self._abandoned = True

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
        self.timings[stage] = self.timings.get(stage, 0.0) + seconds


# Of the request that is being answered, where it is not handed on by hand: tiled calls our adapters.
TICKET: ContextVar[Ticket | None] = ContextVar("TICKET", default=None)
