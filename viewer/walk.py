"""One look through all folders of the service, page by page. Pure: no Qt, no HTTP."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from viewer.nodes import Sort

if TYPE_CHECKING:
    from viewer.nodes import Entry

    Path = tuple[str, ...]
    Known = dict[Path, dict[Path, Entry]]


@dataclass(frozen=True)
class Page:
    """Part of what a folder lists, from `offset` on; `read` of its `count` things, known to us or not."""

    folder: Path
    offset: int
    entries: tuple[Entry, ...]
    read: int
    count: int


@dataclass(frozen=True)
class Changes:
    """What a look found to be new or changed, and what is there no more."""

    put: tuple[Entry, ...] = ()
    gone: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)


class Walk:
    """Goes through all folders, breadth first, and keeps `known` as they are.

    Parameters
    ----------
    known : dict
        Entries by path, by the folder that lists them; changed by `take`.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._folders: deque[Path] = deque([()])
        self._offset = 0
        self._seen: set[Path] = set()
        self._counts: set[int] = set()

    @property
    def next(self) -> tuple[Path, int] | None:
        """Folder and offset of the next page; None when all have been read."""
        return (self._folders[0], self._offset) if self._folders else None

    def take(self, page: Page) -> Changes:
        """Take a page in."""
        listed = self._known.setdefault(page.folder, {})
        put = tuple(entry for entry in page.entries if listed.get(entry.path) != entry)
        listed.update({entry.path: entry for entry in put})
        self._seen.update(entry.path for entry in page.entries)
        self._counts.add(page.count)
        self._offset = page.offset + page.read
        if page.read and self._offset < page.count:
            return Changes(put)
        self._folders.popleft()
        self._folders.extend(path for path, entry in listed.items() if entry.sort is Sort.FOLDER)
        # A folder that changed between two of its pages may have been read with a gap: next time.
        gone = set(listed) - self._seen if len(self._counts) == 1 else set()
        self._offset, self._counts, self._seen = 0, set(), set()
        return Changes(put, tuple(self._forget(path) for path in sorted(gone)))

    def skip(self) -> Changes:
        """Pass over a folder that is not there any more; its own folder's list will tell."""
        self._folders.popleft()
        self._offset, self._counts, self._seen = 0, set(), set()
        return Changes()

    def _forget(self, path: Path) -> Path:
        """Forget an entry with all below it."""
        self._known[path[:-1]].pop(path, None)
        for folder in [folder for folder in self._known if folder[: len(path)] == path]:
            del self._known[folder]
        if path in self._folders:
            self._folders.remove(path)
        return path
