"""Run all rows and print the table: ``make bench`` (``ARGS="--rounds 20"`` for a quick look)."""

from __future__ import annotations

import argparse
import datetime
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import report
from benchmarks.clients import CLIENTS
from benchmarks.measure import WARM, measure, summary
from benchmarks.rows import rows
from benchmarks.scan import Scan
from benchmarks.servers import prepare_ours, running

CONTENDERS = ("floor", "us", "naive")


def main() -> None:
    options = _options()
    described = report.machine()
    results = [result for detector in options.detectors for result in run(detector, options)]
    print(report.table(results))
    if not options.dry:
        today = datetime.datetime.now(datetime.UTC).date()
        page = report.write(f"{today}-{options.name or report.commit()}", described, results)
        print(f"written to {page.relative_to(Path.cwd())}" if page.is_relative_to(Path.cwd()) else page)


def run(detector: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every row with every client on a scan of frames of `detector`²."""
    count = len(rows("")) * len(CLIENTS) * (options.rounds + WARM + 1)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        scan = Scan(Path(folder) / f"scan{detector}.hspy", detector, count)
        print(f"{detector}²: writing {count} frames, starting the servers", file=sys.stderr)
        scan.write()
        urls = {kind: stack.enter_context(running(kind, scan)) for kind in CONTENDERS}
        tree, fresh = prepare_ours(urls["us"], scan), iter(scan.visited)
        results = []
        for row in rows(tree):
            for client in CLIENTS:
                print(f"{detector}²: {row.name}, {client}", file=sys.stderr)
                clients = {kind: CLIENTS[client](url) for kind, url in urls.items()}
                contenders = summary(measure(row, clients, fresh, options.rounds))
                for opened in clients.values():
                    opened.close()
                results.append(
                    {"row": row.name, "detector": detector, "client": client, "contenders": contenders}
                )
    return results


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="requests per contender and row")
    parser.add_argument("--detectors", type=int, nargs="+", default=[128, 256], metavar="PIXELS")
    parser.add_argument("--name", help="of the results, behind the date; the commit by default")
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    return options


if __name__ == "__main__":
    main()
