"""The second part of the tour: play with parameters, keep, compare, pin, rename, delete, reopen."""

from __future__ import annotations

import shlex
from itertools import chain, count
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtWidgets

from viewer.compared import why_no_difference
from viewer.session import Session
from viewer.tour.guide import TourEnded
from viewer.tour.hand import press_return
from viewer.window import Window

if TYPE_CHECKING:
    from viewer.nodes import Node
    from viewer.tour.guide import Guide

PINNED = (0.25, 0.5, 0.75)  # of each axis


def play(guide: Guide, root: Node) -> None:
    """Take these steps, as far as the service has previews and lets nodes be made."""
    guide.show(root)
    form = guide.window.parameters
    if not guide.window.toolbar.play.isEnabled():
        return
    if not _try(guide) or not form.keep.isEnabled():
        form.discard.click()
        guide.wait_for_frame(f"no frame of {root.name} came")
        return
    _keep(guide)
    _compare(guide)
    guide.save("compare")
    guide.window.toolbar.compare.click()
    _pin(guide)
    _delete(guide, _rename(guide))
    _compare(guide)
    _reopen(guide)


def _try(guide: Guide) -> bool:
    """Slide a parameter and see what it does before anything is kept; False where nothing can be slid."""
    window, form, playing = guide.window, guide.window.parameters, guide.window.playground.playing
    window.toolbar.play.click()
    guide.wait(lambda: _is_preview(guide) or form.trouble.isVisible(), "no preview came")
    sliders = [slider for slider in form.findChildren(QtWidgets.QSlider) if slider.isVisible()]
    if not sliders or not _is_preview(guide):
        return False
    slider, before = sliders[0], guide.session.state.node
    step = max(1, slider.maximum() // 10)
    slider.setValue(slider.value() + (step if slider.value() + step < slider.maximum() else -step))
    otherwise = "no preview of another parameter came"
    guide.wait(lambda: guide.session.state.node != before and not playing.waiting, otherwise)
    guide.wait_for_frame(otherwise)
    guide.save("play")
    return True


def _is_preview(guide: Guide) -> bool:
    node = guide.session.state.node
    return node is not None and node.is_preview


def _keep(guide: Guide) -> None:
    """Make a node of what was tried."""
    guide.window.parameters.keep.click()
    guide.wait(lambda: not _is_preview(guide) and _is_listed(guide), "what was tried was not kept")
    guide.wait_for_frame("no frame of what was kept came")
    guide.save("keep")


def _is_listed(guide: Guide) -> bool:
    """Return True when the node that is shown is highlighted in the list."""
    node = guide.session.state.node
    return node is not None and guide.window.tree.current == node.path


def _compare(guide: Guide) -> None:
    """Show the node beside what it was made from, and what lies between them."""
    comparing = guide.window.comparing
    guide.window.toolbar.compare.click()
    if (
        not why_no_difference(*comparing.beside.nodes[:2])
        and not comparing.panel.switches.difference.isChecked()
    ):
        comparing.panel.switches.difference.click()
    guide.wait(lambda: _is_compared(guide), "not all came that is compared")


def _is_compared(guide: Guide) -> bool:
    beside, panel = guide.window.comparing.beside, guide.window.comparing.panel
    return beside.together(0, 1) and panel.painted == set(panel.places)


def _pin(guide: Guide) -> None:
    """Keep three positions in view."""
    window, node = guide.window, guide.session.state.node
    axes = node.position_axes if node is not None else ()
    for part in PINNED:
        guide.session.move_to(tuple(int(part * axis.size) for axis in axes))
        window.pinning.show((*window.pinning.positions, guide.session.state.position))
    guide.wait_for_frame("no frame of a pinned position came")
    guide.wait(lambda: _are_pinned(guide), "not all came that is pinned")
    guide.save("pins")


def _are_pinned(guide: Guide) -> bool:
    pinning = guide.window.pinning
    cells = zip(pinning.panel.cells, pinning.positions, strict=False)
    return all(cell.painted_at == position for cell, position in cells)


def _rename(guide: Guide) -> Node:
    """Type another name over the node's own; return it as it is then."""
    window, node = guide.window, _shown(guide)
    window.editing.edit_name()
    box = window.tree.list.findChild(QtWidgets.QLineEdit, "name")
    if box is None:
        raise TourEnded(f"{node.name} cannot be renamed. {window.banner.text.text()}")
    names = chain(("kept",), map("kept-{}".format, count(2)))
    box.setText(next(name for name in names if (*node.tree, name) not in window.tree.items))
    guide.save("rename")
    press_return(box)
    guide.wait(lambda: _shown(guide).path != node.path and _is_listed(guide), f"{node.name} kept its name")
    guide.wait_for_frame("no frame of the renamed node came")
    return _shown(guide)


def _shown(guide: Guide) -> Node:
    node = guide.session.state.node
    if node is None:
        raise TourEnded("nothing is shown any more")
    return node


def _delete(guide: Guide, node: Node) -> None:
    """Delete the node, and bring it back."""
    window = guide.window
    notice = window.tree.notice
    window.editing.delete(node.path)
    guide.wait(lambda: notice.isVisible() and node.path not in window.tree.items, f"{node.name} is there")
    guide.wait(lambda: _shown(guide).path != node.path, f"{node.name} is shown though it was deleted")
    guide.wait_for_frame("no frame of what it was made from came")
    guide.save("delete")
    notice.button.click()
    guide.wait(
        lambda: _shown(guide).path == node.path and _is_listed(guide), f"{node.name} did not come back"
    )
    guide.wait_for_frame(f"no frame of {node.name} came")


def _reopen(guide: Guide) -> None:
    """Open the copied link in a second window, which shows the very same."""
    window = guide.window
    window.toolbar.link.click()
    _command, address = shlex.split(QtWidgets.QApplication.clipboard().text())
    other = Window(Session(guide.session.service.another()), window.theme.name)
    try:
        other.show()
        other.linking.open(address.partition("#")[2])
        other.session.start()
        there = guide.beside(other)
        otherwise = "the copied link did not open the very same view"
        there.wait(lambda: other.linking.link() == window.linking.link(), otherwise)
        there.wait_for_frame(otherwise)
        there.wait(lambda: _is_compared(there) and _are_pinned(there), otherwise)
        there.save("reopened")
    finally:
        other.close()
