"""Several nodes at the same position: images side by side, curves in one plot, with zoom and crosshair linked."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.compared import LETTERS, aspect_of, columns_for
from viewer.nodes import Kind
from viewer.panels.cells import Cell, CurvesPanel, arrange, curve_colours, place_title
from viewer.panels.image import AXIS_HEIGHT, AXIS_WIDTH
from viewer.panels.switches import Switches
from viewer.panels.together import Together
from viewer.readout import ORDINALS, indices_text
from viewer.theme import DARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.picture import Levels, Picture
    from viewer.theme import Theme
    from viewer.view_state import Region, Request

DIVERGING = "seismic"
# Beside more than these, tick labels would take more room than the pictures.
FEW = 2
# What a title and margins take of a place.
TITLE_WIDTH, TITLE_HEIGHT = 20, 44


class ComparePanel(QtWidgets.QWidget):
    """Pictures of up to six nodes, a row of switches above them."""

    stepped = QtCore.Signal(int, int)
    hovered = QtCore.Signal(str)
    looked = QtCore.Signal(int, object, object)  # number of a picture, Region, (height, width) of the screen
    pointed = QtCore.Signal(int, object)  # number of a map, indices along its shown axes

    def __init__(self) -> None:
        super().__init__()
        self._theme = DARK
        self.switches = Switches()
        self.nodes: list[Node] = []
        self.places: dict[int, Cell | CurvesPanel] = {}
        self.together = Together(self.places, self._node)
        self._own: dict[int, tuple[Picture, Request, Levels]] = {}
        self._details: dict[int, tuple[Picture, Request]] = {}
        self._older: set[int] = set()
        self._flickered: int | None = None
        self._laid: tuple[object, ...] = ()
        self._grid = QtWidgets.QGridLayout()
        self._grid.setSpacing(6)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.switches)
        column.addLayout(self._grid, 1)

    # What is compared

    def show_nodes(self, nodes: Sequence[Node], with_difference: bool) -> None:
        """Make places for nodes, and for their difference."""
        before, self.nodes = self.nodes, list(nodes)
        old, new = ([(n.kind, n.shown_axes[-1:], bool(n.error)) for n in some] for some in (before, nodes))
        if old != new or with_difference != (len(before) in self.places):
            had_keyboard = self.isAncestorOf(self.window().focusWidget() or self.window())
            self._clear()
            self._make(with_difference)
            if had_keyboard:  # or it would go to where a person types
                self.take_keyboard()
        for which, node in enumerate(nodes):
            self._expect(which, node)
        if with_difference:
            self._expect(len(nodes), nodes[0])

    @property
    def painted(self) -> set[int]:
        """Numbers of the pictures that are there; the difference comes after the last node."""
        return set(self._own)

    def cell(self, which: int) -> Cell | None:
        """Return the place of an image; None for a curve."""
        place = self.places.get(which)
        return place if isinstance(place, Cell) else None

    def paint(self, which: int, answer: Answer, levels: Levels, older: bool) -> None:
        """Show what came of a node."""
        if answer.request is not None:
            self._put(which, answer.value, answer.request, levels, older)

    def paint_difference(self, picture: Picture, request: Request, levels: Levels) -> None:
        """Show B − A."""
        if len(self.nodes) in self.places:
            self._put(len(self.nodes), picture, request, levels, older=False)

    def paint_detail(self, which: int, picture: Picture, request: Request) -> None:
        """Show the part that is on the screen in more detail, over the whole picture."""
        if which in self._own:
            self._details[which] = picture, request
            self._paint(which)

    def set_older(self, which: int, older: bool) -> None:
        """Dim a picture whose position is not the present one, or no more."""
        if which in self._own and older != (which in self._older):
            self._older = self._older | {which} if older else self._older - {which}
            self._paint(which)

    def blank(self, which: int) -> None:
        """Show nothing of a node: what is there is of another key."""
        self._own.pop(which, None)
        self._details.pop(which, None)
        place = self.places.get(which)
        if isinstance(place, Cell):
            place.image.blank()
        elif place is not None:
            place.view.drop(which)
            self._say_curves(place)

    def complain(self, which: int, why: str) -> None:
        """Say why there is no picture of a node, or no difference."""
        self.blank(which)
        place = self.places.get(which)
        if isinstance(place, Cell):
            place.complain(why)
            place.say(*self._title(which))
        elif place is not None:
            place.legend.setText(escape(why) if which == len(self.nodes) else place.legend.text())

    def set_levels(self, levels: dict[int, Levels]) -> None:
        """Paint what is there with other levels."""
        for which, own in levels.items():
            if which in self._own:
                self._own[which] = (*self._own[which][:2], own)
                self._paint(which)

    def set_colormap(self, which: int, name: str) -> None:
        """Paint images of a node with a colormap."""
        if (cell := self.cell(which)) is not None:
            cell.set_colormap(name)

    def show_flicker(self, which: int | None) -> None:
        """Show one of the first two alone, in the place of the first; None: all of them again."""
        first, second = self.places.get(0), self.places.get(1)
        if type(first) is not type(second):
            return  # an image and a curve have no place in common
        self._flickered = which
        for number, place in self.places.items():
            place.setVisible(which is None or place is first or number == 0)
        self._arrange()
        if isinstance(first, CurvesPanel):
            first.view.show_only(which)
            return
        if isinstance(first, Cell) and (which or 0) not in self._own:
            first.image.blank()
        for number in self._own:
            self._paint(number)

    def show_position(self, which: int, indices: Sequence[int]) -> None:
        """Point at a place of a map."""
        cell = self.cell(which)
        if cell is not None and cell.image.box.crosshair is not None:
            cell.image.crosshair.move_to(indices[1], indices[0])
            cell.say(*self._title(which))

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        for place in set(self.places.values()):
            place.set_theme(theme)
            if isinstance(place, CurvesPanel):
                self._say_curves(place)

    # Painting

    def _put(self, which: int, picture: Picture, request: Request, levels: Levels, older: bool) -> None:
        self._own[which] = picture, request, levels
        self._details.pop(which, None)
        self._older = self._older | {which} if older else self._older - {which}
        self._paint(which)

    def _paint(self, which: int) -> None:
        """Paint a picture where it belongs now: one that a flicker hides nowhere."""
        where = which
        if self._flickered is not None and which < 2 and self.cell(0) is not None:
            where = 0 if which == self._flickered else -1
        picture, request, levels = self._own[which]
        place, older = self.places.get(where), which in self._older
        if isinstance(place, Cell):
            node = self._node(which)
            if place.node is not node:
                self._turn(place, node)
            place.paint(picture, request, levels)
            if which in self._details:
                place.image.paint_detail(*self._details[which])
            place.set_older(older)
            place.say(*self._title(which))
        elif place is not None:
            place.view.paint(which, picture, self._node(which).shown_axes[0], older)
            self._span(place)
            self._say_curves(place)

    def _turn(self, place: Cell, node: Node) -> None:
        """Let a place change its node without a moment of nothing."""
        if place.node is not None and place.node.shown_axes != node.shown_axes:
            place.image.set_axes(node.shown_axes)
        place.node = node
        self.together.follow(place, node)

    def _span(self, place: CurvesPanel) -> None:
        """Let the vertical axis hold all curves, at their levels."""
        levels = [
            (picture.stretch.forward(low), picture.stretch.forward(high))
            for which, (picture, _request, (low, high)) in self._own.items()
            if self.places.get(which) is place
        ]
        place.view.set_levels(min(low for low, _ in levels), max(high for _, high in levels))

    def _title(self, which: int) -> tuple[str, str, Levels | None]:
        """Letter and name, what of it, and the ends of its bar of colours where it has one."""
        node, own = self._node(which), self._own.get(which)
        value = self.together.value(which, own[0] if own is not None else None)
        stride = own[1].stride if own is not None and which not in self._details else 1
        # What is missing on the screen is told: a filled map is complete.
        coarse = f"every {ORDINALS[stride]} pixel" if stride in ORDINALS and node.kind is Kind.IMAGE else ""
        position = own[1].position if own is not None else ()
        difference = which == len(self.nodes)
        levels = own[2] if own is not None and (difference or not self.switches.shared.isChecked()) else None
        if difference:
            names = f"{self.nodes[1].called} − {self.nodes[0].called}"
            parts = indices_text(position), value, coarse, names
            return "B − A", " · ".join(part for part in parts if part), levels
        what, details = place_title(LETTERS[which], node, position, value)
        return what, " · ".join(part for part in (details, coarse) if part), levels

    def _say_curves(self, place: CurvesPanel) -> None:
        colours = curve_colours(self._theme)
        parts = []
        for which, curves in self.places.items():
            if curves is place and which in self._own:
                what, details, _levels = self._title(which)
                sign = " · older" if which in self._older else ""
                parts.append(
                    f"<span style='color:{colours[which % len(colours)]}'>━</span> <b>{escape(what)}</b> "
                    f"<span style='color:{self._theme.dim}'>{escape(details + sign)}</span>"
                )
        rows = [" &nbsp; ".join(parts[first : first + 3]) for first in range(0, len(parts), 3)]
        place.legend.setText("<br>".join(rows))

    # Places

    def _make(self, with_difference: bool) -> None:
        curves: dict[object, CurvesPanel] = {}
        shown = [*self.nodes, self.nodes[0]] if with_difference else self.nodes
        for which, node in enumerate(shown):
            if len(node.shown_axes) == 1:
                # What lies between two has intensities of its own, and a plot of its own.
                sort = node.shown_axes[0].units, which == len(self.nodes)
                place: Cell | CurvesPanel = curves.setdefault(sort, CurvesPanel())
            else:
                place = Cell(with_axes=len(shown) <= FEW)
            self.places[which] = place
        first = {place: which for which, place in reversed(self.places.items())}
        for place, which in first.items():  # of those that share a place the first speaks for it
            self._listen(which, place)
        for place in dict.fromkeys(self.places.values()):
            place.set_theme(self._theme)
            if isinstance(place, CurvesPanel):
                place.view.setXLink(next(iter(curves.values())).view if len(curves) > 1 else None)
        self._arrange()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 (Qt)
        """Lay pictures out as large as they can be."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        hidden = self._flickered is not None
        placed = [place for place in dict.fromkeys(self.places.values()) if not (hidden and place.isHidden())]
        numbers = [which for which, place in self.places.items() if place in placed]
        columns = 1
        if all(isinstance(place, Cell) for place in placed):
            few = len(self.places) <= FEW
            frame = TITLE_WIDTH + few * AXIS_WIDTH, TITLE_HEIGHT + few * AXIS_HEIGHT
            room = self.width(), self.height() - self.switches.height()
            columns = columns_for([aspect_of(self._node(which)) for which in numbers], room, frame)
        if self._laid != (columns, *placed):
            self._laid = columns, *placed
            arrange(self._grid, placed, columns)

    def _listen(self, which: int, place: Cell | CurvesPanel) -> None:
        view = place.image if isinstance(place, Cell) else place.view
        view.hovered.connect(lambda spot: self._hovered(which, spot))
        view.stepped.connect(self.stepped)
        if not isinstance(place, Cell):
            return
        place.image.looked.connect(lambda region, screen: self._looked(which, region, screen))
        if which < len(self.nodes) and self.nodes[which].kind is Kind.MAP and self.nodes[which].error is None:
            place.image.set_pointing(place.image.crosshair)
            place.image.crosshair.show()
            place.image.box.pointed.connect(lambda x, y: self.pointed.emit(which, (round(y), round(x))))

    def _clear(self) -> None:
        for place in set(self.places.values()):
            self._grid.removeWidget(place)
            place.hide()
            place.deleteLater()
        self.places.clear()
        self.together.clear()
        self._own, self._details, self._older, self._laid = {}, {}, set(), ()
        self._flickered = None

    def _expect(self, which: int, node: Node) -> None:
        place = self.places[which]
        if isinstance(place, Cell):
            place.expect(node)
            place.say(*self._title(which))
        else:
            place.view.set_axis(node.shown_axes[0])

    def _node(self, which: int) -> Node:
        return self.nodes[which if which < len(self.nodes) else 0]

    # What a person does

    def take_keyboard(self) -> None:
        """Let arrow keys step from here."""
        place = self.places.get(0)
        if place is not None:
            (place.image if isinstance(place, Cell) else place.view).setFocus()

    def _looked(self, which: int, region: Region, screen: tuple[int, int]) -> None:
        cell = self.cell(which)
        if cell is None:
            return
        self.together.looked(cell, region)
        seen = (0, 1) if self._flickered is not None and which == 0 else (which,)
        for number in seen:
            if number < len(self.nodes) and self._node(number).shown_axes == self._node(which).shown_axes:
                self.looked.emit(number, region, screen)

    def _hovered(self, which: int, spot: tuple[float, float] | None) -> None:
        self.together.point(which, spot)
        for other, place in self.places.items():
            if isinstance(place, Cell):
                place.say(*self._title(other))
        for place in set(self.places.values()):
            if isinstance(place, CurvesPanel):
                self._say_curves(place)
        self.hovered.emit(self.together.read_out())
