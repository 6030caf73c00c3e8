"""What the script of a recipe needs: the signal in a file, operations on hyperspy's lazy signals, saving.

The very functions of the server, as a library: no server, no tiled; hyperspy and dask are imported when a file is
opened. In a notebook::

    from tiled_spyde.steps import apply, open_signal

    scan = open_signal("scan.hspy")
    smooth = apply(scan, "gaussian_filter", sigma=1.5)
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import NotFound
from tiled_spyde.operations import build
from tiled_spyde.operations.inputs import check_inputs
from tiled_spyde.operations.whole import Whole
from tiled_spyde.signals import Axis, SignalInfo
from tiled_spyde.sources import open_source
from tiled_spyde.sources.instrument import instrument_of, with_instrument

if TYPE_CHECKING:
    from tiled_spyde.operations.base import Operation


def open_signal(file: str | Path, signal: str | None = None) -> Any:
    """Open a signal in a file as the server does: axes in its order, with its names and units; no pixel is read.

    Parameters
    ----------
    file : path
        A data file or a ``.zspy`` folder.
    signal : str, optional
        Its name, as the server shows it. Where the file has one signal only, that is meant, whatever its name.

    Returns
    -------
    hyperspy.signals.BaseSignal
        Lazy.

    Raises
    ------
    SourceError
        The file cannot be opened.
    NotFound
        It has several signals, and none of that name.
    """
    roots = open_source(Path(file))
    found = roots if len(roots) == 1 else [root for root in roots if root.name == signal]
    if not found:
        names = ", ".join(root.name for root in roots)
        raise NotFound(f"There is no signal {signal!r} in {Path(file).name}. There are: {names}.")
    return found[0].signal()


def apply(signal: Any, operation: str, /, **parameters: Any) -> Any:
    """Apply a registered operation lazily, by hyperspy's ``map``: the same bytes as the server's node.

    Parameters
    ----------
    signal : hyperspy.signals.BaseSignal
        What `open_signal` or `apply` gave, or any other lazy one.
    operation : str
        Its name.
    **parameters
        As the server takes them: plain numbers, texts, lists and dictionaries. Where one names a node, the signal.

    Returns
    -------
    hyperspy.signals.BaseSignal
        Lazy; dtype and axes as the operation declares them.

    Raises
    ------
    InvalidOperation
        The operation is unknown or does not fit the signal, or a parameter is out of bounds.
    """
    inputs = {name: value for name, value in parameters.items() if _is_signal(value)}
    step = build(operation, parameters | {name: {"node": name} for name in inputs})
    info = info_of(signal)
    step.check(info)
    check_inputs(step, info, {name: info_of(one) for name, one in inputs.items()})
    declared = step.output(info)
    if step.locality == "slice":
        return _like(signal, declared, _rearranged(step, info, declared, signal.data))
    if isinstance(step, Whole):
        return _like(signal, declared, _over_scan(step, info, declared, signal.data))
    mapped = signal.map(
        step.function(info),
        **{name: _at_each_position(one, signal, info) for name, one in inputs.items()},
        inplace=False,
        lazy_output=True,
        ragged=False,
        output_signal_size=declared.signal_shape,
        output_dtype=declared.dtype,
    )
    return _like(mapped, declared, mapped.data)


def info_of(signal: Any) -> SignalInfo:
    """Return what `tiled_spyde` knows of a hyperspy signal: axes in array order, dtype, instrument."""
    # hyperspy's own public orders are of the navigation and signal axes, x before y.
    axes = signal.axes_manager._axes  # noqa: SLF001
    described = tuple(_axis(axis, number) for number, axis in enumerate(axes))
    instrument = instrument_of(signal.metadata.as_dictionary())
    return SignalInfo(described, np.dtype(signal.data.dtype), instrument=instrument)


def _axis(axis: Any, number: int) -> Axis:
    name = axis.name if isinstance(axis.name, str) and axis.name else f"axis-{number}"
    units = axis.units if isinstance(axis.units, str) and axis.units else None
    if axis.is_uniform:
        return Axis(name, axis.size, axis.scale, axis.offset, units, axis.navigate)
    return Axis(name, axis.size, units=units, navigate=axis.navigate, values=tuple(axis.axis.tolist()))


def _is_signal(value: Any) -> bool:
    return hasattr(value, "axes_manager")


def _rearranged(step: Operation, info: SignalInfo, declared: SignalInfo, data: Any) -> Any:
    """Return the frames of a view, from the dask array of its parent."""
    frames = step.frames(info)
    if frames is None:
        return data
    numbers = frames(np.arange(math.prod(declared.navigation_shape)))
    return data.reshape((-1, *declared.signal_shape))[numbers]


def _at_each_position(one: Any, signal: Any, info: SignalInfo) -> Any:
    """Return what hyperspy iterates over: a signal with the same scan. One without any is the same everywhere."""
    import dask.array as da

    scan = len(info.navigation_axes)
    if info_of(one).navigation_axes:
        return one
    if not scan:
        return np.asarray(one.data)
    frame = da.asarray(one.data).rechunk(-1)  # type: ignore[no-untyped-call]
    shape = (*info.navigation_shape, *frame.shape)
    everywhere = da.broadcast_to(frame, shape, (*signal.data.chunks[:scan], *frame.chunks))  # type: ignore[no-untyped-call]
    declared = info_of(one)
    return _like(one, replace(declared, axes=(*info.navigation_axes, *declared.axes)), everywhere)


def _over_scan(step: Whole, info: SignalInfo, declared: SignalInfo, data: Any) -> Any:
    """Return what all frames make together: taken in row by row, in array order, as the server does."""
    import dask.array as da
    from dask.delayed import delayed

    first, *others = range(data.ndim)
    rows = da.asarray(data).rechunk({first: 1} | dict.fromkeys(others, -1))  # type: ignore[no-untyped-call]
    # Made anew each time it is computed: it is added to in place.
    total = delayed(step.total)(info)
    for row in rows.to_delayed().ravel():
        total = delayed(_taken)(step, total, row, info.signal_shape)
    made = delayed(_finished)(step, total, math.prod(info.navigation_shape), declared)
    return da.from_delayed(made, declared.shape, declared.dtype)  # type: ignore[no-untyped-call]


def _taken(step: Whole, total: Any, row: Any, frame: tuple[int, ...]) -> Any:
    step.take(total, row.reshape((-1, *frame)))
    return total


def _finished(step: Whole, total: Any, count: int, declared: SignalInfo) -> Any:
    return np.asarray(step.result(total, count)).astype(declared.dtype).reshape(declared.shape)


def _like(signal: Any, info: SignalInfo, data: Any) -> Any:
    """Return a lazy signal with the metadata of another one; class and axes follow from `info`."""
    from hyperspy.signals import BaseSignal, Signal1D, Signal2D

    kind = {1: Signal1D, 2: Signal2D}.get(len(info.signal_axes), BaseSignal)
    axes = [_described(axis) for axis in info.axes or (Axis("value", 1),)]
    made = kind(data.reshape(info.shape or (1,)), axes=axes).as_lazy()
    kept = signal.metadata.as_dictionary()
    kept = {name: value for name, value in kept.items() if name not in ("Signal", "_HyperSpy")}
    made.metadata.add_dictionary(with_instrument(kept, info.instrument))
    return made


def _described(axis: Axis) -> dict[str, Any]:
    said = {"name": axis.name, "units": axis.units, "navigate": axis.navigate}
    if axis.values is not None:
        return said | {"axis": list(axis.values)}
    return said | {"size": axis.size, "scale": axis.scale, "offset": axis.offset}
