"""The map or curve over the navigation axes that a person points into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.panels.boxes import Panel, Title
from viewer.panels.curve import CurveView
from viewer.panels.image import ImageView
from viewer.readout import number, pretty_units, quantity
from viewer.view_state import carried_position

if TYPE_CHECKING:
    from viewer.lanes import Answer
    from viewer.nodes import Axis, Node
    from viewer.picture import Levels
    from viewer.theme import Theme

# Without a map to point into, the picture beside the sliders has the room.
SLIDERS_WIDTH, MOST_WIDTH = 320, 16_777_215


class AxisSlider(QtWidgets.QWidget):
    """One line to choose an index of an axis that no picture shows."""

    changed = QtCore.Signal(int)

    def __init__(self, axis: Axis) -> None:
        super().__init__()
        self._axis = axis
        self.slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.slider.setRange(0, axis.size - 1)
        self.slider.setPageStep(5)
        self._value = QtWidgets.QLabel()
        self._value.setObjectName("dim")
        self._value.setMinimumWidth(110)
        self._value.setAlignment(QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(2, 0, 2, 0)
        row.addWidget(QtWidgets.QLabel(axis.name))
        row.addWidget(self.slider, 1)
        row.addWidget(self._value)
        self.slider.valueChanged.connect(self.changed)
        self.show_index(0)

    def show_index(self, index: int) -> None:
        """Put the slider at an index, without saying that a person did."""
        blocked = self.slider.blockSignals(True)
        self.slider.setValue(index)
        self.slider.blockSignals(blocked)
        place = f" · {quantity(self._axis.value(index), self._axis.units)}" if self._axis.calibrated else ""
        self._value.setText(f"{index} / {self._axis.size - 1}{place}")


class NavigatorPanel(Panel):
    """Points into a scan: picture or curve for the last two navigation axes, sliders for the others."""

    pointed = QtCore.Signal(object)  # a whole position
    stepped = QtCore.Signal(int, int)
    hovered = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.title = Title()
        self.image, self.curve = ImageView(with_axes=False), CurveView()
        self._stack = QtWidgets.QStackedWidget()
        self._stack.addWidget(self.image)
        self._stack.addWidget(self.curve)
        self._sliders_box = QtWidgets.QVBoxLayout()
        self._sliders_box.setSpacing(2)
        self.column.addWidget(self.title)
        self.column.addWidget(self._stack, 1)
        self.column.addLayout(self._sliders_box)
        self._below = QtWidgets.QSpacerItem(0, 0)
        self.column.addItem(self._below)
        self.sliders: dict[int, AxisSlider] = {}
        self._axes: tuple[Axis, ...] = ()
        self._position: tuple[int, ...] = ()
        self.node: Node | None = None
        for view in (self.image, self.curve):
            view.set_pointing(view.crosshair)
            view.stepped.connect(self.stepped)
            view.hovered.connect(self._hovered)
            view.box.pointed.connect(self._pointed)

    @property
    def view(self) -> ImageView | CurveView:
        """The image or the curve, whichever the scan has."""
        return self.curve if self.node is not None and len(self.node.shown_axes) == 1 else self.image

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.title.set_dim(theme.dim)
        self.image.set_theme(theme)
        self.curve.set_theme(theme)

    def show_scan(self, axes: tuple[Axis, ...], navigator: Node | None, scan_axes: int) -> None:
        """Get ready for a node: its position axes, and the map to point into.

        Parameters
        ----------
        axes : tuple of Axis
            Everything a position has an index for; the first `scan_axes` are navigation axes.
        navigator : Node or None
            None where there is nothing to point into: then every axis has a slider.
        scan_axes : int
            Number of navigation axes.
        """
        self.setVisible(bool(axes))
        pictured = set(range(max(0, scan_axes - 2), scan_axes)) if navigator is not None else set()
        if axes != self._axes or set(self.sliders) != set(range(len(axes))) - pictured:
            self._axes, self._scan_axes = axes, scan_axes
            self._make_sliders([number for number in range(len(axes)) if number not in pictured])
        self._stack.setVisible(navigator is not None)
        self.setMaximumWidth(MOST_WIDTH if navigator is not None else SLIDERS_WIDTH)
        rest = QtWidgets.QSizePolicy.Policy.Minimum if navigator else QtWidgets.QSizePolicy.Policy.Expanding
        self._below.changeSize(0, 0, QtWidgets.QSizePolicy.Policy.Minimum, rest)
        if navigator is None or navigator == self.node:
            self.node = navigator
            self._say()
            return
        keeps = self.node is not None and (self.node.path, self.node.axes) == (navigator.path, navigator.axes)
        replaced, self.node = navigator.replaces(self.node), navigator
        self.view.set_axes(navigator.shown_axes)
        self.view.crosshair.show()
        if not keeps or replaced:
            self.view.blank()
        if not keeps:
            self.view.fit()
        self._stack.setCurrentWidget(self.view)
        self._say()

    def show_position(self, position: tuple[int, ...]) -> None:
        """Put crosshair and sliders at a position."""
        self._position = position
        for number_, slider in self.sliders.items():
            slider.show_index(position[number_])
        if self.node is None:
            return
        scan = self._axes[: self._scan_axes]
        place = carried_position(position[: self._scan_axes], scan, self.node.axes)
        if isinstance(self.view, ImageView):
            self.view.crosshair.move_to(place[-1], place[-2])
        else:
            self.view.point_at(place[-1])

    def paint_map(self, answer: Answer, levels: Levels) -> None:
        """Show the navigator, coarse or complete."""
        if answer.request is None or answer.request.node != self.node:
            return
        if isinstance(self.view, ImageView):
            self.view.paint_picture(answer.value, answer.request, levels)
        else:
            self.view.paint_picture(answer.value, answer.value.limits)
        self._say(answer.request.stride)

    def _make_sliders(self, numbers: list[int]) -> None:
        for slider in self.sliders.values():
            self._sliders_box.removeWidget(slider)
            slider.hide()
            slider.deleteLater()
        self.sliders = {number: AxisSlider(self._axes[number]) for number in numbers}
        for number_, slider in self.sliders.items():
            self._sliders_box.addWidget(slider)
            slider.changed.connect(lambda index, axis=number_: self._slid(axis, index))

    def _say(self, stride: int = 1) -> None:
        """Title: what was summed to make it, its size, how far it has refined."""
        if self.node is None:
            self.title.say("Position")
            return
        size = " × ".join(str(axis.size) for axis in reversed(self.node.shown_axes))
        details = [self.node.operations[-1] if self.node.operations else "sum", size]
        if stride > 1:
            details.append(f"refining, 1 in {stride}")
        if not any(axis.calibrated for axis in self.node.shown_axes):
            details.append("uncalibrated")
        self.title.say("Navigator", " · ".join(details))

    def _pointed(self, x: float, y: float) -> None:
        """Tell the whole position, on the axes of the shown node."""
        if self.node is None:
            return
        here = (round(y), round(x)) if isinstance(self.view, ImageView) else (self.view.index_at(x),)
        leading = self._position[: self._scan_axes - len(here)]
        scan = self._axes[: self._scan_axes]
        shown = carried_position((*leading, *here), self.node.axes, scan)
        self.pointed.emit((*shown, *self._position[self._scan_axes :]))

    def _slid(self, axis: int, index: int) -> None:
        self.pointed.emit((*self._position[:axis], index, *self._position[axis + 1 :]))

    def _hovered(self, place: tuple[float, float] | None) -> None:
        """Position under the mouse, in pixels and units, with the navigator's value."""
        view = self.view
        found = None
        if place is not None and self.node is not None:
            found = view.value_at(*place) if isinstance(view, ImageView) else view.value_at(place[0])
        if found is None or self.node is None:
            self.hovered.emit("")
            return
        *indices, value = found
        named = list(zip(self.node.shown_axes, indices, strict=True))
        text = " ".join(f"{axis.name} {_place(axis, index)}" for axis, index in reversed(named))
        self.hovered.emit(text if value is None else f"{text} · I {number(value.item())}")


def _place(axis: Axis, index: int) -> str:
    """``61 px``, with the value where there is a calibration."""
    pixels = f"{index} {pretty_units(None)}"
    return f"{pixels} ({quantity(axis.value(index), axis.units)})" if axis.calibrated else pixels
