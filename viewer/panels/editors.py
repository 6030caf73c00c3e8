"""What a single value of a form is edited with: numbers with sliders, quantities with units, choices, texts.

Each editor has a `head`, which stands beside the label, and may have a `body` below it (see `fields`).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.forms import Field, Sort
from viewer.panels.toolbar import Choice
from viewer.quantities import Reach, axis_of, converted, quantity, reach_of, reach_on, told, units_of
from viewer.readout import pretty_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.nodes import Axis, Node

NUMBER_WIDTH, UNIT_WIDTH, UNITS_WIDTH = 66, 32, 66
WIDEST = 1e15


class Editor(QtCore.QObject):
    """Edits one value. Subclasses show a value, return it, and say when a person changed it."""

    changed = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.head: QtWidgets.QWidget | None = None
        self.body: QtWidgets.QWidget | None = None

    def value(self) -> Any:
        """Return what stands in it, as JSON."""
        raise NotImplementedError

    def show_value(self, value: Any) -> None:
        """Show a value; says nothing of it."""
        raise NotImplementedError


class Spin(QtWidgets.QDoubleSpinBox):
    """Any number, written as short as it goes; the wheel turns it only where the keyboard is."""

    def __init__(self, low: float, high: float, whole: bool) -> None:
        super().__init__()
        self._whole = whole
        self.setDecimals(0 if whole else 15)
        self.setRange(max(low, -WIDEST), min(high, WIDEST))
        self.setStepType(QtWidgets.QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        if whole:
            self.setStepType(QtWidgets.QAbstractSpinBox.StepType.DefaultStepType)
        self.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.setFixedWidth(NUMBER_WIDTH)

    def textFromValue(self, value: float) -> str:  # noqa: N802 (Qt)
        """Write a number."""
        return f"{value:.0f}" if self._whole else f"{value:.7g}"

    def valueFromText(self, text: str) -> float:  # noqa: N802 (Qt)
        """Read a number, with a comma or a point."""
        return _number(text) or 0.0

    def validate(self, text: str, place: int) -> tuple[QtGui.QValidator.State, str, int]:
        """Accept numbers within the bounds, and let a person write on for others."""
        value, states = _number(text), QtGui.QValidator.State
        if value is None:
            return (states.Intermediate if _unfinished(text) else states.Invalid), text, place
        fits = self.minimum() <= value <= self.maximum() and not (self._whole and value != int(value))
        return (states.Acceptable if fits else states.Intermediate), text, place

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:  # noqa: N802 (Qt)
        """Scroll the form rather than change what the mouse happens to be over."""
        super().wheelEvent(event) if self.hasFocus() else event.ignore()


class Slider(QtWidgets.QSlider):
    """Goes through a reach; the wheel turns it only where the keyboard is."""

    def __init__(self) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal)
        self.setMinimumWidth(40)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:  # noqa: N802 (Qt)
        """Scroll the form rather than change what the mouse happens to be over."""
        super().wheelEvent(event) if self.hasFocus() else event.ignore()


class NumberEditor(Editor):
    """A slider, a spin box and the unit."""

    def __init__(self, field: Field, axis: Axis | None = None) -> None:
        super().__init__()
        self._whole = field.sort is Sort.INTEGER
        self.slider, self.spin = Slider(), Spin(field.bottom, field.top, self._whole)
        self._reach: Reach | None = None
        self.unit: QtWidgets.QWidget = QtWidgets.QLabel(pretty_units(field.unit) if field.unit else "")
        self.unit.setObjectName("dim")
        self.unit.setMinimumWidth(UNIT_WIDTH)
        self._lay_out()
        self._go_through(reach_of(field, axis))

    def value(self) -> Any:
        """Return the number."""
        return int(self.spin.value()) if self._whole else self.spin.value()

    def show_value(self, value: Any) -> None:
        """Show a number."""
        self._put(float(value))

    def _lay_out(self) -> None:
        self.head = QtWidgets.QWidget()
        row = _row(self.head)
        row.addWidget(self.slider, 1)
        row.addStretch(0)
        row.addWidget(self.spin)
        row.addWidget(self.unit)
        self.head.setFocusProxy(self.spin)
        self.slider.valueChanged.connect(self._slid)
        self.spin.valueChanged.connect(self._typed)

    def _go_through(self, reach: Reach | None) -> None:
        self._reach = reach
        self.slider.setVisible(reach is not None)
        if reach is not None:
            with QtCore.QSignalBlocker(self.slider):
                self.slider.setRange(0, reach.steps)
                self.slider.setPageStep(max(1, reach.steps // 10))
                self.slider.setValue(reach.step(self.spin.value()))

    def _put(self, value: float) -> None:
        with QtCore.QSignalBlocker(self.spin), QtCore.QSignalBlocker(self.slider):
            self.spin.setValue(value)
            if self._reach is not None:
                self.slider.setValue(self._reach.step(value))

    def _slid(self, step: int) -> None:
        if self._reach is not None:
            with QtCore.QSignalBlocker(self.spin):
                self.spin.setValue(self._reach.at(step))
            self.changed.emit()

    def _typed(self, value: float) -> None:
        self._put(value)
        self.changed.emit()


class QuantityEditor(NumberEditor):
    """A place on an axis or a length, in pixels or in the axis's units."""

    def __init__(self, field: Field, path: Sequence[str], node: Node) -> None:
        super().__init__(field)
        self._sort, self._axis = field.sort, axis_of(path, node)
        self._end = bool(path) and path[-1] == "stop"
        if field.sort is Sort.POSITION:
            self.spin.setRange(-WIDEST, WIDEST)
        self.units = Choice()
        self.units.setObjectName("units")
        self.units.setFixedWidth(UNITS_WIDTH)
        for unit in units_of(field.sort, self._axis):
            self.units.addItem(pretty_units(unit), unit)
        self._unit = self.units.currentData()
        layout = self.head.layout() if self.head is not None else None
        if layout is not None:
            layout.replaceWidget(self.unit, self.units)
        self.unit.deleteLater()
        self._go_through(reach_on(self._sort, self._unit, self._axis, self._end))
        self.units.currentIndexChanged.connect(self._change_unit)

    def value(self) -> Any:
        """Return number and unit."""
        return told(self._sort, self.spin.value(), self._unit)

    def show_value(self, value: Any) -> None:
        """Show a quantity; one in another unit than those that fit is shown as it is."""
        size, unit = quantity(self._sort, value)
        with QtCore.QSignalBlocker(self.units):
            if self.units.findData(unit) < 0:
                self.units.addItem(unit, unit)
            self.units.setCurrentIndex(self.units.findData(unit))
        self._unit = unit
        self._go_through(reach_on(self._sort, unit, self._axis, self._end))
        self._put(size)

    def _change_unit(self, _index: int) -> None:
        """Tell the same in another unit."""
        old, self._unit = self._unit, self.units.currentData()
        size = converted(self._sort, self.spin.value(), old, self._unit, self._axis)
        self._go_through(reach_on(self._sort, self._unit, self._axis, self._end))
        self._put(float(f"{size:.6g}"))
        self.changed.emit()


class SwitchEditor(Editor):
    """A check box."""

    def __init__(self) -> None:
        super().__init__()
        self.head = self.box = QtWidgets.QCheckBox()
        self.box.toggled.connect(lambda _on: self.changed.emit())

    def value(self) -> Any:
        """Return whether it is checked."""
        return self.box.isChecked()

    def show_value(self, value: Any) -> None:
        """Check it or not."""
        with QtCore.QSignalBlocker(self.box):
            self.box.setChecked(bool(value))


class ChoiceEditor(Editor):
    """One of a few."""

    def __init__(self, choices: Sequence[Any], texts: Sequence[str] = ()) -> None:
        super().__init__()
        self.head = self.box = Choice()
        self.box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.box.setMinimumContentsLength(6)
        for number, choice in enumerate(choices):
            self.box.addItem(texts[number] if texts else str(choice).replace("_", " "), choice)
        self.box.activated.connect(lambda _index: self.changed.emit())

    def value(self) -> Any:
        """Return what is chosen."""
        return self.box.currentData()

    def show_value(self, value: Any) -> None:
        """Choose; what is no longer offered stays visible."""
        found = next((n for n in range(self.box.count()) if self.box.itemData(n) == value), -1)
        if found < 0 and value is not None:
            self.box.addItem(str(value), value)
            found = self.box.count() - 1
        self.box.setCurrentIndex(found)


class NodeEditor(ChoiceEditor):
    """Another node: one of its tree by its name, one of another scan by its path, chosen or written.

    Parameters
    ----------
    tree : tuple of str
        Whose nodes go by their names.
    nodes : sequence of Node
        Those that fit, as far as files have been looked into.
    """

    def __init__(self, tree: tuple[str, ...], nodes: Sequence[Node]) -> None:
        names = [node.name if node.tree == tree else "/" + "/".join(node.path) for node in nodes]
        super().__init__([{"node": name} for name in names], names)
        self.box.setEditable(True)
        self.box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        completer = self.box.completer()
        completer.setFilterMode(QtCore.Qt.MatchFlag.MatchContains)
        completer.setCompletionMode(QtWidgets.QCompleter.CompletionMode.PopupCompletion)
        self.line = self.box.lineEdit()
        self.line.setPlaceholderText("choose a node, or write /file/signal/node")
        self.line.editingFinished.connect(self._written)
        self.box.activated.connect(lambda _index: self.show_value(self.value()))
        self.box.view().setTextElideMode(QtCore.Qt.TextElideMode.ElideLeft)
        self._told: Any = None
        self.show_value(None)

    def value(self) -> Any:
        """Return the node by its name or path; None where there is none."""
        name = self.box.currentText().strip()
        return {"node": name} if name else None

    def show_value(self, value: Any) -> None:
        """Show a node, also one that is not offered."""
        self._told = value
        name = str(value.get("node", "")) if isinstance(value, dict) else ""
        self.box.setCurrentIndex(self.box.findText(name))
        self.box.setEditText(name)
        self.box.setToolTip(name)

    def _written(self) -> None:
        """Tell what was written, once."""
        if self.value() != self._told:
            self.show_value(self.value())
            self.changed.emit()


class TextEditor(Editor):
    """A line of text; `as_json` for what no other editor is made for."""

    def __init__(self, as_json: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self.head = self.line = QtWidgets.QLineEdit()
        self.line.textEdited.connect(lambda _text: self.changed.emit())

    def value(self) -> Any:
        """Return the text, or what it says as JSON: None where that is none."""
        if not self._as_json:
            return self.line.text()
        try:
            return json.loads(self.line.text(), parse_constant=lambda _word: None)
        except ValueError:
            return None

    def show_value(self, value: Any) -> None:
        """Show a text."""
        self.line.setText(json.dumps(value) if self._as_json else str(value))


def _row(widget: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    row = QtWidgets.QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(5)
    return row


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", ".").replace("−", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unfinished(text: str) -> bool:
    """Return True for what may become a number when a person writes on."""
    return all(letter in "0123456789.,-−+eE " for letter in text)
