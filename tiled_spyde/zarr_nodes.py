"""What tiled serves as zarr sees it: nodes as arrays, containers and images as groups, axes as coordinates."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.adapters import NodeAdapter, chunk_shape
from tiled_spyde.cache import once
from tiled_spyde.signals import Axis
from tiled_spyde.zarr_documents import Array, Group, multiscales

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tiled_spyde.tree import SignalTree

# Consolidated metadata repeat what every node says of itself: some KB each.
MOST_CONSOLIDATED = 500
_LONGEST_COORDINATE = 2**20


def array(entry: Any) -> Array:
    """Show an array, ours or any other that tiled serves."""
    if isinstance(entry, NodeAdapter):
        return _node(entry)
    structure = entry.structure()
    return Array(
        shape=structure.shape,
        chunks=tuple(max(*sizes, 1) for sizes in structure.chunks),
        dtype=structure.data_type.to_numpy_dtype(),
        dimensions=lambda: tuple(structure.dims or ()),
        attributes=partial(_attributes, entry),
        key=None,
        read=entry.read,
    )


def _node(node: NodeAdapter) -> Array:
    info = node.recipe.info
    return Array(
        shape=info.shape or (1,),
        chunks=tuple(max(size, 1) for size in chunk_shape(node.recipe)),
        dtype=info.dtype,
        dimensions=partial(_dimensions, node),
        attributes=partial(_attributes, node),
        key=node.recipe.key,
        read=node.read,
    )


def _attributes(entry: Any) -> Mapping[str, Any]:
    return entry.metadata().get("attributes") or {}


def image(entry: Any) -> Group:
    """Show a node as an image of one level, in the words of OME-NGFF."""
    axes = entry.recipe.info.axes if isinstance(entry, NodeAdapter) else ()

    def attributes() -> Mapping[str, Any]:
        title = str(_attributes(entry).get("title") or "")
        old, new = multiscales(title, axes, "0.4"), multiscales(title, axes, "0.5")
        # Each version looks in its own place and ignores the other's.
        return {"multiscales": old, "ome": {"version": "0.5", "multiscales": new}} if new else {}

    return Group(
        attributes,
        names=lambda: iter(("0",)),
        consolidated=lambda: {"0": replace(array(entry), separator="/")},
    )


def group(entry: Any) -> Group:
    """Show a container."""
    return Group(
        attributes=partial(_attributes, entry),
        names=lambda: iter((*entry, *coordinates(entry))),
        consolidated=partial(_consolidated, entry),
    )


def _consolidated(entry: Any) -> Mapping[str, Array | Group] | None:
    """Everything below a tree or a file; None for a folder, which may hold any number of files."""
    if _is_tree(entry):
        return dict(_members(entry)) if len(entry) <= MOST_CONSOLIDATED else None
    if not _is_file(entry):
        return None
    found: dict[str, Array | Group] = {}
    for name, tree in entry.items():
        if len(found) + len(tree) > MOST_CONSOLIDATED:
            return None
        found[name] = group(tree)
        found |= {f"{name}/{below}": shown for below, shown in _members(tree)}
    return found


def _members(tree: Any) -> Iterator[tuple[str, Array]]:
    for name, entry in tree.items():
        if isinstance(entry, NodeAdapter):
            yield name, _node(entry)
    for name, axis in coordinates(tree).items():
        yield name, coordinate(name, axis)


def _is_tree(entry: Any) -> bool:
    return any(spec.name == "SignalTree" for spec in entry.specs)


def _is_file(entry: Any) -> bool:
    first = next(iter(entry.values()), None)
    return first is not None and _is_tree(first)


def coordinates(entry: Any) -> dict[str, Axis]:
    """Calibrated axes of a tree's nodes, by the name of their dimension."""
    nodes = (node for node in (entry.values() if _is_tree(entry) else ()) if isinstance(node, NodeAdapter))
    node = next(nodes, None)
    found = _coordinates(node.tree) if node else {}
    if node and entry.is_mixed:  # not everyone may know of every node
        shown = {name for one in (node, *nodes) for name in _dimensions(one)}
        return {name: axis for name, axis in found.items() if name in shown}
    return found


@once
def _coordinates(tree: SignalTree) -> dict[str, Axis]:
    return {name: axis for axis, name in dimension_names(tree).items() if _is_calibrated(axis)}


def _is_calibrated(axis: Axis) -> bool:
    plain = axis.units is None and axis.scale == 1 and axis.offset == 0 and axis.values is None
    return not plain and axis.size <= _LONGEST_COORDINATE


@once
def dimension_names(tree: SignalTree) -> dict[Axis, str]:
    """Name the dimension of every axis in a tree: equal name, equal axis.

    xarray takes a name for one dimension of the whole group, so an axis that an operation has cut or
    calibrated anew cannot keep its parent's: it gets the name of that node behind its own, and so does an axis
    that has the name of a node.
    """
    named: dict[Axis, str] = {}
    taken = set(tree.nodes)
    for node, recipe in tree.recipes.items():
        for axis in map(_as_dimension, _axes(recipe.info.axes)):
            if axis not in named:
                name = axis.name
                while name in taken:
                    name += f"_{node}"
                named[axis] = name
                taken.add(name)
    return named


def _dimensions(node: NodeAdapter) -> tuple[str, ...]:
    named = dimension_names(node.tree)
    return tuple(named[_as_dimension(axis)] for axis in _axes(node.recipe.info.axes))


def _axes(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return axes or (Axis("value", 1),)


def _as_dimension(axis: Axis) -> Axis:
    return replace(axis, navigate=False)


def coordinate(name: str, axis: Axis) -> Array:
    """Show the values along an axis, by which xarray selects."""
    values = (
        np.asarray(axis.values)
        if axis.values is not None
        else axis.offset + axis.scale * np.arange(axis.size)
    )
    return Array(
        shape=(axis.size,),
        chunks=(max(axis.size, 1),),
        dtype=np.dtype("<f8"),
        dimensions=lambda: (name,),
        attributes=lambda: {"long_name": axis.name, **({"units": axis.units} if axis.units else {})},
        key=blake2b(repr(axis).encode(), digest_size=16).hexdigest(),
        read=values.astype("<f8").__getitem__,
    )
