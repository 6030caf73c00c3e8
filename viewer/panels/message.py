"""Words where a picture would be, and a button for what can be done about it."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets


class Message(QtWidgets.QFrame):
    """Says why there is no picture."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("canvas")
        self._words, self.button = QtWidgets.QLabel(), QtWidgets.QPushButton()
        self._words.setObjectName("canvasText")
        self._words.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self._words.setWordWrap(True)
        self._words.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        self.button.hide()
        column = QtWidgets.QVBoxLayout(self)
        column.setSpacing(10)
        column.addStretch(1)
        column.addWidget(self._words)
        column.addWidget(self.button, 0, QtCore.Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(1)

    def text(self) -> str:
        """Return what it says."""
        return str(self._words.text())

    def say(self, text: str, button: str = "") -> None:
        """Say something, and offer what the button says; without one, nothing."""
        self._words.setText(text)
        self.button.setText(button)
        self.button.setVisible(bool(button))
