"""Numbers, units and names as a microscopist reads them. Pure text, no Qt."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from viewer.nodes import Kind

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from viewer.nodes import Axis, Node

UNCALIBRATED = "uncalibrated (px)"
COLOURS = "RGBA"
ORDINALS = {2: "2nd", 4: "4th", 8: "8th", 16: "16th", 32: "32nd", 64: "64th"}
LENGTHS = {"pm": -12, "Å": -10, "nm": -9, "µm": -6, "mm": -3, "m": 0}
SPELLINGS = {"um": "µm", "μm": "µm", "micron": "µm", "Angstrom": "Å", "angstrom": "Å", "A": "Å"}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SIGNAL_WORDS = {
    "diffraction": "Diffraction",
    "electron_diffraction": "Diffraction",
    "EELS": "EELS spectrum",
    "EDS_TEM": "EDS spectrum",
    "EDS_SEM": "EDS spectrum",
    "CL": "Cathodoluminescence",
    "EBSD": "Kikuchi pattern",
}


@lru_cache(256)
def pretty_units(units: str | None) -> str:
    """Units as printed: ``µm``, ``nm⁻¹``; ``px`` where there is no calibration."""
    if units is None or not units.strip():
        return "px"
    text = re.sub(r"[${}\\]", "", units).replace(" ", "").replace("**", "^")
    if inverse := re.fullmatch(r"1/(.+?)", text):
        text = f"{inverse[1]}^-1"
    if power := re.fullmatch(r"(.+?)\^?(-?\d+)", text):
        return SPELLINGS.get(power[1], power[1]) + power[2].translate(SUPERSCRIPT)
    return SPELLINGS.get(text, text)


def quantity(value: float, units: str | None) -> str:
    """`value` with its units; lengths in the prefix that keeps the number short (``0.05 µm`` → ``50 nm``)."""
    pretty = pretty_units(units)
    if pretty in LENGTHS and value != 0 and math.isfinite(value):
        value, pretty = _short_length(value, pretty)
    return f"{number(value)} {pretty}"


def _short_length(value: float, units: str) -> tuple[float, str]:
    """Return the length in the largest of pm, nm, µm, mm, m that leaves a number of at least one."""
    if 0.1 <= abs(value) < 1000:
        return value, units
    metres = value * 10.0 ** LENGTHS[units]
    fitting = [unit for unit, power in LENGTHS.items() if unit != "Å" and abs(metres) >= 0.999 * 10.0**power]
    best = fitting[-1] if fitting else "pm"
    return metres / 10.0 ** LENGTHS[best], best


def number(value: float) -> str:
    """Four significant digits, no exponent where a person does not need one; integers are exact."""
    if isinstance(value, int) or (math.isfinite(value) and value == round(value) and abs(value) < 1e7):
        return f"{int(value)}"
    text = f"{value:.4g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPT)}"
    return text


def ends_text(low: float, high: float) -> tuple[str, str]:
    """Both ends of a bar of colours, to a hundredth of what lies between them or better: ``0``, ``18.7``."""
    if not (math.isfinite(high - low) and high > low):
        return number(low), number(high)
    digits = 2 - math.floor(math.log10(high - low))
    return number(round(low, digits)), number(round(high, digits))


def scale_bar(span: float) -> float:
    """Length of a scale bar for a view `span` wide: 1, 2 or 5 times a power of ten, at most a third of it.

    Raises
    ------
    ValueError
        `span` is not positive and finite.
    """
    if not (math.isfinite(span) and span > 0):
        raise ValueError(f"a view cannot be {span} wide")
    longest = span / 3
    decade = 10.0 ** math.floor(math.log10(longest))
    if decade > longest:  # log10 rounds up just below a power of ten
        decade /= 10
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= longest))


def axis_label(axis: Axis) -> str:
    """``kx (nm⁻¹)``, or the name and the word that there is no calibration."""
    name = f"k{axis.name[1]}" if re.fullmatch(r"k_?[xy]", axis.name) else axis.name
    return f"{name} ({pretty_units(axis.units)})" if axis.calibrated else f"{name}, {UNCALIBRATED}"


def signal_word(node: Node) -> str:
    """Return what a microscopist calls this signal."""
    if node.error is not None and not node.axes:
        return "Failed"
    if node.kind is Kind.MAP:
        return "Map"
    if [axis.name for axis in node.signal_axes] == ["shift"]:
        return "Shift"
    if node.colour_axes:
        return "Colour image"
    if (word := SIGNAL_WORDS.get(node.signal_type)) is not None:
        return word
    if node.shape == (1,):
        return "Value"
    units = [pretty_units(axis.units) for axis in node.signal_axes]
    if node.kind is Kind.IMAGE:
        return "Diffraction" if any("⁻¹" in unit for unit in units) else "Image"
    return "Spectrum"


def indices_text(position: Sequence[int]) -> str:
    """Return indices in display order, x first: ``(61, 47)``; empty without navigation axes."""
    return f"({', '.join(str(index) for index in reversed(position))})" if position else ""


def shape_text(node: Node) -> str:
    """Shape as hyperspy prints it, x first: ``128²|256²``, ``30×16|334``, ``640×480 RGB``."""
    navigation = _sizes([axis.size for axis in node.navigation_axes])
    signal = _sizes([axis.size for axis in node.signal_axes if axis not in node.colour_axes])
    colours = "".join(f" {COLOURS[: axis.size]}" for axis in node.colour_axes)
    return "|".join(part for part in (navigation, signal) if part) + colours


def intensity_text(value: NDArray[Any]) -> str:
    """``I 42``, or the colours of a pixel: ``R 12 · G 30 · B 200``."""
    if value.ndim == 0:
        return f"I {number(value.item())}"
    return " · ".join(
        f"{colour} {number(part)}" for colour, part in zip(COLOURS, value.tolist(), strict=False)
    )


def calibration_text(node: Node) -> str:
    """Which axes are known in pixels only; empty where all are calibrated."""
    axes = [axis for axis in node.axes if axis not in node.colour_axes]
    bare = [axis.name for axis in axes if not axis.calibrated]
    if not bare:
        return ""
    which = "" if len(bare) == len(axes) else f"{', '.join(reversed(bare))} "
    return f"{which}{UNCALIBRATED}"


def _sizes(sizes: Sequence[int]) -> str:
    if len(sizes) == 2 and sizes[0] == sizes[1]:
        return f"{sizes[0]}²"
    return "×".join(str(size) for size in reversed(sizes))


def place_text(axes: Sequence[Axis], indices: Sequence[float]) -> str:
    """Values of the indices in units, x first: ``x 98 nm · y 75 nm``; empty for uncalibrated axes."""
    parts = [
        f"{axis.name} {quantity(axis.value(index), axis.units)}"
        for axis, index in reversed(list(zip(axes, indices, strict=False)))
        if axis.calibrated
    ]
    return " · ".join(parts)


def bytes_text(count: int) -> str:
    """``39 KiB``, ``118 MiB``."""
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 1024**2:.1f} MiB" if count < 10 * 1024**2 else f"{count / 1024**2:.0f} MiB"


def timing_text(round_trip: float, stages: Mapping[str, float]) -> str:
    """Where the time of a frame went: on the way, and in the service by stage, where it says so.

    Parameters
    ----------
    round_trip : float
        Seconds of the exchange.
    stages : mapping of str to float
        Seconds in the service.
    """
    if not round_trip:
        return ""
    lines = [f"last frame that travelled: {1e3 * round_trip:.1f} ms"]
    if stages:
        on_the_way = max(0.0, round_trip - sum(stages.values()))
        lines += [f"{stage} {1e3 * seconds:.1f} ms" for stage, seconds in stages.items()]
        lines.append(f"network and the rest {1e3 * on_the_way:.1f} ms")
    return "\n".join(lines)


def became(before: Node, now: Node, own: Container[int]) -> str:
    """Return what others did to a node that is shown; empty where nothing that a person sees.

    `own` are the numbers of changes that were made here.
    """
    if now.version != before.version and now.version in own:
        return ""
    if now.name != before.name:
        return f"'{before.name}' is called '{now.name}' now."
    if now.key != before.key and now.error is None:
        return f"{'/'.join(now.tree)} has changed. This is {now.called} as it is now."
    return ""
