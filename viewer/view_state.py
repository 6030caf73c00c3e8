"""What is looked at, and which slices follow from it. Pure: no Qt, no HTTP, no array data.

Everything is in array order (``[y, x, ky, kx]``): navigation axes first, then signal axes. An index
is the centre of its pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from viewer.nodes import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.nodes import Axis, Node

# One sample for each screen pixel is all a person sees: images beyond this are asked for strided.
LARGE_IMAGE = 1280
# First look at a map: at most this many positions, since each may cost a computed frame.
FIRST_LOOK_POSITIONS = 256
FIRST_LOOK_STRIDES = (16, 8, 4, 2, 1)
# A finer level that is expected to take no longer than this is asked for straight away.
PATIENCE_SECONDS = 0.15
# Visible regions snap to this many samples, so that small pans ask for nothing new.
REGION_GRID = 128


@dataclass(frozen=True, slots=True)
class Span:
    """``start:stop:step`` along one axis, all of them known and non-negative."""

    start: int
    stop: int
    step: int = 1

    def __len__(self) -> int:
        return len(range(self.start, self.stop, self.step))

    def at(self, number: int) -> int:
        """Index of sample `number`."""
        return self.start + number * self.step


Selection = tuple["int | Span", ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A slice of a node: one entry per axis; an integer drops its axis."""

    node: Node
    selection: Selection

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the answer."""
        return tuple(len(part) for part in self.selection if isinstance(part, Span))

    @property
    def nbytes(self) -> int:
        """Size of the answer, decoded."""
        return math.prod(self.shape) * self.node.dtype.itemsize

    @property
    def stride(self) -> int:
        """Coarsest step along the shown axes."""
        return max((part.step for part in self.selection if isinstance(part, Span)), default=1)

    @property
    def position(self) -> tuple[int, ...]:
        """The indices of the request: the position of the frame, or of the plane in a larger map."""
        return tuple(part for part in self.selection if not isinstance(part, Span))


@dataclass(frozen=True, slots=True)
class Region:
    """Part of a picture in its own pixels; pixel ``i`` covers ``i - 0.5`` to ``i + 0.5``."""

    y0: float
    y1: float
    x0: float
    x1: float


@dataclass(frozen=True, slots=True)
class ViewState:
    """All that decides what is fetched.

    Parameters
    ----------
    node : Node or None
        The node that is shown.
    position : tuple of int
        One index for each of the node's position axes.
    visible : Region or None
        The part of the image on the screen, in signal pixels; None for all of it.
    screen : tuple of int
        Height and width of the image view in screen pixels.
    """

    node: Node | None = None
    position: tuple[int, ...] = ()
    visible: Region | None = None
    screen: tuple[int, int] = (0, 0)

    def at(self, position: Sequence[int]) -> ViewState:
        """Return the same view at another position, clipped to the scan."""
        axes = self.node.position_axes if self.node else ()
        return replace(self, position=clipped(position, axes))


def whole(axes: Sequence[Axis], step: int = 1) -> Selection:
    """Every `step`-th pixel of all `axes`."""
    return tuple(Span(0, axis.size, step) for axis in axes)


def power_of_two_below(number: float) -> int:
    """Largest power of two that is not above `number`, at least 1."""
    return 1 if number < 2 else 2 ** math.floor(math.log2(number))


def overview_stride(shape: Sequence[int]) -> int:
    """Stride at which an image of `shape` has no more samples than a screen has pixels."""
    stride = 1
    while max(shape, default=0) / stride > LARGE_IMAGE:
        stride *= 2
    return stride


def frame_request(state: ViewState) -> Request | None:
    """Slice for the frame at the position: the whole curve or image, strided where it is large."""
    node = state.node
    if node is None or node.kind is Kind.MAP or len(state.position) != len(node.position_axes):
        return None
    shown = node.shown_axes
    stride = overview_stride([axis.size for axis in shown]) if node.kind is Kind.IMAGE else 1
    return Request(node, (*state.position, *whole(shown, stride), *whole(node.colour_axes)))


def detail_request(state: ViewState) -> Request | None:
    """Slice that refines the visible region of a large image, or None where the overview is enough."""
    overview = frame_request(state)
    if overview is None or overview.stride == 1 or state.visible is None or min(state.screen) < 1:
        return None
    axes, seen = overview.node.shown_axes, state.visible
    rows, columns = seen.y1 - seen.y0, seen.x1 - seen.x0
    stride = power_of_two_below(min(rows / state.screen[0], columns / state.screen[1]))
    if stride >= overview.stride:
        return None
    spans = (
        _snapped(seen.y0, seen.y1, axes[0].size, stride),
        _snapped(seen.x0, seen.x1, axes[1].size, stride),
    )
    if min(len(span) for span in spans) == 0:
        return None
    return Request(overview.node, (*state.position, *spans, *whole(overview.node.colour_axes)))


def _snapped(low: float, high: float, size: int, stride: int) -> Span:
    """Return samples that cover `low` to `high`, on a grid so that small pans give the same request."""
    grid = REGION_GRID * stride
    start = max(0, math.floor(low / grid) * grid)
    return Span(min(start, size), max(0, min(size, math.ceil((high + 1) / grid) * grid)), stride)


def map_request(node: Node, position: Sequence[int], stride: int) -> Request:
    """Every `stride`-th position of a map (a navigator, a virtual image).

    Parameters
    ----------
    node : Node
        Of kind ``map``.
    position : sequence of int
        One index for each of its axes; those of the last two axes do not matter.
    stride : int
        Step along the shown axes.
    """
    leading = len(node.axes) - len(node.shown_axes)
    return Request(node, (*clipped(position[:leading], node.axes), *whole(node.shown_axes, stride)))


def slice_text(selection: Selection, node: Node) -> str:
    """Write a selection in numpy's syntax, as short as it goes: ``3,4``, ``::8,::8``, ``7,0:512:2,:``."""
    return ",".join(
        _span_text(part, axis.size) if isinstance(part, Span) else str(part)
        for part, axis in zip(selection, node.axes, strict=True)
    )


def _span_text(span: Span, size: int) -> str:
    bounds = ":" if (span.start, span.stop) == (0, size) else f"{span.start}:{span.stop}"
    return bounds if span.step == 1 else f"{bounds}:{span.step}"


def first_request(state: ViewState) -> Request | None:
    """Slice for the first look at a node: its frame at the position, or a coarse map."""
    node = state.node
    if node is None or node.kind is not Kind.MAP:
        return frame_request(state)
    return map_request(node, state.position, first_stride([axis.size for axis in node.shown_axes]))


def first_stride(shape: Sequence[int]) -> int:
    """Stride of the first look at a map of `shape`: coarse, so that it is there at once."""
    for stride in reversed(FIRST_LOOK_STRIDES):
        if math.prod(-(-size // stride) for size in shape) <= FIRST_LOOK_POSITIONS:
            return stride
    return FIRST_LOOK_STRIDES[0]


def next_stride(stride: int, seconds: float) -> int:
    """Stride of the look after one at `stride` that took `seconds`; levels that would be quick are skipped.

    Raises
    ------
    ValueError
        At stride 1 nothing finer is left.
    """
    if stride <= 1:
        raise ValueError("a map at stride 1 is complete")
    finer = [level for level in (1, 2, 4, 8) if level < stride]
    quick = [level for level in finer if seconds * (stride / level) ** 2 <= PATIENCE_SECONDS]
    return quick[0] if quick else finer[-1]


def clipped(position: Sequence[int], axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return `position` with each index inside its axis."""
    return tuple(min(max(0, index), axis.size - 1) for index, axis in zip(position, axes, strict=False))


def centre(axes: Sequence[Axis]) -> tuple[int, ...]:
    """Middle of the scan: where a person starts to look."""
    return tuple(axis.size // 2 for axis in axes)


def ahead_requests(state: ViewState, positions: Sequence[Sequence[int]]) -> list[Request]:
    """Frames at positions that may come next, in their order; those outside the scan are left out."""
    axes = state.node.position_axes if state.node else ()
    inside = [position for position in positions if clipped(position, axes) == tuple(position)]
    requests = [frame_request(state.at(position)) for position in inside]
    return [request for request in requests if request is not None]


def carried_position(position: Sequence[int], old: Sequence[Axis], new: Sequence[Axis]) -> tuple[int, ...]:
    """Return the same place in another node's scan: same value on calibrated axes, same fraction otherwise.

    A stack that was given its shape shows the same frame.
    """
    if len(position) != len(new) or len(old) != len(new):
        sizes, shape = [axis.size for axis in old], [axis.size for axis in new]
        if not position or not new or math.prod(sizes) != math.prod(shape):
            return centre(new)
        frame = np.ravel_multi_index(tuple(position), sizes)
        return tuple(int(index) for index in np.unravel_index(frame, shape))
    carried = [
        index if before.size == after.size else round(_carried(index, before, after))
        for index, before, after in zip(position, old, new, strict=True)
    ]
    return clipped(carried, new)


def plane_of(state: ViewState) -> tuple[int, ...]:
    """Return the indices that choose the plane of the navigator."""
    scan = len(state.node.navigation_axes) if state.node else 0
    return state.position[: max(0, scan - 2)]


def navigator_position(state: ViewState, navigator: Node) -> tuple[int, ...]:
    """Return the place of a view on its navigator's own axes."""
    axes = state.node.navigation_axes if state.node else ()
    return carried_position(state.position[: len(axes)], axes, navigator.axes)


def carried_region(region: Region, old: Sequence[Axis], new: Sequence[Axis]) -> Region:
    """Return the same part of another node's picture: what stays in view when a person toggles.

    Parameters
    ----------
    region : Region
        In pixels of `old`.
    old, new : sequence of Axis
        The two shown axes (y, x) before and after.
    """
    y, x = zip(old, new, strict=True)
    return Region(
        _carried_edge(region.y0, *y),
        _carried_edge(region.y1, *y),
        _carried_edge(region.x0, *x),
        _carried_edge(region.x1, *x),
    )


def _carried(index: float, old: Axis, new: Axis) -> float:
    """Return the index on `new` of what is at `index` on `old`."""
    if old.units is not None and old.units == new.units:
        return new.index(old.value(index))
    return (index + 0.5) * new.size / old.size - 0.5


def _carried_edge(edge: float, old: Axis, new: Axis) -> float:
    """As `_carried`, exact where nothing changes (so that zoom does not creep from toggle to toggle)."""
    same = (old.size, old.scale, old.offset, old.units) == (new.size, new.scale, new.offset, new.units)
    return edge if same or old.values is not None or new.values is not None else _carried(edge, old, new)


class Places:
    """Where a person was in each tree, on whatever axes the node of that time had."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], tuple[tuple[Axis, ...], tuple[int, ...]]] = {}

    def remember(self, state: ViewState) -> None:
        """Keep the position of a view."""
        if state.node is not None and state.node.position_axes:
            self._places[state.node.tree] = state.node.position_axes, state.position

    def on(self, node: Node) -> tuple[int, ...]:
        """Return the place on a node's axes; the centre of the scan where nobody has been yet."""
        if node.tree not in self._places:
            return centre(node.position_axes)
        axes, position = self._places[node.tree]
        return carried_position(position, axes, node.position_axes)
