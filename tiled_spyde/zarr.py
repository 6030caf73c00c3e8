"""Every node as a zarr array, every container as a zarr group, in v2 and in v3.

The guard sends ``/zarr/v2/…`` and ``/zarr/v3/…`` here. A path names the longest node there is, then one of
zarr's documents or a chunk: nothing else decides, so a node may be called ``c`` or ``42``. Beside what tiled
serves there are

- ``{node}.zarr``, a group whose only level ``0`` is the node, with OME-NGFF metadata: what napari opens;
- in a tree, the calibrated axes as coordinates: what xarray selects by value with.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, replace
from email.utils import formatdate
from hashlib import blake2b
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, HTTPException, Request, Response
from tiled.structures.core import StructureFamily
from tiled.utils import ensure_awaitable

from tiled_spyde import codecs
from tiled_spyde.adapters import NodeAdapter, http_error, refuse_unexpected
from tiled_spyde.bodies import Bodies, Body, padded
from tiled_spyde.containers import FailedNode
from tiled_spyde.errors import SpydeError
from tiled_spyde.headers import IMMUTABLE, REVALIDATED, matches
from tiled_spyde.routes.asking import (
    AccessTags,
    Principal,
    RootTree,
    Scopes,
    SessionState,
    entry_with,
)
from tiled_spyde.slices import Selection
from tiled_spyde.zarr_documents import Array, Group, document
from tiled_spyde.zarr_nodes import array, coordinate, coordinates, group, image

DOCUMENTS = {"v2": (".zgroup", ".zattrs", ".zarray", ".zmetadata"), "v3": ("zarr.json",)}
IMAGE = ".zarr"
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_NOTHING = "There is no such array, group or chunk."


@dataclass(frozen=True)
class Address:
    """What a path names: a node that exists, what is below it, and one of zarr's documents.

    Parameters
    ----------
    node : tuple of str
        The longest existing entry.
    image : bool
        True for ``{node}.zarr``.
    below : tuple of str
        A level, a coordinate or a chunk key.
    document : str
        Empty where none is named.
    """

    node: tuple[str, ...]
    image: bool
    below: tuple[str, ...]
    document: str

    @classmethod
    def of(cls, path: str, version: str, root: Any) -> Address:
        """Find the longest node of `path` below `root`; rights are not looked at."""
        parts = tuple(part for part in path.split("/") if part)
        name = parts[-1] if parts and parts[-1] in DOCUMENTS[version] else ""
        parts = parts[:-1] if name else parts
        depth = _depth(root, parts)
        if depth < len(parts) and parts[depth].endswith(IMAGE):
            node = (*parts[:depth], parts[depth].removesuffix(IMAGE))
            if _depth(root, node) == len(node):
                return cls(node, True, parts[depth + 1 :], name)
        return cls(parts[:depth], False, parts[depth:], name)

    @property
    def pinned(self) -> bool:
        """True where the node is named together with its key."""
        return bool(self.node) and "@" in self.node[-1]


def _depth(entry: Any, parts: tuple[str, ...]) -> int:
    for depth, part in enumerate(parts):
        try:
            entry = entry[part]
        except HTTPException:
            return depth + 1  # it is, but cannot be had: to be said only after the rights
        except (KeyError, TypeError):
            return depth
    return len(parts)


def zarr_routes(bodies: Bodies) -> APIRouter:
    """Return the router that answers for all of zarr; chunks of nodes are encoded by `bodies`."""
    router = APIRouter()

    @router.api_route("/zarr/{version}/{path:path}", methods=["PROPFIND"], include_in_schema=False)
    @router.get("/zarr/{version}/{path:path}")
    async def zarr(
        version: str,
        path: str,
        request: Request,
        principal: Principal,
        access_tags: AccessTags,
        scopes: Scopes,
        root_tree: RootTree,
        session_state: SessionState,
    ) -> Response:
        """Answer for a document, a chunk, or the names of a group's members."""
        require = await entry_with(request, principal, access_tags, scopes, root_tree, session_state)
        if version not in DOCUMENTS:
            raise HTTPException(404, "There is zarr v2 and v3.")
        address = Address.of(path, version, await require("", ["read:metadata"]))
        asks_for_data = bool(address.below) and not address.document
        wanted = ["read:data" if asks_for_data else "read:metadata"]
        try:
            entry = await require("/".join(address.node), wanted)
            if asks_for_data and isinstance(entry, FailedNode):
                # Of a chunk that is not there, clients make zeros.
                entry.refuse()
            if entry.structure_family == StructureFamily.container:
                # A tree of thousands of nodes names their dimensions first.
                shown, key = await run_sync(_below_container, entry, address)
            else:
                shown, key = _below(entry, address)
            if asks_for_data and isinstance(shown, Array) and key:
                return await _chunk(entry, shown, _index(key, version), address, request, bodies)
            if address.document and not key:
                return await run_sync(_document, shown, address.document)
        except HTTPException as error:
            if error.status_code != 404:
                raise
            # One word for what is not there and for what is not to be seen.
            raise HTTPException(404, _NOTHING) from None
        if key or address.document:
            raise HTTPException(404, _NOTHING)
        if request.method == "PROPFIND":
            here = f"{request.scope.get('root_path', '')}/zarr/{version}/{path}".rstrip("/")
            return await run_sync(_multistatus, shown, here, request.headers.get("depth", "infinity"))
        return await run_sync(_page, shown, version, path)

    return router


def _below(entry: Any, address: Address) -> tuple[Array | Group, tuple[str, ...]]:
    """Return what an address shows of an array, and what is left of it: a chunk key or nothing."""
    if not address.image:
        return array(entry), address.below
    if not address.below:
        return image(entry), ()
    if address.below[0] == "0":
        return replace(array(entry), separator="/"), address.below[1:]
    raise HTTPException(404, _NOTHING)


def _below_container(entry: Any, address: Address) -> tuple[Array | Group, tuple[str, ...]]:
    if address.image:
        raise HTTPException(404, _NOTHING)
    if address.below and (axis := coordinates(entry).get(address.below[0])):
        return coordinate(address.below[0], axis), address.below[1:]
    return group(entry), address.below


def _index(key: tuple[str, ...], version: str) -> tuple[int, ...]:
    """Read the key of a chunk: ``c/0/1`` in v3, ``0.1`` or ``0/1`` in v2.

    Raises
    ------
    HTTPException
        404: this is no chunk key.
    """
    if version == "v3":
        indices = key[1:] if key[0] == "c" else ("",)
    else:
        indices = tuple(key[0].split(".")) if len(key) == 1 else key
    if not all(map(_INDEX.fullmatch, indices)):
        raise HTTPException(404, _NOTHING)
    return tuple(map(int, indices))


async def _chunk(
    entry: Any, array: Array, index: tuple[int, ...], address: Address, request: Request, bodies: Bodies
) -> Response:
    part = array.part(index)
    if part is None:
        raise HTTPException(404, _NOTHING)
    body = _body(entry, array, part)
    tag = body.tag if body else array.key and f"{array.key}.{'.'.join(map(str, index))}.blosc"
    headers = _headers(tag, immutable=address.pinned)
    if matches(request.headers.get("if-none-match"), headers.get("etag", "")):
        return Response(status_code=304, headers=headers)
    try:
        if body:
            refuse_unexpected(array.chunks, array.dtype.itemsize)
            encoded = await bodies.read(body, entry.path)
        else:
            read = await ensure_awaitable(array.read, part)
            encoded = await run_sync(lambda: codecs.encode(padded(read, array.chunks)))
    except SpydeError as error:
        raise http_error(error) from error
    return Response(bytes(encoded), media_type=codecs.MEDIA_TYPE, headers=headers)


def _body(entry: Any, array: Array, part: tuple[slice, ...]) -> Body | None:
    """Return a chunk of a node that has axes, as the lane has it; None for a chunk of anything else."""
    if not isinstance(entry, NodeAdapter) or not entry.recipe.info.shape:
        return None
    selection = Selection.of(part, array.shape)
    return Body.of(entry.recipe, selection, padded=() if selection.shape == array.chunks else array.chunks)


def _document(shown: Array | Group, name: str) -> Response:
    described = document(name, shown)
    if described is None:
        raise HTTPException(404, _NOTHING)
    # A key pins what is computed, not what is said about it: whether it is stored by now, for example.
    body = orjson.dumps(described, option=_JSON)
    headers = _headers(blake2b(body, digest_size=16).hexdigest(), immutable=False)
    return Response(body, media_type="application/json", headers=headers)


def _headers(tag: str | None, *, immutable: bool) -> dict[str, str]:
    caching = {"cache-control": IMMUTABLE if immutable else REVALIDATED}
    return {"etag": f'"{tag}"', **caching} if tag else caching


def _names(shown: Array | Group) -> list[str]:
    return list(shown.names()) if isinstance(shown, Group) else []


def _page(shown: Array | Group, version: str, path: str) -> Response:
    """Link a group's members, for people and for fsspec, which takes the links as they stand."""
    names = _names(shown)
    links = "".join(f'<li><a href="{html.escape(name)}">{html.escape(name)}</a>' for name in names)
    # Links are relative to what ends in a slash; this address may not.
    here = "./" if path.endswith("/") or not path else quote(path.rpartition("/")[2]) + "/"
    title = html.escape(f"zarr {version}: /{path}")
    page = f'<!doctype html><meta charset="utf-8"><base href="{here}"><title>{title}</title><ul>{links}</ul>'
    return Response(page, media_type="text/html", headers=_headers(None, immutable=False))


def _multistatus(shown: Array | Group, here: str, depth: str) -> Response:
    """Name a group's members in WebDAV's words, which is how obstore asks."""
    if depth != "1":
        raise HTTPException(403, "A listing goes one level deep: send the header Depth: 1.")
    found = (
        "<D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>"
        f"<D:getlastmodified>{formatdate(usegmt=True)}</D:getlastmodified></D:prop>"
        "<D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
    )
    # Without the group itself, which obstore would take for one of its members.
    listed = "".join(
        f"<D:response><D:href>{escape(quote(f'{here}/{name}'))}</D:href>{found}</D:response>"
        for name in _names(shown)
    )
    body = f'<?xml version="1.0" encoding="utf-8"?><D:multistatus xmlns:D="DAV:">{listed}</D:multistatus>'
    return Response(body, 207, media_type="application/xml")
