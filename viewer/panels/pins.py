"""Small pictures of pinned positions, and their marks on the navigator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.panels.boxes import Panel, Title, heading
from viewer.panels.curve import CurveView
from viewer.panels.image import ImageView
from viewer.readout import indices_text
from viewer.theme import DARK, HALO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.picture import Levels
    from viewer.theme import Theme
    from viewer.view_state import Region

WIDTH, MARK_PIXELS = 190, 8.0


class PinMarks(pg.GraphicsObject):
    """Small numbered marks at positions of a map, of the same size at any zoom."""

    def __init__(self, view: pg.ViewBox) -> None:
        super().__init__()
        self._view = view
        self.places: tuple[QtCore.QPointF, ...] = ()
        self.colour = "#ffffff"
        self._font = QtGui.QFont()
        self._font.setPointSizeF(8.0)
        self._font.setBold(True)
        self.setParentItem(view)
        self.setZValue(25)
        self.setAcceptedMouseButtons(QtCore.Qt.MouseButton.NoButton)
        view.sigRangeChanged.connect(self._changed)
        view.sigResized.connect(self._changed)

    def show_at(self, places: Sequence[QtCore.QPointF]) -> None:
        """Show marks at places, in the view's coordinates; the first is number one."""
        if tuple(places) != self.places:
            self.places = tuple(places)
            self._changed()

    def boundingRect(self) -> QtCore.QRectF:  # noqa: N802 (Qt)
        """All of the view."""
        return QtCore.QRectF(0, 0, self._view.width(), self._view.height())

    def paint(self, painter: QtGui.QPainter, *_: object) -> None:
        """Draw a dark disc with a number at each place."""
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setFont(self._font)
        dark = pg.mkColor(HALO)
        dark.setAlpha(190)
        for number, place in enumerate(self.places, 1):
            centre = self._view.mapFromView(place)
            disc = QtCore.QRectF(0, 0, 2 * MARK_PIXELS, 2 * MARK_PIXELS)
            disc.moveCenter(centre)
            painter.setPen(pg.mkPen(self.colour, width=1.2))
            painter.setBrush(dark)
            painter.drawEllipse(disc)
            painter.drawText(disc, str(number), QtGui.QTextOption(QtCore.Qt.AlignmentFlag.AlignCenter))

    def _changed(self, *_: object) -> None:
        self.prepareGeometryChange()
        self.update()


class PinCell(QtWidgets.QWidget):
    """One small picture: an image or a curve."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.title, self.close_button = Title(), QtWidgets.QPushButton("✕")
        self.close_button.setObjectName("flat")
        self.close_button.setToolTip("Pin this position no more")
        self.close_button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.image, self.curve = ImageView(with_axes=False), CurveView()
        self.curve.hideAxis("left")
        self.message = QtWidgets.QLabel()
        self.message.setObjectName("canvasText")
        self.message.setWordWrap(True)
        self.message.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.stack = QtWidgets.QStackedWidget()
        for page in (self.image, self.curve, self.message):
            self.stack.addWidget(page)
        top = QtWidgets.QHBoxLayout()
        top.addWidget(self.title, 1)
        top.addWidget(self.close_button)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(top)
        column.addWidget(self.stack, 1)
        self.number = number
        self.node: Node | None = None
        self.painted_at: tuple[int, ...] = ()

    def expect(self, node: Node, position: tuple[int, ...]) -> None:
        """Get ready for the picture of a node; one of another key or place is wiped off."""
        view = self.view(node)
        if self.node is None or node.replaces(self.node) or node.shown_axes != self.node.shown_axes:
            self.blank()
        fresh = node.shown_axes != view.axes
        self.node = node
        view.set_axes(node.shown_axes)
        if fresh:
            view.fit()
        self.title.say(str(self.number), indices_text(position))

    def view(self, node: Node) -> ImageView | CurveView:
        """Return what a node is drawn in."""
        return self.curve if len(node.shown_axes) == 1 else self.image

    def paint(self, answer: Answer, levels: Levels) -> None:
        """Show what came."""
        request = answer.request
        if request is None or self.node is None:
            return
        view, self.painted_at = self.view(self.node), request.position
        if isinstance(view, ImageView):
            view.paint_picture(answer.value, request, levels)
        else:
            view.paint_picture(answer.value, answer.value.limits)
        self.stack.setCurrentWidget(view)

    def complain(self, why: str) -> None:
        """Say why there is no picture."""
        self.blank()
        self.message.setText(why)
        self.stack.setCurrentWidget(self.message)

    def blank(self) -> None:
        """Show nothing."""
        self.image.blank()
        self.curve.blank()
        self.painted_at = ()


class PinsPanel(Panel):
    """A narrow column of small pictures; hidden while nothing is pinned."""

    dropped = QtCore.Signal(int)  # which

    def __init__(self, most: int) -> None:
        super().__init__(margin=6, spacing=4)
        self.setFixedWidth(WIDTH)
        self.column.addWidget(heading("Pinned positions"))
        self.cells = [PinCell(number + 1) for number in range(most)]
        for which, cell in enumerate(self.cells):
            self.column.addWidget(cell, 1)
            cell.close_button.clicked.connect(lambda _checked, which=which: self.dropped.emit(which))
            cell.hide()
        self.column.addStretch(0)
        self._theme = DARK
        self.hide()

    def show_pins(self, pins: int) -> None:
        """Have places for so many."""
        self.setVisible(pins > 0)
        for which, cell in enumerate(self.cells):
            cell.setVisible(which < pins)
            if which >= pins:
                cell.blank()
                cell.node = None

    def show_region(self, region: Region | None) -> None:
        """Show the same part of all small pictures; None: all of them."""
        for cell in self.cells:
            if cell.node is not None and len(cell.node.shown_axes) == 2:
                cell.image.fit() if region is None else cell.image.show_region(region)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        for cell in self.cells:
            cell.title.set_dim(theme.dim)
            cell.image.set_theme(theme)
            cell.curve.set_theme(theme)
