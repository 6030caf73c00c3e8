"""The service over HTTP: what it lists, the arrays it sends, and what can go wrong.

A slice travels as one Blosc frame: as the pinned zarr v3 chunk that holds it where there is one (the
address every cache on the way knows), as ``array/full`` with a slice otherwise. Decoding happens in the
calling thread, which is a worker's.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import numpy as np
from numcodecs.blosc import Blosc

from viewer.answered import refusal, stages_of
from viewer.connections import Call, Connections
from viewer.described import (
    attributes_of,
    entry_from_json,
    indexing_from_json,
    node_from_json,
    operation_from_json,
)
from viewer.errors import Forbidden, Garbled, Refused, Unreachable
from viewer.nodes import Node, Sort, Tree
from viewer.view_state import Span
from viewer.walk import Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from viewer.described import Operation
    from viewer.nodes import Entry, Indexing
    from viewer.view_state import Request, Selection

BLOSC = "application/x-blosc"
_BLOSC = Blosc()  # frames describe themselves, so one codec reads them all
PAGE = 200
# What a list of files needs: without it tiled describes structures, sorting and links too.
LISTED = "fields=metadata&fields=specs&fields=structure_family&fields=count&omit_links=true"
UNPROCESSABLE = 422
# Where a service begins to speak: what is pasted from a browser or from Python goes on behind it.
PASTED = re.compile(r"/(?:api/v1|ui)(?=/|$)|/api/?$")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT = httpx.Timeout(60.0, connect=4.0)
# A whole chunk is worth its bytes when it is small, since its neighbours come with it.
SMALL_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where an array is: equal addresses give equal bytes, so this is the key of every cache.

    Parameters
    ----------
    url : str
        Path and query below the service's base.
    shape : tuple of int
        Shape of the array that comes.
    dtype : str
        Its dtype, little-endian.
    """

    url: str
    shape: tuple[int, ...]
    dtype: str


Crop = tuple["int | slice", ...]


class Received(NamedTuple):
    """An array that came.

    Parameters
    ----------
    array : numpy.ndarray
        As the address says.
    bytes : int
        Bytes that travelled.
    stages : dict of str to float
        Seconds that the service says it took, by stage; empty where it says nothing.
    """

    array: NDArray[Any]
    bytes: int
    stages: dict[str, float]


def locate(request: Request) -> tuple[Address, Crop]:
    """Return the address that holds a slice, and how to cut the slice out of what comes.

    Parameters
    ----------
    request : Request
        One entry per axis of the node.
    """
    node = request.node
    chunk = _chunk_of(request.selection, node)
    if chunk is not None:
        indices, crop = chunk
        url = "/".join((f"/zarr/v3/{_pinned(node)}/c", *map(str, indices)))
        return Address(url, node.chunks, node.dtype.str), crop
    url = f"/api/v1/array/full/{_pinned(node)}?format={BLOSC}&slice={slice_text(request.selection, node)}"
    return Address(url, request.shape, node.dtype.str), ()


def _chunk_of(selection: Selection, node: Node) -> tuple[tuple[int, ...], Crop] | None:
    """Index of the one chunk that holds `selection` and the cut in it; None where a slice is better."""
    indices, crop, wanted = [], [], 1
    for part, size in zip(selection, node.chunks, strict=True):
        first, last = (part.start, part.stop - 1) if isinstance(part, Span) else (part, part)
        if first // size != last // size or (isinstance(part, Span) and part.step != 1):
            return None
        indices.append(first // size)
        start = first - first // size * size
        crop.append(slice(start, start + len(part)) if isinstance(part, Span) else start)
        wanted *= len(part) if isinstance(part, Span) else 1
    chunk = int(np.prod(node.chunks))
    worthwhile = 2 * wanted >= chunk or chunk * node.dtype.itemsize <= SMALL_CHUNK_BYTES
    return (tuple(indices), tuple(crop)) if worthwhile else None


def _pinned(node: Node) -> str:
    """Path of the node, percent-encoded, pinned to its key where it has one."""
    path = "/".join(quote(segment, safe="") for segment in node.path)
    return f"{path}@{quote(node.key, safe='')}" if node.key else path


def slice_text(selection: Selection, node: Node) -> str:
    """Write a selection in numpy's syntax, as short as it goes: ``3,4``, ``::8,::8``, ``7,0:512:2,:``."""
    return ",".join(
        _span_text(part, axis.size) if isinstance(part, Span) else str(part)
        for part, axis in zip(selection, node.axes, strict=True)
    )


def _span_text(span: Span, size: int) -> str:
    bounds = ":" if (span.start, span.stop) == (0, size) else f"{span.start}:{span.stop}"
    return bounds if span.step == 1 else f"{bounds}:{span.step}"


def decode(body: bytes, address: Address) -> NDArray[Any]:
    """Array in one Blosc frame, native byte order, C order.

    Raises
    ------
    Garbled
        Not a Blosc frame, or not as long as shape and dtype say.
    """
    dtype = np.dtype(address.dtype)
    try:
        flat = np.frombuffer(_BLOSC.decode(body), dtype=dtype)
        return flat.reshape(address.shape).astype(dtype.newbyteorder("="), copy=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Garbled(f"The answer for {address.url} is not a {address.shape} array: {error}") from error


class Service:
    """A tiled-spyde service. Safe to call from several threads; every call blocks until answered.

    Parameters
    ----------
    url : str
        ``http://host:port``, or ``https://host/sub/path`` behind a proxy; what a browser or Python shows
        behind that (``/ui``, ``/api/v1``, ``?api_key=``) may follow.
    api_key : str or None
        Sent with every request; a key in the URL is used where this is None.
    timeout : httpx.Timeout
        Bounds of connecting and of waiting for an answer.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout: httpx.Timeout = TIMEOUT) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if not parts.hostname or parts.scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is not the address of a service: try http://localhost:8000")
        key = api_key or next(iter(parse_qs(parts.query).get("api_key", [])), None)
        prefix = PASTED.split(parts.path, maxsplit=1)[0].rstrip("/")
        self.name = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{self.name}{prefix}"
        make = partial(
            httpx.Client,
            base_url=self.url,
            headers={"Authorization": f"Apikey {key}"} if key else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=30),
            trust_env=parts.hostname not in LOOPBACK,
            verify=httpx.create_ssl_context(),  # once: reading the certificates takes 20 ms
        )
        self._client = make(limits=httpx.Limits(max_connections=32, keepalive_expiry=30))
        self._connections = Connections(make)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._connections.close()

    def about(self) -> dict[str, Any]:
        """Return what the service says of itself: the quickest way to know that it is there."""
        return self._json("GET", "/api/v1/")

    def fetch(self, request: Request) -> NDArray[Any]:
        """Return the slice a request names.

        Raises
        ------
        ServiceError
            Any of its branches.
        """
        address, crop = locate(request)
        return self.read(address, Call()).array[crop]

    def read(self, address: Address, call: Call) -> Received:
        """Return the array at an address.

        Parameters
        ----------
        address : Address
            Where it is.
        call : Call
            Says how urgent it is; another thread may end it, which is `Unreachable` here.
        """
        headers = {"Accept-Encoding": "identity"}
        if call.priority:
            headers["Priority"] = call.priority
        with self._reaching():
            answer = self._connections.get(address.url, headers, call)
        self._check(answer, writing=False)
        array = decode(answer.content, address)
        return Received(array, len(answer.content), stages_of(answer.headers.get("Server-Timing", "")))

    def top(self) -> tuple[str, Indexing]:
        """Return what changes when anything at the top does, and how far indexing is: a cheap question."""
        item = self._json("GET", "/api/v1/metadata/").get("data") or {"attributes": {}}
        attributes = item["attributes"]
        mark = json.dumps([attributes.get("metadata"), attributes.get("structure")])
        return mark, indexing_from_json(attributes_of(item))

    def page(self, folder: tuple[str, ...], offset: int) -> Page:
        """List one page of a folder, without looking into anything it holds."""
        url = f"/api/v1/search/{_quoted(folder)}?page[offset]={offset}&page[limit]={PAGE}&{LISTED}"
        page = self._listing(url)
        entries = (entry_from_json(folder, item) for item in page["data"])
        known = tuple(entry for entry in entries if entry is not None)
        return Page(folder, offset, known, len(page["data"]), page.get("meta", {}).get("count", 0))

    def find(self, folder: tuple[str, ...], text: str) -> frozenset[tuple[str, ...]]:
        """Paths in a folder whose name, title, type… the service finds for a text: its first page."""
        query = f"filter[fulltext][condition][text]={quote(text, safe='')}"
        page = self._listing(f"/api/v1/search/{_quoted(folder)}?{query}&page[limit]={PAGE}&{LISTED}")
        return frozenset((*folder, item["id"]) for item in page["data"])

    def trees(self, entry: Entry) -> tuple[Tree, ...]:
        """List the trees of a file with their nodes."""
        if entry.sort is Sort.TREE:
            return (self.tree(entry.path),)
        return tuple(
            self.tree((*entry.path, child["id"]), attributes_of(child).get("title") or "")
            for child in self._children(entry.path)
            if child["attributes"].get("structure_family") == "container"
        )

    def tree(self, path: tuple[str, ...], title: str = "") -> Tree:
        """List the nodes of one tree."""
        nodes = (node_from_json((*path, child["id"]), child["attributes"]) for child in self._children(path))
        return Tree(path, tuple(node for node in nodes if node is not None), title)

    def node(self, path: tuple[str, ...]) -> Node:
        """Return one node as it is now.

        Raises
        ------
        Refused
            There is none, or it is not an array.
        """
        item = self._json("GET", f"/api/v1/metadata/{_quoted(path)}")["data"]
        node = node_from_json(path, item["attributes"])
        if node is None:
            raise Refused(f"{'/'.join(path)} is not an array.")
        return node

    def operations(self) -> tuple[Operation, ...]:
        """List what can be made of a node."""
        listed: Any = self._json("GET", "/api/v1/operations")
        if isinstance(listed, dict):
            listed = listed.get("data", [])
        return tuple(map(operation_from_json, listed))

    def make_node(
        self,
        tree: tuple[str, ...],
        parent: str,
        operation: str,
        parameters: Mapping[str, Any],
        name: str | None = None,
    ) -> Node:
        """Keep a new node in a tree, or find the same one that is there already.

        Parameters
        ----------
        tree : tuple of str
            Path of the tree.
        parent : str
            Name of the node it is made from.
        operation : str
            A name from `operations`.
        parameters : mapping
            What its schema asks for.
        name : str or None
            None to leave naming to the service.

        Returns
        -------
        Node
            As the service describes it.
        """
        body = {"parent": parent, "operation": operation, "parameters": dict(parameters)}
        if name is not None:
            body["name"] = name
        answer = self._send("POST", f"/api/v1/nodes/{_quoted(tree)}", json=body)
        made = httpx.URL(answer.headers.get("Location", "")).path.rstrip("/").rpartition("/")[2] or name
        if not made:
            raise Garbled("The service made a node but does not say where it is.")
        return self.node((*tree, made))

    def why_not_create(self, tree: tuple[str, ...]) -> str:
        """Return why no node can be made in a tree with this key; empty where it can.

        Asked with an empty wish, which the service refuses as such only to those who may make nodes.
        """
        try:
            self._send("POST", f"/api/v1/nodes/{_quoted(tree)}", json={})
        except Forbidden as error:
            return str(error)
        except Refused as error:
            return "" if error.status == UNPROCESSABLE else str(error)
        return ""

    def _children(self, path: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield what is listed below `path` with its structure, page by page."""
        offset, count = 0, 1
        while offset < count:
            page = self._listing(f"/api/v1/search/{_quoted(path)}?page[offset]={offset}&page[limit]={PAGE}")
            yield from page["data"]
            count = page.get("meta", {}).get("count", 0)
            offset += len(page["data"]) or count

    def _listing(self, url: str) -> dict[str, Any]:
        page = self._json("GET", url)
        if not isinstance(page.get("data"), list):
            raise Garbled(f"{self.url} is not a tiled-spyde service: it lists nothing.")
        return page

    def _json(self, method: str, url: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._send(method, url).json()
        except ValueError as error:
            raise Garbled(f"{self.url} is not a tiled-spyde service: it answers without JSON.") from error
        return answer

    def _send(self, method: str, url: str, **content: Any) -> httpx.Response:
        """Send one request; anything but success is raised."""
        with self._reaching():
            answer = self._client.request(method, url, **content)
        self._check(answer, writing=method != "GET")
        return answer

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say what the transport complains of as a person would."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.name} does not answer in time.") from error
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            raise Unreachable(f"{self.name} cannot be reached: {_reason(error)}.") from error

    def _check(self, answer: httpx.Response, writing: bool) -> None:
        if not answer.is_success:
            raise refusal(answer, self.name, writing)


def _reason(error: Exception) -> str:
    """First line of what the transport says, in words."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "connection refused" if "refused" in text.lower() else text.rstrip(".")


def _quoted(path: Sequence[str]) -> str:
    return "/".join(quote(segment, safe="") for segment in path)
