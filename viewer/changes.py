"""Changing nodes over HTTP: rename, delete, undo; who may. Every call blocks until answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from viewer.addresses import quoted
from viewer.errors import Forbidden, Refused

if TYPE_CHECKING:
    from viewer.nodes import Node
    from viewer.wire import Service

    Path = tuple[str, ...]

NODES = "/api/v1/nodes"
NOT_FOUND, NOT_ALLOWED, CONFLICT = 404, 405, 409
NO_SUCH = "This service keeps its nodes as they are."


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion took: names of nodes, and the number of the change that undoes it."""

    tree: Path
    names: tuple[str, ...]
    change: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """Why nodes of a tree can be neither renamed nor deleted; empty where they can."""

    rename: str = ""
    delete: str = ""


def rename(service: Service, node: Node, name: str) -> Path:
    """Give a node another name, unless somebody else changed it since.

    Returns
    -------
    tuple of str
        Its path now.

    Raises
    ------
    Refused
        With status 409 where the name is taken, 412 where somebody was faster.
    """
    answer = service.send("PATCH", _address(node.path), json={"name": name}, headers=_if_match(node))
    return (*node.tree, str(answer.json()["data"]["id"]))


def delete(service: Service, node: Node, recursive: bool) -> Deletion:
    """Delete a node; with `recursive` all that is made from it too.

    Raises
    ------
    Refused
        With status 409 where others are made from it, 412 where somebody was faster.
    """
    url = _address(node.path) + ("?recursive=true" if recursive else "")
    told = service.send("DELETE", url, headers=_if_match(node)).json()["data"]
    return Deletion(node.tree, tuple(map(str, told["deleted"])), int(told["change"]))


def undo(service: Service, deletion: Deletion) -> tuple[str, ...]:
    """Bring back what was deleted; returns the names."""
    address = f"{_address(deletion.tree)}/undo"
    told: dict[str, Any] = service.send("POST", address, json={"change": deletion.change}).json()["data"]
    return tuple(str(node["id"]) for node in told["changed"])


def allowed(service: Service, root: Node) -> Allowed:
    """Find out what may be done to the nodes of a tree.

    Asked of its root, which the service refuses to change or delete to everybody, but to those who may not with
    another status.
    """
    return Allowed(_why_not(service, "PATCH", root), _why_not(service, "DELETE", root))


def _why_not(service: Service, method: str, root: Node) -> str:
    # A version that no node has: whatever else it may mean, it changes nothing.
    given: dict[str, Any] = {"headers": {"If-Match": '"none"'}}
    if method == "PATCH":
        given["json"] = {"name": root.name}
    try:
        service.send(method, _address(root.path), **given)
    except Forbidden as error:
        return str(error)
    except Refused as error:
        return NO_SUCH if error.status in (NOT_FOUND, NOT_ALLOWED) else ""
    return ""


def _address(path: Path) -> str:
    return f"{NODES}/{quoted(path)}"


def _if_match(node: Node) -> dict[str, str]:
    return {"If-Match": f'"{node.version}"'}
