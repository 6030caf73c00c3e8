"""A synthetic 4D-STEM scan with a known strain field.

A foil of two fcc grains, seen along [001] and [011], which meet at a wavy boundary: a misfitting inclusion
in the left one, a shear band in the right one, a thickness ramp, and a beam that wanders over the detector
(descan). Every frame draws its own Poisson noise from a stream keyed by its position, so that the values
depend neither on the number of workers nor on the order of writing.
"""

from __future__ import annotations

import json
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Maps = dict[str, NDArray[np.float64]]
    Progress = Callable[[int, int], None]

VERSION = 2  # of what is drawn: a cached scan of another version is made again
FILE_NAME = "strained-foil.hspy"
TITLE = "strained_foil"

LATTICE_PARAMETER = 0.40495  # nm, aluminium
BEAM_ENERGY = 200.0  # keV
STEP = 2.0  # nm between probe positions
STRAIN = 0.015  # amplitude of the strain field

# In-plane directions of the crystal along the detector's x and y, and how far the grain is turned.
_ZONES = (([[1, 0, 0], [0, 1, 0]], 7.0), ([[1, 0, 0], [0, 0.5**0.5, -(0.5**0.5)]], -21.0))
# Two reflections per grain that span its zone.
BASIS = (((2, 0, 0), (0, 2, 0)), ((2, 0, 0), (1, 1, -1)))


def cache_folder() -> Path:
    """Return where things are kept that can be made again: the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tiled-spyde"


def strain_maps(scan: tuple[int, int]) -> Maps:
    """Return the true deformation at each position of `scan` (rows, columns).

    Returns
    -------
    dict of str to numpy.ndarray
        Each of shape `scan`: ``exx``, ``eyy``, ``exy`` and ``rotation`` (radian) make the deformation
        gradient ``F = I + [[exx, exy - rotation], [exy + rotation, eyy]]`` with x along the columns, and
        reflections move as ``inv(F).T @ g``. ``right_grain`` is the weight of the grain at the right, 0 to 1.
    """
    v, u = _fractions(scan)
    boundary = 0.52 + 0.10 * np.sin(2 * np.pi * 1.3 * v + 0.4)
    right = 1 / (1 + np.exp(-(u - boundary) / 0.008))
    left = 1 - right
    du, dv = (u - 0.26) / 0.09, (v - 0.36) / 0.09
    inclusion = np.exp(-(du**2 + dv**2) / 2)
    band = np.exp(-(((u - 0.80 - 0.15 * (v - 0.5)) / 0.05) ** 2))
    exx = left * (0.9 * inclusion + 0.25 * np.sin(2 * np.pi * v)) + right * 0.6 * (v - 0.5)
    eyy = left * (0.2 * np.cos(2 * np.pi * u) - 0.7 * inclusion) - right * 0.4 * (v - 0.5)
    exy = left * 1.2 * inclusion * du * dv + right * 0.5 * band
    rotation = np.deg2rad(1.2) * (left * (v - 0.5) + right * (0.8 * band - 0.3))
    return {
        "exx": STRAIN * exx,
        "eyy": STRAIN * eyy,
        "exy": STRAIN * exy,
        "rotation": rotation,
        "right_grain": right,
    }


@dataclass(frozen=True)
class Foil:
    """The foil as a scan sees it.

    Parameters
    ----------
    scan, detector : tuple of int
        Shape of the scan and of one frame: rows, columns.
    seed : int
        Of the noise.
    dose : float
        Electrons per frame.
    """

    scan: tuple[int, int]
    detector: tuple[int, int]
    seed: int = 20240
    dose: float = 4.0e4

    @property
    def pixel(self) -> float:
        """Size of a detector pixel, in 1/nm."""
        return 23.04 / min(self.detector)

    @property
    def disk_radius(self) -> float:
        """Radius of a diffraction disk, in pixels."""
        return 5.0 * min(self.detector) / 128

    @cached_property
    def truth(self) -> Maps:
        """`strain_maps`, and what else decides a frame at each position.

        ``thickness`` is in mean free paths of inelastic scattering, ``transmission`` the part of the dose that
        reaches the detector, ``centre_x`` and ``centre_y`` say where the direct beam is (pixels), ``bending`` is
        the phase (radian) with which reflections blink.
        """
        v, u = _fractions(self.scan)
        rows, columns = self.detector
        strain = strain_maps(self.scan)
        thickness = 0.35 + 0.45 * u + 0.10 * np.sin(2 * np.pi * v)
        bending = 2 * np.pi * (1.5 * u + 0.9 * v)
        reaching = np.exp(-0.4 * thickness) * (1 + 0.04 * np.cos(2 * bending))
        return strain | {
            "thickness": thickness,
            "transmission": reaching * (1 - 0.15 * strain["right_grain"]),
            "centre_x": (columns - 1) / 2 + 0.7 + 1.6 * (u - 0.5) + 0.4 * (v - 0.5),
            "centre_y": (rows - 1) / 2 - 0.4 - 1.1 * (v - 0.5) + 0.3 * (u - 0.5),
            "bending": bending,
        }

    def expected(self, y: int, x: int) -> NDArray[np.float32]:
        """Draw the noise-free frame at row `y` and column `x`, in electrons per pixel."""
        here = {name: float(values[y, x]) for name, values in self.truth.items()}
        elastic = math.exp(-here["thickness"])
        frame = elastic * self._disks(here) + (1 - elastic) * self._background(here)
        return np.asarray(self.dose * here["transmission"] * frame, np.float32)

    def frame(self, y: int, x: int) -> NDArray[np.uint16]:
        """Draw the counted frame at row `y` and column `x`."""
        stream = np.random.Philox(key=[self.seed, y * self.scan[1] + x])
        counts = np.random.Generator(stream).poisson(self.expected(y, x))
        return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)

    def row(self, y: int) -> NDArray[np.uint16]:
        """Draw the counted frames of scan row `y`, shape (columns, *detector)."""
        return np.stack([self.frame(y, x) for x in range(self.scan[1])])

    def _disks(self, here: dict[str, float]) -> NDArray[np.float64]:
        """Draw the diffraction disks of both grains; their sum is 1."""
        rows, columns = self.detector
        radius, reach = self.disk_radius, int(self.disk_radius) + 4
        places, heights = self._reflections(here)
        seen = ((places > -reach) & (places < (columns - 1 + reach, rows - 1 + reach))).all(axis=1)
        # Patches round all disks at once; the margin takes what falls beside the detector.
        margin = 2 * reach + 1
        width, height = columns + 2 * margin, rows + 2 * margin
        x, y = (places[seen, axis, None, None] + margin for axis in (0, 1))
        around = np.arange(-reach, reach + 2)
        xs, ys = np.floor(x).astype(np.intp) + around, np.floor(y).astype(np.intp) + around[:, None]
        edge = np.clip((np.hypot(xs - x, ys - y) - radius) / 0.35, -50, 50)
        drawn = heights[seen, None, None] / (1 + np.exp(edge))
        canvas = np.zeros((height, width))
        np.add.at(canvas, (ys, xs), drawn)
        return canvas[margin : margin + rows, margin : margin + columns]

    def _reflections(self, here: dict[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Place the reflections of both grains: (x, y) in pixels, and the height of each disk."""
        exx, eyy, exy, rotation = (here[name] for name in ("exx", "eyy", "exy", "rotation"))
        deformation = np.array([[1 + exx, exy - rotation], [exy + rotation, 1 + eyy]])
        move = np.linalg.inv(deformation) / self.pixel  # g' = inv(F).T @ g, for rows of g
        centre = np.array([here["centre_x"], here["centre_y"]])
        places, heights = [], []
        for grain, share in enumerate((1 - here["right_grain"], here["right_grain"])):
            _, g, intensity = reflections(grain)
            blink = 1 + 0.6 * np.sin(here["bending"] + 2.1 * np.arange(len(g)) + 5 * grain)
            blink[0] = 1  # the direct beam
            places.append(centre + g @ move)
            heights.append(share * intensity * blink / (intensity * blink).sum())
        return np.concatenate(places), np.concatenate(heights) / (np.pi * self.disk_radius**2)

    def _background(self, here: dict[str, float]) -> NDArray[np.float64]:
        """Draw what inelastic scattering leaves round the direct beam; its sum is 1."""
        y, x = np.ogrid[: self.detector[0], : self.detector[1]]
        squared = ((x - here["centre_x"]) ** 2 + (y - here["centre_y"]) ** 2) * self.pixel**2
        lorentzian = 1 + squared / 1.2**2
        halo: NDArray[np.float64] = lorentzian**-1.5 + 0.06 * np.exp(-squared / (2 * 4.5**2))
        halo /= halo.sum()
        return halo


@cache
def reflections(grain: int) -> tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]:
    """List the reflections of an unstrained grain, the direct beam first.

    Returns
    -------
    hkl : numpy.ndarray
        Miller indices, shape (n, 3).
    g : numpy.ndarray
        Reciprocal vectors (x, y) in 1/nm, shape (n, 2).
    intensity : numpy.ndarray
        Relative to the direct beam, shape (n,).
    """
    directions, degrees = _ZONES[grain]
    zone = np.array(directions)
    indices = np.array(list(product(range(-8, 9), repeat=3)))
    parity = indices % 2
    fcc = (parity == parity[:, :1]).all(axis=1)
    in_zone = np.abs(indices @ np.cross(*zone)) < 1e-9
    hkl = indices[fcc & in_zone]
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    g = hkl @ zone.T / LATTICE_PARAMETER @ np.array([[cosine, sine], [-sine, cosine]])
    length = np.hypot(*g.T)
    order = np.argsort(length, kind="stable")
    structure = np.random.default_rng(grain + 11).uniform(0.55, 1.3, len(g))
    intensity = 0.16 * np.exp(-((length[order] / 6.5) ** 2)) * structure
    intensity[0] = 1.0
    return hkl[order], g[order], intensity


def make_scan(
    folder: Path,
    *,
    scan: tuple[int, int] = (96, 128),
    detector: tuple[int, int] = (128, 128),
    progress: Progress | None = None,
    workers: int | None = None,
) -> Path:
    """Write the scan and its truth to `folder`, unless they are there already.

    Parameters
    ----------
    folder : pathlib.Path
        Made where it does not exist.
    scan, detector : tuple of int
        Shapes as rows and columns.
    progress : callable or None
        Called with the number of rows written and of all rows.
    workers : int or None
        Threads that draw; one per core when None. The file is the same for any number.

    Returns
    -------
    pathlib.Path
        The ``.hspy`` file. Beside it lies ``strained-foil_truth.npz``: `Foil.truth`, and the two reflections
        per grain that span its lattice (``g_left``, ``g_right``: rows of (x, y) in 1/nm, unstrained).

    Raises
    ------
    OSError
        The folder cannot be written, or is full; nothing half-written stays behind.
    """
    foil = Foil(scan, detector)
    target = folder / FILE_NAME
    truth = target.with_name(f"{target.stem}_truth.npz")
    if truth.exists() and _described(target) == _description(foil):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Both appear whole, the scan last: who sees it sees its truth too.
    with TemporaryDirectory(prefix=".making-", dir=folder) as scratch:
        made = Path(scratch) / target.name
        _write_scan(made, foil, workers or os.cpu_count() or 1, progress)
        np.savez_compressed(made.with_suffix(".npz"), allow_pickle=False, **foil.truth, **_lattices())
        made.with_suffix(".npz").replace(truth)
        made.replace(target)
    return target


def show_progress(done: int, total: int) -> None:
    """Print how far `make_scan` is to standard error."""
    tenth = 10 * done // total
    if tenth > 10 * (done - 1) // total:
        end = "\n" if done == total or not sys.stderr.isatty() else "\r"
        print(f"writing a synthetic scan: {10 * tenth:3d} %", end=end, file=sys.stderr, flush=True)


def _write_scan(path: Path, foil: Foil, workers: int, progress: Progress | None) -> None:
    with h5py.File(path, "w") as file:
        data = _write_description(file, foil)
        for done, row in enumerate(_rows(foil, workers), 1):
            data[done - 1] = row
            if progress is not None:
                progress(done, foil.scan[0])


def _rows(foil: Foil, workers: int) -> Iterator[NDArray[np.uint16]]:
    """Draw the rows in order, a bounded number ahead."""
    rows = range(foil.scan[0])
    with ThreadPoolExecutor(workers) as pool:
        for start in rows[:: 4 * workers]:
            yield from pool.map(foil.row, rows[start : start + 4 * workers])


def _write_description(file: h5py.File, foil: Foil) -> h5py.Dataset:
    """Lay the file out as hyperspy does; return the empty dataset of the frames."""
    file.attrs["file_format"], file.attrs["file_format_version"] = "HyperSpy", "3.3"
    signal = file.create_group(f"Experiments/{TITLE}")
    signal.attrs["package"], signal.attrs["package_version"] = "hyperspy", "2.5.0"
    for name, values in _metadata(foil).items():
        signal.create_group(name).attrs.update(values)
    # Neither shuffled nor compressed: one frame is then one read (hyperspy's own files cost a whole chunk).
    return signal.create_dataset(
        "data", shape=foil.scan + foil.detector, dtype="<u2", chunks=(1, 1, *foil.detector)
    )


def _metadata(foil: Foil) -> dict[str, dict[str, Any]]:
    names, units = ("y", "x", "ky", "kx"), ("nm", "nm", "1/nm", "1/nm")
    axes = {
        f"axis-{i}": {
            "_type": "UniformDataAxis",
            "name": names[i],
            "units": units[i],
            "size": size,
            "scale": STEP if i < 2 else foil.pixel,
            "offset": 0.0 if i < 2 else -(size - 1) / 2 * foil.pixel,
            "navigate": i < 2,
            "is_binned": False,
        }
        for i, size in enumerate(foil.scan + foil.detector)
    }
    return axes | {
        "metadata/General": {"title": TITLE},
        "metadata/Signal": {"signal_type": "electron_diffraction", "quantity": "Counts"},
        "metadata/Sample": {"description": "synthetic foil of two fcc grains with a known strain field"},
        "metadata/Acquisition_instrument/TEM": {"beam_energy": BEAM_ENERGY},
        "original_metadata/tiled_spyde": {"demo": _description(foil)},
        "learning_results": {},
    }


def _description(foil: Foil) -> str:
    """Describe what decides the bytes of the file."""
    return json.dumps({"version": VERSION, **asdict(foil)}, sort_keys=True)


def _described(path: Path) -> str | None:
    """Return the description of a scan written earlier, None where there is none."""
    try:
        with h5py.File(path, "r") as file:
            return str(file[f"Experiments/{TITLE}/original_metadata/tiled_spyde"].attrs["demo"])
    except (OSError, KeyError):
        return None


def _lattices() -> dict[str, NDArray[np.float64]]:
    lattices = {}
    for grain, name in enumerate(("g_left", "g_right")):
        hkl, g, _ = reflections(grain)
        lattices[name] = np.array([g[(hkl == wanted).all(axis=1)][0] for wanted in BASIS[grain]])
    return lattices


def _fractions(scan: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the place (v, u) of each position in the scan, from 0 to 1, both of shape `scan`."""
    y, x = np.mgrid[: scan[0], : scan[1]]
    return (y + 0.5) / scan[0], (x + 0.5) / scan[1]
