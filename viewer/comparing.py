"""Looking at several nodes side by side: which, with which levels, in turns, and what lies between them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.beside import Beside
from viewer.compared import LETTERS, MOST, centred, shared_levels, why_no_difference
from viewer.contrast import automatic_levels
from viewer.differing import Differ
from viewer.nodes import Kind, Node
from viewer.panels.compare import DIVERGING, ComparePanel
from viewer.presence import NOTICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from viewer.contrast import Contrast
    from viewer.panels.signal import SignalPanel
    from viewer.panels.toolbar import Toolbar
    from viewer.panels.tree import TreePanel
    from viewer.picture import Levels, Picture
    from viewer.rows import Row
    from viewer.session import Session
    from viewer.view_state import ViewState

    Path = tuple[str, ...]

FLICKER_HZ = 2


class Comparing(QtCore.QObject):
    """Several nodes side by side.

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

    def __init__(self, session: Session, signal: SignalPanel, tree: TreePanel, toolbar: Toolbar) -> None:
        super().__init__()
        self._session, self._signal, self._tree, self._toolbar = session, signal, tree, toolbar
        self.panel, self.stack = ComparePanel(), QtWidgets.QStackedWidget()
        self.active = False
        self.paths: tuple[Path, ...] = ()
        self.beside = Beside(session)
        self._levels: dict[
            Kind, Levels
        ] = {}  # those that are shared: a map has other intensities than frames
        self._differ = Differ()
        self._pair = 0
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

    def open(self, paths: tuple[Path, ...]) -> None:
        """Compare these nodes, as far as they are there."""
        there = tuple(path for path in dict.fromkeys(paths) if self._find(path) is not None)
        if len(there) > 1:
            self._choose(there)
            self.start()

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
        self._toolbar.compare.setChecked(True)
        self._begin(nodes)
        self.stack.setCurrentWidget(self.panel)
        self.panel.take_keyboard()
        if not self._signal.image.fitted and self._signal.node is not None:
            self.panel.show_region(self._signal.image.region(), self._signal.node)

    def stop(self) -> None:
        """Show one node again."""
        self.beside.end()
        self.active = False
        self.panel.flicker.setChecked(False)
        self._toolbar.compare.setChecked(False)
        self.stack.setCurrentWidget(self._signal)
        self._signal.view.setFocus()
        self._choose(())

    def close(self) -> None:
        """Ask for nothing any more."""
        self._flicker.stop()
        self._differ.close()

    def flicker(self, otherwise: Callable[[], None]) -> None:
        """Begin or end to show A and B in turns; do something else where nothing is compared."""
        self.panel.flicker.toggle() if self.active else otherwise()

    def hold(self, otherwise: Callable[[], None]) -> None:
        """Show B in the place of A until `release`; do something else where nothing is compared."""
        if not self.active:
            otherwise()
        elif not self.panel.flicker.isChecked():
            self.panel.show_flicker(1)

    def subtract(self) -> None:
        """Begin or end to show B − A."""
        if self.active:
            self.panel.difference.click()

    def release(self) -> None:
        """Show A and B again."""
        if self.active and not self.panel.flicker.isChecked():
            self.panel.show_flicker(None)

    def set_levels(self, levels: Levels) -> None:
        """Levels chosen by hand are for all, or for the like of the shown node."""
        if (node := self._session.state.node) is not None:
            self._levels[node.kind] = levels
            self._set_levels()

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
        self.panel.show_nodes(nodes, self.panel.difference.isChecked())
        kept = self.beside.begin(nodes)
        if not kept or before != len(nodes):
            self._levels.clear()
        for which, node in enumerate(nodes):
            if node.error is not None:
                self.panel.complain(which, node.error)
            elif which not in kept:
                self.panel.blank(which)
        self._show_colormaps()
        self._say_difference()

    def _paint(self, came: set[int]) -> None:
        levels = self._levels_now()
        for which, answer in self.beside.painted.items():
            if which in came:
                self.panel.paint(which, answer, levels[which], self.beside.is_older(which))
            else:
                self.panel.set_older(which, self.beside.is_older(which))
        self._subtract()

    def _moved(self, _state: ViewState) -> None:
        if self.active:
            self.beside.follow()

    # Contrast

    def _levels_now(self) -> dict[int, Levels]:
        """Levels of each picture: the same for all, or its own."""
        contrasts = self._session.contrasts
        if not self.panel.shared.isChecked():
            return {
                which: contrasts.settle(answer.request, answer.value)
                for which, answer in self.beside.painted.items()
                if answer.request is not None
            }
        if not contrasts.of(self.beside.nodes[0]).locked:
            self._levels.clear()
        found: dict[Kind, list[Levels]] = {}
        for which, answer in self.beside.painted.items():
            node = self.beside.nodes[which]
            found.setdefault(node.kind, []).append(automatic_levels(node, answer.value))
        for kind, levels in found.items():
            self._levels.setdefault(kind, shared_levels(levels))
        return {which: self._levels[self.beside.nodes[which].kind] for which in self.beside.painted}

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

    def _say_difference(self) -> None:
        if self.panel.difference.isChecked() and (why := why_no_difference(*self.beside.nodes[:2])):
            self.panel.complain(len(self.beside.nodes), f"B − A cannot be shown: {why}.")

    def _subtract(self) -> None:
        """Ask for B − A of what is painted, where both are of one position."""
        a, b = self.beside.painted.get(0), self.beside.painted.get(1)
        if not self.panel.difference.isChecked() or a is None or b is None:
            return
        same = a.value.raw.shape == b.value.raw.shape and self.beside.together(0, 1)
        if same and not why_no_difference(*self.beside.nodes[:2]):
            self._pair = self._differ.ask(a.value.raw, b.value.raw)

    def _differs(self, number: int, picture: Picture) -> None:
        a = self.beside.painted.get(0)
        if number != self._pair or not self.active or a is None or a.request is None:
            return
        levels = centred(picture.automatic if picture.raw.ndim == 2 else picture.limits)
        self.panel.paint_difference(picture, a.request, levels)

    def _switch_flicker(self, on: bool) -> None:
        self._turned = 0
        self.panel.show_flicker(0 if on else None)
        self._flicker.start() if on else self._flicker.stop()

    def _turn(self) -> None:
        self._turned = 1 - self._turned
        self.panel.show_flicker(self._turned)

    # What others say

    def _chosen(self, state: ViewState) -> None:
        """Another node than those that are compared ends it; one with another key goes on as it is now."""
        if not self.active or state.node is None:
            return
        if state.node.path not in self.paths:
            self.stop()
        else:
            self._look_again()

    def _look_again(self, *_: object) -> None:
        """Go on with the nodes as they are now."""
        if not self.active:
            return
        nodes = [node for path in self.paths if (node := self._find(path)) is not None]
        if len(nodes) != len(self.paths):
            gone = [path[-1] for path in self.paths if self._find(path) is None]
            self._session.troubles.put(NOTICE, f"{', '.join(gone)} cannot be compared any more: it is gone.")
            self._choose(tuple(node.path for node in nodes))
        if len(nodes) < 2:
            self.stop()
        elif len(nodes) != len(self.beside.nodes) or not all(map(Node.looks_like, nodes, self.beside.nodes)):
            self._begin(nodes)

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
        self._toolbar.fit.connect(panel.fit)
        session.moved.connect(self._moved)
        session.chosen.connect(self._chosen)
        session.library.opened.connect(self._look_again)
        self.beside.came.connect(self._paint)
        self.beside.failed.connect(panel.complain)
        session.presence.connected.connect(lambda there: self.beside.ask() if there and self.active else None)
        panel.closed.connect(self.stop)
        panel.shared_switched.connect(lambda _on: self._set_levels())
        panel.difference_switched.connect(self._switch_difference)
        panel.flicker_switched.connect(self._switch_flicker)
        panel.rate_chosen.connect(lambda hertz: self._flicker.setInterval(round(500 / hertz)))
        self._differ.done.connect(self._differs)
