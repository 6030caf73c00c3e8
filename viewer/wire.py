"""The service over HTTP: what it lists, the arrays it sends, and what can go wrong.

Decoding happens in the calling thread, which is a worker's.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import numpy as np

from viewer.addresses import Address, Derivation, decode, locate, question, quoted
from viewer.answered import refusal, stages_of
from viewer.connections import Call, Connections
from viewer.described import (
    attributes_of,
    entry_from_json,
    indexing_from_json,
    node_from_json,
    operation_from_json,
)
from viewer.errors import Forbidden, Garbled, Overtaken, Refused, Unreachable
from viewer.nodes import PREVIEW, Node, Sort, Tree
from viewer.walk import Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from viewer.described import Operation
    from viewer.nodes import Entry, Indexing
    from viewer.trials import Trial
    from viewer.view_state import Request

PAGE = 200
# What a list of files needs: without it tiled describes structures, sorting and links too.
LISTED = "fields=metadata&fields=specs&fields=structure_family&fields=count&omit_links=true"
UNPROCESSABLE, PRECONDITION_FAILED = 422, 412
# What stands beside a slice of what is not kept.
DERIVED = ("X-Node", "X-Array-Dtype", "X-Node-Structure")
# Where a service begins to speak: what is pasted from a browser or from Python goes on behind it.
PASTED = re.compile(r"/(?:api/v1|ui)(?=/|$)|/api/?$")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT = httpx.Timeout(60.0, connect=4.0)


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
    node : Node or None
        What it is a slice of, where that was not known before.
    """

    array: NDArray[Any]
    bytes: int
    stages: dict[str, float]
    node: Node | None = None


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
        self._key = key = api_key or next(iter(parse_qs(parts.query).get("api_key", [])), None)
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
        self.client = make  # what is followed for hours has its own
        self._client = make(limits=httpx.Limits(max_connections=32, keepalive_expiry=30))
        self._connections = Connections(make)

    def another(self) -> Service:
        """Return the same service with connections of its own: for a second window."""
        return Service(self.url, self._key)

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
        if isinstance(address, Derivation):
            return self._derive(address, call)
        return _received(self._fetch(address.url, None, call), address)

    def describe(self, trial: Trial) -> Node:
        """Return what a trial makes."""
        url, told = question(trial, sliced=False)
        item = self._json("POST" if told else "GET", url, writing=False, json=told)["data"]
        node = node_from_json((*trial.node.tree, PREVIEW), item["attributes"])
        if node is None:
            raise Garbled(f"{self.name} derives what is not an array.")
        return node

    def _derive(self, address: Derivation, call: Call) -> Received:
        """Ask for a slice, which tells what it is a slice of: one round trip.

        The array is empty where the node is not what was expected, so that another slice must be asked for.
        """
        trial, answer, node, refused = address.trial, None, None, None
        try:
            answer = self._fetch(*question(trial, sliced=True), call) if trial.slice else None
        except Refused as error:
            refused = error
        if answer is not None:
            node = trial.made(*(answer.headers.get(name, "") for name in DERIVED))
        node = node or self.describe(trial)
        request = trial.request(node)
        if refused is not None and request is not None:
            raise refused
        if answer is None or request is None:
            return Received(np.empty(0), 0, {}, node)
        expected = Address(address.url, request.shape, node.dtype.str)
        return _received(answer, expected)._replace(node=node)

    def _fetch(self, url: str, told: object, call: Call) -> httpx.Response:
        headers = {"Accept-Encoding": "identity"}
        if call.priority:
            headers["Priority"] = call.priority
        with self.reaching():
            answer = self._connections.ask(url, told, headers, call)
        self.check(answer, writing=False)
        return answer

    def top(self) -> tuple[str, Indexing]:
        """Return what changes when anything at the top does, and how far indexing is: a cheap question."""
        item = self._json("GET", "/api/v1/metadata/").get("data") or {"attributes": {}}
        attributes = item["attributes"]
        mark = json.dumps([attributes.get("metadata"), attributes.get("structure")])
        return mark, indexing_from_json(attributes_of(item))

    def page(self, folder: tuple[str, ...], offset: int) -> Page:
        """List one page of a folder, without looking into anything it holds."""
        url = f"/api/v1/search/{quoted(folder)}?page[offset]={offset}&page[limit]={PAGE}&{LISTED}"
        page = self._listing(url)
        entries = (entry_from_json(folder, item) for item in page["data"])
        known = tuple(entry for entry in entries if entry is not None)
        return Page(folder, offset, known, len(page["data"]), page.get("meta", {}).get("count", 0))

    def find(self, folder: tuple[str, ...], text: str) -> frozenset[tuple[str, ...]]:
        """Paths in a folder whose name, title, type… the service finds for a text: its first page."""
        query = f"filter[fulltext][condition][text]={quote(text, safe='')}"
        page = self._listing(f"/api/v1/search/{quoted(folder)}?{query}&page[limit]={PAGE}&{LISTED}")
        return frozenset((*folder, item["id"]) for item in page["data"])

    def trees(self, entry: Entry) -> tuple[Tree, ...]:
        """List the trees of a file with their nodes; a root is called as its file, or its signal where it has many."""
        if entry.sort is Sort.TREE:
            return (self.tree(entry.path).labelled(entry.path[-1]),)
        trees = [
            self.tree((*entry.path, child["id"]), attributes_of(child).get("title") or "")
            for child in self._children(entry.path)
            if child["attributes"].get("structure_family") == "container"
        ]
        return tuple(tree.labelled((entry if len(trees) == 1 else tree).path[-1]) for tree in trees)

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
        item = self._json("GET", f"/api/v1/metadata/{quoted(path)}")["data"]
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
        answer = self.send("POST", f"/api/v1/nodes/{quoted(tree)}", json=body)
        made = httpx.URL(answer.headers.get("Location", "")).path.rstrip("/").rpartition("/")[2] or name
        if not made:
            raise Garbled("The service made a node but does not say where it is.")
        return self.node((*tree, made))

    def change_node(self, known: Node, operation: str, parameters: Mapping[str, Any]) -> Node:
        """Give a node other parameters, unless somebody else changed it since.

        Raises
        ------
        Overtaken
            Somebody did; the error has the node as it is now.
        """
        body = {"operation": operation, "parameters": dict(parameters)}
        with self.reaching():
            answer = self._client.patch(
                f"/api/v1/nodes/{quoted(known.path)}", json=body, headers={"If-Match": f'"{known.version}"'}
            )
        if answer.status_code == PRECONDITION_FAILED:
            now = node_from_json(known.path, answer.json()["data"]["attributes"])
            raise Overtaken(str(answer.json()["detail"]), now or known)
        self.check(answer, writing=True)
        return self.node((*known.tree, answer.json()["data"]["id"]))

    def why_not_create(self, tree: tuple[str, ...]) -> str:
        """Return why no node can be made in a tree with this key; empty where it can.

        Asked with an empty wish, which the service refuses as such only to those who may make nodes.
        """
        try:
            self.send("POST", f"/api/v1/nodes/{quoted(tree)}", json={})
        except Forbidden as error:
            return str(error)
        except Refused as error:
            return "" if error.status == UNPROCESSABLE else str(error)
        return ""

    def _children(self, path: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield what is listed below `path` with its structure, page by page."""
        offset, count = 0, 1
        while offset < count:
            page = self._listing(f"/api/v1/search/{quoted(path)}?page[offset]={offset}&page[limit]={PAGE}")
            yield from page["data"]
            count = page.get("meta", {}).get("count", 0)
            offset += len(page["data"]) or count

    def _listing(self, url: str) -> dict[str, Any]:
        page = self._json("GET", url)
        if not isinstance(page.get("data"), list):
            raise Garbled(f"{self.url} is not a tiled-spyde service: it lists nothing.")
        return page

    def _json(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.send(method, url, **more).json()
        except ValueError as error:
            raise Garbled(f"{self.url} is not a tiled-spyde service: it answers without JSON.") from error
        return answer

    def send(self, method: str, url: str, writing: bool | None = None, **content: Any) -> httpx.Response:
        """Send one request; anything but success is raised. All but GET is taken for `writing`, unless told."""
        with self.reaching():
            answer = self._client.request(method, url, **content)
        self.check(answer, writing=method != "GET" if writing is None else writing)
        return answer

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Say what the transport complains of as a person would."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.name} does not answer in time.") from error
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            raise Unreachable(f"{self.name} cannot be reached: {_reason(error)}.") from error

    def check(self, answer: httpx.Response, writing: bool) -> None:
        """Raise what a status means, unless it is success."""
        if not answer.is_success:
            raise refusal(answer, self.name, writing)


def _reason(error: Exception) -> str:
    """First line of what the transport says, in words."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "connection refused" if "refused" in text.lower() else text.rstrip(".")


def _received(answer: httpx.Response, address: Address) -> Received:
    array = decode(answer.content, address)
    return Received(array, len(answer.content), stages_of(answer.headers.get("Server-Timing", "")))
