"""Previews: a slice of a chain that nobody has kept, or what its node would look like, in one round trip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable  # noqa: TC003 - FastAPI resolves the annotations
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from tiled.ndslice import NDSlice
from tiled.server.utils import get_base_url

from tiled_spyde import codecs
from tiled_spyde.adapters import NodeAdapter, http_error, in_a_header, refuse_unexpected
from tiled_spyde.bodies import OCTETS, Bodies, Body
from tiled_spyde.chains import Preview, Step, address_of, asks_of, check_number, steps_of
from tiled_spyde.errors import InvalidOperation, SpydeError
from tiled_spyde.headers import REVALIDATED, opaque
from tiled_spyde.node import PREVIEW
from tiled_spyde.operations.base import Strict
from tiled_spyde.routes.asking import body_of, described, entry_with
from tiled_spyde.slices import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.previews import Previews

_EXPECTED = 'Send JSON with steps, like [{"operation": "sum"}], and if you like slice ("3,4") and format.'
_MEDIA_TYPES = (OCTETS, codecs.MEDIA_TYPE)
_PARAMETERS = {"steps", "slice", "format", "api_key"}
_LONGEST_SLICE = 1000


class Chain(Strict):
    """What is asked of a chain."""

    steps: list[Step]
    slice: str | None = Field(None, max_length=_LONGEST_SLICE)
    format: str | None = Field(None, max_length=200)


def add_routes(router: APIRouter, evaluator: Evaluator, bodies: Bodies, previews: Previews) -> None:
    """Add the routes of previews."""
    deriving = _Deriving(evaluator, bodies, previews)

    @router.get("/derive/{path:path}")
    async def derive(
        path: str, request: Request, require: Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]
    ) -> Response:
        """Answer with a slice of a chain on a node, or with what is said of it where no slice is named."""
        # Whoever may not read the node is told nothing, not even of his mistakes.
        await require(path, ["read:data"])
        return await deriving.answer(path, await run_sync(_asked, request), request, require)

    @router.post("/derive/{path:path}")
    async def derive_at_length(
        path: str, request: Request, require: Annotated[Callable[..., Awaitable[Any]], Depends(entry_with)]
    ) -> Response:
        """Answer the same to a question that is too long for an address."""
        await require(path, ["read:data"])
        if request.query_params.keys() - {"api_key"}:
            raise HTTPException(422, f"The body says all of it, and the address nothing. {_EXPECTED}")
        return await deriving.answer(path, await body_of(request, Chain, _EXPECTED), request, require)


class _Deriving:
    """What answers for previews.

    Parameters
    ----------
    evaluator : Evaluator
    bodies : Bodies
    previews : Previews
    """

    def __init__(self, evaluator: Evaluator, bodies: Bodies, previews: Previews) -> None:
        self._evaluator = evaluator
        self._bodies = bodies
        self._previews = previews

    async def answer(
        self, path: str, wanted: Chain, request: Request, require: Callable[..., Awaitable[Any]]
    ) -> Response:
        """Answer a question of someone who may read the node at `path`."""
        entry = None
        try:
            check_number(wanted.steps)  # before a right is asked for each node that they name
        except SpydeError as error:
            raise http_error(error) from error
        for asked in asks_of(path, wanted.steps):
            found = await require(asked, ["read:data"])
            entry = entry or found
        try:
            node = _node(entry, path)
            preview = await run_sync(self._derived, node, wanted.steps)
            shown = node.tree.showing(preview.node, preview.recipe)
            adapter = NodeAdapter(shown, PREVIEW, self._evaluator, node.rights)
            self._previews.keep(preview)
            address = address_of(path, preview)
            if wanted.slice is None:
                return await _metadata(adapter, address, request)
            return await self._slice(adapter, wanted, address, request)
        except SpydeError as error:
            raise http_error(error) from error

    def _derived(self, node: NodeAdapter, steps: list[Step]) -> Preview:
        preview = self._previews.derive(node.tree, node.name, steps)
        preview.key  # noqa: B018 - the first time it may read the file, which takes a thread
        return preview

    async def _slice(self, adapter: NodeAdapter, wanted: Chain, address: str, request: Request) -> Response:
        recipe, media_type = adapter.recipe, _media_type(wanted.format, request.headers.get("accept"))
        selection = Selection.of(_parts(wanted.slice or ""), recipe.shape or (1,))
        body = Body.of(recipe, selection, media_type) if recipe.shape else None
        tag = body.tag if body else f"{recipe.key}.{'.'.join(map(str, selection.shape))}.{media_type[12:]}"
        headers = {
            "etag": f'"{tag}"',
            "cache-control": REVALIDATED,
            "x-node": address,
            "x-array-shape": ",".join(map(str, selection.shape)),
            "x-array-dtype": recipe.info.dtype.newbyteorder("<").str,
        }
        if told := in_a_header(recipe):
            headers["x-node-structure"] = told
        if request.method == "GET" and _is_known(request.headers.get("if-none-match"), tag):
            return Response(status_code=304, headers=headers)
        if body:
            refuse_unexpected(selection.shape, recipe.info.dtype.itemsize)
            octets = bytes(await self._bodies.read(body, unquote(address)))
        else:  # one number, which has no axis to be sliced
            number = await adapter.read(NDSlice(*selection))
            blosc = media_type == codecs.MEDIA_TYPE
            octets = codecs.encode(number) if blosc else codecs.wire_order(number).tobytes()
        return Response(octets, media_type=media_type, headers=headers)


def _node(entry: Any, path: str) -> NodeAdapter:
    """Return an entry that is a node, and is not failed."""
    if isinstance(entry, NodeAdapter):
        return entry
    if any(spec.name == "SignalNode" for spec in entry.specs):
        why = entry.metadata().get("attributes", {})
        raise InvalidOperation(
            f"{path!r} is failed, so nothing can be made from it: {why.get('failure') or why.get('error')}"
        )
    raise HTTPException(404, f"{path!r} is no node. Name one, like {path.strip('/')}/root.")


async def _metadata(adapter: NodeAdapter, address: str, request: Request) -> JSONResponse:
    link = f"{get_base_url(request)}/metadata/{address}"
    attributes = await run_sync(described, adapter)
    data = {"id": PREVIEW, "attributes": attributes, "links": {"self": link}}
    return JSONResponse({"data": data}, headers={"x-node": address, "cache-control": REVALIDATED})


def _asked(request: Request) -> Chain:
    """Read the question in an address.

    Raises
    ------
    HTTPException
        422 where a parameter is unknown, is missing or stands twice, or the steps make no sense.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    unknown = sorted(set(names) - _PARAMETERS)
    if unknown or len(names) != len(set(names)) or "steps" not in names:
        problem = f"{unknown[0][:40]!r} is unknown" if unknown else "each stands there once"
        problem = problem if unknown or "steps" in names else "steps is missing"
        raise HTTPException(422, f"{problem}. Ask with ?steps=[…], &slice= and &format=.")
    given: Mapping[str, str] = request.query_params
    if len(given.get("slice", "")) > _LONGEST_SLICE:
        raise HTTPException(422, "slice: it is too long to make sense. Write it like 3,4 or ::2,::2.")
    try:
        steps = steps_of(given["steps"])
    except SpydeError as error:
        raise http_error(error) from error
    return Chain.model_construct(steps=steps, slice=given.get("slice"), format=given.get("format"))


def _media_type(wanted: str | None, accept: str | None) -> str:
    """Choose as tiled does: a format goes before Accept, and the first of a list that there is."""
    asked: Iterable[str] = [wanted] if wanted else (accept or "*/*").split(",")
    for one in asked:
        name = one.partition(";")[0].strip()
        if name in _MEDIA_TYPES:
            return name
        if name in ("*/*", "application/*"):
            return OCTETS
    raise HTTPException(406, f"A preview is sent as {' or '.join(_MEDIA_TYPES)}. Ask for one of these.")


def _parts(text: str) -> tuple[Any, ...]:
    """Read a slice as ``array/full`` does."""
    if not text.strip():
        return ()
    try:
        return tuple(NDSlice.from_numpy_str(text))
    except (ValueError, TypeError):
        raise HTTPException(
            422, f"slice: {text[:40]!r} is none. Write it like 3,4 or ::2,::2, array order, without brackets."
        ) from None


def _is_known(if_none_match: str | None, tag: str) -> bool:
    """Say whether a client has a slice already, in whatever encoding: that is what a tag ends with."""
    given = (opaque(one.strip()) for one in (if_none_match or "").split(","))
    return (if_none_match or "").strip() == "*" or any(
        one == tag or one.startswith(f"{tag}-") for one in given
    )
