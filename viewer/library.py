"""What the service has, kept up to date: folders page by page, files where somebody looks.

Lives in the GUI thread and never waits. One page and one file are on the way at a time, whatever the number
of files; how often all is listed again follows from how long that takes, so that a large folder costs the
service a small, bounded part of its time.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore

from viewer.errors import Busy, Unauthorised, Unreachable
from viewer.nodes import Entry, Indexing, Node, Sort, Tree
from viewer.walk import Changes, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from viewer.errors import ServiceError
    from viewer.fetch import Fetcher, Then
    from viewer.wire import Service

    Path = tuple[str, ...]

LIBRARY = "library"
PULSE_MS = 1000
# Pulses between two looks at a service that is not indexing.
CALM_PULSES = 3
# After a look all rests this many times as long as the look took: where something changed, and where not.
REST_CHANGED, REST = 4.0, 20.0
MOST_FOLDERS_SEARCHED = 50
# What says nothing of the thing that was asked for: it is asked for again.
ANOTHER_TIME = (Unreachable, Unauthorised, Busy)


class Library(QtCore.QObject):
    """Lists the service, and looks for what is new.

    Parameters
    ----------
    service : Service
        What is listed.
    fetcher : Fetcher
        In whose calling thread it is asked.
    pulse_ms : int
        How often to ask whether something changed while the service is indexing; a third as often otherwise.
    """

    changed = QtCore.Signal(object)  # Changes
    opened = QtCore.Signal(object, object)  # Entry, tuple of Tree: the file as it is now
    indexing = QtCore.Signal(object)  # Indexing
    found = QtCore.Signal(str, object)  # text, set of paths
    looked = QtCore.Signal()  # all is listed that there was when it began to look

    def __init__(self, service: Service, fetcher: Fetcher, pulse_ms: int = PULSE_MS) -> None:
        super().__init__()
        self.entries: dict[Path, dict[Path, Entry]] = {}
        self.trees: dict[Path, tuple[Tree, ...]] = {}
        self.watched: Path | None = None
        self.told: Callable[[], bool] = lambda: False  # whether somebody tells when the watched file changes
        self._service, self._fetcher = service, fetcher
        self._walk: Walk | None = None
        self._walk_began = 0.0
        self._due = self._due_if_changed = self._watch_due = 0.0
        self._mark = self._walked_mark = ""
        self._pulses = 0
        self._asked = self._opening = self._searching = False
        self._sought = ""
        self._urgent: dict[Path, None] = {}
        self._visible: dict[Path, None] = {}
        self._timer = QtCore.QTimer(self, interval=pulse_ms)
        self._timer.timeout.connect(self._pulse)

    # What is there

    def entry(self, path: Path) -> Entry | None:
        """Return what was listed at a path."""
        return self.entries.get(path[:-1], {}).get(path)

    def files(self) -> Iterator[Entry]:
        """Yield everything listed that holds trees."""
        for listed in self.entries.values():
            yield from (entry for entry in listed.values() if entry.sort in (Sort.FILE, Sort.TREE))

    def file_of(self, path: Path) -> Entry | None:
        """Return the file that a tree or node is in."""
        above = (path[:length] for length in range(1, len(path) + 1))
        entries = (entry for entry in map(self.entry, above) if entry is not None)
        return next((entry for entry in entries if entry.sort is not Sort.FOLDER), None)

    def find(self, path: Path) -> Node | None:
        """Return a node as it was listed last."""
        tree = self.tree(path[:-1])
        return tree.node(path[-1]) if tree else None

    def now(self, node: Node) -> Node | None:
        """Return what became of a node: under its name, or under another one with the same key."""
        if node.is_preview:
            return node  # it is not listed, and cannot become another one
        tree = self.tree(node.tree)
        return tree.now(node) if tree is not None else None

    def navigator_of(self, node: Node) -> Node | None:
        """Find the map to point into for a node."""
        tree = self.tree(node.tree)
        return tree.navigator_of(node) if tree is not None else None

    def error_of(self, path: Path) -> str:
        """Return why a file could not be read."""
        entry = self.entry(path)
        told = [entry.error if entry else None, *(tree.error for tree in self.trees.get(path, ()))]
        return next(filter(None, told), "the service does not say why.")

    def left_of(self, node: Node) -> Node | None:
        """Return what is left of a node that is gone: what it was made from, else the root of its tree."""
        tree = self.tree(node.tree)
        return (tree.node(node.parent or "") or tree.root) if tree is not None else None

    def tree(self, path: Path) -> Tree | None:
        """Return a tree as it was listed last."""
        above = (self.trees.get(path[:length], ()) for length in range(len(path) + 1))
        return next((tree for trees in above for tree in trees if tree.path == path), None)

    def all_trees(self) -> tuple[Tree, ...]:
        """Return all trees that have been looked into, and the files that cannot be."""
        listed = (entry for entries in self.entries.values() for entry in entries.values())
        unread = (Tree(entry.path, error=entry.error) for entry in listed if entry.error is not None)
        return (*(tree for trees in self.trees.values() for tree in trees), *unread)

    # What is asked for

    def start(self) -> None:
        """List everything, and look for changes from now on."""
        self.look()

    def stop(self) -> None:
        """Ask no more."""
        self._timer.stop()

    def look(self) -> None:
        """List everything again as soon as possible."""
        self._due = self._due_if_changed = self._watch_due = 0.0
        self._asked, self._pulses = False, 0
        self._timer.start()
        self._pulse()

    def open(self, path: Path) -> None:
        """Look into a file before all others, again where that has been done."""
        self._urgent[path] = None
        self._open_next()

    def watch(self, path: Path) -> None:
        """Look into the file of this node again and again: it is the one that is shown."""
        file = self.file_of(path)
        self.watched = file.path if file else None

    def see(self, paths: Iterable[Path]) -> None:
        """Look into those of these files, which are on the screen, that are unknown, when there is time."""
        self._visible = dict.fromkeys(path for path in paths if path not in self.trees)
        self._open_next()

    def search(self, text: str) -> None:
        """Let the service find a text in titles and types; `found` tells, folder by folder."""
        self._sought = text
        if text and not self._searching:
            self._search(text, list(self.entries)[:MOST_FOLDERS_SEARCHED], frozenset())

    def _ask(self, question: Callable[[], Any], then: Then) -> None:
        self._fetcher.call(LIBRARY, question, then)

    # What changed

    def _pulse(self) -> None:
        self._pulses += 1
        if not self._asked and self._pulses % CALM_PULSES == 1:
            self._asked = True
            self._ask(self._service.top, self._top_came)

    def _top_came(self, top: tuple[str, Indexing] | None, error: ServiceError | None) -> None:
        self._asked = False
        if top is None:
            if isinstance(error, Unreachable | Unauthorised):
                self._timer.stop()  # until somebody says that it is back, or that there is another key
            return
        self._mark, indexing = top
        if indexing.active:
            self._pulses = 0  # so that the next pulse asks again
        self.indexing.emit(indexing)
        now = monotonic()
        if now >= (self._due if self._mark == self._walked_mark else self._due_if_changed):
            self._begin()
        if self.watched is not None and now >= self._watch_due and not self.told():
            self._visible.setdefault(self.watched)
        self._open_next()

    def _begin(self) -> None:
        if self._walk is None:
            self._walk, self._walk_began, self._walked_mark = Walk(self.entries), monotonic(), self._mark
            self._turn_page()

    def _turn_page(self) -> None:
        place = self._walk.next if self._walk else None
        if place is not None:
            self._ask(lambda: self._service.page(*place), self._page_came)
            return
        self._walk = None
        now = monotonic()
        took = now - self._walk_began
        calm = CALM_PULSES * self._timer.interval() / 1000
        self._due, self._due_if_changed = now + max(calm, REST * took), now + REST_CHANGED * took
        self.looked.emit()

    def _page_came(self, page: Any, error: ServiceError | None) -> None:
        if self._walk is None:
            return
        if error is not None and (isinstance(error, ANOTHER_TIME) or self._walk.next == ((), 0)):
            self._walk = None
            return
        if error is not None:
            self._walk.skip()
        else:
            self._tell(self._walk.take(page))
        self._turn_page()

    def _tell(self, changes: Changes) -> None:
        for path in changes.gone:
            for known in [known for known in self.trees if known[: len(path)] == path]:
                del self.trees[known]
        for entry in changes.put:
            if entry.path in self.trees:
                self._visible[entry.path] = None
        if changes:
            self.changed.emit(changes)
        self._open_next()

    # Files

    def _open_next(self) -> None:
        if self._opening:
            return
        while queue := self._urgent or self._visible:
            path = next(iter(queue))
            del queue[path]
            entry = self.entry(path)
            if entry is not None and entry.sort in (Sort.FILE, Sort.TREE):
                self._look_into(entry)
                return

    def _look_into(self, entry: Entry) -> None:
        self._opening, began = True, monotonic()

        def came(trees: Any, error: ServiceError | None) -> None:
            self._watch_due = monotonic() + REST * (monotonic() - began)
            self._trees_came(entry, trees, error)

        self._ask(lambda: self._service.trees(entry), came)

    def _trees_came(self, entry: Entry, trees: Any, error: ServiceError | None) -> None:
        self._opening = False
        if isinstance(error, ANOTHER_TIME):
            self._visible[entry.path] = None  # with the next pulse, or when the connection is back
            return
        if error is not None:
            trees = (Tree(entry.path, error=str(error)),)
        if self.entry(entry.path) is not None:
            self.trees[entry.path] = trees
            self.opened.emit(entry, trees)
        self._open_next()

    def _search(self, text: str, folders: list[Path], paths: frozenset[Path]) -> None:
        self._searching = bool(folders)
        if not folders:
            return

        def came(more: frozenset[Path] | None, _error: ServiceError | None) -> None:
            if text != self._sought:  # a person who types on wants nothing of this any more
                self._searching = False
                self.search(self._sought)
                return
            both = paths | (more or frozenset())
            self.found.emit(text, both)
            self._search(text, folders[1:], both)

        self._ask(lambda: self._service.find(folders[0], text), came)
