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
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.cache import Cache, DenseMap
from tiled_spyde.errors import ComputeError, InvalidSlice, SpydeError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from tiled_spyde.recipe import Recipe
    from tiled_spyde.signals import Index, Region

# Below this estimate, in seconds, handing work to other threads costs more than it saves.
_WORTH_SHARING = 5e-3
# Reading one frame of a root, in seconds, for estimates only.
_READ_SECONDS = 50e-6


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


class Evaluator:
    """Computes frames and maps, and remembers them by content key.

    Parameters
    ----------
    cache_bytes : int
        Bound on the computed frames held, in bytes; maps have a quarter of it on top.
    workers : int or None
        Threads that share the positions of one large request; as many as cores by default.
    max_seconds : float
        A request that is estimated to need more time than this, on one core, is refused.
    """

    def __init__(
        self, cache_bytes: int = 512 * 2**20, workers: int | None = None, max_seconds: float = 120.0
    ) -> None:
        self.max_seconds = max_seconds
        self._frames = Cache(cache_bytes)
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
        selection = Selection.of(wanted, recipe.info.shape)
        axes = len(recipe.info.navigation_axes)
        taken = selection.ranges
        result = (
            self._map(recipe, taken)
            if recipe.parent is not None and not recipe.info.signal_axes and axes
            else self._frames_of(recipe, taken[:axes], tuple(map(_as_slice, taken[axes:])))
        )
        return result.reshape(selection.shape)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _frames_of(self, recipe: Recipe, positions: tuple[range, ...], region: Region) -> NDArray[Any]:
        counts = tuple(map(len, positions))
        if math.prod(counts) == 1:
            return self._part(recipe, tuple(taken[0] for taken in positions), region)
        self._refuse_beyond(math.prod(counts), recipe)
        parts = tuple(
            len(range(*part.indices(n))) for part, n in zip(region, recipe.info.signal_shape, strict=True)
        )
        out = np.empty(counts + parts, recipe.info.dtype)

        def fill(cells: Iterable[Index]) -> None:
            for cell in cells:
                index = tuple(taken[i] for taken, i in zip(positions, cell, strict=True))
                out[cell] = self._part(recipe, index, region, keep=False)

        self._share(fill, list(np.ndindex(*counts)), recipe.seconds)
        return out

    def _map(self, recipe: Recipe, taken: tuple[range, ...]) -> NDArray[Any]:
        part = tuple(map(_as_slice, taken))
        dense = self._dense_map(recipe)
        self._refuse_beyond(dense.missing(part), recipe)

        def compute(positions: NDArray[Any]) -> NDArray[Any]:
            values = np.empty(len(positions), recipe.info.dtype)

            def fill(rows: Iterable[int]) -> None:
                for row in rows:
                    values[row] = self._frame(recipe, tuple(positions[row].tolist()), keep=False)

            self._share(fill, range(len(positions)), recipe.seconds)
            return values

        return dense.read(part, compute)

    def _dense_map(self, recipe: Recipe) -> DenseMap:
        with self._maps_lock:
            dense = self._maps.pop(recipe.key, None)
            if dense is None:
                dense = DenseMap(recipe.info.navigation_shape, recipe.info.dtype)
            self._maps[recipe.key] = dense
            while len(self._maps) > 1 and sum(m.values.nbytes for m in self._maps.values()) > self._map_bytes:
                self._maps.popitem(last=False)
        return dense

    def _part(self, recipe: Recipe, index: Index, region: Region, keep: bool = True) -> NDArray[Any]:
        if recipe.parent is not None:
            return self._frame(recipe, index, keep)[region]
        forward = tuple(map(_forward, region, recipe.info.signal_shape))
        part = recipe.root.reader.read(index, forward)
        return part[tuple(slice(None, None, -1 if (cut.step or 1) < 0 else 1) for cut in region)]

    def _frame(self, recipe: Recipe, index: Index, keep: bool = True) -> NDArray[Any]:
        """Return one whole frame; the frames of the chain are remembered too, for people toggle between them."""
        if recipe.parent is None:
            return recipe.root.reader.read(index)
        key = (recipe.key, index)
        if keep:
            return self._frames.get(key, lambda: self._apply(recipe, index, keep))
        held = self._frames.peek(key)
        return self._apply(recipe, index, keep) if held is None else held

    def _apply(self, recipe: Recipe, index: Index, keep: bool) -> NDArray[Any]:
        if recipe.parent is None or recipe.operation is None:
            raise InvalidSlice("A root has nothing to apply.")
        frame = self._frame(recipe.parent, index, keep)
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

    def _refuse_beyond(self, positions: int, recipe: Recipe) -> None:
        seconds = positions * (recipe.seconds + _READ_SECONDS)
        if seconds > self.max_seconds:
            raise TooLarge(
                f"This slice of {positions} positions would take about {seconds:.0f} s to compute; the limit is "
                f"{self.max_seconds:.0f} s. Ask for fewer positions, or for every n-th (a slice like ::8,::8)."
            )

    def _share(self, fill: Any, cells: Any, seconds: float) -> None:
        """Call ``fill`` with all `cells`, spread over the threads where that pays."""
        if len(cells) * (seconds + _READ_SECONDS) < _WORTH_SHARING or self._workers == 1:
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


def _as_slice(taken: range) -> slice:
    """Return the slice that takes the indices of a range, which may run backwards."""
    if not taken:
        return slice(0, 0, 1)
    return slice(taken.start, taken.stop if taken.stop >= 0 else None, taken.step)


def _forward(cut: slice, size: int) -> slice:
    """Return the same indices in rising order, with every bound written out."""
    taken = range(*cut.indices(size))
    rising = taken if taken.step > 0 else taken[::-1]
    return slice(rising.start, max(rising.stop, rising.start), rising.step)
