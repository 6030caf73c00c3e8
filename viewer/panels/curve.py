"""A curve over a calibrated axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg

from viewer.panels.axes import TICKS, IntensityAxis
from viewer.panels.overlays import Crosshair
from viewer.panels.plot import PlotView
from viewer.readout import axis_label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyqtgraph.Qt import QtGui

    from viewer.nodes import Axis
    from viewer.picture import Levels, Picture
    from viewer.theme import Theme

HEADROOM = 0.06
AXIS_WIDTH = 80


class CurveView(PlotView):
    """One curve; the horizontal axis is in units, the vertical one in intensity."""

    def __init__(self) -> None:
        bottom = pg.AxisItem("bottom")
        bottom.enableAutoSIPrefix(False)
        bottom.setStyle(**TICKS)
        self._intensity = IntensityAxis("left")
        super().__init__({"left": self._intensity, "bottom": bottom}, on_canvas=False)
        self.curve = pg.PlotCurveItem()
        self.curve.setSegmentedLineMode("on")  # three times quicker for lines wider than a pixel
        self.addItem(self.curve, ignoreBounds=True)
        self.crosshair = Crosshair(horizontal=False)
        self.addItem(self.crosshair, ignoreBounds=True)
        self.crosshair.hide()
        self._intensity.setWidth(AXIS_WIDTH)
        self._intensity.setLabel("Intensity")
        self.axes: tuple[Axis, ...] = ()
        self.picture: Picture | None = None
        self._x: NDArray[np.float64] = np.zeros(1)
        self._index = 0
        self.box.setMouseEnabled(x=True, y=False)  # the intensity follows the levels

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        super().set_theme(theme)
        self.curve.setPen(pg.mkPen(theme.accent, width=1.3))
        fill = pg.mkColor(theme.accent)
        fill.setAlpha(28)
        self.curve.setBrush(fill)
        self.crosshair.set_colour(theme.busy, halo=theme.panel)
        self.getPlotItem().showGrid(x=True, y=True, alpha=0.12)

    def set_axes(self, axes: tuple[Axis, ...]) -> None:
        """Get ready for curves on this one axis."""
        if axes == self.axes:
            return
        old, self.axes = self.axes, axes
        (axis,) = axes
        self._x = np.array([axis.value(index) for index in range(axis.size)])
        self.getPlotItem().getAxis("bottom").setLabel(axis_label(axis))
        if not old or old[0].units != axis.units:
            self.fitted = True

    def paint_picture(self, picture: Picture, levels: Levels) -> None:
        """Show a curve between the intensities `levels`."""
        self.picture = picture
        self._intensity.set_stretch(picture.stretch)
        # A coarse curve is stretched over the whole axis until it refines.
        x = (
            self._x
            if len(self._x) == len(picture.shown)
            else np.linspace(self._x[0], self._x[-1], len(picture.shown))
        )
        low, high = picture.stretch.forward(levels[0]), picture.stretch.forward(levels[1])
        base = 0.0 if low <= 0 <= high else low
        self.curve.setData(x=x, y=picture.shown, fillLevel=base, connect="finite")
        self.box.setYRange(low, high, padding=HEADROOM)
        if self.fitted:
            self.fit()
        self._place_crosshair()

    def blank(self) -> None:
        """Show nothing: a curve of another place would be wrong."""
        self.picture = None
        self.curve.clear()

    def fit(self) -> None:
        """Show the whole axis."""
        self.fitted = True
        low, high = sorted((float(self._x[0]), float(self._x[-1])))
        self.box.setXRange(low, high if high > low else low + 1, padding=0.01)

    def point_at(self, index: int) -> None:
        """Put the crosshair at an index of the axis."""
        self._index = index
        self._place_crosshair()

    def index_at(self, x: float) -> int:
        """Index of the axis nearest to a place of the view."""
        return int(np.argmin(np.abs(self._x - x)))

    def value_at(self, x: float) -> tuple[int, Any] | None:
        """Index and intensity nearest to a place of the view; None outside the axis."""
        low, high = sorted((float(self._x[0]), float(self._x[-1])))
        if not low <= x <= high:
            return None
        index = self.index_at(x)
        raw = self.picture.raw if self.picture is not None else ()
        return index, raw[index] if index < len(raw) else None

    def _place_crosshair(self) -> None:
        shown = self.picture.shown if self.picture is not None else np.zeros(1)
        y = float(shown[min(self._index, len(shown) - 1)])
        y = y if np.isfinite(y) else sum(self.box.viewRange()[1]) / 2  # in a gap: half-way up
        self.crosshair.move_to(float(self._x[min(self._index, len(self._x) - 1)]), y)

    def mouseDoubleClickEvent(self, ev: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """Show all again."""
        super().mouseDoubleClickEvent(ev)
        if self.box.crosshair is None:
            self.fit()
