"""What a person does → what is asked for → what is shown. All state of the viewer is here.

Lives in the GUI thread and never waits: slices go through `fetch`, calls to the service through
its calling thread. It knows no panel; panels hear of it through signals.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.contrast import Contrasts
from viewer.errors import Busy, Garbled, Gone
from viewer.fetch import Fetcher
from viewer.figures import Meter
from viewer.library import LIBRARY, PULSE_MS, Library
from viewer.maker import MAKER, Maker
from viewer.nodes import PREVIEW, Kind, Sort
from viewer.presence import BESIDE, DETAIL, FRAME, NAVIGATOR, NOTICE, PICTURES, Presence, Troubles
from viewer.readout import became
from viewer.travel import Travel
from viewer.view_state import (
    Places,
    ViewState,
    ahead_requests,
    detail_request,
    first_request,
    first_stride,
    map_request,
    navigator_position,
    next_stride,
    plane_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.contrast import Contrast
    from viewer.errors import ServiceError
    from viewer.lanes import Answer
    from viewer.nodes import Entry, Node, Tree
    from viewer.view_state import Region, Request
    from viewer.walk import Changes
    from viewer.wire import Service

HEARTBEAT_MS, RETRY_MS = 5000, 1000
AHEAD_BYTES, HIDDEN_SECONDS = 4 * 1024**2, 0.2


class Session(QtCore.QObject):
    """One person looking at one service.

    Parameters
    ----------
    service : Service
        Closed with the session.
    heartbeat_ms, retry_ms : int
        How often to ask whether the service is there: when it is, and when it is not.
    pulse_ms : int
        How often to ask whether it has anything new.
    """

    chosen = QtCore.Signal(object)  # ViewState: another node, or the same with another key
    moved = QtCore.Signal(object)  # ViewState
    framed = QtCore.Signal(object)  # Answer with a Picture: a frame, or the map that is shown
    detailed = QtCore.Signal(object)  # Answer with a Picture: the visible region of a large image
    navigated = QtCore.Signal(object)  # Answer with a Picture: the navigator
    blanked = QtCore.Signal(str)  # there is no frame here, and why
    relisted = QtCore.Signal(bool)  # the tree of a preview was listed anew; whether the preview is lost

    def __init__(
        self,
        service: Service,
        heartbeat_ms: int = HEARTBEAT_MS,
        retry_ms: int = RETRY_MS,
        pulse_ms: int = PULSE_MS,
    ) -> None:
        super().__init__()
        self.service = service
        self.fetcher = Fetcher(service.read)
        self.library = Library(service, self.fetcher, pulse_ms)
        self.maker = Maker(service, self.fetcher)
        self.state = ViewState()
        self.troubles = Troubles()
        self.presence = Presence(service, self.fetcher, self.troubles, heartbeat_ms, retry_ms)
        self.contrasts = Contrasts()
        self._places, self._travel = Places(), Travel()
        self._navigator: Node | None = None
        self._navigator_waits = False
        self._relisted_for: str | None = None
        self._asked_for: tuple[str, ...] | None = None
        self._strides: dict[str, int] = {}
        self._reload, self._wait = False, 0.0
        self.own: set[int] = set()  # numbers of changes that were made here: nobody need be told of them
        self.meter = Meter()
        self.fetcher.answered.connect(self._answered)
        self.library.changed.connect(self._listing_changed)
        self.library.opened.connect(self._file_came)
        self.maker.made.connect(self.show)

    # What a person does

    def start(self) -> None:
        """List the service, and keep an eye on it."""
        self.presence.start()
        self.library.start()

    def close(self) -> None:
        """Stop everything; nothing is emitted afterwards."""
        self.presence.stop()
        self.library.stop()
        self.fetcher.close()
        self.service.close()

    def relist(self) -> None:
        """List everything again; what is shown stays unless it changed."""
        self.library.look()
        if self.library.watched is not None:
            self.library.open(self.library.watched)

    def try_again(self) -> None:
        """Ask for everything that is shown once more."""
        self._reload = True
        self.fetcher.distance.restart()
        self.presence.start()
        self.relist()

    def show(self, path: tuple[str, ...]) -> None:
        """Show what is at a path: a node, or the first signal of a file, as soon as it is known."""
        self._asked_for = path
        if (node := self.find(path)) is not None:
            self.choose(node)
        elif path in self.library.trees:
            self._show_first(self.library.trees[path])
        else:
            file = self.library.file_of(path)
            self.library.open(file.path if file else path)

    def choose(self, node: Node, frame: Answer | None = None) -> None:
        """Show another node at the same place of the scan; where its frame has come already, at once."""
        self._asked_for = None
        self.library.watch(node.path)
        for view in (FRAME, DETAIL):
            self._forget(view)
        self.troubles.settle(NOTICE)
        self.state = ViewState(node, self._places.on(node), None, self.state.screen)
        self._places.remember(self.state)
        self._travel.begin(self.state.position, perf_counter())
        self._choose_navigator(node)
        self.chosen.emit(self.state)
        if not node.is_preview:
            self.maker.look_at(node.tree)
        if node.error is not None:
            self.troubles.put(FRAME, f"{node.called}: {node.error}")
            self.blanked.emit(node.error)
            self._ask_navigator()
            return
        if frame is not None:
            self._frame_came(frame)
        if frame is None or (node.kind is not Kind.MAP and frame.request.position != self.state.position):
            self._ask_frame()

    def complain(self, path: tuple[str, ...]) -> None:
        """Say why a file could not be read."""
        name, error = path[-1], self.library.error_of(path)
        self.troubles.put(NOTICE, error if name in error else f"{name} could not be read: {error}")

    def move_to(self, position: Sequence[int]) -> None:
        """Point at another position of the scan; outside it, at the nearest."""
        before = self.state
        self.state = before.at(position)
        if self.state.position == before.position or before.node is None:
            return
        self._places.remember(self.state)
        self.moved.emit(self.state)
        if self.fetcher.busy(DETAIL):
            self.fetcher.drop(DETAIL)  # of another position: it would not be painted
        leading = len(before.node.axes) - len(before.node.shown_axes)
        if before.node.kind is not Kind.MAP or self.state.position[:leading] != before.position[:leading]:
            self._ask_frame()
            self._ask_ahead()
        if plane_of(self.state) != plane_of(before):
            self._ask_navigator()

    def look(self, visible: Region, screen: tuple[int, int]) -> None:
        """Refine the part of a large image that is on the screen, after the whole of it."""
        self.state = replace(self.state, visible=visible, screen=screen)
        if not self.fetcher.busy(FRAME):
            self._ask_detail()

    def set_contrast(self, contrast: Contrast) -> None:
        """Draw what is shown, and its like, in another way; the array is cached, so this is quick."""
        node = self.state.node
        if node is None:
            return
        rescaled = contrast.scale is not self.contrasts.of(node).scale
        self.contrasts.put(node, contrast)
        if rescaled:
            self._ask_frame()

    def hide(self, hidden: bool) -> None:
        """Fetch what is shown only where a person rests: other pictures are in its place."""
        self._wait = HIDDEN_SECONDS if hidden else 0.0
        self._ask_frame()

    def go_on(self) -> None:
        """Refine the preview that is shown, where it is a map: what would have outdated it came to nothing."""
        node, stride = self.state.node, self._strides.get(FRAME, 1)
        if node is not None and node.kind is Kind.MAP and stride > 1 and not self.fetcher.busy(FRAME):
            self._ask_map(FRAME, node, next_stride(stride, inf))

    def complete(self, view: str) -> bool:
        """Return True when the map of a view has come at full resolution."""
        return self._strides.get(view) == 1 and not self.fetcher.busy(view)

    # What panels ask

    def find(self, path: tuple[str, ...]) -> Node | None:
        """Return the node at a path as it was listed last."""
        return self.library.find(path)

    @property
    def navigator(self) -> Node | None:
        """The map a person points into, where the shown node has one."""
        return self._navigator

    # Asking

    def _ask_frame(self) -> None:
        request = first_request(self.state)
        if request is not None and request.node.error is None:
            self.fetcher.ask(FRAME, request, self.contrasts.work(request.node, request.stride), self._wait)

    def _ask_map(self, view: str, node: Node, stride: int, wait: float = 0.0) -> None:
        """Ask for one level of a map; finer ones follow from its answer."""
        if view == FRAME:
            position, work = self.state.position, self.contrasts.work(node, stride)
        else:
            position, work = navigator_position(self.state, node), self.contrasts.plain(node, stride)
        self.fetcher.ask(view, map_request(node, position, stride), work, wait)

    def _ask_detail(self) -> None:
        request = detail_request(self.state)
        if request is None or self.state.node is None:
            self.fetcher.drop(DETAIL)
        else:
            self.fetcher.ask(DETAIL, request, self.contrasts.work(self.state.node))

    def _ask_ahead(self) -> None:
        """Fetch the next frames in the direction of travel, where they are small."""
        turned = self._travel.go(self.state.position, perf_counter())
        positions = [] if self._wait else self._travel.ahead(self.fetcher.window(FRAME).round_trip)
        requests = ahead_requests(self.state, positions)
        self.fetcher.ahead(FRAME, [one for one in requests if one.nbytes <= AHEAD_BYTES], turned)

    def _choose_navigator(self, node: Node) -> None:
        """Keep the navigator while its key stays; another one waits until the first frame is there."""
        navigator = self.library.navigator_of(node)
        if navigator != self._navigator or self._reload:
            self._forget(NAVIGATOR)
            self._navigator = navigator
            self._navigator_waits = navigator is not None

    def _ask_navigator(self) -> None:
        self._navigator_waits = False
        if self._navigator is not None:
            shape = [axis.size for axis in self._navigator.shown_axes]
            self._ask_map(NAVIGATOR, self._navigator, first_stride(shape))

    def _forget(self, view: str) -> None:
        """Want nothing of what a view asked for."""
        self.fetcher.drop(view)
        self._strides.pop(view, None)
        self.troubles.settle(view)

    # Answers

    def _answered(self, answer: Answer) -> None:
        """Every answer of the fetcher, in the GUI thread."""
        if answer.error is not None:
            if not self.presence.failed(answer.view, answer.error):
                self._failed(answer, answer.error)
            return
        self.troubles.settle(answer.view)
        asked_service = answer.request is None or answer.bytes > 0
        if asked_service and self.presence.answered(answer.view) and answer.view != LIBRARY:
            self.try_again()
        if answer.view == FRAME:
            self._frame_came(answer)
        elif answer.view == NAVIGATOR:
            self.navigated.emit(answer)
            self._refine(answer)
        elif answer.view == DETAIL:
            self.detailed.emit(answer)

    def _frame_came(self, answer: Answer) -> None:
        self.meter.count(answer) if not self._wait else None
        self.framed.emit(answer)
        if self._navigator_waits:
            self._ask_navigator()
        if answer.request is not None and answer.request.node.kind is Kind.MAP:
            self._refine(answer)
        else:
            self._ask_detail()

    def _refine(self, answer: Answer) -> None:
        """After one level of a map, the next; not of a preview that is outdated while it is painted."""
        if answer.request is None:
            return
        node, stride = answer.request.node, answer.request.stride
        self._strides[answer.view] = stride
        if stride > 1 and not (node.is_preview and self.fetcher.busy(PREVIEW)):
            self._ask_map(answer.view, node, next_stride(stride, answer.round_trip))

    def _listing_changed(self, changes: Changes) -> None:
        """Begin with the first file that is listed; miss the one that is shown when it goes."""
        shown = self.state.node
        if shown is None and self._asked_for is None:
            files = (entry for entry in changes.put if entry.sort in (Sort.FILE, Sort.TREE))
            if (first := next(files, None)) is not None:
                self.show(first.path)
        elif shown is not None and any(shown.path[: len(path)] == path for path in changes.gone):
            self._miss(shown)

    def _file_came(self, entry: Entry, trees: tuple[Tree, ...]) -> None:
        """Show a file that was asked for; go on with the shown node as it is now."""
        shown = self.state.node
        if shown is not None and shown.path[: len(entry.path)] == entry.path:
            self._list_again(shown)
        if self._asked_for is None:
            return
        if entry.path == self._asked_for:
            self._show_first(trees)
        elif (node := self.find(self._asked_for)) is not None:
            self.choose(node)

    def _show_first(self, trees: tuple[Tree, ...]) -> None:
        """Show the first signal of a file; say why where it has none."""
        self._asked_for = None
        if (first := next((tree.root for tree in trees if tree.root), None)) is not None:
            self.choose(first)
        elif trees and trees[0].error is not None:
            self.complain(trees[0].path)

    def _list_again(self, shown: Node) -> None:
        """Go on with the shown node as it is now."""
        node, relisted_for = self.library.now(shown), self._relisted_for
        self._relisted_for = None
        if shown.is_preview:
            self.relisted.emit(relisted_for is not None or self._reload)
        elif node is None:
            self._miss(shown)
        elif not node.looks_like(shown) or self._reload or self.library.navigator_of(node) != self._navigator:
            self.choose(node)
            if told := became(shown, node, self.own):
                self.troubles.put(NOTICE, told)
        elif relisted_for is not None:
            self.troubles.put(FRAME, f"{shown.called} cannot be read: {relisted_for}")
        elif self.presence.refused in PICTURES:
            self._ask_frame()  # who may read it may have changed, and nothing in the list tells
        self._reload = False

    def _miss(self, node: Node) -> None:
        """Say that a node is gone; go on with what it was made from, where that is there."""
        left = self.library.left_of(node)
        if left is not None:
            self.choose(left)
        gone = f"{'/'.join(node.path)} is gone from the service: removed or renamed."
        self.troubles.put(NOTICE, gone if left is None else f"{gone} This is {left.called}.")

    def _failed(self, answer: Answer, error: ServiceError) -> None:
        """Do what each kind of error of a service that is there asks for."""
        view = answer.view
        aside = view == PREVIEW or view.startswith(BESIDE)
        if aside or (view in (LIBRARY, MAKER) and not isinstance(error, Garbled)):
            return  # they say themselves what of their questions failed
        if isinstance(error, Gone) and self._relisted_for is None:
            self._relisted_for = str(error)
            self.relist()
        elif isinstance(error, Busy) and answer.request is not None:
            self._ask_later(answer, answer.request, error)
        else:
            self.troubles.put(view, str(error))
            if view == FRAME:
                self.blanked.emit(str(error))
        if view == FRAME and self._navigator_waits:
            self._ask_navigator()

    def _ask_later(self, answer: Answer, request: Request, error: Busy) -> None:
        """Repeat a request the service had no room for, unless something newer was asked."""
        name = request.node.called
        self.troubles.put(answer.view, f"{name} is not there yet, and is asked for again: {error}")
        if self.fetcher.is_newest(answer) and request.node.kind is Kind.MAP:
            self._ask_map(answer.view, request.node, request.stride, error.retry_after)
        elif self.fetcher.is_newest(answer):
            self.fetcher.ask(answer.view, request, self.contrasts.work(request.node), error.retry_after)
