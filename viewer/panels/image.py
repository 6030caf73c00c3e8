"""An image in pixels with calibrated axes, a scale bar and a crosshair."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui

from viewer.nodes import pixel_aspect
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
# So many times its longer side fits into a view: narrow ones, side by side, show all of it too.
FARTHEST = 16.0
AXIS_WIDTH, AXIS_HEIGHT = 66, 42


@cache
def lookup_table(name: str) -> NDArray[np.uint8]:
    """256 colours of a colormap, shape (256, 3)."""
    if name == "gray":
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    table: NDArray[np.uint8] = pg.colormap.get(PYQTGRAPH_NAMES.get(name, name)).getLookupTable(0.0, 1.0, 256)
    return table[:, :3]


def swatch(name: str, width: int, height: int) -> QtGui.QPixmap:
    """Draw a colormap as a small picture."""
    columns = lookup_table(name)[np.linspace(0, 255, width).astype(int)]
    pixels = np.ascontiguousarray(np.broadcast_to(columns, (height, width, 3)))
    form = QtGui.QImage.Format.Format_RGB888
    return QtGui.QPixmap.fromImage(QtGui.QImage(pixels.tobytes(), width, height, 3 * width, form))


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
        self._spans = self._detail_spans = (Span(0, 1), Span(0, 1))
        self._detail_picture: Picture | None = None
        self._levels: Levels = (0.0, 1.0)
        self._colormap = ""
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
        extent = QtCore.QRectF(-0.5, -0.5, x.size, y.size)
        self.crosshair.set_extent(extent)
        self._calibrated["left"].set_axis(y)
        self._calibrated["bottom"].set_axis(x)
        self.scale_bar.set_axis(x, extent)
        self.box.setAspectLocked(True, ratio=pixel_aspect(y, x))
        largest = FARTHEST * max(self.shape)
        self.box.setLimits(minXRange=2, minYRange=2, maxXRange=largest, maxYRange=largest)

    def paint_picture(self, picture: Picture, request: Request, levels: Levels) -> None:
        """Show an image, whole or every n-th pixel of it."""
        self.picture, self._detail_picture = picture, None
        self._spans = _spans(request)
        if picture.shown.shape[:2] == self.shape:  # a coarse map that has been filled
            self._spans = Span(0, self.shape[0]), Span(0, self.shape[1])
        self.detail.clear()
        self._levels = levels
        self._set_image(self.overview, picture, self._spans)

    def paint_detail(self, picture: Picture, request: Request) -> None:
        """Show a region in more detail than the overview."""
        self._detail_picture, self._detail_spans = picture, _spans(request)
        self._set_image(self.detail, picture, self._detail_spans)

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
        if name == self._colormap:
            return
        self._colormap = name
        table = lookup_table(name)
        self.overview.setLookupTable(table)
        self.detail.setLookupTable(table)
        self.crosshair.set_colour(OVERLAY_COLOURS.get(name, "#ffffff"))

    def blank(self) -> None:
        """Show nothing: a picture of another place would be wrong."""
        self.picture = self._detail_picture = None
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
        """Row, column and intensity of the sample painted at a place of the view; None outside the image.

        Of a strided image that is the nearest sample that was read: index and intensity belong together.
        """
        row, column = round(y), round(x)
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            return None
        if self.picture is None:
            return row, column, None
        if self._detail_picture is not None:
            rows, columns = self._detail_spans
            i, j = _nearest(rows, y), _nearest(columns, x)
            if 0 <= i < len(rows) and 0 <= j < len(columns):
                return rows.at(i), columns.at(j), self._detail_picture.raw[i, j]
        rows, columns = self._spans
        i, j = min(_nearest(rows, y), len(rows) - 1), min(_nearest(columns, x), len(columns) - 1)
        return rows.at(i), columns.at(j), self.picture.raw[i, j]

    def _set_image(self, item: pg.ImageItem, picture: Picture, spans: tuple[Span, Span]) -> None:
        item.setImage(picture.shown, autoLevels=False, levels=self._drawn_levels(picture))
        y, x = spans
        # A sample is the centre of the square it stands for.
        corner = QtCore.QPointF(x.start - x.step / 2, y.start - y.step / 2)
        item.setRect(QtCore.QRectF(corner, QtCore.QSizeF(len(x) * x.step, len(y) * y.step)))

    def _drawn_levels(self, picture: Picture) -> Levels:
        low, high = picture.limits if picture.coloured else self._levels
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


def _spans(request: Request) -> tuple[Span, Span]:
    """Return what a request for an image reads of its two axes; colours come after them."""
    y, x, *_ = (part for part in request.selection if isinstance(part, Span))
    return y, x


def _nearest(span: Span, place: float) -> int:
    """Return the number of the sample whose square is at a place; outside the span where none is."""
    return round((place - span.start) / span.step)
