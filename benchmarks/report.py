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
    """Markdown table: medians in milliseconds, and ratios of medians."""
    lines = [
        "| what | frame | client | floor ms | us ms | naive ms | us / floor | naive / us | n |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        floor, us, naive = (result["contenders"][name] for name in ("floor", "us", "naive"))
        cells = [
            result["row"],
            f"{result['detector']}²",
            result["client"],
            *(f"{contender['median_ms']:.3g}" for contender in (floor, us, naive)),
            f"{us['of_floor']:.2f}",
            f"{naive['median_ms'] / us['median_ms']:.1f}",
            str(us["n"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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
        "Medians of interleaved rounds on loopback, one request at a time; every server is a process of its own under "
        "the same uvicorn. The answers were compared bit for bit first.\n\n"
        "- floor: a bare Starlette route that returns the same bytes from memory; for *computed, cold*, one that runs "
        "the same functions on a frame in memory.\n"
        "- us: `tiled-spyde serve`.\n"
        "- naive: stock tiled; raw frames straight from an h5py dataset, computed ones from hyperspy's lazy `map` over "
        "8 × 8 positions a chunk, both behind `ArrayAdapter.from_array`.\n"
        "- socket: a bare keep-alive socket; httpx: one `httpx.Client`, as Python users have it.\n"
        "- The scan has 128 × 128 positions of uint16 frames, one unfiltered HDF5 chunk each, in the page cache. The "
        "chain is a gaussian-difference background, a gaussian filter and binning by 2.\n"
    )
    return page
