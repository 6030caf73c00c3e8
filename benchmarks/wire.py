"""Row 11: bytes on the wire of counting frames, and the time to encode and decode them."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.clients import SocketClient
from benchmarks.lines import Line, line, quartiles
from tiled_spyde import codecs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scan import Scan


def run(urls: dict[str, str], scan: Scan, tree: str, rounds: int, frame: str) -> Iterator[Line]:
    """Ask both for a zarr chunk of each mean; then encode and decode it here."""
    ours, naive = SocketClient(urls["us"]), SocketClient(urls["naive"])
    for (y, x), mean in scan.doses.items():
        counts = scan.frame(y, x)
        sent = ours.get(f"/zarr/v3/{tree}/root/c/{y}/{x}/0/0")
        theirs = naive.get(f"/zarr/v3/raw/c/{y}/{x}/0/0")
        for answer in (sent, theirs):
            if not np.array_equal(codecs.decode(answer, counts.shape, counts.dtype), counts):
                raise RuntimeError(f"a chunk at {(y, x)} is not the frame")
        what, wanted = f"counting frame, mean {mean:g}: bytes of a zarr chunk", "≤ 0.6 × tiled's zarr route"
        unit = {"unit": "bytes", "frame": frame}
        yield line("11", what, len(sent), floor=len(theirs), most=0.6, target=wanted, **unit)
        yield _coding(counts, mean, rounds, frame)
    ours.close()
    naive.close()


def _coding(counts: np.ndarray, mean: float, rounds: int, frame: str) -> Line:
    times = []
    for _ in range(max(5, rounds)):
        begin = time.perf_counter()
        codecs.decode(codecs.encode(counts), counts.shape, counts.dtype)
        times.append(1e3 * (time.perf_counter() - begin))
    what = f"counting frame, mean {mean:g}: encode + decode"
    described = {"frame": frame, "n": len(times), "spread": quartiles(times)}
    return line("11", what, statistics.median(times), most=0.2, target="≤ 0.2 ms", **described)
