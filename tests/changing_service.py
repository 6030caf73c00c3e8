"""The stand-in's nodes can be renamed, deleted and brought back, and it tells of that: for the viewer's tests."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from viewer_service import PinnedMap


class Changes:
    """What is done to the nodes of the trees below `top`, and who hears of it.

    `forbidden` are methods that this key may not use; `telling` is False for a service without events.
    """

    def __init__(self, top: PinnedMap, telling: bool = True) -> None:
        self.top, self.telling = top, telling
        self.forbidden: set[str] = set()
        self.done: list[Callable[[], dict[str, Any]]] = []  # what takes each change back
        self.followers: list[asyncio.Queue] = []
        self.followed: list[str] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.router = APIRouter()
        self.router.add_api_route("/nodes/{path:path}/events", self.events, methods=["GET"])
        self.router.add_api_route("/nodes/{path:path}/undo", self.undo, methods=["POST"])
        self.router.add_api_route("/nodes/{path:path}", self.change, methods=["PATCH"])
        self.router.add_api_route("/nodes/{path:path}", self.delete, methods=["DELETE"])

    def tree(self, path: str) -> PinnedMap:
        found = self.top
        for part in path.split("/"):
            found = found._mapping[part]
        return found

    def put(self, path: str, name: str, node: Any) -> None:
        """Somebody else puts a node in the place of another; None takes it away."""
        tree = self.tree(path)
        tree._mapping.pop(name, None)
        if node is not None:
            tree._mapping[name] = node
        self.tell("node", {"what": "changed" if node is not None else "deleted", "name": name})

    def tell(self, event: str, data: dict[str, Any] | None) -> None:
        """Tell all who follow, from any thread; None hangs up."""
        for queue in list(self.followers):
            self.loop.call_soon_threadsafe(queue.put_nowait, data and (event, data))

    async def events(self, path: str) -> Any:
        self.followed.append(path)
        if not self.telling:
            raise HTTPException(404, "no events here")
        self.loop, queue = asyncio.get_running_loop(), asyncio.Queue()
        self.followers.append(queue)

        async def stream() -> Any:
            try:
                yield 'event: tree\ndata: {"change": 1}\n\n'
                while (told := await queue.get()) is not None:
                    yield f": alive\nevent: {told[0]}\ndata: {json.dumps(told[1])}\n\n"
            finally:
                self.followers.remove(queue)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def change(self, path: str, request: Request) -> Any:
        self._allow("PATCH")
        tree, name = self._own(path)
        wanted = await request.json()
        self._match(tree, name, request)
        if wanted["name"] in tree._mapping:
            raise HTTPException(409, f"There is a node called {wanted['name']!r} already.")
        self._rename(tree, name, wanted["name"])
        return JSONResponse({"data": {"id": wanted["name"]}}, headers={"ETag": f'"{len(self.done)}"'})

    def _rename(self, tree: PinnedMap, name: str, other: str) -> dict[str, Any]:
        if name not in tree._mapping:
            raise HTTPException(409, f"{name!r} was changed by ada since.")
        tree._mapping = {other if key == name else key: node for key, node in tree._mapping.items()}
        self.done.append(lambda: self._rename(tree, other, name))
        self._attributes(tree._mapping[other])["version"] = len(self.done)
        self.tell("node", {"what": "changed", "name": other})
        return {"changed": [{"id": other}], "deleted": []}

    def _delete(self, tree: PinnedMap, names: list[str]) -> dict[str, Any]:
        gone = {name: tree._mapping.pop(name) for name in names}
        self.done.append(lambda: self._bring_back(tree, gone))
        self.tell("node", {"what": "deleted", "name": names[0]})
        return {"changed": [], "deleted": names}

    def _bring_back(self, tree: PinnedMap, nodes: dict[str, Any]) -> dict[str, Any]:
        if any(name in tree._mapping for name in nodes):
            raise HTTPException(409, "Somebody has made another node of that name since.")
        tree._mapping.update(nodes)
        self.done.append(lambda: self._delete(tree, list(nodes)))
        self.tell("node", {"what": "made"})
        return {"changed": [{"id": name} for name in nodes], "deleted": []}

    async def delete(self, path: str, request: Request, recursive: bool = False) -> Any:
        self._allow("DELETE")
        tree, name = self._own(path)
        self._match(tree, name, request)
        gone = [name]
        for one in gone:
            gone += [key for key, node in tree._mapping.items() if self._attributes(node)["parent"] == one]
        if len(gone) > 1 and not recursive:
            raise HTTPException(409, f"Others are made from {name!r}: {', '.join(gone[1:])}.")
        self._delete(tree, gone)
        return {"data": {"deleted": gone, "change": len(self.done)}}

    async def undo(self, path: str, request: Request) -> Any:
        told = self.done[(await request.json())["change"] - 1]()
        return {"data": {**told, "change": len(self.done)}}

    @staticmethod
    def _attributes(node: Any) -> dict[str, Any]:
        return node.metadata()["attributes"]

    def _allow(self, method: str) -> None:
        if method in self.forbidden:
            raise HTTPException(403, "not on this server")

    def _own(self, path: str) -> tuple[PinnedMap, str]:
        above, _, name = path.rpartition("/")
        if name in ("root", "navigator"):
            raise HTTPException(422, f"{name!r} is the tree's own.")
        tree = self.tree(above)
        if name not in tree._mapping:
            raise HTTPException(404, f"There is no {name!r} any more.")
        return tree, name

    def _match(self, tree: PinnedMap, name: str, request: Request) -> None:
        given = request.headers.get("If-Match")
        version = self._attributes(tree._mapping[name]).get("version", 0)
        if given is not None and given != f'"{version}"':
            raise _Outdated(f"{name!r} is of version {version}, changed by ada at 12:03.")


class _Outdated(HTTPException):
    def __init__(self, detail: str) -> None:
        super().__init__(412, detail)
