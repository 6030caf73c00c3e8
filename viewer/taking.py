"""Takes what was done to a scan along: as a recipe or a script, in a file that a person chooses."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.addresses import quoted
from viewer.errors import ServiceError
from viewer.panels.branches import offer
from viewer.presence import BESIDE, NOTICE

if TYPE_CHECKING:
    from viewer.panels.tree import TreePanel
    from viewer.rows import Row
    from viewer.session import Session
    from viewer.wire import Service

    Path = tuple[str, ...]

TAKING = f"{BESIDE} taking"
# What is said, what the service calls it, and how its file's name ends: a script's is one that Python can import.
FORMS = (("script", "script", "_recipe.py"), ("recipe", "json", ".recipe.json"))


def take(service: Service, tree: Path, form: str, node: str, file: str) -> None:
    """Write the recipe of a tree, or of a node and what it is made from, into a file.

    Raises
    ------
    ServiceError
        The service refuses, or the file cannot be written.
    """
    url = f"/api/v1/nodes/{quoted(tree)}/recipe?format={form}"
    content = service.send("GET", f"{url}&node={quote(node, safe='')}" if node else url).content
    try:
        with open(file, "wb") as written:
            written.write(content)
    except OSError as error:
        raise ServiceError(f"{file} cannot be written: {error.strerror or error}.") from error


class Taking(QtCore.QObject):
    """Offers it in the list: of a scan all its nodes, of a node that one and what it is made from.

    Parameters
    ----------
    session : Session
    tree : TreePanel
        Where a person asks for it.
    """

    def __init__(self, session: Session, tree: TreePanel) -> None:
        super().__init__()
        self._session, self._tree = session, tree
        self.dialog: QtWidgets.QFileDialog | None = None
        tree.menu_opened.connect(self._offer)

    def _offer(self, menu: QtWidgets.QMenu, row: Row) -> None:
        if row.tree is not None:
            for form in FORMS:
                self._offer_one(menu, row, row.tree, *form)

    def _offer_one(
        self, menu: QtWidgets.QMenu, row: Row, tree: Path, what: str, form: str, ending: str
    ) -> None:
        offer(menu, f"Save {what}…", lambda: self._ask(row, tree, what, form, ending))

    def _ask(self, row: Row, tree: Path, what: str, form: str, ending: str) -> None:
        """Ask where to: the dialog asks before it gives the name of a file that is there."""
        named, node = PurePath(tree[0]).stem, ""
        if (file := self._session.library.file_of(tree)) is not None:
            named = PurePath(file.path[-1]).stem
        if row.changeable and row.node is not None:
            node = row.node[-1]
        self.dialog = dialog = QtWidgets.QFileDialog(self._tree, f"Save {what}")
        dialog.setAcceptMode(QtWidgets.QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(ending.rpartition(".")[2])
        dialog.selectFile(f"{named}{ending}")
        dialog.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda path: self._take(tree, form, node, path))
        dialog.open()

    def _take(self, tree: Path, form: str, node: str, file: str) -> None:
        session = self._session

        def came(_: object, error: ServiceError | None) -> None:
            if error is not None:
                session.troubles.put(NOTICE, str(error))

        session.fetcher.call(TAKING, lambda: take(session.service, tree, form, node, file), came)
