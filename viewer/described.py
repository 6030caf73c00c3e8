"""JSON of the service → trees, nodes, operations. Converts at the door, so nothing else knows tiled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.nodes import Axis, Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation the service offers, with the JSON schema of its parameters.

    `signal_dimensions` are the numbers of signal axes it fits; empty where the service does not say.
    """

    name: str
    summary: str
    parameters: Mapping[str, Any]
    signal_dimensions: tuple[int, ...] = ()

    def fits(self, node: Node) -> bool:
        """Return True unless the service says that it makes nothing of such a node."""
        return not self.signal_dimensions or len(node.signal_axes) in self.signal_dimensions


def operation_from_json(described: dict[str, Any]) -> Operation:
    """Operation from what the service lists of it."""
    accepts = described.get("accepts") or {}
    return Operation(
        described["name"],
        described.get("summary", ""),
        described.get("parameters", {}),
        tuple(accepts.get("signal_dimensions") or ()),
    )


def attributes_of(item: dict[str, Any]) -> dict[str, Any]:
    """``metadata["attributes"]`` of a listed item."""
    found: dict[str, Any] = (item["attributes"].get("metadata") or {}).get("attributes") or {}
    return found


def node_from_json(path: tuple[str, ...], attributes: dict[str, Any]) -> Node | None:
    """Node from what tiled says of an array, or None where it is no array.

    Parameters
    ----------
    path : tuple of str
        Where it is.
    attributes : dict
        tiled's ``attributes``: structure_family, structure, metadata.
    """
    if attributes.get("structure_family") != "array":
        return None
    structure = attributes["structure"]
    described = (attributes.get("metadata") or {}).get("attributes") or {}
    recipe = described.get("recipe") or []
    dtype, error = _dtype(structure["data_type"])
    return Node(
        path=path,
        key=described.get("key") or "",
        axes=_axes(described.get("axes") or [], structure),
        dtype=dtype,
        chunks=tuple(max(sizes, default=1) for sizes in structure["chunks"]),
        title=described.get("title") or "",
        signal_type=described.get("signal_type") or "",
        state=described.get("state") or "lazy",
        parent=described.get("parent"),
        operations=tuple(str(step.get("operation")) for step in recipe),
        parameters=tuple(json.dumps(step.get("parameters") or {}) for step in recipe),
        error=described.get("error") or error,
    )


def _dtype(described: dict[str, Any]) -> tuple[np.dtype[Any], str | None]:
    """Dtype on the wire, and why it cannot be drawn where it cannot."""
    kind = described.get("kind")
    if kind not in ("b", "i", "u", "f", "c"):
        return np.dtype("<u1"), "Its elements are records or text, which this viewer does not draw."
    return np.dtype(f"<{kind}{described['itemsize']}"), None


def _axes(described: Sequence[dict[str, Any]], structure: dict[str, Any]) -> tuple[Axis, ...]:
    """Axes as described; uncalibrated signal axes where the description does not fit the array."""
    shape = structure["shape"]
    if [axis.get("size") for axis in described] == list(shape):
        return tuple(_axis(axis) for axis in described)
    names = structure.get("dims") or [f"axis {number}" for number in range(len(shape))]
    return tuple(Axis(name, size) for name, size in zip(names, shape, strict=True))


def _axis(described: dict[str, Any]) -> Axis:
    values = described.get("values")
    return Axis(
        name=described["name"],
        size=described["size"],
        scale=float(described.get("scale") or 1.0),
        offset=float(described.get("offset") or 0.0),
        units=described.get("units") or None,
        navigate=bool(described.get("navigate")),
        values=tuple(map(float, values)) if values else None,
    )
