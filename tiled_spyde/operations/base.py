"""What every operation is made of: its base class, positions and distances with units."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tiled_spyde.errors import ComputeError, InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tiled_spyde.signals import Axis, SignalInfo

# Given one frame, and those of the nodes that parameters name, by these parameters' names.
FrameFunction = Callable[..., Any]
# From the number of a frame, counted in array order, to the number of one of the parent's; also for arrays of them.
FrameNumbers = Callable[[Any], Any]


class Strict(BaseModel):
    """A model of parameters: nothing unknown, nothing coerced, nothing infinite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NodeInput(Strict):
    """Another node as a parameter: by its name in the same tree, or by its whole path with a slash before it.

    A kept node names it by ids (``#node`` or ``#tree/node``), so that renaming changes nothing.
    """

    node: str = Field(
        min_length=1, max_length=4000, description='Its name in this tree, or "/folder/file/signal/node"'
    )


class Operation(Strict, ABC):
    """A named function on one frame, with typed parameters and a declared output.

    A subclass's fields are its parameters (units as ``json_schema_extra={"unit": …}``), the first line of
    its docstring is what people read in a list.

    Its locality is what of the parent a frame needs: ``frame``, the one at the same position, given to
    `function`; ``slice``, one of the parent's as it is, named by `frames`; ``whole``, all of them: see `whole.Whole`.

    A parameter may be another node (`inputs.node_parameter`): its frame at the same position, or its only one, is
    given to `function` under the parameter's name.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    locality: ClassVar[Literal["frame", "slice", "whole"]] = "frame"
    signal_dimensions: ClassVar[tuple[int, ...]]
    complex_too: ClassVar[bool] = False
    # Its function holds the interpreter lock nearly all the time (it scales by less than 1.5 on four threads), so it
    # is run in processes.
    holds_lock: ClassVar[bool] = False

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    def check(self, info: SignalInfo) -> None:
        """Refuse a signal this operation is not for.

        Raises
        ------
        InvalidOperation
            Wrong number of signal axes, or complex data where real is needed.
        """
        found = len(info.signal_axes)
        if found not in self.signal_dimensions:
            wanted = " or ".join(map(str, self.signal_dimensions))
            raise InvalidOperation(
                f"{self.name} needs a signal of {wanted} dimension(s) at each position; this one has {found}."
            )
        if info.dtype.kind not in "buif" and not (self.complex_too and info.dtype.kind == "c"):
            raise InvalidOperation(f"{self.name} needs real numbers; this signal holds {info.dtype}.")

    @property
    def named(self) -> dict[str, str]:
        """Nodes that parameters name."""
        given = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value.node for name, value in given if isinstance(value, NodeInput)}

    def naming(self, nodes: Mapping[str, str]) -> Self:
        """Return the same operation with other names of the nodes that it names."""
        return self.model_copy(update={name: NodeInput(node=node) for name, node in nodes.items()})

    def check_frames(self, info: SignalInfo, inputs: Mapping[str, SignalInfo]) -> None:
        """Refuse nodes as parameters whose frames do not fit; `inputs.check_inputs` has seen to their axes.

        Raises
        ------
        InvalidOperation
            The message names the parameter.
        """

    @abstractmethod
    def output(self, info: SignalInfo) -> SignalInfo:
        """Declare what comes out, without touching data.

        Parameters
        ----------
        info : SignalInfo
            The parent, already accepted by `check`.

        Raises
        ------
        InvalidOperation
            A parameter that does not fit this signal; the message names it.
        """

    @abstractmethod
    def function(self, info: SignalInfo) -> FrameFunction:
        """Return the function on one frame of the parent `info`: the very one `signal.map` is given."""

    def frames(self, info: SignalInfo) -> FrameNumbers | None:
        """Return which frame of the parent `info` stands where, for an operation that rearranges the scan.

        Returns
        -------
        callable or None
            A rising function of numbers; None where every frame stays where it is.
        """
        return None

    @abstractmethod
    def seconds(self, info: SignalInfo) -> float:
        """Estimate the time for one frame of `info` on one core, in seconds."""


class Position(Strict):
    """A place on an axis: a calibrated value with its unit, or an index."""

    value: float | None = None
    unit: str | None = Field(None, max_length=64)
    index: float | None = Field(None, ge=0)

    def place(self, axis: Axis, parameter: str) -> float:
        """Index this means on `axis`, fractional between the centres of two pixels.

        Raises
        ------
        InvalidOperation
            Neither or both given, another unit, or outside the axis; names `parameter`.
        """
        if (self.index is None) == (self.value is None):
            example = f' or {{"value": 1.5, "unit": "{axis.units}"}}' if axis.units else ""
            raise InvalidOperation(f'{parameter}: give {{"index": 10}}{example}.')
        if self.index is not None:
            return self._inside(self.index, axis, parameter)
        if axis.units is None or self.unit != axis.units:
            known = f"is in {axis.units}" if axis.units else "is uncalibrated: give an index, or calibrate it"
            raise InvalidOperation(f"{parameter}: the axis {axis.name} {known}; got unit {self.unit!r}.")
        value = self.value or 0.0
        beyond = axis.values is not None and not min(axis.values) <= value <= max(axis.values)
        return self._inside(math.inf if beyond else axis.index(value), axis, parameter)

    def locate(self, axis: Axis, parameter: str) -> int:
        """Index of the pixel this means on `axis`; raises as `place` does."""
        return math.floor(self.place(axis, parameter) + 0.5)

    def _inside(self, index: float, axis: Axis, parameter: str) -> float:
        if not -0.5 <= index < axis.size - 0.5:
            ends = f" ({axis.value(0):g} to {axis.value(axis.size - 1):g} {axis.units})" if axis.units else ""
            raise InvalidOperation(
                f"{parameter}: outside the axis {axis.name}, whose indices are 0 to {axis.size - 1}{ends}."
            )
        return index


class Interval(Strict):
    """From one position to another; the end is not included, as in a slice."""

    start: Position | None = Field(None, description="First pixel; the beginning when left out")
    stop: Position | None = Field(None, description="The pixel after the last; the end when left out")

    def locate(self, axis: Axis, parameter: str) -> slice:
        """Return the slice this means on `axis`; raises InvalidOperation when it is empty."""
        start = 0 if self.start is None else self.start.locate(axis, f"{parameter}.start")
        stop = self._stop(axis, f"{parameter}.stop")
        if start >= stop:
            raise InvalidOperation(f"{parameter}: start ({start}) must lie before stop ({stop}).")
        return slice(start, stop, 1)

    def _stop(self, axis: Axis, parameter: str) -> int:
        if self.stop is None or self.stop.index == axis.size:
            return axis.size
        return self.stop.locate(axis, parameter)


class Distance(Strict):
    """A length within a frame, in pixels (``px``) or in the unit of the signal axes."""

    value: Annotated[float, Field(ge=0, le=1e9)]
    unit: str = Field("px", max_length=64)

    def step(self, axis: Axis, parameter: str) -> float:
        """Size of one pixel of `axis` in this distance's unit; raises InvalidOperation for another unit."""
        if self.unit == "px":
            return 1.0
        if axis.units is None:
            raise InvalidOperation(
                f'{parameter}: the axis {axis.name} is uncalibrated: unit must be "px"; got {self.unit!r}. '
                "Or calibrate it."
            )
        if self.unit != axis.units or axis.values is not None:
            allowed = '"px"' if axis.values is not None else f'"px" or "{axis.units}"'
            raise InvalidOperation(f"{parameter}: unit must be {allowed}; got {self.unit!r}.")
        return abs(axis.scale)


def cast(result: NDArray[Any], info: SignalInfo, name: str) -> NDArray[Any]:
    """Return what the function of operation `name` made as `info` declares it, as hyperspy's lazy ``map`` casts.

    Raises
    ------
    ComputeError
        It has another shape.
    """
    shape = info.signal_shape
    if result.shape != shape:
        raise ComputeError(f"{name} declared frames of {shape} but made {result.shape}; report this.")
    if result.dtype == info.dtype and result.base is None and result.flags.c_contiguous:
        return result
    out = np.empty(shape, info.dtype)
    out[...] = result
    return out


def arithmetic_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which arithmetic on `dtype` cannot wrap: float32, or float64 for float64.

    pyxem and hyperspy subtract in uint16, where a negative result becomes 65 535.
    """
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the 64-bit dtype of the same kind: a sum cannot wrap."""
    kinds: dict[str, Literal["u8", "i8", "f8", "c16"]] = {
        "b": "u8",
        "u": "u8",
        "i": "i8",
        "f": "f8",
        "c": "c16",
    }
    return np.dtype(kinds[dtype.kind])
