"""What fetching costs: the numbers of the status bar. No Qt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viewer.lanes import Answer, Cache


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
    """

    latency: float | None
    frame_bytes: int
    cache_used: int
    cache_capacity: int
    frames_per_second: int


class Meter:
    """Counts frames as they are painted."""

    def __init__(self) -> None:
        self._latencies: deque[float] = deque(maxlen=15)
        self._painted: deque[float] = deque(maxlen=240)
        self._frame_bytes = 0

    def count(self, answer: Answer) -> None:
        """Count one frame."""
        self._latencies.append(answer.latency)
        self._painted.append(monotonic())
        self._frame_bytes = answer.bytes or self._frame_bytes

    def read(self, cache: Cache) -> Figures:
        """Return the figures of now."""
        now = monotonic()
        rate = sum(now - painted < 1.0 for painted in self._painted)
        latency = median(self._latencies) if self._latencies else None
        return Figures(latency, self._frame_bytes, cache.used, cache.capacity, rate)
