"""The frame round a panel, its title, and colours for what no style sheet reaches."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

if TYPE_CHECKING:
    from viewer.theme import Theme


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
        self.setToolTip(f"{what} · {details}" if details else what)
        self.setText(f"<b>{escape(what)}</b>&nbsp; <span style='color:{self._dim}'>{escape(details)}</span>")


def dress(widget: QtWidgets.QWidget) -> None:
    """Let a widget look as the style sheet wants it now: after its name or a property changed."""
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def heading(text: str) -> QtWidgets.QLabel:
    """Small capitals above a part of a panel."""
    label = QtWidgets.QLabel(text.upper())
    label.setObjectName("heading")
    return label


def palette(theme: Theme) -> QtGui.QPalette:
    """Return colours of what no style sheet reaches: frames of pop-ups, placeholder texts."""
    role, palette = QtGui.QPalette.ColorRole, QtGui.QPalette()
    colours = {
        role.Window: theme.panel,
        role.Base: theme.panel,
        role.Button: theme.field,
        role.ToolTipBase: theme.panel,
        role.WindowText: theme.text,
        role.Text: theme.text,
        role.ButtonText: theme.text,
        role.ToolTipText: theme.text,
        role.PlaceholderText: theme.dim,
        role.Highlight: theme.selected,
        role.HighlightedText: theme.text,
    }
    for which, colour in colours.items():
        palette.setColor(which, QtGui.QColor(colour))
    return palette
