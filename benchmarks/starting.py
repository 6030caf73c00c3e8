"""Row 13: from the start of the process to the first frame that is right."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.clients import SocketClient
from benchmarks.lines import Line, line, quartiles
from benchmarks.rows import OCTETS
from benchmarks.scan import TITLE, Scan
from benchmarks.servers import KEY, serve_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator, Sequence

DETECTOR = 256
PATIENCE = 60.0
STOCK = """
trees:
  - path: /
    tree: benchmarks.stock_tree:tree
    args: {{path: "{path}"}}
authentication: {{single_user_api_key: {key}}}
"""
TILED = "from tiled.commandline.main import main; main()"


def run(options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    """Start each by turns; the first turn makes byte code and is not counted (with a single turn there is no first)."""
    first = 1 if options.starts > 1 else 0
    times: dict[str, list[float]] = {"fresh": [], "again": [], "stock": []}
    with TemporaryDirectory() as folder:
        scan = Scan(Path(folder) / "scan.hspy", min(DETECTOR, max(options.detectors)), 10)
        scan.write()
        for turn in range(options.starts + first):
            print(f"row 13, start {turn} of {options.starts}", file=sys.stderr)
            # What one start leaves is the other's warm state: fresh goes before again.
            for name in ("fresh", "again", "stock") if turn % 2 else ("stock", "fresh", "again"):
                seconds = _start(name, scan, Path(folder), byte_code=bool(first))
                if turn >= first:
                    times[name].append(seconds)
    stock = statistics.median(times["stock"])
    for name, what in {"fresh": "fresh state", "again": "state of an earlier start"}.items():
        ours = times[name]
        yield line(
            "13",
            f"process start → first frame, {what}",
            statistics.median(ours),
            floor=stock,
            unit="s",
            most=0.7,
            target="≤ 0.7 × stock tiled serve",
            frame=f"{scan.detector}²",
            client="socket",
            n=len(ours),
            spread=quartiles(ours) if len(ours) > 1 else [],
        )


def _start(name: str, scan: Scan, folder: Path, byte_code: bool) -> float:
    """Start a process, and ask until it gives the frame."""
    state, port = folder / "state", _free_port()
    y, x = scan.visited[-1]
    if name == "fresh":
        shutil.rmtree(state, ignore_errors=True)
    if name == "stock":
        config = folder / "stock.yml"
        config.write_text(STOCK.format(path=scan.path, key=KEY))
        command = [sys.executable, "-W", "ignore", "-c", TILED, "serve", "config", str(config)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        path = f"/api/v1/array/full/Experiments/{TITLE}/data?slice={y},{x}{OCTETS}"
    else:
        command = serve_command([scan.path], state)
        command[command.index("--port") + 1] = str(port)
        path = f"/api/v1/array/full/{scan.path.name}/{TITLE}/root?slice={y},{x}{OCTETS}"
    return _timed(command, port, path, scan.frame(y, x).tobytes(), folder / "bytecode" if byte_code else None)


def _timed(command: Sequence[str], port: int, path: str, expected: bytes, bytecode: Path | None) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    if bytecode:
        environment |= {"PYTHONPYCACHEPREFIX": str(bytecode)}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, **quiet)
    try:
        while (body := _try(port, path)) is None:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command[3:8])} ended with {process.returncode}")
            if time.perf_counter() - begin > PATIENCE:
                raise RuntimeError(f"{' '.join(command[3:8])} gave no frame within {PATIENCE:.0f} s")
            time.sleep(2e-3)
        seconds = time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait(30)
    if body != expected:
        raise RuntimeError(f"{path} is not the frame")
    return seconds


def _try(port: int, path: str) -> bytes | None:
    try:
        client = SocketClient(f"http://127.0.0.1:{port}")
    except OSError:
        return None
    try:
        status, _, body = client.ask(path)
    except (OSError, RuntimeError, ValueError):
        return None
    finally:
        client.close()
    return body if status == 200 else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
