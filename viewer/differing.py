"""Subtracting pictures without making the window wait: one worker thread, the newest wins."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore

from viewer.compared import difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from viewer.picture import Picture


class Differ(QtCore.QObject):
    """Computes B − A of what it was given last; what came before and was not begun is forgotten."""

    done = QtCore.Signal(int, object)  # number of the pair, Picture
    _came = QtCore.Signal(int, object)

    def __init__(self) -> None:
        super().__init__()
        self._wake = threading.Condition()
        self._pair: tuple[int, NDArray[Any], NDArray[Any]] | None = None
        self._number = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._came.connect(self._arrive, QtCore.Qt.ConnectionType.QueuedConnection)

    def ask(self, a: NDArray[Any], b: NDArray[Any]) -> int:
        """Subtract `a` from `b`, two arrays of one shape; returns the number that `done` will tell."""
        with self._wake:
            self._number += 1
            self._pair = self._number, a, b
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="viewer-difference", daemon=True)
                self._thread.start()
            self._wake.notify()
            return self._number

    def close(self) -> None:
        """End the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(1.0)

    def _work(self) -> None:
        while (pair := self._take()) is not None:
            number, a, b = pair
            picture = difference(a, b)
            if not self._closed:
                self._came.emit(number, picture)

    def _take(self) -> tuple[int, NDArray[Any], NDArray[Any]] | None:
        with self._wake:
            while self._pair is None and not self._closed:
                self._wake.wait()
            pair, self._pair = self._pair, None
            return None if self._closed else pair

    def _arrive(self, number: int, picture: Picture) -> None:
        if not self._closed:
            self.done.emit(number, picture)
