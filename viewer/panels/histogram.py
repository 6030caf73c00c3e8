"""Contrast: the histogram of a picture with its two levels, which can be dragged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.panels.boxes import Panel, heading
from viewer.panels.image import lookup_table
from viewer.picture import Scale
from viewer.readout import number
from viewer.theme import DARK

if TYPE_CHECKING:
    from viewer.picture import Levels, Picture
    from viewer.theme import Theme

GRAB_PIXELS = 9
STRIP = 8
TICK_LINE = 16
SIDE = 6


class Histogram(QtWidgets.QWidget):
    """Counts (square root, so that tails show), two level lines, the colormap between them, ticks."""

    dragged = QtCore.Signal(object)  # Levels

    def __init__(self) -> None:
        super().__init__()
        self._theme = DARK
        self._picture: Picture | None = None
        self._levels: Levels = (0.0, 1.0)
        self._colormap = lookup_table("gray")
        self._held: int | None = None
        self.setMouseTracking(True)
        self.setMinimumHeight(84)
        self.setMaximumHeight(96)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self.update()

    def set_colormap(self, name: str) -> None:
        """Show another colormap between the levels."""
        self._colormap = lookup_table(name)
        self.update()

    def show_picture(self, picture: Picture | None, levels: Levels) -> None:
        """Show the histogram of a picture, and its levels."""
        self._picture, self._levels = picture, levels
        self.update()

    def ends(self) -> Levels:
        """Return the intensities at both ends, stretched: of the data, and wide enough for the levels."""
        if self._picture is None:
            return 0.0, 1.0
        stretch = self._picture.stretch
        ends = [stretch.forward(value) for value in (*self._picture.limits, *self._levels)]
        return min(ends), max(ends) if max(ends) > min(ends) else min(ends) + 1.0

    def x_of(self, intensity: float) -> float:
        """Horizontal place of an intensity, in widget pixels."""
        low, high = self.ends()
        stretched = self._picture.stretch.forward(intensity) if self._picture else intensity
        return SIDE + (stretched - low) / (high - low) * float(self.width() - 2 * SIDE)

    def intensity_at(self, x: float) -> float:
        """Intensity at a horizontal place."""
        low, high = self.ends()
        stretched = float(low + (x - SIDE) / max(1, self.width() - 2 * SIDE) * (high - low))
        return stretched if self._picture is None else self._picture.stretch.inverse(stretched)

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:  # noqa: N802 (Qt)
        """Draw all of it."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        if self._picture is not None:
            floor = self.height() - STRIP - TICK_LINE - 2
            self._draw_counts(painter, self._picture, floor)
            self._draw_strip(painter, floor + 2)
            self._draw_ticks(painter, self._picture)
            self._draw_levels(painter, floor)
        painter.end()

    def _draw_counts(self, painter: QtGui.QPainter, picture: Picture, floor: int) -> None:
        low, high = (self.x_of(value) for value in picture.limits)
        # The third highest: pixels without a count, and those at the detector's limit, would flatten the rest.
        highest = max(1, np.partition(picture.counts, -3)[-3])
        heights = np.sqrt(np.minimum(1.0, picture.counts / highest))
        xs = np.linspace(low, high, len(heights) + 1)
        outline = QtGui.QPolygonF([QtCore.QPointF(low, floor)])
        for left, right, height in zip(xs[:-1], xs[1:], heights, strict=True):
            top = floor - height * (floor - 4)
            outline.append(QtCore.QPointF(left, top))
            outline.append(QtCore.QPointF(right, top))
        outline.append(QtCore.QPointF(high, floor))
        between = QtCore.QRectF(
            QtCore.QPointF(self.x_of(self._levels[0]), 2), QtCore.QPointF(self.x_of(self._levels[1]), floor)
        )
        painter.fillRect(between, _faded(self._theme.accent, 36))
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(_faded(self._theme.dim, 190))
        painter.drawPolygon(outline)

    def _draw_strip(self, painter: QtGui.QPainter, top: int) -> None:
        """Draw the colormap, its two ends running out to the sides."""
        low, high = (self.x_of(level) for level in self._levels)
        gradient = QtGui.QLinearGradient(low, 0, max(high, low + 1), 0)
        for place in np.linspace(0, 1, 17):
            gradient.setColorAt(float(place), QtGui.QColor(*map(int, self._colormap[round(place * 255)])))
        painter.fillRect(QtCore.QRectF(SIDE, top, self.width() - 2 * SIDE, STRIP), gradient)

    def _draw_levels(self, painter: QtGui.QPainter, floor: int) -> None:
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.accent), 2))
        for level in self._levels:
            x = round(self.x_of(level))
            painter.drawLine(x, 2, x, floor + STRIP + 2)

    def _draw_ticks(self, painter: QtGui.QPainter, picture: Picture) -> None:
        """Intensities below, as many as have room."""
        font = painter.font()
        font.setPointSizeF(7.5)
        painter.setFont(font)
        painter.setPen(QtGui.QColor(self._theme.dim))
        metrics, end = painter.fontMetrics(), -10.0
        for value in tick_values(picture, *(picture.stretch.inverse(end) for end in self.ends())):
            text, x = number(value), self.x_of(value)
            width = metrics.horizontalAdvance(text)
            left = min(max(0.0, x - width / 2), self.width() - width)
            if left > end + 10:
                painter.drawText(QtCore.QPointF(left, self.height() - 3), text)
                end = left + width

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """Take the nearer level."""
        x = _x(event)
        distances = [abs(x - self.x_of(level)) for level in self._levels]
        self._held = distances.index(min(distances)) if self._picture else None
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """Drag the level that is held; the lower one stays below the upper one."""
        x = _x(event)
        near = min(abs(x - self.x_of(level)) for level in self._levels) < GRAB_PIXELS
        shape = QtCore.Qt.CursorShape
        self.setCursor(shape.SplitHCursor if near or self._held is not None else shape.ArrowCursor)
        if self._held is None:
            return
        other = self._levels[1 - self._held]
        gap = 2 if self._held else -2
        limit = self.x_of(other) + gap
        x = max(x, limit) if self._held else min(x, limit)
        moved = self.intensity_at(min(max(x, SIDE), self.width() - SIDE))
        self._levels = (other, moved) if self._held else (moved, other)
        self.update()
        self.dragged.emit(self._levels)

    def mouseReleaseEvent(self, _event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """Let go."""
        self._held = None


class ContrastPanel(Panel):
    """A heading and a histogram; the heading says whose contrast it is."""

    def __init__(self, of: str) -> None:
        super().__init__(spacing=2)
        self.heading = heading(f"Contrast · {of}")
        self.histogram = Histogram()
        self.column.addWidget(self.heading)
        self.column.addWidget(self.histogram)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.histogram.set_theme(theme)

    def name(self, of: str) -> None:
        """Say whose contrast it is."""
        self.heading.setText(f"Contrast · {of}".upper())


def tick_values(picture: Picture, low: float, high: float) -> list[float]:
    """Round intensities between `low` and `high`: decades for a logarithm, else 1-2-5 steps."""
    if not high > low:
        return []
    if picture.stretch.scale is Scale.LOG:
        top = np.floor(np.log10(max(abs(low), abs(high))))
        sizes = [float(10.0**power) for power in np.arange(top - 3, top + 1)]
        return [
            value for value in (*(-size for size in reversed(sizes)), 0.0, *sizes) if low <= value <= high
        ]
    step = 10.0 ** np.floor(np.log10((high - low) / 2))
    step *= max(factor for factor in (1, 2, 5) if (high - low) / (step * factor) >= 2)
    first, last = np.ceil(low / step), np.floor(high / step)
    return [float(f"{tick * step:.6g}") for tick in np.arange(first, last + 1)]


def _x(event: QtGui.QMouseEvent) -> float:
    """Where the mouse is; Qt 5 and Qt 6 name it differently."""
    return float(event.position().x() if hasattr(event, "position") else event.pos().x())


def _faded(colour: str, alpha: int) -> QtGui.QColor:
    faded = QtGui.QColor(colour)
    faded.setAlpha(alpha)
    return faded
