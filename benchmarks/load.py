"""Row 6: 32 connections of wrk that ask for raw frames."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.clients import SocketClient
from benchmarks.lines import Line, line
from benchmarks.rows import rows
from benchmarks.servers import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.measure import Position

CLIENTS = 32
TURNS = 3
SCRIPT = """
local requests, number = {}, 0
function init(arguments)
  for path in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("GET", path, {["Authorization"] = "Apikey %s"})
  end
end
function request()
  number = number %% #requests + 1
  return requests[number]
end
function done(summary, latency, each)
  local e = summary.errors
  print(string.format('{"requests": %%d, "seconds": %%f, "failed": %%d, "p50": %%f, "p95": %%f}', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3))
end
"""


def run(
    urls: dict[str, str], tree: str, warm: Sequence[Position], seconds: int, frame: str
) -> Iterator[Line]:
    """Load both by turns, with what has been asked for before."""
    if not shutil.which("wrk"):
        raise RuntimeError("wrk is not installed (Debian: apt-get install wrk)")
    print(f"{frame}: row 6, wrk", file=sys.stderr)
    row = rows(tree)[0]
    found: dict[str, list[dict[str, Any]]] = {"floor": [], "us": []}
    with TemporaryDirectory() as folder:
        script = Path(folder) / "frames.lua"
        script.write_text(SCRIPT % KEY)
        paths = {name: [row.paths[name](*position) for position in warm] for name in found}
        _compare(urls, paths)
        for _ in range(TURNS):
            for name, asked in paths.items():
                listed = Path(folder) / name
                listed.write_text("\n".join(asked) + "\n")
                found[name].append(_wrk(urls[name], script, listed, seconds))
    rate = {
        name: statistics.median(r["requests"] / r["seconds"] for r in turns) for name, turns in found.items()
    }
    p50, p95 = (statistics.median(turn[p] for turn in found["us"]) for p in ("p50", "p95"))
    described = {"frame": frame, "client": "wrk", "n": sum(turn["requests"] for turn in found["us"])}
    name = f"raw frame, {CLIENTS} clients"
    goal = "≥ 0.7 × floor's"
    yield line(
        "6",
        f"{name}: requests/s",
        rate["us"],
        floor=rate["floor"],
        unit="1/s",
        least=0.7,
        target=goal,
        **described,
    )
    yield line("6", f"{name}: p95 against p50", p95, floor=p50, most=2.5, target="≤ 2.5 × p50", **described)


def _compare(urls: dict[str, str], paths: dict[str, list[str]]) -> None:
    """Ask each path once, so that all are warm; refuse to load contenders that differ."""
    clients = {name: SocketClient(urls[name]) for name in paths}
    for theirs, ours in zip(paths["floor"], paths["us"], strict=True):
        if clients["floor"].get(theirs) != clients["us"].get(ours):
            raise RuntimeError(f"{ours} and the floor differ")
    for client in clients.values():
        client.close()


def _wrk(url: str, script: Path, listed: Path, seconds: int) -> dict[str, Any]:
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "-s", str(script), url, "--", str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} of {found['requests']} requests failed")
    return found
