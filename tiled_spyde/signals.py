"""The vocabulary every module shares: axes, signals, and what reads their frames.

Everything here is in array order (``[y, x, ky, kx]``): navigation axes first, then signal axes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

Index = tuple[int, ...]
Region = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One calibrated axis: the value at index ``i`` is ``offset + scale * i``, at the pixel's centre.

    Parameters
    ----------
    name : str
        Never empty and unique within a signal.
    size : int
        Number of pixels.
    scale, offset : float
        In `units` (in pixels where the axis is uncalibrated).
    units : str or None
        None for an uncalibrated axis.
    navigate : bool
        True for the axes a person points into.
    values : tuple of float or None
        The value at each index where the axis is not uniform.
    """

    name: str
    size: int
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    navigate: bool = False
    values: tuple[float, ...] | None = None

    def value(self, index: float) -> float:
        """Value at `index` (fractional for a uniform axis), in `units`."""
        if self.values is not None:
            return self.values[round(index)]
        return self.offset + self.scale * index

    def index(self, value: float) -> float:
        """Return the (fractional) index of `value`, which is in `units`."""
        if self.values is not None:
            return float(np.argmin(np.abs(np.asarray(self.values) - value)))
        return (value - self.offset) / self.scale

    def to_json(self) -> dict[str, Any]:
        """Return the axis as it stands in a node's metadata."""
        described: dict[str, Any] = {
            "name": self.name,
            "size": self.size,
            "scale": self.scale,
            "offset": self.offset,
            "units": self.units,
            "navigate": self.navigate,
        }
        if self.values is not None:
            described["values"] = list(self.values)
        return described

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Axis:
        """Return the axis that `to_json` described."""
        values = described.get("values")
        return cls(**{**described, "values": None if values is None else tuple(values)})


@dataclass(frozen=True, slots=True)
class Instrument:
    """How a signal was acquired, as far as it is known; None is unknown.

    Parameters
    ----------
    beam_energy : float or None
        In keV.
    camera_length : float or None
        In mm.
    counting : bool or None
        True where the detector counts electrons, False where it adds up their charge.
    scan_rotation : float or None
        From the scan's x to the detector's x, in degrees, clockwise on the screen.
    """

    beam_energy: float | None = None
    camera_length: float | None = None
    counting: bool | None = None
    scan_rotation: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON, the unknown as null."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """What is known of a signal without touching its data.

    Parameters
    ----------
    axes : tuple of Axis
        Array order, navigation axes first.
    dtype : numpy.dtype
        Native byte order.
    signal_type : str
        hyperspy's word for the kind of signal, for example ``electron_diffraction``; may be empty.
    instrument : Instrument
        How it was acquired.
    """

    axes: tuple[Axis, ...]
    dtype: np.dtype[Any]
    signal_type: str = ""
    instrument: Instrument = Instrument()

    @property
    def navigation_axes(self) -> tuple[Axis, ...]:
        """Axes a person points into."""
        return tuple(axis for axis in self.axes if axis.navigate)

    @property
    def signal_axes(self) -> tuple[Axis, ...]:
        """Axes of one frame."""
        return tuple(axis for axis in self.axes if not axis.navigate)

    @property
    def shape(self) -> tuple[int, ...]:
        """Array shape."""
        return tuple(axis.size for axis in self.axes)

    @property
    def navigation_shape(self) -> tuple[int, ...]:
        """Array shape of the scan."""
        return tuple(axis.size for axis in self.navigation_axes)

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Array shape of one frame."""
        return tuple(axis.size for axis in self.signal_axes)

    @property
    def frame_bytes(self) -> int:
        """Size of one frame in bytes."""
        return math.prod(self.signal_shape) * self.dtype.itemsize

    def with_signal(self, axes: Iterable[Axis], dtype: Any = None) -> SignalInfo:
        """Return the same scan with other signal axes and, where given, another dtype."""
        kept = self.dtype if dtype is None else np.dtype(dtype)
        return replace(self, axes=(*self.navigation_axes, *axes), dtype=kept)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "axes": [axis.to_json() for axis in self.axes],
            "dtype": self.dtype.str,
            "signal_type": self.signal_type,
            "instrument": self.instrument.to_json(),
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> SignalInfo:
        """Return the signal that `to_json` described."""
        axes = tuple(map(Axis.from_json, described["axes"]))
        instrument = Instrument(**described["instrument"])
        return cls(axes, np.dtype(described["dtype"]), described["signal_type"], instrument)


class FrameReader(Protocol):
    """Reads one frame of a root without computing or reading others.

    An implementation is safe to call from several threads at once.
    """

    def read(self, index: Index, region: Region = ()) -> NDArray[Any]:
        """Return one frame, or a part of it.

        Parameters
        ----------
        index : tuple of int
            Position in the scan, one non-negative integer per navigation axis.
        region : tuple of slice
            One slice per signal axis with explicit non-negative start and stop and positive step;
            empty for the whole frame.

        Returns
        -------
        numpy.ndarray
            ``frame[region]`` in the declared dtype and native byte order, not shared with anyone.

        Raises
        ------
        tiled_spyde.errors.SourceError
            The file cannot give this frame: truncated, damaged, gone or changed.
        """
        ...


@runtime_checkable
class RegionReader(FrameReader, Protocol):
    """A frame reader that can read many positions at once for little more than one costs."""

    def read_region(self, positions: tuple[slice, ...], region: Region = ()) -> NDArray[Any]:
        """Return the frames at many positions, or the same part of each.

        Parameters
        ----------
        positions : tuple of slice
            One slice per navigation axis with explicit non-negative start and stop, not empty, and a
            positive step. The caller asks for a few MB at a time.
        region : tuple of slice
            As of `read`.

        Returns
        -------
        numpy.ndarray
            As numpy would slice the whole array with ``(*positions, *region)``: the declared dtype and
            native byte order, not shared with anyone.

        Raises
        ------
        tiled_spyde.errors.SourceError
            As `read`.
        """
        ...


@runtime_checkable
class PromptReader(FrameReader, Protocol):
    """A frame reader that knows which frames it can give at once, so that they need no thread."""

    def read_at_once(self, index: Index, region: Region = ()) -> NDArray[Any] | None:
        """Return what `read` would if that takes microseconds and cannot block; else None, quickly.

        It opens, probes and decodes nothing that is not open or decoded already. Called on the event loop.

        Raises
        ------
        tiled_spyde.errors.SourceError
            As `read`; an implementation may as well return None and leave it to `read` to say so.
        """
        ...


def read_positions(
    reader: FrameReader, info: SignalInfo, positions: tuple[slice, ...], region: Region = ()
) -> NDArray[Any]:
    """Read many positions, at once where `reader` can; see `RegionReader.read_region`."""
    if isinstance(reader, RegionReader):
        return reader.read_region(positions, region)
    taken = [range(*cut.indices(size)) for cut, size in zip(positions, info.navigation_shape, strict=True)]
    frames = [reader.read(index, region) for index in product(*taken)]
    return np.reshape(frames, (*map(len, taken), *frames[0].shape))
