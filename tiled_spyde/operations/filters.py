"""Smoothing and background: filters that keep the shape of a frame."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.base import FrameFunction, Operation, arithmetic_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import SignalInfo

# scipy cuts a gaussian at 4 sigma on either side.
_TAPS_PER_SIGMA = 8
_SECONDS_PER_TAP = 0.23e-9
_SECONDS_PER_PASS = 3e-9


class GaussianFilter(Operation):
    """Smooth each frame with a gaussian."""

    name: ClassVar[str] = "gaussian_filter"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2)

    sigma: float = Field(
        1.0, gt=0, le=200, description="Standard deviation of the gaussian", json_schema_extra={"unit": "px"}
    )

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return info.with_signal(info.signal_axes, arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_smooth, sigma=self.sigma, dtype=arithmetic_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return _gaussian_seconds(info, self.sigma)


class SubtractBackground(Operation):
    """Subtract a background by the difference of two gaussians, as pyxem does.

    Where a frame smoothed narrowly is above the same frame smoothed widely, the wide one is taken off;
    elsewhere, and where the difference is negative, the result is zero.
    """

    name: ClassVar[str] = "subtract_background"
    signal_dimensions: ClassVar[tuple[int, ...]] = (2,)

    min_sigma: float = Field(
        3.0,
        gt=0,
        le=200,
        description="Narrow gaussian: about a disk's size",
        json_schema_extra={"unit": "px"},
    )
    max_sigma: float = Field(
        20.0,
        gt=0,
        le=200,
        description="Wide gaussian: the background's size",
        json_schema_extra={"unit": "px"},
    )

    @model_validator(mode="after")
    def _narrow_below_wide(self) -> Self:
        if self.min_sigma >= self.max_sigma:
            raise ValueError(f"min_sigma must be less than max_sigma ({self.max_sigma:g})")
        return self

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return info.with_signal(info.signal_axes, arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(
            _difference_of_gaussians,
            min_sigma=self.min_sigma,
            max_sigma=self.max_sigma,
            dtype=arithmetic_dtype(info.dtype),
        )

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return _gaussian_seconds(info, self.min_sigma) + _gaussian_seconds(info, self.max_sigma)


class SavitzkyGolay(Operation):
    """Smooth each spectrum, or take its derivative, by a polynomial fitted in a moving window."""

    name: ClassVar[str] = "savitzky_golay"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1,)

    window_length: int = Field(
        11,
        ge=3,
        le=9999,
        description="Channels in the window; an odd number",
        json_schema_extra={"unit": "px"},
    )
    polynomial_order: int = Field(3, ge=0, le=20, description="Must be less than the window")
    derivative: int = Field(0, ge=0, le=4, description="0 smooths, 1 gives the slope per unit of the axis")

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window_length % 2 == 0:
            raise ValueError(f"window_length must be odd; got {self.window_length}")
        if self.polynomial_order >= self.window_length:
            raise ValueError(f"polynomial_order must be less than window_length ({self.window_length})")
        return self

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        (axis,) = info.signal_axes
        if self.window_length > axis.size:
            raise InvalidOperation(
                f"savitzky_golay: window_length must be at most {axis.size}, the size of {axis.name}; "
                f"got {self.window_length}."
            )
        if self.derivative and axis.values is not None:
            raise InvalidOperation(f"savitzky_golay: derivative needs a uniform axis; {axis.name} is not.")
        return info.with_signal(info.signal_axes, arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(
            _savitzky_golay,
            window_length=self.window_length,
            polyorder=self.polynomial_order,
            deriv=self.derivative,
            delta=info.signal_axes[0].scale,
            dtype=arithmetic_dtype(info.dtype),
        )

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 250e-6 + 1.2e-9 * math.prod(info.signal_shape) * self.window_length


def _smooth(frame: NDArray[Any], sigma: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    from scipy.ndimage import gaussian_filter

    smooth: NDArray[Any] = gaussian_filter(frame.astype(dtype, copy=False), sigma)
    return smooth


def _difference_of_gaussians(
    frame: NDArray[Any], min_sigma: float, max_sigma: float, dtype: np.dtype[Any]
) -> NDArray[Any]:
    # pyxem.utils._background_subtraction._subtract_dog, on floats: in uint16 it wraps below zero.
    frame = frame.astype(dtype, copy=False)
    narrow, wide = _smooth(frame, min_sigma, dtype), _smooth(frame, max_sigma, dtype)
    difference: NDArray[Any] = np.maximum(np.where(narrow > wide, frame, 0) - wide, 0)
    return difference


def _savitzky_golay(frame: NDArray[Any], dtype: np.dtype[Any], **settings: Any) -> NDArray[Any]:
    from scipy.signal import savgol_filter

    smooth: NDArray[Any] = savgol_filter(frame.astype(dtype, copy=False), **settings)
    return smooth


def _gaussian_seconds(info: SignalInfo, sigma: float) -> float:
    passes = math.prod(info.signal_shape) * len(info.signal_axes)
    return 40e-6 + passes * (_SECONDS_PER_PASS + (1 + _TAPS_PER_SIGMA * sigma) * _SECONDS_PER_TAP)
