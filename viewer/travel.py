"""Where a person is going in a scan, told from where they have been. Pure: the time is given."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Position = tuple[int, ...]

# The mean of so many steps tells the direction of a hand on a grid: of one step, only eight.
STEPS = 5
# Whoever stands for longer begins anew.
PAUSE_SECONDS = 0.6
# A single step of an arrow key, also with shift, is the first of many; a longer one is a jump.
FIRST_STEP = 5
MOST_AHEAD = 7
# A slope is a stair of steps at right angles; behind so many in a row such a step is a turn.
STRAIGHT = 3


class Travel:
    """The last positions of a person, and what follows from them."""

    def __init__(self) -> None:
        self._passed: deque[tuple[float, Position]] = deque(maxlen=STEPS + 1)

    def begin(self, position: Sequence[int], now: float) -> None:
        """Stand at a position: of another node, or before the first step."""
        self._passed.clear()
        self._passed.append((now, tuple(position)))

    def go(self, position: Sequence[int], now: float) -> bool:
        """Note a step.

        Parameters
        ----------
        position : sequence of int
            Where it led.
        now : float
            When, in seconds of any clock that only goes forward.

        Returns
        -------
        bool
            True where it leads elsewhere: a turn by a right angle or more, a first step, another scan.
        """
        turned = self._turns(tuple(position), now)
        if turned:
            while len(self._passed) > 1:
                self._passed.popleft()
            if self._passed and len(self._passed[0][1]) != len(position):
                self._passed.clear()
        self._passed.append((now, tuple(position)))
        return turned

    def ahead(self, seconds: float) -> list[Position]:
        """Return the next positions, nearest first: those that will be passed while an answer is on the way.

        Parameters
        ----------
        seconds : float
            How long an answer takes.
        """
        steps = len(self._passed) - 1
        if steps < 1:
            return []
        (begun, first), (now, last) = self._passed[0], self._passed[-1]
        velocity = [(to - from_) / steps for from_, to in zip(first, last, strict=True)]
        if steps == 1 and max(map(abs, velocity)) > FIRST_STEP:
            return []
        count = 2
        if steps > 1 and now > begun and math.isfinite(seconds):
            count = min(MOST_AHEAD, math.ceil(seconds * steps / (now - begun)) + 1)
        coming = [
            tuple(round(at + number * v) for at, v in zip(last, velocity, strict=True))
            for number in range(1, count + 1)
        ]
        return [position for position in dict.fromkeys(coming) if position != last]

    def _turns(self, position: Position, now: float) -> bool:
        if not self._passed:
            return True
        (_, first), (then, last) = self._passed[0], self._passed[-1]
        if len(last) != len(position) or now - then > PAUSE_SECONDS:
            return True
        before = [to - from_ for from_, to in zip(first, last, strict=True)]
        step = [to - from_ for from_, to in zip(last, position, strict=True)]
        along = sum(a * b for a, b in zip(before, step, strict=True))
        return along < 0 or (along == 0 and max(map(abs, before)) >= STRAIGHT)
