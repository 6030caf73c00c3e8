"""Rows 7 and 8, and row 3's frame that was never computed: what is computed, counted in the server."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Thread
from typing import TYPE_CHECKING
from urllib.parse import quote

from benchmarks.clients import SocketClient
from benchmarks.floor import map_step
from benchmarks.instrumented import CALLS, calls
from benchmarks.lines import Line, guarded, line
from benchmarks.rows import OCTETS, RESULT
from benchmarks.scan import CHAIN, TITLE, Scan
from benchmarks.servers import make, prepare_ours, serve_command, serving, wait_for

if TYPE_CHECKING:
    import argparse
    from collections import Counter
    from collections.abc import Collection, Iterator

    from benchmarks.measure import Position

CROWD = 32
TIMES = 5
ABANDONED = 20
APART = 0.02
DURATION = 0.5
DETECTOR = 256


def run(options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    """Measure the rows of `only` on one scan."""
    with TemporaryDirectory() as folder:
        scan = Scan(Path(folder) / "scan.hspy", min(DETECTOR, max(options.detectors)), 200)
        scan.write()
        measured = {
            "3": never_computed,
            "7": crowd,
            "15": kept,
            "8": partial(abandoned, times=min(3, options.rounds // 2)),
        }
        for number in sorted(only):
            print(f"row {number}, calls", file=sys.stderr)
            yield from guarded(number, "calls of functions", partial(measured[number], scan))


@dataclass
class Instrumented:
    """A server that counts, and the path of its tree."""

    url: str
    tree: str
    log: Path

    def path(self, node: str, position: Position) -> str:
        return f"/api/v1/array/full/{self.tree}/{node}?slice={position[0]},{position[1]}{OCTETS}"

    def calls(self) -> Counter[tuple[str, str]]:
        return calls(self.log)


@contextmanager
def instrumented(scan: Scan, name: str, prepare: bool = True) -> Iterator[Instrumented]:
    """Serve `scan`, with what was remembered under `name`'s first letter and calls written down under `name`."""
    log = scan.path.parent / f"calls-{name}"
    command = serve_command([scan.path], scan.path.parent / f"state-{name[0]}", "benchmarks.instrumented")
    with serving(command, {CALLS: str(log)}) as (url, _):
        tree = f"{scan.path.name}/{TITLE}"
        if prepare:
            prepare_ours(url, scan)
        else:
            wait_for(url, f"/api/v1/metadata/{tree}/{RESULT}")
        yield Instrumented(url, tree, log)


def crowd(scan: Scan) -> Iterator[Line]:
    """Let 32 clients ask for one cold frame at the same moment, a few times."""
    most = 0
    with instrumented(scan, "crowd") as server:
        for position in scan.visited[10 : 10 + TIMES]:
            before = server.calls()
            answers = _at_once(server, server.path(RESULT, position))
            if len(set(answers)) != 1:
                raise RuntimeError("the answers differ")
            called: dict[str, int] = {}
            for (name, _), count in (server.calls() - before).items():
                called[name] = called.get(name, 0) + count
            if set(called) != {name for name, _ in CHAIN}:
                raise RuntimeError(f"calls of {sorted(called)} were written down")
            most = max(most, *called.values())
    what = f"{CROWD} clients, the same cold frame: calls of each function, at most"
    yield line(
        "7", what, most, unit="", most=1, target="1", client="socket", n=TIMES, frame=f"{scan.detector}²"
    )


def _at_once(server: Instrumented, path: str) -> list[bytes]:
    clients, gate = [SocketClient(server.url) for _ in range(CROWD)], Barrier(CROWD)
    answers: list[bytes] = []

    def ask(client: SocketClient) -> None:
        gate.wait(30)
        answers.append(client.get(path))

    threads = [Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for client in clients:
        client.close()
    if len(answers) != CROWD:
        raise RuntimeError(f"{CROWD - len(answers)} of {CROWD} clients got no frame")
    return answers


def abandoned(scan: Scan, times: int) -> Iterator[Line]:
    """Ask for 20 slow frames one after the other, each given up as the next is asked; then for one more."""
    fresh = iter(scan.visited[20:])
    idle, after, computed = [], [], []
    with instrumented(scan, "abandoned") as server:
        make(server.url, server.tree, "slow", "root", "bench_sleep", {"duration": DURATION})
        _one(server, next(fresh))  # imports what it needs
        for _ in range(max(1, times)):
            idle.append(_one(server, next(fresh)))
            before = server.calls()
            asked = [next(fresh) for _ in range(ABANDONED)]
            for position in asked:
                client = SocketClient(server.url)
                client.send(server.path("slow", position))
                time.sleep(APART)
                client.close()
            after.append(_one(server, next(fresh)))
            # Whatever waits still comes to its turn in this time.
            time.sleep(DURATION * (1 + ABANDONED / (os.cpu_count() or 1)))
            names = {f"{y} {x}" for y, x in asked}
            called = server.calls() - before
            computed.append(sum(count for (_, where), count in called.items() if where in names))
    pool = os.cpu_count() or 1
    what, described = (
        f"{ABANDONED} frames of {DURATION} s, {APART * 1e3:.0f} ms apart, abandoned",
        {
            "frame": f"{scan.detector}²",
            "client": "socket",
            "n": len(after),
        },
    )
    target = f"≤ pool size + 1 ({pool + 1})"
    yield line("8", f"{what}: computed", max(computed), unit="", most=pool + 1, target=target, **described)
    us, floor = statistics.median(after), statistics.median(idle)
    yield line(
        "8", f"{what}: a frame right after", us, floor=floor, most=1.5, target="≤ 1.5 × idle", **described
    )


def _one(server: Instrumented, position: Position) -> float:
    client = SocketClient(server.url)
    begin = time.perf_counter()
    client.get(server.path("slow", position))
    client.close()
    return 1e3 * (time.perf_counter() - begin)


def kept(scan: Scan) -> Iterator[Line]:
    """Look at previews, a pattern's and a map's, keep them, and look at the nodes: functions called by that."""
    position, look = scan.visited[16], "::8,::8"
    tried = {"pattern": ("gaussian_filter", {"sigma": 2.5}), "map": map_step(9.5)}
    with instrumented(scan, "kept") as server:
        client = SocketClient(server.url)
        for name, (operation, parameters) in tried.items():
            asked = look if name == "map" else f"{position[0]},{position[1]}"
            steps = quote(json.dumps([{"operation": operation, "parameters": parameters}]), safe="")
            url = f"/api/v1/derive/{server.tree}/{RESULT}?steps={steps}&slice={asked}{OCTETS}"
            preview, before = client.get(url), server.calls()
            make(server.url, server.tree, f"kept_{name}", RESULT, operation, parameters)
            node = client.get(f"/api/v1/array/full/{server.tree}/kept_{name}?slice={asked}{OCTETS}")
            if preview != node:
                raise RuntimeError(f"the {name} and its preview differ")
            if not before:
                raise RuntimeError("no call was written down")
            called = sum((server.calls() - before).values())
            what = f"a preview (a {name}) kept, and looked at as a node: calls of functions"
            described = {"frame": f"{scan.detector}²", "client": "socket"}
            yield line("15", what, called, unit="", most=0, target="computes nothing", **described)
        client.close()


def never_computed(scan: Scan) -> Iterator[Line]:
    """Ask one server for a frame's entity tag; another, that knows the nodes but no frame, answers 304."""
    position = scan.visited[15]
    with instrumented(scan, "tags") as server:
        client = SocketClient(server.url)
        etag = client.ask(server.path(RESULT, position)).etag
        client.close()
    with instrumented(scan, "tags again", prepare=False) as server:
        client = SocketClient(server.url)
        status = client.ask(server.path(RESULT, position), etag).status
        client.close()
        called = sum(server.calls().values())
    if status != 304:
        raise RuntimeError(f"If-None-Match: {etag} was answered with {status}")
    what = "computed frame, If-None-Match, never computed here: calls of functions"
    yield line(
        "3", what, called, unit="", most=0, target="no compute", frame=f"{scan.detector}²", client="socket"
    )
