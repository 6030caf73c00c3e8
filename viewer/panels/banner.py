"""One line above the pictures when something is wrong. Never a dialog."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets


class Banner(QtWidgets.QFrame):
    """Says what is wrong, and offers to try again; gone when all is well."""

    again = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.text = QtWidgets.QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.text.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.again_button = QtWidgets.QPushButton("Try again")
        self.close_button = QtWidgets.QPushButton("✕")
        self.close_button.setObjectName("flat")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(12, 6, 8, 6)
        row.addWidget(self.text, 1)
        for button in (self.again_button, self.close_button):
            button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
            row.addWidget(button)
        self.again_button.clicked.connect(lambda _checked: self.again.emit())
        self.close_button.clicked.connect(lambda _checked: self.hide())
        self.hide()

    def say(self, text: str) -> None:
        """Show a text; an empty one hides the banner."""
        self.text.setText(text)
        self.setVisible(bool(text))
