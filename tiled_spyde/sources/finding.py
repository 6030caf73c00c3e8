"""Which files under a path are sources."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tiled_spyde.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Beside data, not data: notes, pictures of them, programs, archives.
_ASIDE = {
    ".bak", ".bmp", ".cfg", ".csv", ".doc", ".docx", ".gif", ".gz", ".htm", ".html", ".ini", ".ipynb",
    ".jpeg", ".jpg", ".json", ".lock", ".log", ".md", ".odt", ".part", ".pdf", ".png", ".ppt", ".pptx",
    ".py", ".rst", ".sh", ".sqlite", ".svg", ".tar", ".tmp", ".toml", ".txt", ".xls", ".xlsx", ".xml",
    ".yaml", ".yml", ".zip",
}  # fmt: skip


def find_sources(path: Path) -> list[Path]:
    """Return the files, and ``.zspy`` folders, under `path` that are sources of their own.

    Parameters
    ----------
    path : pathlib.Path
        A data file, a ``.zspy`` folder, or a folder to be walked with all its folders.

    Returns
    -------
    list of pathlib.Path
        Absolute and sorted. In a folder, without what is hidden, what is not a regular file, notes,
        companions of other files, and links that lead out of it. A file that was named is
        always in the list, readable or not.

    Raises
    ------
    SourceError
        There is nothing at `path`, or it may not be listed.
    """
    path = Path(path).absolute()
    if not path.exists():
        raise SourceError(f"Nothing at {path.name}: no such file or folder. Check the path.")
    if not path.is_dir() or path.suffix.lower() == ".zspy":
        return [path]
    try:
        os.listdir(path)
    except OSError as error:
        raise SourceError(f"Cannot list {path.name}: {error.strerror}. Check who may read it.") from error
    return sorted(_walk(path))


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, followlinks=False):
        here = Path(folder)
        stores = [name for name in folders if name.lower().endswith(".zspy")]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in stores]
        yield from (here / name for name in stores if not (here / name).is_symlink() and name[0] != ".")
        names = set(files)
        yield from (here / name for name in files if _is_source(here / name, root, names))


def _is_source(path: Path, root: Path, beside: Collection[str]) -> bool:
    if path.name.startswith(".") or path.suffix.lower() in _ASIDE or _is_companion(path.name, beside):
        return False
    return path.is_file() and path.resolve().is_relative_to(root.resolve())


def _is_companion(name: str, beside: Collection[str]) -> bool:
    """Whether another file of the same folder opens this one along with itself."""
    stem, suffix = os.path.splitext(name)
    lower = suffix.lower()
    if lower == ".hdr":
        return _any(stem, (".mib", ".MIB"), beside)
    if lower == ".ser":
        return _any(re.sub(r"_\d+$", "", stem), (".emi", ".EMI"), beside)
    if lower == ".raw":
        return _any(stem, (".rpl", ".RPL", ".xml", ".XML"), beside)
    if lower == ".tvips" and not stem.endswith("_000"):
        return re.sub(r"_\d{3}$", "_000", stem) + suffix in beside
    if lower in {".h5", ".hdf5"}:
        return _any(re.sub(r"_data_\d+$", "_master", stem), (suffix,), set(beside) - {name})
    return False


def _any(stem: str, suffixes: tuple[str, ...], names: Collection[str]) -> bool:
    return any(stem + suffix in names for suffix in suffixes)
