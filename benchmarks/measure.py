"""Interleaved timing: in every round each contender answers once, in changing order."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any

from numcodecs import Blosc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.clients import Client
    from benchmarks.rows import Row

Position = tuple[int, int]
Samples = dict[str, list[float]]

WARM = 24  # positions that are asked for again and again


def check(row: Row, clients: Mapping[str, Client], position: Position) -> None:
    """Refuse to time contenders that do not give the same array, bit for bit."""
    answers = {name: clients[name].get(path(*position)) for name, path in row.paths.items()}
    decoded = {
        name: bytes(Blosc().decode(answer)) if row.blosc else answer for name, answer in answers.items()
    }
    for name, answer in decoded.items():
        if answer != decoded["floor"]:
            raise RuntimeError(f"{row.name}: {name} and floor differ at {position}")


def measure(row: Row, clients: Mapping[str, Client], fresh: Iterator[Position], rounds: int) -> Samples:
    """Time `rounds` requests of each contender, in milliseconds."""
    check(row, clients, next(fresh))
    warm = [next(fresh) for _ in range(0 if row.cold else min(WARM, rounds))]
    for position in warm:
        for name in row.paths:
            clients[name].get(row.paths[name](*position))
    samples: Samples = {name: [] for name in row.paths}
    names = list(row.paths)
    order = random.Random(1)  # noqa: S311 - no secret
    for number in range(rounds):
        position = next(fresh) if row.cold else warm[number % len(warm)]
        order.shuffle(names)
        for name in names:
            path = row.paths[name](*position)
            begin = time.perf_counter()
            clients[name].get(path)
            samples[name].append(1e3 * (time.perf_counter() - begin))
    return samples


def summary(samples: Samples) -> dict[str, Any]:
    """Median, quartiles and number of samples of each contender, and what its median is of the floor's."""
    floor = statistics.median(samples["floor"])
    return {
        name: _spread(times) | {"of_floor": statistics.median(times) / floor}
        for name, times in samples.items()
    }


def _spread(times: list[float]) -> dict[str, float]:
    first, middle, third = statistics.quantiles(times, n=4)
    return {"median_ms": middle, "first_quartile_ms": first, "third_quartile_ms": third, "n": len(times)}
