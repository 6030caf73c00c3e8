"""What the viewer knows of trees, nodes and axes without their data. Pure: no Qt, no HTTP.

Everything is in array order (``[y, x, ky, kx]``): navigation axes first, then signal axes. An index
is the centre of its pixel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any


COLOUR = "colour"
NAVIGATOR = "navigator"
# What the service calls a node that is not kept; no kept one has this name.
PREVIEW = "preview"


class Kind(StrEnum):
    """What one position of a node is drawn as."""

    IMAGE = "image"
    CURVE = "curve"
    MAP = "map"


class Sort(StrEnum):
    """What a folder of the service lists."""

    FOLDER = "folder"
    FILE = "file"
    UNREADABLE = "unreadable"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a folder lists, known without looking into it.

    Parameters
    ----------
    path : tuple of str
        Where it is.
    sort : Sort
        A file holds trees; a tree may also stand in a folder by itself.
    error : str or None
        Why an unreadable file cannot be shown.
    mark : str
        All that the service says of it: another mark means that it changed.
    """

    path: tuple[str, ...]
    sort: Sort
    error: str | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Indexing:
    """How far the service is with looking through its folders."""

    done: int = 0
    of: int = 0
    scanning: bool = False

    @property
    def active(self) -> bool:
        """True until everything that is there has been looked at once."""
        return self.done < self.of or (self.scanning and not self.of)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis as the server describes it: with units, the value at index ``i`` is ``offset + scale * i``.

    Parameters
    ----------
    name : str
        Name of the axis.
    size : int
        Number of pixels.
    scale, offset : float
        In `units`; they mean nothing where the axis is uncalibrated.
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

    @property
    def calibrated(self) -> bool:
        """False where values are only pixel numbers."""
        return self.units is not None

    def value(self, index: float) -> float:
        """Value at a fractional `index`, in `units`; between two values of an axis that is not uniform.

        Without units it is the index: some files give a scale and no word what it is a scale of.
        """
        if not self.calibrated:
            return index
        if self.values is not None:
            return float(np.interp(index, np.arange(self.size), self.values))
        return self.offset + self.scale * index

    def index(self, value: float) -> float:
        """Fractional index of `value`, which is in `units`."""
        if not self.calibrated:
            return value
        if self.values is not None:
            return float(np.argmin(np.abs(np.asarray(self.values) - value)))
        return (value - self.offset) / self.scale if self.scale else 0.0


def pixel_aspect(y: Axis, x: Axis) -> float:
    """Return how much wider a pixel is than it is high; 1 where that is not known, or no picture of it can be drawn."""
    same_units = y.units == x.units and y.values is None and x.values is None
    ratio = abs(x.scale / y.scale) if same_units and x.scale and y.scale else 1.0
    return ratio if 0.05 < ratio < 20 else 1.0


@dataclass(frozen=True)
class Node:
    """One node of a tree: an array with axes, known without its data.

    Parameters
    ----------
    path : tuple of str
        Where it is on the server, the node's own name last.
    key : str
        Content key; the pinned address is ``{name}@{key}``. Empty where the server gives none.
    axes : tuple of Axis
        Array order, navigation axes first.
    dtype : numpy.dtype
        Little-endian, as on the wire.
    chunks : tuple of int
        Shape of one chunk.
    operations, parameters : tuple of str
        Its recipe, step by step: the operation's name, and its parameters as JSON.
    version : int
        Number of the change that made it what it is: who changes it next says which one they know.
    progress : tuple of int or None
        How many positions are computed, of how many.
    inputs : tuple of str
        Nodes that its parameters name.
    id : str
        What stays when it gets another name, other parameters; empty where the service does not say.
    label : str
        What people call it where that is not its name: a root is called as its signal or file is.
    cancelled : bool
        True where it needs the whole scan, and somebody ended its computation.
    """

    path: tuple[str, ...]
    key: str
    axes: tuple[Axis, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    title: str = ""
    signal_type: str = ""
    state: str = "lazy"
    parent: str | None = None
    operations: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    error: str | None = None
    version: int = 0
    progress: tuple[int, int] | None = None
    inputs: tuple[str, ...] = ()
    id: str = ""
    label: str = ""
    cancelled: bool = False

    @property
    def called(self) -> str:
        """What people call it, in the list and above its pictures."""
        if self.is_preview and self.operations:
            return f"{self.operations[-1]} (preview)"
        return self.label or self.name

    @property
    def name(self) -> str:
        """Name within its tree."""
        return self.path[-1]

    @property
    def tree(self) -> tuple[str, ...]:
        """Path of the tree it belongs to."""
        return self.path[:-1]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Array shape."""
        return tuple(axis.size for axis in self.axes)

    @cached_property
    def navigation_axes(self) -> tuple[Axis, ...]:
        """Axes of the scan."""
        return tuple(axis for axis in self.axes if axis.navigate)

    @cached_property
    def signal_axes(self) -> tuple[Axis, ...]:
        """Axes of one frame."""
        return tuple(axis for axis in self.axes if not axis.navigate)

    @cached_property
    def kind(self) -> Kind:
        """A frame is drawn as an image or a curve; a node without signal axes is a map of the scan."""
        return (Kind.MAP, Kind.CURVE, Kind.IMAGE)[min(2, len(self.signal_axes))]

    @cached_property
    def colour_axes(self) -> tuple[Axis, ...]:
        """The axis of red, green, blue (and opacity) where an image has one; it is part of every pixel."""
        last = self.axes[-1:]
        coloured = len(self.signal_axes) >= 3 and self.dtype in (np.uint8, np.uint16)
        return last if coloured and last[0].name == COLOUR and last[0].size in (3, 4) else ()

    @cached_property
    def shown_axes(self) -> tuple[Axis, ...]:
        """Axes of the picture on the screen: at most two, the last ones that are no colours."""
        shown = {Kind.IMAGE: 2, Kind.CURVE: 1, Kind.MAP: min(2, len(self.axes))}[self.kind]
        last = len(self.axes) - len(self.colour_axes)
        return self.axes[last - shown : last]

    @cached_property
    def position_axes(self) -> tuple[Axis, ...]:
        """Axes a position has an index for.

        These are the navigation axes, and signal axes beyond the two that a screen has.
        """
        pictured = 0 if self.kind is Kind.MAP else len(self.shown_axes) + len(self.colour_axes)
        return self.axes[: len(self.axes) - pictured]

    @property
    def is_preview(self) -> bool:
        """True for what is not kept."""
        return self.name == PREVIEW

    @property
    def can_go_on(self) -> bool:
        """True where it is not computed and does not begin by itself: it was cancelled, or broke off."""
        return self.cancelled or (self.state == "failed" and bool(self.key))

    @property
    def own_parameters(self) -> dict[str, Any]:
        """Parameters of its own, last step."""
        told: dict[str, Any] = json.loads(self.parameters[-1]) if self.parameters else {}
        return told

    @property
    def calibrated(self) -> bool:
        """False where some axis is known in pixels only."""
        return all(axis.calibrated for axis in self.axes if axis not in self.colour_axes)

    def follows(self, other: Node | None) -> bool:
        """Return True for the same node, and for the next of the previews that a slider makes."""
        return other is not None and (self == other or (self.is_preview and self.family == other.family))

    def replaces(self, other: Node | None) -> bool:
        """Return True where this is what became of another node: the same place with another key.

        Previews are made to be told apart: what was shown before stays until the next is there.
        """
        same = other is not None and other.path == self.path and other.key != self.key
        return same and not self.is_preview

    def goes_on(self, other: Node) -> bool:
        """Return True where a picture of another node may stay until this one's is there.

        It has the same bytes under another name, or is what is tried next.
        """
        tried = self.is_preview and self.path == other.path
        return self.axes == other.axes and (tried or (self.key == other.key and bool(self.key)))

    def looks_like(self, other: Node) -> bool:
        """Return True where nothing that is shown in pictures tells them apart."""
        how = {"state": other.state, "version": other.version, "progress": other.progress}
        return self == other or replace(self, **how) == other  # type: ignore[arg-type]

    @property
    def family(self) -> tuple[object, ...]:
        """What shares one contrast: nodes of a tree made by the same operations, whatever their parameters."""
        return (self.tree, self.kind, self.operations, self.name if self.parent is None else "")


@dataclass(frozen=True)
class Tree:
    """One signal with the nodes made from it, or a file that could not be read (then `error` says why)."""

    path: tuple[str, ...]
    nodes: tuple[Node, ...] = ()
    title: str = ""
    error: str | None = None

    def node(self, name: str) -> Node | None:
        """Return the node called `name`, or None."""
        return next((node for node in self.nodes if node.name == name), None)

    def labelled(self, label: str) -> Tree:
        """Return the same tree with its root called as the signal or the file is."""
        root = self.root
        named = (replace(node, label=label) if node is root else node for node in self.nodes)
        return replace(self, nodes=tuple(named))

    def now(self, node: Node) -> Node | None:
        """Return what became of a node, whatever it is called now; one of its name where it is gone.

        Where the service tells nothing that stays, one with the same recipe is the same.
        """
        if node.id and (same := next((n for n in self.nodes if n.id == node.id), None)) is not None:
            return same
        recipe = (node.key, node.operations, node.parameters)
        alike = (n for n in self.nodes if node.key and (n.key, n.operations, n.parameters) == recipe)
        return self.node(node.name) or (None if node.id else next(alike, None))

    def made_from(self, name: str) -> tuple[str, ...]:
        """Return the names of all that is made from a node, as parent or as a parameter, directly or not."""
        found: dict[str, None] = {}
        sought = [name]
        while sought:
            one = sought.pop()
            more = [other.name for other in self.nodes if one == other.parent or one in other.inputs]
            more = [other for other in more if other not in found and other != name]
            found |= dict.fromkeys(more)
            sought += more
        return tuple(found)

    def navigator_of(self, node: Node) -> Node | None:
        """Find the map to point into for a node: over its own scan where there is one, else the tree's.

        A stack that was given its shape has a navigator of its own beside the one of the file.
        """
        if not node.navigation_axes:
            return None
        scan = tuple(axis.size for axis in node.navigation_axes)
        maps = [
            other for other in self.nodes if other.kind is Kind.MAP and other.error is None and other.axes
        ]
        named = [other for other in maps if other.name.endswith(NAVIGATOR)]
        named.sort(key=lambda other: (other.shape != scan, other.name != NAVIGATOR))
        return next(iter(named), None)

    @property
    def root(self) -> Node | None:
        """The signal as it is in the file."""
        return self.node("root") or next(iter(self.nodes), None)
