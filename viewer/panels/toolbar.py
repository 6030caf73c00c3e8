"""The row of buttons above the pictures: how intensity becomes brightness."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.contrast import Contrast
from viewer.panels.image import swatch
from viewer.picture import Scale
from viewer.theme import COLORMAPS

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAY_TIP = "Choose an operation and try its parameters (Ctrl+P)"
COMPARE_TIP = "Show the nodes side by side that were chosen in the list with Ctrl+click (C)"
LINK_TIP = "Copy a command that opens this very view (Ctrl+L)"
CALIBRATE_TIP = "Tell the shape of a stack, scales, units, beam energy… (Ctrl+K)"
NAMES = {Scale.LINEAR: "Linear", Scale.SQRT: "Sqrt", Scale.LOG: "Log"}


class Toolbar(QtWidgets.QWidget):
    """Scale, colormap, automatic and locked levels, fit, theme."""

    changed = QtCore.Signal(object)  # Contrast
    automatic = QtCore.Signal()
    fit = QtCore.Signal()
    other_theme = QtCore.Signal()
    calibrate_asked = QtCore.Signal()
    play_asked = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self._contrast = Contrast()
        self.scales = {scale: _button(name, "Next scale: L", checkable=True) for scale, name in NAMES.items()}
        self.colormaps = Choice()
        self.colormaps.setIconSize(QtCore.QSize(36, 10))
        self.colormaps.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
        for name in COLORMAPS:
            self.colormaps.addItem(QtGui.QIcon(swatch(name, 72, 20)), name)
        self.auto = _button("Auto", "Set the levels to 1 % and 99 % of what is shown (A)")
        self.lock = _button("Lock", "Keep the levels while frames change", checkable=True)
        self.fit_button = _button("Fit", "Show all of it (F)")
        self.calibrate = _button("Calibrate…", CALIBRATE_TIP)
        self.play = _button("Process…", PLAY_TIP)
        self.play.setEnabled(False)
        self.compare = _button("Compare", COMPARE_TIP, checkable=True)
        self.link = _button("Copy link", LINK_TIP)
        self.theme_button = _button("Light", "Switch between dark and light")
        self._lay_out()
        for scale, button in self.scales.items():
            button.clicked.connect(lambda _checked, scale=scale: self._change(scale=scale))
        self.colormaps.activated.connect(lambda index: self._change(colormap=COLORMAPS[index]))
        self.lock.clicked.connect(lambda checked: self._change(locked=checked))
        self.auto.clicked.connect(lambda _checked: self.automatic.emit())
        self.calibrate.clicked.connect(lambda _checked: self.calibrate_asked.emit())
        self.play.clicked.connect(lambda _checked: self.play_asked.emit())
        self.fit_button.clicked.connect(lambda _checked: self.fit.emit())
        self.theme_button.clicked.connect(lambda _checked: self.other_theme.emit())

    def show_contrast(self, contrast: Contrast, colours: bool, stretched: bool = True) -> None:
        """Show how the present kind of picture is drawn.

        Parameters
        ----------
        contrast : Contrast
            As it is now.
        colours : bool
            False for a curve, which has no colormap.
        stretched : bool
            False for an image in its own colours, which has no contrast at all.
        """
        for control in (*self.scales.values(), self.auto, self.lock):
            control.setEnabled(stretched)
        colours = colours and stretched
        self._contrast = contrast
        for scale, button in self.scales.items():
            button.setChecked(scale is contrast.scale)
        self.colormaps.setCurrentIndex(COLORMAPS.index(contrast.colormap))
        self.colormaps.setEnabled(colours)
        self.lock.setChecked(contrast.locked)

    def show_calibration(self, why_not: str, missing: bool) -> None:
        """Offer to calibrate, or say why that cannot be; it stands out where something is uncalibrated."""
        self.calibrate.setEnabled(not why_not)
        self.calibrate.setToolTip(why_not or CALIBRATE_TIP)
        self.calibrate.setObjectName("wanted" if missing and not why_not else "")
        self.calibrate.style().unpolish(self.calibrate)
        self.calibrate.style().polish(self.calibrate)

    def show_play(self, possible: bool) -> None:
        """Offer to make something of the node, where the service can."""
        self.play.setEnabled(possible)

    def next_scale(self) -> None:
        """Go from linear to square root to logarithm, and round again."""
        if not self.auto.isEnabled():
            return
        scales = list(Scale)
        self._change(scale=scales[(scales.index(self._contrast.scale) + 1) % len(scales)])

    def _change(self, **what: object) -> None:
        self._contrast = replace(self._contrast, **what)  # type: ignore[arg-type]
        self.show_contrast(self._contrast, self.colormaps.isEnabled())
        self.changed.emit(self._contrast)

    def _lay_out(self) -> None:
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addLayout(_joined(list(self.scales.values())))
        for widget in (self.colormaps, self.auto, self.lock, self.fit_button):
            row.addWidget(widget)
        row.addWidget(self.compare)
        row.addStretch(1)
        row.addWidget(self.link)
        row.addWidget(self.play)
        row.addWidget(self.calibrate)
        row.addWidget(self.theme_button)


class Choice(QtWidgets.QComboBox):
    """A combo box that keeps its arrow under a style sheet."""

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 (Qt)
        """Draw the arrow over the styled box."""
        super().paintEvent(event)
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(self.palette().color(QtGui.QPalette.ColorRole.ButtonText), 1.4))
        x, y = self.width() - 14, self.height() / 2
        corners = [QtCore.QPointF(x - 4, y - 2), QtCore.QPointF(x, y + 2), QtCore.QPointF(x + 4, y - 2)]
        painter.drawPolyline(QtGui.QPolygonF(corners))
        painter.end()


def _button(text: str, tip: str = "", checkable: bool = False) -> QtWidgets.QPushButton:
    """Make a button that leaves the keyboard to the pictures."""
    button = QtWidgets.QPushButton(text)
    button.setCheckable(checkable)
    button.setToolTip(tip)
    button.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
    return button


def _joined(buttons: Sequence[QtWidgets.QPushButton]) -> QtWidgets.QHBoxLayout:
    """Buttons in one row without gaps: one of them holds."""
    row = QtWidgets.QHBoxLayout()
    row.setSpacing(0)
    for number, button in enumerate(buttons):
        button.setObjectName("first" if number == 0 else "last" if number == len(buttons) - 1 else "middle")
        row.addWidget(button)
    return row
