"""The signal at the crosshair: an image, a curve, or the map that the node is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.nodes import Kind
from viewer.panels.boxes import Panel, Title
from viewer.panels.curve import CurveView
from viewer.panels.image import ImageView
from viewer.panels.message import Message
from viewer.readout import indices_text, intensity_text, number, place_text, signal_word
from viewer.view_state import carried_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.picture import Levels, Picture
    from viewer.theme import Theme


BADGE, LATE_MS = "preview", 300


class SignalPanel(Panel):
    """Shows what a node has at the position; a map node as a whole, with the crosshair on it."""

    pointed = QtCore.Signal(object)  # indices along the shown axes of a map
    stepped = QtCore.Signal(int, int)
    looked = QtCore.Signal(object, object)  # Region, (height, width)
    hovered = QtCore.Signal(str)
    acted = QtCore.Signal(str)  # what a button below words says

    def __init__(self) -> None:
        super().__init__()
        self.title, self.badge = Title(), QtWidgets.QLabel(BADGE)
        self.badge.setObjectName("badge")
        self.badge.hide()
        self.image, self.curve = ImageView(), CurveView()
        self.message = Message()
        self._stack = QtWidgets.QStackedWidget()
        for page in (self.image, self.curve, self.message):
            self._stack.addWidget(page)
        top = QtWidgets.QHBoxLayout()
        top.addWidget(self.title, 1)
        top.addWidget(self.badge)
        self.column.addLayout(top)
        self.column.addWidget(self._stack, 1)
        self.node: Node | None = None
        self.painted_at: tuple[int, ...] = ()
        self._late = QtCore.QTimer(self, singleShot=True, interval=LATE_MS)
        self._late.timeout.connect(self._say_late)
        self._position: tuple[int, ...] = ()
        for view in (self.image, self.curve):
            view.stepped.connect(self.stepped)
            view.hovered.connect(self._hovered)
            view.box.pointed.connect(self._pointed)
        self.image.looked.connect(self._looked)
        self.message.button.clicked.connect(lambda _checked: self.acted.emit(self.message.button.text()))

    @property
    def view(self) -> ImageView | CurveView:
        """The image or the curve, whichever the node is drawn as."""
        return self.image if self.node is None or len(self.node.shown_axes) == 2 else self.curve

    @property
    def picture(self) -> Picture | None:
        """What is painted."""
        return self.view.picture

    def part(self) -> tuple[float, ...]:
        """Return what is on the screen: edges of an image (y0, y1, x0, x1), ends of a curve; nothing for all."""
        if self.view.fitted:
            return ()
        (x0, x1), (y0, y1) = self.view.box.viewRange()
        return (y0, y1, x0, x1) if self.view is self.image else (x0, x1)

    def set_theme(self, theme: Theme) -> None:
        """Take the colours of a theme."""
        self.title.set_dim(theme.dim)
        self.image.set_theme(theme)
        self.curve.set_theme(theme)

    def show_node(self, node: Node, position: tuple[int, ...]) -> None:
        """Get ready for frames of a node: axes, zoom and crosshair; paints nothing yet."""
        if node.error is not None:
            self.view.blank()  # nothing can be drawn of it, and what is there is of another node
        old, self.node = self.node, node
        view = self.view
        self._show_badge()
        if node.error is not None:
            view.blank()
            return
        self._late.start()
        if isinstance(view, ImageView):
            self._keep_zoom(view, old, node)
        elif view.axes != node.shown_axes:
            view.set_axes(node.shown_axes)
        if node.replaces(old):
            view.blank()  # beside the new navigator it would mix two recipes
        is_map = node.kind is Kind.MAP
        view.crosshair.setVisible(is_map)
        view.set_pointing(view.crosshair if is_map else None)
        self.show_position(position)
        if isinstance(view, ImageView):
            view.tell_region()
        if self._stack.currentWidget() is self.message:
            view.blank()
        self._stack.setCurrentWidget(view)

    def _keep_zoom(self, view: ImageView, old: Node | None, node: Node) -> None:
        """Keep the part on the screen where both nodes have the same kind of picture."""
        before, region, fitted = view.axes, view.region(), view.fitted
        view.set_axes(node.shown_axes)
        related = old is not None and (old.tree, old.kind) == (node.tree, node.kind)
        if not before or fitted or not related:
            view.fit()
        elif before != node.shown_axes:
            view.show_region(carried_region(region, before, node.shown_axes))
        if old is None or old.tree != node.tree or before != node.shown_axes:
            view.blank()

    def show_position(self, position: tuple[int, ...]) -> None:
        """Put the crosshair on a map; over a frame there is none."""
        self._position = position
        if self.node is None or self.node.kind is not Kind.MAP:
            return
        shown = position[-len(self.node.shown_axes) :]
        if len(shown) == 2:
            self.image.crosshair.move_to(shown[1], shown[0])
        elif len(shown) == 1:
            self.curve.point_at(shown[0])
        self._say()

    def paint_frame(self, answer: Answer, levels: Levels) -> None:
        """Show a frame (or a map) that came."""
        if answer.request is None or self.node is None or answer.request.node != self.node:
            return
        self.painted_at = answer.request.position
        self._show_badge()
        if isinstance(self.view, ImageView):
            self.view.paint_picture(answer.value, answer.request, levels)
        else:
            self.view.paint_picture(answer.value, levels)
        single = answer.value.raw.shape == (1,)  # of which a curve would show nothing
        if single:
            self.message.say(number(answer.value.raw.item()))
        self._stack.setCurrentWidget(self.message if single else self.view)
        self._say()
        self.view.hover_again()

    def paint_detail(self, answer: Answer) -> None:
        """Show the visible region of a large image in more detail."""
        request = answer.request
        if request is not None and request.node == self.node and request.position == self.painted_at:
            self.image.paint_detail(answer.value, request)
            self.view.hover_again()

    def blank(self, reason: str, button: str = "") -> None:
        """Say why there is no frame instead of showing one of another place, and offer what can be done about it."""
        self.view.blank()
        self._show_badge()
        self.painted_at = ()
        self.message.say(reason, button)
        self._stack.setCurrentWidget(self.message)
        self._say()

    def set_levels(self, levels: Levels) -> None:
        """Paint what is there with other levels."""
        if isinstance(self.view, ImageView):
            self.view.set_levels(levels)
        elif self.view.picture is not None:
            self.view.paint_picture(self.view.picture, levels)

    def _show_badge(self) -> None:
        self._late.stop()
        self.badge.setText(BADGE)
        self.badge.setVisible(self.node is not None and self.node.is_preview)

    def _say_late(self) -> None:
        """Tell that what is painted is not yet of the node that was chosen: a mean over a scan may take a minute."""
        self.badge.setText("waiting …")
        self.badge.show()

    def _say(self) -> None:
        """Title: which signal, which node, which position (of the frame that is painted)."""
        if self.node is None:
            return
        details = [self.node.operations[-1] if self.node.is_preview else self.node.called]
        if self.node.kind is Kind.MAP:
            details += [indices_text(self._position), self._value_here()]
        else:
            details += [indices_text(self.painted_at), self._few_numbers()]
        self.title.say(signal_word(self.node), " · ".join(part for part in details if part))

    def _few_numbers(self) -> str:
        """Numbers of a curve that is hardly one; a title has room for three."""
        node, picture = self.node, self.picture
        if node is None or picture is None or node.kind is not Kind.CURVE or node.signal_axes[0].size > 3:
            return ""
        return ", ".join(number(value.item()) for value in picture.raw)

    def _value_here(self) -> str:
        """Value of a map at the crosshair."""
        if self.node is None or self.picture is None:
            return ""
        shown: Sequence[int] = self._position[-len(self.node.shown_axes) :]
        if isinstance(self.view, ImageView):
            found = self.view.value_at(shown[1], shown[0])
            value = found[2] if found else None
        else:
            value = self.picture.raw[shown[0]] if len(self.picture.raw) > shown[0] else None
        return "" if value is None else number(value.item())

    def _pointed(self, x: float, y: float) -> None:
        indices = (round(y), round(x)) if isinstance(self.view, ImageView) else (self.view.index_at(x),)
        self.pointed.emit(indices)

    def _looked(self, region: object, screen: object) -> None:
        if self.node is not None and self.node.kind is Kind.IMAGE:
            self.looked.emit(region, screen)

    def _hovered(self, place: tuple[float, float] | None) -> None:
        """Index, value on the axes and intensity under the mouse."""
        if place is None or self.node is None:
            self.hovered.emit("")
            return
        view = self.view
        found = view.value_at(*place) if isinstance(view, ImageView) else view.value_at(place[0])
        if found is None:
            self.hovered.emit("")
            return
        *indices, value = found
        parts = [indices_text(indices), place_text(self.node.shown_axes, indices)]
        parts.append("" if value is None else intensity_text(value))
        self.hovered.emit(" · ".join(part for part in parts if part))
