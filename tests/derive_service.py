"""A stand-in that derives, makes and changes nodes as our server does: one operation, kept in memory."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from tiled.ndslice import NDSlice
from viewer_service import CODEC, PinnedMap, StandIn, axis, diffraction_scan, encoded, file, node, scan_axes

DATA = encoded(5, 7, 6, 9)
PATTERN = [axis("ky", 6, 0.1, "1/nm", offset=-0.25), axis("kx", 9, 0.1, "1/nm", offset=-0.4)]
FACTOR = {
    "type": "number",
    "default": 1.0,
    "exclusiveMinimum": 0,
    "maximum": 100,
    "description": "How much more",
}
CLIP = {"type": "boolean", "default": False}
FIRST = {"type": "integer", "default": 0, "minimum": 0, "maximum": 8}
SCHEMAS = {
    "multiply": {"type": "object", "properties": {"factor": FACTOR, "clip": CLIP}},
    "columns": {"type": "object", "properties": {"first": FIRST}},
    "total": {"type": "object", "properties": {"scale": {**FACTOR, "unit": "counts"}}},
    "rename": {"type": "object", "properties": {"scale": {**FACTOR, "default": 0.1}}},
    "minus": {"type": "object", "properties": {"other": {"default": None, "x-node": {"navigation": "none"}}}},
    "note": {"type": "object", "properties": {"text": {"type": "string", "default": ""}}},
}


class Workshop:
    """What the stand-in made, and what it was asked for."""

    def __init__(self) -> None:
        self.previews: dict[str, object] = {}
        self.nodes: dict[str, dict] = {}
        self.asked: list[tuple[str, dict]] = []
        self.taken: set[str] = set()
        self.tells_structure = True
        self.scan = diffraction_scan()
        self.scan.__class__ = Previewing
        self.scan.previews = self.previews

    def make(self, operation: str, parameters: dict, version: int = 0):
        """An array node, as `derive` and the tree show it."""
        factor = parameters.get("factor", 1.0)
        if factor > 50:
            raise HTTPException(422, f"multiply: factor: that is too much (got {factor})")
        step = ((operation, parameters),)
        key = json.dumps([operation, parameters], sort_keys=True).encode().hex()[-60:]
        navigation, more = scan_axes(5, 7), {"key": key, "parent": "root", "recipe": step, "version": version}
        if operation in ("multiply", "note"):
            return node((DATA * factor).astype("<f4"), navigation + PATTERN, **more)
        if operation == "rename":
            kx = axis("kx", 9, parameters.get("scale", 0.1), "1/nm")
            return node(DATA.copy(), [*navigation, PATTERN[0], kx], **more)
        if operation == "columns":
            first = parameters.get("first", 0)
            kx = axis("kx", 9 - first, 0.1, "1/nm", offset=-0.4 + 0.1 * first)
            return node(DATA[..., first:].copy(), [*navigation, PATTERN[0], kx], **more)
        sums = DATA.sum((2, 3), dtype="f8") * parameters.get("scale", 1.0)
        return node(sums, navigation, chunks=(32, 32), **more)

    def keep(self, name: str, operation: str, parameters: dict, version: int) -> dict:
        made = self.make(operation, parameters, version)
        self.scan._mapping[name] = made
        self.nodes[name] = {"operation": operation, "parameters": parameters, "version": version}
        return {"id": name, "attributes": attributes(made)}


class Previewing(PinnedMap):
    """Resolves ``preview@key`` too."""

    def __getitem__(self, name):
        bare, _, key = name.partition("@")
        if bare != "preview":
            return super().__getitem__(name)
        if key not in self.previews:
            raise HTTPException(410, "This preview is gone: derive it again.")
        return self.previews[key]


def attributes(adapter) -> dict:
    structure = asdict(adapter.structure())
    structure["data_type"]["kind"] = structure["data_type"]["kind"].value
    return {"structure_family": "array", "metadata": adapter.metadata(), "structure": structure}


def told(adapter) -> dict:
    """What stands beside a slice of it."""
    axes = adapter.metadata()["attributes"]["axes"]
    return {"axes": axes, "chunk": [max(sizes) for sizes in adapter.structure().chunks]}


def deriving() -> StandIn:
    """A stand-in with one scan; its `workshop` says what it was asked for."""
    workshop, routes = Workshop(), APIRouter()

    @routes.get("/operations")
    def operations():
        fits = {"signal_dimensions": [2]}
        return [
            {"name": name, "summary": f"{name}.", "accepts": fits, "parameters": schema}
            for name, schema in SCHEMAS.items()
        ]

    @routes.post("/derive/{path:path}")
    def derive_at_length(path: str, body: dict):
        workshop.asked.append(("at length", {}))
        return derived(path, body["steps"], body.get("slice"))

    @routes.get("/derive/{path:path}")
    def derive(path: str, steps: str, request: Request):
        return derived(path, json.loads(steps), request.query_params.get("slice"))

    def derived(path: str, steps: list, wanted: str | None):
        (step,) = steps
        made = workshop.make(step["operation"], step["parameters"])
        key = made.metadata()["attributes"]["key"]
        workshop.previews[key] = made
        headers = {"x-node": f"{path.rpartition('/')[0]}/preview@{key}"}
        if wanted is None:
            return JSONResponse({"data": {"id": "preview", "attributes": attributes(made)}}, headers=headers)
        part = np.ascontiguousarray(made.read()[tuple(NDSlice.from_numpy_str(wanted))])
        workshop.asked.append(("derive", step["parameters"]))
        headers |= {"x-array-shape": ",".join(map(str, part.shape)), "x-array-dtype": part.dtype.str}
        if workshop.tells_structure:
            headers["x-node-structure"] = json.dumps(told(made))
        return Response(CODEC.encode(part), media_type="application/x-blosc", headers=headers)

    @routes.post("/nodes/{path:path}")
    def make(path: str, body: dict):
        if not body:
            raise HTTPException(422, "parent, operation and parameters are missing")
        name = body.get("name") or body["operation"]
        if name in workshop.taken:
            raise HTTPException(409, f"There is a node {name!r} already.")
        workshop.asked.append(("make", body))
        data = workshop.keep(name, body["operation"], body["parameters"], 1)
        return JSONResponse({"data": data}, 201, headers={"Location": f"/api/v1/metadata/{path}/{name}"})

    @routes.patch("/nodes/{path:path}")
    def change(path: str, body: dict, request: Request):
        name = path.rpartition("/")[2]
        if (now := workshop.nodes.get(name)) is None:
            raise HTTPException(422, f"{name} is the tree's own.")
        workshop.asked.append(("change", {**body, "if_match": request.headers.get("if-match")}))
        if request.headers.get("if-match") != f'"{now["version"]}"':
            data = {"id": name, "attributes": attributes(workshop.scan._mapping[name])}
            return JSONResponse({"detail": f"{name} was changed by ada just now.", "data": data}, 412)
        return {"data": workshop.keep(name, body["operation"], body["parameters"], now["version"] + 1)}

    server = StandIn(file(signal=workshop.scan), routes=routes)
    server.workshop = workshop
    return server
