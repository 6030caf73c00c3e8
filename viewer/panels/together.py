"""Several places of pictures, one zoom and one spot under the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from viewer.nodes import Kind
from viewer.panels.cells import Cell
from viewer.readout import indices_text, intensity_text, place_text
from viewer.view_state import Region, carried_region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from viewer.nodes import Node
    from viewer.panels.cells import CurvesPanel
    from viewer.picture import Picture

    Spot = tuple[float, float]


class Together:
    """What is linked between places: the part on the screen, and where the mouse is.

    Parameters
    ----------
    places : dict of int to Cell or CurvesPanel
        By number.
    node : callable
        Number → what is shown there.
    """

    def __init__(self, places: dict[int, Cell | CurvesPanel], node: Callable[[int], Node]) -> None:
        self._places, self._node = places, node
        self.region: tuple[Region, Node] | None = None
        self._linking = False
        self._spot: tuple[int, float, float] | None = None

    def clear(self) -> None:
        """Forget what was shown."""
        self.region = self._spot = None

    def cells(self) -> Iterator[tuple[int, Cell]]:
        """Yield the places of images."""
        for which, place in self._places.items():
            if isinstance(place, Cell):
                yield which, place

    def show_region(self, region: Region, node: Node) -> None:
        """Bring the same part of every image onto the screen; the region is in pixels of `node`."""
        if self._linking:
            return
        self._linking, self.region = True, (region, node)
        for which, cell in self.cells():
            carried = self.region_on(self._node(which))
            if carried is not None and not _close(carried, cell.image.region()):
                cell.image.show_region(carried)
        self._linking = False

    def show_part(self, part: Sequence[float], node: Node) -> None:
        """Show what `part` found: the edges of an image (y0, y1, x0, x1), the ends of a plot; nothing for all."""
        if len(part) == 4:
            self.show_region(Region(*part), node)
        elif len(part) == 2:
            for plot in self._plots():
                plot.view.fitted = False
                plot.view.box.setXRange(*part, padding=0)

    def part(self, node: Node) -> tuple[float, ...]:
        """Return the part of a node that is on the screen; nothing where all of it is."""
        if len(node.shown_axes) == 2:
            region = self.region_on(node)
            return () if region is None else (region.y0, region.y1, region.x0, region.x1)
        plots = [plot for plot in self._plots() if not plot.view.fitted]
        return tuple(plots[0].view.box.viewRange()[0]) if plots else ()

    def _plots(self) -> list[CurvesPanel]:
        return [place for place in dict.fromkeys(self._places.values()) if not isinstance(place, Cell)]

    def region_on(self, other: Node) -> Region | None:
        """Return the part that is shown in pixels of a node; None where all is, or a place of it is none of that."""
        if self.region is None or not other.shown_axes or not _same_sort(self.region[1], other):
            return None
        region, node = self.region
        return carried_region(region, node.shown_axes, other.shown_axes)

    def follow(self, cell: Cell, node: Node) -> None:
        """Let a place that shows another node now show the same part of it."""
        if (region := self.region_on(node)) is not None and not self._linking:
            self._linking = True
            cell.image.show_region(region)
            self._linking = False

    def looked(self, cell: Cell, region: Region) -> None:
        """Follow a part that was chosen in one of them."""
        if cell.node is not None and not cell.image.fitted:
            self.show_region(region, cell.node)

    def fit(self) -> None:
        """Show all of everything."""
        self._linking, self.region = True, None
        for place in set(self._places.values()):
            (place.image if isinstance(place, Cell) else place.view).fit()
        self._linking = False

    # The mouse

    def point(self, which: int, spot: Spot | None) -> None:
        """Point at the same place of all pictures; `which` is the one that the mouse is over."""
        self._spot = None if spot is None else (which, *spot)
        for other, cell in self._places.items():
            there = self.spot_on(other)
            if not isinstance(cell, Cell):
                cell.point_at(there[0] if there is not None else None)
                continue
            if cell.image.box.crosshair is not None:
                continue  # it shows where the scan is pointed at
            cell.image.crosshair.setVisible(there is not None and other != which)
            if there is not None:
                cell.image.crosshair.move_to(*there)

    def spot_on(self, which: int) -> Spot | None:
        """Where the mouse is, on the axes of another picture (x, y)."""
        if self._spot is None:
            return None
        source, x, y = self._spot
        old, new = self._node(source), self._node(which)
        if not _same_sort(old, new) or not 0 < len(old.shown_axes) == len(new.shown_axes):
            return None
        if len(new.shown_axes) == 1:  # a plot is in units
            return (x, y) if old.shown_axes[0].units == new.shown_axes[0].units else None
        there = carried_region(Region(y, y, x, x), old.shown_axes, new.shown_axes)
        return there.x0, there.y0

    def value(self, which: int, picture: Picture | None) -> str:
        """Intensity of a picture under the mouse, wherever that is; of a map else where the scan is pointed at."""
        place, spot = self._places.get(which), self.spot_on(which)
        if isinstance(place, Cell):
            if spot is None and place.image.box.crosshair is not None:
                spot = place.image.crosshair.place.x(), place.image.crosshair.place.y()
            found = place.image.value_at(*spot) if spot is not None else None
            return "" if found is None or found[2] is None else intensity_text(found[2])
        if picture is None or spot is None:
            return ""
        index = round(self._node(which).shown_axes[0].index(spot[0]))
        return intensity_text(picture.raw[index]) if 0 <= index < len(picture.raw) else ""

    def read_out(self) -> str:
        """Index and value on the axes under the mouse."""
        if self._spot is None:
            return ""
        which, x, y = self._spot
        place, axes = self._places[which], self._node(which).shown_axes
        if isinstance(place, Cell):
            found: Any = place.image.value_at(x, y)
        else:
            index = round(axes[0].index(x))
            found = (index,) if 0 <= index < axes[0].size else None
        if found is None:
            return ""
        indices = found[: len(axes)]
        return f"{indices_text(indices)} · {place_text(axes, indices)}"


def _same_sort(one: Node, other: Node) -> bool:
    """Return False for a frame and a map: a place of the scan is none of a frame."""
    return (one.kind is Kind.MAP) == (other.kind is Kind.MAP)


def _close(one: Region, other: Region) -> bool:
    """Return True where two regions differ by less than a hundredth of a pixel: nothing to show anew."""
    pairs = zip((one.y0, one.y1, one.x0, one.x1), (other.y0, other.y1, other.x0, other.x1), strict=True)
    return all(abs(a - b) < 0.01 for a, b in pairs)
