"""A reference pattern taken off each frame, or each frame divided by it."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tiled_spyde.operations.base import FrameFunction, NodeInput, Operation, arithmetic_dtype
from tiled_spyde.operations.inputs import check_same_frames, node_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tiled_spyde.signals import SignalInfo


class SubtractReference(Operation):
    """Subtract another node from each frame: a mean pattern, a dark reference, the same scan processed otherwise."""

    name: ClassVar[str] = "subtract_reference"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2)

    reference: NodeInput | None = node_parameter("What is subtracted", "same or none", (1, 2))

    def check_frames(self, info: SignalInfo, inputs: Mapping[str, SignalInfo]) -> None:
        """See `Operation.check_frames`."""
        check_same_frames(self.name, "reference", inputs["reference"], info)

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return info.with_signal(info.signal_axes, arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_subtract, dtype=arithmetic_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 10e-6 + 1.5e-9 * math.prod(info.signal_shape)


class DivideByReference(Operation):
    """Divide each frame by another node: a gain or flat-field reference; where that is zero, the result is zero."""

    name: ClassVar[str] = "divide_by_reference"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2)

    reference: NodeInput | None = node_parameter(
        "What each frame is divided by; the result is 0 where it is 0", "same or none", (1, 2)
    )

    def check_frames(self, info: SignalInfo, inputs: Mapping[str, SignalInfo]) -> None:
        """See `Operation.check_frames`."""
        check_same_frames(self.name, "reference", inputs["reference"], info)

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return info.with_signal(info.signal_axes, arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_divide, dtype=arithmetic_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 10e-6 + 3e-9 * math.prod(info.signal_shape)


def _subtract(frame: NDArray[Any], reference: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    # hyperspy squeezes what it iterates over: an axis of one pixel is not there.
    taken = np.reshape(reference, frame.shape).astype(dtype, copy=False)
    difference: NDArray[Any] = frame.astype(dtype, copy=False) - taken
    return difference


def _divide(frame: NDArray[Any], reference: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    by = np.reshape(reference, frame.shape).astype(dtype, copy=False)
    quotient: NDArray[Any] = np.zeros(frame.shape, dtype)
    np.divide(frame.astype(dtype, copy=False), by, out=quotient, where=by != 0)
    return quotient
