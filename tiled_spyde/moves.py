"""What happens to trees when files change, and when they turn up at another place."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tiled_spyde.records import Remembered, StoredTree
    from tiled_spyde.snapshot import Served, SourceFile

    Stored = Mapping[Path, Mapping[str, StoredTree]]
    Files = Mapping[Path, SourceFile]


def changed_trees(
    stored: Stored,
    files: Files,
    found: Mapping[Path, Remembered | None],
    served: Sequence[Served],
    *,
    apart: bool = False,
) -> list[StoredTree]:
    """Return the trees that differ after `found`: of changed files, and of files that were moved.

    Parameters
    ----------
    stored : mapping
        Trees that have nodes, by file and signal.
    files : mapping
        What was known before.
    found : mapping
        What the index found; None where a file is gone.
    served : sequence of Served
        Where files may have been moved within, the innermost first.
    apart : bool
        Nodes never go from one served folder to another: not everyone may read both.
    """
    moved = _moved(stored, files, found, served, apart)
    return [*_rewritten(stored, found), *moved]


def _rewritten(stored: Stored, found: Mapping[Path, Remembered | None]) -> Iterator[StoredTree]:
    """Trees whose file holds something else now: they stay, and know it from now on."""
    for path, row in found.items():
        for tree in stored.get(path, {}).values():
            if row is not None and row.fingerprint and row.fingerprint != tree.fingerprint:
                yield replace(tree, fingerprint=row.fingerprint)


def _moved(
    stored: Stored,
    files: Files,
    found: Mapping[Path, Remembered | None],
    served: Sequence[Served],
    apart: bool,
) -> Iterator[StoredTree]:
    """Trees whose file is gone, while one with the same content stands where nobody has made nodes yet."""
    places = _new_places(stored, files, found)
    for path in sorted(stored):
        prints = {tree.fingerprint for tree in stored[path].values()}
        folder = _folder(path, served)
        free = [new for fingerprint in sorted(prints) for new in places.get(fingerprint, ())]
        new = next((new for new in free if not apart or _folder(new, served) == folder), None)
        if new is not None and _is_gone(path, files, found, folder):
            for some in places.values():
                if new in some:
                    some.remove(new)
            yield from (replace(tree, path=new) for tree in stored[path].values())


def _new_places(
    stored: Stored, files: Files, found: Mapping[Path, Remembered | None]
) -> dict[str, list[Path]]:
    """By content, places without nodes that a file with nodes may have been moved to."""
    wanted = {tree.fingerprint for of in stored.values() for tree in of.values()} - {""}
    some_went = any(row is None and path in stored for path, row in found.items())
    # A copy may be seen before its original is gone; otherwise only what is new can be a moved file.
    candidates = {path: row for path, row in found.items() if path not in files or some_went}
    if some_went:
        candidates |= {path: file.remembered for path, file in files.items() if path not in found}
    places: dict[str, list[Path]] = {}
    for path in sorted(candidates):
        row = candidates[path]
        if row is not None and row.fingerprint in wanted and path not in stored:
            places.setdefault(row.fingerprint, []).append(path)
    return places


def _folder(path: Path, served: Sequence[Served]) -> Path | None:
    return next((place.path for place in served if place.holds(path)), None)


def _is_gone(path: Path, files: Files, found: Mapping[Path, Remembered | None], folder: Path | None) -> bool:
    """Whether a file was taken from its place, rather than that its whole folder is not there just now."""
    if folder is None or (folder != path and not folder.exists()):
        return False
    known = found[path] is not None if path in found else path in files
    return not known or not os.path.lexists(path)
