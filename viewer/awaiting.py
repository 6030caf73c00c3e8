"""While a whole scan is read for what a person waits for: how far that is, instead of the picture of before.

It can be cancelled there and in the list, and begun again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.errors import Refused, ServiceError
from viewer.nodes import PREVIEW
from viewer.panels.branches import offer
from viewer.presence import BESIDE, FRAME, NOTICE
from viewer.trials import Trial

if TYPE_CHECKING:
    from pyqtgraph.Qt import QtWidgets

    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.rows import Row
    from viewer.session import Session
    from viewer.view_state import Request
    from viewer.wire import Service

    Path = tuple[str, ...]

JOBS = "/api/v1/jobs"
# What fails of its own questions is told here, or not at all: a preview that was refused has nothing to wait for.
AWAITING = f"{BESIDE} awaiting"
PULSE_MS = 750
PATIENCE = 2  # pulses; what comes sooner needs no words
CANCEL, COMPUTE = "Cancel", "Compute"


def begin(service: Service, path: Path) -> str:
    """Have a node computed that needs the whole scan, also one that was cancelled; returns the job's id."""
    return str(service.send("POST", JOBS, json={"path": "/".join(path)}).json()["data"]["id"])


def cancel(service: Service, path: Path) -> None:
    """End the computation of a node; what is computed stays. Its job is the one that asking for it again gives."""
    service.send("DELETE", f"{JOBS}/{begin(service, path)}")


def as_it_is_now(service: Service, wanted: Request | Trial) -> Node:
    """Return what the service says of a node that was asked for, or of one that is only tried."""
    if isinstance(wanted, Trial):
        return service.describe(wanted)
    return replace(service.node(_address(wanted.node)), path=wanted.node.path)


def what_of(node: Node) -> str:
    """Return what can be done about the computation of a node."""
    return CANCEL if node.state == "computing" else COMPUTE if node.can_go_on else ""


def said_of(node: Node) -> str:
    """Return how far a node is that needs the whole scan, or why it is not gone on with."""
    if node.can_go_on:
        return node.error or f"Computing {node.called} was cancelled."
    done, of = node.progress or (0, 0)
    far = f": {100 * done // of} %, {done} of {of} frames." if of else "."
    return f"{'This' if node.is_preview else node.called} needs the whole scan{far}"


def _address(node: Node) -> Path:
    """Where a node is read: what nobody keeps has no name of its own."""
    return (*node.tree, f"{PREVIEW}@{node.key}") if node.is_preview else node.path


class Awaiting(QtCore.QObject):
    """Asks how far a computation is while nothing of what was asked for is on the screen.

    Parameters
    ----------
    session : Session
        What is shown, and what is waited for.
    """

    said = QtCore.Signal(str, str)  # why there is no picture, and what can be done about it: a button

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._painted: Node | None = None
        self._about: Request | Trial | None = None  # what was looked at
        self._offered: Node | None = None  # what a button is about
        self._pulses = 0
        self._asked = False
        self._timer = QtCore.QTimer(self, interval=PULSE_MS)
        self._timer.timeout.connect(self._pulse)
        session.framed.connect(self._paint)
        session.chosen.connect(lambda _state: self._forget())
        session.blanked.connect(self._blank)
        session.fetcher.answered.connect(self._answered)
        session.library.opened.connect(lambda *_: self._listed())
        self._timer.start()

    @property
    def wanted(self) -> Request | Trial | None:
        """The preview, or the first frame of a node, that has not come."""
        fetcher = self._session.fetcher
        first = self._session.state.node != self._painted
        return fetcher.wanted(PREVIEW) or (fetcher.wanted(FRAME) if first else None)

    def offer(self, menu: QtWidgets.QMenu, row: Row) -> None:
        """Add to the menu of a node what can be done about its computation."""
        node = self._session.find(row.node) if row.node is not None else None
        if node is not None and (what := what_of(node)):
            why_not = self._session.maker.why_not_make(node.tree)
            offer(
                menu, f"{what} computing" if what == CANCEL else what, lambda: self._do(what, node), why_not
            )

    def act(self, what: str) -> None:
        """Do what was offered beside the words."""
        if self._offered is not None:
            self._do(what, self._offered)

    def _do(self, what: str, node: Node) -> None:
        session, do = self._session, cancel if what == CANCEL else begin

        def came(_: object, error: ServiceError | None) -> None:
            if error is not None:
                session.troubles.put(NOTICE, str(error))
            elif what == COMPUTE and node.is_preview:
                session.relisted.emit(True)  # it is tried again
            elif what == COMPUTE:
                session.try_again()
            self._list(node)

        session.fetcher.call(AWAITING, lambda: do(session.service, _address(node)), came)

    def _pulse(self) -> None:
        wanted = self.wanted
        self._pulses = self._pulses + 1 if wanted is not None else 0
        if wanted is not None and self._pulses >= PATIENCE and not self._asked:
            self._look(wanted)

    def _answered(self, answer: Answer) -> None:
        """Look at what was refused: it may have been cancelled, by whomever."""
        if answer.view in (FRAME, PREVIEW) and answer.request and isinstance(answer.error, Refused):
            self._look(answer.request)

    def _look(self, wanted: Request | Trial) -> None:
        """Ask what the service says of it now; of several meanwhile, only of the last."""
        asked, self._asked, self._about, service = self._asked, True, wanted, self._session.service
        if asked:
            return
        self._session.fetcher.call(
            AWAITING, lambda: as_it_is_now(service, wanted), partial(self._told, wanted)
        )

    def _told(self, wanted: Request | Trial, node: Node | None, _error: ServiceError | None) -> None:
        self._asked = False
        if self._about is not None and wanted is not self._about:
            self._look(self._about)
            return
        if node is None or self._about is None or not (what := what_of(node)):
            return
        self._say(said_of(node), node, what)
        if what == COMPUTE:
            self._session.troubles.settle(FRAME)
        elif self.wanted is not None:
            self._list(node)  # which says how far it is, too
        else:
            self._session.try_again()  # it was refused, and has been begun again meanwhile

    def _listed(self) -> None:
        """Ask again for what was cancelled, when somebody has begun it again before the list told of either."""
        shown, offered = self._session.state.node, self._offered
        now = self._session.find(shown.path) if shown is not None else None
        if (
            self._about is not None
            and offered is not None
            and offered.can_go_on
            and now
            and not now.can_go_on
        ):
            self._session.try_again()

    def _say(self, text: str, node: Node, what: str) -> None:
        self._offered = node
        self.said.emit(text, "" if self._session.maker.why_not_make(node.tree) else what)

    def _blank(self, why: str) -> None:
        if (node := self._session.state.node) is not None:
            self._say(why, node, what_of(node))

    def _forget(self) -> None:
        """Say nothing of what was looked at: it is there, or something else is shown."""
        self._about = None

    def _paint(self, answer: Answer) -> None:
        self._painted = answer.request.node if answer.request is not None else None
        self._forget()

    def _list(self, node: Node) -> None:
        library = self._session.library
        file = library.file_of(node.tree)
        library.open(file.path if file is not None else node.tree)
