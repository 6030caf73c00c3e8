"""Row 11b: the first chunk of a map over the chain, through zarr."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

from numcodecs import Blosc

from benchmarks.clients import SocketClient
from benchmarks.lines import Line, line, quartiles
from benchmarks.rows import RESULT
from benchmarks.servers import make

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(urls: dict[str, str], tree: str, rounds: int, frame: str) -> Iterator[Line]:
    """Time a new map in every round, by turns with the same frames in a plain pool."""
    from benchmarks.floor import map_step

    rounds = max(2, rounds // 10)
    print(f"{frame}: row 11b, {rounds} maps", file=sys.stderr)
    clients = {kind: SocketClient(urls[kind]) for kind in ("us", "floor")}
    times: dict[str, list[float]] = {"us": [], "floor": []}
    for number in range(rounds + 1):
        radius = 6 + number / 16
        make(urls["us"], tree, f"map{number}", RESULT, *map_step(radius))
        paths = {"us": f"/zarr/v3/{tree}/map{number}/c/0/0", "floor": f"/map/{radius}"}
        answers = {}
        for name in ("us", "floor") if number % 2 else ("floor", "us"):
            begin = time.perf_counter()
            answers[name] = clients[name].get(paths[name])
            times[name].append(1e3 * (time.perf_counter() - begin))
        if Blosc().decode(answers["us"]) != Blosc().decode(answers["floor"]):
            raise RuntimeError("the map and its floor differ")
    for client in clients.values():
        client.close()
    ours, floor = times["us"][1:], times["floor"][1:]  # the first round opens files and starts threads
    yield line(
        "11b",
        "first 32 × 32 chunk of a map over the chain, zarr, cold",
        statistics.median(ours),
        floor=statistics.median(floor),
        most=1.1,
        target="≤ 1.1 × its frames in a plain pool",
        frame=frame,
        client="socket",
        n=len(ours),
        spread=quartiles(ours),
        floor_spread=quartiles(floor),
    )
