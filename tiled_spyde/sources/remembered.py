"""Parts of arrays put together from their stored chunks, each of which is decoded once and remembered."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tiled_spyde.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from numpy.typing import NDArray

Selection = tuple[int | slice, ...]
Numbers = tuple[int, ...]

# Of all sources together; a server has it in the bound of all that it remembers.
DECODED = Cache(256 << 20)


def remember_in(cache: Cache) -> None:
    """Keep what is decoded in `cache` from now on, together with whatever else is in it."""
    global DECODED
    DECODED = cache


class Layout(NamedTuple):
    """How an array is cut into chunks.

    Parameters
    ----------
    edges : tuple of sequence of int
        Along each axis, where the chunks begin, and where the last one ends.
    dtype : numpy.dtype
        Of the array.
    """

    edges: tuple[Sequence[int], ...]
    dtype: np.dtype[Any]

    @classmethod
    def even(cls, shape: Sequence[int], chunks: Sequence[int], dtype: np.dtype[Any]) -> Layout:
        """Return that of chunks of one size."""
        return cls(tuple(range(0, size + one, one) for size, one in zip(shape, chunks, strict=True)), dtype)

    @classmethod
    def of(cls, chunks: Sequence[Sequence[int]], dtype: np.dtype[Any]) -> Layout:
        """Return that of chunks of sizes that dask has."""
        return cls(tuple((0, *accumulate(sizes)) for sizes in chunks), dtype)

    def chunk(self, numbers: Numbers) -> tuple[slice, ...]:
        """Return where the chunk with `numbers` is in the array; of an even layout, also beyond its end."""
        return tuple(slice(edges[n], edges[n + 1]) for edges, n in zip(self.edges, numbers, strict=True))

    def largest(self) -> int:
        """Bytes of the largest chunk."""
        size = self.dtype.itemsize
        for edges in self.edges:
            size *= edges.step if isinstance(edges, range) else max(b - a for a, b in pairwise(edges))
        return size

    def fits(self) -> bool:
        """Whether more than one chunk can be remembered."""
        return self.largest() <= DECODED.limit // 2


def assembled(
    key: Hashable, layout: Layout, selection: Selection, decode: Callable[[Numbers], NDArray[Any]]
) -> NDArray[Any]:
    """Return ``array[selection]``, decoding each chunk once for all who need it.

    Parameters
    ----------
    key : hashable
        Of the array, and of what its files hold.
    layout : Layout
    selection : tuple of int or slice
    decode : callable
        Returns the chunk with these numbers, at least as large as it is in the array.
    """
    many = not any(isinstance(cut, int) for cut in selection)
    # As it was packed, unpacked, and what the last filter makes of that.
    needed = 2 * layout.largest()

    def decoded(numbers: Numbers) -> NDArray[Any]:
        with DECODED.room(needed):
            return decode(numbers)

    def chunk(numbers: Numbers, within: tuple[slice, ...]) -> NDArray[Any]:
        if many and _is_whole(within, layout.chunk(numbers)):
            # Who walks through a scan needs it once: what others look at must not make room for it.
            held = DECODED.peek((key, numbers))
            return decoded(numbers) if held is None else held
        return DECODED.get((key, numbers), lambda: decoded(numbers))

    return _put_together(layout, selection, chunk)


def assembled_at_once(key: Hashable, layout: Layout, selection: Selection) -> NDArray[Any] | None:
    """Return ``array[selection]`` where all its chunks are remembered, else None."""

    def chunk(numbers: Numbers, _: tuple[slice, ...]) -> NDArray[Any]:
        held: NDArray[Any] | None = DECODED.peek((key, numbers))
        if held is None:
            raise _NotHeldError
        return held

    try:
        return _put_together(layout, selection, chunk)
    except _NotHeldError:
        return None


class _NotHeldError(Exception):
    pass


def _is_whole(within: tuple[slice, ...], chunk: tuple[slice, ...]) -> bool:
    return all(cut == slice(0, one.stop - one.start, 1) for cut, one in zip(within, chunk, strict=True))


def _put_together(
    layout: Layout, selection: Selection, chunk: Callable[[Numbers, tuple[slice, ...]], NDArray[Any]]
) -> NDArray[Any]:
    wanted = [
        range(cut, cut + 1) if isinstance(cut, int) else range(cut.start or 0, cut.stop, cut.step or 1)
        for cut in selection
    ]
    made = np.empty([len(one) for one in wanted], layout.dtype)
    for pieces in product(*map(_pieces, layout.edges, wanted)):
        numbers, within, where = zip(*pieces, strict=True)
        made[where] = chunk(numbers, within)[within]
    if not any(isinstance(cut, int) for cut in selection):
        return made
    return made[tuple(0 if isinstance(cut, int) else slice(None) for cut in selection)]


def _pieces(edges: Sequence[int], wanted: range) -> Iterator[tuple[int, slice, slice]]:
    """Yield for each chunk that `wanted` touches: its number, the part of it, and where that goes."""
    done = 0
    while done < len(wanted):
        number = bisect_right(edges, wanted[done]) - 1
        begin, end = edges[number], edges[number + 1]
        part = range(wanted[done], min(wanted.stop, end), wanted.step)
        yield (
            number,
            slice(part[0] - begin, part[-1] - begin + 1, part.step),
            slice(done, done + len(part)),
        )
        done += len(part)
