"""How numbers of a form are reached by a slider, and told in units of an axis. Pure: no Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from viewer.forms import PX, Field, Sort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.nodes import Axis, Node

STEPS = 1000
# Beyond this nobody looks for a number with a slider, unless an axis says where it ends.
FARTHEST = 1e5
# What a person wants lies near the lower end where the bound is so many times the default.
FAR = 20
NAMED = {"x": -1, "y": -2}


@dataclass(frozen=True)
class Reach:
    """What a slider goes through: from `low` to `high`, more slowly near `low` where it is bent.

    Each step of whole numbers is another number, or an arrow key would do nothing where they are far apart.
    """

    low: float
    high: float
    bent: bool = False
    whole: bool = False

    @property
    def steps(self) -> int:
        """Number of steps from one end to the other."""
        return len(self._numbers) - 1 if self.whole else STEPS

    @cached_property
    def _numbers(self) -> list[int]:
        """All whole numbers that it stops at."""
        return sorted({round(self._at(step)) for step in range(STEPS + 1)})

    def at(self, step: int) -> float:
        """Return the value at a step, as round as the steps are wide."""
        if self.whole:
            return self._numbers[min(max(step, 0), self.steps)]
        value = self._at(step)
        width = (self._at(step + 1) - self._at(step - 1)) / 2
        if step in (0, self.steps) or not width > 0:
            return value
        return round(value, max(0, -math.floor(math.log10(width))))

    def _at(self, step: int) -> float:
        part = step / STEPS
        return self.low + (self.high - self.low) * (part**3 if self.bent else part)

    def step(self, value: float) -> int:
        """Return the step nearest to a value; an end for what lies outside."""
        if self.whole:
            return min(range(len(self._numbers)), key=lambda step: abs(self._numbers[step] - value))
        part = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        part = min(max(part, 0.0), 1.0)
        return round(STEPS * (math.cbrt(part) if self.bent else part))


def reach_of(field: Field, axis: Axis | None = None) -> Reach | None:
    """Return what a slider for a plain number goes through; None where its bounds are too far for one.

    A number of pixels goes as far as the `axis` that it is about; more can be written.
    """
    low, high = field.bottom, field.top
    if field.unit == PX and axis is not None and low < axis.size:
        high = min(high, axis.size)
    if not (math.isfinite(low) and math.isfinite(high)) or not 0 < high - low <= FARTHEST:
        return None
    usual = field.default if isinstance(field.default, int | float) else 1.0
    whole = field.sort is Sort.INTEGER
    bent = low >= 0 and high - low > FAR * max(usual - low, 1.0)
    return Reach(low, high, bent, whole)


def axis_of(path: Sequence[str], node: Node) -> Axis | None:
    """Return the axis that a field is about: ``x`` or ``y`` of a frame, one that is named, else the last."""
    for name in reversed(path):
        if name in NAMED and len(node.signal_axes) >= -NAMED[name]:
            return node.signal_axes[NAMED[name]]
        if (named := next((axis for axis in node.axes if axis.name == name), None)) is not None:
            return named
    return next(iter((node.signal_axes or node.axes)[-1:]), None)


def units_of(sort: Sort, axis: Axis | None) -> list[str]:
    """Return the units a position or a distance can be told in: pixels, and what the axis is calibrated in."""
    if axis is None or axis.units is None or (sort is Sort.DISTANCE and axis.values is not None):
        return [PX]
    return [axis.units, PX] if sort is Sort.POSITION else [PX, axis.units]


def quantity(sort: Sort, value: Any) -> tuple[float, str]:
    """Return number and unit of a position or a distance."""
    if sort is Sort.POSITION and value.get("index") is not None:
        return float(value["index"]), PX
    return float(value.get("value") or 0.0), value.get("unit") or PX


def told(sort: Sort, size: float, unit: str) -> dict[str, Any]:
    """Return the JSON of a position or a distance."""
    return {"index": size} if sort is Sort.POSITION and unit == PX else {"value": size, "unit": unit}


def converted(sort: Sort, size: float, old: str, new: str, axis: Axis | None) -> float:
    """Return the same place or length in another unit."""
    if old == new or axis is None:
        return size
    if sort is Sort.POSITION:
        return axis.value(size) if old == PX else axis.index(size)
    return size * abs(axis.scale) if old == PX else size / (abs(axis.scale) or 1.0)


def reach_on(sort: Sort, unit: str, axis: Axis | None, end: bool = False) -> Reach | None:
    """Return what a slider for a position or a distance goes through: its axis.

    Parameters
    ----------
    sort : Sort
        Of the field.
    unit : str
        That it is told in.
    axis : Axis or None
        Where it is.
    end : bool
        True for a position behind the last pixel.
    """
    if axis is None or axis.size < 2:
        return None
    if sort is Sort.DISTANCE:
        width = axis.size * (1.0 if unit == PX else abs(axis.scale))
        return Reach(0.0, width, bent=True)
    last = axis.size - 1 + end * (unit == PX)
    if unit == PX:
        return Reach(0.0, float(last))
    low, high = sorted((axis.value(0), axis.value(last)))
    return Reach(low, high)


def beginning(field: Field, path: Sequence[str], node: Node) -> Any:
    """Return what stands in a field that a person has just switched on."""
    axis = axis_of(path, node)
    if field.sort is not Sort.POSITION or axis is None:
        return None
    index = {"start": 0.0, "stop": float(axis.size)}.get(path[-1] if path else "", (axis.size - 1) / 2)
    unit = PX if index == axis.size else units_of(field.sort, axis)[0]
    size = index if unit == PX else float(f"{axis.value(index):.6g}")
    return told(field.sort, size, unit)
