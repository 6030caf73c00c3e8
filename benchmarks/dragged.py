"""What `dragging` and `sliding` measure of the viewer, as lines. In a process of its own: Qt may take it down."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.lines import Line, guarded, line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator

TIMEOUT = 240
DRAG = """
import json, sys
from importlib import import_module
results = import_module(sys.argv[1]).run(int(sys.argv[2]), only=(sys.argv[3],))
print(json.dumps(results), flush=True)
"""
BEYOND = {"most": 16, "target": "≤ round trip + functions + 16 ms"}
# What of a row's rounds is a line: its name there and here, unit, bounds, and the target in words.
JUDGED: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {
    **{
        f"14 {what}": [
            (
                "beyond p95 ms",
                f"slider of a {what} moved 60 times/s, 20 ms away: event → pixels, p95 beyond round trip and function",
                "ms",
                BEYOND,
            )
        ]
        for what in ("filter", "background", "binning", "map")
    },
    "16": [
        (
            "beyond p95 ms",
            "4 nodes side by side, drag of 60 positions/s, 20 ms away: event → all pixels, p95 beyond them",
            "ms",
            BEYOND,
        )
    ],
    "17": [
        (
            "listed s",
            "a node made by somebody else, 20 ms away: sent → listed in the viewer",
            "s",
            {"most": 1.0, "target": "≤ 1 s"},
        )
    ],
    "9": [
        (
            "last frame ms",
            "drag of 60 positions in 1 s, 150 ms a frame: last frame, from letting go",
            "ms",
            {"most": 1.5, "target": "≤ 1.5 × one frame"},
        ),
        (
            "idle after s",
            "the same drag: all workers idle after letting go",
            "s",
            {"most": 1.0, "target": "≤ 1 s"},
        ),
    ],
    "12": [
        (
            "frames/s",
            "drag of 60 positions/s, 20 ms away: painted",
            "1/s",
            {"least": 55, "target": "≥ 55 frames/s"},
        ),
        (
            "beyond round trip p95 ms",
            "the same drag: event → pixels, p95 beyond the round trip",
            "ms",
            {"most": 16, "target": "≤ 16 ms"},
        ),
        (
            "stall p99 ms",
            "the same drag: stall of the GUI thread, p99",
            "ms",
            {"most": 8, "target": "≤ 8 ms"},
        ),
    ],
}
FLOORS = {"last frame ms": "one frame ms"}
MODULES = {"9": "dragging", "12": "dragging", "14": "sliding", "16": "sliding", "17": "sliding"}


def run(options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    """Drag each row in turn: a row that fails leaves the other."""
    for number in sorted(only, key=int):
        print(f"row {number}, the viewer", file=sys.stderr)
        yield from guarded(number, "the viewer", partial(_lines, number, min(3, options.rounds)))


def _lines(number: str, rounds: int) -> Iterator[Line]:
    for name, found in _drag(number, rounds).items():
        yield from lines(name, found)


def lines(number: str, rounds: list[dict[str, float]]) -> Iterator[Line]:
    """Judge the medians of the rounds."""
    median = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    told = ", ".join(f"{name} {value:.3g}" for name, value in median.items())
    for place, (name, what, unit, judged) in enumerate(JUDGED[number]):
        floor = median[FLOORS[name]] if name in FLOORS else None
        described = {"frame": "256²", "client": "viewer", "n": len(rounds), "note": "" if place else told}
        yield line(number.split()[0], what, median[name], floor=floor, unit=unit, **judged, **described)


def _drag(number: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    module = f"benchmarks.{MODULES[number]}"
    command = [sys.executable, "-W", "ignore", "-c", DRAG, module, str(rounds), number]
    environment = {"QT_QPA_PLATFORM": "offscreen", "QT_FONT_DPI": "96", **os.environ}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
    )
    for text in done.stdout.splitlines():
        if text.startswith("{"):
            found: dict[str, list[dict[str, float]]] = json.loads(text)
            return found
    told = done.stderr.strip().splitlines() or ["nothing"]
    raise RuntimeError(f"it ended with {done.returncode}, and said: {told[-1]}")
