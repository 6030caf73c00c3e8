"""Colours as numbers: pixels of red, green and blue become one more signal axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXIS = "colour"
_KINDS = ("RGB", "RGBA")


def count(dtype: np.dtype[Any]) -> int:
    """Return how many colours a pixel of `dtype` has: 3 or 4, or 0 where it is a number."""
    if dtype.names is None or "".join(dtype.names) not in _KINDS:
        return 0
    kinds = {dtype[name] for name in dtype.names}
    return len(dtype.names) if len(kinds) == 1 and kinds <= {np.dtype("u1"), np.dtype("u2")} else 0


def plain(data: Any, axes: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """Return `data` and its `axes` with an axis of 3 or 4 colours behind them, if its pixels have colours."""
    colours = count(data.dtype)
    if not colours:
        return data, axes
    axis = {"name": AXIS, "size": colours, "scale": 1.0, "offset": 0.0, "units": None, "navigate": False}
    said = [{**one, "navigate": one.get("navigate", False)} for one in axes]
    if isinstance(data, np.ndarray):
        return _unstructured(data), [*said, axis]
    chunks = (*data.chunks, (colours,))
    apart = data.map_blocks(_unstructured, dtype=data.dtype[0], new_axis=data.ndim, chunks=chunks)
    return apart, [*said, axis]


def _unstructured(data: NDArray[Any]) -> NDArray[Any]:
    return structured_to_unstructured(data)
