"""Folders of thousands of files against an empty one, stock tiled and hyperspy: ``python -m benchmarks.folders``.

| row | what is timed | floor |
|---|---|---|
| start | process start to the first answered listing, index warm | the same on an empty folder |
| listing | 100 files of the folder, one request | stock tiled listing 100 arrays in memory |
| first frame | a file nobody has opened, one frame over HTTP | ``hs.load(lazy)`` and that frame, in process |
| memory | resident once everything is listed | on an empty folder |
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from benchmarks import report
from benchmarks.clients import HttpxClient, SocketClient
from benchmarks.servers import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIUM = (8, 10, 128, 128)
SMALL = (3, 4, 16, 24)


def main() -> None:
    options = _options()
    described = report.machine()
    with TemporaryDirectory() as folder:
        rows = run(Path(folder), options.files, options.rounds)
    print(table(rows))
    if not options.dry:
        name = f"{datetime.datetime.now(datetime.UTC).date()}-{options.name or report.commit()}-folders"
        write(name, described, rows, options.files)
        print(f"written to benchmarks/results/{name}.md")


def run(folder: Path, files: int, rounds: int) -> list[dict[str, Any]]:
    """Measure all rows in `folder`."""
    full, empty = folder / "full", folder / "empty"
    empty.mkdir()
    print(f"writing {files} files", file=sys.stderr)
    opened = write_files(full, files, 3 * rounds)
    print("indexing them", file=sys.stderr)
    begin = time.perf_counter()
    with serving(full, folder / "state-full") as served:
        wait_until_indexed(served.url, files + len(opened))
        indexing = time.perf_counter() - begin
    rows = [{"row": "indexing from nothing", "us": indexing, "floor": None, "unit": "s", "target": None}]
    rows.append(starts(folder, full, empty, max(3, rounds // 4)))
    with serving(full, folder / "state-full") as served, serving(empty, folder / "state-empty") as bare:
        with stock() as url:
            rows.append(listing(served.url, url, rounds))
        rows.append(first_frames(served.url, opened, rounds))
        everything(served.url)
        rows.append(memory(served, bare))
    return rows


def write_files(folder: Path, count: int, medium: int) -> list[Path]:
    """Write `count` small files in folders of 500, and `medium` larger ones to be opened; return the latter."""
    import hyperspy.api as hs

    hs.preferences.GUIs.warn_if_guis_are_missing = False
    template, larger = folder / "template.hspy", folder / "larger.hspy"
    folder.mkdir(parents=True)
    hs.signals.Signal2D(np.arange(np.prod(SMALL), dtype="u2").reshape(SMALL)).save(template)
    signal = hs.signals.Signal2D(np.arange(np.prod(MEDIUM), dtype="u4").astype("u2").reshape(MEDIUM))
    signal.save(larger, chunks=(1, 1, *MEDIUM[2:]))
    for number in range(count):
        target = folder / f"day {number // 500:02}" / f"scan {number:05}.hspy"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(template, target)
    opened = [folder / "larger" / f"scan4d {number:03}.hspy" for number in range(medium)]
    (folder / "larger").mkdir()
    for path in opened:
        shutil.copyfile(larger, path)
    template.unlink()
    larger.unlink()
    return opened


class Served:
    """A running server: its address and its process."""

    def __init__(self, url: str, pid: int, seconds: float) -> None:
        self.url = url
        self.pid = pid
        self.seconds = seconds

    @property
    def resident(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def serving(folder: Path, state: Path) -> Iterator[Served]:
    """Run our server on `folder` until its first listing is answered."""
    command = [sys.executable, "-W", "ignore", "-m", "tiled_spyde.cli", "serve", str(folder)]
    command += ["--port", "0", "--api-key", KEY, "--state", str(state)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next(line for line in process.stdout if "http://" in line).split()[-1]
        with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=120) as client:
            client.get(f"{url}/api/v1/search/?page[limit]=10&api_key={KEY}").raise_for_status()
        yield Served(url, process.pid, time.perf_counter() - begin)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def stock() -> Iterator[str]:
    """Run stock tiled on 100 arrays in memory."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.folders", "--stock"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=120) as client:
            client.get(url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def wait_until_indexed(url: str, files: int) -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Apikey {KEY}"}, timeout=60) as client:
        while True:
            shown = client.get("/api/v1/metadata/").json()["data"]["attributes"]["metadata"]["attributes"]
            if not shown["indexing"]["scanning"] and shown["indexing"]["done"] >= files:
                return
            time.sleep(0.2)


def starts(folder: Path, full: Path, empty: Path, rounds: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"us": [], "floor": []}
    with serving(empty, folder / "state-empty"):
        pass  # makes the database
    for _ in range(rounds):
        for name, served in (("us", full), ("floor", empty)):
            with serving(served, folder / f"state-{served.name}") as started:
                times[name].append(started.seconds)
    return row("start, index warm → first answer", times, "s", 1.2)


def listing(ours: str, theirs: str, rounds: int) -> dict[str, Any]:
    asked = {
        "us": (SocketClient(ours), "/api/v1/search/day%2001?page[limit]=100"),
        "floor": (SocketClient(theirs), "/api/v1/search/?page[limit]=100"),
    }
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, (client, path) in asked.items():
            begin = time.perf_counter()
            answer = json.loads(client.get(path))
            times[name].append(1e3 * (time.perf_counter() - begin))
            assert len(answer["data"]) == 100
    return row("listing 100", times, "ms", 1.5)


def first_frames(url: str, files: list[Path], rounds: int) -> dict[str, Any]:
    """Open files nobody has opened, by turns over HTTP and with hyperspy."""
    import hyperspy.api as hs

    client = HttpxClient(url)
    client.get("/api/v1/")
    times: dict[str, list[float]] = {"us": [], "floor": []}
    ours, theirs = files[:rounds], files[rounds : 2 * rounds]
    hs.load(files[-1], lazy=True).inav[0, 0].compute(show_progressbar=False)
    expected = hs.load(files[-1], lazy=True).inav[3, 2].data.compute().tobytes()
    for mine, other in zip(ours, theirs, strict=True):
        path = f"/api/v1/array/full/larger/{mine.name}/signal/root?slice=2,3&format=application/octet-stream"
        begin = time.perf_counter()
        answer = client.get(path.replace(" ", "%20"))
        times["us"].append(1e3 * (time.perf_counter() - begin))
        assert answer == expected
        begin = time.perf_counter()
        loaded = hs.load(other, lazy=True).inav[3, 2].data.compute().tobytes()
        times["floor"].append(1e3 * (time.perf_counter() - begin))
        assert loaded == expected
    return row("file never opened → first frame", times, "ms", 2.0)


def everything(url: str) -> None:
    """List every file once and search all trees, as a person who looks for something does."""
    client = HttpxClient(url)
    for folder in json.loads(client.get("/api/v1/search/?page[limit]=100"))["data"]:
        for offset in range(0, 500, 100):
            client.get(
                f"/api/v1/search/{folder['id']}?page[limit]=100&page[offset]={offset}".replace(" ", "%20")
            )
    client.get("/api/v1/search-deep/?filter[fulltext][condition][text]=scan&page[limit]=100")


def memory(served: Served, bare: Served) -> dict[str, Any]:
    values = {"us": [served.resident] * 2, "floor": [bare.resident] * 2}
    found = row("resident memory", values, "MB", None)
    return found | {"target": "≤ floor + 100", "over": found["us"] - found["floor"]}


def row(name: str, times: dict[str, list[float]], unit: str, target: float | None) -> dict[str, Any]:
    us, floor = statistics.median(times["us"]), statistics.median(times["floor"])
    return {
        "row": name,
        "us": us,
        "floor": floor,
        "unit": unit,
        "ratio": us / floor,
        "target": None if target is None else f"≤ {target} × floor",
        "n": len(times["us"]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | us | floor | us / floor | target | n |", "|---|---|---|---|---|---|"]
    for found in rows:
        floor = "" if found["floor"] is None else f"{found['floor']:.3g} {found['unit']}"
        ratio = f"{found['ratio']:.2f}" if "ratio" in found else ""
        ratio = f"+ {found['over']:.0f} MB" if "over" in found else ratio
        cells = [found["row"], f"{found['us']:.3g} {found['unit']}", floor, ratio, found["target"] or ""]
        lines.append(f"| {' | '.join([*cells, str(found.get('n', 1))])} |")
    return "\n".join(lines)


def write(name: str, described: dict[str, Any], rows: list[dict[str, Any]], files: int) -> None:
    record = {"machine": described, "files": files, "results": rows}
    (report.RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (report.RESULTS / f"{name}.md").write_text(
        f"# Folders {name}\n\n{report.sentence(described)}\n\n{table(rows)}\n\n"
        f"{files} files of {SMALL} uint16 (.hspy) in folders of 500. {_explanation()}\n"
    )


def _explanation() -> str:
    return (
        "Medians; by turns. Floors: *start*, the same server on an empty folder; *listing*, stock tiled with 100 "
        "arrays in memory; *first frame*, `hs.load(lazy=True)` and the same frame in a process with hyperspy imported, "
        "against one over HTTP; *memory*, the server on an empty folder, after all files were listed."
    )


def _stock() -> None:
    import socket

    import uvicorn
    from tiled.adapters.array import ArrayAdapter
    from tiled.adapters.mapping import MapAdapter
    from tiled.config import Authentication
    from tiled.server.app import build_app

    arrays = {f"scan {n:05}": ArrayAdapter.from_array(np.zeros(SMALL, "u2")) for n in range(100)}
    app = build_app(MapAdapter(arrays), authentication=Authentication(single_user_api_key=KEY))
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folders", description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--name", help="of the results, behind the date; the commit by default")
    parser.add_argument("--dry", action="store_true", help="print only")
    return parser.parse_args()


if __name__ == "__main__":
    _stock() if "--stock" in sys.argv else main()
