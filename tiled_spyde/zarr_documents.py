"""What zarr v2 and v3 say of an array or a group, as JSON: pure functions of shapes, dtypes and axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np

    from tiled_spyde.signals import Axis

# Blosc frames carry their own shuffle; metadata say what `codecs.encode` does.
_BLOSC = {"cname": "lz4", "clevel": 5, "blocksize": 0}

# OME-NGFF wants the names of UDUNITS-2.
_UNITS = {
    "pm": "picometer",
    "Å": "angstrom",
    "nm": "nanometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "um": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "ns": "nanosecond",
    "µs": "microsecond",
    "ms": "millisecond",
    "s": "second",
}


@dataclass(frozen=True)
class Array:
    """An array as zarr sees it: chunks of one size, and a name for each dimension.

    Parameters
    ----------
    shape, chunks : tuple of int
        Of the array and of every chunk, edges padded.
    dtype : numpy.dtype
        As it lies on the wire.
    dimensions : callable
        Gives one name each.
    attributes : callable
        Gives what is known besides.
    key : str or None
        Equal key, equal bytes; None where nothing is known of that.
    read : callable
        Gives the part of the array under a tuple of slices; may have to be awaited.
    separator : str
        Between the indices of a v2 chunk.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    dimensions: Callable[[], tuple[str, ...]]
    attributes: Callable[[], Mapping[str, Any]]
    key: str | None
    read: Callable[[tuple[slice, ...]], Any]
    separator: str = "."

    def part(self, index: tuple[int, ...]) -> tuple[slice, ...] | None:
        """Return where a chunk lies, or None where there is no such chunk."""
        if len(index) != len(self.shape):
            return None
        cut = tuple(slice(i * size, (i + 1) * size) for i, size in zip(index, self.chunks, strict=True))
        return cut if all(c.start < size for c, size in zip(cut, self.shape, strict=True)) else None


@dataclass(frozen=True)
class Group:
    """A group as zarr sees it.

    Parameters
    ----------
    attributes : callable
        Gives what is known besides.
    names : callable
        Gives the names of its members.
    consolidated : callable
        Gives everything below it by path, parents first, or None where that is too much to list.
    """

    attributes: Callable[[], Mapping[str, Any]] = dict
    names: Callable[[], Iterator[str]] = field(default=lambda: iter(()))
    consolidated: Callable[[], Mapping[str, Array | Group] | None] = field(default=lambda: None)


def document(name: str, shown: Array | Group) -> dict[str, Any] | None:
    """Return the document `name` of an array or group, or None where it has none of that name."""
    if name == "zarr.json":
        return array_v3(shown) if isinstance(shown, Array) else group_v3(shown)
    if name == ".zattrs":
        return attributes_v2(shown)
    if isinstance(shown, Array):
        return array_v2(shown) if name == ".zarray" else None
    if name == ".zgroup":
        return {"zarr_format": 2}
    return consolidated_v2(shown) if name == ".zmetadata" else None


def array_v2(array: Array) -> dict[str, Any]:
    """``.zarray``. No fill value: xarray would read one as "no data here"."""
    return {
        "zarr_format": 2,
        "shape": array.shape,
        "chunks": array.chunks,
        "dtype": array.dtype.newbyteorder("<").str,
        "compressor": {"id": "blosc", "shuffle": 2, **_BLOSC},
        "fill_value": None,
        "filters": None,
        "order": "C",
        "dimension_separator": array.separator,
    }


def attributes_v2(shown: Array | Group) -> dict[str, Any]:
    """``.zattrs``, which is where xarray looks for the names of dimensions."""
    named = {"_ARRAY_DIMENSIONS": array_dimensions} if (array_dimensions := _dimensions(shown)) else {}
    return {**_own(shown), **named}


def consolidated_v2(group: Group) -> dict[str, Any] | None:
    """``.zmetadata``: the documents of everything below, in one."""
    below = group.consolidated()
    if below is None:
        return None
    documents: dict[str, Any] = {}
    for path, shown in {"": group, **below}.items():
        for name in (".zgroup", ".zarray", ".zattrs"):
            if (found := document(name, shown)) is not None:
                documents[f"{path}/{name}".lstrip("/")] = found
    return {"zarr_consolidated_format": 1, "metadata": documents}


def array_v3(array: Array) -> dict[str, Any]:
    """``zarr.json`` of an array."""
    blosc = {"shuffle": "bitshuffle", "typesize": array.dtype.itemsize, **_BLOSC}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": array.shape,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": array.chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": {"b": False, "c": [0.0, 0.0], "f": 0.0}.get(array.dtype.kind, 0),
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": blosc},
        ],
        "dimension_names": array.dimensions(),
        "attributes": _own(array),
    }


def group_v3(group: Group) -> dict[str, Any]:
    """``zarr.json`` of a group, with the documents of everything below where that is not too much."""
    described = {"zarr_format": 3, "node_type": "group", "attributes": _own(group)}
    below = group.consolidated()
    if below is None:
        return described
    documents = {path: _below_v3(shown) for path, shown in below.items()}
    return {**described, "consolidated_metadata": _inline(documents)}


def _below_v3(shown: Array | Group) -> dict[str, Any]:
    if isinstance(shown, Array):
        return array_v3(shown)
    plain = {"zarr_format": 3, "node_type": "group", "attributes": _own(shown)}
    return {**plain, "consolidated_metadata": _inline({})}


def _inline(documents: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": documents}


def _dimensions(shown: Array | Group) -> tuple[str, ...]:
    return shown.dimensions() if isinstance(shown, Array) else ()


def _own(shown: Array | Group) -> dict[str, Any]:
    # Our metadata carry the v2 name of the dimensions for tiled's own zarr routes.
    return {name: value for name, value in shown.attributes().items() if name != "_ARRAY_DIMENSIONS"}


def multiscales(title: str, axes: tuple[Axis, ...], version: str) -> list[dict[str, Any]]:
    """OME-NGFF of an image with one level, ``0``; nothing where the format knows no such image.

    Parameters
    ----------
    title : str
        Shown as the name of the layer.
    axes : tuple of Axis
        In array order.
    version : str
        ``0.4`` says its version here, later ones beside it.
    """
    # Colours would have to come before the axes of space; a viewer knows them by their place, at the end.
    if not 2 <= len(axes) <= 5 or axes[-1].name == "colour":
        return []
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [_scale(axis) for axis in axes]}]
    if any(_offset(axis) for axis in axes):
        transformations.append({"type": "translation", "translation": [_offset(axis) for axis in axes]})
    image = {
        "name": title,
        "axes": [_ome_axis(axis, kind) for axis, kind in zip(axes, _kinds(len(axes)), strict=True)],
        "datasets": [{"path": "0", "coordinateTransformations": transformations}],
    }
    return [{"version": version, **image} if version == "0.4" else image]


def _kinds(number: int) -> tuple[str, ...]:
    """OME-NGFF allows one time, one axis of its own kind, and two or three of space, in this order."""
    return ("time", "scan", "space", "space", "space")[-number:]


def _ome_axis(axis: Axis, kind: str) -> dict[str, str]:
    units = {"unit": _UNITS.get(axis.units, axis.units)} if axis.units else {}
    return {"name": axis.name, "type": kind, **units}


def _scale(axis: Axis) -> float:
    usable = axis.values is None and math.isfinite(axis.scale) and axis.scale != 0
    return axis.scale if usable else 1.0


def _offset(axis: Axis) -> float:
    return axis.offset if axis.values is None and math.isfinite(axis.offset) else 0.0
