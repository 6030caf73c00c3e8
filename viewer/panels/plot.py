"""What image and curve views have in common: pointing, keys, hovering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui

from viewer.theme import CANVAS_DIM, CANVAS_TEXT

if TYPE_CHECKING:
    from viewer.panels.overlays import Crosshair
    from viewer.theme import Theme

ARROWS = {
    QtCore.Qt.Key.Key_Left: (0, -1),
    QtCore.Qt.Key.Key_Right: (0, 1),
    QtCore.Qt.Key.Key_Up: (-1, 0),
    QtCore.Qt.Key.Key_Down: (1, 0),
}
FAST = 5
TICK_POINTS = 8.5


class PointingViewBox(pg.ViewBox):
    """A view box whose left button points where `crosshair` is set, and pans where it is not.

    Anywhere is a good place to press: near the handle it is taken as it is, elsewhere it jumps.
    """

    pointed = QtCore.Signal(float, float)

    def __init__(self, **options: object) -> None:
        super().__init__(enableMenu=False, **options)
        self.crosshair: Crosshair | None = None
        self._grip = QtCore.QPointF()

    def mouseClickEvent(self, ev: pg.GraphicsScene.mouseEvents.MouseClickEvent) -> None:  # noqa: N802 (pyqtgraph)
        """Jump to a click."""
        if self.crosshair is not None and ev.button() == QtCore.Qt.MouseButton.LeftButton:
            ev.accept()
            self._point(ev.pos(), QtCore.QPointF())

    def mouseDragEvent(  # noqa: N802 (pyqtgraph)
        self, ev: pg.GraphicsScene.mouseEvents.MouseDragEvent, axis: int | None = None
    ) -> None:
        """Take the crosshair along with the left button; pan with any other."""
        if self.crosshair is None or ev.button() != QtCore.Qt.MouseButton.LeftButton:
            super().mouseDragEvent(ev, axis=axis)
            return
        ev.accept()
        if ev.isStart():
            pressed = self.mapToView(ev.buttonDownPos())
            grabbed = self.crosshair.grabbed_at(pressed.x(), pressed.y())
            self._grip = self.crosshair.place - pressed if grabbed else QtCore.QPointF()
        self._point(ev.pos(), self._grip)

    def _point(self, pos: QtCore.QPointF, grip: QtCore.QPointF) -> None:
        place = self.mapToView(pos) + grip
        self.pointed.emit(place.x(), place.y())


class PlotView(pg.PlotWidget):
    """A plot without pyqtgraph's menus and buttons, on the dark canvas or the panel's own colour.

    Parameters
    ----------
    axes : dict
        Axis items by side.
    on_canvas : bool
        Pictures lie on the same dark canvas in both themes, curves on the panel.
    """

    hovered = QtCore.Signal(object)  # (x, y) in view coordinates, or None
    stepped = QtCore.Signal(int, int)  # rows, columns

    def __init__(self, axes: dict[str, pg.AxisItem], on_canvas: bool, **view: object) -> None:
        self.box = PointingViewBox(**view)
        super().__init__(viewBox=self.box, axisItems=axes)
        self._on_canvas = on_canvas
        self.hideButtons()
        self.setMenuEnabled(False)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.getPlotItem().setContentsMargins(2, 6, 8, 2)
        font = QtGui.QFont(self.font())
        font.setPointSizeF(TICK_POINTS)
        for axis in axes.values():
            axis.setTickFont(font)
            axis.label.setFont(font)
        self.scene().sigMouseMoved.connect(self._mouse_moved)
        self.fitted = True
        self._spot: tuple[float, float] | None = None
        self.box.sigRangeChangedManually.connect(self._zoomed_by_hand)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.setBackground(theme.canvas if self._on_canvas else theme.panel)
        self._fill_edges(QtGui.QColor(theme.canvas if self._on_canvas else theme.panel))
        text = CANVAS_TEXT if self._on_canvas else theme.text
        line = CANVAS_DIM if self._on_canvas else theme.dim
        for side in ("left", "bottom"):
            axis = self.getPlotItem().getAxis(side)
            axis.setPen(pg.mkPen(theme.faint if not self._on_canvas else "#4a5059"))
            axis.setTextPen(pg.mkPen(line))
            axis.label.setDefaultTextColor(pg.mkColor(text))

    def _fill_edges(self, colour: QtGui.QColor) -> None:
        """Colour what the scene leaves of the last column of pixels, on screens scaled by a fraction."""
        palette = self.viewport().palette()
        for role in (QtGui.QPalette.ColorRole.Base, QtGui.QPalette.ColorRole.Window):
            palette.setColor(role, colour)
        self.viewport().setPalette(palette)

    def set_pointing(self, crosshair: Crosshair | None) -> None:
        """Let the left button point with `crosshair`; None: let it pan."""
        self.box.crosshair = crosshair
        shape = QtCore.Qt.CursorShape.CrossCursor if crosshair else QtCore.Qt.CursorShape.ArrowCursor
        self.viewport().setCursor(shape)

    def keyPressEvent(self, ev: QtGui.QKeyEvent) -> None:  # noqa: N802 (Qt)
        """Arrow keys step, shift by five; a held key repeats by itself."""
        if ev.key() not in ARROWS:
            ev.ignore()
            return
        fast = FAST if ev.modifiers() & QtCore.Qt.KeyboardModifier.ShiftModifier else 1
        rows, columns = ARROWS[QtCore.Qt.Key(ev.key())]
        self.stepped.emit(rows * fast, columns * fast)
        ev.accept()

    def leaveEvent(self, ev: QtCore.QEvent) -> None:  # noqa: N802 (Qt)
        """Nothing is under the mouse any more."""
        self._spot = None
        self.hovered.emit(None)
        super().leaveEvent(ev)

    def _mouse_moved(self, place: QtCore.QPointF) -> None:
        inside = self.box.sceneBoundingRect().contains(place)
        spot = self.box.mapSceneToView(place) if inside else None
        self._spot = (spot.x(), spot.y()) if spot is not None else None
        self.hovered.emit(self._spot)

    def hover_again(self) -> None:
        """Read out once more what is under the mouse: the picture under it changed."""
        if self._spot is not None:
            self.hovered.emit(self._spot)

    def _zoomed_by_hand(self, *_: object) -> None:
        self.fitted = False
