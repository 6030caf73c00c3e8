"""Where the panels of the window stand, and how much room each has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

if TYPE_CHECKING:
    from collections.abc import Sequence

    Widgets = Sequence[QtWidgets.QWidget]

LEFT_WIDTH, LEFT_LEAST = 356, 300
# Parts of the navigator and of what is pointed at: one signal, several of them.
ALONE, COMPARED = (45, 60), (28, 77)
# Pictures stand below each other where they would be this much narrower than high.
UPRIGHT = 0.8

Orientation = QtCore.Qt.Orientation


class Desk(QtWidgets.QWidget):
    """Lists and levels at the left, pictures at the right.

    Parameters
    ----------
    left : sequence of QWidget
        Below each other; the first gets what is left of the height.
    above : sequence of QWidget
        Above the pictures.
    pictures : sequence of QWidget
        The navigator, and what is pointed at.
    beside : sequence of QWidget
        At the right of them.
    status : QWidget
        Below all.
    """

    def __init__(
        self, left: Widgets, above: Widgets, pictures: Widgets, beside: Widgets, status: QtWidgets.QWidget
    ) -> None:
        super().__init__()
        self.setObjectName("desk")
        self.pictures = QtWidgets.QSplitter(Orientation.Horizontal)
        for widget in pictures:
            self.pictures.addWidget(widget)
        self.pictures.setChildrenCollapsible(False)
        self._parts = {False: list(ALONE), True: list(COMPARED)}
        self._several = False
        self.pictures.splitterMoved.connect(self._moved)
        across = QtWidgets.QSplitter(Orientation.Horizontal)
        across.addWidget(_left(left))
        across.addWidget(self._right(above, beside))
        for splitter in (across, self.pictures):
            splitter.setHandleWidth(8)
        across.setSizes([LEFT_WIDTH, 1100])
        across.setStretchFactor(1, 1)
        across.setChildrenCollapsible(False)
        whole = QtWidgets.QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        inner = QtWidgets.QVBoxLayout()
        inner.setContentsMargins(10, 10, 10, 8)
        inner.addWidget(across)
        whole.addLayout(inner, 1)
        whole.addWidget(status)
        self.share(several=False)

    def share(self, several: bool) -> None:
        """Give several signals more room than one; what a person chose for either stays."""
        self._several = several
        self._lay()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 (Qt)
        """Stand pictures below each other in an upright window."""
        super().resizeEvent(event)
        upright = self.pictures.width() < UPRIGHT * self.pictures.height()
        orientation = Orientation.Vertical if upright else Orientation.Horizontal
        if orientation != self.pictures.orientation():
            self.pictures.setOrientation(orientation)
            self._lay()

    def _lay(self) -> None:
        self.pictures.setSizes([10 * part for part in self._parts[self._several]])

    def _moved(self, *_: object) -> None:
        self._parts[self._several] = self.pictures.sizes()

    def _right(self, above: Widgets, beside: Widgets) -> QtWidgets.QWidget:
        right = QtWidgets.QVBoxLayout()
        right.setSpacing(8)
        right.setContentsMargins(0, 0, 0, 0)
        for widget in above:
            right.addWidget(widget)
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.pictures, 1)
        for widget in beside:
            row.addWidget(widget)
        right.addLayout(row, 1)
        rest = QtWidgets.QWidget()
        rest.setLayout(right)
        return rest


def _left(widgets: Widgets) -> QtWidgets.QWidget:
    column = QtWidgets.QWidget()
    column.setMinimumWidth(LEFT_LEAST)  # less, and names are but dots
    left = QtWidgets.QVBoxLayout(column)
    left.setSpacing(8)
    left.setContentsMargins(0, 0, 0, 0)
    for number, widget in enumerate(widgets):
        left.addWidget(widget, int(number == 0))
    return column
