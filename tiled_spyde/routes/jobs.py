"""Jobs over HTTP: begin one, look at it, follow it, end it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Request, Security
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import Field
from tiled.server.authentication import check_scopes
from tiled.server.utils import get_base_url

from tiled_spyde.adapters import http_error
from tiled_spyde.errors import Busy, NotFound, SpydeError
from tiled_spyde.operations.base import Strict
from tiled_spyde.routes.asking import Principal, body_of, entry_with, name_of

if TYPE_CHECKING:
    from tiled_spyde.jobs import Job, Jobs

_NEW = 'Send JSON with the path of a node: {"path": "folder/file/signal/node"}.'
_MOST_LISTED = 100
_MOST_FOLLOWED = 200
# How often a job is looked at for those who follow it, a sign of life is given, and their right is looked at again.
_LOOK_SECONDS, _ALIVE_SECONDS, _RIGHT_SECONDS = 0.25, 15.0, 60.0

Require = Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]


class NewJob(Strict):
    """What makes a job."""

    path: str = Field(max_length=4000)


def add_routes(router: APIRouter, jobs: Jobs) -> None:
    """Add the routes of jobs."""
    reading = [Security(check_scopes, scopes=["read:metadata"])]
    followed: set[object] = set()

    async def described(job: Job) -> dict[str, Any]:
        return await run_sync(jobs.described, job)

    async def shown(id_: str, principal: Any, require: Callable[..., Awaitable[Any]]) -> Job:
        """Return a job to whoever may see it; 404 for what is not there and for what is not to be seen."""
        try:
            job = await run_sync(jobs.get, id_)
            if not _is_own(job, principal):
                await require(job.path, ["read:data"])
        except (NotFound, HTTPException) as error:
            if isinstance(error, HTTPException) and error.status_code == 401:
                raise
            raise HTTPException(404, "There is no such job.") from None
        return job

    @router.post("/jobs")
    async def make_job(request: Request, principal: Principal, require: Require) -> JSONResponse:
        """Have a node that needs the whole scan computed and stored: 202."""
        wanted = await body_of(request, NewJob, _NEW)
        path = wanted.path.strip("/")
        await require(path.rpartition("/")[0], ["create:node"])
        await require(path, ["read:data"])
        try:
            job = await run_sync(jobs.ask, path, name_of(principal))
        except SpydeError as error:
            raise http_error(error) from error
        address = f"{get_base_url(request)}/jobs/{job.id}"
        return JSONResponse({"data": await described(job)}, 202, headers={"Location": address})

    @router.get("/jobs", dependencies=reading)
    async def list_jobs(principal: Principal, require: Require) -> dict[str, Any]:
        """List the newest jobs that are one's own, or of nodes that one may read."""
        found = []
        for job in await run_sync(jobs.newest, _MOST_LISTED):
            try:
                found.append(await described(await shown(job.id, principal, require)))
            except HTTPException:
                continue
        return {"data": found}

    @router.get("/jobs/{id_}", dependencies=reading)
    async def show_job(id_: str, principal: Principal, require: Require) -> dict[str, Any]:
        """Say how far a job is."""
        return {"data": await described(await shown(id_, principal, require))}

    @router.delete("/jobs/{id_}")
    async def cancel_job(id_: str, principal: Principal, require: Require) -> dict[str, Any]:
        """End a job: it begins where it was when somebody asks for it again."""
        job = await shown(id_, principal, require)
        await require(job.path.rpartition("/")[0], ["create:node"])
        try:
            await run_sync(jobs.cancel, job)
        except SpydeError as error:
            raise http_error(error) from error
        return {"data": await described(job)}

    @router.get("/jobs/{id_}/events", dependencies=reading)
    async def follow_job(id_: str, principal: Principal, require: Require) -> StreamingResponse:
        """Send each change of a job as an event ``job``, until it has ended."""
        job = await shown(id_, principal, require)
        if len(followed) >= _MOST_FOLLOWED:
            raise http_error(Busy("Too many follow jobs. Ask for the job itself now and then."))

        async def events() -> AsyncIterator[str]:
            mine, last, alive, right = object(), None, 0.0, 0.0
            followed.add(mine)
            try:
                while True:
                    now = await described(job)
                    if now != last or alive >= _ALIVE_SECONDS:
                        yield (
                            f"event: job\ndata: {json.dumps(now)}\n\n" if now != last else ": still here\n\n"
                        )
                        last, alive = now, 0.0
                    if jobs.has_ended(now):
                        return
                    if right >= _RIGHT_SECONDS:
                        await shown(id_, principal, require)
                        right = 0.0
                    await asyncio.sleep(_LOOK_SECONDS)
                    alive, right = alive + _LOOK_SECONDS, right + _LOOK_SECONDS
            except HTTPException:
                return  # whoever follows it may not any more
            finally:
                followed.discard(mine)

        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )


def _is_own(job: Job, principal: Any) -> bool:
    name = name_of(principal)
    return name is not None and name == job.by
