"""Jobs: who asked for a node that needs a whole scan, and how far that is.

A job is a node's path and key, under a name that follows from them; on disk it is a small file, so that every process
of a server knows it, and the next one too. How far it is, `wholes` knows.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import Gone, InvalidOperation, NotFound, SpydeError
from tiled_spyde.followers import Followers, event
from tiled_spyde.labels import plain_text
from tiled_spyde.node import PREVIEW
from tiled_spyde.wholes import needs_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tiled_spyde.catalog import Catalog
    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.previews import Previews
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.tree import SignalTree

ADDRESS = "/api/v1/jobs/"
# So many are remembered; the oldest are forgotten, which ends none of them.
_MOST = 1000
_ENDED = ("stored", "failed", "cancelled")
# How often those who follow a job are told how far it is, and one that nobody computes is tried again.
_LOOK_SECONDS, _TRY_SECONDS = 0.25, 2.0
_NOBODY = (
    "Nobody computes this now: the server was ended meanwhile, or computes as much as it may. It goes on from "
    "there when somebody asks for the node, follows this job or starts it again."
)


@dataclass(frozen=True)
class Job:
    """One job.

    Parameters
    ----------
    id : str
        What it is called in its address.
    path : str
        Of the node, as it was called then; the pinned one of a preview.
    key : str
        Of the node's recipe.
    by : str or None
        Who asked for it.
    at : str
        When (UTC, ISO 8601).
    wholes : tuple of str
        Keys of what the node needs from whole scans.
    needs : mapping of str to int
        The same with what these need: positions by key. What becomes of the node ends none of it.
    """

    id: str
    path: str
    key: str
    by: str | None
    at: str
    wholes: tuple[str, ...]
    needs: Mapping[str, int]

    @property
    def node(self) -> str:
        """Pinned address of the node."""
        return self.path if "@" in self.path else f"{self.path}@{self.key}"


class Jobs:
    """The jobs of a server.

    Parameters
    ----------
    catalog : Catalog
    evaluator : Evaluator
        Told to name the job to those who wait for one.
    folder : pathlib.Path
        Where they are written; made at need.
    previews : Previews
        What is derived may need the whole scan, too.
    """

    def __init__(self, catalog: Catalog, evaluator: Evaluator, folder: Path, previews: Previews) -> None:
        self._catalog = catalog
        self._previews = previews
        self._wholes = evaluator.wholes
        self._folder = folder
        self._written: dict[str, Job] = {}
        evaluator.when_missing = lambda recipe, path: ADDRESS + self._job(path, recipe, None).id

    def ask(self, path: str, by: str | None = None) -> Job:
        """Have the node at `path` computed and stored; one that failed or was cancelled goes on.

        Raises
        ------
        NotFound
            There is no such node.
        InvalidOperation
            It needs no job, or is failed.
        Busy, SourceError
            Not now.
        """
        recipe = self._recipe(path)
        if not recipe.wholes:
            raise InvalidOperation(
                "This node needs no job: its frames are computed when they are asked for. Jobs are for what needs the "
                "whole scan."
            )
        job = self._job(path, recipe, by)
        for missing in self._wholes.missing(recipe):
            self._wholes.start(missing, again=True)
        return job

    def get(self, id_: str) -> Job:
        """Return a job by its id; raises NotFound."""
        found = self._written.get(id_) or self._read(id_)
        if found is None:
            raise NotFound("There is no such job.")
        if found.path != found.node.partition("@")[0]:  # rights on it are looked at next
            with suppress(SpydeError):
                self._recipe(found.path)
        return found

    def newest(self, most: int) -> list[Job]:
        """Return the newest jobs, the last one first."""
        found = map(self._read, (name.removesuffix(".json") for name in self._names()[:most]))
        return [job for job in found if job is not None]

    def described(self, job: Job) -> dict[str, Any]:
        """Return a job and how far it is, as JSON."""
        known = {name: getattr(job, name) for name in ("id", "path", "by", "at")}
        found = {**known, **asdict(self._wholes.progress_of(job.needs))}
        if found["state"] == "waiting":
            found["failure"] = _NOBODY
            found |= self._lost(job)
        return found

    def go_on(self, job: Job) -> dict[str, Any]:
        """Return what `described` does, of a job that somebody waits for: one that nobody computes is gone on with."""
        if (found := self.described(job))["state"] != "waiting":
            return found
        with suppress(SpydeError):  # too much is computed now
            for missing in self._wholes.missing(self._recipe(job.node)):
                self._wholes.start(missing)
        return self.described(job)

    def state_of(self, tree: SignalTree, name: str) -> tuple[str, str | None]:
        """Return the state of a node, also of one that needs the whole scan, and its key where it has one."""
        try:
            recipe = tree.recipe(name)
            state = "stored" if recipe.stored else "lazy"
            return self._wholes.state_of(recipe).get("state", state), recipe.key
        except SpydeError:
            return "failed", None

    def cancel(self, job: Job) -> None:
        """End a job; what is computed stays, and is gone on with when somebody asks for it again."""
        for key in job.wholes:
            self._wholes.cancel(key)

    def has_node(self, job: Job) -> bool:
        """Whether there is still a node at its path, be it failed."""
        try:
            self._recipe(job.path)
        except (NotFound, Gone):
            return False
        except SpydeError:
            pass
        return True

    def _lost(self, job: Job) -> dict[str, Any]:
        """Return what is said of a job whose node is not there, or another one: nobody will go on with it."""
        try:
            self._recipe(job.node)
        except (NotFound, Gone) as error:
            return {"state": "failed", "failure": str(error)}
        except SpydeError:
            pass
        return {}

    def _recipe(self, path: str) -> Recipe:
        *tree, node = (part for part in path.split("/") if part) if path.strip("/") else ("", "")
        name, _, key = node.partition("@")
        there = self._catalog.tree(tuple(tree))
        if name != PREVIEW:
            return there.recipe(node)
        if not self._previews.knows(there.place, key):  # another process may
            self._previews.look_for([key])
        return self._previews.get(there, key).recipe

    def _job(self, path: str, recipe: Recipe, by: str | None) -> Job:
        """Return the job of a node, written down where it is new."""
        key = recipe.key
        id_ = blake2b(f"{path}\0{key}".encode(errors="replace"), digest_size=12).hexdigest()
        job = self._written.get(id_) or self._read(id_)
        if job is None or (by is not None and job.by is None):
            by = by and plain_text(by)
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            job = Job(id_, path, key, by, at, tuple(whole.key for whole in recipe.wholes), needs_of(recipe))
            with suppress(OSError):  # without it only this process knows it
                self._folder.mkdir(parents=True, exist_ok=True)
                new = self._folder / f".{id_}.{os.getpid()}"
                new.write_text(json.dumps(asdict(job)))
                new.replace(self._folder / f"{id_}.json")
                for old in self._names()[_MOST:]:
                    (self._folder / old).unlink()
        if len(self._written) >= _MOST:
            self._written.clear()
        self._written[id_] = job
        return job

    def _read(self, id_: str) -> Job | None:
        if not id_.isalnum():
            return None
        try:
            return Job(**json.loads((self._folder / f"{id_}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _names(self) -> list[str]:
        """Return the names of all files, the newest first."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(self._folder):
                if entry.name.endswith(".json"):
                    found.append((entry.stat().st_mtime_ns, entry.name))
        return [name for _, name in sorted(found, reverse=True)]


class JobStreams(Followers):
    """All who follow jobs: told at once when a computation begins or ends here, else how far it is.

    Parameters
    ----------
    jobs : Jobs
    """

    def __init__(self, jobs: Jobs) -> None:
        super().__init__()
        self._jobs = jobs
        self._number = 0  # of computations that began or ended

    def changed(self) -> None:
        """Say that a computation has begun or ended; from any thread."""
        self._number += 1
        self.wake()

    def follow(self, job: Job, allowed: Callable[[], Awaitable[bool]]) -> AsyncGenerator[bytes]:
        """Tell how far a job is until it has ended; see `Followers.tell`. One that nobody computes is gone on with."""

        async def look() -> dict[str, Any] | None:
            stamp = self._number, time.monotonic() // _LOOK_SECONDS
            return await self.look_once(job.id, stamp, lambda: self._jobs.go_on(job))

        def said(before: dict[str, Any] | None, now: dict[str, Any]) -> bytes:
            return b"" if now == before else event("job", now)

        return self.tell(job.id, look, said, allowed, _rest)


def _rest(described: dict[str, Any]) -> float:
    """Return in how many seconds a job may be another; 0 where it has ended."""
    if described["state"] in _ENDED:
        return 0.0
    return _TRY_SECONDS if described["state"] == "waiting" else _LOOK_SECONDS
