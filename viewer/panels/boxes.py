"""The frame round a panel, and its title."""

from __future__ import annotations

from html import escape

from pyqtgraph.Qt import QtCore, QtWidgets


class Panel(QtWidgets.QFrame):
    """A bordered box with a layout of its own."""

    def __init__(self, margin: int = 8, spacing: int = 6) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.column = QtWidgets.QVBoxLayout(self)
        self.column.setContentsMargins(margin, margin, margin, margin)
        self.column.setSpacing(spacing)


class Title(QtWidgets.QLabel):
    """One line: what it is, then what of it, quieter. Cut off rather than pushing the window wider."""

    def __init__(self, dim: str = "#939ba6") -> None:
        super().__init__()
        self._dim = dim
        self._texts = ("", "")
        self.setTextFormat(QtCore.Qt.TextFormat.RichText)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)

    def set_dim(self, colour: str) -> None:
        """Choose the colour of the quieter part."""
        self._dim = colour
        self.say(*self._texts)

    def say(self, what: str, details: str = "") -> None:
        """Show a title."""
        self._texts = what, details
        self.setText(f"<b>{escape(what)}</b>&nbsp; <span style='color:{self._dim}'>{escape(details)}</span>")


def heading(text: str) -> QtWidgets.QLabel:
    """Small capitals above a part of a panel."""
    label = QtWidgets.QLabel(text.upper())
    label.setObjectName("heading")
    return label
