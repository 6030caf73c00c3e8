"""Copying a link to what is looked at, and opening one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.link import Link, fragment_of, read
from viewer.nodes import Kind
from viewer.presence import BESIDE, NOTICE
from viewer.view_state import Region

if TYPE_CHECKING:
    from viewer.comparing import Comparing
    from viewer.errors import ServiceError
    from viewer.nodes import Entry, Node, Tree
    from viewer.panels.signal import SignalPanel
    from viewer.panels.toolbar import Toolbar
    from viewer.pinning import Pinning
    from viewer.session import Session
    from viewer.view_state import ViewState

LINKING = f"{BESIDE} link"
COPIED = "Copied: a command for a terminal, that opens this very view. The key is not in it."
COMMAND = "tiled-spyde-viewer"


class Linking(QtCore.QObject):
    """Writes down what is shown, and shows what was written down.

    Parameters
    ----------
    session : Session
        What is shown.
    signal : SignalPanel
        How much of it.
    toolbar : Toolbar
        Where a person asks for a link.
    comparing : Comparing
        What is beside it.
    pinning : Pinning
        Which positions are kept in view.
    """

    def __init__(
        self,
        session: Session,
        signal: SignalPanel,
        toolbar: Toolbar,
        comparing: Comparing,
        pinning: Pinning,
    ) -> None:
        super().__init__()
        self._session, self._signal = session, signal
        self._comparing, self._pinning = comparing, pinning
        self._wanted: Link | None = None
        self._shown: Link | None = None  # its node is there, its first picture is not
        self._beside: Link | None = None  # what was compared is not all there
        self._listed = False
        self._problems: tuple[str, ...] = ()
        self._button = toolbar.link
        self._button.clicked.connect(lambda _checked: self.copy())
        session.framed.connect(lambda _answer: self._finish())
        session.blanked.connect(lambda _why: self._finish())
        session.library.changed.connect(lambda _changes: self._seek())
        session.library.opened.connect(self._look)
        session.library.opened.connect(lambda *_: self._compare())
        session.library.looked.connect(self._give_up)

    # Copying

    def copy(self) -> None:
        """Put a command that opens this very view on the clipboard."""
        if (text := self.text()) is not None:
            QtWidgets.QApplication.clipboard().setText(text)
            below = self._button.mapToGlobal(self._button.rect().bottomLeft())
            QtWidgets.QToolTip.showText(below, COPIED, self._button)

    def text(self) -> str | None:
        """Return that command; None where nothing is shown."""
        link = self.link()
        return f'{COMMAND} "{self._session.service.url}#{fragment_of(link)}"' if link is not None else None

    def link(self) -> Link | None:
        """Return what is shown, with its numbers as round as they are true on the screen."""
        state, contrasts = self._session.state, self._session.contrasts
        node = state.node
        if node is None:
            return None
        contrast = contrasts.of(node)
        link = Link(
            node.path,
            node.key if node.is_preview else "",
            state.position,
            contrasts.levels.get(node.family),
            contrast.colormap if len(node.shown_axes) == 2 and not node.colour_axes else None,
            contrast.scale,
            self._zoom(node),
            pins=self._pinning.positions,
        )
        link = self._comparing.written(link)
        if (levels := link.levels) is not None:
            link = replace(link, levels=(_rounded(levels[0], levels), _rounded(levels[1], levels)))
        return link

    def _zoom(self, node: Node) -> tuple[float, ...]:
        compared = self._comparing.active
        part = self._comparing.panel.together.part(node) if compared else self._signal.part()
        if len(part) == 4:
            return tuple(round(edge, 2) for edge in part)
        return tuple(_rounded(end, (part[0], part[-1])) for end in part)

    # Opening

    def open(self, fragment: str) -> None:
        """Show what a link names, as soon as it is listed; what is wrong with it is told."""
        link, self._problems = read(fragment)
        if link is None:
            self._shown = Link(())  # told when there is something to look at, and before
            self._session.troubles.put(NOTICE, self._told())
            return
        self._wanted = link
        self._session.show(link.node)

    def _seek(self) -> None:
        """Look into the file that a link leads to, once it is listed."""
        if self._wanted is not None and self._session.library.file_of(self._wanted.node) is not None:
            self._session.show(self._wanted.node)

    def _look(self, entry: Entry, _trees: tuple[Tree, ...]) -> None:
        """Show the node of a file that is there by now; where there is none of that name, what there is."""
        link = self._wanted
        if link is None or link.node[: len(entry.path)] != entry.path:
            return
        if self._session.find(link.node) is not None:
            return
        if link.key:
            self._fetch(link)
        else:
            self._miss(f"'{link.node[-1]}' is not in {'/'.join(entry.path)} any more: renamed or deleted")
            self._session.show(entry.path)

    def _fetch(self, link: Link) -> None:
        """Ask for a node that is known by its key only."""
        *tree, name = link.node
        service = self._session.service
        pinned = (*tree, f"{name}@{link.key}")

        def came(node: Node | None, error: ServiceError | None) -> None:
            if self._wanted is not link:
                return
            if node is not None:
                self._session.choose(replace(node, path=link.node, key=link.key))
                self._session.maker.look_at(node.tree)  # something may be made of what it is made from
                return
            self._miss(f"'{name}' is not there any more ({error})")
            self._session.show((*tree, "root"))

        self._session.fetcher.call(LINKING, lambda: service.node(pinned), came)

    def _give_up(self) -> None:
        """All is listed, and the file is not among it."""
        self._listed = True
        self._compare()
        link, session = self._wanted, self._session
        file = session.library.file_of(link.node) if link is not None else None
        if link is None or (file is not None and file.error is None):
            return
        name = "/".join(link.node)
        self._miss(f"{name} cannot be read" if file is not None else f"{name} is not on this service")
        session.troubles.put(NOTICE, self._told())
        first = next(session.library.files(), None)
        if first is not None:
            session.show(first.path)

    def _miss(self, problem: str) -> None:
        self._problems = (*self._problems, problem)
        self._wanted, self._shown = None, Link(())

    def prepare(self, state: ViewState) -> None:
        """Give a node that is about to be shown the contrast of the link, if it is the one."""
        link, session, node = self._wanted, self._session, state.node
        if link is None or node is None or node.path != link.node:
            return
        self._wanted, self._shown = None, link
        if link.key not in ("", node.key):
            self._problems = (*self._problems, f"'{node.name}' has changed since: this is what it is now")
        contrast = session.contrasts.of(node)
        if link.levels is not None:
            session.contrasts.levels[node.family] = link.levels
            contrast = replace(contrast, locked=True)
        contrast = replace(contrast, scale=link.scale or contrast.scale)
        session.contrasts.put(node, replace(contrast, colormap=link.colormap or contrast.colormap))

    def place(self, state: ViewState) -> None:
        """Point where the link does; the panels are ready for the node."""
        link, node = self._shown, state.node
        if link is None or node is None or node.path != link.node or not link.position:
            return
        if len(link.position) != len(node.position_axes):
            self._problems = (*self._problems, "its position is of another scan")
            return
        if any(index >= axis.size for index, axis in zip(link.position, node.position_axes, strict=True)):
            self._problems = (*self._problems, "its position is outside the scan: this is the nearest")
        self._session.move_to(link.position)

    def _finish(self) -> None:
        """Bring the same part onto the screen, and what was beside it: the first picture is there."""
        link, self._shown = self._shown, None
        if link is None:
            return
        if link.node:
            self._show_zoom(link.zoom)
            self._pinning.show(link.pins)
            self._beside = link
            self._compare()
        if self._problems:
            self._session.troubles.put(NOTICE, self._told())

    def _compare(self) -> None:
        """Show what was compared, once the files it is in have been looked into, unless the person went on."""
        link, session, shown = self._beside, self._session, self._session.state.node
        if link is None or shown is None or shown.path != link.node:
            self._beside = None
            return
        missing = [path for path in link.compared if path != shown.path and session.find(path) is None]
        files = [session.library.file_of(path) for path in missing]
        readable = [file for file in files if file is not None and file.error is None]
        unread = [file for file in readable if file.path not in session.library.trees]
        for file in unread:
            session.library.open(file.path)
        if unread or (None in files and not self._listed):
            return
        self._beside = None
        self._comparing.open(link)
        if missing:
            names = " and ".join(dict.fromkeys(f"'{path[-1]}'" for path in missing))
            self._problems = (*self._problems, f"{names} cannot be compared: removed or renamed")
            session.troubles.put(NOTICE, self._told())

    def _show_zoom(self, zoom: tuple[float, ...]) -> None:
        node, view = self._session.state.node, self._signal.view
        if node is None or not zoom:
            return
        if view is self._signal.image and len(zoom) == 4:
            self._signal.image.show_region(Region(*zoom))
        elif node.kind is not Kind.IMAGE and len(zoom) == 2:
            view.fitted = False
            view.box.setXRange(*zoom, padding=0)

    def _told(self) -> str:
        return f"Not all of the link can be shown: {'; '.join(self._problems)}."


def _rounded(value: float, ends: tuple[float, float]) -> float:
    """Return a value to a ten-thousandth of the distance between two ends: what a screen shows."""
    return float(f"{value:.{_digits(ends)}g}")


def _digits(ends: tuple[float, float]) -> int:
    """Significant digits that tell a ten-thousandth of a distance."""
    low, high = ends
    ratio = max(abs(low), abs(high)) / max(abs(high - low), 1e-300)
    return min(17, 5 + max(0, len(str(int(min(ratio, 1e15))))))
