"""What rosettasciio's readers find in a file: which of them reads it, with what, and its companions."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import choosing, hdf5, headers, links, store, tiff
from tiled_spyde.sources.found import Found, array_beneath, of_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tiled_spyde.sources.bounds import Bounds
    from tiled_spyde.sources.raw import Place

LARGEST = 256 << 20  # bytes of a file, and of an array, that can only be read as a whole
# They map their file into memory, in blocks that they lay out one by one: hours for a header that claims enough.
_MAPS = {"blockfile", "digitalmicrograph", "edax", "mrc", "numpy", "pantarhei", "quantumdetector", "ripple"}
_HDF5 = ("hspy", "h5", "hdf5", "emd", "de5", "nxs", "app5")


def ask(path: Path, bounds: Bounds) -> list[Found]:
    """Return the signals that rosettasciio finds at `path`, without reading pixels.

    Raises
    ------
    SourceError
        No reader knows the file, its header cannot be true, or it leads out of `bounds`.
    Exception
        Whatever a reader raises.
    """
    suffix = path.suffix.lower().lstrip(".")
    with bounds.kept() as opened:
        found = _ASK.get(suffix, _ask_by_name)(path, bounds)
    companions = [other for other in opened if other != path and other.is_file()]
    return [_with(one, companions) for one in found] if suffix != "zspy" else found


def reader_name(path: Path) -> str:
    """Return the name of the reader for the file at `path`; raises as `ask` does."""
    suffix = path.suffix.lower().lstrip(".")
    named = {"zspy": "zspy", "blo": "blockfile", "mib": "quantumdetector", "tif": "tiff", "tiff": "tiff"}
    if suffix in named:
        return named[suffix]
    if suffix in _HDF5 and suffix != "app5":
        return hdf5.signals_of(path)[0]
    return choosing.reader_of(path)


def _with(found: Found, others: Iterable[Path]) -> Found:
    members = dict.fromkeys((*found.members, *others))
    return Found(found.signal, tuple(members), found.place, found.series)


def _ask_mrc(path: Path, _: Bounds) -> list[Found]:
    lies, endianness = headers.mrc(path)
    place: Place | None = lies
    notes = _direct_electron_notes(path)
    if any(note.name.endswith("scan_coordinates.csv") for note in notes):
        place = None  # frames are stored as the beam went, not as the scan is laid out
    chunks = -1 if place is not None else "auto"
    signals = _read("mrc", path, endianness=endianness, chunks=chunks)
    for signal in signals:
        header = signal["original_metadata"]["std_header"]
        _uncalibrate(signal, {name for name in "xy" if not header[f"M{name.upper()}"]})
        if notes:  # rosettasciio replaces every scale that they give by 1
            _uncalibrate(signal, {axis["name"] for axis in signal["axes"]})
    return [Found(signal, (path, *notes), place) for signal in signals]


def _direct_electron_notes(path: Path) -> list[Path]:
    """Return the text files beside a movie of a Direct Electron camera that describe its scan."""
    movie = re.fullmatch(r"(\d{8}_\d+)_(?:.+_)?movie\.mrc", path.name)
    if movie is None:
        return []
    beside = sorted(path.parent.glob(f"{movie[1]}_*"))
    return [other for other in beside if other.name.endswith(("info.txt", "scan_coordinates.csv"))]


def _ask_blo(path: Path, _: Bounds) -> list[Found]:
    place = headers.blo(path)
    signals = _read("blockfile", path)
    for signal in signals:
        if not signal["original_metadata"]["blockfile_header"]["SDP"]:
            _uncalibrate(signal, {"dx", "dy"})
    return [Found(signal, (path,), place) for signal in signals]


def _uncalibrate(signal: dict[str, Any], names: set[str]) -> None:
    """Take the units from axes whose scale of 1 only stands for none."""
    for axis in signal["axes"]:
        if axis["name"] in names and axis["scale"] == 1:
            axis["units"] = None


def _ask_mib(path: Path, _: Bounds) -> list[Found]:
    place, scan = headers.mib(path)
    signals = _read("quantumdetector", path, navigation_shape=scan)
    return [Found(signal, (path,), place) for signal in signals]


def _ask_tiff(path: Path, _: Bounds) -> list[Found]:
    tiff.check(path)
    signals = _read("tiff", path, _multifile=False)
    lies = tiff.located(signals)
    found = []
    for number, (signal, (place, paged)) in enumerate(zip(signals, lies, strict=True)):
        if place is not None:
            headers.believed(place, path, " × ".join(map(str, signal["data"].shape)))
        frame = math.prod(signal["data"].shape[-2:]) * signal["data"].dtype.itemsize
        if place is None and frame > links.LARGEST_CHUNK:
            raise SourceError(
                f"its pages are packed, each {frame} bytes, more than can be read at once. Unpack it."
            )
        found.append(Found(signal, (path,), place, number if paged else None))
    if all(place is not None or paged for place, paged in lies):
        return found
    # Of the others rosettasciio would write a copy to a temporary file for each frame.
    if (size := sum(signal["data"].nbytes for signal in signals)) > LARGEST:
        raise SourceError(
            f"its images are stored so that they can only be read as a whole, {size} bytes. Save it again."
        )
    return [Found(signal, (path,)) for signal in _read("tiff", path, lazy=False, _multifile=False)]


def _ask_hdf5(path: Path, bounds: Bounds, module: str | None = None) -> list[Found]:
    import h5py

    if not h5py.is_hdf5(path):
        raise SourceError("it is no HDF5 file, whatever its name says. Give it its right name.")
    members = links.members(path, bounds)
    arguments: dict[str, Any] = {}
    if module is None:
        module, arguments = hdf5.signals_of(path)
    own = {"hspy": hdf5.read_hspy, "dectris": hdf5.read_dectris}.get(module)
    signals = own(path) if own is not None else _read(module, path, **arguments)
    return [of_array(signal, members) for signal in signals if "metadata" in signal]


def _ask_zspy(path: Path, bounds: Bounds) -> list[Found]:
    signals = [signal for signal in store.read(path, bounds) if "metadata" in signal]
    return [Found(one, store.members(path, array_beneath(one["data"]), bounds)) for one in signals]


def _ask_by_name(path: Path, bounds: Bounds) -> list[Found]:
    import h5py

    module = choosing.reader_of(path)
    if h5py.is_hdf5(path):
        links.members(path, bounds)
    return [of_array(signal, (path,)) for signal in _read(module, path)]


def _read(module: str, path: Path, lazy: bool | None = None, **arguments: Any) -> list[dict[str, Any]]:
    reader = importlib.import_module(f"rsciio.{module}").file_reader
    if "show_progressbar" in inspect.signature(reader).parameters:
        arguments["show_progressbar"] = False
    if module in _MAPS:
        arguments = {"chunks": -1} | arguments
    if lazy is None:
        lazy = not choosing.is_whole(module, path)
    if not lazy:
        _check_whole(module, path)
    signals: Iterable[dict[str, Any]] = reader(str(path), lazy=lazy, **arguments)
    return [signal for signal in signals if "metadata" in signal]  # the others are models


def _check_whole(module: str, path: Path) -> None:
    """Raise SourceError where the file at `path` would be too large to be read as a whole."""
    size = path.stat().st_size
    if module == "image":
        from PIL import Image

        with Image.open(path) as image:
            size = max(size, math.prod(image.size) * max(1, len(image.getbands())))
    if module == "delmic":
        size = max(size, hdf5.unpacked_size(path))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            size = max(size, sum(one.file_size for one in packed.infolist()))
    if size > LARGEST:
        raise SourceError(f"it can only be read as a whole, {size} bytes. Save it as .hspy.")


_ASK: dict[str, Callable[[Path, Bounds], list[Found]]] = {
    "mrc": _ask_mrc,
    "ali": _ask_mrc,
    "blo": _ask_blo,
    "mib": _ask_mib,
    "tif": _ask_tiff,
    "tiff": _ask_tiff,
    "zspy": _ask_zspy,
    **dict.fromkeys(_HDF5, _ask_hdf5),
    "app5": partial(_ask_hdf5, module="topspin"),
}
