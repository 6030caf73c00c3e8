"""Row 13: from the start of the process to the first frame that is right."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from itertools import product
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
    from collections.abc import Collection, Iterator, Mapping, Sequence

DETECTOR = 256
PATIENCE = 60.0
STOCK = """
trees:
  - path: /
    tree: benchmarks.stock_tree:tree
    args: {{path: "{path}"}}
authentication: {{single_user_api_key: {key}}}
"""
# What lets `tiled serve directory` take our file for HDF5.
DIRECTORY = ("--ext", ".hspy=application/x-hdf5")
OURS = {"fresh": "fresh state", "again": "state of an earlier start"}
STOCKS = {"config": "tiled serve config", "directory": "tiled serve directory"}
TILED = "from tiled.commandline.main import main; main()"


def run(options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    """Start each by turns; the first turn makes byte code and is not counted (with a single turn there is no first)."""
    first = 1 if options.starts > 1 else 0
    times: dict[str, list[float]] = {name: [] for name in ("fresh", "again", *STOCKS)}
    with TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        scan = Scan(Path(folder) / "data" / "scan.hspy", min(DETECTOR, max(options.detectors)), 10)
        scan.write()
        for turn in range(options.starts + first):
            print(f"row 13, start {turn} of {options.starts}", file=sys.stderr)
            # What one start leaves is the other's warm state: fresh goes before again.
            for name in ("fresh", "again", *STOCKS) if turn % 2 else (*STOCKS, "fresh", "again"):
                seconds = _start(name, scan, Path(folder), byte_code=bool(first))
                if turn >= first:
                    times[name].append(seconds)
    for (name, what), (stock, against) in product(OURS.items(), STOCKS.items()):
        ours = times[name]
        yield line(
            "13",
            f"process start → first frame, {what}; against `{against}`",
            statistics.median(ours),
            floor=statistics.median(times[stock]),
            unit="s",
            most=0.7,
            target=f"≤ 0.7 × {against}",
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
    if name in STOCKS:
        command = _stock(name, scan, folder, port)
        path = f"/api/v1/array/full/{'scan/' if name == 'directory' else ''}Experiments/{TITLE}/data"
    else:
        command = serve_command([scan.path], state)
        command[command.index("--port") + 1] = str(port)
        path = f"/api/v1/array/full/{scan.path.name}/{TITLE}/root"
    path += f"?slice={y},{x}{OCTETS}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["TMPDIR"] = str(folder)  # `tiled serve directory` leaves its catalogue behind
    if byte_code:
        environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    return _timed(command, environment, port, path, scan.frame(y, x).tobytes())


def _stock(name: str, scan: Scan, folder: Path, port: int) -> list[str]:
    """Return the command of stock tiled: told of one file, or to find what is in its folder, as ours is."""
    command = [sys.executable, "-W", "ignore", "-c", TILED, "serve", name]
    if name == "directory":
        command += [str(scan.path.parent), "--api-key", KEY, *DIRECTORY]
    else:
        config = folder / "stock.yml"
        config.write_text(STOCK.format(path=scan.path, key=KEY))
        command += [str(config)]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


def _timed(
    command: Sequence[str], environment: Mapping[str, str], port: int, path: str, expected: bytes
) -> float:
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, **quiet)
    try:
        while (body := _try(port, path)) is None:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command[3:7])} ended with {process.returncode}")
            if time.perf_counter() - begin > PATIENCE:
                raise RuntimeError(f"{' '.join(command[3:7])} gave no frame within {PATIENCE:.0f} s")
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
