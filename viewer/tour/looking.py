"""The first part of the tour: open, move, toggle, change a node, see a virtual image."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtWidgets

from viewer.errors import ServiceError
from viewer.nodes import Kind, Node, Tree
from viewer.picture import Scale
from viewer.tour.guide import Guide, TourEnded
from viewer.tour.hand import drag

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from viewer.session import Session

# A node of this operation is made, with parameters other than those of a node that is there.
FAVOURITES = ("subtract_background", "gaussian_filter", "savitzky_golay")
NO_SCAN = "no scan with navigation axes was listed"


def look(guide: Guide) -> Node:
    """Take these steps.

    Returns
    -------
    Node
        The scan.
    """
    tree, root = _open(guide)
    _move(guide)
    _change(guide, tree, _toggle(guide, tree, root))
    _see_map(guide, tree)
    return root


def _open(guide: Guide) -> tuple[Tree, Node]:
    """Show the first scan, until frame and complete navigator are painted."""
    session = guide.session
    guide.wait(lambda: _first_scan(session) is not None, NO_SCAN)
    tree = _first_scan(session)
    if tree is None or tree.root is None:
        raise TourEnded(NO_SCAN)
    guide.show(tree.root)
    guide.wait(
        lambda: session.navigator is None or session.complete("navigator"), "the navigator did not come"
    )
    guide.save("open")
    return tree, tree.root


def _first_scan(session: Session) -> Tree | None:
    """Return the first scan among the files that have been looked into; look into another where none is."""
    scans = (tree for tree in session.library.all_trees() if tree.root and tree.root.navigation_axes)
    if (scan := next(scans, None)) is None:
        unknown = (file.path for file in session.library.files() if file.path not in session.library.trees)
        session.library.see(unknown)
    return scan


def _move(guide: Guide) -> None:
    """Drag the crosshair with the mouse."""
    state = guide.session.state
    view = guide.window.navigator.view
    start = view.crosshair.place
    scene = view.box.mapViewToScene
    target = QtCore.QPointF(start)
    axes = state.node.navigation_axes if state.node else ()
    target.setX(start.x() + 0.3 * (axes[-1].size if axes else 0))
    if len(axes) > 1:
        target.setY(start.y() - 0.25 * axes[-2].size)
    drag(view, view.mapFromScene(scene(start)), view.mapFromScene(scene(target)))
    QtWidgets.QApplication.sendEvent(view, QtCore.QEvent(QtCore.QEvent.Type.Leave))
    guide.wait(lambda: guide.session.state.position != state.position, "the crosshair did not move")
    guide.wait_for_frame("the frame at the new position did not come")
    guide.save("move")


def _toggle(guide: Guide, tree: Tree, root: Node) -> Node | None:
    """Show a computed node at the same place, on a logarithmic scale in other colours."""
    frames = [node for node in tree.nodes if node.operations and node.kind is not Kind.MAP]
    node = next(iter(frames), None) or root
    position, toolbar = guide.session.state.position, guide.window.toolbar
    guide.show(node)
    if guide.session.state.position != position:
        raise TourEnded(f"showing {node.name} moved the crosshair")
    toolbar.scales[Scale.LOG].click()
    if node.kind is Kind.IMAGE:
        toolbar.colormaps.setCurrentText("viridis")
        toolbar.colormaps.activated.emit(toolbar.colormaps.currentIndex())
    guide.wait(lambda: _is_logarithmic(guide), "the logarithmic frame did not come")
    guide.wait_for_frame("the logarithmic frame did not come")
    guide.save("toggle")
    return next(iter(frames), None)


def _is_logarithmic(guide: Guide) -> bool:
    picture = guide.window.signal.picture
    return picture is not None and picture.stretch.scale is Scale.LOG


def _change(guide: Guide, tree: Tree, computed: Node | None) -> None:
    """Show a node with other parameters, made by the service, at the same place."""
    session = guide.session
    try:
        operation, parameters = _other_parameters(guide, tree, computed)
        parent = (computed.parent if computed else None) or "root"
        made = guide.call(
            lambda: session.service.make_node(tree.path, parent, operation, parameters),
            "the service did not make a node",
        )
    except ServiceError as error:
        print(f"Changing the node was skipped: {error}")
        return
    session.relist()
    guide.wait(lambda: session.find(made.path) is not None, f"{made.name} was not listed")
    guide.show(made)
    guide.save("change")


def _see_map(guide: Guide, tree: Tree) -> None:
    """Show a virtual image, where there is one."""
    maps = [node for node in tree.nodes if node.kind is Kind.MAP and node.name != "navigator"]
    if maps:
        guide.show(maps[0])
        guide.wait(lambda: guide.session.complete("frame"), f"{maps[0].name} did not come")
        guide.save("virtual_image")


def _other_parameters(guide: Guide, tree: Tree, computed: Node | None) -> tuple[str, dict[str, Any]]:
    """Choose an operation the service offers for frames of this tree, with parameters it accepts.

    Raises
    ------
    ServiceError
        The service lists none that is known here.
    """
    offered = guide.call(guide.session.service.operations, "the service did not list its operations")
    used = computed.operations[-1] if computed else ""
    parent = tree.node((computed.parent if computed else None) or "root") or tree.root
    names = [op.name for op in offered if parent is None or op.fits(parent)]
    wanted = [name for name in (used, *FAVOURITES) if name in names]
    if not wanted:
        raise ServiceError(f"it offers none of {', '.join(FAVOURITES)} for such a signal.")
    operation = next(op for op in offered if op.name == wanted[0])
    present = json.loads(computed.parameters[-1]) if computed and operation.name == used else {}
    return operation.name, changed_parameters(operation.parameters, present)


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
