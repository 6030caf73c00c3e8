"""How much may be asked of a service at a time, learnt from how long its answers take. Pure."""

from __future__ import annotations

import math

MOST_IN_FLIGHT = 8
# A frame that takes so much longer than the way to the service and back is worked for.
SLOW_SECONDS = 0.05


class Distance:
    """How far the service is: the quickest of all its answers, whatever was asked."""

    def __init__(self) -> None:
        self.seconds = math.inf

    def record(self, seconds: float) -> None:
        """Learn from one answer."""
        self.seconds = min(self.seconds, seconds)

    def restart(self) -> None:
        """Forget it: the service was lost, and may be found on another way."""
        self.seconds = math.inf


class AdaptiveWindow:
    """How many requests may be on the way: more while that costs no latency, fewer when they queue.

    No fixed number is right: a far service wants many, one that computes one at a time wants one. An
    answer is late where it takes longer than the smallest round trip by a share of it; a person sees no
    few milliseconds, and does see tens of them, whatever the share.

    Parameters
    ----------
    most : int
        Largest size.
    """

    GROW_WITHIN, SHRINK_BEYOND = 0.35, 0.6
    GROW_SECONDS, SHRINK_SECONDS = (0.008, 0.020), (0.016, 0.030)
    # Alone on the way, an answer waits for no other of ours: where it takes longer than the smallest all the
    # same, the service has become slower. Only then is that believed, or a queue would be taken for it.
    BELIEVED = 0.2

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self.most = most
        self._size = 1.0
        self._smallest = math.inf

    @property
    def size(self) -> int:
        """Requests that may be on the way now."""
        return int(self._size)

    @property
    def round_trip(self) -> float:
        """Seconds of an answer that did not queue; infinite before the first."""
        return self._smallest

    def record(self, round_trip: float) -> None:
        """Learn from one answer that took `round_trip` seconds."""
        if round_trip < self._smallest:
            self._smallest = round_trip
        elif self.size == 1:
            self._smallest += self.BELIEVED * (round_trip - self._smallest)
        late = round_trip - self._smallest
        if late < _within(self.GROW_WITHIN * self._smallest, self.GROW_SECONDS):
            self._size = min(float(self.most), self._size + 0.5)
        elif late > _within(self.SHRINK_BEYOND * self._smallest, self.SHRINK_SECONDS):
            self._size = max(1.0, self._size - 1.0)

    def ahead(self, distance: float) -> int:
        """Return how many requests may be on the way for what nobody looks at yet.

        Parameters
        ----------
        distance : float
            Seconds to the service and back.
        """
        if not math.isfinite(self._smallest):
            return 0
        return min(self.size - 1, 1 if self.slow(distance) else self.most)

    def spacing(self, distance: float) -> float:
        """Return the seconds to leave between two requests of a person who moves.

        Answers of a slow node then come evenly, and where the person stops, one of its workers is soon free;
        asked all at once they would all be busy for as long as a frame takes.
        """
        return self._smallest / self.size if self.slow(distance) else 0.0

    def slow(self, distance: float) -> bool:
        """Return True where answers are worked for, rather than only far."""
        return math.isfinite(self._smallest) and self._smallest > distance + SLOW_SECONDS

    def begin_anew(self) -> None:
        """Ask for one at a time: the service had no room for more."""
        self._size = 1.0

    def restart(self) -> None:
        """Forget the smallest round trip: another node costs something else."""
        self._smallest = math.inf


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
