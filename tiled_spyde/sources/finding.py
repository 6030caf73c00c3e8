"""Which files under a path are sources, and what belongs to each."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.choosing import is_data

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

Members = dict[str, os.stat_result]

# Beside data, not data: notes, pictures of them, programs, archives.
_ASIDE = {
    ".bak", ".bmp", ".cfg", ".csv", ".doc", ".docx", ".gif", ".gz", ".htm", ".html", ".ini", ".ipynb",
    ".jpeg", ".jpg", ".json", ".lock", ".log", ".md", ".npz", ".odt", ".part", ".pdf", ".png", ".ppt",
    ".pptx", ".py", ".rst", ".sh", ".sqlite", ".svg", ".tar", ".tmp", ".toml", ".txt", ".xls", ".xlsx", ".xml",
    ".yaml", ".yml", ".zip",
}  # fmt: skip
# Some programs of microscopes call their data so, too.
_PERHAPS = (".csv", ".xml")
_MOST_SIGNALS = 100  # in one store, that are looked at for changes
_FRAMES_OF_EMPAD = re.compile(r"scan_x\d+_y\d+\.raw")
# Of Direct Electron's cameras.
_MOVIE = re.compile(r"(\d{8}_\d+)_(?:.+_)?movie\.mrc")
_NOTES_OF_A_MOVIE = re.compile(r"(\d{8}_\d+)_.*(info\.txt|scan_coordinates\.csv)")


@dataclass(frozen=True, slots=True)
class Listing:
    """What one folder holds.

    Parameters
    ----------
    sources : dict
        For each source, by its absolute path, its members in this folder: itself and its companions.
    folders : list of str
        Absolute paths of the folders in it that are to be walked.
    """

    sources: dict[str, Members] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)


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
    if is_named_source(str(path)):
        return [path]
    served = [os.path.realpath(path)]
    try:
        found = list_folder(str(path), served)
    except OSError as error:
        raise SourceError(f"Cannot list {path.name}: {error.strerror}. Check who may read it.") from error
    return sorted(Path(source) for source in _below(found, served))


def is_named_source(path: str) -> bool:
    """Whether `path`, named by a person, is one source rather than a folder of them."""
    return path.lower().endswith(".zspy") or not os.path.isdir(path)


def list_named(path: str) -> Listing:
    """Return the one source at `path`, which a person named: whatever its name says, readable or not.

    Raises
    ------
    OSError
        There is nothing, or it may not be looked at.
    """
    return Listing({path: {path: os.stat(path)} | (_store(path) if os.path.isdir(path) else {})})


def list_folder(folder: str, served: Sequence[str]) -> Listing:
    """List one folder: one system call for each file, none for pipes and the like.

    Folders are not entered through links: what such a link leads to is listed at its own place, or
    is not served.

    Parameters
    ----------
    folder : str
        Absolute path.
    served : sequence of str
        Real paths of what is served. Links to files count as long as they lead there.

    Raises
    ------
    OSError
        It cannot be listed (now).
    """
    listing, files = Listing(), {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name.lower().endswith(".zspy"):
                    listing.sources[entry.path] = _store(entry.path)
                else:
                    listing.folders.append(entry.path)
            elif (found := _regular_file(entry, served)) is not None:
                files[entry.name] = found
    beside = _Names(files)
    for name, found in files.items():
        owner = beside.owner(name)
        if owner is None and name.lower().endswith(_PERHAPS):
            owner = (
                name if _holds_data(os.path.join(folder, name), found.st_size, found.st_mtime_ns) else None
            )
        if owner is not None:
            members = listing.sources.setdefault(os.path.join(folder, owner), {})
            members[os.path.join(folder, name)] = found
    return listing


def _below(listing: Listing, served: Sequence[str]) -> Iterator[str]:
    waiting = [listing]
    while waiting:
        listing = waiting.pop()
        yield from listing.sources
        for folder in listing.folders:
            with suppress(OSError):  # what may not be listed is not served
                waiting.append(list_folder(folder, served))


def _regular_file(entry: os.DirEntry[str], served: Sequence[str]) -> os.stat_result | None:
    try:
        if not entry.is_symlink():
            return entry.stat(follow_symlinks=False) if entry.is_file(follow_symlinks=False) else None
        real = os.path.realpath(entry.path)
        found = os.stat(real)
        inside = any(os.path.commonpath((real, root)) == root for root in served)
        return found if inside and stat.S_ISREG(found.st_mode) else None
    except OSError:  # gone since it was listed, or a link that leads nowhere
        return None


@lru_cache(maxsize=50_000)
def _holds_data(path: str, size: int, mtime_ns: int) -> bool:
    """Whether a reader knows the file by how it begins; asked once for each `size` and `mtime_ns`."""
    return size > 0 and is_data(Path(path))


def _store(path: str) -> Members:
    """Return what tells whether the .zspy store at `path` has changed, without listing its chunks.

    A chunk that is written is a new entry in the folder of its array: zarr writes it under another
    name and renames it.
    """
    signals = os.path.join(path, "Experiments")
    wanted = [path, signals, *(os.path.join(path, note) for note in (".zmetadata", ".zgroup", "zarr.json"))]
    with suppress(OSError), os.scandir(signals) as entries:
        for entry in islice(entries, _MOST_SIGNALS):
            wanted += [entry.path, os.path.join(entry.path, "data")]
    members = {}
    for member in wanted:
        with suppress(OSError):
            members[member] = os.stat(member)
    return members


class _Names:
    """Names of the files of one folder, which decide what belongs to what."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._has_raw = any(name.lower().endswith(".raw") for name in names)
        self._xml = [name for name in names if name.lower().endswith(".xml")]
        movies = (found for name in names if (found := _MOVIE.fullmatch(name)))
        self._movies = {movie[1]: movie[0] for movie in movies}

    def owner(self, name: str) -> str | None:
        """Return the file that opens the file `name`: itself or another; None for what is not data."""
        stem, suffix = os.path.splitext(name)
        lower = suffix.lower()
        owner = self._other(name, stem, suffix, lower)
        if owner is None and lower == ".xml":  # notes, unless it describes the frames of an EMPAD detector
            return name if self._has_raw else None
        return name if owner is None and lower not in _ASIDE else owner

    def _other(self, name: str, stem: str, suffix: str, lower: str) -> str | None:
        if lower == ".hdr":
            return self._first(stem, ".mib", ".MIB")
        if lower == ".ser":
            return self._first(re.sub(r"_\d+$", "", stem), ".emi", ".EMI")
        if lower == ".raw":
            return self._first(stem, ".rpl", ".RPL", ".xml", ".XML") or self._scan_of_empad(name)
        if lower == ".ipr":
            return self._first(stem, ".spd", ".SPD")
        if lower == ".tvips" and not stem.endswith("_000"):
            return self._first(re.sub(r"_\d{3}$", "_000", stem), suffix)
        if lower in {".h5", ".hdf5"} and "_data_" in stem:
            return self._first(re.sub(r"_data_\d+$", "_master", stem), suffix)
        if lower in {".txt", ".csv"} and (notes := _NOTES_OF_A_MOVIE.fullmatch(name)):
            return self._movies.get(notes[1])
        return None

    def _scan_of_empad(self, name: str) -> str | None:
        """Return the description of the frames in `name`, which does not have its name but stands alone."""
        described = len(self._xml) == 1 and _FRAMES_OF_EMPAD.fullmatch(name)
        return self._xml[0] if described else None

    def _first(self, stem: str, *suffixes: str) -> str | None:
        return next((stem + suffix for suffix in suffixes if stem + suffix in self._names), None)
