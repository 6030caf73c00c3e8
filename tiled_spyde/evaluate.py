"""The only place that computes: (recipe, slice) -> array.

One frame costs one frame: a position is read from the root, each function of the chain is called once,
and the result is cast to the declared dtype exactly as hyperspy's lazy ``map`` does
(``out[...] = result``). Nothing else of the scan is touched.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.cache import Cache, DenseMap
from tiled_spyde.errors import Busy, ComputeError, InvalidSlice, SpydeError, TooLarge
from tiled_spyde.signals import RegionReader, read_positions
from tiled_spyde.slices import Selection, as_slice, blocks, grids, numbers_of, shape_of
from tiled_spyde.tickets import TICKET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from tiled_spyde.recipe import Recipe
    from tiled_spyde.signals import Index, Region
    from tiled_spyde.slices import Grid
    from tiled_spyde.tickets import Ticket

# Below this estimate, in seconds, handing work to other threads costs more than it saves.
_WORTH_SHARING = 5e-3
# Positions are read together up to so many bytes, and so many positions where frames are tiny.
_TOGETHER_BYTES = 8 * 2**20
_TOGETHER = 65_536
# Reading from a root, for estimates only: for a read, and for each byte of it, in seconds.
_READ_SECONDS = 50e-6
_READ_SECONDS_PER_BYTE = 0.5e-9
# What needs longer than this takes one of a few places, so that it leaves threads for single frames.
_HEAVY_SECONDS = 0.5
_HEAVY_AT_ONCE = 4
_PATIENCE_SECONDS = 2.0
# A frame is held in memory whole while it is computed, even where nothing is cached.
_LEAST_FRAME_BYTES = 64 * 2**20


class Evaluator:
    """Computes frames and maps, and remembers them by content key.

    Parameters
    ----------
    cache_bytes : int
        Bound on the computed frames held, in bytes; maps have a quarter of it on top. A chain whose frames
        are larger is refused: every slice of one would compute it anew.
    workers : int or None
        Threads that share the positions of one large request; as many as cores by default.
    max_seconds : float
        A request that is estimated to need more time than this, on one core, is refused.
    """

    def __init__(
        self, cache_bytes: int = 512 * 2**20, workers: int | None = None, max_seconds: float = 120.0
    ) -> None:
        self.max_seconds = max_seconds
        self._max_frame_bytes = max(cache_bytes, _LEAST_FRAME_BYTES)
        self._heavy = BoundedSemaphore(_HEAVY_AT_ONCE)
        self.cache = self._frames = Cache(cache_bytes)
        self._maps: OrderedDict[str, DenseMap] = OrderedDict()
        self._map_bytes = cache_bytes // 4
        self._maps_lock = Lock()
        self._workers = workers or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="evaluate")

    def read(self, recipe: Recipe, wanted: Iterable[Any] = (...,)) -> NDArray[Any]:
        """Evaluate a slice of a node.

        Parameters
        ----------
        recipe : Recipe
            What to compute.
        wanted : iterable of int, slice or Ellipsis
            Basic slice in array order, navigation axes first.

        Returns
        -------
        numpy.ndarray
            As numpy would slice the whole node; may be read-only.

        Raises
        ------
        InvalidSlice, TooLarge
            Before anything is computed.
        SourceError, ComputeError
            The file or an operation failed; the message names the position.
        """
        recipe = recipe.array
        selection = Selection.of(wanted, recipe.info.shape)
        if not all(selection.ranges):
            return np.empty(selection.shape, recipe.info.dtype)
        self._refuse_large_frames(recipe)
        axes, rising = len(recipe.info.navigation_axes), selection.rising
        positions, region = rising[:axes], tuple(map(as_slice, rising[axes:]))
        map_wanted = self._is_map(recipe)
        read = self._map(recipe, positions) if map_wanted else self._frames_of(recipe, positions, region)
        return selection.restored(read)

    def at_hand(self, recipe: Recipe, wanted: Iterable[Any] = (...,)) -> NDArray[Any] | None:
        """Return what `read` would if it is remembered, or in the page cache; None where it takes longer.

        Never blocks and never computes, so it may be called on the event loop.
        """
        return None

    def start(
        self,
        recipe: Recipe,
        wanted: Iterable[Any] = (...,),
        ticket: Ticket | None = None,
        then: Callable[[NDArray[Any]], Any] | None = None,
    ) -> Future[Any]:
        """Begin to evaluate a slice, in the pool; returns at once.

        Parameters
        ----------
        recipe, wanted
            As of `read`.
        ticket : Ticket, optional
            Whose claim it is: its urgency and client decide when it comes to its turn, and when it is abandoned the
            rest is dropped.
        then : callable, optional
            What to make of the array, in the pool too: its encoding.

        Returns
        -------
        concurrent.futures.Future
            Of the array, or of what `then` makes of it; fails with what `read` raises, and with `Abandoned`.

        Raises
        ------
        InvalidSlice, TooLarge
            Before anything is computed.
        Busy
            As many wait already as may.
        """
        token = TICKET.set(ticket)
        try:
            context = copy_context()
        finally:
            TICKET.reset(token)

        def evaluated() -> Any:
            array = self.read(recipe, wanted)
            return array if then is None else then(array)

        return self._pool.submit(context.run, evaluated)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _frames_of(self, recipe: Recipe, positions: Grid, region: Region) -> NDArray[Any]:
        count, info = math.prod(map(len, positions)), recipe.info
        # A root reads only the part; a chain needs the whole frame below it.
        size = (
            math.prod(shape_of(region)) * info.dtype.itemsize
            if recipe.stored
            else recipe.root.info.frame_bytes
        )
        seconds = self._refuse_beyond(count, recipe, size)
        with self._place(seconds):
            if count == 1:
                return self._part(recipe, tuple(taken[0] for taken in positions), region)
            numbers = numbers_of(positions, info.navigation_shape)
            return self._many(recipe, [positions], numbers, region, seconds)

    def _is_map(self, recipe: Recipe) -> bool:
        """Say whether a node is one number per position, and not too many to be held."""
        info = recipe.info
        if recipe.stored or info.signal_axes or not info.navigation_axes:
            return False
        return DenseMap.bytes_of(info.navigation_shape, info.dtype) <= self._map_bytes

    def _map(self, recipe: Recipe, taken: Grid) -> NDArray[Any]:
        part = tuple(map(as_slice, taken))
        dense = self._dense_map(recipe)
        seconds = self._refuse_beyond(dense.missing(part), recipe, recipe.root.info.frame_bytes)

        def compute(positions: NDArray[Any]) -> NDArray[Any]:
            numbers = np.ravel_multi_index(tuple(positions.T), recipe.info.navigation_shape)
            return self._many(recipe, grids(positions), numbers, (), seconds)

        # Whoever waits for positions that others compute holds a thread too.
        with self._place(seconds):
            return dense.read(part, compute)

    def _dense_map(self, recipe: Recipe) -> DenseMap:
        with self._maps_lock:
            dense = self._maps.pop(recipe.key, None)
            if dense is None:
                dense = DenseMap(recipe.info.navigation_shape, recipe.info.dtype)
            self._maps[recipe.key] = dense
            while len(self._maps) > 1 and sum(m.nbytes for m in self._maps.values()) > self._map_bytes:
                self._maps.popitem(last=False)
        return dense

    def _many(
        self, recipe: Recipe, wanted: Sequence[Grid], numbers: NDArray[Any], region: Region, seconds: float
    ) -> NDArray[Any]:
        """Return the frames at the positions of all `wanted`, whose numbers are `numbers`, one after the other."""
        shape = recipe.info.navigation_shape
        out = np.empty((len(numbers), *shape_of(region)), recipe.info.dtype)

        def fill(part: Iterable[Grid]) -> None:
            for block in part:
                at = np.searchsorted(numbers, numbers_of(block, shape))
                out[at] = self._block(recipe, block, region).reshape(len(at), *out.shape[1:])

        most = self._positions_at_once(recipe, len(numbers), region, seconds)
        self._share(fill, [block for grid in wanted for block in blocks(grid, most)], seconds)
        return out

    def _positions_at_once(self, recipe: Recipe, count: int, region: Region, seconds: float) -> int:
        """How many positions are read together: a few MB, and enough parts for all threads."""
        pixels = math.prod(shape_of(region)) if recipe.stored else math.prod(recipe.root.info.signal_shape)
        size = max(1, pixels * recipe.root.info.dtype.itemsize)
        part = -(-count // self._workers) if seconds >= _WORTH_SHARING else count
        return max(1, min(part, _TOGETHER_BYTES // size, _TOGETHER))

    def _block(self, recipe: Recipe, positions: Grid, region: Region) -> NDArray[Any]:
        """Return the frames at a few positions, which are read at once."""
        below = _stored_frames(recipe, positions, region if recipe.stored else ())
        if recipe.stored:
            return below
        counts = tuple(map(len, positions))
        out = np.empty(counts + shape_of(region), recipe.info.dtype)
        for cell in np.ndindex(counts):
            index = tuple(taken[i] for taken, i in zip(positions, cell, strict=True))
            out[cell] = self._frame(recipe, index, keep=False, below=below[(*cell, ...)])[region]
        return out

    def _part(self, recipe: Recipe, index: Index, region: Region) -> NDArray[Any]:
        while recipe.is_view and recipe.parent is not None:
            recipe, index = recipe.parent, recipe.below(index)
        if recipe.parent is not None:
            return self._frame(recipe, index)[region]
        return recipe.root.reader.read(index, region)

    def _frame(
        self, recipe: Recipe, index: Index, keep: bool = True, below: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Return one whole frame; the frames of the chain are remembered too, for people toggle between them.

        `below` is the root's frame where it has been read already.
        """
        if recipe.parent is None:
            return recipe.root.reader.read(index) if below is None else below
        if recipe.is_view:
            return self._frame(recipe.parent, recipe.below(index), keep, below)
        key = (recipe.key, index)
        if keep:
            return self._frames.get(key, lambda: self._apply(recipe, index, keep, below))
        held = self._frames.peek(key)
        return self._apply(recipe, index, keep, below) if held is None else held

    def _apply(self, recipe: Recipe, index: Index, keep: bool, below: NDArray[Any] | None) -> NDArray[Any]:
        if recipe.parent is None or recipe.operation is None:
            raise InvalidSlice("A root has nothing to apply.")
        frame = self._frame(recipe.parent, index, keep, below)
        try:
            result = np.asarray(recipe.function(frame))
        except SpydeError:
            raise
        except Exception as error:
            where = f"position {index}" if index else "this image"
            raise ComputeError(
                f"{recipe.operation.name} failed at {where}: {error}. Try other parameters, or look at its parent."
            ) from error
        return _cast(result, recipe)

    def _refuse_beyond(self, positions: int, recipe: Recipe, size: int) -> float:
        """Return the estimated seconds on one core; refuse more than the limit. `size`: bytes read a position."""
        calls = positions
        if positions > 1 and isinstance(recipe.root.reader, RegionReader):
            calls = -(-positions * size // _TOGETHER_BYTES)
        reading = calls * _READ_SECONDS + positions * size * _READ_SECONDS_PER_BYTE
        seconds = positions * recipe.seconds + reading
        if seconds > self.max_seconds:
            raise TooLarge(
                f"This slice of {positions} positions would take about {seconds:.0f} s to compute; the limit is "
                f"{self.max_seconds:.0f} s. Ask for fewer positions, or for every n-th (a slice like ::8,::8)."
            )
        return seconds

    def _refuse_large_frames(self, recipe: Recipe) -> None:
        """Refuse a chain with a frame that cannot be held whole; a root's own slice reads only itself."""
        step = None if recipe.stored else recipe
        while step is not None:
            if step.info.frame_bytes > self._max_frame_bytes:
                raise TooLarge(
                    f"A frame on the way has {step.info.frame_bytes / 1e6:.0f} MB; at most "
                    f"{self._max_frame_bytes / 1e6:.0f} MB are computed at once. Look at the root, or give the "
                    "server a larger cache."
                )
            step = step.parent

    @contextmanager
    def _place(self, seconds: float) -> Iterator[None]:
        """Hold one of the few places for heavy work, so that single frames always find a free thread."""
        if seconds < _HEAVY_SECONDS:
            yield
            return
        if not self._heavy.acquire(timeout=_PATIENCE_SECONDS):
            raise Busy(
                "The server is busy with other large requests. Try again in a moment, or ask for less."
            )
        try:
            yield
        finally:
            self._heavy.release()

    def _share(self, fill: Callable[[Any], None], cells: Sequence[Any], seconds: float) -> None:
        """Call ``fill`` with all `cells`, spread over the threads where `seconds` of work are worth it."""
        if seconds < _WORTH_SHARING or self._workers == 1:
            fill(cells)
            return
        futures = [self._pool.submit(fill, cells[start :: self._workers]) for start in range(self._workers)]
        for future in futures:
            future.exception()
        for future in futures:
            future.result()


def signal(recipe: Recipe) -> Any:
    """Hyperspy's lazy signal for a recipe: for notebooks, and as the reference `Evaluator` is held against.

    Returns
    -------
    hyperspy.signals.BaseSignal
        Lazy, one ``map`` for each step, with the declared axes.
    """
    if recipe.parent is None:
        return recipe.root.signal()
    if recipe.is_view:
        return recipe.root.signal(recipe.info, _rearranged(recipe, signal(recipe.parent).data))
    mapped = signal(recipe.parent).map(
        recipe.function,
        inplace=False,
        lazy_output=True,
        ragged=False,
        output_signal_size=recipe.info.signal_shape,
        output_dtype=recipe.info.dtype,
    )
    declared = recipe.info.signal_axes
    # hyperspy counts signal axes backwards: x before y.
    for axis, wanted in zip(reversed(mapped.axes_manager.signal_axes), declared, strict=False):
        if wanted.values is None:
            axis.scale, axis.offset = wanted.scale, wanted.offset
        axis.name, axis.units = wanted.name, wanted.units
    return mapped


def _rearranged(recipe: Recipe, below: Any) -> Any:
    """Return the frames of a view, taken from the dask array of its parent."""
    counts, frame = recipe.info.navigation_shape, recipe.info.signal_shape
    if recipe.frames is not None:
        below = below.reshape((-1, *frame))[recipe.frames(np.arange(math.prod(counts)))]
    return below.reshape(counts + frame)


def _stored_frames(recipe: Recipe, positions: Grid, region: Region) -> NDArray[Any]:
    """Return what stands in the file for the frames at `positions`, read at once where that is possible."""
    reader, info = recipe.root.reader, recipe.root.info
    if not recipe.rearranged:
        return read_positions(reader, info, tuple(map(as_slice, positions)), region)
    shape = info.navigation_shape
    numbers = recipe.root_numbers(numbers_of(positions, recipe.info.navigation_shape))
    wanted = grids(np.stack(np.unravel_index(numbers, shape), axis=1))
    found = tuple(map(len, positions)) + (shape_of(region) if region else info.signal_shape)
    if len(wanted) == 1:
        return read_positions(reader, info, tuple(map(as_slice, wanted[0])), region).reshape(found)
    out = np.empty((len(numbers), *found[len(positions) :]), info.dtype)
    for grid in wanted:
        part = read_positions(reader, info, tuple(map(as_slice, grid)), region)
        at = np.searchsorted(numbers, numbers_of(grid, shape))
        out[at] = part.reshape(len(at), *out.shape[1:])
    return out.reshape(found)


def _cast(result: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    info = recipe.info
    if result.shape != info.signal_shape:
        raise ComputeError(
            f"{recipe.operation.name if recipe.operation else 'root'} declared frames of {info.signal_shape} "
            f"but made {result.shape}; report this."
        )
    if result.dtype == info.dtype and result.base is None and result.flags.c_contiguous:
        return result
    out = np.empty(info.signal_shape, info.dtype)
    out[...] = result
    return out
