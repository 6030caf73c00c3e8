"""Changing nodes over HTTP: rename, delete, undo; what was done, and who may. Every call blocks until answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from viewer.addresses import quoted
from viewer.errors import Forbidden, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from viewer.nodes import Node
    from viewer.wire import Service

    Path = tuple[str, ...]

NODES = "/api/v1/nodes"
NOT_FOUND, NOT_ALLOWED, CONFLICT = 404, 405, 409
NO_SUCH = "This service keeps its nodes as they are."
MOST_PAST, MOST_LETTERS = 30, 40


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was done to nodes of a tree, and can be undone.

    Parameters
    ----------
    tree : tuple of str
        Path of the tree.
    number : int
        The service's number of it.
    what : str
        In words: ``renamed 'a' to 'b'``.
    names : tuple of str
        What it deleted, what its undoing brings back.
    """

    tree: Path
    number: int
    what: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undoing came to: the number of the change that it is itself, names of what is there, and is not."""

    number: int
    there: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Why nodes of a tree can be neither renamed nor deleted; empty where they can."""

    rename: str = ""
    delete: str = ""


def rename(service: Service, node: Node, name: str) -> Change:
    """Give a node another name, unless somebody else changed it since.

    Raises
    ------
    Refused
        With status 409 where the name is taken, 412 where somebody was faster.
    """
    answer = service.send("PATCH", _address(node.path), json={"name": name}, headers=_if_match(node))
    number = answer.headers.get("ETag", "").strip('"')
    now = str(answer.json()["data"]["id"])
    return Change(node.tree, int(number) if number.isdecimal() else 0, f"renamed '{node.name}' to '{now}'")


def delete(service: Service, node: Node, recursive: bool) -> Change:
    """Delete a node; with `recursive` all that is made from it too.

    Raises
    ------
    Refused
        With status 409 where others are made from it, 412 where somebody was faster.
    """
    url = _address(node.path) + ("?recursive=true" if recursive else "")
    told = service.send("DELETE", url, headers=_if_match(node)).json()["data"]
    names = tuple(map(str, told["deleted"]))
    others = len([name for name in names if name != node.name])
    more = f" and {others} made from it" if others else ""
    return Change(node.tree, int(told["change"]), f"deleted '{node.name}'{more}", names)


def undo(service: Service, change: Change) -> Undone:
    """Take back what was done; taking that back does it again.

    Raises
    ------
    Refused
        With status 409 where it was changed again since.
    """
    address = f"{_address(change.tree)}/undo"
    told: dict[str, Any] = service.send("POST", address, json={"change": change.number}).json()["data"]
    there = tuple(str(node["id"]) for node in told["changed"])
    return Undone(int(told["change"]), there, tuple(map(str, told["deleted"])))


def history(service: Service, path: Path, tree: Path) -> tuple[tuple[str, Change], ...]:
    """Return what was done to a tree or a node of it, newest first: when and by whom, and what."""
    told = service.send("GET", f"{_address(path)}/history?limit={MOST_PAST}").json()["data"]
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in told:
        rows.setdefault(int(row["change"]), []).append(row)
    return tuple(_past(tree, number, alike) for number, alike in rows.items())


def _past(tree: Path, number: int, rows: Sequence[dict[str, Any]]) -> tuple[str, Change]:
    """Return one change of a history; those that it made to several nodes are one."""
    first = rows[0]
    at = datetime.fromisoformat(first["at"]).astimezone()
    when = f"{at:%H:%M}" if at.date() == datetime.now(at.tzinfo).date() else f"{at.day} {at:%b %H:%M}"
    what = difference(first.get("before"), first.get("after"))
    undone = "undone: " if first["what"] == "undone" else ""
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    who = " · ".join(part for part in (when, first.get("by")) if part)
    gone = tuple(row["before"]["name"] for row in rows if row.get("after") is None)
    return who, Change(tree, number, f"{undone}{what}{more}", gone)


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Return in words what was done to a node: ``changed 'a': sigma 1 → 2``."""
    if before is None or after is None:
        return f"made '{(after or {}).get('name')}'" if after else f"deleted '{(before or {}).get('name')}'"
    if before["name"] != after["name"]:
        return f"renamed '{before['name']}' to '{after['name']}'"
    if before["operation"] != after["operation"]:
        return f"changed '{after['name']}': {before['operation']} → {after['operation']}"
    old, new = before.get("parameters") or {}, after.get("parameters") or {}
    moved = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    told = ", ".join(f"{name} {_short(old.get(name))} → {_short(new.get(name))}" for name in moved)
    return f"changed '{after['name']}': {told}" if told else f"described '{after['name']}'"


def _short(value: Any) -> str:
    """Return a parameter, short enough to stand in a line."""
    if isinstance(value, dict) and "value" in value:
        return f"{value['value']} {value.get('unit') or ''}".strip()
    text = str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "none" if value is None else text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


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
