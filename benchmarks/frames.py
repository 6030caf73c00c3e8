"""Rows 1 to 6, 11 and 11b: they share a scan and its servers."""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import h5grove_server, load, maps, wire
from benchmarks.clients import CLIENTS, SocketClient
from benchmarks.lines import Line, guarded
from benchmarks.measure import WARM, Position, lines, measure
from benchmarks.rows import Row, h5grove_row, rows
from benchmarks.scan import DOSES, Scan
from benchmarks.servers import prepare_ours, running

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator


MAP_DETECTOR = 128  # row 11b is about these frames


def run(options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    """Measure the rows of `only` on the scans of all detectors."""
    for detector in options.detectors:
        found = guarded(
            min(only),
            f"rows {', '.join(sorted(only))}",
            partial(_detector, detector, options, only),
            frame=f"{detector}²",
        )
        yield from found


def _detector(detector: int, options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    frame, rounds = f"{detector}²", options.rounds
    with_map = "11b" in only and detector == min(options.detectors, key=lambda d: abs(d - MAP_DETECTOR))
    with TemporaryDirectory() as folder, ExitStack() as stack:
        scan = Scan(Path(folder) / f"scan{detector}.hspy", detector, positions(rounds), 32 * with_map)
        print(f"{frame}: writing {scan.positions} frames, starting the servers", file=sys.stderr)
        scan.write()
        kinds = ("floor", "us", "naive") if only & {"1", "1z", "2", "3", "4", "11"} else ("floor", "us")
        urls = {kind: stack.enter_context(running(kind, scan)) for kind in kinds}
        tree, fresh = prepare_ours(urls["us"], scan), iter(scan.visited[len(DOSES) :])
        for row in rows(tree):
            if row.number in only or (row.least_of_naive and "4" in only):
                yield from _with_every_client(row, urls, fresh, rounds, frame)
        warm = scan.visited[len(DOSES) : len(DOSES) + WARM]
        if "5" in only:
            yield from guarded(
                "5", "h5grove", partial(_h5grove, urls, scan, tree, fresh, rounds), frame=frame
            )
        if "6" in only:
            yield from guarded(
                "6", "32 clients", partial(load.run, urls, tree, warm, options.seconds, frame), frame=frame
            )
        if "11" in only:
            yield from guarded("11", "bytes", partial(wire.run, urls, scan, tree, rounds, frame), frame=frame)
        if with_map:
            yield from guarded("11b", "map", partial(maps.run, urls, tree, rounds, frame), frame=frame)


def positions(rounds: int) -> int:
    """How many frames are needed: one for every cold request, and what is asked for again."""
    each = sum(1 + (rounds if row.cold else min(WARM, rounds)) for row in rows(""))
    return len(DOSES) + WARM + len(CLIENTS) * each + 2 * (1 + min(WARM, rounds))


def _with_every_client(
    row: Row, urls: dict[str, str], fresh: Iterator[Position], rounds: int, frame: str
) -> Iterator[Line]:
    for client in CLIENTS:
        print(f"{frame}: row {row.number}, {row.name}, {client}", file=sys.stderr)
        asked = urls if client == "socket" else {kind: urls[kind] for kind in ("floor", "us")}
        several = {kind: CLIENTS[client](url) for kind, url in asked.items()}
        try:
            yield from guarded(
                row.number,
                row.name,
                lambda: lines(row, measure(row, several, fresh, rounds), frame, client),  # noqa: B023 - called here
                frame=frame,
                client=client,
            )
        finally:
            for opened in several.values():
                opened.close()


def _h5grove(
    urls: dict[str, str], scan: Scan, tree: str, fresh: Iterator[Position], rounds: int
) -> Iterator[Line]:
    """Measure against both of h5grove's apps; the faster one counts."""
    print("row 5, h5grove", file=sys.stderr)
    best, slowest = [], math.inf
    for which in h5grove_server.APPS:
        with h5grove_server.running(which, scan.path.parent) as url:
            row = h5grove_row(tree, scan.path.name, which)
            several = {"us": SocketClient(urls["us"]), which: SocketClient(url)}
            found = lines(row, measure(row, several, fresh, rounds), f"{scan.detector}²", "socket")
        if found[0]["floor"] < slowest:
            best, slowest = found, found[0]["floor"]
    yield from best
