"""Routes beyond tiled's own: the operations, and making nodes.

tiled mounts them under ``/api/v1`` and under ``/custom``. A route without its own check is open even on a
private server, so each has one; rights on a node come from tiled's ``get_entry``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable  # noqa: TC003 - FastAPI resolves the annotations
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from pydantic import Field, ValidationError
from tiled.server.authentication import (
    check_scopes,
    get_current_access_tags,
    get_current_principal,
    get_current_scopes,
    get_session_state,
)
from tiled.server.dependencies import get_entry, get_root_tree
from tiled.server.utils import get_base_url

from tiled_spyde import operations
from tiled_spyde.adapters import NodeAdapter, http_error
from tiled_spyde.errors import SpydeError
from tiled_spyde.operations.base import Strict

if TYPE_CHECKING:
    from tiled_spyde.catalog import Catalog
    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.tree import Node

MAX_BODY = 2**20

# What tiled finds out about a request. A route that is asked often names them itself: FastAPI resolves each anew
# for every function that depends on it.
Principal = Annotated[Any, Depends(get_current_principal)]
AccessTags = Annotated[Any, Depends(get_current_access_tags)]
Scopes = Annotated[Any, Depends(get_current_scopes)]
RootTree = Annotated[Any, Depends(get_root_tree)]
SessionState = Annotated[Any, Depends(get_session_state)]


class NewNode(Strict):
    """What makes a node."""

    parent: str = Field(max_length=200)
    operation: str = Field(max_length=200)
    parameters: dict[str, Any] = Field(default_factory=dict)
    name: str | None = Field(None, max_length=1000)


def routes(catalog: Catalog, evaluator: Evaluator) -> APIRouter:
    """Return the router of a catalog's own routes."""
    router = APIRouter()

    @router.get("/operations", dependencies=[Security(check_scopes, scopes=["read:metadata"])])
    async def list_operations() -> list[dict[str, Any]]:
        """List the registered operations with the JSON schema of their parameters."""
        return operations.describe()

    @router.post("/nodes/{path:path}")
    async def make_node(
        path: str,
        request: Request,
        principal: Principal,
        require: Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)],
    ) -> JSONResponse:
        """Make a node in a tree: 201, or 200 where the same node is there already."""
        await require(path, ["create:node"])
        wanted = await _body(request)
        parts = tuple(part for part in path.split("/") if part)
        try:
            by = _name_of(principal)
            node, made = await run_sync(lambda: catalog.add_node(parts, **wanted.model_dump(), by=by))
            described = await run_sync(lambda: _describe(catalog, evaluator, parts, node))
        except SpydeError as error:
            raise http_error(error) from error
        address = f"{get_base_url(request)}/metadata/{quote('/'.join((*parts, node.name)))}"
        data = {"id": node.name, "attributes": described, "links": {"self": address}}
        return JSONResponse({"data": data}, 201 if made else 200, headers={"Location": address})

    return router


async def entry_with(
    request: Request,
    principal: Principal,
    access_tags: AccessTags,
    scopes: Scopes,
    root_tree: RootTree,
    session_state: SessionState,
) -> Callable[[str, list[str]], Awaitable[Any]]:
    """Return a function that gives an entry; 401 for want of a credential, 404 or 403 for want of a right on it."""

    async def entry(path: str, wanted: list[str]) -> Any:
        await check_scopes(request, SecurityScopes(wanted), set(scopes))
        policy = getattr(request.app.state, "access_policy", None)
        return await get_entry(
            path,
            wanted,
            principal,
            access_tags,
            scopes,
            root_tree,
            session_state,
            request.state.metrics,
            access_policy=policy,
        )

    return entry


def _name_of(principal: Any) -> str | None:
    """Return the name that someone has logged in with; None for the one key of a single person's server."""
    names = [identity.id for identity in getattr(principal, "identities", ())]
    return names[0] if names else None


def _describe(catalog: Catalog, evaluator: Evaluator, tree: tuple[str, ...], node: Node) -> dict[str, Any]:
    adapter = NodeAdapter(catalog.tree(tree), node.name, evaluator)
    return {
        "structure_family": adapter.structure_family.value,
        "specs": [asdict(spec) for spec in adapter.specs],
        "metadata": adapter.metadata(),
        "structure": asdict(adapter.structure()),
    }


async def _body(request: Request) -> NewNode:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(
                413, f"The body is over {MAX_BODY} bytes, more than any node's parameters need."
            )
    try:
        return NewNode.model_validate_json(bytes(body))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        raise HTTPException(
            422,
            f"{where}: {problem['msg']}. Send JSON with parent, operation, parameters and, if you like, name.",
        ) from None
