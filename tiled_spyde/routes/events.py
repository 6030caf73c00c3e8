"""Following a tree: everybody sees what happens to its nodes, without asking."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable  # noqa: TC003 - FastAPI resolves the annotations
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from tiled_spyde.adapters import http_error
from tiled_spyde.callers import BODILESS, STREAM, asked
from tiled_spyde.errors import SpydeError
from tiled_spyde.routes.asking import entry_with

if TYPE_CHECKING:
    from tiled_spyde.events import Streams
    from tiled_spyde.followers import Followers

_MEDIA_TYPE = "text/event-stream"
# No cache may keep them, and no proxy may collect them first.
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
# What of a request says where and as whom it came.
_KEPT = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path", "headers")


def add_routes(router: APIRouter, streams: Streams) -> None:
    """Add the route of events."""

    @router.get("/nodes/{path:path}/events")
    async def follow(
        path: str, request: Request, require: Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]
    ) -> Response:
        """Tell of each node of a tree that is made, changed or deleted, as server-sent events."""
        entry = await require(path, ["read:metadata"])
        if not any(spec.name == "SignalTree" for spec in entry.specs):
            raise HTTPException(404, f"{path!r} is no tree. Follow the tree that it is in.")
        parts, address = tuple(part for part in path.split("/") if part), f"/api/v1/metadata/{path}"
        return streamed(
            request,
            streams,
            lambda: streams.follow(
                parts,
                lambda: may_still(request, address),
                lambda name: may_still(request, f"{address}/{name}"),
            ),
        )


def streamed(request: Request, followers: Followers, follow: Callable[[], AsyncGenerator[bytes]]) -> Response:
    """Return the answer that goes on with what `follow` tells.

    Raises
    ------
    HTTPException
        503 where as many follow as may.
    """
    try:
        followers.check_room()
    except SpydeError as error:
        raise http_error(error) from error
    if BODILESS in request.scope:
        return Response(media_type=_MEDIA_TYPE, headers=_HEADERS)
    if (left := request.scope.get(STREAM)) is not None:
        left.append(follow())
        return Response(media_type=_MEDIA_TYPE, headers=_HEADERS)
    return StreamingResponse(follow(), media_type=_MEDIA_TYPE, headers=_HEADERS)


async def may_still(request: Request, address: str) -> bool:
    """Ask for an address once more, with the same credential: that may have ended, or been taken away."""
    scope = {name: request.scope[name] for name in _KEPT if name in request.scope}
    given = [(name, value) for name, value in request.query_params.multi_items() if name == "api_key"]
    query = urlencode([("fields", "structure_family"), *given]).encode()
    try:
        status, _ = await asked(request.app, address, query, scope)
    except Exception:  # whatever it is, nobody has said that it is allowed
        return False
    return status == 200
