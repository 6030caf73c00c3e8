"""Run all rows and print the table: ``make bench`` (``ARGS="--rounds 20"`` for a quick look, ``--only 6 10``)."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.lines import Line, guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

# Who measures which rows: `run(options, numbers)` of the module.
SECTIONS = {
    "frames": ("1", "1z", "2", "3", "4", "5", "6", "11", "11b"),
    "crowds": ("3", "7", "8", "15"),
    "dragged": ("9", "12", "14", "16", "17"),
    "memory": ("10",),
    "starting": ("13",),
}
NUMBERS = "1 1z 2 3 4 5 6 7 8 9 10 11 11b 12 13 14 15 16 17".split()


def main() -> None:
    options = _options()
    described = report.machine()
    begin = time.perf_counter()
    results = run(options)
    print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)
    print(report.table(results))
    if not options.dry:
        today = datetime.datetime.now(datetime.UTC).date()
        page = report.write(f"{today}-{options.name or report.commit()}", described, results)
        print(f"written to {page.relative_to(Path.cwd())}" if page.is_relative_to(Path.cwd()) else page)


def run(options: argparse.Namespace) -> list[Line]:
    """Measure the wanted rows; those that nobody gave a line for say so."""
    results: list[Line] = []
    for name, numbers in SECTIONS.items():
        wanted = set(options.only).intersection(numbers)
        if wanted:
            begin = time.perf_counter()
            results += guarded(min(wanted, key=NUMBERS.index), name, partial(_section, name, options, wanted))
            print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return sorted(results, key=lambda result: NUMBERS.index(result["row"].split()[0]))


def _section(name: str, options: argparse.Namespace, wanted: set[str]) -> Iterable[Line]:
    found: Iterable[Line] = import_module(f"benchmarks.{name}").run(options, wanted)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=NUMBERS, default=NUMBERS, metavar="ROW", help="1 1z … 17"
    )
    parser.add_argument("--rounds", type=int, default=100, help="requests per contender and row")
    parser.add_argument("--detectors", type=int, nargs="+", default=[128, 256], metavar="PIXELS")
    parser.add_argument("--seconds", type=int, default=3, help="of each of the turns under load (row 6)")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of the sparse file (row 10)")
    parser.add_argument("--starts", type=int, default=5, help="of each contender (row 13)")
    parser.add_argument("--name", help="of the results, behind the date; the commit by default")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    if options.rounds < 2 or options.starts < 1:
        parser.error("--rounds must be at least 2, and --starts 1")
    return options


if __name__ == "__main__":
    main()
