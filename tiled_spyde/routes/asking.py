"""Who asks, and with which right: what each route depends on, for one without its own check is open to everyone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable  # noqa: TC003 - FastAPI resolves the annotations
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from fastapi.security import SecurityScopes
from pydantic import ValidationError
from tiled.server.authentication import (
    check_scopes,
    get_current_access_tags,
    get_current_principal,
    get_current_scopes,
    get_session_state,
)
from tiled.server.dependencies import get_entry, get_root_tree

from tiled_spyde.adapters import http_error
from tiled_spyde.errors import SpydeError
from tiled_spyde.named import address_of
from tiled_spyde.operations import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiled_spyde.adapters import NodeAdapter
    from tiled_spyde.catalog import Catalog
    from tiled_spyde.containers import FailedNode
    from tiled_spyde.operations.base import Strict

MAX_BODY = 2**20

Model = TypeVar("Model", bound="Strict")

# What tiled finds out about a request. A route that is asked often names them itself: FastAPI resolves each anew
# for every function that depends on it.
Principal = Annotated[Any, Depends(get_current_principal)]
AccessTags = Annotated[Any, Depends(get_current_access_tags)]
Scopes = Annotated[Any, Depends(get_current_scopes)]
RootTree = Annotated[Any, Depends(get_root_tree)]
SessionState = Annotated[Any, Depends(get_session_state)]


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
        try:
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
        except HTTPException as error:
            if error.status_code != 404:
                raise
            # tiled writes the path as Python does. Whether there is something is not told to who may not read it.
            raise HTTPException(
                404,
                f"There is nothing at {path[:200]!r} that you may read. GET /api/v1/search/ lists what there is.",
            ) from None

    return entry


async def readable(
    require: Callable[[str, list[str]], Awaitable[Any]],
    catalog: Catalog,
    tree: tuple[str, ...],
    parent: str,
    operation: str,
    parameters: Mapping[str, Any],
) -> None:
    """Refuse to make a node from nodes that whoever asks may not read: as parent, or as a parameter.

    Raises
    ------
    HTTPException
        404 or 403, as for reading the node itself; 422 where the parameters make no sense.
    """
    try:
        named = set(build(operation, parameters).named.values())
        if parent in catalog.tree(tree).nodes:
            named.add(parent)
    except SpydeError as error:
        raise http_error(error) from error
    for name in named:
        await require("/".join(address_of(name, tree)), ["read:data"])


def name_of(principal: Any) -> str | None:
    """Return the name that someone has logged in with; None for the one key of a single person's server."""
    names = [identity.id for identity in getattr(principal, "identities", ())]
    return names[0] if names else None


def described(adapter: NodeAdapter | FailedNode) -> dict[str, Any]:
    """Return what tiled says of a node."""
    return {
        "structure_family": adapter.structure_family.value,
        "specs": [asdict(spec) for spec in adapter.specs],
        "metadata": adapter.metadata(),
        "structure": asdict(adapter.structure()),
    }


async def body_of(request: Request, model: type[Model], remedy: str, most: int = MAX_BODY) -> Model:
    """Read a JSON body of at most so many bytes as `model`.

    Raises
    ------
    HTTPException
        413 where it is too long, 422 where it is something else; the message ends with `remedy`.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(413, f"The body is over {most} bytes, more than this ever needs.")
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        raise HTTPException(422, f"{where}: {problem['msg']}. {remedy}") from None
