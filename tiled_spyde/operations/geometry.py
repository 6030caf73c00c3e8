"""Which pixels of a frame: crop and bin."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.base import FrameFunction, Interval, Operation, sum_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import Axis, Region, SignalInfo


class Crop(Operation):
    """Keep a part of each frame."""

    name: ClassVar[str] = "crop"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2)
    complex_too: ClassVar[bool] = True

    x: Interval | None = Field(None, description="Along the last signal axis; all of it when left out")
    y: Interval | None = Field(None, description="Along the first signal axis of an image")

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        region = self._region(info)
        return info.with_signal(map(_cropped, info.signal_axes, region))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_part, region=self._region(info))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 2e-6

    def _region(self, info: SignalInfo) -> Region:
        axes = info.signal_axes
        if self.y is not None and len(axes) < 2:
            raise InvalidOperation("crop: y is for images; a spectrum has only x.")
        wanted = [("x", self.x)] if len(axes) == 1 else [("y", self.y), ("x", self.x)]
        return tuple(
            (interval or Interval()).locate(axis, f"crop: {name}")
            for axis, (name, interval) in zip(axes, wanted, strict=True)
        )


class Bin(Operation):
    """Sum neighbouring pixels of each frame; what does not fill a bin at the end is left out."""

    name: ClassVar[str] = "bin"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2)
    complex_too: ClassVar[bool] = True

    x: int = Field(
        2, ge=1, le=1024, description="Along the last signal axis", json_schema_extra={"unit": "px"}
    )
    y: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Along the first signal axis of an image; as x when left out",
        json_schema_extra={"unit": "px"},
    )

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        axes = map(_binned, info.signal_axes, self._factors(info))
        return info.with_signal(axes, sum_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_sum_blocks, factors=self._factors(info), dtype=sum_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 30e-6 + 6e-9 * math.prod(info.signal_shape)

    def _factors(self, info: SignalInfo) -> tuple[int, ...]:
        axes = info.signal_axes
        if self.y is not None and len(axes) < 2:
            raise InvalidOperation("bin: y is for images; a spectrum has only x.")
        factors = (self.x,) if len(axes) == 1 else (self.y or self.x, self.x)
        for factor, axis, name in zip(reversed(factors), reversed(axes), "xy", strict=False):
            if factor > axis.size:
                raise InvalidOperation(
                    f"bin: {name} must be at most {axis.size}, the size of {axis.name}; got {factor}."
                )
        return factors


def _part(frame: NDArray[Any], region: Region) -> NDArray[Any]:
    return frame[region]


def _cropped(axis: Axis, part: slice) -> Axis:
    values = None if axis.values is None else axis.values[part]
    return replace(axis, size=part.stop - part.start, offset=axis.value(part.start), values=values)


def _sum_blocks(frame: NDArray[Any], factors: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    from skimage.measure import block_reduce

    full = tuple(slice(size - size % factor) for size, factor in zip(frame.shape, factors, strict=True))
    summed: NDArray[Any] = block_reduce(frame[full], factors, np.sum, func_kwargs={"dtype": dtype})
    return summed


def _binned(axis: Axis, factor: int) -> Axis:
    size = axis.size // factor
    values = None
    if axis.values is not None:
        values = tuple(np.reshape(axis.values[: size * factor], (size, factor)).mean(axis=1).tolist())
    # The centre of a bin lies in the middle of its pixels.
    middle = axis.offset + axis.scale * (factor - 1) / 2
    return replace(axis, size=size, scale=axis.scale * factor, offset=middle, values=values)
