"""Renaming and deleting nodes from the list, and bringing back what was deleted.

Nothing changes on the screen before the service has said that it did: what was refused is told in words, and the
list shows what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer import changes
from viewer.changes import CONFLICT, Allowed, Deletion
from viewer.errors import Forbidden, Refused
from viewer.presence import BESIDE, NOTICE

if TYPE_CHECKING:
    from viewer.errors import ServiceError
    from viewer.nodes import Node
    from viewer.panels.tree import TreePanel
    from viewer.rows import Row
    from viewer.session import Session
    from viewer.view_state import ViewState

    Path = tuple[str, ...]

EDITING = f"{BESIDE} editing"
KEYS = {"rename": "F2", "delete": "Del", "undo": "Ctrl+Z"}
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
        self._deletions: list[Deletion] = []
        tree.names.named.connect(self.rename)
        tree.menu_opened.connect(self._offer)
        session.chosen.connect(self._look_at)
        for key, action in (
            (KEYS["rename"], self.edit_name),
            (KEYS["delete"], lambda: self.delete(tree.current)),
            (KEYS["undo"], self.undo),
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
        shown = self._session.state.node
        follows = shown is not None and shown.path == path

        def came(renamed: Path | None, error: ServiceError | None) -> None:
            self._list_again(node)
            if renamed is None:
                self._complain(f"'{node.name}' keeps its name", node, error)
            elif follows:
                self._session.show(renamed)

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

    def undo(self) -> None:
        """Bring back what was deleted last."""
        if not self._deletions:
            return
        deletion = self._deletions.pop()
        self._tree.notice.dismiss()

        def came(names: tuple[str, ...] | None, error: ServiceError | None) -> None:
            self._open(deletion.tree)
            if names is None:
                self._say(f"'{deletion.names[0]}' could not be brought back: {error}")
                if not isinstance(error, Refused | Forbidden):
                    self._deletions.append(deletion)  # the connection: it can be tried again
            else:
                self._session.show((*deletion.tree, deletion.names[0]))

        service = self._session.service
        self._session.fetcher.call(EDITING, lambda: changes.undo(service, deletion), came)

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
        def came(deletion: Deletion | None, error: ServiceError | None) -> None:
            self._list_again(node)
            if deletion is not None:
                self._deleted(node, deletion)
            elif isinstance(error, Refused) and error.status == CONFLICT and not recursive:
                self._ask(node, f"{error} Delete all?", "Delete all")
            else:
                self._complain(f"'{node.name}' was not deleted", node, error)

        service = self._session.service
        self._session.fetcher.call(EDITING, lambda: changes.delete(service, node, recursive), came)

    def _deleted(self, node: Node, deletion: Deletion) -> None:
        """Offer to bring it back; what is shown was perhaps among it: then its parent is next."""
        self._deletions = [*self._deletions, deletion][-MOST_UNDONE:]
        others = [name for name in deletion.names if name != node.name]
        more = f" and {len(others)} made from it" if others else ""
        self._tree.notice.say(f"Deleted '{node.name}'{more}.", "Undo", self.undo)
        shown = self._session.state.node
        if shown is not None and shown.tree == node.tree and shown.name in deletion.names:
            self._session.show((*node.tree, node.parent or "root"))

    def _complain(self, what: str, node: Node, error: Any) -> None:
        self._say(f"{what}: {error}")
        if isinstance(error, Forbidden):
            self._allowed.pop(node.tree, None)

    def _say(self, text: str) -> None:
        self._session.troubles.put(NOTICE, text)

    def _list_again(self, node: Node) -> None:
        self._open(node.tree)

    def _open(self, tree: Path) -> None:
        library = self._session.library
        file = library.file_of(tree)
        library.open(file.path if file is not None else tree)


def _counted(names: tuple[str, ...]) -> str:
    """Write ``'a' is``, ``'a' and 'b' are``, ``5 nodes are``."""
    if len(names) > 2:
        return f"{len(names)} nodes are"
    return " and ".join(f"'{name}'" for name in names) + (" is" if len(names) == 1 else " are")
