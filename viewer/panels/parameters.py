"""The parameter form: an operation for the node that is shown, made from what the service says it takes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.forms import form_of, plain, problems_of, problems_told, trimmed
from viewer.panels.boxes import Panel, Title, dress
from viewer.panels.fields import LABEL_WIDTH, GroupEditor, Row, Scope, brief
from viewer.panels.toolbar import Choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from viewer.described import Operation
    from viewer.nodes import Node
    from viewer.theme import Theme

LOWEST, HIGHEST = 96, 420
WIDEST_LABEL = 140
FIRST = "subtract_background"


class ParametersPanel(Panel):
    """Asks for an operation and its parameters; nothing that is told is lost while the window is open."""

    tried = QtCore.Signal(str, object)  # operation and its parameters: nothing is plainly wrong with them
    kept = QtCore.Signal(object)  # name or None
    applied = QtCore.Signal()
    discarded = QtCore.Signal()
    unready = (
        QtCore.Signal()
    )  # another operation was chosen, and something must be told before it can be tried

    def __init__(self) -> None:
        super().__init__()
        self.form: GroupEditor | None = None
        self.source: Node | None = None
        self.changing: Node | None = None
        self.title, self.operation, self.help = Title(), Choice(), QtWidgets.QLabel()
        self.name, self.trouble = QtWidgets.QLineEdit(), QtWidgets.QLabel()
        self.reset = QtWidgets.QPushButton("Reset")
        self.discard = QtWidgets.QPushButton("Discard")
        self.keep, self.apply = QtWidgets.QPushButton("Keep"), QtWidgets.QPushButton("Apply")
        self.apply.setObjectName("main")
        self._scroll = Fitted()
        self._scope: Scope | None = None
        self._schema, self._summary = form_of({}), ""
        self._base: dict[str, Any] = {}
        self._taken: set[str] = set()
        self._tidied = -1
        self._operations: dict[str, Operation] = {}
        self._told: dict[tuple[object, ...], Any] = {}
        self._why_not, self._wrong = "", False
        self._lay_out()
        self.operation.activated.connect(lambda _index: self._build())
        self.reset.clicked.connect(lambda _checked: self.go_back())
        self.discard.clicked.connect(lambda _checked: self.discarded.emit())
        self.keep.clicked.connect(lambda _checked: self._keep())
        self.apply.clicked.connect(lambda _checked: self._apply())
        self.hide()

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.title.set_dim(theme.dim)

    def ask(
        self,
        source: Node,
        operations: Sequence[Operation],
        nodes: Sequence[Node],
        changing: Node | None = None,
    ) -> None:
        """Ask what to make of a node, or what to change in one that is there.

        Parameters
        ----------
        source : Node
            What it is made from.
        operations : sequence of Operation
            Those that accept it.
        nodes : sequence of Node
            Those that parameters may name; those of its tree first.
        changing : Node, optional
            The node to change.
        """
        before = self.operation.currentData()
        self.source, self.changing, self._scope = source, changing, Scope(source, nodes)
        self._operations = {operation.name: operation for operation in operations}
        wanted = changing.operations[-1] if changing is not None else before
        self.operation.clear()
        for name in self._operations:
            self.operation.addItem(name.replace("_", " "), name)
        names = list(self._operations)
        first = FIRST if FIRST in names else names[0]
        self.operation.setCurrentIndex(names.index(wanted if wanted in names else first))
        self.operation.setEnabled(changing is None)
        self.name.clear()
        self._taken = {node.name for node in (*nodes, changing) if node and node.tree == source.tree}
        self.title.say("Parameters", changing.name if changing is not None else f"new, from {source.called}")
        self.apply.setVisible(changing is not None)
        self.keep.setText("Keep as new" if changing is not None else "Keep")
        self.keep.setObjectName("" if changing is not None else "main")
        dress(self.keep)
        self.show()
        self._build()

    def begin(self) -> None:
        """Put the keyboard into the first field."""
        first = next((row.editor.head for row in self.rows() if row.editor.head is not None), self.name)
        first.setFocus()

    def allow(self, why_not: str) -> None:
        """Let nodes be made, or say why that cannot be: a preview is for everybody who may look."""
        self._why_not = why_not
        self._ready(True)

    def values(self) -> dict[str, Any]:
        """Return what stands in the form, by name."""
        return dict(self.form.value()) if self.form is not None else {}

    def rows(self) -> Iterator[Row]:
        """Yield the rows that count now."""
        yield from self.form.rows() if self.form is not None else ()

    def row(self, path: str) -> Row:
        """Return the row at a path, with dots."""
        return next(row for row in self.rows() if ".".join(row.path) == path)

    def go_back(self) -> None:
        """Show what was there before anything was told."""
        if self.form is not None:
            self.form.show_value(self._base)
            self.form.set_base(self._base)
            self._changed()

    def busy(self) -> None:
        """Wait for what the service says."""
        self._ready(False)

    def refused(self, reason: str, name_taken: bool = False) -> None:
        """Show what the service says, at the field it names; what was told stays."""
        self._ready(True)
        if name_taken:
            self._say({"": reason})
            self.name.setFocus()
        else:
            paths = [".".join(row.path) for row in self.rows()]
            self._say(problems_told(reason, self.operation.currentData(), paths))

    def accepted(self) -> None:
        """Nothing is wrong with what was tried."""
        if not self._wrong:
            self._ready(True)
            self._say({})

    def overtaken(self, node: Node, parameters: Mapping[str, Any]) -> None:
        """Somebody else changed the node: go back to that from now on, but keep what was told here."""
        self._ready(True)
        if self.form is None:
            return
        self.changing = node
        mine = self.values()
        self._base = self._complete(parameters)
        self.form.set_base(self._base)
        other = {name: value for name, value in self._base.items() if plain(value) != plain(mine.get(name))}
        self._say({name: f"now {_words(value)}, changed meanwhile" for name, value in other.items()})

    def event(self, event: QtCore.QEvent) -> bool:
        """Take Space for what has the keyboard here: elsewhere in the window it is a shortcut."""
        override = event.type() == QtCore.QEvent.Type.ShortcutOverride
        if override and event.key() == QtCore.Qt.Key.Key_Space:
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 (Qt)
        """Return keeps (or presses the button that has the keyboard), escape discards."""
        if event.key() in (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter):
            focused = self.focusWidget()
            default = self.keep if self.changing is None else self.apply
            (focused if isinstance(focused, QtWidgets.QPushButton) else default).click()
        elif event.key() == QtCore.Qt.Key.Key_Escape:
            self.discarded.emit()
        # Anything else stays here: an arrow key in a form moves no crosshair.
        event.accept()

    # Building

    def _build(self) -> None:
        """Make the rows for the operation that is chosen, filled with what was told of it before."""
        if self._scope is None or self.source is None:
            return
        described = self._operations[self.operation.currentData()]
        self.operation.setToolTip(described.summary)
        self._schema, self._summary = form_of(described.parameters), described.summary
        own = self.changing.own_parameters if self.changing is not None else {}
        self._base = self._complete(own)
        self.form = GroupEditor(self._schema, (), self._scope, indent=False)
        self.form.show_value(self._told.get(self._key(), self._base))
        self.form.set_base(self._base)
        self.form.changed.connect(self._changed)
        self._tidied = -1
        inside = QtWidgets.QWidget()
        inside.setObjectName("form")
        column = QtWidgets.QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 4, 0)
        if self.form.body is not None:
            column.addWidget(self.form.body)
        if not self._schema.parts:
            nothing = QtWidgets.QLabel("It has no parameters.")
            nothing.setObjectName("dim")
            column.addWidget(nothing)
        column.addStretch(1)
        self._scroll.setWidget(inside)
        for row in self.findChildren(Row):
            row.installEventFilter(self)
        self.name.setPlaceholderText(suggested(self.operation.currentData(), self._taken))
        self.help.setText(self._summary)
        self._changed()
        if self._wrong:
            self.unready.emit()

    def _complete(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters with what they leave out."""
        return {part.name: parameters.get(part.name, part.default) for part in self._schema.parts}

    def _key(self) -> tuple[object, ...]:
        node = self.changing or self.source
        version = (node.path, node.key if self.changing else "") if node is not None else ()
        return (*version, self.operation.currentData())

    def _changed(self) -> None:
        values = self.values()
        self._told[self._key()] = values
        self._tidy()
        problems = problems_of(self._schema, values)
        self._wrong = bool(problems)
        self._say(problems)
        self._ready(True)
        self.reset.setEnabled(plain(values) != plain(self._base))
        if not problems:
            self.tried.emit(self.operation.currentData(), trimmed(self._schema, values))

    def _tidy(self) -> None:
        """After rows came or went: labels below each other, and the keyboard goes through all of it in order."""
        rows = self.findChildren(Row)
        if len(rows) != self._tidied:
            self._tidied = len(rows)
            aligned(rows)
            inside = self._scroll.widget().findChildren(QtWidgets.QWidget)
            after = (self.name, self.reset, self.discard, self.keep, self.apply)
            stops = [widget for widget in inside if _stops(widget, self.window())]
            for one, next_one in pairwise((self.operation, *stops, *after)):
                self.setTabOrder(one, next_one)

    def _say(self, problems: Mapping[str, str]) -> None:
        """Show each problem at its field, or at the nearest one round it that is there."""
        rows = {".".join(row.path): row for row in self.rows()}
        told: dict[str, list[str]] = {}
        for path, problem in problems.items():
            while path and path not in rows:
                path = path.rpartition(".")[0]
            told.setdefault(path, []).append(problem)
        for path, row in rows.items():
            row.say("; ".join(told.get(path, ())))
        self.trouble.setText("; ".join(told.get("", ())))
        self.trouble.setVisible("" in told)
        self._scroll.updateGeometry()

    def _keep(self) -> None:
        if self.keep.isEnabled():
            self.kept.emit(self.name.text().strip() or None)

    def _apply(self) -> None:
        if self.apply.isEnabled():
            self.applied.emit()

    def _ready(self, ready: bool) -> None:
        for button in (self.keep, self.apply):
            button.setEnabled(ready and not self._wrong and not self._why_not)
            button.setToolTip(self._why_not)

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:  # noqa: N802 (Qt)
        """Say below the form what the row under the mouse means."""
        if event.type() == QtCore.QEvent.Type.Enter and isinstance(watched, Row):
            self._explain(watched)
        return False

    def _explain(self, row: Row | None) -> None:
        self.help.setText((row.field.help if row is not None else "") or self._summary)

    def _focus_moved(self, _old: QtWidgets.QWidget | None, new: QtWidgets.QWidget | None) -> None:
        """Say what the field that has the keyboard means."""
        while new is not None and new is not self:
            if isinstance(new, Row):
                self._explain(new)
                self._scroll.ensureWidgetVisible(new)
                return
            new = new.parentWidget()

    def _lay_out(self) -> None:
        self.help.setObjectName("help")
        self.trouble.setObjectName("wrong")
        for label in (self.help, self.trouble):
            label.setWordWrap(True)
            label.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.help.setFixedHeight(2 * self.help.fontMetrics().lineSpacing())
        self.help.setAlignment(QtCore.Qt.AlignmentFlag.AlignTop)
        self.trouble.hide()
        self.name.setAccessibleName("name of the new node")
        name, buttons = QtWidgets.QHBoxLayout(), QtWidgets.QHBoxLayout()
        label = QtWidgets.QLabel("Name")
        label.setFixedWidth(LABEL_WIDTH)
        name.addWidget(label)
        name.addWidget(self.name, 1)
        buttons.addWidget(self.reset)
        buttons.addStretch(1)
        for button in (self.discard, self.keep, self.apply):
            buttons.addWidget(button)
        for widget in (self.title, self.operation, self._scroll, self.help, self.trouble):
            self.column.addWidget(widget)
        self.column.addLayout(name)
        self.column.addLayout(buttons)
        QtWidgets.QApplication.instance().focusChanged.connect(self._focus_moved)


class Fitted(QtWidgets.QScrollArea):
    """As high as what is in it, within bounds; the panels above and below get the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Maximum)

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802 (Qt)
        """As high as what is in it."""
        inside = self.widget()
        height = inside.sizeHint().height() if inside is not None else LOWEST
        return QtCore.QSize(200, min(HIGHEST, height))

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802 (Qt)
        """Return the least of it that is of use."""
        return QtCore.QSize(200, min(LOWEST, self.sizeHint().height()))


def aligned(rows: Sequence[Row]) -> None:
    """Give the labels of rows that stand below each other the same width, and as much as they need."""
    widths: dict[object, int] = {}
    for row in rows:
        width = min(WIDEST_LABEL, max(LABEL_WIDTH, row.label.sizeHint().width() + 2))
        widths[row.parentWidget()] = max(width, widths.get(row.parentWidget(), 0))
    for row in rows:
        row.label.setFixedWidth(widths[row.parentWidget()])


def _stops(widget: QtWidgets.QWidget, window: QtWidgets.QWidget) -> bool:
    """Return True for what the Tab key goes to: no parts of a field, and no list that pops up."""
    whole = not isinstance(widget.parentWidget(), QtWidgets.QAbstractSpinBox | QtWidgets.QComboBox)
    return bool(whole and widget.window() is window and widget.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus)


def suggested(operation: str, taken: set[str]) -> str:
    """Return what the service will call a node: the operation, with a number that it chooses where needed."""
    return operation if operation not in taken else f"{operation}-…"


def _words(value: Any) -> str:
    return "left out" if value is None else brief(value)
