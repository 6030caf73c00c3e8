"""Trees and nodes of the service, with shapes and states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.panels.boxes import Panel, heading
from viewer.readout import shape_text
from viewer.theme import DARK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.nodes import Node, Tree
    from viewer.theme import Theme

STATES = {
    "stored": "stored: read as it is",
    "lazy": "computed where you look",
    "computing": "being computed",
    "failed": "failed",
}
RIGHT = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
PATH = QtCore.Qt.ItemDataRole.UserRole


class TreePanel(Panel):
    """Lists what there is; a click shows a node, or says why a file cannot be shown."""

    node_clicked = QtCore.Signal(object)  # path of a node
    file_clicked = QtCore.Signal(object)  # path of an unreadable file

    def __init__(self) -> None:
        super().__init__(spacing=4)
        self._theme = DARK
        self._trees: tuple[Tree, ...] = ()
        self._shown: tuple[str, ...] = ()
        self.items: dict[tuple[str, ...], QtWidgets.QTreeWidgetItem] = {}
        self.list = QtWidgets.QTreeWidget()
        self.list.setObjectName("nodes")
        self.list.setHeaderLabels(["Node", "Shape"])
        self.list.setIndentation(14)
        self.list.setUniformRowHeights(True)
        self.list.setIconSize(QtCore.QSize(10, 10))
        self.list.setTextElideMode(QtCore.Qt.TextElideMode.ElideMiddle)
        header = self.list.header()
        header.setStretchLastSection(False)
        self.list.headerItem().setTextAlignment(1, RIGHT)
        header.setMinimumSectionSize(48)
        header.setSectionResizeMode(0, QtWidgets.QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QtWidgets.QHeaderView.ResizeMode.ResizeToContents)
        self.list.itemClicked.connect(self._clicked)
        self.list.itemActivated.connect(self._clicked)
        hint = QtWidgets.QLabel("Space: previous node")
        hint.setObjectName("hint")
        row = QtWidgets.QHBoxLayout()
        row.addWidget(heading("Signal tree"))
        row.addStretch(1)
        row.addWidget(hint)
        self.column.addLayout(row)
        self.column.addWidget(self.list, 1)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self._theme = theme
        self.show_trees(self._trees)

    def show_trees(self, trees: Sequence[Tree]) -> None:
        """List these trees by file; what was folded stays folded."""
        folded = {path for path, item in self.items.items() if not item.isExpanded()}
        scrolled = self.list.verticalScrollBar().value()
        self._trees = tuple(sorted(trees, key=_file))  # stable: signals stay in the order of their file
        self.list.clear()
        self.items = {}
        several = _files_with_several_signals(self._trees)
        for tree in self._trees:
            self._add_tree(tree, in_file=tree.path[:-1] in several)
        self.mark(self._shown)  # unfolds what is above it, so first
        for path, item in self.items.items():
            item.setExpanded(path not in folded)
        self.list.verticalScrollBar().setValue(scrolled)

    def mark(self, path: tuple[str, ...]) -> None:
        """Highlight the node that is shown."""
        self._shown = path
        if (item := self.items.get(path)) is not None:
            self.list.setCurrentItem(item)

    def _add_tree(self, tree: Tree, in_file: bool) -> None:
        """One signal: its row is its root node; below a row for the file where that has several."""
        if tree.error is not None:
            self._grey(tree)
            return
        above = self._file_row(tree.path[:-1]) if in_file else self.list
        name = tree.path[-1] if in_file else "/".join(tree.path[:-1]) or tree.path[-1]
        root = tree.root
        item = QtWidgets.QTreeWidgetItem(above) if root is None else self._add_node(root, above, name)
        item.setText(0, name)
        _embolden(item)
        self.items[tree.path] = item
        for node in _parents_first(tree.nodes):
            if node is not root:
                self._add_node(node, self.items.get((*tree.path, node.parent or ""), item), node.name)

    def _file_row(self, path: tuple[str, ...]) -> QtWidgets.QTreeWidgetItem:
        """Make the row of a file with several signals, or find it."""
        if path not in self.items:
            item = QtWidgets.QTreeWidgetItem(self.list)
            item.setText(0, "/".join(path))
            item.setToolTip(0, "/".join(path))
            item.setFlags(QtCore.Qt.ItemFlag.ItemIsEnabled)
            item.setFirstColumnSpanned(True)
            _embolden(item)
            self.items[path] = item
        return self.items[path]

    def _grey(self, tree: Tree) -> None:
        """Show an unreadable file: grey, its reason one hover or click away."""
        item = self.items[tree.path] = QtWidgets.QTreeWidgetItem(self.list)
        item.setData(0, PATH, tree.path)
        item.setText(0, tree.path[-1])
        item.setText(1, "unreadable")
        item.setIcon(0, _dot(self._theme.bad, filled=False))
        item.setFlags(QtCore.Qt.ItemFlag.ItemIsEnabled)
        for column in (0, 1):
            item.setForeground(column, QtGui.QColor(self._theme.faint))
            item.setToolTip(column, tree.error or "")
        item.setTextAlignment(1, RIGHT)

    def _add_node(
        self, node: Node, above: QtWidgets.QTreeWidgetItem | QtWidgets.QTreeWidget, name: str
    ) -> QtWidgets.QTreeWidgetItem:
        item = QtWidgets.QTreeWidgetItem(above)
        self.items[node.path] = item
        item.setData(0, PATH, node.path)
        item.setText(0, name)
        item.setText(1, shape_text(node))
        item.setTextAlignment(1, RIGHT)
        item.setForeground(1, QtGui.QColor(self._theme.dim))
        item.setIcon(0, self._state_dot(node))
        item.setToolTip(0, _description(node))
        return item

    def _state_dot(self, node: Node) -> QtGui.QIcon:
        """Full green: read as stored; green ring: computed where you look; orange, red: as they say."""
        theme, stored = self._theme, node.state == "stored" or not node.operations
        colour = {"computing": theme.busy, "failed": theme.bad}.get(node.state, theme.good)
        return _dot(theme.bad if node.error else colour, filled=stored or node.state != "lazy")

    def _clicked(self, item: QtWidgets.QTreeWidgetItem, _column: int = 0) -> None:
        path = item.data(0, PATH)
        if path is None:
            item.setExpanded(not item.isExpanded())
        elif any(tree.path == path and tree.error is not None for tree in self._trees):
            self.file_clicked.emit(path)
        else:
            self.node_clicked.emit(path)


def _description(node: Node) -> str:
    """Tooltip: what it was made by, and what it is."""
    steps = [
        f"{name}({', '.join(f'{key} = {value}' for key, value in json.loads(parameters).items())})"
        for name, parameters in zip(node.operations, node.parameters, strict=True)
    ]
    shape = " × ".join(str(size) for size in node.shape)
    lines = ["/".join(node.path), node.title, f"{shape} {node.dtype.name}", *steps]
    lines = [line for line in (*lines, STATES.get(node.state, node.state)) if line]
    return "\n".join([*lines, node.error] if node.error else lines)


def _parents_first(nodes: Sequence[Node]) -> list[Node]:
    """Nodes ordered so that each comes after its parent; those with unknown parents come last."""
    ordered: list[Node] = []
    left = list(nodes)
    while left:
        known = {None, *(node.name for node in ordered)}
        ready = [node for node in left if node.parent in known] or left
        ordered += ready
        left = [node for node in left if node not in ready]
    return ordered


def _file(tree: Tree) -> tuple[str, ...]:
    """Return where the file is; a file that could not be read has no signal below it."""
    return tree.path if tree.error is not None else tree.path[:-1]


def _files_with_several_signals(trees: Sequence[Tree]) -> set[tuple[str, ...]]:
    files = [tree.path[:-1] for tree in trees if tree.error is None]
    return {file for file in files if file and files.count(file) > 1}


def _embolden(item: QtWidgets.QTreeWidgetItem) -> None:
    font = item.font(0)
    font.setBold(True)
    item.setFont(0, font)


def _dot(colour: str, filled: bool) -> QtGui.QIcon:
    """Draw a round state mark, full or a ring."""
    pixmap = QtGui.QPixmap(20, 20)
    pixmap.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtGui.QPen(QtGui.QColor(colour), 3))
    painter.setBrush(QtGui.QColor(colour) if filled else QtCore.Qt.BrushStyle.NoBrush)
    painter.drawEllipse(QtCore.QRectF(4, 4, 12, 12))
    painter.end()
    return QtGui.QIcon(pixmap)
