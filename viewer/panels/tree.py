"""Folders, files and nodes of the service, with shapes and states.

However many there are, the window does not wait for this list: rows are made, changed and hidden a few at a
time, between two looks at what a person does, and only rows on the screen ask to be looked into.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.nodes import Sort
from viewer.panels.boxes import Panel, heading
from viewer.panels.branches import RIGHT, BranchTree, dot, offer
from viewer.panels.finder import Finder
from viewer.panels.naming import NameDelegate
from viewer.panels.notice import Notice
from viewer.rows import matching, reading_order, row_of
from viewer.theme import DARK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from viewer.nodes import Entry, Tree
    from viewer.rows import Row
    from viewer.theme import Theme
    from viewer.walk import Changes

    Path = tuple[str, ...]

PATH = QtCore.Qt.ItemDataRole.UserRole
# Rows are drawn for this long, then whatever a person did comes first.
SLOT_SECONDS = 0.003
# Rows on the screen are looked into when scrolling has paused, nodes reached by keys when the key is released.
PAUSE_MS = 120
MOST_UNFOLDED = 200
# As wide as a mark, so that names stand below each other before and after a file was looked into.
NO_MARK = ("panel", True)


class TreePanel(Panel):
    """Lists what there is; a click or an arrow key shows a node, or says why a file cannot be shown."""

    clicked = QtCore.Signal(object)  # path of a node, or of a file that has not been looked into
    reached = QtCore.Signal(object)  # the same, by the keyboard, which stays here
    file_clicked = QtCore.Signal(object)  # path of an unreadable file
    seen = QtCore.Signal(object)  # paths of files on the screen that have not been looked into
    searched = QtCore.Signal(str)
    calibrate_asked = QtCore.Signal(object)  # path of a tree
    make_asked, change_asked = QtCore.Signal(object), QtCore.Signal(object)  # path of a node
    marked = QtCore.Signal(object)  # path of a node, by Ctrl+click
    menu_opened = QtCore.Signal(object, object)  # QMenu, Row: who can do something with it adds it

    def __init__(self) -> None:
        super().__init__(spacing=4)
        self._theme = DARK
        self._shown: Path = ()
        self.why_not_calibrate = ""
        self.items: dict[Path, QtWidgets.QTreeWidgetItem] = {}
        self._rows: dict[Path, Row] = {}
        self._entries: dict[Path, Entry] = {}
        self._trees: dict[Path, Sequence[Tree]] = {}
        self._names: dict[Path, list[tuple[object, str]]] = {}
        self._matches: set[Path] | None = None
        self._found: frozenset[Path] = frozenset()
        self._unfolded: dict[Path, bool] = {}
        self._dots: dict[tuple[str, bool], QtGui.QIcon] = {}
        self._work: deque[Iterator[None]] = deque()
        self.finder = Finder()
        self.list, self.notice = BranchTree(), Notice()
        self.names = NameDelegate(PATH)
        self._letters: dict[Path, str] = {}
        self._lay_out()
        self._drawing = QtCore.QTimer(self, interval=0)
        self._drawing.timeout.connect(self._draw_some)
        self._pause = QtCore.QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._pause.timeout.connect(self._tell_seen)
        self._arrival = QtCore.QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._arrival.timeout.connect(lambda: self._go_to(self.list.currentItem()))
        self._listen()

    # What is listed

    def change(self, changes: Changes) -> None:
        """List what is new, and drop what is gone; selection, folding and scrolling stay."""
        for entry in changes.put:
            self._entries[entry.path] = entry
        for path in changes.gone:
            for known in [known for known in self._entries if known[: len(path)] == path]:
                del self._entries[known]
                self._trees.pop(known, None)
        if changes.put:
            self._do(self._draw_entries(changes.put))
        if changes.gone:
            self._do(self._remove(changes.gone))
        self._count()
        if self.finder.words and changes.put:
            self._filter()

    def show_file(self, entry: Entry, trees: Sequence[Tree]) -> None:
        """List what is in a file."""
        if self._trees.get(entry.path) != trees:
            self._trees[entry.path] = trees
            self._do(self._draw_entries((entry,)))

    def mark(self, path: Path) -> None:
        """Highlight the node that is shown."""
        self._shown = path
        item = self.items.get(path)
        if item is not None and item is not self.list.currentItem():
            with QtCore.QSignalBlocker(self.list):
                self.list.setCurrentItem(item)
            self.list.viewport().update()

    @property
    def current(self) -> Path | None:
        """Path of what is highlighted."""
        item = self.list.currentItem()
        return item.data(0, PATH) if item is not None else None

    def row(self, path: Path) -> Row | None:
        """Return what is listed for a path."""
        return self._rows.get(self.items[path].data(0, PATH)) if path in self.items else None

    def edit_name(self, path: Path) -> None:
        """Let the person type over the name of a row."""
        if (item := self.items.get(path)) is not None:
            item.setFlags(item.flags() | QtCore.Qt.ItemFlag.ItemIsEditable)
            self.list.editItem(item, 0)

    def show_letters(self, letters: dict[Path, str]) -> None:
        """Write letters beside nodes that are compared."""
        marked, self._letters = {*letters, *self._letters}, letters
        self.list.leave_room(bool(letters))
        for item in [self.items[path] for path in marked if path in self.items]:
            self._dress(item, self._rows[item.data(0, PATH)])

    def show_found(self, text: str, found: frozenset[Path]) -> None:
        """Show what the service found for the text that is looked for."""
        if text == self.finder.words:
            self._found = found
            self._filter()

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self._dots = {}
        self._do(self._dress_all())

    # Drawing, a few rows at a time

    def _do(self, work: Iterator[None]) -> None:
        self._work.append(work)
        if not self._drawing.isActive():
            self._drawing.start()

    def _draw_some(self) -> None:
        """Draw for a moment; the row at the top of the view stays there."""
        ends = perf_counter() + SLOT_SECONDS
        current = self.list.currentItem()
        first = self.list.itemAt(0, 0) if self.list.verticalScrollBar().value() else None
        while self._work and perf_counter() < ends:
            if next(self._work[0], StopIteration) is StopIteration:
                self._work.popleft()
        if not self._work:
            self._drawing.stop()
            self._pause.start()
        if (shown := self.list.currentItem()) is not current and shown is not None:
            self.list.scrollToItem(shown)  # it was made, and is what a person looks at
        elif first is not None and first in self.items.values():
            self.list.scrollToItem(first, QtWidgets.QAbstractItemView.ScrollHint.PositionAtTop)

    def _draw_entries(self, entries: Sequence[Entry]) -> Iterator[None]:
        for entry in entries:
            if self._entries.get(entry.path) is None:
                continue  # gone again before it was drawn
            above = self.items.get(entry.path[:-1]) if entry.path[1:] else self.list.invisibleRootItem()
            if above is not None:
                row = row_of(self._entries[entry.path], self._trees.get(entry.path))
                yield from self._draw(row, above, None)
        self.mark(self._shown)

    def _draw(self, row: Row, above: QtWidgets.QTreeWidgetItem, place: int | None) -> Iterator[None]:
        """Make or change the item of a row, and those below it; None: where its name belongs."""
        item = self.items.get(row.path)
        fresh = item is None
        if item is None:
            item = QtWidgets.QTreeWidgetItem()
            above.insertChild(self._place(row) if place is None else place, item)
        before = self._rows.get(row.path)
        if before != row:
            self._dress(item, row)
            self._rows[row.path] = row
            for path in (row.path, *row.also):
                self.items[path] = item
            wanted = {child.path for child in row.children}
            for child in before.children if before is not None else ():
                if child.path not in wanted:
                    self._take(child.path)
        yield
        for number, child in enumerate(row.children):
            yield from self._draw(child, item, number)
        if (fresh or not (before and before.children)) and row.children:
            item.setExpanded(True)

    def _place(self, row: Row) -> int:
        """Index among its folder's rows, as people count."""
        names = self._names.setdefault(row.path[:-1], [])
        key = reading_order(row.path[-1]), row.path[-1]
        place = bisect(names, key)
        names.insert(place, key)
        return place

    def _remove(self, paths: Sequence[Path]) -> Iterator[None]:
        for path in paths:
            names, key = self._names.get(path[:-1], []), (reading_order(path[-1]), path[-1])
            if key in names:
                names.remove(key)
            for folder in [folder for folder in self._names if folder[: len(path)] == path]:
                del self._names[folder]
            self._take(path)
            yield

    def _take(self, path: Path) -> None:
        """Take the row of a path off the list, with all below it."""
        item = self.items.get(path)
        if item is None:
            return
        for child in self._rows[item.data(0, PATH)].children:  # their paths need not begin alike
            self._take(child.path)
        with QtCore.QSignalBlocker(self.list):  # Qt makes a neighbour current: nobody has asked to see that
            (item.parent() or self.list.invisibleRootItem()).removeChild(item)
            if self._shown[: len(path)] == path:
                self.list.setCurrentItem(None)
        for known in [known for known in self.items if known[: len(path)] == path]:
            del self.items[known]
            self._rows.pop(known, None)

    def _dress_all(self) -> Iterator[None]:
        for path, row in list(self._rows.items()):
            if (item := self.items.get(path)) is not None:
                self._dress(item, row)
                yield

    def _dress(self, item: QtWidgets.QTreeWidgetItem, row: Row) -> None:
        """Give an item the texts and colours of its row."""
        item.setData(0, PATH, row.path)
        item.setText(0, row.text)
        letter = self._letters.get(row.node or ())
        item.setText(1, f"{letter}   {row.detail}" if letter else row.detail)
        item.setToolTip(0, row.tip)
        item.setTextAlignment(1, RIGHT)
        item.setForeground(1, QtGui.QColor(self._theme.accent if letter else self._theme.dim))
        if row.bold or row.faint:
            font = item.font(0)
            font.setBold(row.bold)
            item.setFont(0, font)
            colour = self._theme.faint if row.faint else self._theme.text
            item.setForeground(0, QtGui.QColor(colour))
        if not row.folder:
            item.setIcon(0, self._dot(row.mark or NO_MARK))
        else:
            item.setChildIndicatorPolicy(QtWidgets.QTreeWidgetItem.ChildIndicatorPolicy.ShowIndicator)
            item.setFirstColumnSpanned(True)
        if self._matches is not None:
            item.setHidden(self._is_hidden(row.path))

    def _dot(self, mark: tuple[str, bool]) -> QtGui.QIcon:
        if mark not in self._dots:
            self._dots[mark] = dot(getattr(self._theme, mark[0]), mark[1])
        return self._dots[mark]

    # Finding

    def _look_for(self) -> None:
        """Show what is named as somebody typed at once; what the service finds follows."""
        self._found = frozenset()
        self.list.scrollToTop()  # the first that is found is the first that is seen
        self._filter()
        self.searched.emit(self.finder.words)

    def _filter(self) -> None:
        words = self.finder.words
        if words and self._matches is None:
            self._unfolded = {path: self.items[path].isExpanded() for path in self._folders()}
        self._matches = matching(words, self._entries, self._found) if words else None
        self._count()
        self._do(self._hide(self._matches))

    def _hide(self, matches: set[Path] | None) -> Iterator[None]:
        for path, row in list(self._rows.items()):
            if matches is not self._matches:
                return  # something else is looked for by now
            if (item := self.items.get(path)) is not None and item.isHidden() != self._is_hidden(row.path):
                item.setHidden(self._is_hidden(row.path))
                yield
        few = matches if matches is not None and len(matches) <= MOST_UNFOLDED else set()
        for path in self._folders():
            self.items[path].setExpanded(path in few or self._unfolded.get(path, False))
            yield

    def _is_hidden(self, path: Path) -> bool:
        """Hide a file that does not match with its nodes, and a folder without a match."""
        return self._matches is not None and path in self._entries and path not in self._matches

    def _folders(self) -> list[Path]:
        entries = self._entries.values()
        return [e.path for e in entries if e.sort is Sort.FOLDER and e.path in self.items]

    def _count(self) -> None:
        files = sum(entry.sort is not Sort.FOLDER for entry in self._entries.values())
        matches = self._matches
        named = [path for path, entry in self._entries.items() if entry.sort is not Sort.FOLDER]
        self.finder.show_count(files, None if matches is None else len(matches.intersection(named)))

    # What a person does

    def _listen(self) -> None:
        self.list.itemClicked.connect(lambda item, _column: self._go_to(item, by_hand=True))
        self.list.itemActivated.connect(lambda item, _column: self._go_to(item, by_hand=True))
        self.list.currentItemChanged.connect(lambda *_: self._arrival.start())
        self.list.verticalScrollBar().valueChanged.connect(lambda _value: self._pause.start())
        self.list.itemExpanded.connect(lambda _item: self._pause.start())
        self.list.marked.connect(self._mark_item)
        self.list.customContextMenuRequested.connect(self._show_menu)
        self.finder.changed.connect(self._look_for)
        self.finder.left.connect(self._enter_list)

    def _enter_list(self) -> None:
        """Go from the text that is looked for to what was found."""
        self.list.setFocus()
        shown = (item for item in self.items.values() if not item.isHidden() and item.data(0, PATH))
        current = self.list.currentItem()
        if (current is None or current.isHidden()) and (first := next(shown, None)) is not None:
            self.list.setCurrentItem(self.list.itemAt(4, 4) or first)

    def _go_to(self, item: QtWidgets.QTreeWidgetItem | None, by_hand: bool = False) -> None:
        """Show what a row is about; a row of several signals, or a folder, folds on a click."""
        signal = self.clicked if by_hand else self.reached
        self._arrival.stop()
        row = self._rows.get(item.data(0, PATH)) if item is not None else None
        if item is None or row is None:
            return
        if row.node is not None:
            if row.node != self._shown:
                signal.emit(row.node)
        elif row.detail == "unreadable":
            self.file_clicked.emit(row.path)
        elif row.folder or row.children:
            item.setExpanded(item.isExpanded() != by_hand)
        else:
            signal.emit(row.path)

    def _mark_item(self, item: QtWidgets.QTreeWidgetItem) -> None:
        row = self._rows.get(item.data(0, PATH))
        if row is not None and row.node is not None:
            self.marked.emit(row.node)

    def _show_menu(self, place: QtCore.QPoint) -> None:
        """Offer what can be done to a tree."""
        item = self.list.itemAt(place)
        row = self._rows.get(item.data(0, PATH)) if item is not None else None
        if row is not None and row.tree is not None:
            menu, node = QtWidgets.QMenu(self), row.node
            fixed = "" if row.changeable else "It is as the file has it."
            if node is not None:
                offer(menu, "New node from this…", lambda: self.make_asked.emit(node))
                offer(menu, "Change parameters…", lambda: self.change_asked.emit(node), fixed)
            offer(menu, "Calibrate…", lambda: self.calibrate_asked.emit(row.tree), self.why_not_calibrate)
            self.menu_opened.emit(menu, row)
            menu.setToolTipsVisible(True)
            menu.popup(self.list.viewport().mapToGlobal(place))

    def _tell_seen(self) -> None:
        """Tell which files on the screen have not been looked into."""
        seen, item = [], self.list.itemAt(0, 0)
        height = self.list.viewport().height()
        while item is not None and self.list.visualItemRect(item).top() < height:
            path = item.data(0, PATH)
            if path in self._entries and path not in self._trees:
                seen.append(path)
            item = self.list.itemBelow(item)
        self.seen.emit(seen)

    def _lay_out(self) -> None:
        self.list.setItemDelegateForColumn(0, self.names)
        hint = QtWidgets.QLabel("Space: previous node")
        hint.setObjectName("hint")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(heading("Signal tree"))
        row.addStretch(1)
        row.addWidget(hint)
        self.column.addLayout(row)
        self.column.addWidget(self.finder)
        self.column.addWidget(self.list, 1)
        self.column.addWidget(self.notice)
