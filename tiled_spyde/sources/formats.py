"""Which of rosettasciio's readers opens a file, its companions, and where raw formats keep their frames."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import hdf5, headers, store, tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tiled_spyde.sources.raw import Place

_HDF5 = {"hspy", "h5", "hdf5", "emd", "de5"}
_NEVER = {"PantaRhei", "USID"}  # the one unpickles what it reads, the other is not installed


@dataclass(frozen=True)
class Found:
    """One signal that rosettasciio found.

    Parameters
    ----------
    signal : dict
        rosettasciio's dictionary, with lazy data.
    members : tuple of pathlib.Path
        The files that hold it; the one with the frames first.
    place : Place or None
        Where its frames lie, for formats that need no decoding.
    series : int or None
        Number of its series in a TIFF file whose pages are its frames.
    """

    signal: dict[str, Any]
    members: tuple[Path, ...]
    place: Place | None = None
    series: int | None = None


def ask(path: Path) -> list[Found]:
    """Return the signals that rosettasciio finds at `path`, without reading pixels.

    Raises
    ------
    SourceError
        No reader knows the file, or its header cannot be true.
    Exception
        Whatever a reader raises.
    """
    suffix = path.suffix.lower().lstrip(".")
    return _ASK.get(suffix, _ask_by_name)(path)


def array_beneath(data: Any) -> Any:
    """Return the array that the dask array `data` does nothing but slice, None where there is none."""
    if not hasattr(data, "dask"):
        return None
    layers = list(data.dask.layers.items())
    if len(layers) != 2 or not layers[0][0].startswith("original-"):
        return None
    (beneath,) = dict(layers[0][1]).values()
    return beneath if getattr(beneath, "shape", None) == data.shape else None


def release(found: Found) -> None:
    """Close the HDF5 file that rosettasciio keeps open behind the data of `found`."""
    beneath = array_beneath(found.signal["data"])
    if is_hdf5(beneath) and beneath:  # false once it is closed
        beneath.file.close()


def is_hdf5(array: Any) -> bool:
    """Whether `array` is an HDF5 dataset."""
    return type(array).__module__.startswith("h5py")


def is_zarr(array: Any) -> bool:
    """Whether `array` is a zarr array."""
    return type(array).__module__.startswith("zarr")


def _ask_mrc(path: Path) -> list[Found]:
    place: Place | None = headers.mrc(path)
    notes = _direct_electron_notes(path)
    if any(note.name.endswith("scan_coordinates.csv") for note in notes):
        place = None  # frames are stored as the beam went, not as the scan is laid out
    signals = _read("mrc", path)
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


def _ask_blo(path: Path) -> list[Found]:
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


def _ask_mib(path: Path) -> list[Found]:
    place, scan = headers.mib(path)
    beside = headers.hdr_of(path)
    members = (path,) if beside is None else (path, beside)
    signals = _read("quantumdetector", path, navigation_shape=scan)
    return [Found(signal, members, place) for signal in signals]


def _ask_tiff(path: Path) -> list[Found]:
    tiff.check(path)
    signals = _read("tiff", path, _multifile=False)
    found = []
    for number, (signal, (place, paged)) in enumerate(zip(signals, tiff.located(signals), strict=True)):
        if place is not None:
            headers.believed(place, path, " × ".join(map(str, signal["data"].shape)))
        found.append(Found(signal, (path,), place, number if paged else None))
    return found


def _ask_hdf5(path: Path) -> list[Found]:
    module, arguments = hdf5.reader_of(path)
    signals = hdf5.read_hspy(path) if module == "hspy" else _read(module, path, **arguments)
    return [_of_array(signal, (path,)) for signal in signals if "metadata" in signal]


def _ask_zspy(path: Path) -> list[Found]:
    if not path.is_dir():
        raise SourceError("it is a zipped .zspy store, which can only be read as a whole. Unpack it.")
    signals = _read("zspy", path, mode="r")
    return [Found(signal, store.members(path, array_beneath(signal["data"]))) for signal in signals]


def _ask_by_name(path: Path) -> list[Found]:
    """Ask the readers for the file's extension, until one does not refuse."""
    import h5py

    suffix = path.suffix.lower().lstrip(".")
    modules = [plugin["api"].rpartition(".")[2] for plugin in _plugins() if _claims(plugin, suffix)]
    if not modules:
        raise SourceError(
            f"no reader for files named .{suffix}. Save it as .hspy with the program it is from."
        )
    if h5py.is_hdf5(path):
        hdf5.refuse_outside(path)
    refused: Exception | None = None
    for module in modules:
        try:
            return [_of_array(signal, _companions(path)) for signal in _read(module, path)]
        except Exception as error:
            refused = refused or error
    raise refused or SourceError("no reader opens it. Is it what its name says?")


def _claims(plugin: dict[str, Any], suffix: str) -> bool:
    known = {extension.lower() for extension in plugin["file_extensions"]}
    return suffix in known and plugin["name"] not in _NEVER


def _of_array(signal: dict[str, Any], members: tuple[Path, ...]) -> Found:
    beneath = array_beneath(signal["data"])
    return Found(signal, members, hdf5.place(beneath) if is_hdf5(beneath) else None)


def _companions(path: Path) -> tuple[Path, ...]:
    """Return `path` and the files beside it that hold its frames (.emi: its .ser files)."""
    if path.suffix.lower() != ".emi":
        return (path,)
    pattern = re.compile(re.escape(path.stem) + r"_\d+\.ser", re.IGNORECASE)
    return (path, *sorted(other for other in path.parent.iterdir() if pattern.fullmatch(other.name)))


def _read(module: str, path: Path, **arguments: Any) -> list[dict[str, Any]]:
    reader = importlib.import_module(f"rsciio.{module}").file_reader
    if "show_progressbar" in inspect.signature(reader).parameters:
        arguments["show_progressbar"] = False
    signals: Iterable[dict[str, Any]] = reader(str(path), lazy=True, **arguments)
    return [signal for signal in signals if "metadata" in signal]  # the others are models


def _plugins() -> list[dict[str, Any]]:
    from rsciio import IO_PLUGINS

    return list(IO_PLUGINS)


_ASK: dict[str, Callable[[Path], list[Found]]] = {
    "mrc": _ask_mrc,
    "blo": _ask_blo,
    "mib": _ask_mib,
    "tif": _ask_tiff,
    "tiff": _ask_tiff,
    "zspy": _ask_zspy,
    **dict.fromkeys(_HDF5, _ask_hdf5),
}
