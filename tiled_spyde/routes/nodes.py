"""Making nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable  # noqa: TC003 - FastAPI resolves the annotations
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from tiled.server.utils import get_base_url

from tiled_spyde.adapters import NodeAdapter, http_error
from tiled_spyde.errors import SpydeError
from tiled_spyde.operations.base import Strict
from tiled_spyde.routes.asking import Principal, body_of, entry_with, name_of

if TYPE_CHECKING:
    from tiled_spyde.catalog import Catalog
    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.node import Node

_NEW = "Send JSON with parent, operation, parameters and, if you like, name."


class NewNode(Strict):
    """What makes a node."""

    parent: str = Field(max_length=200)
    operation: str = Field(max_length=200)
    parameters: dict[str, Any] = Field(default_factory=dict)
    name: str | None = Field(None, max_length=1000)


def add_routes(router: APIRouter, catalog: Catalog, evaluator: Evaluator) -> None:
    """Add the routes of nodes."""

    @router.post("/nodes/{path:path}")
    async def make_node(
        path: str,
        request: Request,
        principal: Principal,
        require: Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)],
    ) -> JSONResponse:
        """Make a node in a tree: 201, or 200 where the same node is there already."""
        await require(path, ["create:node"])
        wanted = await body_of(request, NewNode, _NEW)
        parts = tuple(part for part in path.split("/") if part)
        try:
            by = name_of(principal)
            node, made = await run_sync(lambda: catalog.add_node(parts, **wanted.model_dump(), by=by))
            described = await run_sync(lambda: _describe(catalog, evaluator, parts, node))
        except SpydeError as error:
            raise http_error(error) from error
        address = f"{get_base_url(request)}/metadata/{quote('/'.join((*parts, node.name)))}"
        data = {"id": node.name, "attributes": described, "links": {"self": address}}
        return JSONResponse({"data": data}, 201 if made else 200, headers={"Location": address})


def _describe(catalog: Catalog, evaluator: Evaluator, tree: tuple[str, ...], node: Node) -> dict[str, Any]:
    adapter = NodeAdapter(catalog.tree(tree), node.name, evaluator)
    return {
        "structure_family": adapter.structure_family.value,
        "specs": [asdict(spec) for spec in adapter.specs],
        "metadata": adapter.metadata(),
        "structure": asdict(adapter.structure()),
    }
