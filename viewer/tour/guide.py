"""What the steps of a tour are made of: waiting for what must be there, and saving what is seen."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.nodes import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from viewer.nodes import Node
    from viewer.window import Window

BOUND_SECONDS = 60.0


class TourEnded(Exception):
    """A step did not complete; the text says which."""


class Guide:
    """Waits and saves.

    Parameters
    ----------
    window : Window
        Shown and started.
    folder : Path
        Where screenshots go; made when it is not there.
    """

    def __init__(self, window: Window, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.window, self.session = window, window.session
        self.folder = folder
        self.saved: list[Path] = []

    def beside(self, window: Window) -> Guide:
        """Return a guide through another window, who goes on numbering."""
        other = Guide(window, self.folder)
        other.saved = self.saved
        return other

    def show(self, node: Node) -> None:
        """Choose a node, and wait until it is painted."""
        self.session.choose(self.session.find(node.path) or node)
        self.wait_for_frame(f"no frame of {node.name} came")

    def wait_for_frame(self, otherwise: str) -> None:
        """Wait for the picture of the present node and position."""
        self.wait(self.frame_there, otherwise)

    def frame_there(self) -> bool:
        """Return True when the picture of the present node and position is painted."""
        window, state = self.window, self.session.state
        here = state.node is not None and state.node.kind is not Kind.MAP
        if here and window.signal.painted_at != state.position[: len(window.signal.painted_at)]:
            return False
        return window.signal.picture is not None and not self.session.fetcher.busy("frame")

    def call(self, function: Callable[[], Any], otherwise: str) -> Any:
        """Run a call to the service in the session's calling thread, the window alive meanwhile."""
        came: list[Any] = []

        def heard(answer: Any) -> None:
            if answer.sequence == sequence:
                came.append(answer)

        self.session.fetcher.answered.connect(heard)
        sequence = self.session.fetcher.call("tour", function)
        try:
            self.wait(lambda: bool(came), otherwise)
        finally:
            self.session.fetcher.answered.disconnect(heard)
        if came[0].error is not None:
            raise came[0].error
        return came[0].value

    def wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Let the window live until `condition` holds.

        Raises
        ------
        TourEnded
            It does not within `BOUND_SECONDS`.
        """
        loop, ends = QtCore.QEventLoop(), monotonic() + BOUND_SECONDS
        pulse = QtCore.QTimer(interval=5)
        pulse.timeout.connect(lambda: loop.quit() if condition() or monotonic() > ends else None)
        pulse.start()
        loop.exec()
        pulse.stop()
        if not condition():
            trouble = self.window.banner.text.text()
            raise TourEnded(f"{otherwise} within {BOUND_SECONDS:.0f} s. {trouble}".strip())

    def save(self, name: str) -> None:
        """Save the window as it is, and print where."""
        self.window.show_histograms()
        path = self.folder / f"{len(self.saved) + 1:02}_{name}.png"
        if not self.window.grab().save(str(path)):
            raise TourEnded(f"{path} cannot be written")
        self.saved.append(path)
        print(path, flush=True)
