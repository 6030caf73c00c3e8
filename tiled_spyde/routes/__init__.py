"""Routes beyond tiled's own: the operations, nodes, chains that nobody keeps, jobs, and recipes.

tiled mounts them under ``/api/v1`` and under ``/custom``. A route without its own check is open even on a
private server, so each has one; rights on a node come from tiled's ``get_entry``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Security
from tiled.server.authentication import check_scopes

from tiled_spyde import operations
from tiled_spyde.routes import derive, events, jobs, nodes, travel

if TYPE_CHECKING:
    from tiled_spyde.bodies import Bodies
    from tiled_spyde.catalog import Catalog
    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.events import Streams
    from tiled_spyde.jobs import Jobs, JobStreams
    from tiled_spyde.previews import Previews


def routes(
    catalog: Catalog,
    evaluator: Evaluator,
    bodies: Bodies,
    previews: Previews,
    streams: Streams,
    asked: Jobs,
    followed: JobStreams,
) -> APIRouter:
    """Return the router of a catalog's own routes."""
    router = APIRouter()

    @router.get("/operations", dependencies=[Security(check_scopes, scopes=["read:metadata"])])
    async def list_operations() -> list[dict[str, Any]]:
        """List the registered operations with the JSON schema of their parameters."""
        return operations.describe()

    travel.add_routes(router, catalog, evaluator)
    nodes.add_routes(router, catalog, evaluator)
    events.add_routes(router, streams)
    derive.add_routes(router, evaluator, bodies, previews)
    jobs.add_routes(router, asked, followed)
    return router
