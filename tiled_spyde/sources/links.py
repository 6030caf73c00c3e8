"""What an HDF5 file leads to: other files that must lie in the served folders, and claims that must be true."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.labels import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiled_spyde.sources.bounds import Bounds

LARGEST_CHUNK = 512 << 20  # bytes of one chunk once it is decoded
_MOST_CHUNKS = 10_000_000  # along one axis; dask counts them all
_MOST_AXES = 16
_MOST_FILES = 10_000


def members(path: Path, bounds: Bounds) -> tuple[Path, ...]:
    """Return the HDF5 file at `path` and all files that it leads to, each looked at like the first.

    By external links, external storage and virtual datasets a client could otherwise have any file
    of the host read.

    Raises
    ------
    SourceError
        One of them lies outside of `bounds` or is missing, or a dataset claims what cannot be true.
    """
    seen: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        if len(seen) == _MOST_FILES:
            raise SourceError(f"it leads to more than {_MOST_FILES} files. Save it as one file.")
        seen[one] = None
        for name, is_hdf5 in _named_in(one):
            target = _target(name, one, bounds)
            if is_hdf5:
                waiting.append(target)
            else:
                seen[target] = None
    return (path, *sorted(other for other in seen if other != path))


def check_claims(name: str, shape: tuple[int, ...], chunks: tuple[int, ...] | None, dtype: Any) -> None:
    """Raise SourceError where an array says of itself what nobody can read.

    A chunk is decoded as a whole: a small file can hold one of many gigabytes.
    """
    if len(shape) > _MOST_AXES:
        raise SourceError(f"{name} says it has {len(shape)} axes. It is damaged: copy it again.")
    sizes = chunks or shape
    if any(size > _MOST_CHUNKS * chunk for size, chunk in zip(shape, sizes, strict=True)):
        raise SourceError(f"{name} says it has shape {shape}. It is damaged: copy it again.")
    if chunks is not None and math.prod(chunks) * dtype.itemsize > LARGEST_CHUNK:
        raise SourceError(
            f"{name} has chunks of {math.prod(chunks) * dtype.itemsize} bytes, which can only be read as a whole. "
            "Save it again with a chunk for each frame."
        )


def _named_in(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield what the HDF5 file at `path` leads to: a name, and whether it is HDF5 too."""
    import h5py

    named: list[tuple[str, bool]] = []
    size = path.stat().st_size

    def link(name: bytes, found: Any) -> None:
        if found.type == h5py.h5l.TYPE_EXTERNAL:
            named.append((file.get(name, getlink=True).filename, True))
        elif found.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            raise SourceError("it has links of an unknown kind. Save it again without them.")

    def look(_: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        check_claims(plain_text(item.name), item.shape, item.chunks, item.dtype)
        if item.is_virtual:
            named.extend((source.file_name, True) for source in item.virtual_sources())
        elif item.external:
            named.extend((name, False) for name, _, _ in item.external)
        elif item.chunks is None and item.size * item.id.get_type().get_size() > size:
            raise SourceError(
                f"{plain_text(item.name)} says it has shape {item.shape}, more than there is in the file. "
                "It is damaged: copy it again."
            )

    try:
        with h5py.File(path, "r") as file:
            file.id.links.visit(link, info=True)
            file.visititems(look)
    except OSError as error:
        # HDF5 says of a file that it is cut off, with where it should end; of others at least where it stumbled.
        raise SourceError(
            f"{plain_text(path.name)} is damaged or cut off: {error}. Copy it again."
        ) from error
    return ((os.fsdecode(name), is_hdf5) for name, is_hdf5 in named if name != ".")


def _target(name: str, source: Path, bounds: Bounds) -> Path:
    """Return the file that `source` leads to by `name`.

    HDF5 looks beside the source and in the working folder, and for a path that leads nowhere, for a file
    of that name. Whichever it takes must be allowed, so all that are there must be.
    """
    folders = {source.parent, Path(os.path.realpath(source)).parent}
    tried = [Path(name).absolute(), *(folder / one for folder in folders for one in (name, Path(name).name))]
    there = [Path(os.path.normpath(path)) for path in tried if path.exists()]
    for path in there:
        bounds.require(path)
        if not path.is_file():
            raise SourceError(f"it leads to {plain_text(path.name)!r}, which is no file. Copy it again.")
    if not there:
        raise SourceError(
            f"it leads to {plain_text(Path(name).name)!r}, which is not beside it. Copy that file too."
        )
    return there[0]
