"""What readers say of axes, turned into axes in array order: the one place that does.

A file's axes come nameless, with units spelt in many ways, in any order and with scales of zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.labels import LONGEST_NAME, clean_name, clean_units, default_names, plain_text, unused
from tiled_spyde.signals import Axis, SignalInfo
from tiled_spyde.sources import colours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DATACUBE = {"rx", "ry", "qx", "qy"}
_WIDEST = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}  # bytes of a number that every client knows
_FAR = 1e30  # a scale or an offset beyond it, or a scale below its inverse, measures nothing


@dataclass(frozen=True, slots=True)
class Described:
    """A signal's axes, and for each axis of the stored array whether it is a navigation axis."""

    info: SignalInfo
    navigate: tuple[bool, ...]
    order: tuple[int, ...]

    @property
    def in_order(self) -> bool:
        """Whether the array is stored in the order of the axes."""
        return list(self.order) == sorted(self.order)


def describe(
    axes: Sequence[Mapping[str, Any]], shape: Sequence[int], dtype: np.dtype[Any], signal: Mapping[str, Any]
) -> Described:
    """Return what is known of a signal, navigation axes first.

    Parameters
    ----------
    axes : sequence of mapping
        rosettasciio's axes, one for each axis of the array, in its order.
    shape : sequence of int
        Shape of the array.
    dtype : numpy.dtype
        As stored.
    signal : mapping
        ``metadata["Signal"]`` of hyperspy.

    Raises
    ------
    SourceError
        The array holds something else than numbers, or nothing, or its axes do not fit it.
    """
    _check(axes, shape, dtype)
    navigate = _navigate(axes, signal)
    order = tuple(sorted(range(len(shape)), key=lambda position: not navigate[position]))
    converted = [_axis(axes[at], int(shape[at]), navigate[at]) for at in order]
    native = dtype.newbyteorder("=")
    kind = plain_text(signal.get("signal_type") or "")[:LONGEST_NAME]
    return Described(SignalInfo(_named(converted), native, kind), navigate, order)


def _check(axes: Sequence[Any], shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biufc" or dtype.itemsize > _WIDEST[dtype.kind]:
        raise SourceError(f"it holds {dtype} values, not numbers. Save numbers of one size per position.")
    if len(axes) != len(shape):
        raise SourceError(f"it says {len(axes)} axes for an array of shape {tuple(shape)}. Save it again.")
    if not shape or 0 in shape:
        raise SourceError(f"it holds no pixel: its shape is {tuple(shape)}. Acquire or save it again.")


def _navigate(axes: Sequence[Mapping[str, Any]], signal: Mapping[str, Any]) -> tuple[bool, ...]:
    if all("navigate" in axis for axis in axes):
        said = tuple(bool(axis["navigate"]) for axis in axes)
        names = [str(axis.get("name")).lower().replace("_", "") for axis in axes]
        if not any(said) and set(names) == _DATACUBE and len(names) == 4:
            return tuple(name.startswith("r") for name in names)  # py4DSTEM: R is the scan, Q the pattern
        return said
    dimension = {"spectrum": 1, "image": 2}.get(str(signal.get("record_by")), len(axes))
    return tuple(position < len(axes) - dimension for position in range(len(axes)))


def _axis(axis: Mapping[str, Any], size: int, navigate: bool) -> Axis:
    name = clean_name(axis.get("name"))
    units = clean_units(axis.get("units"))
    values = axis.get("axis")
    if values is not None:
        numbers = tuple(float(value) for value in np.asarray(values).ravel())
        if len(numbers) == size and all(map(math.isfinite, numbers)):
            return Axis(name, size, units=units, navigate=navigate, values=numbers)
    if "expression" in axis:  # evaluating what a file says is running its code
        return Axis(name, size, navigate=navigate)
    scale, offset = _number(axis.get("scale", 1.0)), _number(axis.get("offset", 0.0))
    if scale is None or offset is None or not 1 / _FAR < abs(scale) < _FAR or abs(offset) > _FAR:
        return Axis(name, size, navigate=navigate)
    return Axis(name, size, scale, offset, units, navigate)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _named(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Return `axes` with a name for each, unique in the signal."""
    roles = [axis.navigate for axis in axes]
    coloured = sum(axis.name == colours.AXIS for axis in axes)
    defaults = {
        role: default_names(role, roles.count(True), roles.count(False) - coloured) for role in (True, False)
    }
    given = {axis.name for axis in axes}
    taken: set[str] = set()
    named = []
    for axis in reversed(axes):
        default = "" if axis.name == colours.AXIS else defaults[axis.navigate].pop()
        name = unused(axis.name, taken) if axis.name else unused(default, taken | given)
        taken.add(name)
        named.append(replace(axis, name=name))
    return tuple(reversed(named))
