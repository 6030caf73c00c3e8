"""Jobs over HTTP: begin one, look at it, follow it, end it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Request, Response, Security
from fastapi.responses import JSONResponse
from pydantic import Field
from tiled.server.authentication import check_scopes
from tiled.server.utils import get_base_url

from tiled_spyde.adapters import http_error
from tiled_spyde.errors import NotFound, SpydeError
from tiled_spyde.operations.base import Strict
from tiled_spyde.routes.asking import Principal, body_of, entry_with, name_of
from tiled_spyde.routes.events import may_still, streamed

if TYPE_CHECKING:
    from tiled_spyde.jobs import Job, Jobs, JobStreams

_NEW = 'Send JSON with the path of a node: {"path": "folder/file/signal/node"}.'
_MOST_LISTED = 100

Require = Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]


class NewJob(Strict):
    """What makes a job."""

    path: str = Field(max_length=4000)


def add_routes(router: APIRouter, jobs: Jobs, streams: JobStreams) -> None:
    """Add the routes of jobs."""
    routes = _Routes(jobs, streams)
    reading = [Security(check_scopes, scopes=["read:metadata"])]
    router.get("/jobs", dependencies=reading)(routes.newest)
    router.post("/jobs")(routes.make)
    router.get("/jobs/{id_}", dependencies=reading)(routes.show)
    router.delete("/jobs/{id_}")(routes.cancel)
    router.get("/jobs/{id_}/events", dependencies=reading)(routes.follow)


class _Routes:
    """What answers for jobs.

    Parameters
    ----------
    jobs : Jobs
    streams : JobStreams
    """

    def __init__(self, jobs: Jobs, streams: JobStreams) -> None:
        self._jobs = jobs
        self._streams = streams

    async def make(self, request: Request, principal: Principal, require: Require) -> Response:
        """Have a node that needs the whole scan computed and stored: 202."""
        wanted = await body_of(request, NewJob, _NEW)
        path = wanted.path.strip("/")
        await require(path.rpartition("/")[0], ["create:node"])
        await require(path, ["read:data"])
        try:
            job = await run_sync(self._jobs.ask, path, name_of(principal))
        except SpydeError as error:
            raise http_error(error) from error
        address = f"{get_base_url(request)}/jobs/{job.id}"
        return JSONResponse({"data": await self._described(job)}, 202, headers={"Location": address})

    async def newest(self, principal: Principal, require: Require) -> dict[str, Any]:
        """List the newest jobs that are one's own, or of nodes that one may read."""
        found = []
        for job in await run_sync(self._jobs.newest, _MOST_LISTED):
            try:
                found.append(await self._described(await self._shown(job.id, principal, require)))
            except HTTPException:
                continue
        return {"data": found}

    async def show(self, id_: str, principal: Principal, require: Require) -> dict[str, Any]:
        """Say how far a job is."""
        return {"data": await self._described(await self._shown(id_, principal, require))}

    async def cancel(self, id_: str, principal: Principal, require: Require) -> dict[str, Any]:
        """End a job: it begins where it was when somebody starts it again."""
        job = await self._shown(id_, principal, require)
        await require(job.path.rpartition("/")[0], ["create:node"])
        try:
            await run_sync(self._jobs.cancel, job)
        except SpydeError as error:
            raise http_error(error) from error
        return {"data": await self._described(job)}

    async def follow(self, id_: str, request: Request, principal: Principal, require: Require) -> Response:
        """Send each change of a job as an event ``job``, until it has ended; it is gone on with."""
        job = await self._shown(id_, principal, require)
        address = f"/api/v1/jobs/{job.id}"
        return streamed(
            request, self._streams, lambda: self._streams.follow(job, lambda: may_still(request, address))
        )

    async def _shown(self, id_: str, principal: Any, require: Callable[..., Awaitable[Any]]) -> Job:
        """Return a job to whoever may see it; 404 for what is not there and for what is not to be seen."""
        try:
            job = await run_sync(self._jobs.get, id_)
            if not _is_own(job, principal):
                there = await run_sync(self._jobs.has_node, job)
                # Of a node that has another name, or was deleted, those who make nodes there must see what computes.
                asked = (job.path, ["read:data"]) if there else (job.path.rpartition("/")[0], ["create:node"])
                await require(*asked)
        except (NotFound, HTTPException) as error:
            if isinstance(error, HTTPException) and error.status_code == 401:
                raise
            raise HTTPException(404, "There is no such job.") from None
        return job

    async def _described(self, job: Job) -> dict[str, Any]:
        return await run_sync(self._jobs.described, job)


def _is_own(job: Job, principal: Any) -> bool:
    name = name_of(principal)
    return name is not None and name == job.by
