"""The contenders, each in a process of its own on loopback, under the same uvicorn.

``python -m benchmarks.servers floor|naive SCAN DETECTOR POSITIONS`` prints its URL and serves.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import uvicorn

from benchmarks.scan import CHAIN, TITLE, Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

KEY = "benchmark"
# hyperspy's own choice for a scan of this size would be smaller; pyxem's guide recommends tens of positions.
NAIVE_CHUNK = 8


def floor(scan: Scan) -> Any:
    """Bare Starlette: bytes held in memory, and one route that runs the chain's functions on a frame."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    from tiled_spyde.codecs import encode

    frames = {position: scan.frame(*position) for position in scan.visited}
    chain = functions(scan)
    held: dict[tuple[str, int, int], bytes] = {}
    for (y, x), frame in frames.items():
        held["raw", y, x] = frame.tobytes()
        held["zarr", y, x] = encode(frame)

    def computed(y: int, x: int) -> np.ndarray:
        frame: Any = frames[y, x]
        for function, info in chain:
            out = np.empty(info.signal_shape, info.dtype)
            out[...] = function(frame)
            frame = out
        return frame

    def position(request: Request) -> tuple[int, int]:
        return request.path_params["y"], request.path_params["x"]

    async def from_memory(request: Request) -> Response:
        key = (request.path_params["kind"], *position(request))
        if key not in held:
            held[key] = computed(*position(request)).tobytes()
        return Response(held[key], media_type="application/octet-stream")

    async def compute(request: Request) -> Response:
        return Response(computed(*position(request)).tobytes(), media_type="application/octet-stream")

    return Starlette(
        routes=[Route("/compute/{y:int}/{x:int}", compute), Route("/{kind}/{y:int}/{x:int}", from_memory)]
    )


def naive(scan: Scan) -> Any:
    """Stock tiled: the raw frames straight from h5py, the computed ones from hyperspy's lazy map."""
    import dask.array as da
    import h5py
    from hyperspy.signals import Signal2D
    from tiled.adapters.array import ArrayAdapter
    from tiled.adapters.mapping import MapAdapter
    from tiled.config import Authentication
    from tiled.server.app import build_app

    dataset = h5py.File(scan.path)[f"Experiments/{TITLE}/data"]
    signal = Signal2D(da.from_array(dataset, chunks=(NAIVE_CHUNK, NAIVE_CHUNK, -1, -1))).as_lazy()
    for function, info in functions(scan):
        signal = signal.map(
            function,
            inplace=False,
            lazy_output=True,
            ragged=False,
            output_signal_size=info.signal_shape,
            output_dtype=info.dtype,
        )
    one_frame = tuple((1,) * n for n in dataset.shape[:2]) + tuple((n,) for n in dataset.shape[2:])
    tree = MapAdapter(
        {
            "raw": ArrayAdapter.from_array(dataset, chunks=one_frame),
            "computed": ArrayAdapter.from_array(signal.data),
        }
    )
    return build_app(tree, authentication=Authentication(single_user_api_key=KEY))


def functions(scan: Scan) -> list[tuple[Any, Any]]:
    """The functions of `CHAIN`, each with what it declares to give."""
    from tiled_spyde.operations import build
    from tiled_spyde.signals import Axis, SignalInfo

    axes = tuple(Axis(name, scan.detector) for name in ("ky", "kx"))
    info, chain = SignalInfo(axes, np.dtype(np.uint16)), []
    for name, parameters in CHAIN:
        operation = build(name, parameters)
        chain.append((operation.function(info), operation.output(info)))
        info = chain[-1][1]
    return chain


@contextmanager
def running(kind: str, scan: Scan) -> Iterator[str]:
    """Start a contender (``floor``, ``naive`` or ``us``) and give its URL."""
    own = ["-m", "benchmarks.servers", kind, str(scan.path), str(scan.detector), str(scan.positions)]
    ours = ["-m", "tiled_spyde.cli", "serve", str(scan.path), "--port", "0", "--api-key", KEY]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *(ours if kind == "us" else own)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield _ready(process)
    finally:
        process.terminate()
        process.wait(30)


def prepare_ours(url: str, scan: Scan) -> str:
    """Make the chain's nodes; return the path of the tree."""
    tree, parent = f"{scan.path.name}/{TITLE}", "root"
    for name, parameters in CHAIN:
        node = {"name": name, "parent": parent, "operation": name, "parameters": parameters}
        headers = {"Authorization": f"Apikey {KEY}"}
        httpx.post(f"{url}/api/v1/nodes/{tree}", json=node, headers=headers, timeout=60).raise_for_status()
        parent = name
    return tree


def _ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://[\d.:]+", line):
            return _answering(found[0])
    raise RuntimeError(f"a server ended at its start with {process.wait()}")


def _answering(url: str) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
        client.get(url)
    return url


def main() -> None:
    kind, path, detector, positions = sys.argv[1:]
    app = {"floor": floor, "naive": naive}[kind](Scan(Path(path), int(detector), int(positions)))
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
