"""Looking at several nodes side by side: which, with which levels, in turns, and what lies between them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.beside import Beside
from viewer.between import Between
from viewer.compared import LETTERS, MOST, alike, shared_levels
from viewer.contrast import automatic_levels
from viewer.nodes import PREVIEW, Kind, Node
from viewer.panels.compare import DIVERGING, ComparePanel
from viewer.presence import NOTICE
from viewer.view_state import carried_position, clipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from viewer.contrast import Contrast
    from viewer.link import Link
    from viewer.panels.signal import SignalPanel
    from viewer.panels.toolbar import Toolbar
    from viewer.panels.tree import TreePanel
    from viewer.picture import Levels
    from viewer.rows import Row
    from viewer.session import Session
    from viewer.view_state import ViewState

    Path = tuple[str, ...]
    Position = tuple[int, ...]

FLICKER_HZ = 2


class Comparing(QtCore.QObject):
    """Several nodes side by side; `levelled` tells of other levels, `switched` that it began or ended.

    Parameters
    ----------
    session : Session
        Where a person points, and what fetches.
    signal : SignalPanel
        In whose place they are shown.
    tree : TreePanel
        Where nodes are chosen.
    toolbar : Toolbar
        Its contrast is theirs too.
    """

    levelled = QtCore.Signal()
    switched = QtCore.Signal(bool)

    def __init__(self, session: Session, signal: SignalPanel, tree: TreePanel, toolbar: Toolbar) -> None:
        super().__init__()
        self._session, self._signal, self._tree, self._toolbar = session, signal, tree, toolbar
        self.panel, self.stack = ComparePanel(), QtWidgets.QStackedWidget()
        self.active = False
        self.paths: tuple[Path, ...] = ()
        self.beside = Beside(session)
        self._levels: dict[
            object, Levels
        ] = {}  # those that are shared: maps have other intensities than frames
        self._between = Between(self.beside, self.panel)
        self._shown: Path = ()  # what the session shows: it need not be compared itself
        self._flicker = QtCore.QTimer(self, interval=round(500 / FLICKER_HZ))
        self._flicker.timeout.connect(self._turn)
        self._turned = 0
        for widget in (signal, self.panel):
            self.stack.addWidget(widget)
        self._listen()

    # What a person does

    def mark(self, path: Path) -> None:
        """Add a node to those that are compared, or take it away."""
        paths = tuple(known for known in self.paths if known != path)
        if len(paths) == len(self.paths):
            paths = (*self.paths, path)
        if len(paths) > MOST:
            self._session.troubles.put(NOTICE, f"{MOST} nodes are compared at most.")
            return
        self._choose(paths)
        if self.active:
            self.start() if len(paths) > 1 else self.stop()

    def toggle(self) -> None:
        """Compare, or show one node again."""
        self.stop() if self.active else self.start()

    def open(self, link: Link) -> None:
        """Compare the nodes of a link, as far as they are there, as it says."""
        there = tuple(path for path in dict.fromkeys(link.compared) if self._find(path) is not None)
        if len(there) < 2:
            return
        switches = self.panel.switches
        switches.shared.setChecked(not link.own_levels)
        switches.difference.setChecked(link.difference)
        self._choose(there)
        self.start()
        if link.levels is not None:
            self.set_levels(link.levels)
        if (node := self._session.state.node) is not None:
            self.panel.together.show_part(link.zoom, node)
        if link.flicker:
            switches.set_rate(link.flicker)
            switches.flicker.setChecked(True)

    def written(self, link: Link) -> Link:
        """Write down what is compared, and how."""
        if not self.active:
            return link
        switches = self.panel.switches
        return replace(
            link,
            compared=self.paths,
            levels=self.levels(self._session.state.node) or link.levels,
            difference=switches.difference.isChecked(),
            flicker=switches.rate.currentData() if switches.flicker.isChecked() else 0,
            own_levels=not switches.shared.isChecked(),
        )

    def start(self) -> None:
        """Show the chosen nodes; where none is, the shown one beside what it was made from."""
        if len(self.paths) < 2:
            self._choose(self._obvious())
        nodes = [node for path in self.paths if (node := self._find(path)) is not None]
        if len(nodes) < 2:
            why = "Choose two nodes or more in the list with Ctrl+click, then press C."
            self._session.troubles.put(NOTICE, why)
            self._toolbar.compare.setChecked(False)
            return
        self.active = True
        self._session.hide(True)
        self._toolbar.compare.setChecked(True)
        self.switched.emit(True)
        self._begin(nodes)
        self.stack.setCurrentWidget(self.panel)
        self.panel.take_keyboard()
        if self._signal.node is not None:
            self.panel.together.show_part(self._signal.part(), self._signal.node)

    def stop(self) -> None:
        """Show one node again."""
        self.beside.end()
        self.active = False
        self._session.hide(False)
        self.panel.switches.flicker.setChecked(False)
        self._toolbar.compare.setChecked(False)
        self.stack.setCurrentWidget(self._signal)
        self._signal.view.setFocus()
        self._choose(())
        self._between.keep(set())
        self.switched.emit(False)
        self.levelled.emit()

    def close(self) -> None:
        """Ask for nothing any more; what is on the way is not waited for."""
        self.active = False
        self._flicker.stop()
        self.beside.drop()
        self._between.close()

    def flicker(self, otherwise: Callable[[], None]) -> None:
        """Begin or end to show A and B in turns; do something else where nothing is compared."""
        self.panel.switches.flicker.toggle() if self.active else otherwise()

    def hold(self, otherwise: Callable[[], None]) -> None:
        """Show B in the place of A until `release`; do something else where nothing is compared."""
        if not self.active:
            otherwise()
        elif not self.panel.switches.flicker.isChecked():
            self.panel.show_flicker(1)

    def subtract(self) -> None:
        """Begin or end to show B − A."""
        if self.active:
            self.panel.switches.difference.click()

    def release(self) -> None:
        """Show A and B again."""
        if self.active and not self.panel.switches.flicker.isChecked():
            self.panel.show_flicker(None)

    def set_levels(self, levels: Levels) -> None:
        """Levels chosen by hand are for all, or for the like of the shown node."""
        if (node := self._session.state.node) is not None:
            self._levels[alike(node)] = levels
            self._set_levels()

    def levels(self, node: Node | None) -> Levels | None:
        """Return the levels that a node shares with others; None where it has its own."""
        shared = self.active and node is not None and self.panel.switches.shared.isChecked()
        return self._levels.get(alike(node)) if shared and node is not None else None

    def automatic(self) -> None:
        """Take levels from what is painted now."""
        for which, answer in self.beside.painted.items():
            node = self.beside.nodes[which]
            self._session.contrasts.levels[node.family] = automatic_levels(node, answer.value)
        self._levels.clear()
        self._set_levels()

    def _obvious(self) -> tuple[Path, ...]:
        node = self._session.state.node
        marked = self.paths[0] if self.paths else None
        if node is None:
            return self.paths
        if marked is None:
            marked = (*node.tree, node.parent) if node.parent else None
        elif marked == node.path:
            return self.paths
        return (marked, node.path) if marked is not None else ()

    def _choose(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self._tree.show_letters(dict(zip(paths, LETTERS, strict=False)))

    def _find(self, path: Path) -> Node | None:
        """Return a node as it is now; one that is not kept is known only while it is shown."""
        shown = self._session.state.node
        return shown if shown is not None and shown.path == path else self._session.find(path)

    # Pictures

    def _begin(self, nodes: list[Node], anew: bool = False) -> None:
        """Compare these from now on; pictures of a node that stays as it was stay, unless all is laid out anew."""
        before = len(self.beside.nodes)
        if anew:
            self.beside.end()
        self.panel.show_nodes(nodes, self.panel.switches.difference.isChecked())
        kept = self.beside.begin(nodes)
        if not kept or before != len(nodes):
            self._levels.clear()
        self._between.keep(kept)
        for which, node in enumerate(nodes):
            if node.error is not None:
                self.panel.complain(which, node.error)
            elif which not in kept:
                self.panel.blank(which)
        self._point()
        self._show_colormaps()
        self._between.say()

    def _paint(self, came: set[int]) -> None:
        levels = self._levels_now()
        for which, answer in self.beside.painted.items():
            if which in came:
                self.panel.paint(which, answer, levels[which], self.beside.is_older(which))
                self.beside.refine(which)
            else:
                self.panel.set_older(which, self.beside.is_older(which))
        self._between.painted(came)

    def _moved(self, _state: ViewState) -> None:
        if self.active:
            self.beside.follow()
            self._point()

    def _point(self) -> None:
        """Show on maps where frames are from."""
        for which, node in enumerate(self.beside.nodes):
            if node.kind is Kind.MAP and len(node.shown_axes) == 2:
                self.panel.show_position(which, self.beside.position(node)[-2:])

    def _pointed(self, which: int, indices: Position) -> None:
        """Point at the place of a map."""
        node, state = self.beside.nodes[which], self._session.state
        axes = state.node.position_axes if state.node is not None else ()
        if len(axes) == len(node.position_axes):
            place = (*self.beside.position(node)[: -len(indices)], *indices)
            self._session.move_to(carried_position(clipped(place, node.axes), node.axes, axes))

    # Contrast

    def _levels_now(self) -> dict[int, Levels]:
        """Levels of each picture: the same for all, or its own."""
        contrasts = self._session.contrasts
        if not self.panel.switches.shared.isChecked():
            return {
                which: contrasts.settle(answer.request, answer.value)
                for which, answer in self.beside.painted.items()
                if answer.request is not None
            }
        if not contrasts.of(self.beside.nodes[0]).locked:
            self._levels.clear()
        found: dict[object, list[Levels]] = {}
        for which, answer in self.beside.painted.items():
            node = self.beside.nodes[which]
            found.setdefault(alike(node), []).append(automatic_levels(node, answer.value))
        for sort, levels in found.items():
            self._levels.setdefault(sort, shared_levels(levels))
        self.levelled.emit()
        return {which: self._levels[alike(self.beside.nodes[which])] for which in self.beside.painted}

    def _set_levels(self) -> None:
        if self.active:
            self.panel.set_levels(self._levels_now())

    def _set_contrast(self, contrast: Contrast) -> None:
        """Draw all of them so."""
        if not self.active:
            return
        for node in self.beside.nodes:
            own = self._session.contrasts.of(node)
            self._session.contrasts.put(node, replace(contrast, locked=own.locked and contrast.locked))
        self._show_colormaps()
        self.beside.ask(rescaled=True)

    def _show_colormaps(self) -> None:
        for which, node in enumerate(self.beside.nodes):
            self.panel.set_colormap(which, self._session.contrasts.of(node).colormap)
        self.panel.set_colormap(len(self.beside.nodes), DIVERGING)

    # Difference and flicker

    def _switch_difference(self, _on: bool) -> None:
        if self.active:
            self._begin(self.beside.nodes, anew=True)

    def _switch_flicker(self, on: bool) -> None:
        self._turned = 0
        self.panel.show_flicker(0 if on else None)
        self._flicker.start() if on else self._flicker.stop()

    def _turn(self) -> None:
        self._turned = 1 - self._turned
        self.panel.show_flicker(self._turned)

    # What others say

    def _chosen(self, state: ViewState) -> None:
        """Another node than those that are compared ends it; one that changed goes on as it is now."""
        before, self._shown = self._shown, state.node.path if state.node is not None else ()
        if self.active and state.node is not None:
            self._look_again()
        if self.active and self._shown not in (before, *self.paths):
            self.stop()

    def _look_again(self, *_: object) -> None:
        """Go on with the nodes as they are now."""
        if not self.active:
            return
        now = {path: self._now(path) for path in self.paths}
        nodes = list({node.path: node for node in now.values() if node is not None}.values())
        gone = [path[-1] for path, node in now.items() if node is None and path[-1] != PREVIEW]
        if tuple(node.path for node in nodes) != self.paths:
            self._choose(tuple(node.path for node in nodes))
        if len(nodes) < 2:
            self.stop()
        elif len(nodes) != len(self.beside.nodes) or not all(map(Node.looks_like, nodes, self.beside.nodes)):
            self._begin(nodes)
        if gone:
            why = f"{' and '.join(gone)} cannot be compared any more: removed from the service."
            self._session.troubles.put(NOTICE, why)

    def _now(self, path: Path) -> Node | None:
        """Return a compared node as it is now, whatever it is called."""
        before = next((node for node in self.beside.nodes if node.path == path), None)
        if before is None or not before.is_preview:
            return self._find(path) if before is None else self._session.library.now(before)
        shown = self._session.state.node  # what was tried goes on, and was perhaps kept
        goes_on = shown is not None and (shown.is_preview or shown.key == before.key)
        return shown if goes_on else None

    def _offer(self, menu: QtWidgets.QMenu, row: Row) -> None:
        if row.node is None:
            return
        path = row.node
        entry = menu.addAction("Compare" if path not in self.paths else "Compare no more")
        entry.setToolTip("Ctrl+click does the same; C shows those that are chosen")
        entry.triggered.connect(lambda _checked: self.mark(path))

    def _listen(self) -> None:
        session, panel = self._session, self.panel
        self._tree.marked.connect(self.mark)
        self._tree.menu_opened.connect(self._offer)
        self._toolbar.compare.clicked.connect(lambda _checked: self.toggle())
        self._toolbar.changed.connect(self._set_contrast)
        self._toolbar.automatic.connect(self.automatic)
        self._toolbar.fit.connect(panel.together.fit)
        session.moved.connect(self._moved)
        session.chosen.connect(self._chosen)
        session.library.opened.connect(self._look_again)
        self.beside.came.connect(self._paint)
        self.beside.failed.connect(panel.complain)
        panel.looked.connect(self.beside.look)
        panel.pointed.connect(self._pointed)
        session.presence.connected.connect(lambda there: self.beside.ask() if there and self.active else None)
        switches = panel.switches
        switches.closed.connect(self.stop)
        switches.shared.toggled.connect(lambda _on: self._set_levels())
        switches.difference.toggled.connect(self._switch_difference)
        switches.flicker.toggled.connect(self._switch_flicker)
        switches.rate_chosen.connect(lambda hertz: self._flicker.setInterval(round(500 / hertz)))
