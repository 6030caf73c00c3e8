"""Renaming and deleting nodes from the list, taking back what was done, and what was done before.

Nothing changes on the screen before the service has said that it did: what was refused is told in words, and the
list shows what there is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer import changes
from viewer.changes import CONFLICT, Allowed, Change
from viewer.errors import Forbidden, Refused
from viewer.presence import BESIDE, NOTICE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.changes import Undone
    from viewer.errors import ServiceError
    from viewer.nodes import Node
    from viewer.panels.tree import TreePanel
    from viewer.rows import Row
    from viewer.session import Session
    from viewer.view_state import ViewState

    Path = tuple[str, ...]

EDITING = f"{BESIDE} editing"
KEYS = {"rename": "F2", "delete": "Del", "undo": "Ctrl+Z", "redo": "Ctrl+Shift+Z"}
MOST_UNDONE = 100
NOTHING_CHOSEN = "Choose a node that was made: files and their signals stay as they are."


class Editing(QtCore.QObject):
    """What a person does to the nodes of the list.

    Parameters
    ----------
    session : Session
        What is shown, and the service.
    tree : TreePanel
        Where a person asks for it.
    """

    def __init__(self, session: Session, tree: TreePanel) -> None:
        super().__init__()
        self._session, self._tree = session, tree
        self._allowed: dict[Path, Allowed] = {}
        self._done: list[Change] = []
        self._undone: list[Change] = []
        self.menu: QtWidgets.QMenu | None = None  # the history that is shown
        tree.names.named.connect(self.rename)
        tree.menu_opened.connect(self._offer)
        session.chosen.connect(self._look_at)
        for key, action in (
            (KEYS["rename"], self.edit_name),
            (KEYS["delete"], lambda: self.delete(tree.current)),
            (KEYS["undo"], self.undo),
            (KEYS["redo"], self.redo),
        ):
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(key), tree)
            shortcut.setContext(QtCore.Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(action)

    def edit_name(self) -> None:
        """Let the person type another name over the row they are at."""
        if (node := self._made(self._tree.current, "rename")) is not None:
            self._tree.edit_name(node.path)

    def rename(self, path: Path, name: str) -> None:
        """Give a node another name."""
        if (node := self._made(path, "rename")) is None:
            return

        def came(change: Change | None, error: ServiceError | None) -> None:
            self._open(node.tree)
            if change is None:
                self._complain(f"'{node.name}' keeps its name", node, error)
            else:
                self._went(change)

        service = self._session.service
        self._session.fetcher.call(EDITING, lambda: changes.rename(service, node, name), came)

    def delete(self, path: Path | None) -> None:
        """Delete a node; where others are made from it, ask first, in the list."""
        if (node := self._made(path, "delete")) is None:
            return
        tree = self._session.library.tree(node.tree)
        below = tree.made_from(node.name) if tree is not None else ()
        if below:
            self._ask(
                node, f"{_counted(below)} made from '{node.name}'. Delete all?", f"Delete {1 + len(below)}"
            )
        else:
            self._delete(node, recursive=False)

    def made(self, node: Node, changed: bool) -> None:
        """Note a node that was kept, or given other parameters, so that it can be undone."""
        if changed:
            self._went(Change(node.tree, node.version, f"changed '{node.name}'"))
        elif self._session.find(node.path) is None:  # else it was there: what made it is older
            self._remember(Change(node.tree, node.version, f"made '{node.name}'"))

    def undo(self) -> None:
        """Take back what was done last."""
        if self._done:
            self._take_back(self._done.pop(), self._done, self._undone, "Undone")

    def redo(self) -> None:
        """Do again what was taken back last."""
        if self._undone:
            self._take_back(self._undone.pop(), self._undone, self._done, "Done again")

    def _take_back(self, change: Change, source: list[Change], other: list[Change], word: str) -> None:
        self._tree.notice.dismiss()

        def came(undone: Undone | None, error: ServiceError | None) -> None:
            self._open(change.tree)
            if undone is None:
                self._say(f"Not undone ({change.what}): {error}")
                if not isinstance(error, Refused | Forbidden):
                    source.append(change)  # the connection: it can be tried again
                return
            self._leave(change.tree, undone.number, undone.gone)
            other.append(replace(change, number=undone.number))
            again = ("Redo", self.redo) if other is self._undone else ("Undo", self.undo)
            self._tree.notice.say(f"{word}: {change.what}.", *again)
            if back := [name for name in change.names if name in undone.there]:
                self._session.show((*change.tree, back[0]))

        service = self._session.service
        self._session.fetcher.call(EDITING, lambda: changes.undo(service, change), came)

    def show_history(self, path: Path, tree: Path) -> None:
        """Show who did what to a tree or a node, where the mouse is; a click takes it back."""
        place = QtGui.QCursor.pos()

        def came(past: tuple[tuple[str, Change], ...] | None, error: ServiceError | None) -> None:
            if past is None:
                self._say(f"What was done to {path[-1]} is not known: {error}")
                return
            self.menu = QtWidgets.QMenu(self._tree)
            self.menu.setToolTipsVisible(True)
            for who, change in past:
                entry = self.menu.addAction(f"{who}   {change.what}".replace("&", "&&"))
                entry.setToolTip("Undo this")
                entry.triggered.connect(
                    lambda _checked, change=change: self._take_back(change, [], self._undone, "Undone")
                )
            if not past:
                self.menu.addAction("Nothing was done yet.").setEnabled(False)
            self.menu.popup(place)

        service = self._session.service
        self._session.fetcher.call(EDITING, lambda: changes.history(service, path, tree), came)

    # What may be done

    def _offer(self, menu: QtWidgets.QMenu, row: Row) -> None:
        """Add what can be done to a node to its menu; what cannot be says why."""
        if row.node is None:
            return
        path = row.node
        for text, what, action in (
            ("Rename", "rename", lambda: self._tree.edit_name(path)),
            ("Delete", "delete", lambda: self.delete(path)),
        ):
            why, entry = self.why_not(path, what), menu.addAction(text)
            entry.setShortcut(KEYS[what])  # it is only shown here
            entry.setShortcutContext(QtCore.Qt.ShortcutContext.WidgetShortcut)
            entry.triggered.connect(lambda _checked, action=action: action())
            entry.setEnabled(not why)
            entry.setToolTip(why)
        tree = path[:-1]
        past = path if row.changeable else tree
        menu.addAction("History…").triggered.connect(lambda _checked: self.show_history(past, tree))

    def why_not(self, path: Path, what: str) -> str:
        """Return why a node can not be renamed or deleted; empty where it can."""
        row = self._tree.row(path)
        if row is None or not row.changeable:
            return NOTHING_CHOSEN
        return str(getattr(self._allowed.get(path[:-1], Allowed()), what))

    def _made(self, path: Path | None, what: str) -> Node | None:
        """Return the node at a path, where this may be done to it; else say why not."""
        if path is None:
            return None
        if why := self.why_not(path, what):
            self._say(why)
            return None
        return self._session.find(path)

    def _look_at(self, state: ViewState) -> None:
        """Find out what may be done to a tree, once."""
        node = state.node
        if node is None or node.tree in self._allowed:
            return
        tree = self._session.library.tree(node.tree)
        if tree is None or tree.root is None:
            return
        root, service = tree.root, self._session.service
        self._allowed[root.tree] = Allowed()

        def came(told: Allowed | None, _error: ServiceError | None) -> None:
            if told is None:
                self._allowed.pop(root.tree, None)  # asked again when the tree is shown again
            else:
                self._allowed[root.tree] = told

        self._session.fetcher.call(EDITING, lambda: changes.allowed(service, root), came)

    # What comes of it

    def _ask(self, node: Node, text: str, button: str) -> None:
        self._tree.notice.say(text, button, lambda: self._delete(node, recursive=True))

    def _delete(self, node: Node, recursive: bool) -> None:
        def came(change: Change | None, error: ServiceError | None) -> None:
            self._open(node.tree)
            if change is not None:
                self._went(change)
            elif isinstance(error, Refused) and error.status == CONFLICT and not recursive:
                self._ask(node, f"{error} Delete all?", "Delete all")
            else:
                self._complain(f"'{node.name}' was not deleted", node, error)

        service = self._session.service
        self._session.fetcher.call(EDITING, lambda: changes.delete(service, node, recursive), came)

    def _went(self, change: Change) -> None:
        """Offer to take a change back."""
        self._remember(change)
        self._leave(change.tree, change.number, change.names)
        self._tree.notice.say(f"{change.what[0].upper()}{change.what[1:]}.", "Undo", self.undo)

    def _remember(self, change: Change) -> None:
        self._done = [*self._done, change][-MOST_UNDONE:]
        self._undone.clear()

    def _leave(self, tree: Path, number: int, gone: Sequence[str]) -> None:
        """Show what a node was made from, where the shown one was deleted here: nobody need be told of that."""
        session, name = self._session, ""
        if number:
            session.own.add(number)
        session.troubles.settle(NOTICE)
        if (shown := session.state.node) is not None and shown.tree == tree:
            name = shown.name
        while name in gone:
            parent = session.find((*tree, name))
            name = (parent.parent if parent is not None else None) or "root"
            if name not in gone:
                session.show((*tree, name))

    def _complain(self, what: str, node: Node, error: Any) -> None:
        self._say(f"{what}: {error}")
        if isinstance(error, Forbidden):
            self._allowed.pop(node.tree, None)

    def _say(self, text: str) -> None:
        self._session.troubles.put(NOTICE, text)

    def _open(self, tree: Path) -> None:
        library = self._session.library
        file = library.file_of(tree)
        library.open(file.path if file is not None else tree)


def _counted(names: tuple[str, ...]) -> str:
    """Write ``'a' is``, ``'a' and 'b' are``, ``5 nodes are``."""
    if len(names) > 2:
        return f"{len(names)} nodes are"
    return " and ".join(f"'{name}'" for name in names) + (" is" if len(names) == 1 else " are")
