"""How a signal was acquired: between hyperspy's metadata and ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tiled_spyde.signals import Instrument

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHORTEST = 1.0  # mm; what is below is in metres (.blo) or nothing at all


def instrument_of(metadata: Mapping[str, Any]) -> Instrument:
    """Return what hyperspy's metadata say of the instrument.

    A rotation of the scan stays unknown: files do not say which way round it is.
    """
    column = _dictionary(_dictionary(metadata, "Acquisition_instrument"), _column(metadata))
    energy, length = _positive(column.get("beam_energy")), _positive(column.get("camera_length"))
    return Instrument(energy, length if length and length >= _SHORTEST else None)


def with_instrument(metadata: Mapping[str, Any], instrument: Instrument) -> dict[str, Any]:
    """Return hyperspy's metadata with what is known of the instrument, where hyperspy and pyxem look for it."""
    said = _dictionary(metadata, "Acquisition_instrument")
    values = {"beam_energy": instrument.beam_energy, "camera_length": instrument.camera_length}
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return dict(metadata)
    name = _column(metadata)
    return {**metadata, "Acquisition_instrument": {**said, name: {**_dictionary(said, name), **known}}}


def _column(metadata: Mapping[str, Any]) -> str:
    said = _dictionary(metadata, "Acquisition_instrument")
    return "SEM" if "SEM" in said and "TEM" not in said else "TEM"


def _dictionary(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = metadata.get(name)
    return found if isinstance(found, dict) else {}


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < math.inf else None
