"""What a calibration form says → parameters of the operation. Pure: no Qt, no HTTP.

A form is a mapping of field to text. Fields are named as the service names them in its errors:
``navigation_shape``, ``axes.kx.scale``, ``beam_energy``; the two numbers of the shape are `rows` and `columns`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from viewer.nodes import Axis
from viewer.readout import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from viewer.nodes import Node

OPERATION = "calibrate"
SHAPE, NAME = "navigation_shape", "name"
# What the axes of a scan are called once a stack of frames has been given its shape.
SCAN_AXES = ("y", "x")
NUMBERS = {
    "beam_energy": ("Beam energy", "keV"),
    "camera_length": ("Camera length", "mm"),
    "pixel_size": ("Detector pixel", "µm"),
    "scan_rotation": ("Scan rotation", "°"),
}
# Frames that are no part of the scan: before it, behind each row, after it.
FIRST, FLYBACK, REST = "first_frame", "flyback", "leave_rest"
COUNTING = "counting"
ACQUISITIONS = {"": None, "counting": True, "integrating": False}
OFFSET, CENTER = "offset", "center"
PARTS = ("name", "scale", "units", OFFSET, CENTER)


@dataclass(frozen=True, slots=True)
class Hint:
    """What the service says of a parameter: help, unit and bounds, as a sentence and as a check."""

    text: str = ""
    unit: str = ""
    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf

    def problem(self, value: float) -> str:
        """Return what is wrong with a number; empty where nothing is."""
        if value <= self.above:
            return f"must be more than {number(self.above)}"
        if value < self.least:
            return f"must be at least {number(self.least)}"
        if value >= self.below:
            return f"must be less than {number(self.below)}"
        return f"must be at most {number(self.most)}" if value > self.most else ""


def hint(schema: Mapping[str, Any], *path: str) -> Hint:
    """Find what a JSON schema says of a parameter; nothing where it has none of that name."""
    part: Mapping[str, Any] = schema
    told: dict[str, Any] = {}
    for name in path:
        told = {}
        for option in _options(schema, part):
            inner = option.get("properties", {}).get(name) or option.get("additionalProperties")
            if isinstance(inner, dict):
                told = dict(inner)
                break
        part = told
    for option in _options(schema, part):
        told = {**option, **told}
    bounds = {
        "above": told.get("exclusiveMinimum", -math.inf),
        "least": told.get("minimum", -math.inf),
        "below": told.get("exclusiveMaximum", math.inf),
        "most": told.get("maximum", math.inf),
    }
    return Hint(told.get("description", ""), told.get("unit", ""), **bounds)


def _options(schema: Mapping[str, Any], part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a part of a schema and what it may be: its references and alternatives."""
    if "$ref" in part:
        named = schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
        return [{**named, **part}]
    more = (option for key in ("anyOf", "oneOf", "allOf") for option in part.get(key, []))
    return [dict(part), *(inner for option in more for inner in _options(schema, option))]


def factor_pairs(count: int, most: int = 4) -> list[tuple[int, int]]:
    """Rows and columns whose product is `count`, nearest to a square first; the wider of two first."""
    if count < 1:
        return []
    halves = [rows for rows in range(1, math.isqrt(count) + 1) if count % rows == 0]
    pairs: list[tuple[int, int]] = []
    for rows in reversed(halves):
        pairs += dict.fromkeys([(rows, count // rows), (count // rows, rows)])
    # A line is no scan, unless there is nothing else.
    return [pair for pair in pairs if 1 not in pair][:most] or pairs[:most]


def frames_of(node: Node) -> int:
    """Return the number of frames of a scan or stack; 0 where there is a single one."""
    return math.prod(axis.size for axis in node.navigation_axes) if node.navigation_axes else 0


def shape_told(texts: Mapping[str, str], frames: int) -> tuple[bool, str]:
    """Return whether rows × columns fit the frames, and the sentence that says so while somebody types.

    Parameters
    ----------
    texts : mapping
        What stands in `rows`, `columns`, `first_frame`, `flyback` and `leave_rest`.
    frames : int
        How many there are.
    """
    told = [texts.get(name, "").strip() for name in ("rows", "columns", FIRST, FLYBACK)]
    if not told[0] and not told[1]:
        left_out = any(told[2:]) or bool(texts.get(REST))
        return not left_out, "rows and columns?" if left_out else f"{frames} frames, as they are"
    try:
        rows, columns, first, flyback = (int(text or 0) for text in told)
    except ValueError:
        return False, f"whole numbers; there are {frames} frames"
    if min(rows, columns) < 1 or min(first, flyback) < 0:
        return False, f"rows and columns whose product is {frames}"
    # Behind the last row the beam may have stopped without flying back.
    needed = first + rows * (columns + flyback) - flyback
    what = f"{rows} × {columns} = {rows * columns}"
    if needed != rows * columns:
        what += f", with what is left out {needed}"
    if needed in (frames, frames - flyback) or (needed < frames and texts.get(REST)):
        return True, f"{what} frames" if needed == frames else f"{what} of {frames} frames"
    return False, f"{what}, but there are {frames} frames"


def axes_asked(node: Node, reshaped: bool) -> list[Axis]:
    """Axes that a form asks about: as they will be called once the scan has its shape."""
    axes = [axis for axis in node.axes if axis not in node.colour_axes]
    if not reshaped:
        return axes
    scan = [Axis(name, 1, navigate=True) for name in SCAN_AXES]
    taken = {*SCAN_AXES, *(axis.name for axis in node.signal_axes)}
    signal = [axis for axis in axes if not axis.navigate]
    return [*scan, *(replace(axis, name=_unused(axis.name, taken)) for axis in signal)]


def _unused(name: str, taken: set[str]) -> str:
    """Return what the service calls a signal axis whose name the scan takes: ``kx`` for ``x``."""
    if name not in SCAN_AXES:
        return name
    candidates = (f"k{name}", *(f"k{name}_{number}" for number in range(2, 9)))
    return next(candidate for candidate in candidates if candidate not in taken)


def present_texts(axes: Iterable[Axis]) -> dict[str, str]:
    """Return what a form shows of axes before anybody types: nothing for numbers that are only pixels."""
    texts = {}
    for axis in axes:
        at = f"axes.{axis.name}."
        texts[f"{at}name"] = axis.name
        texts[f"{at}units"] = axis.units or ""
        texts[f"{at}scale"] = f"{axis.scale:.12g}" if axis.calibrated else ""
        texts[f"{at}{OFFSET}"] = f"{axis.offset:.12g}" if axis.calibrated else ""
        texts[f"{at}{CENTER}"] = ""
    return texts


def carried_texts(texts: Mapping[str, str], old: Sequence[Axis], new: Sequence[Axis]) -> dict[str, str]:
    """Return what was typed, under the names that axes have once the scan has another shape.

    Parameters
    ----------
    texts : mapping
        What stands in each field.
    old, new : sequence of Axis
        From `axes_asked`, before and after. Signal axes are the same ones under other names; the axes of a
        scan are others.
    """
    carried = {path: text for path, text in texts.items() if not path.startswith("axes.")}
    present = present_texts(old)
    signal = [[axis for axis in axes if not axis.navigate] for axes in (old, new)]
    for before, after in zip(*signal, strict=True):
        for part in PARTS:
            path = f"axes.{before.name}.{part}"
            if path in texts and texts[path] != present[path]:
                carried[f"axes.{after.name}.{part}"] = texts[path]
    return carried


def parameters_of(
    texts: Mapping[str, str], axes: Sequence[Axis], schema: Mapping[str, Any], frames: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a form.

    Parameters
    ----------
    texts : mapping
        What stands in each field.
    axes : sequence of Axis
        From `axes_asked`; what is unchanged of them is left out.
    schema : mapping
        JSON schema of the operation's parameters.
    frames : int
        Number of frames of the stack, 0 without one.

    Returns
    -------
    parameters : dict
        For the operation; without what nobody filled in.
    problems : dict
        What is wrong, by field; empty where all is well.
    """
    parameters: dict[str, Any] = {}
    problems: dict[str, str] = {}
    fits, told = shape_told(texts, frames)
    if not fits:
        problems[SHAPE] = told
    elif texts.get("rows", "").strip():
        parameters[SHAPE] = [int(texts["rows"]), int(texts["columns"])]
        left_out = {name: int(texts.get(name, "").strip() or 0) for name in (FIRST, FLYBACK)}
        parameters |= {name: count for name, count in left_out.items() if count}
        parameters |= {REST: True} if texts.get(REST) else {}
    changed = {axis.name: _axis_parameters(texts, axis, schema, problems) for axis in axes}
    if any(changed.values()):
        parameters["axes"] = {name: values for name, values in changed.items() if values}
    for name in NUMBERS:
        value = _number(texts, name, hint(schema, name), problems)
        if value is not None:
            parameters[name] = value
    if (counting := ACQUISITIONS[texts.get(COUNTING, "")]) is not None:
        parameters[COUNTING] = counting
    if not parameters and not problems:
        problems[""] = "Fill in what is known; nothing has been changed yet."
    return parameters, problems


def _axis_parameters(
    texts: Mapping[str, str], axis: Axis, schema: Mapping[str, Any], problems: dict[str, str]
) -> dict[str, Any]:
    """Read what is told of one axis, without what is as it was."""
    at, present = f"axes.{axis.name}.", present_texts([axis])
    told: dict[str, Any] = {}
    for part in ("scale", OFFSET, CENTER):
        field = f"{at}{part}"
        if texts.get(field, "").strip() != present[field]:
            value = _number(texts, field, hint(schema, "axes", axis.name, part), problems)
            told.update({} if value is None else {part: value})
    for part in ("name", "units"):
        text = texts.get(f"{at}{part}", "").strip()
        if text and text != present[f"{at}{part}"]:
            told[part] = text
    if "scale" in told and told["scale"] == 0:
        problems[f"{at}scale"] = "must not be 0"
    if {"scale", OFFSET, CENTER} & told.keys() and not texts.get(f"{at}units", "").strip():
        problems[f"{at}units"] = "units? Without them the axis stays uncalibrated"
    return told


def _number(texts: Mapping[str, str], field: str, told: Hint, problems: dict[str, str]) -> float | None:
    """Return the number in a field, None where there is none; what is wrong goes to `problems`."""
    text = texts.get(field, "").strip()
    if not text:
        return None
    try:
        value = float(text.replace(",", ".").replace("−", "-"))
    except ValueError:
        value = math.nan
    problem = told.problem(value) if math.isfinite(value) else f"{text!r} is no number"
    if problem:
        problems[field] = problem
    return value


def problems_told(detail: str, fields: Iterable[str]) -> dict[str, str]:
    """Put what the service refused beside the fields it names; "" for what it says of none."""
    problems: dict[str, str] = {}
    known = sorted(fields, key=len, reverse=True)
    # A sentence about something else may still speak of a field, but "name" is a word like any other.
    telling = [field for field in known if field != NAME]
    for sentence in re.split(r"; (?=[a-z_]+[.:])", detail.removeprefix(f"{OPERATION}: ")):
        where = sentence.partition(": ")[0]
        field = next((f for f in known if where == f or where.startswith(f"{f}.")), None)
        if field is None:
            field = next(
                (f for f in telling if re.search(rf"(?<![\w.]){re.escape(f)}(?![\w])", sentence)), ""
            )
        text = sentence.partition(": ")[2] if where == field or where.startswith(f"{field}.") else sentence
        problems[field] = "; ".join(filter(None, (problems.get(field), text or sentence)))
    return problems
