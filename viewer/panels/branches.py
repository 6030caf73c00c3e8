"""A tree whose foldable rows can be told by a small triangle, which a style sheet takes away; marks of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

if TYPE_CHECKING:
    from collections.abc import Callable

RIGHT = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
SIZE = 3.5
SHAPE_WIDTH, LETTER_WIDTH = 116, 26


class BranchTree(QtWidgets.QTreeWidget):
    """Points down at what is unfolded, right at what is folded."""

    marked = QtCore.Signal(
        object
    )  # QTreeWidgetItem, by Ctrl+click: it neither becomes the current one nor is shown

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("nodes")
        self.setHeaderLabels(["Node", "Shape"])
        self.setIndentation(14)
        self.setUniformRowHeights(True)
        self.setIconSize(QtCore.QSize(10, 10))
        self.setTextElideMode(QtCore.Qt.TextElideMode.ElideMiddle)
        self.setContextMenuPolicy(QtCore.Qt.ContextMenuPolicy.CustomContextMenu)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.header()
        header.setStretchLastSection(False)
        self.headerItem().setTextAlignment(1, RIGHT)
        header.setMinimumSectionSize(48)
        # Fixed: fitting it to its contents would read every row again for every new one.
        header.setSectionResizeMode(0, QtWidgets.QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QtWidgets.QHeaderView.ResizeMode.Fixed)
        self.leave_room(letters=False)

    def leave_room(self, letters: bool) -> None:
        """Let shapes be read whole, with a letter before them or without."""
        self.header().resizeSection(1, SHAPE_WIDTH + letters * LETTER_WIDTH)

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """Take a Ctrl+click for itself."""
        item = self.itemAt(event.pos())
        if item is not None and event.modifiers() & QtCore.Qt.KeyboardModifier.ControlModifier:
            self.marked.emit(item)
        else:
            super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 (Qt)
        """End a Ctrl+click: it is no click on the row."""
        if not event.modifiers() & QtCore.Qt.KeyboardModifier.ControlModifier:
            super().mouseReleaseEvent(event)

    def drawBranches(  # noqa: N802 (Qt)
        self, painter: QtGui.QPainter, rect: QtCore.QRect, index: QtCore.QModelIndex
    ) -> None:
        """Draw the triangle of one row."""
        super().drawBranches(painter, rect, index)
        item = self.itemFromIndex(index)
        policy = QtWidgets.QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator
        if item is None or not (item.childCount() or item.childIndicatorPolicy() == policy):
            return
        middle = QtCore.QPointF(rect.right() - self.indentation() / 2 + 1, rect.center().y() + 0.5)
        along, across = QtCore.QPointF(SIZE * 0.6, 0), QtCore.QPointF(0, SIZE)
        if item.isExpanded():
            along, across = QtCore.QPointF(0, SIZE * 0.6), QtCore.QPointF(SIZE, 0)
        corners = [middle - along - across, middle + along, middle - along + across]
        painter.save()
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(self.palette().color(QtGui.QPalette.ColorRole.PlaceholderText), 1.3))
        painter.drawPolyline(QtGui.QPolygonF(corners))
        painter.restore()


def dot(colour: str, filled: bool) -> QtGui.QIcon:
    """Draw a round state mark, full or a ring."""
    pixmap = QtGui.QPixmap(20, 20)
    pixmap.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtGui.QPen(QtGui.QColor(colour), 3))
    painter.setBrush(QtGui.QColor(colour) if filled else QtCore.Qt.BrushStyle.NoBrush)
    painter.drawEllipse(QtCore.QRectF(4, 4, 12, 12))
    painter.end()
    return QtGui.QIcon(pixmap)


def offer(menu: QtWidgets.QMenu, text: str, then: Callable[[], None], why_not: str = "") -> None:
    """Add what can be done to a menu, or why it cannot."""
    action = menu.addAction(text)
    action.triggered.connect(then)
    action.setEnabled(not why_not)
    action.setToolTip(why_not)
