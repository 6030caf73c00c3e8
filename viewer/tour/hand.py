"""What a hand does: press, move, release, type."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

Mouse = QtCore.Qt.MouseButton


def drag(view: QtWidgets.QWidget, start: QtCore.QPoint, end: QtCore.QPoint, steps: int = 12) -> None:
    """Press, move and release the left button over a view, as a hand does.

    ``QTest.mouseMove`` carries no button, so pyqtgraph would not see a drag.
    """
    mouse(view, QtCore.QEvent.Type.MouseButtonPress, start, Mouse.LeftButton, Mouse.LeftButton)
    for step in range(1, steps + 1):
        place = start + (end - start) * step / steps
        mouse(view, QtCore.QEvent.Type.MouseMove, place, Mouse.NoButton, Mouse.LeftButton)
        QtWidgets.QApplication.processEvents()
    mouse(view, QtCore.QEvent.Type.MouseButtonRelease, end, Mouse.LeftButton, Mouse.NoButton)


def mouse(
    view: QtWidgets.QWidget,
    kind: QtCore.QEvent.Type,
    place: QtCore.QPoint,
    button: QtCore.Qt.MouseButton,
    buttons: QtCore.Qt.MouseButton,
) -> None:
    """Do one thing with the mouse over a view."""
    target = view.viewport() if isinstance(view, QtWidgets.QGraphicsView) else view
    local, everywhere = QtCore.QPointF(place), QtCore.QPointF(target.mapToGlobal(place))
    none = QtCore.Qt.KeyboardModifier.NoModifier
    event = QtGui.QMouseEvent(kind, local, everywhere, button, buttons, none)
    QtWidgets.QApplication.sendEvent(target, event)


def press_return(widget: QtWidgets.QWidget) -> None:
    """Press the return key over a widget."""
    none = QtCore.Qt.KeyboardModifier.NoModifier
    for kind in (QtCore.QEvent.Type.KeyPress, QtCore.QEvent.Type.KeyRelease):
        QtWidgets.QApplication.sendEvent(widget, QtGui.QKeyEvent(kind, QtCore.Qt.Key.Key_Return, none))
