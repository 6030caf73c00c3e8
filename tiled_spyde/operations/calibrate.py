"""What a file does not say: the shape of its scan, its axes, and how it was acquired."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.labels import LONGEST_NAME, LONGEST_UNITS, clean_name, clean_units, default_names, unused
from tiled_spyde.operations.base import FrameFunction, FrameNumbers, Operation, Strict
from tiled_spyde.signals import Axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.signals import Instrument, SignalInfo

UNCALIBRATED = "px"


def _name(said: str) -> str:
    if not (name := clean_name(said)):
        raise ValueError("a name needs a letter or a digit")
    return name


def _scale(scale: float) -> float:
    if abs(scale) < 1e-30:
        raise ValueError("a pixel is not 0 wide; its size must be at least 1e-30")
    return scale


def _units(said: str) -> str:
    if not said.isprintable():
        raise ValueError("write units in plain letters, for example 1/nm")
    return clean_units(said) or UNCALIBRATED


class AxisCalibration(Strict):
    """What is known better of one axis; what is left out stays as it is."""

    name: Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_name)] | None = Field(
        None, description="Its new name"
    )
    scale: Annotated[float, Field(ge=-1e30, le=1e30), AfterValidator(_scale)] | None = Field(
        None, description="Size of a pixel, in these units; negative where values fall"
    )
    units: Annotated[str, Field(max_length=LONGEST_UNITS), AfterValidator(_units)] | None = Field(
        None, description="For example nm, 1/nm, mrad or eV; px makes the axis uncalibrated"
    )
    offset: float | None = Field(
        None, ge=-1e30, le=1e30, description="Value of the first pixel, in these units"
    )
    center: float | None = Field(
        None,
        ge=-1e9,
        le=1e9,
        description="Index at which the value is 0, instead of an offset; 10.5 lies between two pixels",
        json_schema_extra={"unit": "px"},
    )

    @model_validator(mode="after")
    def _says_it_once(self) -> Self:
        if self.offset is not None and self.center is not None:
            raise ValueError("offset and center say the same; give one of them")
        if self.units == UNCALIBRATED and self._numbers:
            raise ValueError("units: px means uncalibrated; name the units of scale, offset and center")
        return self

    def apply(self, axis: Axis) -> Axis:
        """Return `axis` as it is said to be.

        Raises
        ------
        InvalidOperation
            Its units are not known, or it has a value for each pixel that one number cannot replace.
        """
        axis = replace(axis, name=self.name or axis.name)
        if self.units == UNCALIBRATED:
            return Axis(axis.name, axis.size, navigate=axis.navigate)
        units = self.units or axis.units
        if not self._numbers:
            return replace(axis, units=units)
        if units is None:
            raise InvalidOperation("units are missing: the axis is uncalibrated. Give, for example, 1/nm.")
        if axis.values is not None and self.scale is None:
            raise InvalidOperation("scale is missing: the axis has a value for each pixel. Give scale too.")
        scale = axis.scale if self.scale is None else self.scale
        offset = axis.offset if self.offset is None else self.offset
        if self.center is not None:
            offset = -self.center * scale
        return replace(axis, scale=scale, offset=offset, units=units, values=None)

    @property
    def _numbers(self) -> bool:
        return any(number is not None for number in (self.scale, self.offset, self.center))


class Calibrate(Operation):
    """Say what the file does not: the shape of the scan, scales and units, how it was acquired."""

    name: ClassVar[str] = "calibrate"
    locality: ClassVar[Literal["frame", "slice"]] = "slice"
    signal_dimensions: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 4)
    complex_too: ClassVar[bool] = True

    navigation_shape: tuple[Annotated[int, Field(ge=1, le=10**9)], ...] | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="Arrange the frames as a scan: rows, columns. Its axes are then called y and x; one "
        "number makes a line, three a series of scans",
        json_schema_extra={"unit": "frames"},
    )
    first_frame: int = Field(
        0,
        ge=0,
        le=10**9,
        description="Frames before the scan began, which are left out",
        json_schema_extra={"unit": "frames"},
    )
    flyback: int = Field(
        0,
        ge=0,
        le=10**6,
        description="Frames behind each row, recorded while the beam flew back, which are left out",
        json_schema_extra={"unit": "frames"},
    )
    leave_rest: bool = Field(False, description="Leave out what was recorded after the scan")
    axes: dict[Annotated[str, Field(max_length=LONGEST_NAME)], AxisCalibration] = Field(
        {}, max_length=16, description="What is known of each axis, under the name it has"
    )
    beam_energy: float | None = Field(
        None, gt=0, le=10_000, description="Acceleration voltage", json_schema_extra={"unit": "keV"}
    )
    camera_length: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="As calibrated, where the nominal one is off",
        json_schema_extra={"unit": "mm"},
    )
    pixel_size: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Of the detector, binning included. With beam energy and camera length it gives the scale "
        "of diffraction patterns in 1/nm, from the middle of the frame where no center is given",
        json_schema_extra={"unit": "µm"},
    )
    counting: bool | None = Field(
        None, description="True: the detector counts electrons. False: it integrates their charge"
    )
    scan_rotation: float | None = Field(
        None,
        ge=-360,
        le=360,
        description="From the scan's x to the detector's x, clockwise on the screen",
        json_schema_extra={"unit": "°"},
    )

    @model_validator(mode="after")
    def _left_out_of_something(self) -> Self:
        if self.navigation_shape is None and (self.first_frame or self.flyback or self.leave_rest):
            raise ValueError("first_frame, flyback and leave_rest need navigation_shape: give rows, columns")
        return self

    def output(self, info: SignalInfo) -> SignalInfo:
        """See `Operation.output`."""
        instrument = self._instrument(info)
        arranged = self._arranged(info)
        given = {**self.axes, **self._from_detector(arranged, instrument)}
        axes = tuple(_calibrated(axis, given.pop(axis.name, None)) for axis in arranged.axes)
        if given:
            known = ", ".join(axis.name for axis in arranged.axes)
            raise InvalidOperation(
                f"calibrate: axes: there is no axis {next(iter(given))[:64]!r}; there are: {known}."
            )
        names = [axis.name for axis in axes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InvalidOperation(f"calibrate: axes: two would be called {twice[0]!r}; choose another name.")
        return replace(arranged, axes=axes, instrument=instrument)

    def function(self, info: SignalInfo) -> FrameFunction:
        """Every frame is as it is below; which one it is, `frames` says."""
        return _unchanged

    def frames(self, info: SignalInfo) -> FrameNumbers | None:
        """See `Operation.frames`."""
        shape = self.navigation_shape
        if shape is None or (shape == info.navigation_shape and not self.first_frame):
            return None
        return partial(_frame_number, self.first_frame, shape[-1], self.flyback)

    def seconds(self, info: SignalInfo) -> float:
        """See `Operation.seconds`."""
        return 0.0

    def _instrument(self, info: SignalInfo) -> Instrument:
        said: dict[str, Any] = {
            "beam_energy": self.beam_energy,
            "camera_length": self.camera_length,
            "counting": self.counting,
            "scan_rotation": self.scan_rotation,
        }
        return replace(info.instrument, **{name: value for name, value in said.items() if value is not None})

    def _arranged(self, info: SignalInfo) -> SignalInfo:
        """Return the signal with its scan in the wanted shape; new axes are uncalibrated."""
        shape = self.navigation_shape
        if shape is None:
            return info
        self._check_frames(info, shape)
        if shape == info.navigation_shape:
            return info
        names = default_names(True, len(shape), len(info.signal_axes))[-len(shape) :]
        navigation = [Axis(name, size, navigate=True) for name, size in zip(names, shape, strict=True)]
        taken = {*names, *(axis.name for axis in info.signal_axes)}
        signal = [
            replace(axis, name=unused(f"k{axis.name}", taken)) if axis.name in names else axis
            for axis in info.signal_axes
        ]
        return replace(info, axes=(*navigation, *signal))

    def _check_frames(self, info: SignalInfo, shape: tuple[int, ...]) -> None:
        if not info.navigation_axes:
            raise InvalidOperation("calibrate: navigation_shape: this signal is one frame, there is no scan.")
        there = math.prod(info.navigation_shape)
        rows, said = math.prod(shape[:-1]), " × ".join(map(str, shape))
        # Behind the last row the beam may have stopped without flying back.
        needed = self.first_frame + rows * (shape[-1] + self.flyback) - self.flyback
        if there < needed:
            raise InvalidOperation(
                f"calibrate: navigation_shape: {said} needs {needed} frames; there are {there}. Give a shape "
                f"that multiplies to {there}, or fewer first_frame and flyback frames."
            )
        if there not in (needed, needed + self.flyback) and not self.leave_rest:
            raise InvalidOperation(
                f"calibrate: navigation_shape: {said} takes {needed} of {there} frames. Give a shape that "
                f"multiplies to {there}, say first_frame or flyback, or leave out the others with leave_rest."
            )

    def _from_detector(self, info: SignalInfo, instrument: Instrument) -> dict[str, AxisCalibration]:
        """Return the calibration of a pattern's axes that follows from the size of the detector's pixels."""
        if self.pixel_size is None:
            return {}
        energy, length = instrument.beam_energy, instrument.camera_length
        if energy is None or length is None or len(info.signal_axes) != 2:
            raise InvalidOperation(
                "calibrate: pixel_size: gives a scale with beam_energy and camera_length, to diffraction "
                "patterns (two signal axes). Give what is missing, or scale and units of each axis."
            )
        scale = pattern_scale(self.pixel_size, energy, length)
        return {
            axis.name: _scaled(self.axes.get(axis.name, AxisCalibration()), axis, scale)
            for axis in info.signal_axes
        }


def electron_wavelength(beam_energy: float) -> float:
    """Return the wavelength of electrons of `beam_energy` (keV), in nm.

    ``λ = h c / √(E (E + 2 m c²))``: de Broglie's with the relativistic momentum (L. Reimer and H. Kohl,
    Transmission Electron Microscopy, 5th edition, Springer 2008, chapter 2).

    Examples
    --------
    >>> round(electron_wavelength(200), 6)
    0.002508
    """
    from scipy.constants import c, electron_mass, elementary_charge, h

    energy = beam_energy * 1e3 * elementary_charge
    wavelength: float = h * c / math.sqrt(energy * (energy + 2 * electron_mass * c**2)) * 1e9
    return wavelength


def pattern_scale(pixel_size: float, beam_energy: float, camera_length: float) -> float:
    """Return the size of a detector's pixel in a diffraction pattern, in 1/nm.

    ``k = r / (λ L)``, for small angles: at 50 mrad it is 0.1 % too large.

    Parameters
    ----------
    pixel_size : float
        In µm.
    beam_energy : float
        In keV.
    camera_length : float
        In mm.
    """
    return pixel_size * 1e-3 / (electron_wavelength(beam_energy) * camera_length)


def _calibrated(axis: Axis, given: AxisCalibration | None) -> Axis:
    if given is None:
        return axis
    try:
        return given.apply(axis)
    except InvalidOperation as error:
        raise InvalidOperation(f"calibrate: axes.{axis.name}: {error}") from None


def _scaled(given: AxisCalibration, axis: Axis, scale: float) -> AxisCalibration:
    """Return what is given of a pattern's axis, with the detector's scale where it has none of its own."""
    if given.scale is not None:
        return given
    if given.units not in (None, "1/nm"):
        raise InvalidOperation(
            f"calibrate: axes.{axis.name}.units: the scale from pixel_size is in 1/nm; leave units out."
        )
    known: dict[str, Any] = {"scale": scale, "units": "1/nm"}
    if given.offset is None and given.center is None:
        known["center"] = (axis.size - 1) / 2
    return given.model_copy(update=known)


def _frame_number(first: int, columns: int, flyback: int, number: Any) -> Any:
    return first + number + number // columns * flyback


def _unchanged(frame: NDArray[Any]) -> NDArray[Any]:
    return frame
