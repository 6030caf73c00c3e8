"""Positions that are kept in view: the frames of the shown node there, all with the same parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.errors import Busy, Gone, Unauthorised, Unreachable
from viewer.link import MOST_PINS
from viewer.nodes import Kind
from viewer.panels.pins import PinMarks, PinsPanel
from viewer.presence import BESIDE, NOTICE
from viewer.view_state import ViewState, carried_position, clipped, frame_request

if TYPE_CHECKING:
    from viewer.contrast import Contrast
    from viewer.lanes import Answer
    from viewer.nodes import Axis, Node
    from viewer.panels.navigator import NavigatorPanel
    from viewer.panels.toolbar import Toolbar
    from viewer.picture import Levels
    from viewer.session import Session
    from viewer.view_state import Region

    Position = tuple[int, ...]


class Pinning(QtCore.QObject):
    """Up to three pinned positions.

    Parameters
    ----------
    session : Session
        What is shown, and where.
    navigator : NavigatorPanel
        Where the marks are.
    toolbar : Toolbar
        Its contrast is theirs too.
    """

    def __init__(self, session: Session, navigator: NavigatorPanel, toolbar: Toolbar) -> None:
        super().__init__()
        self._session, self._navigator = session, navigator
        self.panel, self.marks = PinsPanel(MOST_PINS), PinMarks(navigator.image.box)
        self.positions: tuple[Position, ...] = ()
        self._node: Node | None = None
        self._axes: tuple[Axis, ...] = ()
        self._answers: dict[int, Answer] = {}
        self._region: Region | None = None
        session.chosen.connect(self._chosen)
        # After all who settle the levels by the same picture.
        session.framed.connect(self.paint, QtCore.Qt.ConnectionType.QueuedConnection)
        session.fetcher.answered.connect(self._answered)
        session.presence.connected.connect(lambda there: self._ask() if there else None)
        toolbar.changed.connect(self._contrast)
        toolbar.automatic.connect(self.paint)
        self.panel.dropped.connect(self.drop)

    def pin(self) -> None:
        """Pin the position that is pointed at, or unpin it."""
        state = self._session.state
        if state.node is None or not state.node.position_axes:
            return
        if state.position in self.positions:
            self.drop(self.positions.index(state.position))
        elif len(self.positions) < MOST_PINS:
            self.show((*self.positions, state.position))
        else:
            why = f"{MOST_PINS} positions are pinned at most: ✕ beside a small picture takes one away."
            self._session.troubles.put(NOTICE, why)

    def drop(self, which: int) -> None:
        """Unpin one."""
        self.show(tuple(pin for number, pin in enumerate(self.positions) if number != which))

    def show(self, positions: tuple[Position, ...]) -> None:
        """Pin these instead, as far as they are positions of the shown node."""
        node = self._session.state.node
        axes = node.position_axes if node is not None else ()
        fitting = (clipped(pin, axes) for pin in positions if len(pin) == len(axes) > 0)
        self.positions, self._axes = tuple(dict.fromkeys(fitting))[:MOST_PINS], axes
        self._answers.clear()
        self._show()

    def look(self, region: Region | None) -> None:
        """Show the part that is on the screen of the large picture; None where all of it is."""
        self._region = region
        self.panel.show_region(region)

    def paint(self, *_: object) -> None:
        """Paint what came with the levels of the large picture."""
        for which, answer in self._answers.items():
            self.panel.cells[which].paint(answer, self._levels(answer))

    def set_levels(self, _levels: Levels) -> None:
        """Follow levels that are chosen by hand."""
        self.paint()

    def _levels(self, answer: Answer) -> Levels:
        node = answer.request.node if answer.request is not None else None
        levels: Levels = answer.value.automatic
        return self._session.contrasts.levels.get(node.family, levels) if node is not None else levels

    def _chosen(self, state: ViewState) -> None:
        """Another node, or the same with another key or other parameters: the same places of it."""
        node = state.node
        if node is None:
            return
        if self._node is not None and self._node.tree != node.tree:
            self.positions = ()
        elif node.position_axes and node.position_axes != self._axes:
            carried = (carried_position(pin, self._axes, node.position_axes) for pin in self.positions)
            self.positions = tuple(dict.fromkeys(carried))
        if node != self._node:
            self._answers.clear()
        # A node without positions, as a failed one, hides them: they are there again with the next.
        self._node, self._axes = node, node.position_axes or self._axes
        self._show()

    def _show(self) -> None:
        """Have a place, a mark and a picture for each."""
        node = self._session.state.node
        framed = self._is_framed(node)
        self.panel.show_pins(len(self.positions) if framed else 0)
        colormap = self._session.contrasts.of(node).colormap if node is not None else "gray"
        for cell, position in zip(self.panel.cells, self.positions, strict=False):
            cell.image.set_colormap(colormap)
            if node is not None and framed:
                cell.expect(node, position)
        if framed:
            self.panel.show_region(self._region)
        self._mark()
        self._ask()

    @staticmethod
    def _is_framed(node: Node | None) -> bool:
        """Return True for a node that has a frame at each position."""
        return (
            node is not None and node.kind is not Kind.MAP and bool(node.position_axes) and node.error is None
        )

    def _mark(self) -> None:
        """Show where they are on the map that is pointed into."""
        state, navigator = self._session.state, self._session.navigator
        places = []
        pointed = navigator is not None and len(navigator.shown_axes) == 2
        if state.node is not None and navigator is not None and pointed and state.node.navigation_axes:
            scan = len(state.node.navigation_axes)
            for position in self.positions:
                there = carried_position(position[:scan], state.node.navigation_axes, navigator.axes)
                places.append(QtCore.QPointF(there[-1], there[-2]))
        self.marks.show_at(places)

    def _view(self, which: int) -> str:
        return f"{BESIDE} {which + 1}"

    def _ask(self) -> None:
        node = self._session.state.node
        for which in range(MOST_PINS):
            pinned = which < len(self.positions) and self._is_framed(node)
            request = frame_request(ViewState(node, self.positions[which])) if pinned else None
            if request is None:
                self._session.fetcher.drop(self._view(which))
            else:
                work = self._session.contrasts.work(request.node)
                self._session.fetcher.ask(self._view(which), request, work)

    def _contrast(self, contrast: Contrast) -> None:
        for cell in self.panel.cells:
            cell.image.set_colormap(contrast.colormap)
        self._ask()

    def _answered(self, answer: Answer) -> None:
        views = [self._view(which) for which in range(len(self.positions))]
        request, shown = answer.request, self._session.state.node
        if answer.view not in views or request is None or shown is None:
            return
        # While a parameter moves, each preview that comes is newer than what is painted, if not the newest.
        like = request.node.path == shown.path and request.node.shown_axes == shown.shown_axes
        on_the_way = like and shown.is_preview and answer.error is None
        if request.node != shown and not on_the_way:
            return
        which, error = views.index(answer.view), answer.error
        if error is None:
            if request.position == self.positions[which]:
                self._answers[which] = answer
                self.panel.cells[which].paint(answer, self._levels(answer))
        elif isinstance(error, Busy):
            if self._session.fetcher.is_newest(answer):
                work = self._session.contrasts.work(request.node)
                self._session.fetcher.ask(answer.view, request, work, error.retry_after)
        elif isinstance(error, Gone):
            self._session.relist()
        elif not isinstance(error, Unreachable | Unauthorised):
            self.panel.cells[which].complain(str(error))
