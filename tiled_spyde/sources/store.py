"""Member files of a .zspy store: a folder that may hold a file for each frame, so it is never listed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SAMPLES = 6  # chunks that stand for all


def members(path: Path, array: Any) -> tuple[Path, ...]:
    """Return the files that tell whether the signal in the zarr `array` of the store `path` has changed.

    Its metadata, its folder, and some of its chunks, the first and the last among them.

    Raises
    ------
    SourceError
        One of them lies outside the store.
    """
    if array is None:
        return (path,)
    folder = path / array.path
    notes = (path / ".zmetadata", folder / ".zarray", folder / "zarr.json")
    found = [*(note for note in notes if note.exists()), folder, *_sampled(folder, array)]
    for member in found:
        if not member.resolve().is_relative_to(path.resolve()):
            raise SourceError(f"its {member.relative_to(path)} is a link out of it. Copy what it leads to.")
    return tuple(found)


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
