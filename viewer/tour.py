"""Drives the window by itself, as a person would, and saves what it saw.

Every wait is for a condition, with a bound; a step that does not complete in time ends the tour with
a sentence.
"""

from __future__ import annotations

import json
import math
import sys
from time import monotonic
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.errors import ServiceError
from viewer.nodes import Kind, Node, Tree
from viewer.picture import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from viewer.window import Window

BOUND_SECONDS = 60.0
# A node of this operation is made, with parameters other than those of a node that is there.
FAVOURITES = ("subtract_background", "gaussian_filter", "savitzky_golay")
Mouse = QtCore.Qt.MouseButton


class TourEnded(Exception):
    """A step did not complete; the text says which."""


def take_tour(window: Window, folder: Path) -> int:
    """Open, move, toggle, change the node, play; print each screenshot's path.

    Returns
    -------
    int
        0, or 1 after a sentence on the standard error.
    """
    tour = Tour(window, folder)
    try:
        tour.run()
    except TourEnded as ended:
        print(f"tiled-spyde-viewer: the tour ended early: {ended}", file=sys.stderr)
        return 1
    finally:
        window.close()
    return 0


class Tour:
    """The steps of the tour.

    Parameters
    ----------
    window : Window
        Shown and started.
    folder : Path
        Where screenshots go; made when it is not there.
    """

    def __init__(self, window: Window, folder: Path) -> None:
        self.window, self.session = window, window.session
        self.folder = folder
        self.saved: list[Path] = []

    def run(self) -> None:
        """Take all steps."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tree = self._open()
        self._move()
        computed = self._toggle(tree)
        made = self._change(tree, computed)
        self._play(tree.root)
        self._see_map(tree, made)

    # The steps

    def _open(self) -> Tree:
        """Show the first scan, until frame and complete navigator are painted."""
        self._wait(lambda: self._first_scan() is not None, "no scan with navigation axes was listed")
        tree = self._first_scan()
        if tree is None or tree.root is None:
            raise TourEnded("no scan with navigation axes was listed")
        self._show(tree.root)
        self._wait(self._navigator_complete, "the navigator did not come")
        self._save("open")
        return tree

    def _move(self) -> None:
        """Drag the crosshair with the mouse."""
        state = self.session.state
        view = self.window.navigator.view
        start = view.crosshair.place
        scene = view.box.mapViewToScene
        target = QtCore.QPointF(start)
        axes = state.node.navigation_axes if state.node else ()
        target.setX(start.x() + 0.3 * (axes[-1].size if axes else 0))
        if len(axes) > 1:
            target.setY(start.y() - 0.25 * axes[-2].size)
        drag(view, view.mapFromScene(scene(start)), view.mapFromScene(scene(target)))
        QtWidgets.QApplication.sendEvent(view, QtCore.QEvent(QtCore.QEvent.Type.Leave))
        self._wait(lambda: self.session.state.position != state.position, "the crosshair did not move")
        self._wait_for_frame("the frame at the new position did not come")
        self._save("move")

    def _toggle(self, tree: Tree) -> Node | None:
        """Show a computed node at the same place, on a logarithmic scale in other colours."""
        frames = [node for node in tree.nodes if node.operations and node.kind is not Kind.MAP]
        node = next(iter(frames), None) or tree.root
        if node is None:
            return None
        position = self.session.state.position
        self._show(node)
        if self.session.state.position != position:
            raise TourEnded(f"showing {node.name} moved the crosshair")
        self.window.toolbar.scales[Scale.LOG].click()
        if node.kind is Kind.IMAGE:
            colormaps = self.window.toolbar.colormaps
            colormaps.setCurrentText("viridis")
            colormaps.activated.emit(colormaps.currentIndex())
        self._wait(self._is_logarithmic, "the logarithmic frame did not come")
        self._wait_for_frame("the logarithmic frame did not come")
        self._save("toggle")
        return next(iter(frames), None)

    def _change(self, tree: Tree, computed: Node | None) -> Node | None:
        """Show a node with other parameters, made by the service, at the same place."""
        try:
            operation, parameters = self._other_parameters(tree, computed)
            parent = (computed.parent if computed else None) or "root"
            made = self._call(
                lambda: self.session.service.make_node(tree.path, parent, operation, parameters),
                "the service did not make a node",
            )
        except ServiceError as error:
            print(f"Changing the node was skipped: {error}")
            return None
        self.session.relist()
        self._wait(lambda: self.session.find(made.path) is not None, f"{made.name} was not listed")
        self._show(made)
        self._save("change")
        return made if isinstance(made, Node) else None

    def _play(self, node: Node | None) -> None:
        """Slide a parameter and see what it does before anything is kept, where the service has previews."""
        form, playing = self.window.parameters, self.window.playground.playing
        if node is None or not self.window.toolbar.play.isEnabled():
            return
        self._show(node)
        self.window.toolbar.play.click()
        self._wait(lambda: self._is_previewed() or form.trouble.isVisible(), "no preview came")
        sliders = [slider for slider in form.findChildren(QtWidgets.QSlider) if slider.isVisible()]
        if self._is_previewed() and sliders:
            sliders[0].setValue(sliders[0].value() + sliders[0].maximum() // 10)
            self._wait(lambda: not playing.waiting, "no preview of another parameter came")
            self._wait_for_frame("no preview of another parameter came")
            self._save("play")
        form.discard.click()
        self._wait_for_frame(f"no frame of {node.name} came")

    def _see_map(self, tree: Tree, made: Node | None) -> None:
        """Show a virtual image, where there is one."""
        maps = [node for node in tree.nodes if node.kind is Kind.MAP and node.name != "navigator"]
        if maps:
            self._show(maps[0])
            self._wait(self._map_complete, f"{maps[0].name} did not come")
            self._save("virtual_image")

    # What the steps are made of

    def _first_scan(self) -> Tree | None:
        """Return the first scan among the files that have been looked into; look into another where none is."""
        session = self.session
        scans = (tree for tree in session.library.all_trees() if tree.root and tree.root.navigation_axes)
        if (scan := next(scans, None)) is None:
            unknown = (
                file.path for file in session.library.files() if file.path not in session.library.trees
            )
            session.library.see(unknown)
        return scan

    def _show(self, node: Node) -> None:
        self.session.choose(self.session.find(node.path) or node)
        self._wait_for_frame(f"no frame of {node.name} came")

    def _wait_for_frame(self, otherwise: str) -> None:
        self._wait(self._frame_there, otherwise)

    def _frame_there(self) -> bool:
        """Return True when the picture of the present node and position is painted."""
        window, state = self.window, self.session.state
        here = state.node is not None and state.node.kind is not Kind.MAP
        if here and window.signal.painted_at != state.position[: len(window.signal.painted_at)]:
            return False
        return window.signal.picture is not None and not self.session.fetcher.busy("frame")

    def _is_previewed(self) -> bool:
        return self.session.state.node is not None and self.session.state.node.is_preview

    def _is_logarithmic(self) -> bool:
        picture = self.window.signal.picture
        return picture is not None and picture.stretch.scale is Scale.LOG

    def _navigator_complete(self) -> bool:
        return self.session.navigator is None or self.session.complete("navigator")

    def _map_complete(self) -> bool:
        return self.session.complete("frame")

    def _other_parameters(self, tree: Tree, computed: Node | None) -> tuple[str, dict[str, Any]]:
        """Choose an operation the service offers for frames of this tree, with parameters it accepts.

        Raises
        ------
        ServiceError
            The service lists none that is known here.
        """
        offered = self._call(self.session.service.operations, "the service did not list its operations")
        used = computed.operations[-1] if computed else ""
        parent = tree.node((computed.parent if computed else None) or "root") or tree.root
        names = [op.name for op in offered if parent is None or op.fits(parent)]
        wanted = [name for name in (used, *FAVOURITES) if name in names]
        if not wanted:
            raise ServiceError(f"it offers none of {', '.join(FAVOURITES)} for such a signal.")
        operation = next(op for op in offered if op.name == wanted[0])
        present = json.loads(computed.parameters[-1]) if computed and operation.name == used else {}
        return operation.name, changed_parameters(operation.parameters, present)

    def _call(self, function: Callable[[], Any], otherwise: str) -> Any:
        """Run a call to the service in the session's calling thread, the window alive meanwhile."""
        came: list[Any] = []

        def heard(answer: Any) -> None:
            if answer.sequence == sequence:
                came.append(answer)

        self.session.fetcher.answered.connect(heard)
        sequence = self.session.fetcher.call("tour", function)
        try:
            self._wait(lambda: bool(came), otherwise)
        finally:
            self.session.fetcher.answered.disconnect(heard)
        if came[0].error is not None:
            raise came[0].error
        return came[0].value

    def _wait(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Let the window live until `condition` holds."""
        loop, ends = QtCore.QEventLoop(), monotonic() + BOUND_SECONDS
        pulse = QtCore.QTimer(interval=5)
        pulse.timeout.connect(lambda: loop.quit() if condition() or monotonic() > ends else None)
        pulse.start()
        loop.exec()
        pulse.stop()
        if not condition():
            trouble = self.window.banner.text.text()
            raise TourEnded(f"{otherwise} within {BOUND_SECONDS:.0f} s. {trouble}".strip())

    def _save(self, name: str) -> None:
        """Save the window as it is, and print where."""
        self.window.show_histograms()
        path = self.folder / f"{len(self.saved) + 1}_{name}.png"
        if not self.window.grab().save(str(path)):
            raise TourEnded(f"{path} cannot be written")
        self.saved.append(path)
        print(path, flush=True)


def changed_parameters(schema: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """Return other parameters for an operation: its numbers half as large again, where bounds allow.

    Parameters
    ----------
    schema : mapping
        JSON schema of the operation's parameters.
    present : mapping
        Parameters to start from; defaults stand in for what it leaves out.
    """
    fields = schema.get("properties", {})
    changed = {name: field["default"] for name, field in fields.items() if field.get("default") is not None}
    changed.update(present)
    for name, value in changed.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        field = fields.get(name, {})
        larger = value + max(1, value // 2) if isinstance(value, int) else 1.5 * value
        most = min(field.get("maximum", math.inf), field.get("exclusiveMaximum", math.inf))
        changed[name] = larger if larger < most else value
    return changed


def drag(view: QtWidgets.QWidget, start: QtCore.QPoint, end: QtCore.QPoint, steps: int = 12) -> None:
    """Press, move and release the left button over a view, as a hand does.

    ``QTest.mouseMove`` carries no button, so pyqtgraph would not see a drag.
    """
    _mouse(view, QtCore.QEvent.Type.MouseButtonPress, start, Mouse.LeftButton, Mouse.LeftButton)
    for step in range(1, steps + 1):
        place = start + (end - start) * step / steps
        _mouse(view, QtCore.QEvent.Type.MouseMove, place, Mouse.NoButton, Mouse.LeftButton)
        QtWidgets.QApplication.processEvents()
    _mouse(view, QtCore.QEvent.Type.MouseButtonRelease, end, Mouse.LeftButton, Mouse.NoButton)


def _mouse(
    view: QtWidgets.QWidget,
    kind: QtCore.QEvent.Type,
    place: QtCore.QPoint,
    button: QtCore.Qt.MouseButton,
    buttons: QtCore.Qt.MouseButton,
) -> None:
    target = view.viewport() if isinstance(view, QtWidgets.QGraphicsView) else view
    local, everywhere = QtCore.QPointF(place), QtCore.QPointF(target.mapToGlobal(place))
    none = QtCore.Qt.KeyboardModifier.NoModifier
    event = QtGui.QMouseEvent(kind, local, everywhere, button, buttons, none)
    QtWidgets.QApplication.sendEvent(target, event)
