"""One number per position: virtual detectors and the plain sum."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.base import (
    Distance,
    FrameFunction,
    Interval,
    Operation,
    Position,
    Strict,
    sum_dtype,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import Axis, Region, SignalInfo


class Sum(Operation):
    """Sum over each frame: the total intensity at every position."""

    name: ClassVar[str] = "sum"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)
    complex_too: ClassVar[bool] = True

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return info.with_signal((), sum_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(np.sum, dtype=sum_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 5e-6 + 0.3e-9 * math.prod(info.signal_shape)


class Centre(Strict):
    """The middle of a disk or an annulus; each part may be left out."""

    x: Position | None = None
    y: Position | None = None


class _Round(Strict):
    centre: Centre = Field(
        Centre(), description="Where the axes are zero, or the middle of the frame, when left out"
    )

    def distances(self, info: SignalInfo, unit: Distance, parameter: str) -> NDArray[Any]:
        """Distance of every pixel's centre from the centre, in the unit of `unit`."""
        y_axis, x_axis = info.signal_axes
        y = _offsets(y_axis, self.centre.y, unit, f"{parameter}.centre.y")
        x = _offsets(x_axis, self.centre.x, unit, f"{parameter}.centre.x")
        distances: NDArray[Any] = np.hypot(y[:, None], x[None, :])
        return distances


class Disk(_Round):
    """All pixels whose centre lies within a radius."""

    kind: Literal["disk"] = "disk"
    radius: Distance = Field(Distance(value=10), description="Pixels with their centre on it belong to it")

    def mask(self, info: SignalInfo) -> NDArray[Any]:
        """Mask over the signal axes, True inside."""
        return self.distances(info, self.radius, "detector") <= self.radius.value


class Annulus(_Round):
    """All pixels whose centre lies from one radius to another."""

    kind: Literal["annulus"] = "annulus"
    inner: Distance = Field(Distance(value=20), description="Inner radius")
    outer: Distance = Field(Distance(value=40), description="Outer radius, in the same unit")

    @model_validator(mode="after")
    def _inner_below_outer(self) -> Self:
        if self.inner.unit != self.outer.unit or self.inner.value >= self.outer.value:
            raise ValueError("inner must be less than outer, in the same unit")
        return self

    def mask(self, info: SignalInfo) -> NDArray[Any]:
        """Mask over the signal axes, True inside."""
        distances = self.distances(info, self.inner, "detector")
        return (distances >= self.inner.value) & (distances <= self.outer.value)


class Rectangle(Strict):
    """All pixels of a range along x and one along y."""

    kind: Literal["rectangle"] = "rectangle"
    x: Interval = Interval()
    y: Interval = Interval()

    def mask(self, info: SignalInfo) -> NDArray[Any]:
        """Mask over the signal axes, True inside."""
        y_axis, x_axis = info.signal_axes
        mask = np.zeros(info.signal_shape, bool)
        mask[self.y.locate(y_axis, "detector.y"), self.x.locate(x_axis, "detector.x")] = True
        return mask


class VirtualImage(Operation):
    """Sum over a virtual detector: bright field, dark field, or any part of each pattern."""

    name: ClassVar[str] = "virtual_image"
    signal_dimensions: ClassVar[tuple[int, ...]] = (2,)
    complex_too: ClassVar[bool] = True

    detector: Annotated[Disk | Annulus | Rectangle, Field(discriminator="kind")] = Disk()

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        self._mask(info)
        return info.with_signal((), sum_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        mask = self._mask(info)
        box = _bounding_box(mask)
        inside = mask[box]
        where = True if inside.all() else inside
        return partial(_sum_part, box=box, where=where, dtype=sum_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 6e-6 + 0.2e-9 * math.prod(info.signal_shape)

    def _mask(self, info: SignalInfo) -> NDArray[Any]:
        mask = self.detector.mask(info)
        if not mask.any():
            raise InvalidOperation(
                f"virtual_image: detector: no pixel's centre lies in this {self.detector.kind}; make it larger."
            )
        return mask


def _offsets(axis: Axis, centre: Position | None, unit: Distance, parameter: str) -> NDArray[Any]:
    middle = _default_centre(axis) if centre is None else centre.place(axis, parameter)
    return (np.arange(axis.size) - middle) * unit.step(axis, "detector.radius")


def _default_centre(axis: Axis) -> float:
    zero = axis.index(0.0) if axis.units is not None and axis.values is None else 0.0
    return zero if 0 < zero < axis.size - 1 else (axis.size - 1) / 2


def _bounding_box(mask: NDArray[Any]) -> Region:
    rows, columns = (np.flatnonzero(mask.any(axis=other)) for other in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _sum_part(frame: NDArray[Any], box: Region, where: Any, dtype: np.dtype[Any]) -> Any:
    return np.sum(frame[box], where=where, dtype=dtype)
