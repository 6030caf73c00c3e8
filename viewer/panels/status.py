"""The line at the bottom: connection, position, what is under the mouse, and the cost of fetching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.readout import bytes_text, timing_text
from viewer.theme import DARK

if TYPE_CHECKING:
    from viewer.figures import Figures
    from viewer.theme import Theme


class StatusBar(QtWidgets.QWidget):
    """Left: where we are. Right: latency, bytes of a frame, cache, frames per second."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_StyledBackground)
        self._service, self._theme, self._is_connected = service, DARK, False
        self.connection, self.position = QtWidgets.QLabel(), QtWidgets.QLabel()
        self.mouse, self.figures = QtWidgets.QLabel(), QtWidgets.QLabel()
        for label in (self.mouse, self.figures):
            label.setObjectName("dim")
        self.mouse.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Preferred)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(12, 4, 12, 4)
        row.setSpacing(18)
        row.addWidget(self.connection)
        row.addWidget(self.position)
        row.addWidget(self.mouse, 1)
        row.addWidget(self.figures)
        self.show_connection(False)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self.show_connection(self._is_connected)

    def show_connection(self, connected: bool) -> None:
        """Green dot or red dot."""
        self._is_connected = connected
        colour = self._theme.good if connected else self._theme.bad
        word = "connected" if connected else "not connected"
        self.connection.setText(f"<span style='color:{colour}'>●</span>&nbsp; {self._service} {word}")

    def show_position(self, indices: str, place: str, calibration: str) -> None:
        """Position in pixels, and in units where the scan has them; what has none is said."""
        dim = f"<span style='color:{self._theme.dim}'>"
        parts = [f"{dim}position</span> {indices} px" if indices else "", place]
        parts.append(f"<span style='color:{self._theme.busy}'>{calibration}</span>" if calibration else "")
        self.position.setText("&nbsp; ".join(part for part in parts if part))

    def show_mouse(self, text: str) -> None:
        """Show what is under the mouse."""
        self.mouse.setText(text)

    def show_figures(self, figures: Figures) -> None:
        """Cost of fetching: latency, bytes that travelled for a frame, cache, rate; in the tool tip, by stage."""
        latency = "–" if figures.latency is None else f"{1000 * figures.latency:.0f} ms"
        used, capacity = figures.cache_used / 1024**2, figures.cache_capacity / 1024**2
        self.figures.setText(
            f"latency {latency} · frame {bytes_text(figures.frame_bytes)} · "
            f"cache {used:.0f} / {capacity:.0f} MiB · {figures.frames_per_second} fps"
        )
        self.figures.setToolTip(timing_text(figures.round_trip, figures.stages))
