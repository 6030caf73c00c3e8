"""Making, changing and deleting nodes, and undoing that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from tiled.server.utils import get_base_url

from tiled_spyde.adapters import http_error
from tiled_spyde.containers import node_entry
from tiled_spyde.errors import NotFound, Outdated, SpydeError
from tiled_spyde.named import address_of
from tiled_spyde.operations.base import Strict
from tiled_spyde.routes.asking import Principal, body_of, described, entry_with, name_of, readable
from tiled_spyde.routes.visible import refuse_hidden, visible, visible_names

if TYPE_CHECKING:
    from tiled_spyde.catalog import Catalog
    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.node import Node
    from tiled_spyde.records import Past
    from tiled_spyde.tree import SignalTree

_NEW = "Send JSON with parent, operation, parameters and, if you like, name."
_CHANGE = "Send JSON with what is to be another one: name, description, operation, parameters."
_UNDO = 'Send JSON with the number of a change: {"change": 7}.'

# As many as a listing shows at a time.
_MOST_DESCRIBED = 300

Require = Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]
Limit = Annotated[int, Query(ge=1, le=1000)]


class NewNode(Strict):
    """What makes a node."""

    parent: str = Field(max_length=200)
    operation: str = Field(max_length=200)
    parameters: dict[str, Any] = Field(default_factory=dict)
    name: str | None = Field(None, max_length=1000)


class NodeChange(Strict):
    """What a node is to be; what is left out stays."""

    name: str | None = Field(None, max_length=1000)
    description: str | None = None
    operation: str | None = Field(None, max_length=200)
    parameters: dict[str, Any] | None = None


class Undo(Strict):
    """Which change is to be undone."""

    change: int = Field(ge=1, lt=2**63)


def add_routes(router: APIRouter, catalog: Catalog, evaluator: Evaluator) -> None:
    """Add the routes of nodes."""
    nodes = Nodes(catalog, evaluator)
    # Before the route whose path would take in its last word.
    router.post("/nodes/{path:path}/undo")(nodes.undo)
    router.post("/nodes/{path:path}")(nodes.make)
    router.patch("/nodes/{path:path}")(nodes.change)
    router.delete("/nodes/{path:path}")(nodes.delete)
    router.get("/nodes/{path:path}/history")(nodes.history)


class Nodes:
    """What answers for nodes.

    Parameters
    ----------
    catalog : Catalog
    evaluator : Evaluator
    """

    def __init__(self, catalog: Catalog, evaluator: Evaluator) -> None:
        self._catalog = catalog
        self._evaluator = evaluator

    async def make(self, path: str, request: Request, principal: Principal, require: Require) -> JSONResponse:
        """Make a node in a tree: 201, or 200 where the same node is there already."""
        await require(path, ["create:node"])
        wanted, tree, catalog = await body_of(request, NewNode, _NEW), parts_of(path), self._catalog
        await readable(require, catalog, tree, wanted.parent, wanted.operation, wanted.parameters)
        try:
            by = name_of(principal)
            node, made = await run_sync(lambda: catalog.add_node(tree, **wanted.model_dump(), by=by))
            now = catalog.tree(tree)
            if not (name := now.name_of(node.id)):
                raise NotFound(f"{node.name!r} was made, and is deleted by now.")
            data = await run_sync(self._described, request, tree, now, name)
        except SpydeError as error:
            raise http_error(error) from error
        headers = {"Location": data["links"]["self"], "ETag": _etag(now, name)}
        return JSONResponse({"data": data}, 201 if made else 200, headers)

    async def change(
        self, path: str, request: Request, principal: Principal, require: Require
    ) -> JSONResponse:
        """Rename, describe or re-point a node; 412 where somebody was faster."""
        await require(path, ["write:metadata"])
        wanted, node = await body_of(request, NodeChange, _CHANGE), parts_of(path)
        given = {**wanted.model_dump(exclude_unset=True), "if_match": _if_match(request)}
        for value in (wanted.parameters or {}).values():  # whatever the operation is by then
            if isinstance(value, dict) and isinstance(named := value.get("node"), str):
                await require("/".join(address_of(named, node[:-1])), ["read:data"])
        try:
            done = await run_sync(lambda: self._catalog.change_node(node, **given, by=name_of(principal)))
        except Outdated as error:
            return await self._outdated(error, request, node)
        except SpydeError as error:
            raise http_error(error) from error
        name = done.changed[0] if done.changed else node[-1]  # it was so already
        data = await run_sync(self._described, request, node[:-1], done.tree, name)
        return JSONResponse({"data": data}, headers={"ETag": _etag(done.tree, name)})

    async def delete(
        self, path: str, request: Request, principal: Principal, require: Require, recursive: bool = False
    ) -> JSONResponse:
        """Delete a node; with `recursive` all that is made from it too."""
        await require(path, ["delete:node"])
        node, if_match, by = parts_of(path), _if_match(request), name_of(principal)
        try:
            await refuse_hidden(require, self._catalog, node)
            done = await run_sync(
                lambda: self._catalog.delete_node(node, recursive=recursive, if_match=if_match, by=by)
            )
        except Outdated as error:
            return await self._outdated(error, request, node)
        except SpydeError as error:
            raise http_error(error) from error
        return JSONResponse({"data": {"deleted": done.deleted, "change": done.change}})

    async def undo(self, path: str, request: Request, principal: Principal, require: Require) -> JSONResponse:
        """Put back what a change did, as a new change."""
        if is_tree(self._catalog, named := f"{path}/undo"):  # a signal may be called so
            return await self.make(named, request, principal, require)
        await require(path, ["write:metadata"])
        number, tree = (await body_of(request, Undo, _UNDO)).change, parts_of(path)
        try:
            await self._allow_undo(path, number, require)
            undone = await run_sync(lambda: self._catalog.undo(tree, number, name_of(principal)))
        except SpydeError as error:
            raise http_error(error) from error
        some = await visible_names(require, self._catalog, undone.tree, undone.changed[:_MOST_DESCRIBED])
        shown = await run_sync(lambda: [self._described(request, tree, undone.tree, name) for name in some])
        data = {
            "changed": shown,
            "deleted": undone.deleted,
            "change": undone.change,
            "count": len(undone.changed) + len(undone.deleted),
        }
        return JSONResponse({"data": data})

    async def history(self, path: str, require: Require, limit: Limit = 100) -> JSONResponse:
        """List what was done in a tree or to a node: who, when and what, newest first."""
        await require(path, ["read:metadata"])
        try:
            at = parts_of(path)
            past = await run_sync(self._catalog.history, at, limit)
            tree = self._catalog.tree(at if is_tree(self._catalog, path) else at[:-1])
            told = await visible(require, self._catalog, tree, past)
            return JSONResponse({"data": await run_sync(lambda: list(map(_told, told)))})
        except SpydeError as error:
            raise http_error(error) from error

    async def _allow_undo(self, path: str, number: int, require: Callable[..., Awaitable[Any]]) -> None:
        """Refuse to undo what somebody may not see, or not do himself.

        Raises
        ------
        NotFound, HTTPException
        """
        tree = parts_of(path)
        past, before = await run_sync(self._catalog.past, tree, number), self._catalog.tree(tree)
        if len(await visible(require, self._catalog, before, past)) < len(past):
            raise NotFound(f"There is no change {number} in the history of {path!r} that you may see.")
        for done in past:
            if done.before is None:
                await refuse_hidden(require, self._catalog, (*tree, before.name_of(done.node)))
        if any(done.before is None or done.after is None for done in past):
            await require(path, ["create:node", "delete:node"])

    async def _outdated(self, error: Outdated, request: Request, node: tuple[str, ...]) -> JSONResponse:
        data = await run_sync(self._described, request, node[:-1], error.tree, error.name)
        headers = {"ETag": _etag(error.tree, error.name)}
        return JSONResponse({"detail": str(error), "data": data}, 412, headers)

    def _described(
        self, request: Request, at: tuple[str, ...], tree: SignalTree, name: str
    ) -> dict[str, Any]:
        entry = node_entry(tree, name, self._evaluator)
        address = f"{get_base_url(request)}/metadata/{quote('/'.join((*at, name)))}"
        return {"id": name, "attributes": described(entry), "links": {"self": address}}


def is_tree(catalog: Catalog, path: str) -> bool:
    """Whether there is a tree at a path."""
    try:
        catalog.tree(parts_of(path))
    except NotFound:
        return False
    return True


def parts_of(path: str) -> tuple[str, ...]:
    """Return the names in a path."""
    return tuple(part for part in path.split("/") if part)


def _if_match(request: Request) -> str | None:
    given = request.headers.getlist("if-match")
    return ", ".join(given) if given else None


def _etag(tree: SignalTree, name: str) -> str:
    return f'"{tree.nodes[name].version}"'


def _told(done: Past) -> dict[str, Any]:
    """Return one row of a history as JSON."""
    now = done.after or done.before
    return {
        "change": done.change,
        "id": done.node,
        "name": now and now.name,
        "what": done.what,
        "at": done.at,
        "by": done.by,
        "before": _was(done.before),
        "after": _was(done.after),
    }


def _was(node: Node | None) -> dict[str, Any] | None:
    """Return what people can change of a node, and what it is made from (by id)."""
    if node is None:
        return None
    return {
        "name": node.name,
        "description": node.description,
        "parent": node.parent,
        "operation": node.operation,
        "parameters": node.values(),
    }
