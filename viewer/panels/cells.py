"""One of several pictures side by side, and curves of several nodes in one plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.compared import MOST
from viewer.panels.axes import TICKS, IntensityAxis
from viewer.panels.boxes import Panel, Title
from viewer.panels.image import ImageView, swatch
from viewer.panels.overlays import Crosshair
from viewer.panels.plot import PlotView
from viewer.readout import axis_label, ends_text, indices_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.nodes import Axis, Node
    from viewer.picture import Levels, Picture
    from viewer.theme import Theme
    from viewer.view_state import Request

OLDER_OPACITY = 0.4
AXIS_WIDTH, HEADROOM = 80, 0.06
MOST_PLACES = MOST + 1
BAR = 48, 8


class Cell(Panel):
    """A picture with a title, and a small sign where it is of an older position than the others.

    Parameters
    ----------
    with_axes : bool
        False for a small one.
    """

    def __init__(self, with_axes: bool = True) -> None:
        super().__init__(margin=6, spacing=4)
        policy = QtWidgets.QSizePolicy.Policy.Ignored
        self.setSizePolicy(policy, policy)  # all are as large as each other
        self.title, self.sign = Title(), QtWidgets.QLabel("older")
        self.sign.setObjectName("hint")
        self.sign.setToolTip("The picture of the present position has not come yet.")
        self.sign.hide()
        self.image, self.message = ImageView(with_axes), QtWidgets.QLabel()
        self.message.setObjectName("canvasText")
        self.message.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.message.setWordWrap(True)
        self.stack = QtWidgets.QStackedWidget()
        self.stack.addWidget(self.image)
        self.stack.addWidget(self.message)
        self.top = QtWidgets.QHBoxLayout()
        self.top.setSpacing(4)
        self.low, self.bar, self.high = QtWidgets.QLabel(), QtWidgets.QLabel(), QtWidgets.QLabel()
        self.top.addWidget(self.title, 1)
        for label in (self.low, self.bar, self.high, self.sign):
            self.top.addWidget(label)
        self.column.addLayout(self.top)
        self.column.addWidget(self.stack, 1)
        self.node: Node | None = None

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.title.set_dim(theme.dim)
        self.image.set_theme(theme)

    def say(self, what: str, details: str, levels: Levels | None) -> None:
        """Show a title, and a bar of colours with the intensities at its ends."""
        self.title.say(what, details)
        low, high = ends_text(*levels) if levels is not None else ("", "")
        self.low.setText(low)
        self.high.setText(high)
        for label in (self.low, self.bar, self.high):
            label.setVisible(levels is not None)

    def set_colormap(self, name: str) -> None:
        """Paint with a colormap."""
        self.image.set_colormap(name)
        self.bar.setPixmap(swatch(name, *BAR))

    def expect(self, node: Node) -> None:
        """Get ready for pictures of a node."""
        if self.node is not None and node is not self.node and not node.goes_on(self.node):
            self.image.blank()
        fresh = self.node is None or node.shown_axes != self.node.shown_axes
        self.node = node
        if not node.shown_axes:
            return  # it is failed, and says so
        self.image.set_axes(node.shown_axes)
        if fresh:
            self.image.fit()

    def paint(self, picture: Picture, request: Request, levels: Levels) -> None:
        """Show a picture."""
        self.image.paint_picture(picture, request, levels)
        self.stack.setCurrentWidget(self.image)

    def complain(self, why: str) -> None:
        """Say why there is no picture."""
        self.image.blank()
        self.message.setText(why)
        self.stack.setCurrentWidget(self.message)

    def set_older(self, older: bool) -> None:
        """Dim what is of an older position."""
        self.image.overview.setOpacity(OLDER_OPACITY if older else 1.0)
        self.sign.setVisible(older)


class CurvesPanel(Panel):
    """Curves over one axis, in colours, with what each is of in the title line."""

    def __init__(self) -> None:
        super().__init__(margin=6, spacing=4)
        policy = QtWidgets.QSizePolicy.Policy.Ignored
        self.setSizePolicy(policy, policy)
        self.legend = QtWidgets.QLabel()
        self.legend.setTextFormat(QtCore.Qt.TextFormat.RichText)
        # Without wrapping: it would claim the height of pictures that stand beside the plot.
        self.legend.setSizePolicy(policy, QtWidgets.QSizePolicy.Policy.Fixed)
        self.view = CurvesView()
        self.column.addWidget(self.legend)
        self.column.addWidget(self.view, 1)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.view.set_theme(theme)

    def point_at(self, x: float | None) -> None:
        """Draw a line at a value of the axis; None takes it away."""
        self.view.crosshair.setVisible(x is not None)
        if x is not None:
            self.view.crosshair.move_to(x, 0.0)


class CurvesView(PlotView):
    """Several curves; the horizontal axis is in units, the vertical one in intensity."""

    def __init__(self) -> None:
        bottom = pg.AxisItem("bottom")
        bottom.enableAutoSIPrefix(False)
        bottom.setStyle(**TICKS)
        self._intensity = IntensityAxis("left")
        super().__init__({"left": self._intensity, "bottom": bottom}, on_canvas=False)
        self._intensity.setWidth(AXIS_WIDTH)
        self._intensity.setLabel("Intensity")
        self.crosshair = Crosshair(horizontal=False)
        self.addItem(self.crosshair, ignoreBounds=True)
        self.crosshair.hide()
        self.curves: dict[int, pg.PlotCurveItem] = {}
        self.box.setMouseEnabled(x=True, y=False)
        self._colours: tuple[str, ...] = ()
        self._axis: Axis | None = None

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        super().set_theme(theme)
        self._colours = curve_colours(theme)
        self.crosshair.set_colour(theme.busy, halo=theme.panel)
        self.getPlotItem().showGrid(x=True, y=True, alpha=0.12)
        for which, curve in self.curves.items():
            curve.setPen(self._pen(which))

    def set_axis(self, axis: Axis) -> None:
        """Get ready for curves on an axis."""
        if self._axis is None or self._axis.units != axis.units:
            self.fitted = True
        self._axis = axis
        self.getPlotItem().getAxis("bottom").setLabel(axis_label(axis))

    def paint(self, which: int, picture: Picture, axis: Axis, older: bool) -> None:
        """Show one of the curves."""
        if which not in self.curves:
            self.curves[which] = pg.PlotCurveItem(pen=self._pen(which))
            self.curves[which].setSegmentedLineMode("on")
            self.addItem(self.curves[which], ignoreBounds=True)
        self._intensity.set_stretch(picture.stretch)
        x = np.array([axis.value(index) for index in range(axis.size)])
        self.curves[which].setData(x=x, y=picture.shown, connect="finite")
        self.curves[which].setOpacity(OLDER_OPACITY if older else 1.0)
        if self.fitted:
            self.fit()

    def set_levels(self, low: float, high: float) -> None:
        """Show intensities between two, as they are stretched."""
        self.box.setYRange(low, high, padding=HEADROOM)

    def show_only(self, which: int | None) -> None:
        """Hide all curves but one; None shows all again."""
        for one, curve in self.curves.items():
            curve.setVisible(which is None or one == which)

    def drop(self, which: int) -> None:
        """Show one of the curves no more."""
        if which in self.curves:
            self.removeItem(self.curves.pop(which))

    def fit(self) -> None:
        """Show the whole axis."""
        self.fitted = True
        ends = [self._axis.value(0), self._axis.value(self._axis.size - 1)] if self._axis else [0.0, 1.0]
        low, high = sorted(ends)
        self.box.setXRange(low, high if high > low else low + 1, padding=0.01)

    def _pen(self, which: int) -> object:
        colour = self._colours[which % len(self._colours)] if self._colours else "#4fc1ff"
        return pg.mkPen(colour, width=1.3)


def curve_colours(theme: Theme) -> tuple[str, ...]:
    """Colours that are told apart, those of the six letters and of the difference."""
    light = theme.name == "light"
    more = ("#8e44ad", "#7a6a00", "#555c66") if light else ("#c792ea", "#e6db74", "#aeb6c0")
    return (theme.accent, theme.busy, theme.good, theme.bad, *more)


def arrange(grid: QtWidgets.QGridLayout, placed: Sequence[QtWidgets.QWidget], columns: int) -> None:
    """Lay places out in columns, all as large as each other; what is left for the last row stands in its middle."""
    for place in placed:
        grid.removeWidget(place)
    for slot in range(2 * MOST_PLACES):  # half a column is as far as a row may be moved
        grid.setColumnStretch(slot, int(slot < 2 * columns))
        grid.setRowStretch(slot, int(slot * columns < len(placed)))
    for slot, place in enumerate(placed):
        row = slot // columns
        missing = max(0, (row + 1) * columns - len(placed))
        grid.addWidget(place, row, missing + 2 * (slot % columns), 1, 2)


def place_title(letter: str, node: Node, position: tuple[int, ...], value: str) -> tuple[str, str]:
    """Title of one of several pictures: letter and node, then position and value under the mouse."""
    parts = [indices_text(position), value]
    return f"{letter} · {node.called}", " · ".join(part for part in parts if part)
