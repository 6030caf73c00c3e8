"""Where a pattern's centre lies, and patterns moved so that it lies in the middle."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.base import FrameFunction, NodeInput, Operation, arithmetic_dtype
from tiled_spyde.operations.detectors import Disk  # noqa: TC001 - pydantic resolves the annotations
from tiled_spyde.operations.inputs import node_parameter
from tiled_spyde.signals import Axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tiled_spyde.signals import SignalInfo

# x before y, as in pyxem's vectors; its BeamShift has the other sign.
COMPONENTS = 2


class CentreOfMass(Operation):
    """Where the centre of mass of each pattern lies: right of and below the middle, in pixels.

    Two numbers at each position, x and y. The middle is (N - 1) / 2. A pattern whose pixels add up to nothing has
    (0, 0).
    """

    name: ClassVar[str] = "centre_of_mass"
    signal_dimensions: ClassVar[tuple[int, ...]] = (2,)

    within: Disk | None = Field(
        None, description="Pixels that count, as those of the direct beam; all when left out"
    )

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        self._mask(info)
        return info.with_signal((Axis("shift", COMPONENTS, units="px"),), arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_centre_of_mass, mask=self._mask(info))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 30e-6 + 3e-9 * math.prod(info.signal_shape)

    def _mask(self, info: SignalInfo) -> NDArray[Any] | None:
        if self.within is None:
            return None
        mask = self.within.mask(info)
        if not mask.any():
            raise InvalidOperation(
                "centre_of_mass: within: no pixel's centre lies in this disk; make it larger."
            )
        return mask


class CentreByShifts(Operation):
    """Move each pattern so that its centre, which another node gives, lies in the middle.

    Values between pixels are interpolated linearly, as hyperspy's alignment does; what comes in at the edges is 0.
    """

    name: ClassVar[str] = "centre_by_shifts"
    signal_dimensions: ClassVar[tuple[int, ...]] = (2,)

    shifts: NodeInput | None = node_parameter(
        "Where the centre lies: two numbers (x, y), in pixels from the middle, as centre_of_mass gives them",
        "same or none",
        (1,),
    )

    def check_frames(self, info: SignalInfo, inputs: Mapping[str, SignalInfo]) -> None:
        """See `Operation.check_frames`."""
        if inputs["shifts"].signal_shape != (COMPONENTS,):
            raise InvalidOperation(
                "centre_by_shifts: shifts: two numbers at each position are wanted, x and y; this node has "
                f"{inputs['shifts'].signal_shape[0]}."
            )

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        return info.with_signal(info.signal_axes, arithmetic_dtype(info.dtype))

    def function(self, info: SignalInfo) -> FrameFunction:
        """See `Operation.function`."""
        return partial(_moved_back, dtype=arithmetic_dtype(info.dtype))

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 40e-6 + 25e-9 * math.prod(info.signal_shape)


def _centre_of_mass(frame: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    from scipy.ndimage import center_of_mass

    weights = frame.astype(np.float64)
    if mask is not None:
        weights *= mask
    if not weights.sum():
        return np.zeros(COMPONENTS)
    y, x = center_of_mass(weights)
    return np.array([x - (frame.shape[1] - 1) / 2, y - (frame.shape[0] - 1) / 2])


def _moved_back(frame: NDArray[Any], shifts: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    from scipy.ndimage import shift

    x, y = np.ravel(shifts).astype(float).tolist()
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"the shift ({x:g}, {y:g}) is no number")
    moved: NDArray[Any] = shift(frame.astype(dtype, copy=False), (-y, -x), order=1)
    return moved
