"""The plain case: requests for frames whose body is known from address and headers alone.

What is not plain is left to tiled: that is never wrong, only slower.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from operator import lt
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fastapi import HTTPException
from tiled.server.settings import get_settings

from tiled_spyde import codecs
from tiled_spyde import headers as http
from tiled_spyde.adapters import NodeAdapter, chunk_shape, in_a_header
from tiled_spyde.bodies import OCTETS, Body
from tiled_spyde.chains import address_of, asks_of, steps_of
from tiled_spyde.errors import SpydeError
from tiled_spyde.node import PREVIEW, ROOT
from tiled_spyde.slices import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tiled_spyde.chains import Preview
    from tiled_spyde.previews import Previews
    from tiled_spyde.recipe import Recipe

FULL, BLOCK = "/api/v1/array/full/", "/api/v1/array/block/"
DERIVE = "/api/v1/derive/"
ZARR_2, ZARR_3 = "/zarr/v2/", "/zarr/v3/"
PREFIXES = (FULL, BLOCK, DERIVE, ZARR_2, ZARR_3)

RawHeaders = tuple[tuple[bytes, bytes], ...]

_NUMBER = r"-?[0-9]{1,9}"
_PART = rf"(?:{_NUMBER})?:(?:{_NUMBER})?(?::(?:{_NUMBER})?)?|{_NUMBER}"
_SLICE = re.compile(rf"(?:{_PART})(?:,(?:{_PART})){{0,31}}")
_NUMBERS = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9}){0,31}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_IMAGE = ".zarr/0"
_MEDIA_TYPES = {"*/*": OCTETS, OCTETS: OCTETS, codecs.MEDIA_TYPE: codecs.MEDIA_TYPE}
_OF_SLICES = frozenset(("slice", "expected_shape", "format"))
_OF_BLOCKS = frozenset(("block", "expected_shape", "format"))
_OF_CHAINS = frozenset(("steps", "slice", "format"))
_LONGEST = 400
# Steps as JSON, percent-encoded: a mask is longer, and is resolved in a thread by the route.
_LONGEST_STEPS = 4096
_MOST_NAMED = 2048
_MOST_NODES = 1024


@dataclass(frozen=True, slots=True)
class Named:
    """What a plain request names.

    Parameters
    ----------
    node : str
        Path of the node, without a key; of a preview, with it.
    permit : str
        What rights are asked for: a path, and after a null what else enters the node from elsewhere, for that may
        be something else the next moment.
    body : Body or None
        None where zarr's array has no such chunk.
    tag : str
        ETag with its quotes.
    headers : tuple of (bytes, bytes)
        Of the answer, as far as they are known before the body is; Content-Type is the first.
    lines, lines_of_304 : bytes
        The same as they go over the wire, and without Content-Type.
    preview : Preview or None
        What is derived: to be remembered once the request is allowed.
    """

    node: str
    permit: str
    body: Body | None
    tag: str = ""
    headers: RawHeaders = ()
    lines: bytes = b""
    lines_of_304: bytes = b""
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class _Node:
    path: str
    permit: str
    pinned: bool
    recipe: Recipe
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    whole: tuple[range, ...]
    address: str = ""  # a preview's
    # By media type, and whether zarr asks.
    heads: dict[tuple[str, bool], tuple[RawHeaders, bytes]] = field(default_factory=dict)


class Plain:
    """Finds what plain requests name, and remembers it until what is served changes.

    Parameters
    ----------
    root : Listing
        All that is served.
    snapshot : callable
        Gives an object that is another one as soon as anything is served differently.
    vary : callable
        Gives the request headers that decide about an answer; asked when requests come in, not before.
    previews : Previews, optional
        Without them no chain is plain.
    """

    def __init__(
        self,
        root: Any,
        snapshot: Callable[[], object],
        vary: Callable[[], str],
        previews: Previews | None = None,
    ) -> None:
        self._root = root
        self._snapshot = snapshot
        self._vary = vary
        self._previews = previews
        self._seen: object = None
        self._named: OrderedDict[tuple[str, bytes, bytes | None, bytes], Named] = OrderedDict()
        self._nodes: OrderedDict[str, _Node] = OrderedDict()
        # By path and steps.
        self._chains: OrderedDict[tuple[str, str], tuple[_Node, Preview]] = OrderedDict()

    def find(self, path: str, query: bytes, accept: bytes | None, accept_encoding: bytes) -> Named | None:
        """Return what a request names; None: it is not plain. Microseconds, for the event loop.

        Parameters
        ----------
        path : str
            Decoded, below where the app is mounted.
        query : bytes
        accept, accept_encoding : bytes
            The headers; None where there is no Accept.
        """
        if (now := self._snapshot()) is not self._seen:
            self._named.clear()
            self._nodes.clear()
            self._chains.clear()
            self._seen = now
        asked = (path, query, accept, accept_encoding)
        if (named := self._named.get(asked)) is not None:
            return named
        longest = _LONGEST_STEPS if path.startswith(DERIVE) else _LONGEST
        if len(query) > longest or max(len(accept or b""), len(accept_encoding)) > _LONGEST:
            return None
        try:
            named = self._find(path, query, accept, accept_encoding.decode("latin-1"))
        except (SpydeError, HTTPException):
            return None  # tiled says it better
        if named is not None and len(query) <= _LONGEST:
            _remember(self._named, asked, named, _MOST_NAMED)
        return named

    def _find(self, path: str, query: bytes, accept: bytes | None, accept_encoding: str) -> Named | None:
        if path.startswith((ZARR_2, ZARR_3)):
            return None if query else self._chunk(path[len(ZARR_2) :], path.startswith(ZARR_2))
        if path.startswith(DERIVE):
            return self._derived(path[len(DERIVE) :], query, accept, accept_encoding)
        cut = path.startswith(FULL)
        given = _parameters(query, _OF_SLICES if cut else _OF_BLOCKS)
        if given is None:
            return None
        media_type = _media_type(given.get("format"), accept)
        node = self._node(path[len(FULL if cut else BLOCK) :])
        if media_type is None or node is None:
            return None
        selection = _slice(node, given.get("slice", "")) if cut else _block(node, given.get("block", ""))
        if selection is None:
            return None
        shape = ",".join(map(str, selection.shape))
        if "expected_shape" in given and given["expected_shape"] != (shape or "scalar"):
            return None
        return self._answer(node, Body.encoded(node.recipe, selection, media_type, accept_encoding), shape)

    def _derived(self, path: str, query: bytes, accept: bytes | None, accept_encoding: str) -> Named | None:
        """Return the slice of a chain on the node at a path."""
        given = _parameters(query, _OF_CHAINS)
        if given is None or not {"steps", "slice"} <= given.keys():
            return None
        media_type, steps = _media_type(given.get("format"), accept), given["steps"]
        found = self._chains.get((path, steps)) or self._chain(path, steps)
        selection = found and _slice(found[0], given["slice"])
        if media_type is None or found is None or selection is None:
            return None
        node, preview = found
        body = Body.encoded(node.recipe, selection, media_type, accept_encoding)
        named = self._answer(node, body, ",".join(map(str, selection.shape)))
        return named and replace(named, preview=preview)

    def _chain(self, path: str, text: str) -> tuple[_Node, Preview] | None:
        """Resolve a chain on the node at a path, if that is all that must be allowed."""
        below, entry, steps = self._node(path), self._entry(path), steps_of(text)
        if below is None or self._previews is None or asks_of(path, steps) != (path,):
            return None
        preview = self._previews.derive(entry.tree, entry.name, steps)
        recipe = preview.recipe
        if not recipe.shape or 0 in recipe.shape:
            return None
        shape, address = recipe.shape, address_of(path, preview)
        own, whole = unquote(address), tuple(map(range, shape))
        node = _Node(own, below.permit, False, recipe, shape, chunk_shape(recipe), whole, address)
        _remember(self._chains, (path, text), (node, preview), _MOST_NODES)
        return node, preview

    def _chunk(self, path: str, old: bool) -> Named | None:
        """Return the chunk that a path below zarr's v2 (`old`) or v3 names."""
        found = next(filter(None, (self._keyed(name, key) for name, key in _parted(path, old))), None)
        if found is None:
            return None
        node, key = found
        if len(key) != len(node.shape) or not all(map(_INDEX.fullmatch, key)):
            return None
        ranges: list[range] = []
        padded: tuple[int, ...] = ()
        for number, size, whole in zip(map(int, key), node.chunks, node.whole, strict=True):
            end = whole.stop
            start, stop = number * size, (number + 1) * size
            if start >= end:
                return Named(node.path, node.permit, None)
            if stop > end:
                padded = node.chunks
            ranges.append(whole if stop >= end and not start else range(start, min(stop, end)))
        selection = Selection(tuple(ranges), (True,) * len(ranges))
        return self._answer(node, Body.of(node.recipe, selection, padded=padded))

    def _keyed(self, name: str, key: list[str]) -> tuple[_Node, list[str]] | None:
        """Return the node called `name`, or that is the only level of the image of that name, with `key`.

        A node may be called like an image; then that is what it is.
        """
        node = self._node(name)
        if node is None and name.endswith(_IMAGE) and self._entry(name.removesuffix("/0")) is None:
            node = self._node(name.removesuffix(_IMAGE))
        return None if node is None else (node, key)

    def _answer(self, node: _Node, body: Body, shape: str | None = None) -> Named | None:
        if body.nbytes > get_settings().response_bytesize_limit:
            return None
        kind = (body.media_type, shape is None)
        if kind not in node.heads:
            head = self._head(node, *kind)
            node.heads[kind] = head, laid_out(head[1:])
        head, lines = node.heads[kind]
        tag = f'"{body.tag}"'
        own: RawHeaders = ((b"etag", tag.encode()),)
        if shape is not None:
            own += ((b"x-array-shape", shape.encode()),)
        lines_of_304 = lines + laid_out(own)
        return Named(
            node.path, node.permit, body, tag, (*head, *own), laid_out(head[:1]) + lines_of_304, lines_of_304
        )

    def _head(self, node: _Node, media_type: str, zarr: bool) -> RawHeaders:
        """Return the headers that all answers of one kind from a node have."""
        dtype = node.recipe.info.dtype.newbyteorder("<").str
        caching = http.IMMUTABLE if node.pinned else http.REVALIDATED
        head: RawHeaders = (
            (b"content-type", media_type.encode()),
            (b"cache-control", caching.encode()),
            (b"vary", self._vary().encode()),
            (b"accept-ranges", b"none"),
        )
        if node.address:
            told = in_a_header(node.recipe)
            head += ((b"x-node", node.address.encode()),)
            head += ((b"x-node-structure", told.encode()),) if told else ()
        return head if zarr else (*head, (b"x-array-dtype", dtype.encode()))

    def _node(self, path: str) -> _Node | None:
        """Return the node at a path, if there is one that has chunks."""
        node = self._nodes.get(path)
        if node is None and (node := self._look(path)) is not None:
            _remember(self._nodes, path, node, _MOST_NODES)
        return node

    def _look(self, path: str) -> _Node | None:
        entry = self._entry(path)
        if not isinstance(entry, NodeAdapter) or 0 in entry.recipe.info.shape or not entry.recipe.info.shape:
            return None
        above, slash, name = path.rpartition("/")
        plain, pinned, _ = name.partition("@")
        recipe = entry.recipe
        # A preview is no node to ask tiled about; whoever may read its tree, and all that enters it, may read it.
        also = entry.rights.also if entry.rights else ()
        if plain == PREVIEW and also:
            return None
        shape, asked = recipe.info.shape, f"{above}{slash}{ROOT if plain == PREVIEW else plain}"
        permit = "\0".join((asked, *(rights.address for rights in also)))
        own, whole = path if plain == PREVIEW else asked, tuple(map(range, shape))
        return _Node(own, permit, bool(pinned), recipe, shape, chunk_shape(recipe), whole)

    def _entry(self, path: str) -> Any:
        """Return what is at a path, or None."""
        entry = self._root
        for name in path.split("/"):
            try:
                entry = entry[name]
            except (KeyError, TypeError):
                return None
        return entry


def laid_out(headers: RawHeaders) -> bytes:
    """Return headers as they go over the wire."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


def _remember(held: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    held[key] = value
    if len(held) > most:
        held.popitem(last=False)


def _parameters(query: bytes, known: frozenset[str]) -> dict[str, str] | None:
    """Return the parameters of a query, or None where it has one that is unknown or stands twice."""
    given: dict[str, str] = {}
    if not query:
        return given
    if b"+" in query:
        return None
    for part in query.decode("latin-1").split("&"):
        name, equals, value = part.partition("=")
        if name not in known or name in given or not equals:
            return None
        given[name] = unquote(value) if "%" in value else value
    return given


def _media_type(wanted: str | None, accept: bytes | None) -> str | None:
    """Choose as tiled does: a format goes before Accept, and the first of a list that there is."""
    if wanted is not None:
        return None if wanted == "*/*" else _MEDIA_TYPES.get(wanted)
    if accept is None:
        return OCTETS
    return _MEDIA_TYPES.get(accept.partition(b",")[0].decode("latin-1").lstrip(" "))


def _slice(node: _Node, text: str) -> Selection | None:
    if _NUMBERS.fullmatch(text):  # most often: one frame, or a pixel of it
        index = tuple(map(int, text.split(",")))
        count, axes = len(index), len(node.shape)
        if count <= axes and all(map(lt, index, node.shape)):
            taken = (*[range(i, i + 1) for i in index], *node.whole[count:])
            return Selection(taken, (False,) * count + (True,) * (axes - count))
    if not text:
        return Selection.of((), node.shape)
    if not _SLICE.fullmatch(text):
        return None
    return Selection.of(map(_bounds, text.split(",")), node.shape)


def _bounds(part: str) -> int | slice:
    if ":" not in part:
        return int(part)
    return slice(*(int(bound) if bound else None for bound in part.split(":")))


def _block(node: _Node, text: str) -> Selection | None:
    if not _NUMBERS.fullmatch(text):
        return None
    index = tuple(map(int, text.split(",")))
    if len(index) != len(node.shape):
        return None
    ranges = tuple(
        range(i * size, min((i + 1) * size, end))
        for i, size, end in zip(index, node.chunks, node.shape, strict=True)
    )
    return Selection(ranges, (True,) * len(ranges)) if all(ranges) else None


def _parted(path: str, old: bool) -> Iterator[tuple[str, list[str]]]:
    """Part a path below zarr into a node that may be and the indices of a chunk: at most one is a node."""
    if not old:
        name, _, indices = path.rpartition("/c/")
        yield name, indices.split("/")
        return
    name, _, last = path.rpartition("/")
    if "." in last:
        yield name, last.split(".")
        return
    key: list[str] = []
    while name and last.isdecimal() and len(key) < 32:
        key.insert(0, last)
        yield name, list(key)
        name, _, last = name.rpartition("/")
