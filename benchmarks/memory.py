"""Row 10: what a server holds after 2000 frames of a 20 GB scan and one virtual image of all of it."""

from __future__ import annotations

import math
import sys
import time
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numcodecs import Blosc

from benchmarks.clients import SocketClient
from benchmarks.lines import Line, line
from benchmarks.rows import OCTETS
from benchmarks.scan import TITLE, Scan, describe, written_before
from benchmarks.servers import make, serve_command, serving, wait_for

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator, Sequence

    from benchmarks.measure import Position

DETECTOR = 256
FRAMES = 2000
CHUNK = 32
SETTLING = 30  # tenths of a second


def run(options: argparse.Namespace, only: Collection[str]) -> Iterator[Line]:
    """Write the sparse file, look at it, and say how far the server grew."""
    from tiled_spyde.app import tree

    limit = signature(tree).parameters["cache_mb"].default
    with TemporaryDirectory() as folder:
        small, large = Scan(Path(folder) / "small.hspy", 32, 20), Path(folder) / "large.hspy"
        small.write()
        side = max(CHUNK, math.isqrt(int(options.gigabytes * 1e9 / (2 * DETECTOR**2))) + 1)
        visited = write(large, side, min(FRAMES, 100 * options.rounds))
        with serving(serve_command([small.path, large], Path(folder) / "state")) as (url, process):
            seconds, grown = look(url, process.pid, small, large.name, side, visited)
    size = 2 * DETECTOR**2 * side**2 / 1e9
    what = f"{size:.1f} GB scan (sparse), {len(visited)} frames + a virtual image: growth of resident memory"
    target, note = f"≤ cache limit + 100 MB ({limit + 100})", f"all of it took {seconds:.0f} s"
    yield line(
        "10",
        what,
        grown,
        unit="MiB",
        most=limit + 100,
        target=target,
        frame=f"{DETECTOR}²",
        client="socket",
        note=note,
    )


def write(path: Path, side: int, frames: int = FRAMES) -> list[Position]:
    """Write a scan in one piece of which only a few pixels take room; return the positions that have them."""
    numbers = np.random.default_rng(3).permutation(side * side)[:frames]
    visited = [(int(n) // side, int(n) % side) for n in numbers]
    with h5py.File(path, "w", libver="latest") as file:
        shape = (side, side, DETECTOR, DETECTOR)
        group = describe(file, shape)
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        # In its place from the beginning, and never filled: the file system gives zeros for what is not written.
        made.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        made.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U16LE, space, made)
        data = group["data"]
        for y, x in visited:
            data[y, x, 0, :2] = y, x
    written_before(path)
    return visited


def look(
    url: str, pid: int, small: Scan, name: str, side: int, visited: Sequence[Position]
) -> tuple[float, float]:
    """Return the seconds it takes, and the growth in MiB."""
    client = SocketClient(url)
    wait_for(url, f"/api/v1/array/full/{small.path.name}/{TITLE}/root?slice=0,0{OCTETS}")
    tree = f"{name}/{TITLE}"
    wait_for(url, f"/api/v1/metadata/{tree}/root")
    with Resident(pid) as resident:
        begin = time.perf_counter()
        print(f"row 10: {len(visited)} frames", file=sys.stderr)
        for y, x in visited:
            frame = np.frombuffer(client.get(f"/api/v1/array/full/{tree}/root?slice={y},{x}{OCTETS}"), "<u2")
            if (*frame[:2],) != (y, x) or frame[2:].any():
                raise RuntimeError(f"the frame at {(y, x)} is another")
        print("row 10: virtual image", file=sys.stderr)
        make(url, tree, "image", "root", "virtual_image", {"detector": {"kind": "rectangle"}})
        _check_image(client, tree, side, visited)
        seconds = time.perf_counter() - begin
    client.close()
    return seconds, resident.grown


def _check_image(client: SocketClient, tree: str, side: int, visited: Sequence[Position]) -> None:
    """Ask for all chunks; each position's sum must be that of its first two pixels."""
    chunks = -(-side // CHUNK)
    image = np.zeros((chunks * CHUNK, chunks * CHUNK), "u8")
    for y, x in np.ndindex(chunks, chunks):
        decoded = Blosc().decode(client.get(f"/zarr/v3/{tree}/image/c/{y}/{x}"))
        part = np.frombuffer(decoded, "<u8").reshape(CHUNK, CHUNK)
        image[y * CHUNK :, x * CHUNK :][:CHUNK, :CHUNK] = part
    expected = np.zeros_like(image)
    for y, x in visited:
        expected[y, x] = y + x
    if not np.array_equal(image[:side, :side], expected[:side, :side]):
        raise RuntimeError("the virtual image is another")


class Resident:
    """The peak of a process and its children over what they were at the beginning."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = Event()
        self._thread = Thread(target=self._watch)
        self._idle = self._peak = 0.0

    def __enter__(self) -> Resident:
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")  # the peak begins here
        self._idle = self._peak = self._settled()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def grown(self) -> float:
        """In MiB."""
        return self._peak - self._idle

    def _settled(self) -> float:
        """Return the least of a while: the processes that look into files are just ending."""
        least = self._now()
        for _ in range(SETTLING):
            time.sleep(0.1)
            least = min(least, self._now())
        return least

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._peak = max(self._peak, self._now())
        self._peak = max(self._peak, self._now())

    def _now(self) -> float:
        """The highest of the server itself so far, and its children as they are."""
        tasks = Path(f"/proc/{self._pid}/task").glob("*/children")
        children = [int(child) for task in tasks for child in _text(task).split()]
        return _status(self._pid, "VmHWM") + sum(_status(child, "VmRSS") for child in children)


def _status(pid: int, name: str) -> float:
    found = [
        line.split()[1] for line in _text(Path(f"/proc/{pid}/status")).splitlines() if line.startswith(name)
    ]
    return int(found[0]) / 1024 if found else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""
