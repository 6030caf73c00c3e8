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
URGENCY = (SERVICE, FRAME, DETAIL, NAVIGATOR, NOTICE)


class Troubles(QtCore.QObject):
    """What is wrong, by where it is; people read the most urgent."""

    changed = QtCore.Signal(str)  # what to read; empty when all is well

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, str] = {}

    def put(self, source: str, text: str) -> None:
        """Say what is wrong somewhere; an unknown place is the service's own."""
        self._texts[source if source in URGENCY else SERVICE] = text
        self._tell()

    def settle(self, source: str) -> None:
        """Nothing is wrong there any more."""
        if self._texts.pop(source, None) is not None:
            self._tell()

    def _tell(self) -> None:
        self.changed.emit(next((self._texts[source] for source in URGENCY if source in self._texts), ""))


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
        self._service, self._fetcher, self._troubles = service, fetcher, troubles
        self._heartbeat_ms, self._retry_ms = heartbeat_ms, retry_ms
        self._asked = self._lost = self._key_refused = False
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self._ask)

    def start(self) -> None:
        """Keep an eye on the service, from now on or again."""
        self._key_refused = False
        self._timer.start(self._heartbeat_ms if self.is_connected else self._retry_ms)

    def stop(self) -> None:
        """Ask no more."""
        self._timer.stop()

    def answered(self, view: str) -> bool:
        """Note that an answer came; returns True when the service was away before.

        A lost service is back when it says what it is, at the pace of that question: another answer may be
        from the cache, and not everyone who hears it asks again for what was lost. But what a service says
        of itself is for everybody, so it says nothing about a key that was refused.
        """
        self._asked = self._asked and view != ABOUT
        counts = view != ABOUT if self._key_refused else view == ABOUT or not self._lost
        if self.is_connected or not counts:
            return False
        self.is_connected, self._lost = True, False
        self._timer.setInterval(self._heartbeat_ms)
        self._troubles.settle(SERVICE)
        self.connected.emit(True)
        return True

    def failed(self, view: str, error: ServiceError) -> bool:
        """Note an error; returns True when it is one of the connection or the key, not of what was asked."""
        self._asked = self._asked and view != ABOUT
        if isinstance(error, Unreachable):
            self._lost = True
            self._away(f"{error} Trying again.")
        elif isinstance(error, Unauthorised):
            self._away(str(error))
            self._key_refused = True
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
