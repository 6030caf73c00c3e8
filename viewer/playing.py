"""Playing with parameters: what is tried is shown before it is kept.

Each try is one round trip: the slice under the crosshair and what it is a slice of come at the same time. From
then on it is a node like others, read at its pinned address at whatever position, through the same cache. It
knows no panel; lives in the GUI thread and never waits.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore

from viewer.addresses import locate
from viewer.errors import Busy, Gone, Overtaken, Refused, Unauthorised, Unreachable
from viewer.nodes import PREVIEW, Kind
from viewer.presence import FRAME, NOTICE
from viewer.trials import Trial
from viewer.view_state import ViewState, carried_position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from viewer.errors import ServiceError
    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.picture import Picture
    from viewer.session import Session

MOST_KNOWN = 512
TAKEN = 409


class Playing(QtCore.QObject):
    """One operation that a person tries on a node, new or in the place of one that is there.

    Parameters
    ----------
    session : Session
        What is shown follows through it.
    """

    accepted = QtCore.Signal()  # what is tried now can be made
    refused = QtCore.Signal(str, bool)  # why not, and whether it is the name that is taken
    overtaken = QtCore.Signal(object)  # the node as somebody else changed it
    made = QtCore.Signal(object, bool)  # the node, and whether it was there before with other parameters
    ended = QtCore.Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.source: Node | None = None
        self.changing: Node | None = None
        self._wanted: Trial | None = None
        self._objected: Trial | None = (
            None  # what could not be kept: that is still so when its preview has come
        )
        self._shown: Node | None = None
        self._like: dict[str, Node] = {}  # what each operation made last of the source
        self._known: OrderedDict[tuple[Node, str], Node] = OrderedDict()
        session.fetcher.answered.connect(self._answered)
        session.chosen.connect(self._chosen)
        session.relisted.connect(self._relisted)

    @property
    def active(self) -> bool:
        """True while something is tried."""
        return self.source is not None

    @property
    def waiting(self) -> bool:
        """True while what is shown is not yet what was tried last."""
        return self._session.fetcher.busy(PREVIEW)

    def begin(self, source: Node, changing: Node | None = None) -> None:
        """Try something on a node from now on, or other parameters for one that was made from it."""
        self._forget()
        self.source, self.changing = source, changing

    def attempt(self, operation: str, parameters: Mapping[str, Any]) -> None:
        """Show what an operation makes of the source, as soon as it has come."""
        if self.source is None:
            return
        told = json.dumps(parameters, sort_keys=True)
        trial = self._wanted = Trial(self.source, operation, told, self._view(operation))
        if (node := self._known.get((self.source, trial.steps))) is not None:
            self._session.fetcher.drop(PREVIEW)
            self._show(node, None)
            self.accepted.emit()
        else:
            self._ask(trial)

    def pause(self) -> None:
        """Show what is played with: nothing can be tried yet, and what was tried before is of another operation."""
        self._session.fetcher.drop(PREVIEW)
        self._wanted = self._shown = None
        node, back = self._session.state.node, self.changing or self.source
        if node is not None and node.is_preview and back is not None:
            self._session.choose(back)

    def keep(self, name: str | None) -> None:
        """Make a node of what was tried last; the service has computed it already."""
        trial, make = self._wanted, self._session.service.make_node
        if trial is not None:
            node = trial.node
            self._call(lambda: make(node.tree, node.name, trial.operation, trial.told, name))

    def apply(self) -> None:
        """Give the node that is being changed the parameters that were tried last."""
        trial, node, change = self._wanted, self.changing, self._session.service.change_node
        if trial is not None and node is not None:
            self._call(lambda: change(node, trial.operation, trial.told))

    def discard(self) -> None:
        """Go back to the node that was there."""
        back = self.changing or self.source
        self._end()
        if back is not None:
            self._session.choose(self._session.find(back.path) or back)

    def toggle(self) -> None:
        """Show the node that is played with, or again what was tried."""
        node, back = self._session.state.node, self.changing or self.source
        if node is not None and node.is_preview and back is not None:
            self._session.choose(back)
        elif self._shown is not None:
            self._session.choose(self._shown)

    # Trying

    def _view(self, operation: str) -> ViewState:
        """Return where the session looks, on a node like the one that is expected."""
        state, like = self._session.state, self._like.get(operation)
        if like is None or state.node is None:
            return ViewState()
        position = carried_position(state.position, state.node.position_axes, like.position_axes)
        return ViewState(like, position, None, state.screen)

    def _ask(self, trial: Trial, wait: float = 0.0) -> None:
        like, shown = trial.view.node, self._session.state.node
        if shown is not None and shown.is_preview and shown.kind is Kind.MAP:
            self._session.fetcher.drop(FRAME)  # its finer levels would stand in the way of what is tried now
        work = self._session.contrasts.work(like, self._stride(trial)) if like is not None else None

        def made(array: NDArray[Any]) -> Picture | None:
            return work(array) if work is not None and array.size else None

        self._session.fetcher.ask(PREVIEW, trial, made, wait)

    @staticmethod
    def _stride(trial: Trial) -> int:
        request = trial.request(trial.view.node) if trial.view.node is not None else None
        return request.stride if request is not None else 1

    def _answered(self, answer: Answer) -> None:
        if answer.view != PREVIEW or not isinstance(answer.request, Trial) or self.source is None:
            return
        newest = answer.request == self._wanted
        if answer.node is not None:
            self._came(answer, answer.node)
            if newest and self._wanted is not self._objected:
                self.accepted.emit()
        elif isinstance(answer.error, Busy) and newest:
            self._ask(answer.request, answer.error.retry_after)
        elif isinstance(answer.error, Gone):
            self._session.relist()
        elif newest and not isinstance(answer.error, Unreachable | Unauthorised):
            self._session.go_on()
            self.refused.emit(str(answer.error), False)

    def _came(self, answer: Answer, node: Node) -> None:
        """Remember what it turned out to be, and show it."""
        trial = answer.request
        self._known[trial.node, trial.steps] = node
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        self._like[trial.operation] = node
        request, like = trial.request(node), trial.view.node
        # A coarse map was filled up to the grid that was expected.
        other_grid = node.kind is Kind.MAP and like is not None and node.shape != like.shape
        if request is None or answer.value is None or other_grid:
            self._show(node, None)
            return
        address, _ = locate(request)
        raw = answer.value.raw
        if node.kind is not Kind.MAP and raw.size == prod(address.shape) and raw.dtype == node.dtype:
            self._session.fetcher.cache.put(address, raw.reshape(address.shape))
        self._show(node, replace(answer, view=FRAME, request=request))

    def _show(self, node: Node, frame: Answer | None) -> None:
        self._shown = node
        self._session.choose(node, frame)

    # What the session says

    def _chosen(self, state: ViewState) -> None:
        """Another node than those that are played with ends it."""
        ours = {node.path for node in (self.source, self.changing, self._shown) if node is not None}
        if self.active and state.node is not None and state.node.path not in ours:
            self._end()

    def _relisted(self, lost: bool) -> None:
        """Go on with the source as it is now; what was tried of another is tried again."""
        if self.source is None or self._wanted is None:
            return
        now = self._session.find(self.source.path)
        if now is None:
            gone = f"{self.source.called} is gone from the service: removed or renamed."
            self._session.troubles.put(NOTICE, gone)
        elif lost or now.key != self.source.key:
            self._known.clear()
            self._like.clear()
            self.source = now
            self.attempt(self._wanted.operation, self._wanted.told)

    # Keeping

    def _call(self, function: Callable[[], Node]) -> None:
        self._session.fetcher.call(PREVIEW, function, self._made)

    def _made(self, node: Node | None, error: ServiceError | None) -> None:
        session = self._session
        if node is not None:
            self.made.emit(node, self.changing is not None and self.changing.path == node.path)
            self._end()
            session.choose(node)
            file = session.library.file_of(node.path)
            session.library.open(file.path if file is not None else node.tree)
            return
        self._objected = self._wanted
        if isinstance(error, Overtaken):
            self.changing = error.node
            session.troubles.put(NOTICE, str(error))
            self.overtaken.emit(error.node)
        else:
            self.refused.emit(str(error), isinstance(error, Refused) and error.status == TAKEN)

    def _end(self) -> None:
        if self.active:
            self._forget()
            self.ended.emit()

    def _forget(self) -> None:
        self._session.fetcher.drop(PREVIEW)
        self.source = self.changing = self._wanted = self._objected = self._shown = None
        self._like.clear()
        self._known.clear()
