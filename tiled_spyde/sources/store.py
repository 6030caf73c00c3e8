""".zspy stores: a folder that may hold a file for each frame, so it is never listed, or a zip file of them."""

from __future__ import annotations

import asyncio
import math
import zipfile
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.links import check_claims

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tiled_spyde.sources.bounds import Bounds
    from tiled_spyde.sources.files import File

_SAMPLES = 6  # chunks that stand for all
_OPEN = 8


@lru_cache(maxsize=1)
def _bounded_store() -> type[Any]:
    """Return the class for a folder whose files may be links; zarr is imported where there is such a store."""
    from zarr.storage import LocalStore

    class BoundedStore(LocalStore):  # type: ignore[misc, unused-ignore]
        """A folder, whose files may be links, but only to what lies within `bounds`."""

        def __init__(self, root: Path, bounds: Bounds) -> None:
            super().__init__(root, read_only=True)
            self._bounds = bounds

        async def get(self, key: str, *arguments: Any, **named: Any) -> Any:
            await asyncio.to_thread(self._bounds.require, self.root / key)
            return await super().get(key, *arguments, **named)

    return BoundedStore


def read(path: Path, bounds: Bounds) -> list[dict[str, Any]]:
    """Return the signals of the .zspy store at `path`, as rosettasciio's `file_reader` does."""
    from rsciio.zspy._api import ZspyReader

    group = _group(path, bounds)
    experiments = group.get("Experiments")
    for name in experiments or ():
        data = experiments[name].get("data")
        if data is not None:
            check_claims(f"its {name}", data.shape, data.chunks, data.dtype)
    signals: list[dict[str, Any]] = ZspyReader(group).read(lazy=True)
    return signals


@lru_cache(maxsize=_OPEN)
def array(_: tuple[File, ...], path: Path, name: str, bounds: Bounds) -> Any:
    """Return the array `name` of the store at `path` for as long as its files stay what they are."""
    return _group(path, bounds)[name]


def members(path: Path, array: Any, bounds: Bounds) -> tuple[Path, ...]:
    """Return the files that tell whether the signal in the zarr `array` of the store `path` has changed.

    Its metadata, its folder, and some of its chunks, the first and the last among them.

    Raises
    ------
    SourceError
        One of them lies outside of `bounds`.
    """
    if array is None or not path.is_dir():
        return (path,)
    folder = path / array.path
    notes = (path / ".zmetadata", folder / ".zarray", folder / "zarr.json")
    found = [*(note for note in notes if note.exists()), folder, *_sampled(folder, array)]
    for member in found:
        bounds.require(member)
    return tuple(found)


def _group(path: Path, bounds: Bounds) -> Any:
    import zarr
    from zarr.storage import ZipStore

    if path.is_dir():
        return zarr.open_group(_bounded_store()(path, bounds), mode="r")
    if not zipfile.is_zipfile(path):
        raise SourceError("it is neither a folder nor a zip file. Is it a .zspy store?")
    return zarr.open_group(ZipStore(path, mode="r"), mode="r")


def _sampled(folder: Path, array: Any) -> Iterator[Path]:
    grid = array.cdata_shape
    total = math.prod(grid)
    for number in sorted({(total - 1) * step // (_SAMPLES - 1) for step in range(_SAMPLES)}):
        at = []
        for size in reversed(grid):
            number, position = divmod(number, size)
            at.append(position)
        chunk = folder / array.metadata.encode_chunk_key(tuple(reversed(at)))
        if chunk.exists():
            yield chunk
