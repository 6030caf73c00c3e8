"""The scan that every server serves: position-encoded, and only its visited frames take room on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SCAN = (128, 128)
TITLE = "scan"
CHAIN = (
    ("subtract_background", {"min_sigma": 3.0, "max_sigma": 12.0}),
    ("gaussian_filter", {"sigma": 1.0}),
    ("bin", {"x": 2}),
)


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
    """

    path: Path
    detector: int
    positions: int

    @property
    def visited(self) -> list[tuple[int, int]]:
        """Positions whose frames are written, scattered over the scan."""
        flat = np.random.default_rng(7).permutation(SCAN[0] * SCAN[1])[: self.positions]
        return [(int(n) // SCAN[1], int(n) % SCAN[1]) for n in flat]

    def frame(self, y: int, x: int) -> np.ndarray:
        """Counts with a mean of 1, and the position in the first two pixels."""
        frame = np.random.default_rng([y, x]).poisson(1.0, (self.detector, self.detector)).astype(np.uint16)
        frame[0, :2] = y, x
        return frame

    def write(self) -> None:
        with h5py.File(self.path, "w") as file:
            file.attrs.update({"file_format": "HyperSpy", "file_format_version": "3.3"})
            signal = file.create_group(f"Experiments/{TITLE}")
            shape = (*SCAN, self.detector, self.detector)
            for i, (name, size) in enumerate(zip(("y", "x", "ky", "kx"), shape, strict=True)):
                axis: dict[str, object] = {
                    "_type": "UniformDataAxis",
                    "name": name,
                    "units": "nm" if i < 2 else "1/nm",
                    "size": size,
                }
                axis |= {"scale": 1.0, "offset": 0.0, "navigate": i < 2, "is_binned": False}
                signal.create_group(f"axis-{i}").attrs.update(axis)
            signal.create_group("metadata/General").attrs["title"] = TITLE
            signal.create_group("metadata/Signal").attrs["signal_type"] = ""
            for empty in ("original_metadata", "learning_results"):
                signal.create_group(empty)
            data = signal.create_dataset("data", shape, "<u2", chunks=(1, 1, *shape[2:]))
            for y, x in self.visited:
                data[y, x] = self.frame(y, x)
