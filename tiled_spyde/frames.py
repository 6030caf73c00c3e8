"""One frame of a recipe: read from the root, each function of the chain called once, cast, and remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import Abandoned, Busy, ComputeError, InvalidSlice, SpydeError
from tiled_spyde.operations.base import cast
from tiled_spyde.processes import StepError
from tiled_spyde.signals import read_positions
from tiled_spyde.slices import as_slice, grids, numbers_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tiled_spyde.cache import Cache
    from tiled_spyde.processes import Processes
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.signals import Index, Region
    from tiled_spyde.slices import Grid, Selection
    from tiled_spyde.store import Store
    from tiled_spyde.tickets import Ticket

# A frame on the way of a trip to another process comes back too, to be remembered, unless it is larger.
_CHEAP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OneFrame:
    """A part of a single frame, and where to look for it.

    Parameters
    ----------
    remembered : tuple or None
        Under which a computed frame is held whole; None for a root's.
    read : callable or None
        Gives a root's at once, or says that it cannot; see `PromptReader`.
    index : tuple of int
        Where it is in the root.
    region : tuple of slice
        Which part of it, rising; empty for all.
    """

    remembered: tuple[Any, ...] | None
    read: Callable[[Index, Region], NDArray[Any] | None] | None
    index: Index
    region: Region


def one_frame(recipe: Recipe, selection: Selection) -> OneFrame | None:
    """Return the one frame that a slice takes a part of; None where it takes nothing, or of several."""
    axes, index, region, whole = recipe.navigation_dimension, [], [], True
    for axis, (taken, size) in enumerate(zip(selection.rising, recipe.shape, strict=True)):
        count = len(taken)
        if not count:
            return None
        if axis >= axes:
            whole = whole and count == size
            region.append(taken)
        elif count == 1:
            index.append(taken.start)
        else:
            return None
    stored, read = recipe.stored, recipe.read_at_once
    recipe, at = recipe.computed(tuple(index))
    cut = () if whole else tuple(map(as_slice, region))
    return OneFrame(None if stored else ("frame", recipe.key, at), read, at, cut)


@dataclass(slots=True)
class _Way:
    """How frames are come by.

    Parameters
    ----------
    claim : Ticket
        For which that is done.
    keep : bool
        Whether they are remembered.
    below : numpy.ndarray or None
        The root's frame, where it has been read already.
    made : dict or None
        What is not remembered, for as long as one position of several chains takes.
    """

    claim: Ticket
    keep: bool = True
    below: NDArray[Any] | None = None
    made: dict[Any, NDArray[Any]] | None = None


class Frames:
    """Computes frames in the thread that asks; what holds the interpreter lock, in a process.

    Every call is given the claim for which it works, and raises `Abandoned` between two functions once it is
    given up.

    Parameters
    ----------
    cache : Cache
        Where frames are remembered, as ``("frame", key, index)``.
    processes : Processes
    store : Store
        Holds the one frame of what needs a whole scan.
    """

    def __init__(self, cache: Cache, processes: Processes, store: Store) -> None:
        self._cache = cache
        self._processes = processes
        self._store = store

    def part(self, recipe: Recipe, index: Index, region: Region, claim: Ticket) -> NDArray[Any]:
        """Return a part of one frame; of what is computed, the whole frame is remembered."""
        recipe, index = recipe.computed(index)
        if recipe.parent is not None:
            return self._frame(recipe, index, _Way(claim))[region]
        return self._read(recipe, index, region, claim)

    def values(
        self, recipe: Recipe, positions: NDArray[Any], claim: Ticket, keep: bool = False
    ) -> NDArray[Any]:
        """Return the numbers of a map at `positions`, which are in array order: shape ``(n, axes)``.

        With `keep`, the frames that the last function takes are remembered: another parameter takes the same.
        """
        shape = recipe.info.navigation_shape
        numbers = np.ravel_multi_index(tuple(positions.T), shape)
        out = np.empty(len(numbers), recipe.info.dtype)
        for grid in grids(positions):
            found = self._again(recipe, grid, claim) if keep else None
            if found is None:
                found = self.block(recipe, grid, (), claim, keep)
            out[np.searchsorted(numbers, numbers_of(grid, shape))] = found.ravel()
        return out

    def _again(self, recipe: Recipe, positions: Grid, claim: Ticket) -> NDArray[Any] | None:
        """Return the numbers at a few positions, where all frames that the last function takes are remembered."""
        out = np.empty(tuple(map(len, positions)), recipe.info.dtype)
        for cell in np.ndindex(out.shape):
            index = tuple(taken[i] for taken, i in zip(positions, cell, strict=True))
            below, at = _below(recipe, index)
            frame = self._cache.peek(key := ("frame", below.key, at))
            if frame is None:
                return None
            out[cell] = self._frame(recipe, index, _Way(claim, False, frame, {key: frame}))
        return out

    def block(
        self, recipe: Recipe, positions: Grid, region: Region, claim: Ticket, keep: bool = False
    ) -> NDArray[Any]:
        """Return the same part of the frames at a few positions, which are read at once.

        They are not remembered: they would drive out what people look at. With `keep`, those are that the last
        function takes.
        """
        counts = tuple(map(len, positions))
        if recipe.stored:
            size = math.prod(counts + shape_of(region)) * recipe.info.dtype.itemsize
        else:
            size = math.prod(counts) * recipe.root_frame_bytes
        with self._cache.room(size):
            begin = perf_counter()
            below = _stored_frames(recipe, positions, region if recipe.stored else ())
            claim.add("read", perf_counter() - begin)
            if recipe.stored:
                return below
            out = np.empty(counts + shape_of(region), recipe.info.dtype)
            for cell in np.ndindex(counts):
                index = tuple(taken[i] for taken, i in zip(positions, cell, strict=True))
                frame = below[(*cell, ...)]
                made: dict[Any, NDArray[Any]] | None = {} if recipe.is_mixed or keep else None
                out[cell] = self._frame(recipe, index, _Way(claim, False, frame, made))[region]
                if keep and made is not None:
                    self._keep_below(recipe, index, frame, made)
            return out

    def _keep_below(
        self, recipe: Recipe, index: Index, root: NDArray[Any], made: Mapping[Any, NDArray[Any]]
    ) -> None:
        """Remember the frame that the last function took: the root's, or one that was made on the way."""
        below, at = _below(recipe, index)
        taken = root.copy() if below.parent is None else made.get(("frame", below.key, at))
        if taken is not None:
            self._cache.put(("frame", below.key, at), taken)

    def _read(self, recipe: Recipe, index: Index, region: Region, claim: Ticket) -> NDArray[Any]:
        begin = perf_counter()
        frame = recipe.root.reader.read(index, region)
        claim.add("read", perf_counter() - begin)
        return frame

    def _frame(self, recipe: Recipe, index: Index, way: _Way) -> NDArray[Any]:
        """Return one whole frame; the frames of the chain are remembered too, for people toggle between them."""
        recipe, index = recipe.computed(index)
        if recipe.parent is None:
            return self._read(recipe, index, (), way.claim) if way.below is None else way.below
        key, made = ("frame", recipe.key, index), way.made
        if recipe.is_whole:
            return self._cache.get(key, lambda: self._stored(recipe))
        if way.keep:
            return self._get(key, lambda: self._apply(recipe, index, way), way.claim)
        held: NDArray[Any] | None = self._cache.peek(key)
        if held is None and made is not None:
            held = made.get(key)
        if held is None:
            held = self._apply(recipe, index, way)
            if made is not None:
                made[key] = held
        return held

    def _stored(self, recipe: Recipe) -> NDArray[Any]:
        frame = self._store.read(recipe.key, recipe.info)
        if frame is None:  # since somebody looked whether it is there
            raise Busy("What was stored of this is gone. Ask again: it is computed anew.")
        return frame

    def _inputs(self, recipe: Recipe, index: Index, way: _Way) -> dict[str, NDArray[Any]]:
        """Return the frames of the nodes that parameters name: at the same position, or the one they have."""
        # What is of no position serves all of them, so it is remembered.
        here, everywhere = _Way(way.claim, way.keep, None, way.made), _Way(way.claim)
        return {
            name: self._frame(node, index, here)
            if node.navigation_dimension
            else self._frame(node, (), everywhere)
            for name, node in recipe.inputs.items()
        }

    def _get(self, key: tuple[Any, ...], compute: Callable[[], NDArray[Any]], claim: Ticket) -> NDArray[Any]:
        while True:
            try:
                return self._cache.get(key, compute)
            except Abandoned:
                claim.check()  # else it was computed for others, who have gone

    def _apply(self, recipe: Recipe, index: Index, way: _Way) -> NDArray[Any]:
        if recipe.parent is None or recipe.operation is None:
            raise InvalidSlice("A root has nothing to apply.")
        if recipe.operation.holds_lock and not recipe.inputs and self._processes.ready():
            done = self._trip(recipe, index, way)
            if done is not None:
                return done
        frame = self._frame(recipe.parent, index, way)
        inputs = self._inputs(recipe, index, way) if recipe.inputs else {}
        way.claim.check()
        begin = perf_counter()
        try:
            result = np.asarray(recipe.function(frame, **inputs))
        except (SpydeError, MemoryError):
            raise
        except Exception as error:
            raise _failed(recipe.operation.name, index, error) from error
        result = cast(result, recipe.info, recipe.operation.name)
        way.claim.add("compute", perf_counter() - begin)
        return result

    def _trip(self, recipe: Recipe, index: Index, way: _Way) -> NDArray[Any] | None:
        """Return a frame from another process, where all steps that hold the lock are done in one go.

        None where all processes are busy after all, or cannot do it.
        """
        steps, parent = [recipe], recipe.parent
        while (
            parent is not None
            and parent.operation is not None
            and parent.operation.holds_lock
            and not parent.inputs
        ):
            if self._cache.peek(("frame", parent.key, index)) is not None:
                break
            steps, parent = [parent, *steps], parent.parent
        if parent is None:
            raise InvalidSlice("A root has nothing to apply.")
        frame = self._frame(parent, index, way)
        way.claim.check()
        back = [way.keep and step.info.frame_bytes <= _CHEAP_BYTES for step in steps[:-1]]
        begin = perf_counter()
        try:
            frames = self._processes.run(steps, frame, [*back, True], way.claim)
        except StepError as error:
            raise _failed(error.step, index, error) from None
        way.claim.add("compute", perf_counter() - begin)
        if frames is None:
            return None
        for step, between in zip(steps[:-1], frames, strict=False):
            if between is not None:
                self._cache.put(("frame", step.key, index), between)
        return frames[-1]


def _below(recipe: Recipe, index: Index) -> tuple[Recipe, Index]:
    """Return whose frame the last function of a chain takes, and where that stands."""
    return (recipe.parent or recipe).computed(index)


def _failed(name: str, index: Index, error: Exception) -> ComputeError:
    where = f"position {index}" if index else "this image"
    return ComputeError(f"{name} failed at {where}: {error}. Try other parameters, or look at its parent.")


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
