"""An image in pixels with calibrated axes, a scale bar and a crosshair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui

from viewer.panels.axes import CalibratedAxis
from viewer.panels.overlays import Crosshair, ScaleBar
from viewer.panels.plot import PlotView
from viewer.theme import OVERLAY_COLOURS
from viewer.view_state import Region, Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from viewer.nodes import Axis
    from viewer.picture import Levels, Picture
    from viewer.view_state import Request

pg.setConfigOptions(imageAxisOrder="row-major", antialias=True)
PYQTGRAPH_NAMES = {"seismic": "CET-D1"}
PADDING = 0.02
AXIS_WIDTH, AXIS_HEIGHT = 58, 42


def lookup_table(name: str) -> NDArray[np.uint8]:
    """256 colours of a colormap, shape (256, 3)."""
    if name == "gray":
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    table: NDArray[np.uint8] = pg.colormap.get(PYQTGRAPH_NAMES.get(name, name)).getLookupTable(0.0, 1.0, 256)
    return table[:, :3]


class ImageView(PlotView):
    """One image; large ones as an overview with the visible region in more detail above it.

    The view's coordinates are pixels of the full image, whatever the stride of what is painted.

    Parameters
    ----------
    with_axes : bool
        False leaves only the scale bar, as for a navigator.
    """

    looked = QtCore.Signal(object, object)  # Region, (height, width) of the screen

    def __init__(self, with_axes: bool = True) -> None:
        axes = {"left": CalibratedAxis("left"), "bottom": CalibratedAxis("bottom")}
        super().__init__(axes, on_canvas=True, invertY=True, lockAspect=True)
        self._calibrated = axes
        # Fixed, or longer tick labels would resize the picture under a person's eyes.
        axes["left"].setWidth(AXIS_WIDTH)
        axes["bottom"].setHeight(AXIS_HEIGHT)
        self.overview, self.detail = pg.ImageItem(), pg.ImageItem()
        self.detail.setZValue(1)
        self.crosshair = Crosshair()
        self.scale_bar = ScaleBar(self.box)
        for item in (self.overview, self.detail, self.crosshair):
            self.addItem(item, ignoreBounds=True)
        self.crosshair.hide()
        self.axes: tuple[Axis, ...] = ()
        self.picture: Picture | None = None
        self._stride = 1
        self._levels: Levels = (0.0, 1.0)
        if not with_axes:
            for side in ("left", "bottom"):
                self.hideAxis(side)
            self.getPlotItem().setContentsMargins(0, 0, 0, 0)
        self.box.sigRangeChanged.connect(self.tell_region)
        self.box.sigResized.connect(self._resized)
        self.set_colormap("gray")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the full image."""
        return (self.axes[0].size, self.axes[1].size) if self.axes else (1, 1)

    def set_axes(self, axes: tuple[Axis, ...]) -> None:
        """Get ready for images on these two axes (y, x); paints nothing yet."""
        if axes == self.axes:
            return
        self.axes = axes
        y, x = axes
        self._calibrated["left"].set_axis(y)
        self._calibrated["bottom"].set_axis(x)
        self.scale_bar.set_axis(x)
        same_units = y.units == x.units and y.values is None and x.values is None
        ratio = abs(x.scale / y.scale) if same_units and x.scale and y.scale else 1.0
        self.box.setAspectLocked(True, ratio=ratio if 0.05 < ratio < 20 else 1.0)
        largest = 4.0 * max(self.shape)
        self.box.setLimits(minXRange=2, minYRange=2, maxXRange=largest, maxYRange=largest)

    def paint_picture(self, picture: Picture, request: Request, levels: Levels) -> None:
        """Show an image, whole or every n-th pixel of it."""
        self.picture, self._stride = picture, max(1, round(self.shape[0] / picture.shown.shape[0]))
        spans = [part for part in request.selection if isinstance(part, Span)]
        if picture.shown.shape == self.shape:  # a coarse map that has been filled
            spans = [Span(0, size) for size in self.shape]
        self._stride = spans[0].step
        self.detail.clear()
        self._levels = levels
        self._set_image(self.overview, picture, spans)

    def paint_detail(self, picture: Picture, request: Request) -> None:
        """Show a region in more detail than the overview."""
        spans = [part for part in request.selection if isinstance(part, Span)]
        self._set_image(self.detail, picture, spans)

    def set_levels(self, levels: Levels) -> None:
        """Paint with other levels, in intensity."""
        self._levels = levels
        if self.picture is not None:
            drawn = self._drawn_levels(self.picture)
            self.overview.setLevels(drawn)
            if self.detail.image is not None:
                self.detail.setLevels(drawn)

    def set_colormap(self, name: str) -> None:
        """Paint with another colormap; overlays take a colour that stands out from it."""
        table = lookup_table(name)
        self.overview.setLookupTable(table)
        self.detail.setLookupTable(table)
        self.crosshair.set_colour(OVERLAY_COLOURS.get(name, "#ffffff"))

    def blank(self) -> None:
        """Show nothing: a picture of another place would be wrong."""
        self.picture = None
        self.overview.clear()
        self.detail.clear()

    def fit(self) -> None:
        """Show all of the image."""
        rows, columns = self.shape
        self.fitted = True
        self.box.setRange(QtCore.QRectF(-0.5, -0.5, columns, rows), padding=PADDING)

    def region(self) -> Region:
        """Return what is on the screen, in pixels of the full image."""
        (x0, x1), (y0, y1) = self.box.viewRange()
        return Region(y0, y1, x0, x1)

    def show_region(self, region: Region) -> None:
        """Bring a region onto the screen."""
        self.fitted = False
        width, height = region.x1 - region.x0, region.y1 - region.y0
        self.box.setRange(QtCore.QRectF(region.x0, region.y0, width, height), padding=0)

    def value_at(self, x: float, y: float) -> tuple[int, int, Any] | None:
        """Row, column and intensity under a place of the view; None outside the image."""
        row, column = round(y), round(x)
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            return None
        if self.picture is None:
            return row, column, None
        raw, step = self.picture.raw, self._stride
        return row, column, raw[min(row // step, raw.shape[0] - 1), min(column // step, raw.shape[1] - 1)]

    def _set_image(self, item: pg.ImageItem, picture: Picture, spans: list[Span]) -> None:
        item.setImage(picture.shown, autoLevels=False, levels=self._drawn_levels(picture))
        y, x = spans
        # A sample is the centre of the square it stands for.
        corner = QtCore.QPointF(x.start - x.step / 2, y.start - y.step / 2)
        item.setRect(QtCore.QRectF(corner, QtCore.QSizeF(len(x) * x.step, len(y) * y.step)))

    def _drawn_levels(self, picture: Picture) -> Levels:
        low, high = self._levels
        return picture.stretch.forward(low), picture.stretch.forward(high)

    def tell_region(self, *_: object) -> None:
        """Tell what is on the screen."""
        ratio = self.devicePixelRatioF()
        screen = (round(self.box.height() * ratio), round(self.box.width() * ratio))
        self.looked.emit(self.region(), screen)

    def _resized(self, *_: object) -> None:
        if self.fitted and self.axes:
            self.fit()

    def mouseDoubleClickEvent(self, ev: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """Show all again."""
        super().mouseDoubleClickEvent(ev)
        if self.box.crosshair is None:
            self.fit()
