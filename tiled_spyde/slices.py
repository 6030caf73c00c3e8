"""Basic slices, with every bound written out, and the positions of a scan that they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import InvalidSlice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, Region

# The positions that one range along each navigation axis takes.
Grid = tuple[range, ...]


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

        What is a `Selection` already stays as it is.

        Raises
        ------
        InvalidSlice
            Too many parts, an index out of range, a step of zero, or something else than these.
        """
        if isinstance(wanted, Selection):
            return wanted
        parts = _without_ellipsis(tuple(wanted), len(shape))
        pairs = [
            _range_of(part, size, axis) for axis, (part, size) in enumerate(zip(parts, shape, strict=True))
        ]
        return cls(tuple(taken for taken, _ in pairs), tuple(kept for _, kept in pairs))

    def __iter__(self) -> Iterator[int | slice]:
        """Yield what `of` would resolve to this."""
        for taken, kept in zip(self.ranges, self.kept, strict=True):
            stop = None if taken.stop < 0 else taken.stop
            if not taken:  # its bounds, being negative, could mean others
                yield slice(0, 0)
            else:
                yield slice(taken.start, stop, taken.step) if kept else taken.start

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(taken) for taken, kept in zip(self.ranges, self.kept, strict=True) if kept)

    @property
    def rising(self) -> Grid:
        """The same indices, each range from its lowest to its highest."""
        return tuple([taken if taken.step > 0 else taken[::-1] for taken in self.ranges])

    def restored(self, read: NDArray[Any]) -> NDArray[Any]:
        """Return what was read at `rising`, however it is shaped, in the order and the shape of the slice."""
        if any(taken.step < 0 for taken in self.ranges):
            read = read.reshape(tuple(map(len, self.ranges)))
            read = read[tuple(slice(None, None, -1 if taken.step < 0 else 1) for taken in self.ranges)]
        return read.reshape(self.shape)


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
        start, stop, step = part.indices(size)
        # A step beyond the whole axis takes one index, and may be more than readers can count.
        return range(start, stop, max(-size, min(step, size)) or 1), True
    index = int(part)
    if not -size <= index < size:
        raise InvalidSlice(f"Axis {axis} has the indices 0 to {size - 1}; got {index}.")
    index %= size
    return range(index, index + 1), False


def as_slice(taken: range) -> slice:
    """Return the slice that takes the indices of a rising range, which is not empty; none of it lies beyond."""
    return slice(taken[0], taken[-1] + 1, taken.step)


def shape_of(region: Region) -> tuple[int, ...]:
    """Return the shape of what slices with explicit bounds and positive steps take."""
    return tuple(len(range(cut.start, cut.stop, cut.step)) for cut in region)


def strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return by how much a step along each axis raises the number of a position, counted in array order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def index_of(number: int, shape: tuple[int, ...]) -> Index:
    """Return the position that has this number."""
    index: Index = ()
    for size in shape[:0:-1]:
        number, i = divmod(number, size)
        index = (i, *index)
    return (number, *index)


def numbers_of(grid: Grid, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the numbers of all positions of `grid`, rising."""
    return np.ravel_multi_index(np.ix_(*grid), shape).ravel()


def grids(positions: NDArray[Any]) -> list[Grid]:
    """Return grids that together take exactly `positions`: few where these are regular.

    Parameters
    ----------
    positions : numpy.ndarray
        In array order, shape ``(n, axes)``.
    """
    if positions.shape[1] == 0:
        return [()]
    leading, last = positions[:, :-1], positions[:, -1]
    ends = np.flatnonzero((leading[1:] != leading[:-1]).any(axis=1)) + 1
    rows: dict[range, list[int]] = {}
    for start, stop in pairwise([0, *ends.tolist(), len(positions)]):
        for run in _runs(last[start:stop]):
            rows.setdefault(run, []).append(start)
    return [(*grid, run) for run, starts in rows.items() for grid in grids(leading[starts])]


def _runs(values: NDArray[Any]) -> Iterator[range]:
    """Split rising values into ranges."""
    steps = np.diff(values)
    changes = np.flatnonzero(steps[1:] != steps[:-1]) + 1
    first, end = 0, len(values) - 1
    while first <= end:
        after = int(np.searchsorted(changes, first, side="right"))
        last = min(end, int(changes[after])) if after < len(changes) else end
        step = int(steps[first]) if last > first else 1
        yield range(int(values[first]), int(values[last]) + 1, step)
        first = last + 1


def cells(grid: Grid, together: tuple[int, ...], most: int) -> Iterator[Grid]:
    """Split `grid` along the borders of what is stored together.

    Parameters
    ----------
    grid : tuple of range
        Rising.
    together : tuple of int
        How many positions along each axis are stored together.
    most : int
        As long as there are not more positions in it, a cell has several of these.
    """
    sizes = list(together)
    counts = [min(len(taken), -(-size // taken.step)) for size, taken in zip(together, grid, strict=True)]
    for axis in reversed(range(len(grid))):
        more = max(1, min(most // math.prod(counts), -(-len(grid[axis]) // counts[axis])))
        sizes[axis] *= more
        counts[axis] *= more
    yield from product(*map(_within_borders, grid, sizes))


def _within_borders(taken: range, size: int) -> list[range]:
    parts, start = [], 0
    while start < len(taken):
        border = (taken[start] // size + 1) * size
        end = -(-(border - taken.start) // taken.step)
        parts.append(taken[start:end])
        start = end
    return parts


def place_in(grid: Grid, block: Grid) -> Region:
    """Return where a block of `grid` is in an array with one element for each position of it."""
    starts = [taken.index(part[0]) for taken, part in zip(grid, block, strict=True)]
    return tuple(slice(start, start + len(part)) for start, part in zip(starts, block, strict=True))


def blocks(grid: Grid, most: int) -> Iterator[Grid]:
    """Split `grid` into blocks of at most `most` positions, which follow each other in array order."""
    counts = [len(taken) for taken in grid]
    axis = next((at for at, count in enumerate(counts) if count > 1), None)
    total = int(np.prod(counts))
    if axis is None or total <= most:
        yield grid
        return
    together = max(1, most * counts[axis] // total)
    for start in range(0, counts[axis], together):
        part = (*grid[:axis], grid[axis][start : start + together], *grid[axis + 1 :])
        yield from blocks(part, most)
