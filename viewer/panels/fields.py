"""Rows of a form: each a label, an editor, a way back, and what is wrong; groups of them, alternatives, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.forms import Field, Sort, alternative, fitting, plain, start
from viewer.panels.boxes import dress
from viewer.panels.editors import (
    ChoiceEditor,
    Editor,
    NodeEditor,
    NumberEditor,
    QuantityEditor,
    SwitchEditor,
    TextEditor,
)
from viewer.panels.toolbar import Choice
from viewer.quantities import axis_of, beginning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from viewer.nodes import Node

    Path = tuple[str, ...]

LABEL_WIDTH, INDENT = 92, 10


class Scope:
    """What editors need to know of the node that the form is about: its axes, and which others there are."""

    def __init__(self, node: Node, nodes: Sequence[Node] = ()) -> None:
        self.node, self.nodes = node, nodes


class Row(QtWidgets.QWidget):
    """One field: its label (a check box where it may be left out), its editor, a button back to its base."""

    changed = QtCore.Signal()

    def __init__(self, field: Field, path: Path, scope: Scope) -> None:
        super().__init__()
        self.field, self.path, self._scope = field, path, scope
        self.base: Any = None
        self.editor = editor_of(field, path, scope)
        self.label = QtWidgets.QCheckBox(field.label) if field.optional else QtWidgets.QLabel(field.label)
        self.out = QtWidgets.QLabel("left out")
        self.out.setObjectName("hint")
        self.reset = QtWidgets.QPushButton("↺")
        self.problem = QtWidgets.QLabel()
        self._lay_out()
        self.editor.changed.connect(self._tell)
        self.reset.clicked.connect(lambda _checked: self.go_back())
        if isinstance(self.label, QtWidgets.QCheckBox):
            self.label.toggled.connect(self._switch)

    def value(self) -> Any:
        """Return what stands in it; None where it is left out."""
        return self.editor.value() if self._is_on() else None

    def show_value(self, value: Any) -> None:
        """Show a value, None for left out; says nothing of it."""
        if isinstance(self.label, QtWidgets.QCheckBox):
            with QtCore.QSignalBlocker(self.label):
                self.label.setChecked(value is not None)
        if value is not None:
            self.editor.show_value(value)
        elif not self.field.optional:
            self.editor.show_value(start(self.field))
        self._show_state()

    def set_base(self, base: Any) -> None:
        """Choose what the button goes back to."""
        self.base = base
        if isinstance(self.editor, GroupEditor | VariantEditor):
            self.editor.set_base(start(self.field) if base is None else base)
        self.reset.setToolTip("Back to " + ("leaving it out" if base is None else brief(base)))
        self._show_state()

    def go_back(self) -> None:
        """Show the base again."""
        self.show_value(self.base)
        self.set_base(self.base)
        self._tell()

    def rows(self) -> Iterator[Row]:
        """Yield this row and those inside it that count now."""
        yield self
        if self._is_on():
            yield from self.editor.rows() if isinstance(self.editor, Nest) else ()

    def say(self, problem: str) -> None:
        """Show what is wrong; nothing where it is empty."""
        self.problem.setText(problem)
        self.problem.setVisible(bool(problem))
        for widget in self.findChildren(QtWidgets.QAbstractSpinBox) if self.editor.body is None else ():
            if widget.property("wrong") != bool(problem):
                widget.setProperty("wrong", bool(problem))
                dress(widget)

    def _is_on(self) -> bool:
        return not isinstance(self.label, QtWidgets.QCheckBox) or self.label.isChecked()

    def _switch(self, on: bool) -> None:
        if on and (first := beginning(self.field, self.path, self._scope.node)) is not None:
            self.editor.show_value(first)
        elif on and self.base is None:
            self.editor.show_value(start(self.field))
        self._tell()

    def _tell(self) -> None:
        self._show_state()
        self.changed.emit()

    def _show_state(self) -> None:
        on = self._is_on()
        self.out.setVisible(not on)
        for part in (self.editor.head, self.editor.body):
            if part is not None:
                part.setVisible(on)
        self.reset.setEnabled(plain(self.value()) != plain(self.base))

    def _lay_out(self) -> None:
        self.setToolTip(self.field.help)
        self.label.setFixedWidth(LABEL_WIDTH)
        self.problem.setObjectName("wrong")
        self.problem.setWordWrap(True)
        self.problem.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.problem.hide()
        self.reset.setObjectName("back")
        self.reset.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        column = _column(self, spacing=3)
        row = self.header = QtWidgets.QHBoxLayout()
        row.setSpacing(5)
        row.addWidget(self.label)
        if self.editor.head is not None:
            row.addWidget(self.editor.head, 1)
            self.editor.head.setAccessibleName(".".join(self.path))
        row.addWidget(self.out, 1)
        if self.editor.head is None:
            row.addStretch(1)
        row.addWidget(self.reset)
        column.addLayout(row)
        column.addWidget(self.problem)
        if self.editor.body is not None:
            column.addWidget(self.editor.body)


class Nest(Editor):
    """An editor of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = QtWidgets.QWidget()
        self._column = _column(self.body, spacing=4)

    def rows(self) -> Iterator[Row]:
        """Yield the rows that count now, and those inside them."""
        raise NotImplementedError

    def _add(self, row: Row) -> Row:
        row.changed.connect(self.changed)
        self._column.addWidget(row)
        return row


class GroupEditor(Nest):
    """Several fields under one name."""

    def __init__(self, field: Field, path: Path, scope: Scope, indent: bool = True) -> None:
        super().__init__()
        self._field = field
        self._column.setContentsMargins(INDENT if indent else 0, 0, 0, 0)
        self.members = [self._add(Row(part, (*path, part.name), scope)) for part in field.parts]

    def value(self) -> Any:
        """Return all values by name; as a list where the service wants one."""
        values = {row.field.name: row.value() for row in self.members}
        return list(values.values()) if self._field.tag else values

    def show_value(self, value: Any) -> None:
        """Show all values; what is not given is as it would be."""
        for number, row in enumerate(self.members):
            row.show_value(self._part(value, number))

    def set_base(self, base: Any) -> None:
        """Choose what each row goes back to."""
        for number, row in enumerate(self.members):
            row.set_base(self._part(base, number))

    def rows(self) -> Iterator[Row]:
        """Yield the rows that count now, and those inside them."""
        for row in self.members:
            yield from row.rows()

    def _part(self, value: Any, number: int) -> Any:
        if isinstance(value, list):
            return value[number] if number < len(value) else None
        row = self.members[number]
        return value.get(row.field.name, row.field.default)


class VariantEditor(Nest):
    """One of several alternatives; what was told of the others is kept."""

    def __init__(self, field: Field, path: Path, scope: Scope) -> None:
        super().__init__()
        self._field = field
        self._choice = ChoiceEditor(
            list(range(len(field.parts))), [part.name.replace("_", " ") for part in field.parts]
        )
        self.head, self.box = self._choice.head, self._choice.box
        self.alternatives: list[Any] = []
        for part in field.parts:
            if part.sort is Sort.GROUP:
                editor: Editor = GroupEditor(part, path, scope)
                if editor.body is not None:
                    self._column.addWidget(editor.body)
                editor.changed.connect(self.changed)
                editor.show_value(start(part))
                self.alternatives.append(editor)
            else:
                self.alternatives.append(self._add(Row(part, path, scope)))
                self.alternatives[-1].show_value(start(part))
        self._choice.changed.connect(self._choose)
        self._show_chosen()

    def value(self) -> Any:
        """Return the value of what is chosen, with what tells it apart."""
        number = self._number()
        value, tag = self.alternatives[number].value(), self._field.tag
        return {tag: self._field.parts[number].name, **value} if tag else value

    def show_value(self, value: Any) -> None:
        """Choose the alternative that a value is, and show it."""
        number = alternative(self._field, value)
        self.box.setCurrentIndex(number)
        self.alternatives[number].show_value(value)
        self._show_chosen()

    def set_base(self, base: Any) -> None:
        """Choose what the rows go back to: those of another alternative than the base to where they began."""
        for number, shown in enumerate(self.alternatives):
            known = alternative(self._field, base) == number
            shown.set_base(base if known else start(self._field.parts[number]))

    def rows(self) -> Iterator[Row]:
        """Yield the rows of what is chosen."""
        yield from self.alternatives[self._number()].rows()

    def _number(self) -> int:
        return max(0, int(self.box.currentIndex()))

    def _choose(self) -> None:
        self._show_chosen()
        self.changed.emit()

    def _show_chosen(self) -> None:
        for number, shown in enumerate(self.alternatives):
            widget = shown if isinstance(shown, Row) else shown.body
            widget.setVisible(number == self._number())


class ListEditor(Nest):
    """As many of one kind as a person adds; those of a mapping have names."""

    def __init__(self, field: Field, path: Path, scope: Scope) -> None:
        super().__init__()
        self._field, self._path, self._scope = field, path, scope
        self._named = field.sort is Sort.MAPPING
        self.items: list[tuple[QtWidgets.QComboBox | None, Row]] = []
        self.more, self.less = QtWidgets.QPushButton("+"), QtWidgets.QPushButton("−")
        self.head = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(self.head)
        row.setContentsMargins(0, 0, 0, 0)
        for button, tip in ((self.more, "Add one"), (self.less, "Take the last one away")):
            button.setObjectName("back")
            button.setToolTip(tip)
            row.addWidget(button)
        row.addStretch(1)
        self._column.setContentsMargins(INDENT, 0, 0, 0)
        self.more.clicked.connect(lambda _checked: self._one_more())
        self.less.clicked.connect(lambda _checked: self._one_less())

    def value(self) -> Any:
        """Return all items; a mapping by name."""
        if self._named:
            return {name.currentText(): row.value() for name, row in self.items if name is not None}
        return [row.value() for _, row in self.items]

    def show_value(self, value: Any) -> None:
        """Show all items."""
        while self.items:
            self._take()
        for name, item in value.items() if self._named else enumerate(value):
            self._put(str(name), item)
        self._count()

    def rows(self) -> Iterator[Row]:
        """Yield all items, and what is inside them."""
        for _, row in self.items:
            yield from row.rows()

    def _one_more(self) -> None:
        number = len(self.items)
        used = {name.currentText() for name, _ in self.items if name is not None}
        axes = [axis.name for axis in self._scope.node.axes if axis.name not in used]
        self._put(next(iter(axes), f"name {number + 1}") if self._named else str(number), None)
        self._count()
        self.changed.emit()

    def _one_less(self) -> None:
        self._take()
        self._count()
        self.changed.emit()

    def _put(self, name: str, value: Any) -> None:
        item, box = self._field.parts[0], None
        if self._named:
            box = Choice()
            box.setEditable(True)
            box.addItems([axis.name for axis in self._scope.node.axes])
            box.setCurrentText(name)
            box.currentTextChanged.connect(lambda _text: self.changed.emit())
        row = self._add(Row(item, (*self._path, name), self._scope))
        if isinstance(row.label, QtWidgets.QLabel):
            row.label.setText(str(len(self.items) + 1))
        if box is not None:
            row.label.hide()
            row.header.insertWidget(0, box, 1)
        row.show_value(start(item) if value is None else value)
        row.set_base(start(item))
        self.items.append((box, row))

    def _take(self) -> None:
        for widget in self.items.pop():
            if widget is not None:
                widget.hide()
                widget.deleteLater()

    def _count(self) -> None:
        self.more.setEnabled(len(self.items) < self._field.most)
        self.less.setEnabled(len(self.items) > self._field.least)


def editor_of(field: Field, path: Path, scope: Scope) -> Editor:
    """Return the editor for a field."""
    if field.sort in (Sort.NUMBER, Sort.INTEGER):
        return NumberEditor(field, axis_of(path, scope.node))
    if field.sort in (Sort.POSITION, Sort.DISTANCE):
        return QuantityEditor(field, path, scope.node)
    if field.sort is Sort.CHOICE:
        return ChoiceEditor(field.choices)
    if field.sort is Sort.SWITCH:
        return SwitchEditor()
    if field.sort is Sort.NODE:
        return NodeEditor(scope.node.tree, fitting(field.node or {}, scope.node, scope.nodes))
    if field.sort is Sort.GROUP:
        return GroupEditor(field, path, scope)
    if field.sort is Sort.VARIANT:
        return VariantEditor(field, path, scope)
    if field.sort in (Sort.LIST, Sort.MAPPING):
        return ListEditor(field, path, scope)
    return TextEditor(as_json=field.sort is Sort.ANY)


def brief(value: Any) -> str:
    """Return a value in a few words, for a tool tip."""
    if isinstance(value, dict):
        if "index" in value and value["index"] is not None:
            return f"{value['index']:g} px"
        return ", ".join(brief(inner) for inner in value.values() if inner is not None) or "nothing told"
    if isinstance(value, list):
        return ", ".join(map(brief, value)) or "nothing told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _column(widget: QtWidgets.QWidget, spacing: int) -> QtWidgets.QVBoxLayout:
    column = QtWidgets.QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(spacing)
    return column
