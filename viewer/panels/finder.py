"""Above the list of files: what is looked for, how many there are, how far the service is with looking."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.nodes import Indexing

TYPING_MS = 150
DOWN = (QtCore.Qt.Key.Key_Down, QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter)


class Finder(QtWidgets.QWidget):
    """A box to type into, and a line below it."""

    changed = QtCore.Signal()
    left = QtCore.Signal()  # the arrow down: to what was found

    def __init__(self) -> None:
        super().__init__()
        self.box = QtWidgets.QLineEdit()
        self.box.setPlaceholderText("Find by name, title or type  (Ctrl+F)")
        self.box.setClearButtonEnabled(True)
        self.box.installEventFilter(self)
        self.line = QtWidgets.QLabel()
        self.line.setObjectName("hint")
        self.progress = QtWidgets.QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(4)
        self.progress.hide()
        self._files, self._indexing = 0, Indexing()
        self._matches: int | None = None
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        for widget in (self.box, self.line, self.progress):
            column.addWidget(widget)
        self._typing = QtCore.QTimer(self, singleShot=True, interval=TYPING_MS)
        self._typing.timeout.connect(self.changed)
        self.box.textChanged.connect(lambda _text: self._typing.start())
        self._say()

    @property
    def words(self) -> str:
        """What is looked for."""
        return str(self.box.text().strip())

    def show_count(self, files: int, matches: int | None) -> None:
        """Show how many files there are, and how many of them match."""
        self._files, self._matches = files, matches
        self._say()

    def show_indexing(self, indexing: Indexing) -> None:
        """Show how far the service is with looking through its folders."""
        self._indexing = indexing
        self.progress.setVisible(indexing.active)
        self.progress.setRange(0, max(1, indexing.of))
        self.progress.setValue(indexing.done)
        self._say()

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:  # noqa: N802 (Qt)
        """Arrow down and return lead to the list, escape forgets the text."""
        if event.type() == QtCore.QEvent.Type.KeyPress and isinstance(event, QtGui.QKeyEvent):
            if event.key() in DOWN:
                self.left.emit()
                return True
            if event.key() == QtCore.Qt.Key.Key_Escape:
                self.box.clear()
                return True
        return bool(super().eventFilter(watched, event))

    def _say(self) -> None:
        files = f"{self._files} file{'' if self._files == 1 else 's'}"
        if self._matches is not None:
            self.line.setText(f"{self._matches} of {files}")
        elif not self._indexing.active:
            self.line.setText(files if self._files else "No files yet")
        elif self._indexing.of:
            self.line.setText(f"Looking through the folders: {self._indexing.done} of {self._indexing.of}")
        else:
            self.line.setText("Looking through the folders…")
