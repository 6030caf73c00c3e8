"""The scan that every server serves: position-encoded, and only its visited frames take room on disk."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SCAN = (128, 128)
TITLE = "scan"
CHAIN = (
    ("subtract_background", {"min_sigma": 3.0, "max_sigma": 12.0}),
    ("gaussian_filter", {"sigma": 1.0}),
    ("bin", {"x": 2}),
)
# Counts per pixel of the first visited frames; all others have a mean of 1.
DOSES = (0.05, 0.3, 1.0, 2.0)


@dataclass(frozen=True)
class Scan:
    """A ``.hspy`` file with one frame per unfiltered chunk.

    Parameters
    ----------
    path : pathlib.Path
    detector : int
        Edge of the square frames, in pixels.
    positions : int
        How many frames are written; the others are empty and read as zeros.
    corner : int
        The frames at the first positions are written too: as many along each axis.
    """

    path: Path
    detector: int
    positions: int
    corner: int = 0

    @property
    def visited(self) -> list[tuple[int, int]]:
        """Positions whose frames are written, scattered over the scan."""
        flat = np.random.default_rng(7).permutation(SCAN[0] * SCAN[1])[: self.positions]
        return [(int(n) // SCAN[1], int(n) % SCAN[1]) for n in flat]

    @cached_property
    def doses(self) -> dict[tuple[int, int], float]:
        """The positions whose frames have another mean."""
        return dict(zip(self.visited, DOSES, strict=False))

    def frame(self, y: int, x: int) -> np.ndarray:
        """Counts with a mean of 1 (of `doses` at those positions), and the position in the first two pixels."""
        mean = self.doses.get((y, x), 1.0)
        frame = np.random.default_rng([y, x]).poisson(mean, (self.detector, self.detector)).astype(np.uint16)
        frame[0, :2] = y, x
        return frame

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"path": str(self.path)})

    @classmethod
    def from_json(cls, text: str) -> Scan:
        described = json.loads(text)
        return cls(**described | {"path": Path(described["path"])})

    def write(self) -> None:
        with h5py.File(self.path, "w") as file:
            shape = (*SCAN, self.detector, self.detector)
            data = describe(file, shape).create_dataset("data", shape, "<u2", chunks=(1, 1, *shape[2:]))
            for y, x in {*self.visited, *np.ndindex(self.corner, self.corner)}:
                data[y, x] = self.frame(y, x)
        written_before(self.path)


def written_before(path: Path) -> None:
    """Let a file look a day old: our server waits with those that may still be written to."""
    before = path.stat().st_mtime - 86_400
    os.utime(path, (before, before))


def describe(file: Any, shape: tuple[int, ...]) -> Any:
    """Write everything but the data of a ``.hspy`` file; return the group that the dataset belongs in."""
    file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
    signal = file.create_group(f"Experiments/{TITLE}")
    for i, (name, size) in enumerate(zip(("y", "x", "ky", "kx"), shape, strict=True)):
        units = "nm" if i < 2 else "1/nm"
        axis: dict[str, object] = {"_type": "UniformDataAxis", "name": name, "units": units, "size": size}
        axis |= {"scale": 1.0, "offset": 0.0, "navigate": i < 2, "is_binned": False}
        signal.create_group(f"axis-{i}").attrs.update(axis)
    signal.create_group("metadata/General").attrs["title"] = TITLE
    signal.create_group("metadata/Signal").attrs["signal_type"] = ""
    for empty in ("original_metadata", "learning_results"):
        signal.create_group(empty)
    return signal
