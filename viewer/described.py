"""JSON of the service → trees, nodes, operations. Converts at the door, so nothing else knows tiled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.nodes import Axis, Entry, Indexing, Node, Sort

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

NO_ARRAY: Mapping[str, Any] = {"shape": [], "chunks": [], "data_type": {"kind": "u", "itemsize": 1}}


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


def entry_from_json(folder: tuple[str, ...], item: dict[str, Any]) -> Entry | None:
    """Entry from what a folder lists; None for what the viewer has no use for.

    A file is a container that says its state; one that says nothing is a folder.
    """
    path, described = (*folder, item["id"]), attributes_of(item)
    specs = {spec["name"] for spec in item["attributes"].get("specs") or []}
    mark = json.dumps([item["attributes"].get("metadata"), item["attributes"].get("structure")])
    if "UnreadableFile" in specs:
        return Entry(path, Sort.UNREADABLE, described.get("error") or "it could not be read", mark)
    if "SignalTree" in specs:
        return Entry(path, Sort.TREE, mark=mark)
    if item["attributes"].get("structure_family") != "container":
        return None
    return Entry(path, Sort.FILE, mark=mark) if "state" in described else Entry(path, Sort.FOLDER)


def indexing_from_json(described: dict[str, Any]) -> Indexing:
    """How far the service is with looking through its folders; at its end where it does not say."""
    told = described.get("indexing") or {}
    return Indexing(int(told.get("done") or 0), int(told.get("of") or 0), bool(told.get("scanning")))


def node_from_json(path: tuple[str, ...], attributes: dict[str, Any]) -> Node | None:
    """Node from what tiled says of an array, or None where it is no array.

    A node that failed has no array any more, only the reason.

    Parameters
    ----------
    path : tuple of str
        Where it is.
    attributes : dict
        tiled's ``attributes``: structure_family, structure, metadata.
    """
    described = (attributes.get("metadata") or {}).get("attributes") or {}
    failed = described.get("state") == "failed"
    if attributes.get("structure_family") != "array":
        if not failed:
            return None
        attributes = {**attributes, "structure": NO_ARRAY}
    structure = attributes["structure"]
    recipe = described.get("recipe") or []
    dtype, error = _dtype(structure["data_type"])
    if failed:
        error = error or "It failed; the service does not say why."
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
        error=(described.get("failure") if failed else None) or error,
        version=int(described.get("version") or 0),
        progress=_progress(described.get("progress")),
        inputs=tuple(_names_in(path[:-1], (described.get("inputs") or {}).values())),
        id=str(described.get("id") or ""),
        cancelled=not failed and bool(described.get("failure")),  # all that is said of what did not fail
    )


def _dtype(described: dict[str, Any]) -> tuple[np.dtype[Any], str | None]:
    """Dtype on the wire, and why it cannot be drawn where it cannot."""
    kind = described.get("kind")
    if kind not in ("b", "i", "u", "f", "c"):
        return np.dtype("<u1"), "Its elements are records or text, which this viewer does not draw."
    return np.dtype(f"<{kind}{described['itemsize']}"), None


def _names_in(tree: tuple[str, ...], inputs: Iterable[Any]) -> Iterator[str]:
    """Yield the names of those nodes that are in a tree; they are told by name or by path."""
    for told in map(str, inputs):
        *above, name = told.strip("/").split("/")
        if not above or tuple(above) == tree:
            yield name


def _progress(told: dict[str, Any] | None) -> tuple[int, int] | None:
    """How many are done, of how many."""
    return (int(told.get("done") or 0), int(told.get("of") or 0)) if told and told.get("of") else None


def _axes(described: Sequence[dict[str, Any]], structure: dict[str, Any]) -> tuple[Axis, ...]:
    """Axes as described; uncalibrated signal axes where the description does not fit the array."""
    shape = structure["shape"]
    if [axis.get("size") for axis in described] == list(shape):
        return tuple(map(axis_from_json, described))
    names = structure.get("dims") or [f"axis {number}" for number in range(len(shape))]
    return tuple(Axis(name, size) for name, size in zip(names, shape, strict=True))


def axis_from_json(described: Mapping[str, Any]) -> Axis:
    """Axis as the service describes it."""
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
