"""The floor: a bare Starlette app that answers from memory, or calls the very functions and nothing else."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.scan import CHAIN
from tiled_spyde.codecs import encode
from tiled_spyde.operations import build
from tiled_spyde.signals import Axis, SignalInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from benchmarks.scan import Scan

MAP = 32  # positions along each axis of a map's chunk


class Floor:
    """What the routes need of a scan, in memory."""

    def __init__(self, scan: Scan) -> None:
        self.frames = {position: scan.frame(*position) for position in scan.visited}
        self.scan = scan
        self.chain = functions(scan)
        self.held: dict[tuple[str, int, int], bytes] = {}
        for (y, x), frame in self.frames.items():
            self.held["raw", y, x] = frame.tobytes()
            self.held["zarr", y, x] = encode(frame)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._reader: Any = None

    def computed(self, y: int, x: int) -> np.ndarray:
        return apply(self.chain, self.frames[y, x])

    def answered(self, kind: str, y: int, x: int) -> bytes:
        if (kind, y, x) not in self.held:
            self.held[kind, y, x] = self.computed(y, x).tobytes()
        return self.held[kind, y, x]

    def map(self, radius: float) -> bytes:
        """Compute the first chunk of a map in a plain pool: a thread takes row by row, and reads with our reader."""
        if self._reader is None:
            from tiled_spyde.sources import open_source

            self._reader = open_source(self.scan.path)[0].reader
        chain = functions(self.scan, (*CHAIN, map_step(radius)))
        out = np.empty((MAP, MAP), chain[-1][1].dtype)

        def fill(y: int) -> None:
            for x in range(MAP):
                out[y, x] = apply(chain, self._reader.read((y, x)))

        list(self._pool.map(fill, range(MAP)))
        return encode(out)


def app(scan: Scan) -> Starlette:
    floor = Floor(scan)

    async def held(request: Request) -> Response:
        return octets(floor.answered(request.path_params["kind"], *position(request)))

    async def conditional(request: Request) -> Response:
        y, x = position(request)
        headers = {"ETag": f'"{y}-{x}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(floor.answered("computed", y, x), headers=headers)

    async def compute(request: Request) -> Response:
        return octets(floor.computed(*position(request)).tobytes())

    async def encoded(request: Request) -> Response:
        return octets(encode(floor.frames[position(request)]))

    def computed_map(request: Request) -> Response:
        return octets(floor.map(request.path_params["radius"]))

    asked: dict[str, Callable[..., Any]] = {
        "/held/{kind}/{y:int}/{x:int}": held,
        "/conditional/{y:int}/{x:int}": conditional,
        "/compute/{y:int}/{x:int}": compute,
        "/encode/{y:int}/{x:int}": encoded,
        "/map/{radius:float}": computed_map,
    }
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in asked.items()])


def map_step(radius: float) -> tuple[str, dict[str, Any]]:
    """The operation that makes a map of the chain's last node; another radius is a map nobody has asked for."""
    return "virtual_image", {"detector": {"kind": "disk", "radius": {"value": radius}}}


def functions(scan: Scan, steps: Any = CHAIN) -> list[tuple[Any, Any]]:
    """The functions of `steps`, each with what it declares to give."""
    # As the file says: the middle of a detector is where its axes say.
    axes = tuple(Axis(name, scan.detector, 1.0, 0.0, "1/nm") for name in ("ky", "kx"))
    info, chain = SignalInfo(axes, np.dtype(np.uint16)), []
    for name, parameters in steps:
        operation = build(name, parameters)
        chain.append((operation.function(info), operation.output(info)))
        info = chain[-1][1]
    return chain


def apply(chain: list[tuple[Any, Any]], frame: Any) -> Any:
    """Run the functions on one frame, cast to what each declares."""
    for function, info in chain:
        out = np.empty(info.signal_shape, info.dtype)
        out[...] = function(frame)
        frame = out
    return frame


def position(request: Request) -> tuple[int, int]:
    return request.path_params["y"], request.path_params["x"]


def octets(body: bytes) -> Response:
    return Response(body, media_type="application/octet-stream")
