"""Array → what the screen draws. Runs in worker threads, so the window never waits for it. No Qt.

Painting is quick for finite uint8, uint16 and float32 only (a NaN costs 7 ×, int32 9 ×), so that is
what a picture holds; the array as it came stays beside it for the readout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Levels = tuple[float, float]
# Percentiles and histograms of this many samples look the same as of all, and cost half a millisecond.
SAMPLES = 32768
BINS = 128
AUTO_PERCENT = (1.0, 99.0)
# The logarithm begins at one count, or this far below the brightest: noise of a float is no signal.
COUNTS_BELOW_TOP, FLOATS_BELOW_TOP = 1e-3, 1e-2


class Scale(StrEnum):
    """How intensity becomes brightness."""

    LINEAR = "linear"
    SQRT = "sqrt"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A monotonic function of intensity, defined for negative values too.

    ``log`` is ``sign(v) log(1 + |v| / threshold)``: linear below `threshold`, logarithmic above, so
    that zero counts and the negative side of a subtracted background stay visible.
    """

    scale: Scale = Scale.LINEAR
    threshold: float = 1.0

    def __call__(self, values: NDArray[Any] | float) -> NDArray[np.float32]:
        """Stretched `values` as float32 of the same shape."""
        values = np.asarray(values, dtype=np.float32)
        if self.scale is Scale.SQRT:
            return np.asarray(np.copysign(np.sqrt(np.abs(values)), values))
        if self.scale is Scale.LOG:
            return np.asarray(np.copysign(np.log1p(np.abs(values) / np.float32(self.threshold)), values))
        return values

    def forward(self, value: float) -> float:
        """`value` on the stretched scale."""
        return float(self(value))

    def inverse(self, stretched: float) -> float:
        """Intensity of a `stretched` value."""
        size = abs(stretched)
        if self.scale is Scale.SQRT:
            size = size**2
        elif self.scale is Scale.LOG:
            size = self.threshold * float(np.expm1(min(size, 80.0)))
        return float(np.copysign(size, stretched))


@dataclass(frozen=True)
class Picture:
    """An array made ready for painting.

    Parameters
    ----------
    raw : numpy.ndarray
        As it came, for the readout (the modulus where it was complex).
    shown : numpy.ndarray
        uint8, uint16 or float32, stretched, C order; finite but for the gaps of a curve. With a third axis
        it is red, green, blue (and opacity).
    stretch : Stretch
        What was applied to `raw`.
    automatic : tuple of float
        1 % and 99 % of the finite intensities.
    limits : tuple of float
        Smallest and largest finite intensity.
    """

    raw: NDArray[Any]
    shown: NDArray[Any]
    stretch: Stretch
    automatic: Levels
    limits: Levels

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Histogram of `shown` between the stretched `limits`; counted when it is drawn, as few pictures' are."""
        ends = _widened(*map(self.stretch.forward, self.limits))
        return np.histogram(self.stretch(_finite_sample(self.raw)), bins=BINS, range=ends)[0]

    @property
    def coloured(self) -> bool:
        """True where each pixel has its own colour, and neither levels nor a colormap."""
        return self.shown.ndim == 3


def prepare(raw: NDArray[Any], scale: Scale = Scale.LINEAR, levels: Levels | None = None) -> Picture:
    """Make an array ready for painting.

    Parameters
    ----------
    raw : numpy.ndarray
        Any numeric dtype, any shape.
    scale : Scale
        How intensity becomes brightness.
    levels : tuple of float or None
        Where the logarithm's threshold comes from: the levels in use, so that it does not change from
        frame to frame; None to take this array's own.
    """
    if raw.dtype.kind == "c":
        raw = np.abs(raw)
    sample = _finite_sample(raw)
    limits = _widened(float(sample.min()), float(sample.max()))
    automatic = _widened(*(float(value) for value in np.percentile(sample, AUTO_PERCENT)))
    stretch = Stretch(scale, _threshold(raw.dtype, levels or automatic))
    shown = _paintable(stretch, raw, limits)
    return Picture(raw, shown, stretch, automatic, limits)


def prepare_colours(raw: NDArray[Any]) -> Picture:
    """Make red, green, blue (and opacity) ready for painting: as they are, in eight bits.

    Parameters
    ----------
    raw : numpy.ndarray
        uint8 or uint16, shape (rows, columns, 3 or 4).
    """
    eight = raw if raw.dtype == np.uint8 else (raw >> 8).astype(np.uint8)
    whole = (0.0, 255.0)
    return Picture(raw, np.ascontiguousarray(eight), Stretch(), whole, whole)


def _finite_sample(raw: NDArray[Any]) -> NDArray[Any]:
    """Evenly spread finite values, all of them where there are few; zero where there is none."""
    flat = raw.reshape(-1)
    # An odd step: an even one would see the same columns of every row.
    sample = flat[:: max(1, flat.size // SAMPLES) | 1]
    if raw.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    elif raw.dtype.kind == "b":
        sample = sample.astype(np.uint8)
    return sample if sample.size else np.zeros(1, np.float32)


def _widened(low: float, high: float) -> Levels:
    """`low` and `high`, a little apart where they are equal: levels of no width paint nothing."""
    if high > low:
        return low, high
    margin = max(abs(low) * 1e-3, 0.5)
    return low - margin, low + margin


def _threshold(dtype: np.dtype[Any], levels: Levels) -> float:
    """Where the logarithm begins: one count, decades below the top, or as far as noise goes below zero."""
    low, top = levels
    if dtype.kind in "uib":
        return max(abs(top) * COUNTS_BELOW_TOP, -low, 1.0)
    return max(abs(top) * FLOATS_BELOW_TOP, -low) or 1.0


def _paintable(stretch: Stretch, raw: NDArray[Any], limits: Levels) -> NDArray[Any]:
    """`raw` stretched, in a dtype that paints quickly, infinities as the nearest finite value.

    NaN is the lowest value of an image, and a gap in a curve.
    """
    if stretch.scale is Scale.LINEAR and raw.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(raw)
    finite = raw
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        missing = np.nan if raw.ndim == 1 else limits[0]
        finite = np.nan_to_num(raw, nan=missing, posinf=limits[1], neginf=limits[0])
    return np.ascontiguousarray(stretch(finite))


def filled(picture: Picture, stride: int, shape: tuple[int, ...]) -> Picture:
    """Return a coarse picture on the full grid of `shape`: every pixel is its nearest sample.

    The picture then covers exactly the area of the full one, so nothing jumps when it refines.
    """
    if stride == 1:
        return picture
    nearest = [
        np.clip(np.rint(np.arange(size) / stride).astype(int), 0, samples - 1)
        for size, samples in zip(shape, picture.raw.shape, strict=True)
    ]
    grid = np.ix_(*nearest)
    return replace(picture, raw=picture.raw[grid], shown=np.ascontiguousarray(picture.shown[grid]))
