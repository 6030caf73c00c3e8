"""The contenders, each in a process of its own on loopback, under the same uvicorn.

``python -m benchmarks.servers floor|naive SCAN`` (as JSON) prints its URL and serves.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from benchmarks.scan import CHAIN, TITLE, Scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

KEY = "benchmark"
# hyperspy's own choice for a scan of this size would be smaller; pyxem's guide recommends tens of positions.
NAIVE_CHUNK = 8


def naive(scan: Scan) -> Any:
    """Stock tiled: the raw frames straight from h5py, the computed ones from hyperspy's lazy map."""
    import dask.array as da
    import h5py
    from hyperspy.signals import Signal2D
    from tiled.adapters.array import ArrayAdapter
    from tiled.adapters.mapping import MapAdapter
    from tiled.config import Authentication
    from tiled.server.app import build_app

    from benchmarks.floor import functions

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


@contextmanager
def running(kind: str, scan: Scan) -> Iterator[str]:
    """Start a contender (``floor``, ``naive`` or ``us``) and give its URL."""
    own = [sys.executable, "-W", "ignore", "-m", "benchmarks.servers", kind, scan.to_json()]
    ours = serve_command([scan.path], scan.path.parent / "state")
    with serving(ours if kind == "us" else own) as (url, _):
        yield url


def serve_command(paths: Sequence[Path], state: Path, module: str = "tiled_spyde.cli") -> list[str]:
    """The command that serves `paths` as people do, on a free port."""
    command = [sys.executable, "-W", "ignore", "-m", module, "serve", *map(str, paths)]
    return [*command, "--port", "0", "--api-key", KEY, "--state", str(state)]


@contextmanager
def serving(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server until it is no longer needed: its URL, which it must print, and its process."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    try:
        yield _ready(process), process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def make(url: str, tree: str, name: str, parent: str, operation: str, parameters: Mapping[str, Any]) -> None:
    """Make one node."""
    node = {"name": name, "parent": parent, "operation": operation, "parameters": parameters}
    headers = {"Authorization": f"Apikey {KEY}"}
    httpx.post(f"{url}/api/v1/nodes/{tree}", json=node, headers=headers, timeout=60).raise_for_status()


def wait_for(url: str, path: str) -> None:
    """Ask until a file is known: a server answers before it has looked through its folders."""
    for _ in range(300):
        answer = httpx.get(f"{url}{path}", headers={"Authorization": f"Apikey {KEY}"}, timeout=60)
        if answer.status_code == 200:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{path} is not served: {answer.status_code} {answer.text[:200]}")


def prepare_ours(url: str, scan: Scan) -> str:
    """Make the chain's nodes; return the path of the tree."""
    tree, parent = f"{scan.path.name}/{TITLE}", "root"
    wait_for(url, f"/api/v1/metadata/{tree}/root")
    for name, parameters in CHAIN:
        make(url, tree, name, parent, name, parameters)
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
    kind, described = sys.argv[1:]
    if kind == "floor":
        from benchmarks.floor import app
    else:
        app = naive
    built = app(Scan.from_json(described))
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(built, log_level="warning", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
