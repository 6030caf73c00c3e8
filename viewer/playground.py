"""Puts the parameter form and what it tries together, as the window does for the other panels."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore

from viewer.panels.parameters import ParametersPanel
from viewer.playing import Playing
from viewer.presence import NOTICE

if TYPE_CHECKING:
    from viewer.library import Library
    from viewer.nodes import Node
    from viewer.panels.signal import SignalPanel
    from viewer.panels.toolbar import Toolbar
    from viewer.panels.tree import TreePanel
    from viewer.session import Session
    from viewer.view_state import ViewState

    Path = tuple[str, ...]

# Beyond so many, a node of another scan is written rather than chosen.
MOST_ELSEWHERE = 500


class Playground(QtCore.QObject):
    """Opens the form for a node, and closes it when what was tried is kept or discarded.

    Parameters
    ----------
    session : Session
        What is shown.
    signal : SignalPanel
        Gets the keyboard back.
    toolbar : Toolbar
    tree : TreePanel
        Where a person asks for the form.
    """

    def __init__(self, session: Session, signal: SignalPanel, toolbar: Toolbar, tree: TreePanel) -> None:
        super().__init__()
        self.playing, self.panel = Playing(session), ParametersPanel()
        self._session, self._signal, self._toolbar = session, signal, toolbar
        self._paths: tuple[Path, Path] = ((), ())
        playing, panel = self.playing, self.panel
        toolbar.play_asked.connect(lambda: self.make(None))
        tree.make_asked.connect(self.make)
        tree.change_asked.connect(self.change)
        panel.tried.connect(playing.attempt)
        panel.unready.connect(playing.pause)
        panel.kept.connect(self._keep)
        panel.applied.connect(self._apply)
        panel.discarded.connect(playing.discard)
        playing.accepted.connect(panel.accepted)
        playing.refused.connect(panel.refused)
        playing.overtaken.connect(lambda node: panel.overtaken(node, node.own_parameters))
        playing.ended.connect(self._close)
        session.maker.possible.connect(self._allow)
        session.chosen.connect(self._remember)

    def make(self, path: Path | None) -> None:
        """Ask what to make of a node; of the one that is shown where none is named."""
        shown = self.playing.source if self.playing.active else self._session.state.node
        node = self._session.find(path) if path is not None else shown
        if node is not None:
            self._open(node, None)

    def change(self, path: Path) -> None:
        """Ask for other parameters of a node."""
        node = self._session.find(path)
        parent = self._session.find((*node.tree, node.parent)) if node is not None and node.parent else None
        if parent is not None:
            self._open(parent, node)

    def toggle(self) -> None:
        """Show what is tried, or what it is tried on; without a form, the node that was shown before."""
        if self.playing.active:
            self.playing.toggle()
        elif (node := self._session.find(self._paths[0])) is not None:
            self._session.choose(node)

    def _remember(self, state: ViewState) -> None:
        """Remember the last two nodes; a preview is none."""
        node = state.node
        if node is not None and not node.is_preview and node.path != self._paths[-1]:
            self._paths = (self._paths[-1], node.path)

    def _open(self, source: Node, changing: Node | None) -> None:
        session, shown = self._session, changing or source
        operations = [operation for operation in session.maker.operations if operation.fits(source)]
        if source.error is not None or not operations:
            why = source.error or "the service has no operation for such a signal."
            session.troubles.put(NOTICE, f"Nothing can be made of {source.called}: {why}")
            return
        self.playing.begin(source, changing)
        if session.state.node != shown:
            session.choose(shown)
        self.panel.allow(session.maker.why_not_make(source.tree))
        self.panel.ask(source, operations, others(session.library, source, changing), changing)
        self.panel.begin()

    def _keep(self, name: str | None) -> None:
        self.panel.busy()
        self.playing.keep(name)

    def _apply(self) -> None:
        self.panel.busy()
        self.playing.apply()

    def _close(self) -> None:
        had_keyboard = self.panel.isAncestorOf(self.panel.window().focusWidget() or self._signal)
        self.panel.hide()
        if had_keyboard:
            self._signal.view.setFocus()

    def _allow(self, _why_not: str) -> None:
        node = self.playing.source or self._session.state.node
        if node is not None:
            self._toolbar.show_play(any(operation.fits(node) for operation in self._session.maker.operations))
            self.panel.allow(self._session.maker.why_not_make(node.tree))


def others(library: Library, source: Node, changing: Node | None) -> list[Node]:
    """Return the nodes that a parameter may name: of the tree, then of all scans that were looked into.

    None that is made from the one that is changed, nor that one itself.
    """
    own = library.tree(source.tree)
    if own is None:
        return [source]
    below = {changing.name, *own.made_from(changing.name)} if changing is not None else set()
    scans = (tree for tree in library.all_trees() if tree.path != own.path)
    elsewhere = (node for tree in scans for node in tree.nodes)
    return [*(node for node in own.nodes if node.name not in below), *islice(elsewhere, MOST_ELSEWHERE)]
