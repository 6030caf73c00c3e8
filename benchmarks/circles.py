"""What a hand that drags a crosshair along circles passes, and the scan for it."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.scan import SCAN, Scan

Position = tuple[int, int]

STEP = 1.2  # positions between two events, along a circle: no direction is kept for long


class Circles(Scan):
    """A scan of which only what a crosshair passes on circles, and what is beside it, is written."""

    @property
    def circles(self) -> list[list[Position]]:
        return [circle(radius) for radius in (50, 44, 38, 32, 26)]

    @property
    def visited(self) -> list[Position]:
        near = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        passed = {position for path in self.circles for position in path[: self.positions]}
        return sorted({(y + dy, x + dx) for y, x in passed for dy, dx in near})

    def frame(self, y: int, x: int) -> np.ndarray:
        """Counts with a mean of 1: rows of a few random frames, since thousands are written."""
        drawn = np.random.default_rng(y % 8).poisson(1.0, (self.detector, self.detector)).astype(np.uint16)
        frame = np.roll(drawn, (y, x), (0, 1))
        frame[0, :2] = y, x
        return frame


def circle(radius: float) -> list[Position]:
    """Positions on a circle, each another one than before."""
    steps = int(2 * math.pi * radius / STEP)
    angles = [2 * math.pi * step / steps for step in range(steps)]
    middle = SCAN[0] // 2, SCAN[1] // 2
    path = [
        (round(middle[0] + radius * math.sin(angle)), round(middle[1] + radius * math.cos(angle)))
        for angle in angles
    ]
    return [position for before, position in zip([None, *path], path, strict=False) if position != before]
