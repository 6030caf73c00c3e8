"""The calibration form: what a file does not say, told by the person who was there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.calibration import (
    ACQUISITIONS,
    CENTER,
    COUNTING,
    FIRST,
    FLYBACK,
    NAME,
    NUMBERS,
    OFFSET,
    REST,
    SHAPE,
    axes_asked,
    carried_texts,
    factor_pairs,
    frames_of,
    hint,
    parameters_of,
    present_texts,
    problems_told,
    shape_told,
)
from viewer.panels.boxes import Panel, Title, heading
from viewer.panels.toolbar import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from viewer.nodes import Axis, Node
    from viewer.theme import Theme

ORIGINS = {OFFSET: "first pixel is", CENTER: "0 is at pixel"}
UNITS = ("nm", "µm", "Å", "pm", "1/nm", "1/Å", "mrad", "eV", "keV", "s", "°")
WIDTH = 430


class CalibratePanel(Panel):
    """Asks for the shape of a stack, for axes and for the instrument; nothing that is typed is lost."""

    wanted = QtCore.Signal(object, object, object)  # path of the tree, parameters, name or None
    closed = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.tree: tuple[str, ...] = ()
        self.fields: dict[str, QtWidgets.QLineEdit] = {}
        self.problems: dict[str, QtWidgets.QLabel] = {}
        self._node: Node | None = None
        self._schema: Mapping[str, Any] = {}
        self._typed: dict[str, str] = {}
        self._scans: dict[bool, dict[str, str]] = {}
        self._asked: list[Axis] = []
        self.rest: QtWidgets.QCheckBox | None = None
        self.title = Title()
        self.make_button, self.close_button = (
            QtWidgets.QPushButton("Make node"),
            QtWidgets.QPushButton("Close"),
        )
        self.trouble = _problem_line()
        self._scroll = QtWidgets.QScrollArea()
        self._lay_out()
        self.make_button.clicked.connect(lambda _checked: self.submit())
        self.close_button.clicked.connect(lambda _checked: self.closed.emit())
        self.hide()

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.title.set_dim(theme.dim)

    def ask(self, node: Node, schema: Mapping[str, Any]) -> None:
        """Ask about the root of a tree; what was typed about the same one is still there."""
        if node.tree != self.tree or node != self._node or schema != self._schema:
            self._typed, self._scans = {}, {}
            self.tree, self._node, self._schema = node.tree, node, schema
            self._build()
        self.title.say("Calibrate", "/".join(self.tree))
        self.show()
        next(iter(self.fields.values())).setFocus()

    def submit(self) -> None:
        """Send the form, or show what is wrong with it."""
        if self._node is None or not self.make_button.isEnabled():
            return
        texts = self._texts()
        parameters, problems = parameters_of(texts, self._asked, self._schema, frames_of(self._node))
        self._show_problems(problems)
        if not problems:
            self.make_button.setEnabled(False)
            self.make_button.setText("Making…")
            self.wanted.emit(self.tree, parameters, texts[NAME].strip() or None)

    def made(self) -> None:
        """Close: the node was made, nothing is left to be told."""
        self._ready()
        self._node, self.tree = None, ()
        self.closed.emit()

    def refused(self, reason: str, name_taken: bool = False) -> None:
        """Show what the service says, at the field it names; what was typed stays."""
        self._ready()
        self._show_problems({NAME: reason} if name_taken else problems_told(reason, self.problems))

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 (Qt)
        """Return sends the form, escape closes it."""
        if event.key() in (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter):
            self.submit()
        elif event.key() == QtCore.Qt.Key.Key_Escape:
            self.closed.emit()
        # Anything else stays here: an arrow key in a form moves no crosshair.
        event.accept()

    # Building

    def _lay_out(self) -> None:
        scroll = self._scroll
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        row = QtWidgets.QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.close_button)
        row.addWidget(self.make_button)
        self.column.addWidget(self.title)
        self.column.addWidget(scroll, 1)
        self.column.addWidget(self.trouble)
        self.column.addLayout(row)
        self.setFixedWidth(WIDTH)

    def _build(self) -> None:
        """Make the fields for the present node, filled with what it says and what was typed."""
        node = self._node
        if node is None:
            return
        inside = QtWidgets.QWidget()
        inside.setObjectName("form")
        self._column = QtWidgets.QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 6, 0)
        self.fields, self.problems, self.rest = {}, {"": self.trouble}, None
        self.suggestions, self.shape_line = QtWidgets.QHBoxLayout(), QtWidgets.QLabel()
        self.shape_line.setObjectName("dim")
        frames = frames_of(node)
        if frames > 1:
            self._add_shape(frames)
        reshaped = bool(self._typed.get("rows", "").strip() and self._typed.get("columns", "").strip())
        self._asked = axes_asked(node, frames > 1 and reshaped)
        self._add_axes()
        self._add_instrument()
        self._column.addWidget(heading("Node"))
        name = self._field(NAME, "", "Left empty, the service chooses one")
        name.setPlaceholderText("calibrate")
        self._column.addLayout(_named("Name", name))
        self._column.addWidget(self.problems[NAME])
        self._column.addStretch(1)
        self._scroll.setWidget(inside)  # the one before goes, with all its fields
        self._show_problems({})
        self._check_shape()

    def _add_shape(self, frames: int) -> None:
        """Rows × columns, what they make, and shapes that would fit."""
        self._column.addWidget(heading("Shape of the scan"))
        tip = hint(self._schema, SHAPE).text or "Rows and columns of the scan, in the order of the frames"
        row = QtWidgets.QHBoxLayout()
        for number, side in enumerate(("rows", "columns")):
            field = self._field(side, "", tip)
            field.setPlaceholderText(side)
            field.setMaximumWidth(84)
            if number:
                row.addWidget(QtWidgets.QLabel("×"))
            row.addWidget(field)
            field.textChanged.connect(lambda _text: self._check_shape())
            field.editingFinished.connect(self._reshape)
        row.addWidget(self.shape_line, 1)
        self._column.addLayout(row)
        for rows, columns in factor_pairs(frames):
            button = QtWidgets.QPushButton(f"{rows} × {columns}")
            button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
            button.clicked.connect(partial(self._take_shape, rows, columns))
            self.suggestions.addWidget(button)
        self.suggestions.addStretch(1)
        self._column.addLayout(self.suggestions)
        self._add_left_out()
        self.problems[SHAPE] = self.problems["rows"]
        self._column.addWidget(self.problems[SHAPE])

    def _add_left_out(self) -> None:
        """Frames that are no part of the scan, where the service can leave them out."""
        self.rest = QtWidgets.QCheckBox("rest")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(QtWidgets.QLabel("Leave out: first"))
        for name, text in ((FIRST, ""), (FLYBACK, "per row")):
            field = self._field(name, "", hint(self._schema, name).text)
            field.setPlaceholderText("0")
            field.setMaximumWidth(52)
            field.textChanged.connect(lambda _text: self._check_shape())
            if text:
                row.addWidget(QtWidgets.QLabel(text))
            row.addWidget(field)
            self.problems[name] = self.problems["rows"]
        self.rest.setChecked(bool(self._typed.get(REST)))
        self.rest.setToolTip(hint(self._schema, REST).text)
        self.rest.toggled.connect(lambda _checked: self._check_shape())
        row.addWidget(self.rest)
        row.addStretch(1)
        if FLYBACK in self._schema.get("properties", {}):
            self._column.addLayout(row)

    def _add_axes(self) -> None:
        self._column.addWidget(heading("Axes"))
        grid = QtWidgets.QGridLayout()
        grid.setHorizontalSpacing(5)
        grid.setVerticalSpacing(4)
        for column, text in enumerate(("Name", "Pixel is", "Units", "Origin", "")):
            label = QtWidgets.QLabel(text)
            label.setObjectName("hint")
            grid.addWidget(label, 0, column)
        for column, stretch in enumerate((3, 3, 3, 0, 3)):
            grid.setColumnStretch(column, stretch)
        present = present_texts(self._asked)
        for number, axis in enumerate(self._asked):
            self._add_axis(grid, 2 * number + 1, axis, present)
        self._column.addLayout(grid)

    def _add_axis(
        self, grid: QtWidgets.QGridLayout, row: int, axis: Axis, present: Mapping[str, str]
    ) -> None:
        """One axis: a row of fields, and a line for what is wrong with any of them."""
        at, wrong = f"axes.{axis.name}.", _problem_line()
        for column, part in enumerate(("name", "scale", "units")):
            field = self._axis_field(axis, part, present, wrong)
            grid.addWidget(field, row, column)
        completer = QtWidgets.QCompleter(list(UNITS), self)
        self.fields[f"{at}units"].setCompleter(completer)
        origin, values = Choice(), QtWidgets.QStackedWidget()
        for part, text in ORIGINS.items():
            origin.addItem(text, part)
            values.addWidget(self._axis_field(axis, part, present, wrong))
        values.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        origin.currentIndexChanged.connect(partial(self._choose_origin, at, values))
        if self._typed.get(f"{at}{CENTER}"):
            origin.setCurrentIndex(1)
        grid.addWidget(origin, row, 3)
        grid.addWidget(values, row, 4)
        grid.addWidget(wrong, row + 1, 0, 1, 5)
        self.problems[at.rstrip(".")] = wrong

    def _axis_field(
        self, axis: Axis, part: str, present: Mapping[str, str], wrong: QtWidgets.QLabel
    ) -> QtWidgets.QLineEdit:
        path = f"axes.{axis.name}.{part}"
        field = self._field(path, present[path], hint(self._schema, "axes", axis.name, part).text)
        self.problems[path].deleteLater()
        self.problems[path] = wrong
        if part in ("scale", OFFSET, CENTER) and not axis.calibrated:
            field.setPlaceholderText("px")
        return field

    def _add_instrument(self) -> None:
        self._column.addWidget(heading("Instrument"))
        offered = self._schema.get("properties", NUMBERS)
        for name, (label, unit) in NUMBERS.items():
            if name not in offered:
                continue
            told = hint(self._schema, name)
            field = self._field(name, "", told.text)
            field.setPlaceholderText(told.unit or unit)
            self._column.addLayout(_named(f"{label} ({told.unit or unit})", field))
            self._column.addWidget(self.problems[name])
        self.counting = Choice()
        for name in ACQUISITIONS:
            self.counting.addItem(name or "not told", name)
        self.counting.setCurrentIndex(list(ACQUISITIONS).index(self._typed.get(COUNTING, "")))
        self.counting.setToolTip(hint(self._schema, COUNTING).text)
        self._column.addLayout(_named("Detector is", self.counting))
        self.problems[COUNTING] = _problem_line()
        self._column.addWidget(self.problems[COUNTING])

    def _field(self, path: str, text: str, tip: str) -> QtWidgets.QLineEdit:
        """Make a field, and the line below it that says what is wrong."""
        field = self.fields[path] = QtWidgets.QLineEdit(self._typed.get(path, text))
        field.setCursorPosition(0)  # the beginning of a long number is what counts
        field.setToolTip(tip)
        field.setMinimumWidth(40)
        field.setAccessibleName(path)
        self.problems[path] = _problem_line()
        return field

    # Filling in

    def _texts(self) -> dict[str, str]:
        texts = {path: field.text() for path, field in self.fields.items()}
        if texts:
            texts[COUNTING] = self.counting.currentData() or ""
            texts[REST] = "yes" if self.rest is not None and self.rest.isChecked() else ""
        return texts

    def _check_shape(self) -> None:
        """Say while somebody types whether rows × columns fit the frames."""
        if self._node is None or "rows" not in self.fields:
            return
        texts = self._texts()
        fits, told = shape_told(texts, frames_of(self._node))
        both = bool(texts["rows"].strip() and texts["columns"].strip())
        self.shape_line.setText(f"{told} ✓" if fits and both else told)
        for side in ("rows", "columns"):
            _mark(self.fields[side], both and not fits)

    def _take_shape(self, rows: int, columns: int, *_: object) -> None:
        self.fields["rows"].setText(str(rows))
        self.fields["columns"].setText(str(columns))
        self._reshape()

    def _reshape(self) -> None:
        """With a shape the scan has two axes to ask about, without it those of the file."""
        if self._node is None:
            return
        rows, columns = self.fields["rows"].text().strip(), self.fields["columns"].text().strip()
        asked = axes_asked(self._node, bool(rows and columns))
        if asked != self._asked:
            texts = self._texts()
            shaped = bool(rows and columns)
            self._scans[not shaped] = self._scan_texts(texts)
            self._typed = {**carried_texts(texts, self._asked, asked), **self._scans.get(shaped, {})}
            focus = self.focusWidget()
            path = next((path for path, field in self.fields.items() if field is focus), "columns")
            # Later: the field that says so is about to be replaced.
            QtCore.QTimer.singleShot(0, partial(self._build_again, path))

    def _scan_texts(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return what was typed about the axes of the scan, which come back with its shape."""
        scan = tuple(f"axes.{axis.name}." for axis in self._asked if axis.navigate)
        return {path: text for path, text in texts.items() if path.startswith(scan)}

    def _build_again(self, focus: str) -> None:
        self._build()
        self.fields.get(focus, self.fields[NAME]).setFocus()

    def _choose_origin(self, at: str, values: QtWidgets.QStackedWidget, index: int) -> None:
        """Offset and centre exclude each other: the one that is left forgets what was typed."""
        values.setCurrentIndex(index)
        other = f"{at}{(OFFSET, CENTER)[1 - index]}"
        self.fields[other].setText(present_texts(self._asked).get(other, ""))

    def _show_problems(self, problems: Mapping[str, str]) -> None:
        for path, field in self.fields.items():
            wrong = path in problems or (SHAPE in problems and path in ("rows", "columns"))
            _mark(field, wrong)
        for label in self.problems.values():
            label.hide()
        told: dict[QtWidgets.QLabel, list[str]] = {}
        for path, problem in problems.items():
            part = path.rpartition(".")[2] if path.startswith("axes.") else ""
            told.setdefault(self.problems.get(path, self.trouble), []).append(f"{part} {problem}".strip())
        for label, texts in told.items():
            label.setText("; ".join(texts))
            label.show()
        first = next((self.fields[path] for path in self.fields if path in problems), None)
        if first is not None:
            first.setFocus()

    def _ready(self) -> None:
        self.make_button.setEnabled(True)
        self.make_button.setText("Make node")


def _named(text: str, field: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    row, label = QtWidgets.QHBoxLayout(), QtWidgets.QLabel(text)
    label.setMinimumWidth(140)
    row.addWidget(label)
    row.addWidget(field, 1)
    return row


def _problem_line() -> QtWidgets.QLabel:
    line = QtWidgets.QLabel()
    line.setObjectName("wrong")
    line.setWordWrap(True)
    line.setTextFormat(QtCore.Qt.TextFormat.PlainText)
    line.hide()
    return line


def _mark(field: QtWidgets.QLineEdit, wrong: bool) -> None:
    """Draw a field's border in red, or as it was."""
    if field.property("wrong") != wrong:
        field.setProperty("wrong", wrong)
        field.style().unpolish(field)
        field.style().polish(field)
