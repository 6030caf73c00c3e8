"""While a whole scan is read for what a person waits for: how far that is, instead of the picture of before."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore

from viewer.errors import ServiceError
from viewer.nodes import PREVIEW
from viewer.presence import FRAME

if TYPE_CHECKING:
    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.session import Session
    from viewer.wire import Service

    Path = tuple[str, ...]

JOBS = "/api/v1/jobs"
PULSE_MS = 750
PATIENCE = 2  # pulses; what comes sooner needs no words
BEGUN = ("waiting", "computing")


def said_of(jobs: object, tree: Path) -> str:
    """How far the newest computation over a scan is that belongs to a tree; empty where there is none.

    Parameters
    ----------
    jobs : object
        What the service lists, newest first; anything may come.
    tree : tuple of str
        Path of the tree.
    """
    above = "/".join(tree) + "/"
    for job in jobs if isinstance(jobs, list) else ():
        with suppress(KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
            if job["state"] in BEGUN and job["path"].startswith(above):
                name, done, of = (
                    job["path"].removeprefix(above).partition("@")[0],
                    int(job["done"]),
                    int(job["of"]),
                )
                what = "This" if name == PREVIEW else name
                return f"{what} needs the whole scan: {100 * done // of} %, {done} of {of} frames."
    return ""


def under_way(service: Service, tree: Path) -> str:
    """Ask the service; one that has no such list, or none for us, says nothing."""
    with suppress(ServiceError, ValueError, LookupError, TypeError):
        answer: Any = service.send("GET", JOBS).json()
        return said_of(answer["data"], tree)
    return ""


class Awaiting(QtCore.QObject):
    """Asks how far a computation is while nothing of what was asked for is on the screen.

    Parameters
    ----------
    session : Session
        What is shown, and what is waited for.
    """

    said = QtCore.Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._painted: Node | None = None
        self._pulses = 0
        self._asked = False
        self._timer = QtCore.QTimer(self, interval=PULSE_MS)
        self._timer.timeout.connect(self._pulse)
        session.framed.connect(self._paint)
        self._timer.start()

    @property
    def waiting(self) -> bool:
        """True while a preview, or the first frame of a node, has not come."""
        fetcher = self._session.fetcher
        return fetcher.busy(PREVIEW) or (fetcher.busy(FRAME) and self._session.state.node != self._painted)

    def _paint(self, answer: Answer) -> None:
        self._painted = answer.request.node if answer.request is not None else None

    def _pulse(self) -> None:
        self._pulses = self._pulses + 1 if self.waiting else 0
        node = self._session.state.node
        if self._pulses >= PATIENCE and node is not None and not self._asked:
            self._asked, service, tree = True, self._session.service, node.tree
            self._session.fetcher.call(JOBS, lambda: under_way(service, tree), self._told)

    def _told(self, said: str | None, _error: ServiceError | None) -> None:
        self._asked = False
        node, library = self._session.state.node, self._session.library
        if said and self.waiting and node is not None:
            self.said.emit(said)
            file = library.file_of(node.path)
            library.open(file.path if file is not None else node.tree)  # the list says it, too
