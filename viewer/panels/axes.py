"""Axes in units beside pictures drawn in pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pyqtgraph as pg

from viewer.picture import Scale, Stretch
from viewer.readout import SUPERSCRIPT, axis_label, number

if TYPE_CHECKING:
    from viewer.nodes import Axis

# Ticks point inwards; minor ones are labelled only where there is plenty of room.
TICKS = {"tickLength": -4, "maxTickLevel": 1, "textFillLimits": [(0, 0.8), (1, 0.3)]}
Ticks = list[tuple[float, list[float]]]


class CalibratedAxis(pg.AxisItem):
    """Ticks at round values of a calibrated axis, where the picture's coordinate is the pixel index."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self._axis: Axis | None = None
        self.enableAutoSIPrefix(False)
        self.setStyle(**TICKS)

    def set_axis(self, axis: Axis) -> None:
        """Label with the axis's name and units."""
        self._axis = axis
        self.setLabel(axis_label(axis))
        self.picture = None
        self.update()

    def tickValues(self, minVal: float, maxVal: float, size: float) -> Ticks:  # noqa: N802, N803 (pyqtgraph)
        """Positions of the ticks, in pixels, by level."""
        axis = self._axis
        if axis is None:
            return []
        # Beside the picture there is nothing to measure.
        low, high = sorted((minVal, maxVal))
        first, last = max(low, -0.5), min(high, axis.size - 0.5)
        if not last > first:
            return []
        size *= (last - first) / (high - low)
        if not axis.calibrated or axis.values is not None:
            return list(super().tickValues(first, last, size))
        low, high = sorted((axis.value(first), axis.value(last)))
        return [
            (spacing / abs(axis.scale), [axis.index(value) for value in values])
            for spacing, values in super().tickValues(low, high, size)
        ]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802 (pyqtgraph)
        """Values of the ticks, in units."""
        axis = self._axis
        if axis is None or not axis.calibrated:
            return [number(round(value, 6)) for value in values]
        if axis.values is not None:
            return [number(axis.value(value)) for value in values]
        step = abs(axis.scale) * spacing
        return [_rounded(axis.value(value), step) for value in values]


def _rounded(value: float, step: float) -> str:
    """`value` with as many digits as ticks `step` apart need; no "-0"."""
    if not (math.isfinite(step) and step > 0) or 0 < step < 1e-6:
        return number(value)
    if abs(value) >= 1e6:
        digits = max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        mantissa, exponent = f"{value:.{digits}e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPT)}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


class IntensityAxis(pg.AxisItem):
    """Ticks at round intensities where the curve is drawn stretched."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self._stretch = Stretch()
        self.enableAutoSIPrefix(False)
        self.setStyle(**TICKS)

    def set_stretch(self, stretch: Stretch) -> None:
        """Follow the stretch of the curve."""
        if stretch != self._stretch:
            self._stretch = stretch
            self.picture = None
            self.update()

    def tickValues(self, minVal: float, maxVal: float, size: float) -> Ticks:  # noqa: N802, N803 (pyqtgraph)
        """Positions of the ticks on the stretched scale, by level."""
        stretch = self._stretch
        if stretch.scale is Scale.LINEAR:
            return list(super().tickValues(minVal, maxVal, size))
        low, high = stretch.inverse(minVal), stretch.inverse(maxVal)
        if stretch.scale is Scale.LOG:
            values = _decades(low, high, stretch.threshold)
        else:
            values = [value for _, level in super().tickValues(low, high, size)[:2] for value in level]
        return [((maxVal - minVal) / 5, [stretch.forward(value) for value in values])]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802 (pyqtgraph)
        """Intensities of the ticks."""
        if self._stretch.scale is Scale.LINEAR:
            return [_rounded(value, spacing) for value in values]
        return [number(float(f"{self._stretch.inverse(value):.3g}")) for value in values]


def _decades(low: float, high: float, threshold: float) -> list[float]:
    """Zero and the powers of ten between `low` and `high`; of few decades also their 2 and 5 fold.

    Below `threshold` a logarithmic scale is linear: powers of ten would lie on top of each other there.
    """
    top = max(abs(low), abs(high))
    if not (math.isfinite(top) and top > 0):
        return []
    first, last = math.ceil(math.log10(threshold) - 1e-9), math.floor(math.log10(top))
    steps = (1, 2, 5) if last - first < 2 else (1,)
    sizes = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [value for value in (*(-size for size in sizes), 0.0, *sizes) if low <= value <= high]
