"""Editing a name in its place in the list."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets

# Width of the mark in front of a name, with what is left between them.
BESIDE_MARK = 16


class NameDelegate(QtWidgets.QStyledItemDelegate):
    """Tells the name that somebody typed; the list goes on showing the old one until the service knows the new."""

    named = QtCore.Signal(object, str)  # what the row is about, and the name

    def __init__(self, role: QtCore.Qt.ItemDataRole) -> None:
        super().__init__()
        self._role = role

    def createEditor(  # noqa: N802 (Qt)
        self, parent: QtWidgets.QWidget, option: QtWidgets.QStyleOptionViewItem, index: QtCore.QModelIndex
    ) -> QtWidgets.QWidget:
        """Make the box to type into: one line over the row."""
        box = QtWidgets.QLineEdit(parent)
        box.setObjectName("name")
        box.setMaxLength(255)
        return box

    def updateEditorGeometry(  # noqa: N802 (Qt)
        self, editor: QtWidgets.QWidget, option: QtWidgets.QStyleOptionViewItem, index: QtCore.QModelIndex
    ) -> None:
        """Lay the box over the name, beside the mark, as high as the row."""
        editor.setGeometry(option.rect.adjusted(BESIDE_MARK, 0, 0, 0))

    def setModelData(  # noqa: N802 (Qt)
        self, editor: QtWidgets.QWidget, model: QtCore.QAbstractItemModel, index: QtCore.QModelIndex
    ) -> None:
        """Tell, instead of writing into the list."""
        name = editor.text().strip()
        if name and name != index.data():
            self.named.emit(index.data(self._role), name)
