"""The served folders as they are now, looked at again and again at little cost.

Network file systems (NFS, GPFS, SMB) tell no one of what other hosts write, so there is no inotify here: a
folder whose time of change is the same has the same names in it, and costs one system call a second. What
was written into files that were there before shows when the folder is listed in full: rarely, unless
something in it is known to be under way.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tiled_spyde.sources.finding import Listing, is_named_source, list_folder, list_named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tiled_spyde.sources.finding import Members

logger = logging.getLogger(__name__)

_SHARE = 200  # all folders are listed for no more than a 200th of the time
_RESTLESS_SHARE = 20  # of one in which something is under way
_BLIND = 60.0  # seconds for which a folder that cannot be listed is taken for what it was


@dataclass(frozen=True, slots=True)
class _Listed:
    stamp: tuple[int, ...]
    sources: tuple[str, ...]
    folders: tuple[str, ...]
    at: float
    took: float
    restless: bool
    blind_since: float | None = None


@dataclass(slots=True)
class Seen:
    """What a look at the served folders showed.

    Parameters
    ----------
    present : set of str
        All sources, by their absolute paths.
    listed : dict
        The members of those whose folders were listed in this look.
    """

    present: set[str] = field(default_factory=set)
    listed: dict[str, Members] = field(default_factory=dict)


class Watch:
    """Looks at what is served.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        Folders, and sources that are served by themselves.
    settle : float
        Seconds after which what has not changed is taken to be finished.
    interval : float
        Seconds between two looks; less often is one folder never listed.
    """

    def __init__(self, paths: Iterable[Path], settle: float, interval: float) -> None:
        self._served = [str(Path(path).absolute()) for path in paths]
        self._settle = settle
        self._interval = interval
        self._folders: dict[str, _Listed] = {}
        self._unlistable: set[str] = set()

    def look(self, unsettled: Collection[str] = ()) -> Seen:
        """Look at all folders, and list those that may hold something new.

        Parameters
        ----------
        unsettled : collection of str
            Folders to be listed in any case: what is in them is being written.
        """
        seen, folders = Seen(), dict[str, _Listed]()
        real = [os.path.realpath(path) for path in self._served]
        rarely = max(self._interval, _SHARE * sum(listed.took for listed in self._folders.values()))
        waiting = list(self._served)
        while waiting:
            path = waiting.pop()
            if path in folders:
                continue  # one served folder lies in another
            listed = self._listed(path, real, rarely, path in unsettled, seen)
            if listed is not None:
                folders[path] = listed
                seen.present.update(listed.sources)
                waiting += listed.folders
        self._folders = folders
        return seen

    def _listed(
        self, path: str, real: Sequence[str], rarely: float, unsettled: bool, seen: Seen
    ) -> _Listed | None:
        """Return what is in the folder at `path`, None where it is gone."""
        before = self._folders.get(path)
        began = time.monotonic()
        try:
            stamp = _stamp(path)
            if before is not None and not self._is_due(before, stamp, rarely, unsettled):
                return before
            listing = self._list(path, real)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return self._blind(path, before, error)
        self._unlistable.discard(path)
        seen.listed.update(listing.sources)
        took = time.monotonic() - began
        restless = (
            time.time() - max(stamp[:2]) / 1e9 < self._settle
        )  # its times are too coarse for changes at once
        return _Listed(stamp, tuple(listing.sources), tuple(listing.folders), began, took, restless)

    def _list(self, path: str, real: Sequence[str]) -> Listing:
        return list_named(path) if path in self._served and is_named_source(path) else list_folder(path, real)

    def _is_due(self, before: _Listed, stamp: tuple[int, ...], rarely: float, unsettled: bool) -> bool:
        age = time.monotonic() - before.at
        if unsettled or before.restless or before.blind_since is not None or stamp != before.stamp:
            return age >= min(rarely, _RESTLESS_SHARE * before.took)
        return age >= rarely

    def _blind(self, path: str, before: _Listed | None, error: OSError) -> _Listed | None:
        """Return what is taken to be in a folder that cannot be listed, for it may be back in a moment."""
        if path not in self._unlistable:
            self._unlistable.add(path)
            logger.warning("Cannot list %r: %s", path, error.strerror)
        now = time.monotonic()
        if before is None or now - (before.blind_since or now) >= _BLIND:
            return None
        return replace(before, blind_since=before.blind_since or now)


def _stamp(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev
