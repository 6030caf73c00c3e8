"""The viewer while a crosshair is dragged: ``python -m benchmarks.dragging``.

A real server process, a real window (offscreen), mouse events on its navigator at an even pace, and for
a service that is far away a socket proxy. Positions are new ones, so nothing is cached anywhere.

| row | what is timed |
|---|---|
| 12 | 60 positions a second on the raw frames of a service 20 ms away |
| 9 | 60 positions within one second on a node of 150 ms a frame, then letting go |

Times are from when an event is due (also when the GUI thread is late for it) to the end of the paint
event that shows its frame or a newer one. A stall is what the GUI thread does between two ticks of a
timer that always runs: by the clock, and in processor time, which does not count other processes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.circles import Circles
from benchmarks.proxy import far_away
from benchmarks.scan import TITLE, Scan
from benchmarks.servers import KEY, _ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from viewer.window import Window

Position = tuple[int, int]

RATE = 60
FAR_MS = 20.0
SLOW_SECONDS = 0.15
LOG = "BENCHMARK_LOG"


# What is seen


@dataclass
class Watch:
    """Notes when which position is painted, and how long the GUI thread is busy."""

    due: dict[Any, float] = field(default_factory=dict)  # positions, or parameters
    painted: dict[Any, float] = field(default_factory=dict)
    ticks: list[tuple[float, float]] = field(default_factory=list)

    def paint(self, shown: Any) -> None:
        if shown in self.due:
            self.painted.setdefault(shown, time.perf_counter())

    def tick(self) -> None:
        self.ticks.append((time.perf_counter(), time.thread_time()))

    def latencies(self) -> list[float]:
        """Seconds from each event to the first paint of its frame or of a newer one."""
        latencies, shown = [], math.inf
        for position, due in reversed(self.due.items()):
            shown = min(shown, self.painted.get(position, math.inf))
            latencies.append(shown - due)
        return latencies[::-1]

    def stalls(self) -> tuple[list[float], list[float]]:
        """Seconds between two ticks, by the clock and of the thread's processor time."""
        wall, cpu = np.diff(np.array(self.ticks), axis=0).T
        return wall.tolist(), cpu.tolist()


@contextmanager
def watching(window: Window, view: Any = None, shown: Callable[[], Any] | None = None) -> Iterator[Watch]:
    """Watch an image of a window until the block ends; `shown` says what is painted on it, its position by default."""
    from pyqtgraph.Qt import QtCore

    watch, view = Watch(), view or window.signal.image
    shown = shown or (lambda: window.signal.painted_at)
    kind = type(view)
    original = kind.paintEvent

    def paint(self: Any, event: Any) -> None:
        original(self, event)
        if self is view:
            watch.paint(shown())

    kind.paintEvent = paint
    timer = QtCore.QTimer(window, interval=0)
    timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
    timer.setInterval(1)
    timer.timeout.connect(watch.tick)
    timer.start()
    try:
        yield watch
    finally:
        timer.stop()
        kind.paintEvent = original


# What a hand does


def drag(window: Window, path: list[Position], watch: Watch) -> float:
    """Press at the first position, pass the others at `RATE`, let go; return when."""
    from pyqtgraph.Qt import QtCore

    from viewer.tour.hand import Mouse, mouse

    view, kind = window.navigator.image, QtCore.QEvent.Type
    spots = [view.mapFromScene(view.box.mapViewToScene(QtCore.QPointF(float(x), float(y)))) for y, x in path]
    # A little before the first: what moves less than five pixels is no drag to pyqtgraph.
    mouse(view, kind.MouseButtonPress, spots[0] - QtCore.QPoint(0, 20), Mouse.LeftButton, Mouse.LeftButton)
    begin = time.perf_counter()
    for number, (position, spot) in enumerate(zip(path, spots, strict=True)):
        due = begin + number / RATE
        run_until(lambda due=due: time.perf_counter() >= due)
        watch.due[position] = due
        if position != path[-1] and time.perf_counter() >= due + 1 / RATE:
            continue  # a window system gives a late window the newest of all moves that are due
        mouse(view, kind.MouseMove, spot, Mouse.NoButton, Mouse.LeftButton)
        if window.session.state.position != position:
            raise RuntimeError(f"the crosshair is at {window.session.state.position}, not at {position}")
    mouse(view, kind.MouseButtonRelease, spots[-1], Mouse.LeftButton, Mouse.NoButton)
    return time.perf_counter()


def run_until(condition: Callable[[], bool], bound: float = 60.0) -> None:
    """Run the event loop, asleep between events as it is in `exec`."""
    from pyqtgraph.Qt import QtCore, QtWidgets

    application, end = QtWidgets.QApplication.instance(), time.perf_counter() + bound
    application.processEvents()  # whoever is late gets to paint all the same
    while not condition():
        if time.perf_counter() > end:
            raise RuntimeError("what was waited for did not come")
        application.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


@contextmanager
def opened(url: str, path: tuple[str, ...]) -> Iterator[Window]:
    """A window on a node, in which everything that is first shown has come."""
    from viewer.session import Session
    from viewer.window import Window
    from viewer.wire import Service

    window = Window(Session(Service(url, KEY)))
    window.show()
    heart = QtHeart(window)
    window.session.start()
    window.session.show(path)
    try:
        run_until(
            lambda: (
                window.session.state.node is not None
                and window.session.state.node.path == path
                and window.signal.painted_at == window.session.state.position
                and window.session.complete("navigator")
            )
        )
        yield window
    finally:
        heart.stop()
        window.close()


def QtHeart(window: Window) -> Any:  # noqa: N802 (makes an object)
    """A timer, so that waiting for events ends when there is none."""
    from pyqtgraph.Qt import QtCore

    timer = QtCore.QTimer(window)
    timer.start(5)
    return timer


# Rows


def far(url: str, node: tuple[str, ...], scan: Circles, rounds: int) -> list[dict[str, float]]:
    """Row 12: drag along one circle after the other, `FAR_MS` away."""
    measured = []
    with far_away(url, FAR_MS / 2) as proxied, opened(proxied, node) as window:
        for path in scan.circles[:rounds]:
            round_trip = network(window)
            path = path[: scan.positions]
            with watching(window) as watch:
                drag(window, path, watch)
                run_until(lambda path=path, watch=watch: path[-1] in watch.painted)
            measured.append(summary(watch, round_trip))
    return measured


def summary(watch: Watch, round_trip: float) -> dict[str, float]:
    due, painted = list(watch.due.values()), sorted(watch.painted.values())
    latencies, (wall, cpu) = watch.latencies(), watch.stalls()
    seconds = due[-1] - due[0] + 1 / RATE
    return {
        "round trip ms": 1e3 * round_trip,
        "frames/s": len(painted) / seconds,
        "p50 ms": 1e3 * float(np.percentile(latencies, 50)),
        "p95 ms": 1e3 * float(np.percentile(latencies, 95)),
        "beyond round trip p95 ms": 1e3 * (float(np.percentile(latencies, 95)) - round_trip),
        "stall p99 ms": 1e3 * float(np.percentile(wall, 99)),
        "stall p99 cpu ms": 1e3 * float(np.percentile(cpu, 99)),
        "stall max ms": 1e3 * max(wall),
        "gui busy %": 100
        * (watch.ticks[-1][1] - watch.ticks[0][1])
        / (watch.ticks[-1][0] - watch.ticks[0][0]),
    }


def network(window: Window, rounds: int = 9) -> float:
    """Median seconds of the cheapest question, over the same proxy."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        window.session.service.about()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def slow(url: str, node: tuple[str, ...], scan: Circles, rounds: int, log: Path) -> list[dict[str, float]]:
    """Row 9: drag for a second on a node of `SLOW_SECONDS`, let go, and see what is still worked on."""
    measured = []
    with opened(url, node) as window:
        for path in scan.circles[:rounds]:
            alone = [single(window, position) for position in path[-5:]]
            with watching(window) as watch:
                released = drag(window, path[:RATE], watch)
                last = path[RATE - 1]
                run_until(lambda last=last, watch=watch: last in watch.painted)
            run_until(lambda released=released: time.perf_counter() > released + 2.0)
            calls = [json.loads(line) for line in log.read_text().splitlines()]
            one = float(np.median(alone))
            measured.append(
                {
                    "one frame ms": 1e3 * one,
                    "last frame ms": 1e3 * (watch.painted[last] - released),
                    "ratio": (watch.painted[last] - released) / one,
                    "painted": len(watch.painted),
                    "computed": sum(begin > watch.ticks[0][0] for begin, _ in calls),
                    "idle after s": max(end for _, end in calls) - released,
                }
            )
    return measured


def single(window: Window, position: Position) -> float:
    """Seconds to the paint of one frame after a pause."""
    rested = time.perf_counter() + 1.0
    run_until(lambda: time.perf_counter() > rested)
    with watching(window) as watch:
        begin = watch.due[position] = time.perf_counter()
        window.session.move_to(position)
        run_until(lambda: position in watch.painted)
    return watch.painted[position] - begin


# Servers


@contextmanager
def serving(scan: Scan, log: Path) -> Iterator[str]:
    """Our server, with an operation that takes its time."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.dragging", "--serve", str(scan.path)]
    command += ["--port", "0", "--api-key", KEY, "--state", str(scan.path.parent / "state")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, LOG: str(log)})
    try:
        yield _ready(process)
    finally:
        process.terminate()
        process.wait(30)


def serve(arguments: list[str]) -> int:
    """Serve with one more operation: the frame as it is, after `SLOW_SECONDS`."""
    from typing import ClassVar

    from tiled_spyde.cli import main as command
    from tiled_spyde.operations import REGISTRY
    from tiled_spyde.operations.base import Operation

    class Wait(Operation):
        """Take a frame's time."""

        name: ClassVar[str] = "wait"
        signal_dimensions: ClassVar[tuple[int, ...]] = (2,)

        def output(self, info: Any) -> Any:
            return info

        def function(self, info: Any) -> Any:
            return waited

        def seconds(self, info: Any) -> float:
            return SLOW_SECONDS

    REGISTRY[Wait.name] = Wait
    return command(["serve", *arguments])


def waited(frame: np.ndarray) -> np.ndarray:
    """Take `SLOW_SECONDS`, and note from when to when: the clock is the same in all processes."""
    begin = time.perf_counter()
    time.sleep(SLOW_SECONDS)
    line = json.dumps([begin, time.perf_counter()]) + "\n"
    handle = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, line.encode())
    os.close(handle)
    return frame


def make_slow(url: str, tree: str) -> None:
    import httpx

    body = {"name": "slow", "parent": "root", "operation": "wait", "parameters": {}}
    headers = {"Authorization": f"Apikey {KEY}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        while (
            answer := client.post(f"/api/v1/nodes/{tree}", json=body)
        ).status_code == httpx.codes.NOT_FOUND:
            time.sleep(0.1)  # not indexed yet
        answer.raise_for_status()


def run(rounds: int = 3, positions: int = 160, only: tuple[str, ...] = ("12", "9")) -> dict[str, Any]:
    """Measure the rows; each is a list of what every round gave."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QT_FONT_DPI", "96")
    import pyqtgraph as pg

    pg.setConfigOption("mouseRateLimit", 0)  # also events that come close together because one was late
    application = pg.mkQApp()
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        scan, log = Circles(Path(folder) / "scan.hspy", 256, positions), Path(folder) / "log"
        log.touch()
        print("writing the scan, starting the server", file=sys.stderr)
        scan.write()
        url = stack.enter_context(serving(scan, log))
        tree = (scan.path.name, TITLE)
        make_slow(url, "/".join(tree))
        if "12" in only:
            results["12"] = far(url, (*tree, "root"), scan, rounds)
        if "9" in only:
            results["9"] = slow(url, (*tree, "slow"), scan, rounds, log)
    application.processEvents()
    return results


def table(results: dict[str, Any]) -> str:
    """Each row's rounds, and their median."""
    lines = []
    for row, rounds in results.items():
        names = list(rounds[0])
        lines += ["", f"| row {row} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        measured = [[found[name] for name in names] for found in rounds]
        shown = [(str(number + 1), values) for number, values in enumerate(measured)]
        for label, values in [*shown, ("median", np.median(measured, axis=0))]:
            lines.append(f"| {label} | " + " | ".join(f"{value:.3g}" for value in values) + " |")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        sys.exit(serve(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dragging", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 6))
    parser.add_argument("--positions", type=int, default=160, help="on each circle, at 60 a second")
    parser.add_argument("--rows", nargs="+", default=["12", "9"], choices=["12", "9"])
    options = parser.parse_args()
    results = run(options.rounds, options.positions, tuple(options.rows))
    print(table(results))


if __name__ == "__main__":
    main()
