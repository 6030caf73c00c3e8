"""The same recipe in hyperspy's lazy signals: for notebooks, and what `evaluate` is held against, bit for bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import InvalidSlice
from tiled_spyde.operations.whole import Whole

if TYPE_CHECKING:
    from tiled_spyde.recipe import Recipe


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
    if isinstance(recipe.operation, Whole):
        return recipe.root.signal(recipe.info, _over_scan(recipe, recipe.operation))
    inputs = {name: signal(node) for name, node in recipe.inputs.items()}
    mapped = signal(recipe.parent).map(
        recipe.function,
        # hyperspy iterates over signals with the same scan; the others' one frame is there for all positions.
        **{
            name: s if recipe.inputs[name].navigation_dimension else _numbers(s) for name, s in inputs.items()
        },
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


def _numbers(one: Any) -> Any:
    data = one.data
    return np.asarray(data.compute() if hasattr(data, "compute") else data)


def _over_scan(recipe: Recipe, operation: Whole) -> Any:
    """Return what dask makes of all frames at once, by the same ufunc and dtype: not in the same order."""
    parent = recipe.parent
    if parent is None:
        raise InvalidSlice("An operation needs a parent.")
    data = signal(parent).data
    total, axes = operation.total(parent.info), tuple(range(parent.navigation_dimension))
    reduced = data.max(axes) if type(operation).combine is np.maximum else data.astype(total.dtype).sum(axes)
    made = operation.result(reduced, math.prod(parent.info.navigation_shape))
    return made.reshape(recipe.info.shape).astype(recipe.info.dtype)


def _rearranged(recipe: Recipe, below: Any) -> Any:
    """Return the frames of a view, taken from the dask array of its parent."""
    counts, frame = recipe.info.navigation_shape, recipe.info.signal_shape
    if recipe.frames is not None:
        below = below.reshape((-1, *frame))[recipe.frames(np.arange(math.prod(counts)))]
    return below.reshape(counts + frame)
