"""Where a person is going in a scan, told from where they have been. Pure: the time is given."""

from __future__ import annotations

import math
from collections import deque
from functools import cache
from itertools import chain, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Position = tuple[int, ...]

# A hand on a grid moves in steps of whole positions: its way is told from so many of them. Measured on circles,
# a parabola through twelve foresees 82 % of the positions two events before, a line through five 74 %.
PASSED, BENDS = 12, 8
# Whoever stands for longer begins anew.
PAUSE_SECONDS = 0.6
# A single step of an arrow key, also with shift, is the first of many; a longer one is a jump.
FIRST_STEP = 5
MOST_AHEAD = 7
# Where a hand will be is foreseen between whole positions. Nearer than this to the middle between two, either may be
# meant; measured on circles and strokes of a hand, that finds half or more of those that were missed.
UNSURE = 0.3
# Where an answer takes longer, all that may be on the way is needed for what is likely.
DOUBTED_SECONDS = 0.05
# A slope is a stair of steps at right angles; behind so many in a row such a step is a turn.
STRAIGHT = 3


class Travel:
    """The last positions of a person, and what follows from them."""

    def __init__(self) -> None:
        self._passed: deque[tuple[float, Position]] = deque(maxlen=PASSED)

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
        """Return the next positions: those that will be passed while an answer is on the way.

        The likeliest come first, in the order they will be passed in; then those that may be meant instead.

        Parameters
        ----------
        seconds : float
            How long an answer takes.
        """
        steps = len(self._passed) - 1
        if steps < 1:
            return []
        (begun, first), (now, last) = self._passed[0], self._passed[-1]
        if steps == 1 and max(abs(to - from_) for from_, to in zip(first, last, strict=True)) > FIRST_STEP:
            return []
        count = 2
        if steps > 1 and now > begun and math.isfinite(seconds):
            count = min(MOST_AHEAD, math.ceil(seconds * steps / (now - begun)) + 1)
        foreseen = _foreseen(steps + 1, count) @ np.array([position for _, position in self._passed])
        likely, doubtful = zip(*map(_meant, foreseen.tolist()), strict=True)
        coming = dict.fromkeys([*likely, *chain(*doubtful)] if seconds <= DOUBTED_SECONDS else likely)
        return [position for position in coming if position != last][:MOST_AHEAD]

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


def _meant(place: Sequence[float]) -> tuple[Position, list[Position]]:
    """Return the position nearest to a place between positions, and the others that may be meant."""
    choices = []
    for index in place:
        nearest = round(index)
        other = nearest + (1 if index > nearest else -1)
        choices.append((nearest, other) if abs(index - nearest) > 0.5 - UNSURE else (nearest,))
    likely, *doubtful = product(*choices)
    return likely, doubtful


@cache
def _foreseen(passed: int, count: int) -> NDArray[np.float64]:
    """Return the matrix that leads from the last positions to the next, through the line or parabola that fits best."""
    degree = 1 if passed < BENDS else 2
    then = np.vander(np.arange(1.0 - passed, 1.0), degree + 1)
    return np.vander(np.arange(1.0, count + 1.0), degree + 1) @ np.linalg.pinv(then)
