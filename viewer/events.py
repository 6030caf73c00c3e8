"""Following a tree: the service tells what happens to its nodes, so nobody need ask.

Server-sent events over one connection that stays open, in a thread of its own. Where the service knows no events the
list is looked at from time to time, as ever.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from pyqtgraph.Qt import QtCore

from viewer.addresses import quoted
from viewer.awaiting import Awaiting
from viewer.connections import OPENED, Call
from viewer.errors import Busy, Garbled, ServiceError, Unauthorised, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from viewer.session import Session
    from viewer.view_state import ViewState
    from viewer.wire import Service

    Path = tuple[str, ...]

# The service gives a sign of life every 15 s: after three that did not come, it is gone.
SILENCE_SECONDS = 45.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
MOST_BYTES = 64 * 1024
STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that the service tells.

    Parameters
    ----------
    name : str
        ``tree`` for how things are when one begins to follow, ``node`` for what happened to one.
    data : dict
        What it says.
    """

    name: str
    data: dict[str, Any]


def events_in(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events in the lines of a stream; what is no JSON object is left out.

    Raises
    ------
    Garbled
        An event without end.
    """
    name, data, size = "", [], 0
    for line in lines:
        size += len(line)
        if size > MOST_BYTES:
            raise Garbled("The service tells of an event without end.")
        field, _, text = line.partition(":")
        if field == "event":
            name = text.strip()
        elif field == "data":
            data.append(text.removeprefix(" "))
        elif not line:
            with suppress(ValueError):
                told = json.loads("\n".join(data))
                if isinstance(told, dict):
                    yield Event(name or "message", told)
            name, data, size = "", [], 0
        elif not field:
            size = 0  # a comment: a sign of life


class Stream:
    """One tree that is followed, in a thread, until it is ended.

    Parameters
    ----------
    service : Service
        Where.
    tree : tuple of str
        Path of the tree.
    heard : callable
        Gets each event, and None when the connection is lost; called in the thread.
    first_pause : float
        Seconds between two attempts at first; each that fails doubles it.
    """

    def __init__(
        self,
        service: Service,
        tree: Path,
        heard: Callable[[Stream, Event | None], None],
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self.tree = tree
        self._service, self._heard, self._first_pause = service, heard, first_pause
        self._ended = threading.Event()
        self._call = Call()
        self._thread = threading.Thread(target=self._run, name="viewer-events", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Hang up; nothing is heard afterwards. Does not wait."""
        self._ended.set()
        self._call.end()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        pause = self._first_pause
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=4.0)
        with self._service.client(timeout=timeout) as client:
            while not self._ended.is_set():
                try:
                    self._follow(client)
                    pause = self._first_pause  # it was there, and may be back soon
                except Busy as error:
                    pause = max(pause, error.retry_after)
                except (Unreachable, Garbled):
                    pass
                except ServiceError:
                    self._tell(None)
                    return  # it has no events, or not for this key: the list is looked at instead
                self._tell(None)
                self._ended.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _follow(self, client: httpx.Client) -> None:
        url = f"/api/v1/nodes/{quoted(self.tree)}/events"
        headers = {"Accept": STREAM, "Cache-Control": "no-store"}
        with (
            self._service.reaching(),
            client.stream("GET", url, headers=headers, extensions={"trace": self._trace}) as answer,
        ):
            if not answer.is_success:
                answer.read()
            self._service.check(answer, writing=False)
            if not answer.headers.get("Content-Type", "").startswith(STREAM):
                raise Unauthorised("This service has no events.")
            for event in events_in(answer.iter_lines()):
                self._tell(event)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Know the socket, so that another thread can hang up."""
        if event.endswith(OPENED):
            self._call.goes_over(info["return_value"].get_extra_info("socket"))

    def _tell(self, event: Event | None) -> None:
        if not self._ended.is_set():
            self._heard(self, event)


class Follower(QtCore.QObject):
    """Follows the tree that is shown, and has it listed again when something happened to it.

    Parameters
    ----------
    session : Session
        What is shown; its list and its picture change in one step, when the new list has come.
    first_pause : float
        Seconds before a lost connection is tried again.
    """

    _heard = QtCore.Signal(object, object)

    def __init__(self, session: Session, first_pause: float = FIRST_PAUSE) -> None:
        super().__init__()
        self._session, self._first_pause = session, first_pause
        self._stream: Stream | None = None
        self.live = False
        self.awaiting = Awaiting(session)  # no event says how far a computation is
        self._heard.connect(self._hear, QtCore.Qt.ConnectionType.QueuedConnection)
        session.chosen.connect(self._follow)
        session.presence.connected.connect(self._connected)
        # Whoever may not read what they see listed is not told when that changes.
        session.library.told = lambda: self.live and session.presence.refused is None

    def close(self) -> None:
        """Follow nothing any more."""
        self.live = False
        if self._stream is not None:
            self._stream.end()
            self._stream = None

    def _follow(self, state: ViewState) -> None:
        tree = state.node.tree if state.node is not None else ()
        if tree and (self._stream is None or self._stream.tree != tree):
            self.close()
            service = self._session.service
            self._stream = Stream(service, tree, self._heard.emit, self._first_pause)

    def _connected(self, is_connected: bool) -> None:
        """Begin anew with a service that is back: it may be another one."""
        if is_connected:
            self.close()
            self._follow(self._session.state)

    def _hear(self, stream: Stream, event: Event | None) -> None:
        """In the GUI thread."""
        if stream is not self._stream:
            return
        self.live = event is not None
        if event is not None:
            library = self._session.library
            file = library.file_of(stream.tree)
            library.open(file.path if file is not None else stream.tree)
