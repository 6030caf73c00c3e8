"""The only place that computes: (recipe, slice) -> array.

One frame costs one frame: a position is read from the root, each function of the chain is called once,
and the result is cast to the declared dtype exactly as hyperspy's lazy ``map`` does
(``out[...] = result``). Nothing else of the scan is touched. This module says what is to be done, and refuses what is
too much; `frames` does it, in the order that `pool` decides.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.cache import Cache, DenseMap
from tiled_spyde.claims import Job
from tiled_spyde.errors import StorageFull, TooLarge
from tiled_spyde.frames import Frames, one_frame
from tiled_spyde.node import is_preview
from tiled_spyde.pool import LONG, Pool
from tiled_spyde.processes import Processes
from tiled_spyde.reference import signal
from tiled_spyde.signals import RegionReader
from tiled_spyde.slices import Selection, as_slice, blocks, cells, place_in, shape_of
from tiled_spyde.store import Store
from tiled_spyde.tickets import TICKET, Ticket, Urgency
from tiled_spyde.wholes import Wholes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from tiled_spyde.claims import Part
    from tiled_spyde.frames import OneFrame
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.signals import Region
    from tiled_spyde.slices import Grid

__all__ = ["Evaluator", "signal"]

# A part of a job, in seconds: then it gives way to what is more urgent.
_PART_SECONDS = 20e-3
# Below this estimate, in seconds, handing work to other threads costs more than it saves.
_WORTH_SHARING = 5e-3
# Positions are read together up to so many bytes, and so many positions where frames are tiny.
_TOGETHER_BYTES = 8 * 2**20
_TOGETHER = 65_536
# What is stored together is decoded together, as far as it makes parts of no more bytes and no more seconds.
_STORED_TOGETHER_BYTES = 32 * 2**20
_STORED_TOGETHER_SECONDS = 0.1
# Reading from a root, for estimates only: for a read, and for each byte of it, in seconds.
_READ_SECONDS = 50e-6
_READ_SECONDS_PER_BYTE = 0.5e-9
# Several frames that need longer than this are bulk, whatever is said of them.
_BULK_SECONDS = 0.25
# A frame is held in memory whole while it is computed, even where nothing is cached.
_LEAST_FRAME_BYTES = 64 * 2**20
# One map has at most this part of the cache.
_MAP_SHARE = 4
# The frames below a first look at a map have at most this part of it.
_LOOK_SHARE = 6


class Evaluator:
    """Computes frames and maps, and remembers them by content key.

    Parameters
    ----------
    cache_bytes : int
        Bound on all that is remembered, in bytes. A chain whose frames are larger is refused: every slice of one
        would compute it anew.
    workers : int or None
        Threads that compute; as many as cores by default.
    max_seconds : float
        A request that is estimated to need more time than this, on one core, is refused.
    most_waiting : int
        Requests that wait at most, of one client a quarter.
    deadline_seconds : float
        For how long those who serve wait for what it makes.
    store : Store, optional
        Holds what needs a whole scan; one that goes with this object by default.

    Attributes
    ----------
    cache : Cache
        Computed frames as ``("frame", key, index)``, maps as ``("map", key)``, and whatever others put there.
    pool : Pool
        Its workers, with its counters.
    wholes : Wholes
        Computes what needs a whole scan.
    when_missing : callable or None
        ``(recipe, node)`` → address of the job that computes what `recipe` needs; told when somebody who asks for the
        node at that path has to wait for it.
    """

    def __init__(
        self,
        cache_bytes: int = 512 * 2**20,
        workers: int | None = None,
        max_seconds: float = 120.0,
        most_waiting: int = 1024,
        deadline_seconds: float = 120.0,
        store: Store | None = None,
    ) -> None:
        self.max_seconds = max_seconds
        self.deadline_seconds = deadline_seconds
        self.cache = Cache(cache_bytes)
        self.pool = Pool(workers, most_waiting)
        self.processes = Processes(self.pool.workers, max_seconds)
        store = store or Store()
        self._frames = Frames(self.cache, self.processes, store)
        self.wholes = Wholes(store, self._positions)
        self.when_missing: Callable[[Recipe, str], str] | None = None
        self._max_frame_bytes = max(cache_bytes, _LEAST_FRAME_BYTES)

    def read(self, recipe: Recipe, wanted: Iterable[Any] = (...,)) -> NDArray[Any]:
        """Evaluate a slice of a node; waits for it. The request's ticket is that in `TICKET`.

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
        InvalidSlice, TooLarge, Busy
            Before anything is computed.
        SourceError, ComputeError
            The file or an operation failed; the message names the position.
        Abandoned
            At once, when the ticket is abandoned.
        """
        recipe = recipe.array
        selection = Selection.of(wanted, recipe.shape)
        held = self._held(recipe, selection)
        if held is not None:
            return held
        array: NDArray[Any] = self._begun(recipe, selection, TICKET.get() or Ticket(), None).result()
        return array

    def at_hand(self, recipe: Recipe, wanted: Iterable[Any] = (...,)) -> NDArray[Any] | None:
        """Return what `read` would if it is remembered, or in the page cache; None where it takes longer.

        Never blocks and never computes, so it may be called on the event loop.

        Raises
        ------
        InvalidSlice
            As `read`.
        SourceError
            As `read`; a reader may as well return None and leave it to `read` to say so.
        """
        recipe = recipe.array
        return self._held(recipe, Selection.of(wanted, recipe.shape))

    def start(
        self,
        recipe: Recipe,
        wanted: Iterable[Any] = (...,),
        ticket: Ticket | None = None,
        then: Callable[[NDArray[Any]], Any] | None = None,
    ) -> Future[Any]:
        """Begin to evaluate a slice, in the pool; returns at once.

        Who asks for the same slice meanwhile shares the work.

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
        recipe = recipe.array
        return self._begun(recipe, Selection.of(wanted, recipe.shape), ticket or Ticket(), then)

    def close(self) -> None:
        """End the threads and the processes."""
        self.wholes.close()
        self.processes.close()
        self.pool.close()

    def glance(self, one: OneFrame) -> NDArray[Any] | None:
        """Return a part of a frame if it is at hand, read-only; for the event loop, as `at_hand`."""
        if one.remembered is None:
            return None if one.read is None else one.read(one.index, one.region)
        frame: NDArray[Any] | None = self.cache.peek(one.remembered)
        return None if frame is None else frame[one.region]

    def _held(self, recipe: Recipe, selection: Selection) -> NDArray[Any] | None:
        if self._is_map(recipe):
            return self._held_of_map(recipe, selection)
        one = one_frame(recipe, selection)
        read = None if one is None else self.glance(one)
        return None if read is None else selection.restored(read)

    def _held_of_map(self, recipe: Recipe, selection: Selection) -> NDArray[Any] | None:
        dense = self.cache.peek(("map", recipe.key))
        if dense is None or not all(selection.ranges):
            return None
        part = tuple(map(as_slice, selection.rising))
        return None if dense.missing(part) else selection.restored(dense.values[part].copy())

    def _begun(
        self,
        recipe: Recipe,
        selection: Selection,
        ticket: Ticket,
        then: Callable[[NDArray[Any]], Any] | None,
        tried: int = 0,
    ) -> Future[Any]:
        """Begin, once what needs a whole scan is stored; no thread of the pool waits for that."""
        missing = self.wholes.missing(recipe) if recipe.wholes else []
        if not missing or not all(selection.ranges):
            return self._started(recipe, selection, ticket, then)
        self._refuse_large_frames(recipe)
        if tried > len(recipe.wholes):
            raise StorageFull("The store has not room for all that this needs. Configure a larger store_mb.")
        # What nobody keeps is not computed on for those who have gone, and its job only told to who waits in vain: each
        # value of a slider would be one.
        patience = self.deadline_seconds if is_preview(ticket.node) else None
        if self.when_missing is not None and ticket.node:
            ticket.job = partial(self.when_missing, recipe, ticket.node)
            if patience is None:
                ticket.job()
        return self.wholes.then(
            missing[0], ticket, lambda: self._begun(recipe, selection, ticket, then, tried + 1), patience
        )

    def _positions(self, recipe: Recipe, positions: Grid, ticket: Ticket) -> Future[NDArray[Any]]:
        """Begin to compute whole frames for `wholes`."""
        recipe = recipe.array
        frame = map(range, recipe.info.signal_shape)
        ranges = (*positions, *frame)
        return self._started(recipe, Selection(ranges, (True,) * len(ranges)), ticket, None)

    def _started(
        self,
        recipe: Recipe,
        selection: Selection,
        ticket: Ticket,
        then: Callable[[NDArray[Any]], Any] | None,
    ) -> Future[Any]:
        if not all(selection.ranges):
            nothing: Future[Any] = Future()
            empty = np.empty(selection.shape, recipe.info.dtype)
            nothing.set_result(empty if then is None else then(empty))
            return nothing
        self._refuse_large_frames(recipe)
        axes, rising = recipe.navigation_dimension, selection.rising
        positions, region = rising[:axes], tuple(map(as_slice, rising[axes:]))
        work = self._map(recipe, positions) if self._is_map(recipe) else self._tile(recipe, positions, region)
        job = Job(work.parts, lambda: selection.restored(work.result()), work.seconds > LONG * work.count)
        bulk = work.count > 1 and work.seconds > _BULK_SECONDS
        urgency = Urgency.BULK if bulk else ticket.urgency
        return self.pool.submit(job, ticket, then, (recipe.key, selection), urgency)

    def _is_map(self, recipe: Recipe) -> bool:
        """Say whether a node is one number per position, and not too many to be held."""
        if not recipe.only_numbers:
            return False
        info = recipe.info
        return DenseMap.bytes_of(info.navigation_shape, info.dtype) <= self.cache.limit // _MAP_SHARE

    def _map(self, recipe: Recipe, taken: Grid) -> _Work:
        """Have what is missing of a map computed.

        Each part claims its positions when it is begun, not before, so whoever waits for them waits for what runs.
        """
        info, part = recipe.info, tuple(map(as_slice, taken))
        dense = self.cache.get(("map", recipe.key), lambda: DenseMap(info.navigation_shape, info.dtype))
        count = max(1, dense.missing(part))
        seconds = self._refuse_beyond(count, recipe, recipe.root_frame_bytes)

        # A first look, each n-th position, at what a person may be playing with: the next one takes the same frames.
        sparse = any(abs(positions.step) > 1 for positions in taken)
        keep = sparse and count * recipe.bytes_below <= self.cache.limit // _LOOK_SHARE

        def fill(block: Grid, claim: Ticket) -> None:
            def compute(positions: NDArray[Any]) -> NDArray[Any]:
                return self._frames.values(recipe, positions, claim, keep)

            dense.read(tuple(map(as_slice, block)), compute)

        blocks_of_it = self._blocks(recipe, taken, count, (), seconds)
        parts: Iterator[Part] = (partial(fill, block) for block in blocks_of_it)
        return _Work(parts, lambda: dense.values[part].copy(), count, seconds)

    def _tile(self, recipe: Recipe, positions: Grid, region: Region) -> _Work:
        """Have the same part of some frames computed: of one, mostly."""
        count, info = math.prod(map(len, positions)), recipe.info
        made: list[NDArray[Any]] = []
        if recipe.stored:  # which reads only the part; a chain needs the whole frame below it
            size = math.prod(shape_of(region)) * info.dtype.itemsize
        else:
            size = recipe.root_frame_bytes
        seconds = self._refuse_beyond(count, recipe, size)
        if count == 1:
            index = tuple(taken.start for taken in positions)

            def frame(claim: Ticket) -> None:
                made.append(self._frames.part(recipe, index, region, claim))

            return _Work(iter((frame,)), made.pop, count, seconds)

        def fill(block: Grid, claim: Ticket) -> None:
            made[0][place_in(positions, block)] = self._frames.block(recipe, block, region, claim)

        def parts() -> Iterator[Part]:
            made.append(np.empty((*map(len, positions), *shape_of(region)), info.dtype))
            for block in self._blocks(recipe, positions, count, region, seconds):
                yield partial(fill, block)

        return _Work(parts(), made.pop, count, seconds)

    def _blocks(
        self, recipe: Recipe, positions: Grid, count: int, region: Region, seconds: float
    ) -> Iterator[Grid]:
        """Split `positions`, of which `count` are to be computed, into parts.

        Each has some milliseconds and a few MB, and there are enough of them for all threads. They follow the borders
        of what is stored together, so that two of them rarely decode the same.
        """
        pixels = math.prod(shape_of(region)) if recipe.stored else math.prod(recipe.root.info.signal_shape)
        size = max(1, pixels * recipe.root.info.dtype.itemsize)
        share = -(-count // self.pool.workers) if seconds >= _WORTH_SHARING else count
        part = int(_PART_SECONDS * count / seconds)
        most = max(1, min(share, part, _TOGETHER_BYTES // size, _TOGETHER))
        if most >= count:
            yield positions
            return
        if recipe.rearranged or not recipe.root.together:
            yield from blocks(positions, most)
            return
        longest = max(
            most, min(_STORED_TOGETHER_BYTES // size, int(_STORED_TOGETHER_SECONDS * count / seconds))
        )
        for cell in cells(positions, recipe.root.together, most):
            whole = math.prod(map(len, cell)) <= longest
            yield from (cell,) if whole else blocks(cell, most)

    def _refuse_beyond(self, positions: int, recipe: Recipe, size: int) -> float:
        """Return the estimated seconds on one core; refuse more than the limit. `size`: bytes read a position."""
        calls = positions
        if positions > 1 and isinstance(recipe.root.reader, RegionReader):
            calls = -(-positions * size // _TOGETHER_BYTES)
        reading = max(1, calls) * _READ_SECONDS + positions * size * _READ_SECONDS_PER_BYTE
        seconds = positions * recipe.seconds + reading
        if seconds > self.max_seconds:
            raise TooLarge(
                f"This slice of {positions} positions would take about {seconds:.0f} s to compute; the limit is "
                f"{self.max_seconds:.0f} s. Ask for fewer positions, or for every n-th (a slice like ::8,::8)."
            )
        return seconds

    def _refuse_large_frames(self, recipe: Recipe) -> None:
        """Refuse a chain with a frame that cannot be held whole; a root's own slice reads only itself."""
        if recipe.largest_frame_bytes > self._max_frame_bytes:
            raise TooLarge(
                f"A frame on the way has {recipe.largest_frame_bytes / 1e6:.0f} MB; at most "
                f"{self._max_frame_bytes / 1e6:.0f} MB are computed at once. Look at the root, or give the "
                "server a larger cache."
            )


@dataclass(frozen=True, slots=True)
class _Work:
    """Parts of a job, what gives its value afterwards, and what it takes: positions, and seconds on one core."""

    parts: Iterator[Part]
    result: Callable[[], NDArray[Any]]
    count: int
    seconds: float
