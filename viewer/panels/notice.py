"""A line below the list that says what was done, or asks, with one or two buttons. Never a dialog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

if TYPE_CHECKING:
    from collections.abc import Callable


class Notice(QtWidgets.QFrame):
    """Says one thing and offers to do another; gone when it is done or waved away."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        self.text = QtWidgets.QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.button = QtWidgets.QPushButton()
        self.close_button = QtWidgets.QPushButton("✕")
        self.close_button.setObjectName("flat")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(8, 4, 4, 4)
        row.setSpacing(4)
        row.addWidget(self.text, 1)
        for button in (self.button, self.close_button):
            button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
            row.addWidget(button)
        self._action: Callable[[], None] | None = None
        self.button.clicked.connect(lambda _checked: self._act())
        self.close_button.clicked.connect(lambda _checked: self.dismiss())
        self.hide()

    def say(self, text: str, button: str, action: Callable[[], None]) -> None:
        """Show a text, and a button that does `action`; what stood there before is gone."""
        self.text.setText(text)
        self.button.setText(button)
        self._action = action
        self.show()

    def dismiss(self) -> None:
        """Offer it no more."""
        self._action = None
        self.hide()

    def _act(self) -> None:
        action = self._action
        self.dismiss()
        if action is not None:
            action()
