"""What lies over a picture: crosshair and scale bar. Curve items with a dark halo, antialiased."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui

from viewer.readout import quantity, scale_bar
from viewer.theme import CANVAS_TEXT, HALO

if TYPE_CHECKING:
    from viewer.nodes import Axis

HANDLE_PIXELS = 7.0
GRAB_PIXELS = 14.0


class Crosshair(pg.GraphicsObject):
    """Lines through one pixel of a picture, with a handle of the same size at any zoom.

    Parameters
    ----------
    horizontal : bool
        False over a curve: only the vertical line is drawn.
    """

    def __init__(self, horizontal: bool = True) -> None:
        super().__init__()
        self._horizontal = horizontal
        self._colour, self._halo = "#38bdf8", HALO
        self._extent: QtCore.QRectF | None = None
        self.place = QtCore.QPointF(0.0, 0.0)
        self.setZValue(20)
        self.setAcceptedMouseButtons(QtCore.Qt.MouseButton.NoButton)

    def move_to(self, x: float, y: float) -> None:
        """Point at a place, in the view's coordinates; where it is already, nothing is painted anew."""
        if (place := QtCore.QPointF(x, y)) != self.place:
            self.place = place
            self.update()

    def set_colour(self, colour: str, halo: str = HALO) -> None:
        """Choose a colour that stands out, and one around it that keeps it visible everywhere."""
        self._colour, self._halo = colour, halo
        self.update()

    def set_extent(self, extent: QtCore.QRectF) -> None:
        """Draw the lines within `extent` only, in the view's coordinates: where the picture is."""
        self._extent = extent
        self.update()

    def grabbed_at(self, x: float, y: float) -> bool:
        """Return True where a press at (x, y), in view coordinates, takes the handle."""
        width, height = self.pixelWidth(), self.pixelHeight()
        if not width or not height:
            return False
        across = (x - self.place.x()) / width
        down = (y - self.place.y()) / height if self._horizontal else 0.0
        return bool(across**2 + down**2 <= GRAB_PIXELS**2)

    def viewTransformChanged(self) -> None:  # noqa: N802 (Qt)
        """Follow pan, zoom and a resized window."""
        super().viewTransformChanged()
        self.prepareGeometryChange()

    def boundingRect(self) -> QtCore.QRectF:  # noqa: N802 (Qt)
        """All of the view: the lines cross it."""
        return self.viewRect() if self.getViewBox() is not None else QtCore.QRectF()

    def paint(self, painter: QtGui.QPainter, *_: object) -> None:
        """Draw halo, lines, handle."""
        view = self.viewRect()
        if self._extent is not None:
            view = view.intersected(self._extent)
        width, height = self.pixelWidth() or 1.0, self.pixelHeight() or 1.0
        gap = HANDLE_PIXELS
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        x, y = self.place.x(), self.place.y()
        lines = [
            QtCore.QLineF(x, view.top(), x, max(view.top(), y - gap * height)),
            QtCore.QLineF(x, min(view.bottom(), y + gap * height), x, view.bottom()),
        ]
        if self._horizontal:
            lines.append(QtCore.QLineF(view.left(), y, max(view.left(), x - gap * width), y))
            lines.append(QtCore.QLineF(min(view.right(), x + gap * width), y, view.right(), y))
        for colour, thickness in ((_translucent(self._halo, 150), 3.0), (pg.mkColor(self._colour), 1.2)):
            painter.setPen(pg.mkPen(colour, width=thickness))
            painter.drawLines(lines)
            painter.drawEllipse(QtCore.QPointF(x, y), gap * width, gap * height)


class ScaleBar(pg.GraphicsObject):
    """A bar of 1, 2 or 5 × 10ⁿ units; follows the zoom.

    It stands below the picture or beside it where there is room, else over its lower left corner.
    """

    MARGIN, SMALL = 10.0, 280.0

    def __init__(self, view: pg.ViewBox) -> None:
        super().__init__()
        self._view = view
        self._axis: Axis | None = None
        self._extent = QtCore.QRectF()
        self._box: QtCore.QRectF | None = None  # until something changes: it is asked for all the time
        self._font = QtGui.QFont()
        self._font.setBold(True)
        self.setParentItem(view)
        self.setZValue(30)
        self.setAcceptedMouseButtons(QtCore.Qt.MouseButton.NoButton)
        view.sigRangeChanged.connect(self._changed)
        view.sigResized.connect(self._changed)

    def set_axis(self, axis: Axis, extent: QtCore.QRectF) -> None:
        """Measure along `axis` of the picture in `extent` of the view; hidden where its values do not grow evenly."""
        self._axis, self._extent = axis, extent
        self.setVisible(axis.values is None and axis.scale != 0)
        self._changed()

    def measure(self) -> tuple[str, float]:
        """Return the text and the length in screen pixels; empty and 0 while nothing can be measured."""
        low, high = self._view.viewRange()[0]
        axis, width = self._axis, self._view.width()
        seen = min(high, self._extent.right()) - max(low, self._extent.left())
        if axis is None or not high > low or not seen > 0 or width < 40:
            return "", 0.0
        scale = abs(axis.scale) if axis.calibrated else 1.0
        length = scale_bar(seen * scale)
        return quantity(length, axis.units), length / scale / (high - low) * width

    def boundingRect(self) -> QtCore.QRectF:  # noqa: N802 (Qt)
        """Return the box round text and bar, in the view box's own pixels."""
        if self._box is None:
            self._box = self._place()
        return self._box

    def _place(self) -> QtCore.QRectF:
        text, length = self.measure()
        room = QtCore.QRectF(0, 0, self._view.width(), self._view.height())
        small = min(room.width(), room.height()) < self.SMALL
        self._font.setPointSizeF(8.0 if small else 9.0)
        metrics = QtGui.QFontMetricsF(self._font)
        width = max(length, metrics.horizontalAdvance(text)) + (8 if small else 16)
        height = metrics.height() + (9 if small else 17)
        shown = self._on_screen(self._extent).intersected(room)
        margin = self.MARGIN / 2 if small else self.MARGIN
        left, top = shown.left() + margin, shown.bottom() - height - margin
        if room.bottom() - shown.bottom() >= height + 4:
            left, top = shown.left(), shown.bottom() + 4
        elif shown.left() >= width + 8:
            left, top = shown.left() - width - 4, shown.bottom() - height
        return QtCore.QRectF(min(left, room.right() - width), max(0.0, top), width, height)

    def paint(self, painter: QtGui.QPainter, *_: object) -> None:
        """Draw a dark rounded box, the length, the bar."""
        text, length = self.measure()
        if not text:
            return
        box = self.boundingRect()
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(_translucent(HALO, 165))
        painter.drawRoundedRect(box, 4, 4)
        painter.setFont(self._font)
        painter.setPen(pg.mkPen(CANVAS_TEXT))
        centred = QtGui.QTextOption(QtCore.Qt.AlignmentFlag.AlignHCenter)
        air = (box.height() - QtGui.QFontMetricsF(self._font).height() - 3) / 3
        painter.drawText(box.adjusted(0, air / 2, 0, 0), text, centred)
        bottom = round(box.bottom() - air - 3)
        painter.fillRect(
            QtCore.QRectF(round(box.center().x() - length / 2), bottom, round(length), 3),
            pg.mkColor(CANVAS_TEXT),
        )

    def _on_screen(self, part: QtCore.QRectF) -> QtCore.QRectF:
        """Part of an image in the view box's own pixels; rows go down in both."""
        (x0, x1), (y0, y1) = self._view.viewRange()
        if not (x1 > x0 and y1 > y0):
            return QtCore.QRectF()
        across, down = self._view.width() / (x1 - x0), self._view.height() / (y1 - y0)
        left, top = (part.left() - x0) * across, (part.top() - y0) * down
        return QtCore.QRectF(left, top, part.width() * across, part.height() * down)

    def _changed(self, *_: object) -> None:
        self.prepareGeometryChange()
        self._box = None
        self.update()


def _translucent(colour: str, alpha: int) -> QtGui.QColor:
    mixed: QtGui.QColor = pg.mkColor(colour)
    mixed.setAlpha(alpha)
    return mixed
