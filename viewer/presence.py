"""Whether the service is there, and what is wrong at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.errors import Unauthorised, Unreachable

if TYPE_CHECKING:
    from viewer.errors import ServiceError
    from viewer.fetch import Fetcher
    from viewer.wire import Service

ABOUT = "about"
# Whose trouble a person reads first.
SERVICE, FRAME, DETAIL, NAVIGATOR, NOTICE = "service", "frame", "detail", "navigator", "notice"
# What is painted beside these says itself what it misses; its views are called so, and by a number.
BESIDE = "beside"
PICTURES = (FRAME, DETAIL, NAVIGATOR)
URGENCY = (SERVICE, *PICTURES, NOTICE)


class Troubles(QtCore.QObject):
    """What is wrong, by where it is; people read the most urgent."""

    changed = QtCore.Signal(str)  # what to read; empty when all is well

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, str] = {}

    def put(self, source: str, text: str) -> None:
        """Say what is wrong somewhere; an unknown place is as urgent as the service."""
        self._texts[source] = text
        self._tell()

    def settle(self, source: str) -> None:
        """Nothing is wrong there any more."""
        if self._texts.pop(source, None) is not None:
            self._tell()

    def _tell(self) -> None:
        self.changed.emit(self._texts.get(min(self._texts, key=_rank, default=""), ""))


def _rank(source: str) -> int:
    return URGENCY.index(source) if source in URGENCY else 0


class Presence(QtCore.QObject):
    """Notices when the service goes away, and asks for it until it is back.

    Parameters
    ----------
    service : Service
        Asked what it is: the cheapest question.
    fetcher : Fetcher
        In whose calling thread it is asked.
    troubles : Troubles
        Where it is told.
    heartbeat_ms, retry_ms : int
        How often to ask: when the service is there, and when it is not.
    """

    connected = QtCore.Signal(bool)

    def __init__(
        self, service: Service, fetcher: Fetcher, troubles: Troubles, heartbeat_ms: int, retry_ms: int
    ) -> None:
        super().__init__()
        self.is_connected = False
        self.refused: str | None = None  # which view asked with a key that will not do
        self._service, self._fetcher, self._troubles = service, fetcher, troubles
        self._heartbeat_ms, self._retry_ms = heartbeat_ms, retry_ms
        self._asked = self._lost = False
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self._ask)

    def start(self) -> None:
        """Keep an eye on the service, from now on or again."""
        self.refused = None
        self._timer.start(self._heartbeat_ms if self.is_connected else self._retry_ms)

    def stop(self) -> None:
        """Ask no more."""
        self._timer.stop()

    def answered(self, view: str) -> bool:
        """Note that the service answered; returns True when it was away before.

        A lost service is back when it says what it is, at the pace of that question: not everyone who hears
        another answer asks again for what was lost. But what it says of itself is for everybody, and what it
        lists may be for more than may read it: a key that was refused is known by what it was refused.
        """
        self._asked = self._asked and view != ABOUT
        if self.refused is not None:
            counts = view == self.refused or view in PICTURES
        else:
            counts = view == ABOUT or not self._lost
        if self.is_connected or not counts:
            return False
        self.is_connected, self._lost, self.refused = True, False, None
        self._timer.setInterval(self._heartbeat_ms)
        self._troubles.settle(SERVICE)
        self.connected.emit(True)
        return True

    def failed(self, view: str, error: ServiceError) -> bool:
        """Note an error; returns True when it is one of the connection or the key, not of what was asked."""
        self._asked = self._asked and view != ABOUT
        if isinstance(error, Unreachable):
            self._lost, self.refused = True, None  # when it is back, it tells again of what it refuses
            self._away(f"{error} Trying again.")
            if not self._timer.isActive():
                self._timer.start(self._retry_ms)
        elif isinstance(error, Unauthorised):
            self._away(str(error))
            self.refused = self.refused if self.refused in PICTURES else view
            self._timer.stop()  # asking again with the same key is of no use
        return isinstance(error, Unreachable | Unauthorised)

    def _away(self, text: str) -> None:
        self._troubles.put(SERVICE, text)
        if self.is_connected:
            self.is_connected = False
            self._timer.setInterval(self._retry_ms)  # once: this starts it anew, which errors must not delay
            self.connected.emit(False)

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._fetcher.call(ABOUT, self._service.about)
