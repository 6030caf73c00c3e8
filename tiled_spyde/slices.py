"""Basic slices, with every bound written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import InvalidSlice

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Selection:
    """A basic slice of an array, with every bound written out.

    Parameters
    ----------
    ranges : tuple of range
        The indices taken along each axis.
    kept : tuple of bool
        False for an axis that an integer takes away.
    """

    ranges: tuple[range, ...]
    kept: tuple[bool, ...]

    @classmethod
    def of(cls, wanted: Iterable[Any], shape: tuple[int, ...]) -> Selection:
        """Resolve `wanted` (integers, slices, at most one Ellipsis) for an array of `shape`.

        Raises
        ------
        InvalidSlice
            Too many parts, an index out of range, a step of zero, or something else than these.
        """
        parts = _without_ellipsis(tuple(wanted), len(shape))
        pairs = [
            _range_of(part, size, axis) for axis, (part, size) in enumerate(zip(parts, shape, strict=True))
        ]
        return cls(tuple(taken for taken, _ in pairs), tuple(kept for _, kept in pairs))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(taken) for taken, kept in zip(self.ranges, self.kept, strict=True) if kept)


def _without_ellipsis(parts: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    given = sum(part is not Ellipsis for part in parts)
    if given > axes or len(parts) - given > 1:
        raise InvalidSlice(f"This array has {axes} axes; the slice has {given} parts.")
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    return (*parts[:at], *[slice(None)] * (axes - given), *parts[at + 1 :])


def _range_of(part: Any, size: int, axis: int) -> tuple[range, bool]:
    if isinstance(part, slice):
        if part.step == 0:
            raise InvalidSlice(f"Axis {axis}: the step of a slice cannot be 0.")
        return range(*part.indices(size)), True
    index = int(part)
    if not -size <= index < size:
        raise InvalidSlice(f"Axis {axis} has the indices 0 to {size - 1}; got {index}.")
    index %= size
    return range(index, index + 1), False


def as_slice(taken: range) -> slice:
    """Return the slice that takes the indices of a range, which may run backwards."""
    if not taken:
        return slice(0, 0, 1)
    return slice(taken.start, taken.stop if taken.stop >= 0 else None, taken.step)


def forward(cut: slice, size: int) -> slice:
    """Return the same indices in rising order, with every bound written out."""
    taken = range(*cut.indices(size))
    rising = taken if taken.step > 0 else taken[::-1]
    return slice(rising.start, max(rising.stop, rising.start), rising.step)
