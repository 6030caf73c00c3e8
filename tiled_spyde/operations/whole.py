"""What needs all positions of a scan, and has none itself: mean, sum and maximum."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.base import FrameFunction, Operation, sum_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import SignalInfo


class Whole(Operation):
    """An operation that takes in one frame after the other, in array order, and gives one.

    Every frame is taken into a total by `combine`, and the last total makes the `result`. The order is part of what
    it means: sums of floats depend on it.
    """

    locality: ClassVar[Literal["frame", "slice", "whole"]] = "whole"
    signal_dimensions: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)
    # A ufunc of two arrays.
    combine: ClassVar[np.ufunc]

    def check(self, info: SignalInfo) -> None:
        """See `Operation.check`; also refuses a signal without a scan."""
        super().check(info)
        if not info.navigation_axes:
            raise InvalidOperation(f"{self.name} goes over a scan; this signal has no navigation axes.")

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return replace(info, axes=info.signal_axes, dtype=self.result(self.total(info), 1).dtype)

    def function(self, info: SignalInfo) -> FrameFunction:
        """Raise: there is no function on one frame."""
        raise InvalidOperation(f"{self.name} needs the whole scan.")

    def seconds(self, info: SignalInfo) -> float:
        """Time to take in one frame; see `Operation.seconds`."""
        return 2e-6 + 0.6e-9 * math.prod(info.signal_shape)

    @abstractmethod
    def total(self, info: SignalInfo) -> NDArray[Any]:
        """Return the total of no frames of `info`."""

    def result(self, total: Any, count: int) -> Any:
        """Return what the total of `count` frames makes."""
        return total

    def take(self, total: NDArray[Any], frames: NDArray[Any]) -> None:
        """Take `frames`, shape ``(n, …)``, into `total`, one after the other."""
        for frame in frames:
            type(self).combine(total, frame, out=total, casting="unsafe")


class SumOverScan(Whole):
    """Sum of all frames of the scan."""

    name: ClassVar[str] = "sum_over_scan"
    complex_too: ClassVar[bool] = True
    combine: ClassVar[np.ufunc] = np.add

    def total(self, info: SignalInfo) -> NDArray[Any]:
        """See `Whole.total`."""
        return np.zeros(info.signal_shape, sum_dtype(info.dtype))


class MeanOverScan(Whole):
    """Mean of all frames of the scan."""

    name: ClassVar[str] = "mean_over_scan"
    complex_too: ClassVar[bool] = True
    combine: ClassVar[np.ufunc] = np.add

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`; floats keep their dtype, as numpy's and hyperspy's mean has it."""
        dtype = info.dtype if info.dtype.kind in "fc" else np.dtype(np.float64)
        return replace(info, axes=info.signal_axes, dtype=dtype)

    def total(self, info: SignalInfo) -> NDArray[Any]:
        """See `Whole.total`."""
        return np.zeros(info.signal_shape, sum_dtype(info.dtype))

    def result(self, total: Any, count: int) -> Any:
        """See `Whole.result`."""
        return total / count


class MaxOverScan(Whole):
    """Brightest value of each pixel over the scan."""

    name: ClassVar[str] = "max_over_scan"
    combine: ClassVar[np.ufunc] = np.maximum

    def total(self, info: SignalInfo) -> NDArray[Any]:
        """See `Whole.total`."""
        kind = info.dtype.kind
        least: Any = -np.inf if kind == "f" else False if kind == "b" else np.iinfo(info.dtype).min
        return np.full(info.signal_shape, least, info.dtype)
