"""Several nodes at the same position: images side by side, curves in one plot, with zoom and crosshair linked."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.compared import LETTERS
from viewer.nodes import Kind
from viewer.panels.cells import Cell, CurvesPanel, arrange, curve_colours, place_title
from viewer.panels.toolbar import Choice
from viewer.readout import indices_text, intensity_text, number, place_text
from viewer.theme import DARK
from viewer.view_state import Region, carried_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.picture import Levels, Picture
    from viewer.theme import Theme
    from viewer.view_state import Request

RATES = (1, 2, 4, 8)
DIVERGING = "seismic"
# Beside more than these, tick labels would take more room than the pictures.
FEW = 2


class ComparePanel(QtWidgets.QWidget):
    """Pictures of up to six nodes, a row of switches above them."""

    shared_switched = QtCore.Signal(bool)
    difference_switched = QtCore.Signal(bool)
    flicker_switched = QtCore.Signal(bool)
    rate_chosen = QtCore.Signal(int)
    closed = QtCore.Signal()
    stepped = QtCore.Signal(int, int)
    hovered = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._theme = DARK
        self.shared = _switch("Shared levels", "All with the same levels, or each with its own")
        self.difference = _switch("B − A", "Show what B has more than A (D)")
        self.flicker = _switch(
            "Flicker", "Show A and B in turns in one place (F); B while the space bar is held"
        )
        self.shared.setChecked(True)
        self.rate = Choice()
        self.rate.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        for hertz in RATES:
            self.rate.addItem(f"{hertz} Hz", hertz)
        self.rate.setCurrentIndex(RATES.index(2))
        self.close_button = QtWidgets.QPushButton("✕")
        self.close_button.setObjectName("flat")
        self.close_button.setToolTip("Show one node again (C)")
        self.close_button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.nodes: list[Node] = []
        self.places: dict[int, Cell | CurvesPanel] = {}
        self._shown: dict[int, tuple[Picture, Request]] = {}
        self._own: dict[int, tuple[Picture, Request, Levels]] = {}
        self._older: set[int] = set()
        self._flickered: int | None = None
        self._region: tuple[Region, Node] | None = None
        self._linking = False
        self._spot: tuple[int, float, float] | None = None
        self._lay_out()

    # What is compared

    def show_nodes(self, nodes: Sequence[Node], with_difference: bool) -> None:
        """Make places for nodes, and for their difference."""
        before, self.nodes = self.nodes, list(nodes)
        old, new = ([(len(n.shown_axes), n.axes[-1:], n.path) for n in some] for some in (before, nodes))
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
        return set(self._shown)

    def cell(self, which: int) -> Cell | None:
        """Return the place of an image; None for a curve."""
        place = self.places.get(which)
        return place if isinstance(place, Cell) else None

    def paint(self, which: int, answer: Answer, levels: Levels, older: bool) -> None:
        """Show what came of a node."""
        if answer.request is None:
            return
        self._shown[which] = answer.value, answer.request
        self._own[which] = answer.value, answer.request, levels
        self._older = self._older | {which} if older else self._older - {which}
        self._paint(which, self._where(which))

    def paint_difference(self, picture: Picture, request: Request, levels: Levels) -> None:
        """Show B − A."""
        which = len(self.nodes)
        if which in self.places:
            self._shown[which], self._own[which] = (picture, request), (picture, request, levels)
            self._paint(which, which)

    def set_older(self, which: int, older: bool) -> None:
        """Dim a picture whose position is not the present one, or no more."""
        if which in self._own and older != (which in self._older):
            self._older = self._older | {which} if older else self._older - {which}
            self._paint(which, self._where(which))

    def blank(self, which: int) -> None:
        """Show nothing of a node: what is there is of another key."""
        self._shown.pop(which, None)
        self._own.pop(which, None)
        place = self.places.get(which)
        if isinstance(place, Cell):
            place.image.blank()
        elif place is not None:
            place.view.drop(which)

    def complain(self, which: int, why: str) -> None:
        """Say why there is no picture of a node, or no difference."""
        self.blank(which)
        if (cell := self.cell(which)) is not None:
            cell.complain(why)
            cell.title.say(*self._title(which))

    def set_levels(self, levels: dict[int, Levels]) -> None:
        """Paint what is there with other levels."""
        for which, own in levels.items():
            if which in self._own:
                self._own[which] = (*self._own[which][:2], own)
                self._paint(which, self._where(which))

    def set_colormap(self, which: int, name: str) -> None:
        """Paint images of a node with a colormap."""
        if (cell := self.cell(which)) is not None:
            cell.image.set_colormap(name)

    def show_flicker(self, which: int | None) -> None:
        """Show one of the first two alone, in the place of the first; None: all of them again."""
        first = self.cell(0)
        if first is None or self.cell(1) is None:
            return
        before, self._flickered = self._flickered, which
        if (before is None) != (which is None):
            for number, place in self.places.items():
                place.setVisible(which is None or number == 0)
        if (shown := which or 0) in self._own:
            self._paint(shown, 0)
        elif before is not None:
            first.image.blank()

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        for place in set(self.places.values()):
            place.set_theme(theme)
            if isinstance(place, CurvesPanel):
                self._say_curves(place)

    def show_region(self, region: Region, node: Node) -> None:
        """Bring the same part of every image onto the screen; the region is in pixels of `node`."""
        if self._linking:
            return
        self._linking, self._region = True, (region, node)
        for which, cell in self._cells():
            other = self._node(which)
            if (other.kind is Kind.MAP) != (node.kind is Kind.MAP):
                continue  # a place of the scan is none of a frame
            carried = carried_region(region, node.shown_axes, other.shown_axes)
            if not _close(carried, cell.image.region()):
                cell.image.show_region(carried)
        self._linking = False

    # Painting

    def _paint(self, which: int, where: int) -> None:
        picture, request, levels = self._own[which]
        place, older = self.places.get(where), which in self._older
        if isinstance(place, Cell):
            if where != which or self._flickered is not None:
                self._expect_here(place, self._node(which))
            place.paint(picture, request, levels)
            place.set_older(older)
            place.title.say(*self._title(which))
            if self._region is not None and self._flickered is not None:
                self._linking = True
                region, node = self._region
                place.image.show_region(carried_region(region, node.shown_axes, self._node(which).shown_axes))
                self._linking = False
        elif place is not None:
            place.view.paint(which, picture, self._node(which).shown_axes[0], older)
            self._span(place)
            self._say_curves(place)

    def _where(self, which: int) -> int:
        """Return where a picture is painted: one that is hidden by a flicker nowhere."""
        if self._flickered is None or which > 1:
            return which
        return 0 if which == self._flickered else -1

    def _expect_here(self, place: Cell, node: Node) -> None:
        """Let a place change its node without a moment of nothing."""
        if place.node is not None and place.node.shown_axes != node.shown_axes:
            place.image.set_axes(node.shown_axes)
        place.node = node

    def _span(self, place: CurvesPanel) -> None:
        """Let the vertical axis hold all curves, at their levels."""
        levels = [
            (picture.stretch.forward(low), picture.stretch.forward(high))
            for which, (picture, _request, (low, high)) in self._own.items()
            if self.places.get(which) is place
        ]
        place.view.set_levels(min(low for low, _ in levels), max(high for _, high in levels))

    def _title(self, which: int) -> tuple[str, str]:
        node = self._node(which)
        request = self._shown[which][1] if which in self._shown else None
        position = request.position if request is not None else ()
        if which == len(self.nodes):
            names = f"{self.nodes[1].called} − {self.nodes[0].called}"
            ends = f"±{number(self._own[which][2][1])}" if which in self._own else ""
            return "B − A", " · ".join(part for part in (ends, self._value(which), names) if part)
        return place_title(LETTERS[which], node, position, self._value(which))

    def _value(self, which: int) -> str:
        """Intensity of a picture under the mouse, wherever that is."""
        cell = self.cell(which)
        spot = self._spot_on(which)
        if cell is None or spot is None:
            return ""
        found = cell.image.value_at(*spot)
        return "" if found is None or found[2] is None else intensity_text(found[2])

    def _say_curves(self, place: CurvesPanel) -> None:
        colours = curve_colours(self._theme)
        parts = []
        for which, curves in self.places.items():
            if curves is place and which in self._own:
                what, details = self._title(which)
                sign = " · older" if which in self._older else ""
                parts.append(
                    f"<span style='color:{colours[which % len(colours)]}'>━</span> <b>{escape(what)}</b> "
                    f"<span style='color:{self._theme.dim}'>{escape(details + sign)}</span>"
                )
        place.legend.setText(" &nbsp; ".join(parts))

    # Places

    def _make(self, with_difference: bool) -> None:
        curves: dict[str | None, CurvesPanel] = {}
        shown = [*self.nodes, self.nodes[0]] if with_difference else self.nodes
        for which, node in enumerate(shown):
            if len(node.shown_axes) == 1:
                place: Cell | CurvesPanel = curves.setdefault(node.shown_axes[0].units, CurvesPanel())
            else:
                place = Cell(with_axes=len(shown) <= FEW)
                self._listen(which, place)
            self.places[which] = place
        for place in set(self.places.values()):
            place.set_theme(self._theme)
            if isinstance(place, CurvesPanel):
                place.view.stepped.connect(self.stepped)
        self._arrange()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 (Qt)
        """Lay two pictures below each other where that makes them larger."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        arrange(self._grid, list(dict.fromkeys(self.places.values())), self.width() < self.height())

    def _listen(self, which: int, cell: Cell) -> None:
        cell.image.looked.connect(lambda region, _screen: self._looked(which, region))
        cell.image.hovered.connect(lambda place: self._hovered(which, place))
        cell.image.stepped.connect(self.stepped)

    def _clear(self) -> None:
        for place in set(self.places.values()):
            self._grid.removeWidget(place)
            place.hide()
            place.deleteLater()
        self.places, self._shown, self._own, self._older = {}, {}, {}, set()
        self._flickered, self._region, self._spot = None, None, None

    def _expect(self, which: int, node: Node) -> None:
        place = self.places[which]
        if isinstance(place, Cell):
            place.expect(node)
        else:
            place.view.set_axis(node.shown_axes[0])

    def _node(self, which: int) -> Node:
        return self.nodes[which if which < len(self.nodes) else 0]

    def _cells(self) -> Iterator[tuple[int, Cell]]:
        for which, place in self.places.items():
            if isinstance(place, Cell):
                yield which, place

    # Linking

    def _looked(self, which: int, region: Region) -> None:
        cell = self.cell(which)
        if cell is not None and cell.node is not None and not cell.image.fitted:
            self.show_region(region, cell.node)

    def take_keyboard(self) -> None:
        """Let arrow keys step from here."""
        place = self.places.get(0)
        if place is not None:
            (place.image if isinstance(place, Cell) else place.view).setFocus()

    def fit(self) -> None:
        """Show all of everything."""
        self._linking, self._region = True, None
        for place in set(self.places.values()):
            (place.image if isinstance(place, Cell) else place.view).fit()
        self._linking = False

    def _hovered(self, which: int, place: tuple[float, float] | None) -> None:
        """Point at the same place of all pictures, and read out what each has there."""
        self._spot = None if place is None else (which, *place)
        for other, cell in self._cells():
            spot = self._spot_on(other)
            cell.image.crosshair.setVisible(spot is not None and other != which)
            if spot is not None:
                cell.image.crosshair.move_to(*spot)
            cell.title.say(*self._title(other))
        self.hovered.emit(self._read_out())

    def _spot_on(self, which: int) -> tuple[float, float] | None:
        """Where the mouse is, on the axes of another picture (x, y)."""
        if self._spot is None or self.cell(which) is None:
            return None
        source, x, y = self._spot
        old, new = self._node(source), self._node(which)
        if (old.kind is Kind.MAP) != (new.kind is Kind.MAP):
            return None
        there = carried_region(Region(y, y, x, x), old.shown_axes, new.shown_axes)
        return there.x0, there.y0

    def _read_out(self) -> str:
        if self._spot is None:
            return ""
        which, x, y = self._spot
        cell = self.cell(which)
        found: Any = cell.image.value_at(x, y) if cell is not None else None
        if found is None:
            return ""
        indices = found[:2]
        return f"{indices_text(indices)} · {place_text(self._node(which).shown_axes, indices)}"

    def _lay_out(self) -> None:
        bar = QtWidgets.QHBoxLayout()
        bar.setSpacing(6)
        for widget in (self.shared, self.difference, self.flicker, self.rate):
            bar.addWidget(widget)
        bar.addStretch(1)
        bar.addWidget(self.close_button)
        self._grid = QtWidgets.QGridLayout()
        self._grid.setSpacing(6)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(bar)
        column.addLayout(self._grid, 1)
        self.shared.toggled.connect(self.shared_switched)
        self.difference.toggled.connect(self.difference_switched)
        self.flicker.toggled.connect(self.flicker_switched)
        self.rate.activated.connect(lambda index: self.rate_chosen.emit(RATES[index]))
        self.close_button.clicked.connect(lambda _checked: self.closed.emit())


def _close(one: Region, other: Region) -> bool:
    """Return True where two regions differ by less than a hundredth of a pixel: nothing to show anew."""
    pairs = zip((one.y0, one.y1, one.x0, one.x1), (other.y0, other.y1, other.x0, other.x1), strict=True)
    return all(abs(a - b) < 0.01 for a, b in pairs)


def _switch(text: str, tip: str) -> QtWidgets.QPushButton:
    button = QtWidgets.QPushButton(text)
    button.setCheckable(True)
    button.setToolTip(tip)
    button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
    return button
