"""Playing in the viewer, and others who do: ``python -m benchmarks.sliding``.

A real server process, a real window (offscreen) and a socket proxy `FAR_MS` away, as in `dragging`.

| row | what is timed |
|---|---|
| 14 | a slider of the form moves 60 times a second: event → the paint of the frame under the crosshair, or of a map |
| 16 | four nodes side by side while the crosshair is dragged: event → the paint of all four |
| 17 | somebody else makes a node: the request is sent → it stands in the list |

An event is a press of an arrow key over the slider: it moves by exactly one step, each of them a value nobody has
asked for. Each round is at another position, in a form that is opened anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.circles import Circles
from benchmarks.dragging import FAR_MS, RATE, drag, network, opened, run_until, summary, watching
from benchmarks.proxy import far_away
from benchmarks.scan import TITLE
from benchmarks.servers import make, serve_command, serving, wait_for

if TYPE_CHECKING:
    from benchmarks.dragging import Position, Watch
    from viewer.window import Window

EVENTS = 90
# What is slid: its name, the operation, the field, and the value to begin at.
SLID: dict[str, tuple[str, str, Any]] = {
    "filter": ("gaussian_filter", "sigma", 1.0),
    "background": ("subtract_background", "max_sigma", 12.0),
    "binning": ("bin", "x", 2),
    "map": ("virtual_image", "detector.radius", {"value": 20.0, "unit": "px"}),
}
COMPARED = (
    ("gaussian_filter", {"sigma": 1.0}),
    ("gaussian_filter", {"sigma": 2.0}),
    ("subtract_background", {"min_sigma": 3.0, "max_sigma": 12.0}),
    ("bin", {"x": 2}),
)
FIRST_LOOK = 8  # every so many positions of a map come first


class Fields(Circles):
    """Circles, and what a map shows first: every fourth position."""

    @property
    def visited(self) -> list[Position]:
        coarse = {(y, x) for y in range(0, 128, 4) for x in range(0, 128, 4)}
        return sorted(coarse.union(super().visited))


# Row 14


class Hand:
    """Moves the slider of one field, and knows what is painted of it.

    Parameters
    ----------
    window : Window
    what : str
        One of `SLID`.
    """

    def __init__(self, window: Window, what: str) -> None:
        self.window, self.what = window, what
        self.tried, self._key = "", ""
        self._came: dict[str, str] = {}
        window.parameters.tried.connect(self._note)
        window.session.framed.connect(self._framed)
        window.session.fetcher.answered.connect(self._answered)

    def _note(self, _operation: str, told: Any) -> None:
        self.tried = json.dumps(told, sort_keys=True)

    def _framed(self, answer: Any) -> None:
        self._key = answer.request.node.key

    def _answered(self, answer: Any) -> None:
        if answer.view == "preview" and answer.node is not None:
            self._came[answer.node.key] = answer.request.parameters

    def painted(self) -> str:
        """Return the parameters whose preview was framed last, as JSON."""
        return self._came.get(self._key, "")

    def begin(self) -> None:
        """Open the form, and wait for the first preview."""
        operation, path, value = SLID[self.what]
        form = self.window.parameters
        self.window.toolbar.play.click()
        form.operation.setCurrentIndex(form.operation.findData(operation))
        form.operation.activated.emit(form.operation.currentIndex())
        editor = form.row(path).editor
        editor.show_value(value)
        editor.changed.emit()
        run_until(lambda: not self.window.playground.playing.waiting and self.painted() == self.tried)
        rested = time.perf_counter() + 0.5
        run_until(lambda: time.perf_counter() > rested)

    def press(self, watch: Watch) -> None:
        """Press an arrow key over the slider at an even pace; only what changes the parameters counts."""
        from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

        slider, none = (
            self.window.parameters.row(SLID[self.what][1]).editor.slider,
            QtCore.Qt.KeyboardModifier.NoModifier,
        )
        begin, before = time.perf_counter(), self.tried
        for number in range(EVENTS):
            due = begin + number / RATE
            run_until(lambda due=due: time.perf_counter() >= due)
            for kind in (QtCore.QEvent.Type.KeyPress, QtCore.QEvent.Type.KeyRelease):
                QtWidgets.QApplication.sendEvent(slider, QtGui.QKeyEvent(kind, QtCore.Qt.Key.Key_Right, none))
            if self.tried != before:
                watch.due.setdefault(self.tried, due)


def slide(url: str, scan: Fields, what: str, rounds: int) -> list[dict[str, float]]:
    """Slide one parameter, round by round."""
    measured = []
    with far_away(url, FAR_MS / 2) as proxied, opened(proxied, (scan.path.name, TITLE, "root")) as window:
        hand = Hand(window, what)
        for number in range(rounds):
            position = scan.circles[number][3]
            window.session.move_to(position)
            run_until(lambda position=position: window.signal.painted_at == position)
            hand.begin()
            round_trip = network(window)
            with watching(window, shown=hand.painted) as watch:
                hand.press(watch)
                run_until(lambda watch=watch: list(watch.due)[-1] in watch.painted)
            functions = function_seconds(scan, what, [json.loads(told) for told in watch.due], position)
            measured.append(judged(watch, round_trip, functions))
            window.parameters.discard.click()
            run_until(
                lambda: window.session.state.node.name == "root" and not window.session.fetcher.busy("frame")
            )
    return measured


def function_seconds(scan: Fields, what: str, told: list[dict[str, Any]], position: Position) -> float:
    """Median seconds of the function itself, in one thread: of one frame, of the first look at a map."""
    from benchmarks.floor import functions

    frame, times = scan.frame(*position), []
    frames = (128 // FIRST_LOOK) ** 2 if what == "map" else 1
    for parameters in told[:: max(1, len(told) // 20)]:
        ((function, _info),) = functions(scan, ((SLID[what][0], parameters),))
        start = time.perf_counter()
        for _ in range(frames):
            function(frame)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def judged(watch: Watch, round_trip: float, functions: float) -> dict[str, float]:
    """Sum a round up, and what is beyond round trip and function."""
    found = summary(watch, round_trip)
    beyond = found["p95 ms"] - 1e3 * (round_trip + functions)
    return {**found, "function ms": 1e3 * functions, "beyond p95 ms": beyond, "events": len(watch.due)}


# Row 16


def compare(url: str, scan: Fields, rounds: int) -> list[dict[str, float]]:
    """Drag along circles with four nodes side by side."""
    tree = (scan.path.name, TITLE)
    names = [f"compared{number}" for number in range(len(COMPARED))]
    for name, (operation, parameters) in zip(names, COMPARED, strict=True):
        make(url, "/".join(tree), name, "root", operation, parameters)
    measured = []
    with far_away(url, FAR_MS / 2) as proxied, opened(proxied, (*tree, names[0])) as window:
        run_until(lambda: all(window.session.find((*tree, name)) is not None for name in names))
        comparing = window.comparing
        for name in names:
            comparing.mark((*tree, name))
        comparing.start()
        run_until(lambda: comparing.panel.painted == set(range(len(names))))
        for path in scan.circles[:rounds]:
            path = path[: scan.positions]
            round_trip = network(window)
            functions = sum(chain_seconds(scan, step, path[0]) for step in COMPARED)
            with ExitStack() as stack:
                cells = (_watching_cell(window, number) for number in range(len(names)))
                watches = [stack.enter_context(cell) for cell in cells]
                for watch in watches[1:]:
                    watch.due = watches[0].due
                drag(window, path, watches[0])
                last = path[-1]
                run_until(lambda last=last, watches=watches: all(last in watch.painted for watch in watches))
            measured.append(together(watches, round_trip, functions))
    return measured


def _watching_cell(window: Window, number: int) -> Any:
    comparing = window.comparing
    image = comparing.panel.cell(number).image
    return watching(window, image, lambda: comparing.beside.painted[number].request.position)


def chain_seconds(scan: Fields, step: tuple[str, Any], position: Position) -> float:
    """Median seconds of an operation's function on one frame."""
    from benchmarks.floor import functions

    ((function, _info),), frame, times = functions(scan, (step,)), scan.frame(*position), []
    for _ in range(9):
        start = time.perf_counter()
        function(frame)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def together(watches: list[Watch], round_trip: float, functions: float) -> dict[str, float]:
    """Sum a round up: an event is done when the last of the pictures is painted."""
    found = judged(watches[0], round_trip, functions)
    latencies = np.max([watch.latencies() for watch in watches], axis=0)
    p95 = 1e3 * float(np.percentile(latencies, 95))
    beyond = p95 - 1e3 * (round_trip + functions)
    return found | {"p50 ms": 1e3 * float(np.median(latencies)), "p95 ms": p95, "beyond p95 ms": beyond}


# Row 17


def appear(url: str, scan: Fields, rounds: int) -> list[dict[str, float]]:
    """Let somebody else make nodes, and wait until they stand in the list."""
    tree, measured = (scan.path.name, TITLE), []
    with far_away(url, FAR_MS / 2) as proxied, opened(proxied, (*tree, "root")) as window:
        for number in range(5 * rounds):
            name, path = f"appearing{number}", (*tree, f"appearing{number}")
            rested = time.perf_counter() + 0.7
            run_until(lambda rested=rested: time.perf_counter() > rested)
            other = threading.Thread(
                target=make,
                args=(url, "/".join(tree), name, "root", "gaussian_filter", {"sigma": 3.0 + number}),
            )
            start = time.perf_counter()
            other.start()
            run_until(lambda path=path: path in window.tree.items)
            measured.append({"listed s": time.perf_counter() - start})
            other.join()
    return measured


def run(
    rounds: int = 3, only: tuple[str, ...] = ("14", "16", "17"), slid: tuple[str, ...] = tuple(SLID)
) -> Any:
    """Measure the rows; each is a list of what every round gave, row 14 one for each thing that is slid."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QT_FONT_DPI", "96")
    import pyqtgraph as pg

    pg.setConfigOption("mouseRateLimit", 0)
    application = pg.mkQApp()
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        scan = Fields(Path(folder) / "scan.hspy", 256, 120)
        print("writing the scan, starting the server", file=sys.stderr)
        scan.write()
        url, _process = stack.enter_context(serving(serve_command([scan.path], Path(folder) / "state")))
        wait_for(url, f"/api/v1/metadata/{scan.path.name}/{TITLE}/root")
        for what in slid if "14" in only else ():
            results[f"14 {what}"] = slide(url, scan, what, rounds)
        if "16" in only:
            results["16"] = compare(url, scan, rounds)
        if "17" in only:
            results["17"] = appear(url, scan, rounds)
    application.processEvents()
    return results


def main() -> None:
    from benchmarks.dragging import table

    parser = argparse.ArgumentParser(prog="python -m benchmarks.sliding", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 6))
    parser.add_argument("--rows", nargs="+", default=["14", "16", "17"], choices=["14", "16", "17"])
    parser.add_argument("--slid", nargs="+", default=list(SLID), choices=list(SLID))
    options = parser.parse_args()
    print(table(run(options.rounds, tuple(options.rows), tuple(options.slid))))


if __name__ == "__main__":
    main()
