"""Pictures of several nodes at one position: what is asked for, and what is painted together. Knows no panel.

Each node has workers of its own, as a single view has. All of a position are asked for together, once none of them
would wait: were each to take the newest position when it is free, each would take another one, and hardly a set would
be complete. A set is painted when all of it has come; whoever is slow holds up the others for a tenth of a second at
most.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.compared import LETTERS, Rounds
from viewer.errors import Busy, Gone, Unauthorised, Unreachable
from viewer.lanes import REST_SECONDS
from viewer.nodes import Kind
from viewer.presence import BESIDE
from viewer.travel import Travel
from viewer.view_state import (
    ViewState,
    ahead_requests,
    carried_position,
    detail_request,
    first_stride,
    frame_request,
    map_request,
    next_stride,
)

if TYPE_CHECKING:
    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.session import Session
    from viewer.view_state import Region

# So long does a set wait for a slow one, before it is asked for and before it is painted.
WAIT_MS = 100
# Next to more pictures there is no time for those of the next positions.
FEW = 2
AHEAD_BYTES = 4 * 1024**2
MOST_SEQUENCES = 256


class Beside(QtCore.QObject):
    """Asks for several nodes at once.

    Parameters
    ----------
    session : Session
        Where a person points, and what fetches.
    """

    came = QtCore.Signal(object)  # numbers of the nodes whose pictures are to be painted now
    detailed = QtCore.Signal(int, object)  # number of a node, Answer: what is on the screen of a large image
    failed = QtCore.Signal(int, str)  # number of a node, and why it has no picture

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.nodes: list[Node] = []
        self.painted: dict[int, Answer] = {}
        self._rounds = Rounds(0)
        self._sequences: dict[int, tuple[int, int]] = {}  # of an answer: which node, which round
        self._whole: dict[int, Answer] = {}  # maps, which are the same at every position
        self._seen: dict[int, tuple[Region, tuple[int, int]]] = {}  # of each, and how large the screen is
        self._travel = Travel()
        self._late = QtCore.QTimer(self, singleShot=True, interval=WAIT_MS)
        self._late.timeout.connect(lambda: self._paint(self._rounds.due()))
        self._moved_at = math.inf  # when a person moved to where nothing is asked for yet
        self._rest = QtCore.QTimer(self, singleShot=True, interval=round(1e3 * REST_SECONDS))
        self._rest.timeout.connect(self.ask)
        session.fetcher.answered.connect(self._answered)

    def begin(self, nodes: list[Node]) -> set[int]:
        """Ask for these from now on; returns the numbers of those whose pictures stay as they are."""
        self.drop()
        pairs = enumerate(zip(self.nodes, nodes, strict=False))
        same = {which for which, (old, new) in pairs if new == old or new.goes_on(old)}
        keys = [node.key for node in self.nodes]
        self.nodes = nodes
        self.painted = {which: answer for which, answer in self.painted.items() if which in same}
        self._whole = {
            which: answer
            for which, answer in self._whole.items()
            if which in same and keys[which] == nodes[which].key
        }
        self._rounds = Rounds(len(self._members()))
        self._travel.begin(self._session.state.position, perf_counter())
        self.ask()
        return set(self.painted)

    def end(self) -> None:
        """Ask for nothing any more."""
        self.drop()
        self.nodes, self.painted, self._whole, self._seen = [], {}, {}, {}

    def is_older(self, which: int) -> bool:
        """Return True where a picture is of an older position than others."""
        places = [number for number, _node in self._members()]
        return which in places and self._rounds.is_older(places.index(which))

    def together(self, one: int, other: int) -> bool:
        """Return True where two pictures are of the same position."""
        return (
            one in self.painted and other in self.painted and not (self.is_older(one) or self.is_older(other))
        )

    def _members(self) -> list[tuple[int, Node]]:
        """Return those that can be shown, by their letters."""
        return [(which, node) for which, node in enumerate(self.nodes) if node.error is None]

    def _view(self, which: int) -> str:
        return f"{BESIDE} {LETTERS[which]}"

    def position(self, node: Node) -> tuple[int, ...]:
        """Return where the person points, on the axes of a node."""
        return self._state(node).position

    def _state(self, node: Node) -> ViewState:
        state = self._session.state
        axes = state.node.position_axes if state.node is not None else ()
        return ViewState(node, carried_position(state.position, axes, node.position_axes))

    def ask(self, rescaled: bool = False) -> None:
        """Ask for all of them at the present position."""
        self._moved_at = math.inf
        self._rest.stop()
        number = self._rounds.begin()
        if rescaled:
            self._whole.clear()
        for place, (which, node) in enumerate(self._members()):
            if node.kind is Kind.MAP:
                if (known := self._whole.get(which)) is not None:
                    self._gather(place, number, known)
                else:
                    self._ask_map(which, place, first_stride([axis.size for axis in node.shown_axes]), number)
            elif (request := frame_request(self._state(node))) is not None:
                work = self._session.contrasts.work(node)
                sequence = self._session.fetcher.ask(self._view(which), request, work)
                self._note(sequence, place, number)

    def _ask_map(self, which: int, place: int, stride: int, number: int, wait: float = 0.0) -> None:
        node = self.nodes[which]
        request = map_request(node, self._state(node).position, stride)
        work = self._session.contrasts.work(node, stride)
        self._note(self._session.fetcher.ask(self._view(which), request, work, wait), place, number)

    def _note(self, sequence: int, place: int, number: int) -> None:
        self._sequences[sequence] = place, number
        while len(self._sequences) > MOST_SEQUENCES:
            del self._sequences[next(iter(self._sequences))]

    def follow(self) -> None:
        """Ask for the position that is pointed at now, as soon as all can be, and for those that may come next."""
        self._moved_at = min(self._moved_at, perf_counter())
        self._rest.start()
        self._ask_if_free()
        turned = self._travel.go(self._session.state.position, perf_counter())
        here = self._session.state
        for which, node in self._members() if len(self.nodes) <= FEW else ():
            if node.kind is Kind.MAP or here.node is None:
                continue
            fetcher, view = self._session.fetcher, self._view(which)
            positions = [
                carried_position(position, here.node.position_axes, node.position_axes)
                for position in self._travel.ahead(fetcher.window(view).round_trip)
            ]
            requests = ahead_requests(self._state(node), positions)
            fetcher.ahead(view, [one for one in requests if one.nbytes <= AHEAD_BYTES], turned)

    def _ask_if_free(self) -> None:
        """Ask for the position that a person moved to where all can be asked, or have waited for long."""
        if math.isinf(self._moved_at):
            return
        views = [self._view(which) for which, node in self._members() if node.kind is not Kind.MAP]
        late = perf_counter() > self._moved_at + 1e-3 * WAIT_MS
        if late or all(map(self._session.fetcher.free, views)):
            self.ask()

    def drop(self) -> None:
        """Want nothing of what was asked for."""
        for which in range(len(self.nodes)):
            self._session.fetcher.drop(self._view(which))
            if which in self._seen:
                self._session.fetcher.drop(self._fine(which))
        self._sequences.clear()
        self._late.stop()
        self._rest.stop()
        self._moved_at = math.inf

    # What is on the screen of large images

    def look(self, which: int, visible: Region, screen: tuple[int, int]) -> None:
        """Refine the part of an image that is on the screen, once the whole of it is there."""
        self._seen[which] = visible, screen
        self.refine(which)

    def refine(self, which: int) -> None:
        """Ask for what is on the screen now, of a picture that is painted."""
        answer = self.painted.get(which)
        if which not in self._seen or answer is None or answer.request is None:
            return
        visible, screen = self._seen[which]
        request = detail_request(
            ViewState(self.nodes[which], self._state(self.nodes[which]).position, visible, screen)
        )
        if request is not None:
            work = self._session.contrasts.work(request.node)
            self._session.fetcher.ask(self._fine(which), request, work)
        elif self._session.fetcher.busy(self._fine(which)):
            self._session.fetcher.drop(self._fine(which))

    def _fine(self, which: int) -> str:
        return f"{self._view(which)} in detail"

    def _detail_came(self, which: int, answer: Answer) -> None:
        """Tell of it, where it belongs to what is painted; without it the whole picture stays."""
        painted = self.painted.get(which)
        if answer.error is None and painted is not None and painted.request is not None:
            request = answer.request
            if (request.node, request.position) == (painted.request.node, painted.request.position):
                self.detailed.emit(which, answer)

    # Answers

    def _answered(self, answer: Answer) -> None:
        fine = [self._fine(which) for which in range(len(self.nodes))]
        if answer.view in fine:
            self._detail_came(fine.index(answer.view), answer)
            return
        self._ask_if_free()
        place, number = self._sequences.pop(answer.sequence, (-1, 0))
        if place < 0 or answer.request is None or place >= len(self._members()):
            return
        which, node = self._members()[place]
        if answer.request.node != node:
            return
        if answer.error is not None:
            self._failed(which, place, number, answer)
            return
        if node.kind is Kind.MAP:
            self._refine(which, place, number, answer)
        self._gather(place, number, answer)

    def _refine(self, which: int, place: int, number: int, answer: Answer) -> None:
        """After one level of a map, the next; the finest is the same at every position."""
        if answer.request is None:
            return
        if answer.request.stride == 1:
            self._whole[which] = answer
        else:
            self._ask_map(which, place, next_stride(answer.request.stride, answer.round_trip), number)

    def _gather(self, place: int, number: int, answer: Answer | None) -> None:
        """Paint what is complete; what is not waits a moment for the others."""
        whole = self._rounds.came(place, number, answer)
        if whole:
            self._paint(whole)
        if not self._rounds.waiting:
            self._late.stop()
        elif not self._late.isActive():
            self._late.start()

    def _paint(self, answers: dict[int, Answer | None]) -> None:
        members = self._members()
        for place, answer in answers.items():
            if answer is not None:
                self.painted[members[place][0]] = answer
        frames = [
            one for one in answers.values() if one is not None and one.request.node.kind is not Kind.MAP
        ]
        if frames:  # a set is as late as its last picture
            self._session.meter.count(max(frames, key=lambda answer: answer.latency))
        self.came.emit({members[place][0] for place, answer in answers.items() if answer is not None})

    def _failed(self, which: int, place: int, number: int, answer: Answer) -> None:
        error, request = answer.error, answer.request
        if isinstance(error, Busy) and request is not None and self._session.fetcher.is_newest(answer):
            work = self._session.contrasts.work(request.node, request.stride)
            wait = error.retry_after
            sequence = self._session.fetcher.ask(self._view(which), request, work, wait)
            self._note(sequence, place, number)
        elif isinstance(error, Gone):
            library = self._session.library
            file = library.file_of(answer.request.node.path)
            library.open(file.path if file is not None else answer.request.node.tree)
        elif not isinstance(error, Unreachable | Unauthorised | Busy):
            self.painted.pop(which, None)
            self.failed.emit(which, str(error))
            self._gather(place, number, None)
