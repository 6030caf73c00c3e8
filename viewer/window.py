"""Puts the panels together: what one of them says is passed to the session, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from viewer.comparing import Comparing
from viewer.contrast import automatic_levels
from viewer.desk import Desk
from viewer.editing import Editing
from viewer.events import Follower
from viewer.linking import Linking
from viewer.nodes import Kind
from viewer.panels.banner import Banner
from viewer.panels.boxes import palette
from viewer.panels.calibrate import CalibratePanel
from viewer.panels.histogram import ContrastPanel
from viewer.panels.navigator import NavigatorPanel
from viewer.panels.signal import SignalPanel
from viewer.panels.status import StatusBar
from viewer.panels.toolbar import Toolbar
from viewer.panels.tree import TreePanel
from viewer.pinning import Pinning
from viewer.playground import Playground
from viewer.readout import calibration_text, indices_text, place_text, signal_word
from viewer.taking import Taking
from viewer.theme import DARK, LIGHT, THEMES, style_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from viewer.contrast import Contrast
    from viewer.lanes import Answer
    from viewer.nodes import Node
    from viewer.picture import Levels
    from viewer.session import Session
    from viewer.view_state import Region, ViewState

FIGURES_MS = 250
HISTOGRAM_MS = 60


class Window(QtWidgets.QMainWindow):
    """The viewer's window.

    Parameters
    ----------
    session : Session
        What it shows; closed with the window.
    theme : str
        ``dark`` or ``light``.
    """

    def __init__(self, session: Session, theme: str = DARK.name) -> None:
        super().__init__()
        self.session = session
        self.tree, self.toolbar, self.banner = TreePanel(), Toolbar(), Banner()
        self.navigator, self.signal = NavigatorPanel(), SignalPanel()
        self.calibrate = CalibratePanel()
        self.playground = Playground(session, self.signal, self.toolbar, self.tree)
        self.parameters = self.playground.panel
        self.comparing = Comparing(session, self.signal, self.tree, self.toolbar)
        self.pinning = Pinning(session, self.navigator, self.toolbar)
        self.linking = Linking(session, self.signal, self.toolbar, self.comparing, self.pinning)
        self.editing, self.follower = Editing(session, self.tree), Follower(session)
        self.taking = Taking(session, self.tree)
        self.playground.playing.made.connect(self.editing.made)
        self.comparing.levelled.connect(lambda: self._histogram_soon())
        contrasts = ContrastPanel("navigator"), ContrastPanel("signal")
        self.navigator_contrast, self.signal_contrast = contrasts
        self.status = StatusBar(session.service.name)
        self._levels: Levels = (0.0, 1.0)
        self._navigator_levels, self._navigator_by_hand = self._levels, False
        self._histogram_of: Node | None = None
        self._beside = (self.comparing.panel, self.pinning.panel, self.parameters, *contrasts)
        self.desk = Desk(
            [self.tree, self.parameters, *contrasts],
            [self.toolbar, self.banner],
            [self.navigator, self.comparing.stack],
            [self.pinning.panel, self.calibrate],
            self.status,
        )
        self.setCentralWidget(self.desk)
        self.comparing.switched.connect(self.desk.share)
        self._listen_to_session()
        self._listen_to_panels()
        self._listen_to_keys()
        self.set_theme(theme)
        self._histogram_timer = QtCore.QTimer(self, singleShot=True, interval=HISTOGRAM_MS)
        self._histogram_timer.timeout.connect(self.show_histograms)
        self._figures_timer = QtCore.QTimer(self, interval=FIGURES_MS)
        self._figures_timer.timeout.connect(self._show_figures)
        self._figures_timer.start()
        self._show_figures()
        self.setWindowTitle(f"tiled-spyde · {session.service.name}")
        self.resize(1440, 860)
        self.signal.image.setFocus()  # arrow keys step from the start; nobody has asked to type

    def set_theme(self, name: str) -> None:
        """Take the colours of a theme, ``dark`` or ``light``."""
        self.theme = theme = THEMES[name]
        self.setPalette(palette(theme))
        self.setStyleSheet(style_sheet(theme))
        for panel in (self.tree, self.navigator, self.signal, self.calibrate, self.status, *self._beside):
            panel.set_theme(theme)
        self.toolbar.theme_button.setText("Light" if theme is DARK else "Dark")
        self._show_position(self.session.state)

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 (Qt)
        """End the session's threads."""
        self.hide()  # at once, even where a worker waits for a service that hangs
        self._figures_timer.stop()
        self._histogram_timer.stop()
        for part in (self.follower, self.comparing, self.session):
            part.close()
        super().closeEvent(event)

    def changeEvent(self, event: QtCore.QEvent) -> None:  # noqa: N802 (Qt)
        """Whoever comes back to the window sees what is new."""
        came = event.type() == QtCore.QEvent.Type.ActivationChange and self.isActiveWindow()
        if came and self.session.presence.is_connected:
            self.session.library.look()
        super().changeEvent(event)

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 (Qt)
        """Arrow keys step wherever the keyboard is; the list of nodes keeps its own."""
        if event.key() in (QtCore.Qt.Key.Key_PageUp, QtCore.Qt.Key.Key_PageDown):
            self._step_leading(-1 if event.key() == QtCore.Qt.Key.Key_PageUp else 1)
        else:
            self.signal.view.keyPressEvent(event)

    def keyReleaseEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 (Qt)
        """B is shown for as long as the space bar is held."""
        if event.key() == QtCore.Qt.Key.Key_Space and not event.isAutoRepeat():
            self.comparing.release()
        super().keyReleaseEvent(event)

    # Wiring

    def _listen_to_session(self) -> None:
        session, library = self.session, self.session.library
        library.changed.connect(self.tree.change)
        library.opened.connect(self.tree.show_file)
        library.indexing.connect(self.tree.finder.show_indexing)
        library.found.connect(self.tree.show_found)
        for chosen in (self.linking.prepare, self._show_node, self.linking.place):
            session.chosen.connect(chosen)
        session.moved.connect(self._show_position)
        session.framed.connect(self._paint_frame)
        session.detailed.connect(self.signal.paint_detail)
        session.navigated.connect(self._paint_navigator)
        self.follower.awaiting.said.connect(self.signal.blank)
        session.maker.possible.connect(self._show_calibration)
        session.maker.made.connect(lambda _path: self.calibrate.made())
        session.maker.refused.connect(self.calibrate.refused)
        session.presence.connected.connect(self.status.show_connection)
        session.troubles.changed.connect(self.banner.say)

    def _listen_to_panels(self) -> None:
        session = self.session
        self.tree.clicked.connect(self._choose)
        self.tree.reached.connect(session.show)
        self.tree.file_clicked.connect(session.complain)
        self.tree.seen.connect(session.library.see)
        self.tree.searched.connect(session.library.search)
        self.tree.calibrate_asked.connect(self._ask_calibration)
        self.toolbar.calibrate_asked.connect(lambda: self._ask_calibration(None))
        self.calibrate.wanted.connect(session.maker.calibrate)
        self.calibrate.closed.connect(self._close_calibration)
        self.banner.again.connect(session.try_again)
        self.navigator.pointed.connect(session.move_to)
        self.signal.pointed.connect(self._point_on_map)
        self.signal.acted.connect(self.follower.awaiting.act)
        self.tree.menu_opened.connect(self.follower.awaiting.offer)
        self.signal.looked.connect(session.look)
        self.signal.looked.connect(self._look_at_pins)
        self.comparing.panel.looked.connect(self._look_at_pins_too)
        for panel in (self.navigator, self.signal, self.comparing.panel):
            panel.stepped.connect(self._step)
            panel.hovered.connect(self.status.show_mouse)
        self.toolbar.changed.connect(self._set_contrast)
        self.toolbar.automatic.connect(self._auto_levels)
        self.toolbar.fit.connect(self._fit)
        self.toolbar.other_theme.connect(
            lambda: self.set_theme(LIGHT.name if self.theme is DARK else DARK.name)
        )
        for part in (self, self.comparing, self.pinning):
            self.signal_contrast.histogram.dragged.connect(part.set_levels)
        self.navigator_contrast.histogram.dragged.connect(self._set_navigator_levels)

    def _listen_to_keys(self) -> None:
        keys = {
            "Space": lambda: self.comparing.hold(self.playground.toggle),
            "Ctrl+P": self.toolbar.play.click,
            "C": self.comparing.toggle,
            "D": self.comparing.subtract,
            "P": self.pinning.pin,
            "Ctrl+L": self.toolbar.link.click,
            "L": self.toolbar.next_scale,
            "A": self._auto_levels,
            "F": lambda: self.comparing.flicker(self._fit),
            "F5": self.session.try_again,
            "Ctrl+K": self.toolbar.calibrate.click,
            "Ctrl+F": self.tree.finder.box.setFocus,
        }
        for key, action in keys.items():
            QtGui.QShortcut(QtGui.QKeySequence(key), self).activated.connect(action)

    # From panels to the session

    def _choose(self, path: tuple[str, ...]) -> None:
        """Show what was clicked; the keyboard then steps through its positions."""
        self.session.show(path)
        self.signal.view.setFocus()

    def _ask_calibration(self, tree: tuple[str, ...] | None) -> None:
        """Open the form for a tree, or for the one that is shown."""
        shown = self.session.state.node
        tree = tree or (shown.tree if shown else ())
        root = self.session.find((*tree, "root"))
        if root is not None and not self.session.maker.why_not(tree):
            self.calibrate.ask(root, self.session.maker.schema)

    def _close_calibration(self) -> None:
        self.calibrate.hide()
        self.signal.view.setFocus()

    def _show_calibration(self, why_not: str) -> None:
        node = self.session.state.node
        self.toolbar.show_calibration(why_not, node is not None and not node.calibrated)
        self.tree.why_not_calibrate = why_not

    def _point_on_map(self, indices: Sequence[int]) -> None:
        position = self.session.state.position
        self.session.move_to((*position[: len(position) - len(indices)], *indices))

    def _step(self, rows: int, columns: int) -> None:
        """One step of an arrow key, along the axes a person sees."""
        state = self.session.state
        scan = len(state.node.navigation_axes) if state.node else 0
        seen = scan or len(state.position)
        position = list(state.position)
        if seen >= 1:
            position[seen - 1] += columns
        if seen >= 2:
            position[seen - 2] += rows
        self.session.move_to(position)

    def _step_leading(self, by: int) -> None:
        """Page keys: along the first axis that has a slider."""
        position = list(self.session.state.position)
        if self.navigator.sliders:
            position[min(self.navigator.sliders)] += by
            self.session.move_to(position)

    def _set_contrast(self, contrast: Contrast) -> None:
        self.signal.image.set_colormap(contrast.colormap)
        self.signal_contrast.histogram.set_colormap(contrast.colormap)
        self.session.set_contrast(contrast)

    def set_levels(self, levels: Levels) -> None:
        """Levels chosen by hand are kept, and lock."""
        node = self.session.state.node
        if node is None:
            return
        self._levels = levels
        self.session.contrasts.levels[node.family] = levels
        contrast = self.session.contrasts.of(node)
        if not contrast.locked:
            self.session.set_contrast(replace(contrast, locked=True))
            self._show_contrast()
        self.signal.set_levels(levels)

    def _set_navigator_levels(self, levels: Levels) -> None:
        self._navigator_levels, self._navigator_by_hand = levels, True
        self.navigator.image.set_levels(levels)

    def _auto_levels(self) -> None:
        """1–99 % of what is shown; the whole range of a curve."""
        node, picture = self.session.state.node, self.signal.picture
        if node is None or picture is None:
            return
        self._levels = automatic_levels(node, picture)
        self.session.contrasts.levels[node.family] = self._levels
        self.signal.set_levels(self._levels)
        self.show_histograms()

    def _look_at_pins(self, region: Region, _screen: object) -> None:
        self.pinning.look(None if self.signal.image.fitted else region)

    def _look_at_pins_too(self, which: int, region: Region, _screen: object) -> None:
        """Where several are compared, the shown one of them is followed."""
        cell, node = self.comparing.panel.cell(which), self.session.state.node
        if cell is not None and node is not None and self.comparing.paths[which : which + 1] == (node.path,):
            self.pinning.look(None if cell.image.fitted else region)

    def _fit(self) -> None:
        self.signal.view.fit()
        if self.navigator.node is not None:
            self.navigator.view.fit()

    # From the session to the panels

    def _show_node(self, state: ViewState) -> None:
        node = state.node
        if node is None:
            return
        scan = len(node.navigation_axes)
        self.navigator.show_scan(node.position_axes, self.session.navigator, scan)
        self.signal.show_node(node, state.position)
        self.status.show_mouse("")  # it was of another node; what is painted next reads out again
        self.navigator.view.hover_again()
        self.navigator_contrast.setVisible(
            self.session.navigator is not None and len(self.session.navigator.shown_axes) == 2
        )
        self.signal_contrast.setVisible(len(node.shown_axes) == 2 and not node.colour_axes)
        self.signal_contrast.name(signal_word(node))
        self.show_histograms() if not node.follows(self._histogram_of) else None
        self.tree.mark(node.path)
        self._show_contrast()
        self._show_position(state)
        made = f"{node.name} — " if node.parent is not None else ""
        self.setWindowTitle(f"{made}{'/'.join(node.tree)} · tiled-spyde")

    def _show_contrast(self) -> None:
        node = self.session.state.node
        if node is not None:
            contrast = self.session.contrasts.of(node)
            self.toolbar.show_contrast(contrast, node.kind is not Kind.CURVE, not node.colour_axes)
            self.signal.image.set_colormap(contrast.colormap)
            self.signal_contrast.histogram.set_colormap(contrast.colormap)

    def _show_position(self, state: ViewState) -> None:
        if state.node is None:
            return
        if state.node.position_axes:
            self.navigator.show_position(state.position)
        self.signal.show_position(state.position)
        indices = indices_text(state.position)
        place = place_text(state.node.position_axes, state.position)
        self.status.show_position(indices, place, calibration_text(state.node))

    def _paint_frame(self, answer: Answer) -> None:
        if answer.request is None:
            return
        self._levels = self.session.contrasts.settle(answer.request, answer.value)
        self.signal.paint_frame(answer, self._levels)
        before, self._histogram_of = self._histogram_of, answer.request.node
        if self._histogram_of.follows(before):
            self._histogram_soon()
        else:
            self.show_histograms()  # never of one node beside the picture of another

    def _paint_navigator(self, answer: Answer) -> None:
        if not self._navigator_by_hand:
            self._navigator_levels = answer.value.automatic
        self.navigator.paint_map(answer, self._navigator_levels)
        self._histogram_soon()

    def _histogram_soon(self) -> None:
        """Histograms follow at a calm rate: while dragging, frames matter more."""
        if not self._histogram_timer.isActive():
            self._histogram_timer.start()

    def show_histograms(self) -> None:
        """Bring both histograms up to date with what is painted."""
        levels = self.comparing.levels(self.session.state.node) or self._levels
        self.signal_contrast.histogram.show_picture(self.signal.picture, levels)
        self.navigator_contrast.histogram.show_picture(self.navigator.view.picture, self._navigator_levels)

    def _show_figures(self) -> None:
        self.status.show_figures(self.session.meter.read(self.session.fetcher.cache))
