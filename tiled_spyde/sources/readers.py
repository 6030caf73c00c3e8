"""The formats that are read, one line for each of rosettasciio's readers: what is special about it here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiled_spyde.sources.choosing import REFUSED, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACED = "frame by frame from its place in the file"
_HOW = {  # of readers whose frames do not go through dask
    **dict.fromkeys(("blockfile", "quantumdetector", "mrc", "empad", "edax", "ripple", "numpy"), _PLACED),
    "digitalmicrograph": f"{_PLACED}, where it is stored in order",
    "tiff": f"{_PLACED}, or page by page",
    "hspy": "HDF5, frame by frame",
    "nexus": "HDF5, frame by frame",
    "zspy": "zarr, frame by frame, also zipped",
    "pantarhei": "in blocks; where it is packed, as a whole up to 256 MB",
    "tvips": "mapped into memory",
    "arina": "HDF5 in blocks, by a reader of ours: rosettasciio's reads all of it at once",
    "tofwerk": "HDF5; the sum spectrum, as hyperspy does",
}
_BESIDE = {
    "quantumdetector": ".hdr of the same name, for the scan",
    "mrc": "`…_info.txt`, `…_scan_coordinates.csv` of Direct Electron",
    "tia": ".ser files of an .emi (up to nine)",
    "empad": "the .raw file that the .xml names",
    "ripple": ".raw of the same name",
    "edax": ".spc, .ipr and .csv of the same name",
    "tvips": "the files numbered after `_000`",
    "arina": "the data files that the master links to",
    "hspy": "files of virtual datasets and external links",
    "impulse": "`…_Metadata.log`",
    "jeol": "the files that an .asw names",
}
_NOTES = {
    "mrc": "also big-endian",
    "quantumdetector": "raw frames (R64) are refused: rosettasciio does not read them, and nothing shows that we would",
    "emd": "Velox, Berkeley (NCEM), Prismatic, py4DSTEM",
    "nexus": "`.nxs`, and HDF5 files with `NX_class`; never as a guess for others",
    "image": "up to 256 MB of pixels; in colours, a last signal axis `colour`",
    "tiff": "in colours, a last signal axis `colour`",
    "pantarhei": "never unpickled: of files before 24.03 no metadata",
    "delmic": "all its acquisitions, hyperspy: only cathodoluminescence unless told",
}
# Formats whose reading is compared with hyperspy's: on real files, or on files written for it in the tests.
_REAL = ("emd", "hspy", "bruker", "digitalmicrograph", "mrc", "quantumdetector", "zspy", "blockfile", "topspin", "tia",
         "tvips")  # fmt: skip
_WRITTEN = ("tiff", "digitalsurf", "mrcz", "msa", "nexus", "numpy", "pantarhei", "ripple", "semper", "image", "arina",
            "dens", "empad", "impulse", "protochips", "delmic", "tofwerk", "edax", "hamamatsu")  # fmt: skip


def table() -> Iterator[str]:
    """Yield the lines of a Markdown table of rosettasciio's readers."""
    from rsciio import IO_PLUGINS

    yield "| format | files | read | beside it | compared with hyperspy on | notes |"
    yield "|---|---|---|---|---|---|"
    for plugin in sorted(IO_PLUGINS, key=lambda plugin: plugin["name"].lower()):
        module = plugin["api"].rpartition(".")[2]
        files = " ".join(sorted({f".{extension.lower()}" for extension in plugin["file_extensions"]}))
        compared = "real files" if module in _REAL else "written files" if module in _WRITTEN else "–"
        how = f"not: {REFUSED[module]}" if module in REFUSED else _how(module)
        cells = (plugin["name"], files, how, _BESIDE.get(module, ""), compared, _NOTES.get(module, ""))
        yield f"| {' | '.join(cells)} |"


def _how(module: str) -> str:
    if module in WHOLE:
        return "as a whole, up to 256 MB"
    return _HOW.get(module, "in blocks, each decoded once")
