"""Which of rosettasciio's readers a file is for, by its name, and by its content where the name says too little."""

from __future__ import annotations

import zipfile
from functools import cache
from typing import TYPE_CHECKING

from tiled_spyde.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# rosettasciio's own choice for these names is a guess, or a refusal to guess.
_BY_NAME = {
    "mrc": "mrc", "ali": "mrc", "mrcz": "mrcz", "prz": "pantarhei", "nxs": "nexus", "elid": "phenom",
}  # fmt: skip
_COMPANIONS = {"hdr": ".mib", "raw": ".rpl or .xml", "ipr": ".spd"}
# Readers of rosettasciio that are not used, and why.
REFUSED = {
    "netcdf": "its reader runs what the file says as a program. Convert it to .hspy where you trust it.",
    "usid": "its reader, pyUSID, is not installed, as it brings forty packages. Save it as .hspy.",
}
WHOLE = {  # they read a file as a whole, or not at all
    "dens", "digitalsurf", "image", "impulse", "jobinyvon", "msa", "phenom", "protochips", "quadstar",
    "renishaw", "trivista", "delmic", "hamamatsu",
}  # fmt: skip
_HEAD = 1 << 16  # bytes of a file that tell what it is


def reader_of(path: Path) -> str:
    """Return the module of the reader for the file at `path` (HDF5 files apart: see `hdf5.reader_of`).

    Raises
    ------
    SourceError
        There is none, or it must not be used.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix in _BY_CONTENT:
        return _BY_CONTENT[suffix](_head(path))
    name = _BY_NAME.get(suffix) or _modules().get(suffix)
    if name is None and suffix in _COMPANIONS:
        raise SourceError(
            f"it belongs to a {_COMPANIONS[suffix]} file, which is not beside it. Copy that too."
        )
    if name is None:
        raise SourceError(
            f"no reader for files named .{suffix}. Save it as .hspy with the program it is from."
        )
    if name in REFUSED:
        raise SourceError(REFUSED[name])
    return name


def is_whole(module: str, path: Path) -> bool:
    """Whether the reader can only read the file at `path` as a whole, or would misread it otherwise."""
    if module == "pantarhei":  # it maps its numbers into memory, packed or not
        with zipfile.ZipFile(path) as packed:
            return any(one.compress_type != zipfile.ZIP_STORED for one in packed.infolist())
    return module in WHOLE or path.suffix.lower() == ".spx"


def is_data(path: Path) -> bool:
    """Whether a file whose name may also be that of notes (.csv, .xml, .img) is one that a reader knows."""
    try:
        reader_of(path)
    except (SourceError, OSError):
        return False
    return True


@cache
def _modules() -> dict[str, str]:
    """Return the module of the reader for each extension that only one of them claims."""
    from rsciio import IO_PLUGINS

    claims: dict[str, set[str]] = {}
    for plugin in IO_PLUGINS:
        for extension in plugin["file_extensions"]:
            claims.setdefault(extension.lower(), set()).add(plugin["api"].rpartition(".")[2])
    return {extension: names.pop() for extension, names in claims.items() if len(names) == 1}


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _xml(head: bytes) -> str:
    if b"<!ENTITY" in head.replace(b"\0", b""):
        raise SourceError("it defines XML entities, which no microscope writes. Save it without.")
    if b"<LSX" in head:
        return "jobinyvon"
    if b"<raw_file" in head:
        return "empad"
    raise SourceError("it is XML, but not of a microscope that is known (EMPAD, Jobin Yvon). Name its data.")


def _csv(head: bytes) -> str:
    columns = head.split(b"\n", 1)[0].decode("latin-1").replace(", ", ",").strip().split(",")
    if len(columns) >= 3 and "TimeStamp" in columns:
        return "impulse"
    if len(columns) >= 3 and {"Time", "Notes"} <= set(columns):
        return "protochips"
    raise SourceError("it is a table, but not of DENS Impulse or Protochips. Save it as .hspy.")


def _img(head: bytes) -> str:
    if head[:2] == b"IM":
        return "hamamatsu"
    if head[:4] == (52).to_bytes(4, "little"):
        return "jeol"
    raise SourceError("it is neither a Hamamatsu nor a JEOL image. Save it as TIFF.")


_BY_CONTENT: dict[str, Callable[[bytes], str]] = {"xml": _xml, "csv": _csv, "img": _img}
