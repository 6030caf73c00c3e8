"""What fetching costs: the numbers of the status bar. No Qt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viewer.cache import Cache
    from viewer.lanes import Answer


@dataclass(frozen=True, slots=True)
class Figures:
    """Cost of the last frames.

    Parameters
    ----------
    latency : float or None
        Median of the last frames, in seconds from asking to having; None before the first.
    frame_bytes : int
        Bytes that travelled for the last frame that did.
    cache_used, cache_capacity : int
        Bytes.
    frames_per_second : int
        Frames painted within the last second.
    round_trip : float
        Seconds of the last exchange with the service; 0 before the first.
    stages : dict of str to float
        Seconds that the service says it took for that, by stage; empty where it does not say.
    """

    latency: float | None
    frame_bytes: int
    cache_used: int
    cache_capacity: int
    frames_per_second: int
    round_trip: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


class Meter:
    """Counts frames as they are painted."""

    def __init__(self) -> None:
        self._latencies: deque[float] = deque(maxlen=15)
        self._painted: deque[float] = deque(maxlen=240)
        self._frame_bytes = 0
        self._round_trip, self._stages = 0.0, dict[str, float]()

    def count(self, answer: Answer) -> None:
        """Count one frame."""
        self._latencies.append(answer.latency)
        self._painted.append(monotonic())
        if answer.bytes:  # it came from the service, not from the cache
            self._frame_bytes, self._round_trip, self._stages = answer.bytes, answer.round_trip, answer.stages

    def read(self, cache: Cache) -> Figures:
        """Return the figures of now."""
        now = monotonic()
        rate = sum(now - painted < 1.0 for painted in self._painted)
        latency = median(self._latencies) if self._latencies else None
        used, capacity = cache.used, cache.capacity
        return Figures(latency, self._frame_bytes, used, capacity, rate, self._round_trip, self._stages)
