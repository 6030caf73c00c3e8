"""Interleaved timing: in every round each contender answers once, in changing order."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

from numcodecs import Blosc

from benchmarks.lines import Line, line, quartiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.clients import Client
    from benchmarks.rows import Row

Position = tuple[int, int]
Samples = dict[str, list[float]]
Tags = dict[tuple[str, Position], str]

WARM = 24  # positions that are asked for again and again
SELDOM = 5  # stock tiled is asked in every fifth round: it takes most of the time


def check(row: Row, clients: Mapping[str, Client], position: Position) -> None:
    """Refuse to time contenders that do not give the same array, bit for bit."""
    answers = {
        name: clients[name].get(path(*position)) for name, path in row.paths.items() if name in clients
    }
    decoded = {
        name: bytes(Blosc().decode(answer)) if row.blosc else answer for name, answer in answers.items()
    }
    for name, answer in decoded.items():
        if answer != decoded[row.floor]:
            raise RuntimeError(f"{row.name}: {name} and {row.floor} differ at {position}")


def measure(row: Row, clients: Mapping[str, Client], fresh: Iterator[Position], rounds: int) -> Samples:
    """Time `rounds` requests of each contender in `clients`, in milliseconds."""
    names = [name for name in row.paths if name in clients]
    check(row, clients, next(fresh))
    warm = [next(fresh) for _ in range(0 if row.cold else min(WARM, rounds))]
    tags: Tags = {}
    for position in warm:
        for name in names:
            answer = clients[name].ask(row.paths[name](*position))
            if row.conditional:
                tags[name, position] = answer.etag
    samples: Samples = {name: [] for name in names}
    order = random.Random(1)  # noqa: S311 - no secret
    for number in range(rounds):
        position = next(fresh) if row.cold else warm[number % len(warm)]
        order.shuffle(names)
        for name in names:
            if name == "naive" and number % SELDOM:
                continue
            path, tag = row.paths[name](*position), tags.get((name, position), "")
            begin = time.perf_counter()
            answer = clients[name].ask(path, tag)
            samples[name].append(1e3 * (time.perf_counter() - begin))
            if answer.status != (304 if row.conditional else 200):
                raise RuntimeError(f"{name} answers {answer.status} to {path} {tag}: {answer.body[:200]!r}")
    return samples


def lines(row: Row, samples: Samples, frame: str, client: str) -> list[Line]:
    """Give the row's line, judged for the socket only; and row 4's from the same samples."""
    median = {name: statistics.median(times) for name, times in samples.items()}
    judged, described = client == "socket", {"frame": frame, "client": client, "n": len(samples["us"])}
    found = [
        line(
            row.number,
            row.name,
            median["us"],
            floor=median[row.floor],
            most=row.most if judged else None,
            target=row.target if judged else "beside",
            naive=median.get("naive"),
            spread=quartiles(samples["us"]),
            floor_spread=quartiles(samples[row.floor]),
            **described,
        )
    ]
    if row.least_of_naive and "naive" in median:
        found.append(
            line(
                "4",
                f"{row.name}, against hyperspy's lazy map behind stock tiled",
                median["us"],
                floor=median["naive"],
                ratio=median["naive"] / median["us"],
                least=row.least_of_naive,
                target=f"≥ {row.least_of_naive} × faster",
                **described | {"n": len(samples["naive"])},
            )
        )
    return found
