"""Pictures of several nodes at one position: which belong together, what lies between them. Pure: no Qt."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.nodes import Kind, pixel_aspect
from viewer.picture import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from viewer.lanes import Answer
    from viewer.nodes import Axis, Node
    from viewer.picture import Levels, Picture

LETTERS = "ABCDEF"
MOST = len(LETTERS)
# Answers of so many positions back may still be the newest of a slow node.
MOST_ROUNDS = 64


class Rounds:
    """Which pictures of which position have come; they are painted together.

    Parameters
    ----------
    members : int
        How many pictures make a set.
    """

    def __init__(self, members: int) -> None:
        self._members = members
        self._number = 0
        self._came: dict[int, dict[int, Answer | None]] = {}
        self.painted = [0] * members

    def begin(self) -> int:
        """Return the number of a new position."""
        self._number += 1
        self._came[self._number] = {}
        for old in [number for number in self._came if number <= self._number - MOST_ROUNDS]:
            del self._came[old]
        return self._number

    @property
    def waiting(self) -> bool:
        """True where something has come that is not painted."""
        return any(number > self.painted[which] for number, came in self._came.items() for which in came)

    def came(self, which: int, number: int, answer: Answer | None) -> dict[int, Answer | None]:
        """Note an answer, None for one that failed; returns the set that it completes, or nothing."""
        if number not in self._came:
            return {}
        self._came[number][which] = answer
        if len(self._came[number]) < self._members:
            return {}
        whole = self._came[number]
        self.painted = [max(number, painted) for painted in self.painted]
        for old in [older for older in self._came if older < number]:
            del self._came[old]
        return dict(whole)

    def due(self) -> dict[int, Answer | None]:
        """Return the newest of each that has waited for the others; they count as painted."""
        newest: dict[int, Answer | None] = {}
        for number in sorted(self._came):
            for which, answer in self._came[number].items():
                if number > self.painted[which]:
                    newest[which], self.painted[which] = answer, number
        return newest

    def is_older(self, which: int) -> bool:
        """Return True where what is painted is of an older position than the newest of the others."""
        return self.painted[which] < max(self.painted)


def why_no_difference(a: Node, b: Node) -> str:
    """Return why two nodes cannot be subtracted pixel by pixel; empty where they can."""
    if a.error is not None or b.error is not None:
        return f"{(a if a.error is not None else b).called} is failed"
    if a.kind is not b.kind:
        return f"one is {_article(a.kind)}, the other {_article(b.kind)}"
    if a.colour_axes or b.colour_axes:
        return "pictures in their own colours have no difference"
    shapes = [" × ".join(str(axis.size) for axis in node.shown_axes) for node in (a, b)]
    if shapes[0] != shapes[1]:
        return f"shapes differ: {shapes[0]} and {shapes[1]}"
    for one, other in zip(a.shown_axes, b.shown_axes, strict=True):
        if why := _axes_differ(one, other):
            return why
    return ""


def _axes_differ(one: Axis, other: Axis) -> str:
    """Return how two axes of equal size differ; half a pixel at either end is a difference."""
    if one.units != other.units:
        return f"axes differ: {one.name} is in {one.units or 'px'} and in {other.units or 'px'}"
    ends = [(axis.value(0), axis.value(axis.size - 1)) for axis in (one, other)]
    pixel = abs(ends[0][1] - ends[0][0]) / max(1, one.size - 1) or 1.0
    for here, there in zip(*ends, strict=True):
        if abs(here - there) > pixel / 2:
            return f"axes differ: {one.name} goes from {ends[0][0]:.4g} and from {ends[1][0]:.4g}"
    return ""


def _article(kind: Kind) -> str:
    return {Kind.IMAGE: "an image", Kind.CURVE: "a curve", Kind.MAP: "a map"}[kind]


def difference(a: NDArray[Any], b: NDArray[Any]) -> Picture:
    """Return `b` − `a` in float32, ready for painting: unsigned counts do not wrap round."""
    with np.errstate(invalid="ignore", over="ignore"):
        picture = prepare(np.subtract(b, a, dtype=np.float32, casting="unsafe"))
    missing = np.isnan(picture.raw)
    if not missing.any():
        return picture
    # Where either has no number there is a hole: any colour would say that one is larger.
    return replace(picture, shown=np.where(missing, np.float32(np.nan), picture.shown))


def centred(levels: Levels) -> Levels:
    """Levels as far below zero as above, of two digits: what is read beside a bar of colours."""
    most = max(abs(levels[0]), abs(levels[1])) or 1.0
    decade = 10.0 ** (math.floor(math.log10(most)) - 1)
    round_ = float(f"{math.ceil(most / decade - 1e-9) * decade:.2g}") if decade > 0 else most
    return -round_, round_


def columns_for(aspects: Sequence[float], room: tuple[float, float], frame: tuple[float, float]) -> int:
    """Return in how many columns pictures are largest; places that stay empty count against it.

    Parameters
    ----------
    aspects : sequence of float
        Width of each picture by its height.
    room : tuple of float
        Width and height for all of them.
    frame : tuple of float
        What title and axes take of the place of each.
    """

    def worth(columns: int) -> float:
        rows = -(-len(aspects) // columns)
        width = max(1.0, room[0] / columns - frame[0])
        height = max(1.0, room[1] / rows - frame[1])
        widths = [min(width, height * aspect) for aspect in aspects]
        area = sum(wide**2 / aspect for wide, aspect in zip(widths, aspects, strict=True))
        return area * len(aspects) / (columns * rows)

    return max(range(1, len(aspects) + 1), key=worth, default=1)


def aspect_of(node: Node) -> float:
    """Return the width of an image by its height, as it is drawn; 1 where none can be."""
    if len(node.shown_axes) != 2:
        return 1.0
    y, x = node.shown_axes
    return pixel_aspect(y, x) * x.size / y.size


def alike(node: Node) -> object:
    """Return what has intensities that can be compared: frames of a scan; maps only where they are made alike."""
    return node.family if node.kind is Kind.MAP else node.kind


def shared_levels(levels: Sequence[Levels]) -> Levels:
    """Return levels that hold all of these, of which there is one at least."""
    return min(low for low, _ in levels), max(high for _, high in levels)
