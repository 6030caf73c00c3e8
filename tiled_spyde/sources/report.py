"""What is opened of the files in a folder, and whether it is what hyperspy makes of them: a table."""

from __future__ import annotations

import contextlib
import io
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import formats, readers
from tiled_spyde.sources.finding import find_sources
from tiled_spyde.sources.opening import open_source
from tiled_spyde.sources.quiet import silence_readers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tiled_spyde.signals import Axis
    from tiled_spyde.sources.root import Root

_HEADER = (
    "file",
    "reader",
    "signal",
    "axes",
    "dtype",
    "frames by",
    "open",
    "first frame",
    "next",
    "as hyperspy",
)
# What hyperspy must be told of a file that it refuses to guess the reader of, by our name of the reader.
_TOLD: dict[str, dict[str, Any]] = {
    "hspy": {"file_format": "HSPY"},
    "emd": {"file_format": "EMD"},
    "mrc": {"file_format": "MRC"},
    "nexus": {"file_format": "NeXus"},
    "delmic": {"file_format": "Delmic", "signal": "all"},
    "dectris": {"file_format": "Arina"},
    "tofwerk": {"file_format": "Tofwerk"},
    "hamamatsu": {"file_format": "Hamamatsu"},
    "jeol": {"file_format": "JEOL"},
    "empad": {"file_format": "EMPAD"},
    "jobinyvon": {"file_format": "JobinYvon"},
    "impulse": {"file_format": "Impulse"},
    "protochips": {"file_format": "Protochips"},
}


def table(folder: Path) -> Iterator[str]:
    """Yield the lines of a Markdown table of the sources in `folder`."""
    yield f"| {' | '.join(_HEADER)} |"
    yield f"|{'---|' * len(_HEADER)}"
    for path in find_sources(folder):
        yield from lines(path)


def lines(path: Path) -> Iterator[str]:
    """Yield a row for each signal of the source at `path`, or one that says why it is not opened."""
    started = time.perf_counter()
    try:
        roots = open_source(path)
    except SourceError as error:
        why = str(error).partition(": ")[2]
        yield f"| {path.name} | – | {why} |{' |' * (len(_HEADER) - 3)}"
        return
    opened = f"{1e3 * (time.perf_counter() - started):.0f} ms"
    reader = formats.reader_name(path)
    theirs = _hyperspys(path, reader)
    for number, root in enumerate(roots):
        first, after = _times(root)
        same = "hyperspy cannot open it" if theirs is None else _same(root, theirs[number : number + 1])
        axes, frames = " × ".join(map(_axis, root.info.axes)), type(root.reader).__name__
        about = ("", reader, root.name) if number else (path.name, reader, root.name)
        took = ("" if number else opened, first, after)
        yield f"| {' | '.join((*about, axes, root.info.dtype.name, frames, *took, same))} |"


def _axis(axis: Axis) -> str:
    size = str(axis.size) if axis.navigate else f"**{axis.size}**"
    if axis.units is None and axis.values is None and axis.scale == 1:
        return f"{axis.name} {size}"
    step = "not uniform" if axis.values is not None else f"{axis.scale:.4g}"
    return f"{axis.name} {size} ({step} {axis.units or 'uncalibrated'})"


def _times(root: Root) -> tuple[str, str]:
    """Return how long the first frame takes, and another one after it."""
    scan = root.info.navigation_shape
    said = []
    for index in (tuple(size // 2 for size in scan), tuple(size - 1 for size in scan)):
        started = time.perf_counter()
        root.reader.read(index)
        said.append(f"{1e3 * (time.perf_counter() - started):.2g} ms")
    return said[0], said[1]


def _hyperspys(path: Path, reader: str) -> list[Any] | None:
    """Return hyperspy's signals of the file, as plain ones: its extensions take many seconds to import."""
    import hyperspy.api as hs

    told = dict(_TOLD.get(reader, {}))
    if reader == "emd" and path.suffix == ".h5":
        told["stack_group"] = False
    silence_readers()
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            loaded = hs.load(path, lazy=False, signal_type="", **told)
        except Exception:
            return None
    return loaded if isinstance(loaded, list) else [loaded]


def _same(root: Root, theirs: list[Any]) -> str:
    """Say whether `root` has the values, and where it is calibrated the scales, of hyperspy's signal."""
    if not theirs:
        return "no such signal"
    (signal,) = theirs
    if signal.data.dtype.names:
        signal.change_dtype(signal.data.dtype[0])
        return _same_values(root, signal.data)
    axes = list(signal.axes_manager.as_dictionary().values())
    order = sorted(range(signal.data.ndim), key=lambda at: not axes[at]["navigate"])
    values = _same_values(root, signal.data.transpose(order))
    for ours, one in zip(root.info.axes, (axes[at] for at in order), strict=False):
        if (
            ours.units is not None
            and ours.values is None
            and (ours.scale, ours.offset) != (one["scale"], one["offset"])
        ):
            return f"{values}, {ours.name} differs"
        if ours.navigate != one["navigate"]:
            return f"{values}, but {ours.name} is {'a scan' if ours.navigate else 'a signal'} axis"
    return values


def _same_values(root: Root, data: Any) -> str:
    if data.shape != root.info.shape or data.dtype.newbyteorder("=") != root.info.dtype:
        return f"no: {data.shape} {data.dtype}"
    for index in np.ndindex(*root.info.navigation_shape):
        if not np.array_equal(root.reader.read(index), data[index], equal_nan=data.dtype.kind in "fc"):
            return f"no: frame {index} differs"
    return "yes"


def page(folder: Path) -> Iterator[str]:
    """Yield the lines of ``docs/formats.md``, for the files in `folder`."""
    yield from _ABOUT.strip().splitlines()
    yield ""
    yield from readers.table()
    yield ""
    yield "## Files"
    yield ""
    yield "Signal axes are bold. Times are of one run on one host, imports included; the rest is kept by a test."
    yield ""
    yield from table(folder)


_ABOUT = """
# Formats

Made by `python -m tiled_spyde.sources FOLDER > docs/formats.md`.

Files are opened with rosettasciio 0.15. Which of its readers opens a file is chosen by the content
where the name says too little (`.h5`, `.hdf5`, `.emd`, `.img`, `.csv`, `.xml`), and never by trying
them. Opening reads no pixel, unless a reader can only read a file as a whole.

- **frame by frame from its place**: the bytes of the frame, or of a part of it, with `pread`; no
  dask, no memory map.
- **HDF5, frame by frame**: where a frame is stored unpacked, as it is, from its place. Else the chunks it is in are
  unpacked, without h5py's one lock where they are packed with deflate, shuffle or Blosc, and remembered.
- **in blocks**: what dask's array has as one block is decoded once, and remembered: within `cache_mb`, together
  with all else that the server remembers.
- **as a whole**: up to 256 MB of the file, unpacked, and of its array; kept in the same memory.

Whatever a file leads to, by its header, by links or as virtual datasets, must lie in the served
folders, and what is read of it belongs to the source: its key changes with each of those files.
Nothing is unpickled, nothing is written.

In a folder, what usually is a note is taken for one and not listed: pictures (`.png`, `.jpg`, `.gif`, `.bmp`),
texts, archives (`.npz` too), and `.csv` and `.xml` that do not begin as those of a microscope do. Serve such a file by
its own path.

Units that say nothing (`px`, `a.u.`, `1`), are longer than 32 characters or hold control characters
are none: the axis is called uncalibrated. So is one with a scale of zero, NaN, infinity, or beyond
10³⁰ or below 10⁻³⁰. A negative scale is kept.

## Readers
"""
