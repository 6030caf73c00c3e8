"""What every client reads: position-encoded files of every dtype, and nodes with difficult names."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pytest
from conftest import axes_of, encoded

DTYPES = "u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 c8 c16 b1".split()
KINDS = {"b": "bool", "u": "unsigned", "i": "signed", "f": "floats", "c": "complex"}
NAMED = "größe µm 1.hspy"
TREE = f"{NAMED}/signal"
NODES_OF_TREE = {"root", "c", "42", "bright field", "größe µ"}
# Of the axes of every node, in array order: see `axes_of`.
SCALES = (0.5, 0.75, 1.0, 1.25)
MADE = {
    TREE: [
        {"name": "c", "operation": "crop", "parameters": {"x": {"start": {"index": 3}}}},
        {"name": "42", "operation": "crop", "parameters": {"y": {"stop": {"index": 7}}}},
        {"name": "bright field", "operation": "sum", "parameters": {}},
        {"name": "größe µ", "parent": "c", "operation": "sum", "parameters": {}},
    ]
}

CHECKS = {np.dtype(dtype).name: KINDS[np.dtype(dtype).kind] for dtype in DTYPES} | {
    "uint64": "unsigned, 64 bits",
    "int64": "signed, 64 bits",
    "float16": "float16",
    "float32": "float32, NaN, ±inf",
    "float64": "float64, NaN, ±inf",
    "colours": "RGB",
    "big-endian": "from big-endian files",
    "edge chunks": "padded edge chunks",
    "stack": "stacks of images",
    "spectra": "spectra",
    "unicode and spaces": "spaces, unicode",
    "called bright field": "spaces, unicode",
    "called größe µ": "spaces, unicode",
    "called c": "called c, 42",
    "called 42": "called c, 42",
}
# To parametrise tests over all nodes.
NAMES = [pytest.param(name, id=name, marks=pytest.mark.check(check)) for name, check in CHECKS.items()]


@dataclass(frozen=True)
class Node:
    """A node's address and what must come out of it."""

    path: str
    values: np.ndarray
    dims: tuple[str, ...]

    @property
    def quoted(self):
        return quote(self.path)

    @property
    def dtype(self):
        return self.values.dtype


def values_of(dtype, shape=(2, 3, 6, 7)):
    """Position-encoded values that use the dtype's range: signs, NaN, infinities, the largest numbers."""
    dtype = np.dtype(dtype)
    base = encoded(shape, np.float64)
    if dtype.kind == "b":
        return base % 2 == 0
    if dtype.kind in "ui":
        values = base.astype(dtype if dtype.kind == "u" else np.int64).astype(dtype)
        values.flat[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
        return values
    values = (base / 8 - 9).astype(dtype)
    if dtype.kind == "c":
        values += 1j * (base % 19).astype(values.real.dtype)
    values.flat[:5] = np.nan, np.inf, -np.inf, -0.0, np.finfo(values.real.dtype).smallest_subnormal
    return values


def write(folder):
    """Write the files; return the nodes that they and `MADE` give, by what each is good for."""
    import hyperspy.api as hs
    import tifffile

    def save(name, values, signal_axes=2):
        complex_2d = values.dtype.kind == "c"
        kind = {1: hs.signals.Signal1D, 2: hs.signals.ComplexSignal2D if complex_2d else hs.signals.Signal2D}
        axes = axes_of(values.shape, signal_axes)
        described = [
            {k: getattr(axis, k) for k in ("name", "size", "scale", "offset", "units", "navigate")}
            for axis in axes
        ]
        kind[signal_axes](values, axes=described).save(folder / name)
        return Node(f"{name}/signal/root", values, tuple(axis.name for axis in axes))

    nodes = {np.dtype(dtype).name: save(f"{np.dtype(dtype)}.hspy", values_of(dtype)) for dtype in DTYPES}
    nodes["big-endian"] = _little(save("big-endian.hspy", values_of("u2").astype(">u2")))
    colours = encoded((40, 50, 3), np.uint8)
    tifffile.imwrite(folder / "colours.tif", colours, photometric="rgb")
    nodes["colours"] = Node("colours.tif/signal/root", colours, ("height", "width", "colour"))
    nodes["edge chunks"] = save("image.hspy", encoded((530, 600)))
    nodes["stack"] = save("stack.hspy", encoded((5, 40, 50)))
    nodes["spectra"] = save("spectra.hspy", encoded((4, 6, 40)), 1)
    named = save(NAMED, encoded((3, 5, 12, 16)))
    nodes["unicode and spaces"] = named
    cropped = named.values[..., 3:]
    # An axis that differs from its namesake in the tree has a name of its own: xarray puts them in one dataset.
    nodes["called c"] = Node(f"{TREE}/c", cropped, ("y", "x", "ky", "kx_c"))
    nodes["called 42"] = Node(f"{TREE}/42", named.values[..., :7, :], ("y", "x", "ky_42", "kx"))
    nodes["called bright field"] = Node(
        f"{TREE}/bright field", named.values.sum((-2, -1), dtype="u8"), named.dims[:2]
    )
    nodes["called größe µ"] = Node(f"{TREE}/größe µ", cropped.sum((-2, -1), dtype="u8"), named.dims[:2])
    return nodes


def _little(node):
    return Node(node.path, node.values.astype(node.dtype.newbyteorder("<")), node.dims)


def assert_read(read, node):
    """Compare what a client's program says of a node with what it is, bit for bit.

    Parameters
    ----------
    read : dict
        ``shape``, ``dtype`` (numpy's name), ``data`` (base64, C order, little-endian), and ``dims`` where
        the client has them.
    node : Node
        What was served.
    """
    assert "error" not in read, read["error"]
    assert tuple(read["shape"]) == node.values.shape
    assert np.dtype(read["dtype"]) == node.dtype
    if "dims" in read:
        assert tuple(read["dims"]) == node.dims
    got = np.frombuffer(base64.b64decode(read["data"]), node.dtype)
    assert_values(got.reshape(node.values.shape), node)


def assert_values(got, node):
    """Require every bit. `assert_array_equal` takes NaN for equal and -0 for 0: it explains; the bytes decide."""
    assert (got.shape, got.dtype) == (node.values.shape, node.dtype)
    np.testing.assert_array_equal(got, node.values)
    assert got.tobytes() == node.values.tobytes()
