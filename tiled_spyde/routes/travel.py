"""Recipes that travel: a tree as JSON or as a script, and made again in another tree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from tiled_spyde import arriving, travel
from tiled_spyde.adapters import http_error
from tiled_spyde.catalog import SourceFile
from tiled_spyde.errors import NotFound, SpydeError
from tiled_spyde.names import safe_name
from tiled_spyde.routes.asking import Principal, body_of, entry_with, name_of
from tiled_spyde.routes.nodes import Nodes, is_tree, parts_of
from tiled_spyde.script import script_of

if TYPE_CHECKING:
    from tiled_spyde.catalog import Catalog
    from tiled_spyde.evaluate import Evaluator

# A node keeps up to 256 KiB of parameters, but hardly any has more than 1 KiB.
MAX_BODY = 4 * 2**20
FORMATS = {"json": ("application/json", "json"), "script": ("text/x-python; charset=utf-8", "py")}

_DOCUMENT = "Send the JSON that GET …/recipe?format=json gives."
_Require = Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]


def add_routes(router: APIRouter, catalog: Catalog, evaluator: Evaluator) -> None:
    """Add the routes of recipes; before those that take any path below ``/nodes``."""
    nodes = Nodes(catalog, evaluator)

    @router.get("/nodes/{path:path}/recipe")
    async def recipe(path: str, require: _Require, format: str = "json", node: str | None = None) -> Response:
        """Give the recipe of a tree, or of one node of it, as JSON or as a Python script."""
        await require(path, ["read:metadata"])
        if format not in FORMATS:
            raise HTTPException(422, f"format: {' or '.join(FORMATS)}; got {format[:40]!r}.")
        parts = parts_of(path)
        try:
            file = _file(catalog, parts)
            document = await run_sync(lambda: travel.document_of(catalog.tree(parts), file, node))
            refused = await _refused(document, require, "read:metadata")
            if refused and node is not None:
                raise NotFound(f"There is no node {node!r} in this tree.")
            document = travel.without(document, refused)
            if format == "script":
                others = await _others(catalog, document, require)
                text = await run_sync(script_of, document, node, others, "/".join(parts[:-1]))
            else:
                text = await run_sync(document.model_dump_json)
        except SpydeError as error:
            raise http_error(error) from error
        media_type, ending = FORMATS[format]
        name = f"{file}.{parts[-1] if node is None else node}.recipe.{ending}"
        return Response(text, media_type=media_type, headers={"Content-Disposition": _attachment(name)})

    @router.post("/nodes/{path:path}/apply")
    async def apply(path: str, request: Request, principal: Principal, require: _Require) -> Any:
        """Make the nodes of a recipe in a tree; what does not fit says why."""
        if is_tree(catalog, named := f"{path}/apply"):  # a signal may be called so
            return await nodes.make(named, request, principal, require)
        await require(path, ["create:node"])
        document = await body_of(request, travel.Document, _DOCUMENT, MAX_BODY)
        parts, by = parts_of(path), name_of(principal)
        try:
            await run_sync(arriving.check, document)
            refused = await _refused(document, require, "read:data")
            made = await run_sync(catalog.apply, parts, document, refused, by)
        except SpydeError as error:
            raise http_error(error) from error
        return {"data": asdict(made)}


async def _others(
    catalog: Catalog, document: travel.Document, require: Callable[..., Awaitable[Any]]
) -> dict[str, travel.Document]:
    """Return the recipes of the nodes of other trees that a document names, by path, as far as they may be read."""
    found: dict[str, travel.Document] = {}
    waiting = sorted(travel.foreign(document))
    while waiting and len(found) < arriving.MAX_FOREIGN:
        path = waiting.pop()
        *tree, node = parts_of(path)
        try:
            file = _file(catalog, tuple(tree))
            made = partial(travel.document_of, catalog.tree(tuple(tree)), file, node)
            other = await run_sync(made)
        except SpydeError:  # the script says that it is left out
            continue
        if not await _refused(other, require, "read:metadata"):
            found[path] = other
            waiting += travel.foreign(other) - found.keys()
    return found


async def _refused(
    document: travel.Document, require: Callable[..., Awaitable[Any]], scope: str
) -> dict[str, str]:
    """Return why nodes of other trees may not be read, by path."""
    found = {}
    for other in sorted(travel.foreign(document)):
        try:
            await require(other.strip("/"), [scope])
        except HTTPException as error:
            found[other] = str(error.detail)
    return found


def _file(catalog: Catalog, tree: tuple[str, ...]) -> str:
    """Return the name of a tree's file, without the folders of this server."""
    catalog.tree(tree)
    found = catalog.entry(tree[:-1])
    return found.remembered.path.name if isinstance(found, SourceFile) else tree[-2]


def _attachment(name: str) -> str:
    """Return the header that names a file: in ASCII for old programs, and as it is."""
    safe = safe_name(name)
    plain = safe.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"
