"""The row of switches above pictures that are compared."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.link import RATES
from viewer.panels.toolbar import Choice


class Switches(QtWidgets.QWidget):
    """Levels for all, difference, flicker and how fast, and the way back."""

    rate_chosen = QtCore.Signal(int)
    closed = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.shared = _switch(
            "Shared levels", "Pictures of a kind with the same levels, or each with its own"
        )
        self.difference = _switch("B − A", "Show what B has more than A (D)")
        self.flicker = _switch(
            "Flicker", "Show A and B in turns in one place (F); B while the space bar is held"
        )
        self.shared.setChecked(True)
        self.rate = Choice()
        self.rate.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        for hertz in RATES:
            self.rate.addItem(f"{hertz} Hz", hertz)
        self.rate.setCurrentIndex(RATES.index(2))
        self.close_button = _switch("✕", "Show one node again (C)")
        self.close_button.setCheckable(False)
        self.close_button.setObjectName("flat")
        bar = QtWidgets.QHBoxLayout(self)
        bar.setContentsMargins(0, 0, 0, 0)
        bar.setSpacing(6)
        for widget in (self.shared, self.difference, self.flicker, self.rate):
            bar.addWidget(widget)
        bar.addStretch(1)
        bar.addWidget(self.close_button)
        self.rate.activated.connect(lambda index: self.rate_chosen.emit(RATES[index]))
        self.close_button.clicked.connect(lambda _checked: self.closed.emit())

    def set_rate(self, hertz: int) -> None:
        """Choose how fast A and B take turns."""
        self.rate.setCurrentIndex(RATES.index(hertz))
        self.rate_chosen.emit(hertz)


def _switch(text: str, tip: str) -> QtWidgets.QPushButton:
    button = QtWidgets.QPushButton(text)
    button.setCheckable(True)
    button.setToolTip(tip)
    button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
    return button
