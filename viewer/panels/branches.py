"""A tree whose foldable rows can be told by a small triangle, which a style sheet takes away; marks of its rows."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

SIZE = 3.5


class BranchTree(QtWidgets.QTreeWidget):
    """Points down at what is unfolded, right at what is folded."""

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
