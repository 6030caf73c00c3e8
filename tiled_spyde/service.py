"""All that one process serves, put together: what is on disk, the trees, what computes, and who looks after them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tiled_spyde import metrics
from tiled_spyde.bodies import Bodies
from tiled_spyde.cache import give_back_memory
from tiled_spyde.catalog import Catalog
from tiled_spyde.collecting import spare_what_stays
from tiled_spyde.containers import remember_trees, top_listing
from tiled_spyde.database import Database
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.events import Streams
from tiled_spyde.following import Following
from tiled_spyde.index import Index
from tiled_spyde.jobs import Jobs, JobStreams
from tiled_spyde.lane import LaneSettings
from tiled_spyde.marks import News, Turn
from tiled_spyde.previews import Previews
from tiled_spyde.routes import routes
from tiled_spyde.settings import calibration_of, locations
from tiled_spyde.sources.remembered import remember_in
from tiled_spyde.store import Store
from tiled_spyde.zarr import zarr_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tiled_spyde.index import Progress
    from tiled_spyde.listing import Listing
    from tiled_spyde.rights import Rights
    from tiled_spyde.settings import FolderSettings
    from tiled_spyde.sources import Source

CACHE_MB = 512
STORE_MB = 4096


@dataclass(frozen=True)
class Bounds:
    """What a service may take; see `tiled_spyde.app.tree`."""

    cache_mb: int = CACHE_MB
    workers: int | None = None
    max_seconds: float = 120.0
    settle_seconds: float = 2.0
    remember_rights_seconds: float = 60.0
    deadline_seconds: float = 120.0
    store_mb: int = STORE_MB


class Service:
    """Everything behind one listing.

    Parameters
    ----------
    folders : sequence of FolderSettings
        What is served.
    rights : Rights or None
        Who may see which folder; None where everyone may see all.
    file : Path
        SQLite database, in the folder of all that is kept.
    database : str or None
        Where the trees are instead.
    bounds : Bounds
    """

    def __init__(
        self,
        folders: Sequence[FolderSettings],
        rights: Rights | None,
        file: Path,
        database: str | None,
        bounds: Bounds,
    ) -> None:
        state = file.parent
        self._bounds = bounds
        self._rights = rights
        self._places = [place.path for place in locations(folders)]
        self._database = _opened(database, file)
        self.catalog = Catalog(
            self._database, locations(folders), calibration_of(folders), apart=rights is not None
        )
        self._states = News(self._database.beside("states"))
        self._following = self._follower()
        self._evaluator = _evaluator(state, bounds)
        self._bodies = Bodies(self._evaluator)
        self._previews = Previews(self._database, self.catalog.kept)
        self._jobs = Jobs(self.catalog, self._evaluator, state / "jobs", self._previews)
        self._streams = Streams(self.catalog, self._jobs.state_of)
        self._followed = JobStreams(self._jobs)
        self._evaluator.wholes.told += [
            self._streams.changed,
            self._followed.changed,
            self._states.tell,
        ]
        metrics.watch_previews(self._previews)
        metrics.watch_followers(self._streams, "trees")
        metrics.watch_followers(self._followed, "jobs")
        self._tasks: list[asyncio.Task[None]] = []

    def listing(self) -> Listing:
        """Return the top of all that is served, with its routes, and what the lane needs."""
        top = top_listing(
            lambda: self.catalog.top, self._evaluator, self._described, self._rights, self._previews
        )
        own = routes(
            self.catalog,
            self._evaluator,
            self._bodies,
            self._previews,
            self._streams,
            self._jobs,
            self._followed,
        )
        top.include_routers = [own, zarr_routes(self._bodies)]
        top.lane = LaneSettings(
            top,
            lambda: self.catalog.top,
            self._bodies,
            self._bounds.remember_rights_seconds,
            self._bounds.deadline_seconds,
            self._previews,
            self._end_streams,
        )
        top.catalog = self.catalog
        top.startup_tasks, top.shutdown_tasks = [self._start], [self._stop]
        return top

    async def _start(self) -> None:
        spare_what_stays()
        self._tasks.append(asyncio.create_task(metrics.keep_bringing()))
        self._following.start()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._end_streams()
        self._following.stop()
        self._previews.close()
        self._database.close()
        self._evaluator.close()

    def _end_streams(self) -> None:
        self._streams.close()
        self._followed.close()

    def _follower(self) -> Following:
        """Return what keeps the catalogue as the folders are: one process of several looks, the others are told."""
        named = "\0".join(sorted(map(str, self._places)))
        turn = Turn(self._database.beside(f"index-{blake2b(named.encode(), digest_size=8).hexdigest()}"))
        news = self._database.await_news
        return Following(self.catalog, self._index, turn, self._remember, self._hear, news)

    def _hear(self) -> None:
        """Tell of computations that have begun or ended in another process."""
        if self._states.heard():
            self._streams.changed()
            self._followed.changed()

    def _index(self, tell: Callable[[Progress], None]) -> Index:
        apart, settle = self._rights is not None, self._bounds.settle_seconds
        return Index(self._places, self.catalog.known, self._update, settle=settle, apart=apart, tell=tell)

    def _update(self, changes: Mapping[Path, Source | None]) -> None:
        self.catalog.update(changes)
        self._remember()

    def _remember(self) -> None:
        remember_trees(self.catalog.top)

    def _described(self) -> dict[str, Any]:
        """Describe the whole: how far the index is, and a number that grows with each change.

        Where not everyone may know of every file, neither says how much there is.
        """
        progress = self._following.progress
        busy = progress.scanning or progress.done < progress.of
        if self._rights is not None:
            return {"indexing": {"done": 0, "of": 0, "scanning": busy}}
        return {
            "indexing": {"done": progress.done, "of": progress.of, "scanning": busy},
            "revision": self.catalog.revision,
        }


def _opened(database: str | None, file: Path) -> Database:
    if database is None:
        return Database(f"sqlite:///{file}", None)
    with suppress(OSError):  # what cannot be kept there says so itself
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Database(database, file.parent)


def _evaluator(state: Path, bounds: Bounds) -> Evaluator:
    """Return what computes, with the memory of the process arranged for it."""
    made = Evaluator(
        bounds.cache_mb * 2**20,
        bounds.workers,
        bounds.max_seconds,
        deadline_seconds=bounds.deadline_seconds,
        store=Store(state / "computed", bounds.store_mb * 2**20),
    )
    metrics.watch(made)
    remember_in(made.cache)
    give_back_memory()
    return made
