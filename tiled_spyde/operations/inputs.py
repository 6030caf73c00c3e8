"""Parameters that are nodes: what they may be, and whether what is named fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tiled_spyde.errors import InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiled_spyde.operations.base import Operation
    from tiled_spyde.signals import SignalInfo

Navigation = Literal["same", "none", "same or none"]


def node_parameter(description: str, navigation: Navigation, signal: tuple[int, ...]) -> Any:
    """Return the field of a parameter that names a node.

    Parameters
    ----------
    description : str
        For people.
    navigation : str
        Which navigation axes the node may have: those of the signal at hand, none, or either.
    signal : tuple of int
        How many signal axes it may have.
    """
    wanted: dict[str, Any] = {"x-node": {"navigation": navigation, "signal": list(signal)}}
    return Field(None, description=description, json_schema_extra=wanted)


def check_inputs(operation: Operation, info: SignalInfo, inputs: Mapping[str, SignalInfo]) -> None:
    """Refuse nodes as parameters that do not fit the signal `info`, and parameters without one.

    Raises
    ------
    InvalidOperation
        The message names the parameter.
    """
    for name, wanted in _wanted(operation).items():
        if name not in inputs:
            raise InvalidOperation(f'{operation.name}: {name}: name a node, as {{"node": "…"}}.')
        try:
            _check(inputs[name], info, wanted)
        except InvalidOperation as error:
            raise InvalidOperation(f"{operation.name}: {name}: {error}") from None
    operation.check_frames(info, inputs)


def check_same_frames(operation: str, name: str, found: SignalInfo, info: SignalInfo) -> None:
    """Refuse a node whose frames have another shape than those of `info`."""
    if found.signal_shape != info.signal_shape:
        raise InvalidOperation(
            f"{operation}: {name}: its frames have {_by(found.signal_shape)} pixels, those here "
            f"{_by(info.signal_shape)}. Crop or bin one of them."
        )


def _wanted(operation: Operation) -> dict[str, Any]:
    """Return what each parameter that is a node may be."""
    fields = type(operation).model_fields.items()
    extra = ((name, field.json_schema_extra) for name, field in fields)
    return {name: more["x-node"] for name, more in extra if isinstance(more, dict) and "x-node" in more}


def _check(found: SignalInfo, info: SignalInfo, wanted: Mapping[str, Any]) -> None:
    scan, here = found.navigation_shape, info.navigation_shape
    if scan and wanted["navigation"] == "none":
        raise InvalidOperation(
            f"this node has a scan of {_by(scan)} positions, and none is wanted. Take its mean over the scan."
        )
    if scan != here and (scan or wanted["navigation"] == "same"):
        has = f"a scan of {_by(scan)} positions" if scan else "no scan"
        raise InvalidOperation(f"this node has {has}, the signal here one of {_by(here) or 'no'} positions.")
    if len(found.signal_axes) not in wanted["signal"]:
        dimensions = " or ".join(map(str, wanted["signal"]))
        raise InvalidOperation(
            f"a signal of {dimensions} dimension(s) is wanted; this node has {len(found.signal_axes)}."
        )
    if found.dtype.kind not in "buif":
        raise InvalidOperation(f"real numbers are wanted; this node holds {found.dtype}.")


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
