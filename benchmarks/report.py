"""The table, and the record under ``benchmarks/results``."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = "tiled starlette uvicorn hyperspy rosettasciio dask h5py zarr numcodecs numpy scipy".split()


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that names the machine."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def commit() -> str:
    """Return the short hash of what is measured, ``unversioned`` outside a repository."""
    command = ["git", "-C", str(RESULTS), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unversioned"


def table(results: list[dict[str, Any]]) -> str:
    """Markdown table: medians, and ratios of medians."""
    lines = [
        "| row | what | frame | client | us | floor | ratio | target | met | n |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        us, floor = (_value(result[name], result["unit"]) for name in ("us", "floor"))
        cells = [
            result["row"],
            result["what"],
            result["frame"],
            result["client"],
            us,
            floor,
            "" if result["ratio"] is None or result["us"] is None else f"{result['ratio']:.2f}",
            result["target"],
            {True: "yes", False: "**no**", None: ""}[result["met"]],
            str(result["n"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"- {result['row']}, {result['what']}: {result['note']}" for result in results if result["note"]]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}".strip() if abs(value) >= 1000 else f"{value:.3g} {unit}".strip()


def sentence(described: dict[str, Any]) -> str:
    """What the figures depend on, for people."""
    packages = ", ".join(f"{package} {number}" for package, number in described["packages"].items())
    return (
        f"{described['processor']}, {described['cores']} cores, {described['system']}, "
        f"load {described['load_before']} before the run; Python {described['python']}, {packages}."
    )


def write(name: str, described: dict[str, Any], results: list[dict[str, Any]]) -> Path:
    """Write ``NAME.json`` and ``NAME.md``; return the latter."""
    RESULTS.mkdir(exist_ok=True)
    record = {"machine": described, "results": results}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    page = RESULTS / f"{name}.md"
    page.write_text(
        f"# Benchmarks {name}\n\n"
        f"{sentence(described)}\n\n"
        f"{table(results)}\n\n"
        "Medians of interleaved rounds on loopback; every server is a process of its own. The answers were compared "
        "bit for bit first. What each row times, and against what, stands in `benchmarks/README.md`. *beside*: what a "
        "Python user's `httpx.Client` sees, which no target is about.\n"
    )
    return page
