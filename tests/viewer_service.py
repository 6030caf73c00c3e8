"""A real tiled server with plain arrays that carry our metadata, for the viewer's tests.

`Service` here is the far end of the wire: uvicorn in a thread on a port of its own, which a test can
delay, count, stop and start again.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
import uvicorn
from fastapi import APIRouter, HTTPException, Response
from numcodecs import Blosc
from ports import free_port
from pyqtgraph.Qt import QtCore
from tiled.adapters.array import ArrayAdapter
from tiled.adapters.mapping import MapAdapter
from tiled.config import Authentication
from tiled.media_type_registration import default_serialization_registry
from tiled.server.app import build_app
from tiled.server.settings import get_settings
from tiled.structures.core import Spec

from viewer.session import Session
from viewer.tour.hand import drag
from viewer.window import Window
from viewer.wire import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_FONT_DPI", "96")
pg.setConfigOption("mouseRateLimit", 0)  # every mouse event counts, as in a test it must

# Milliseconds between two looks at the service.
PACE = {"heartbeat_ms": 100, "retry_ms": 50, "pulse_ms": 40}
CODEC = Blosc("lz4", 5, Blosc.BITSHUFFLE)
default_serialization_registry.register(
    "array", "application/x-blosc", lambda _type, array, _metadata: CODEC.encode(np.ascontiguousarray(array))
)


class PinnedMap(MapAdapter):
    """Resolves ``node@key``: 410 when the node has another key by now."""

    def __getitem__(self, name: str) -> Any:
        bare, _, key = name.partition("@")
        node = super().__getitem__(bare)
        if key and node.metadata()["attributes"]["key"] != key:
            raise HTTPException(410, f"{bare} has changed: list it again.")
        return node


def axis(name: str, size: int, scale: float = 1.0, units: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "size": size,
        "scale": scale,
        "offset": 0.0,
        "units": units,
        "navigate": False,
        **more,
    }


def node(
    array: np.ndarray,
    axes: list[dict[str, Any]],
    key: str = "0a",
    parent: str | None = None,
    recipe: tuple[tuple[str, dict[str, Any]], ...] = (),
    chunks: tuple[int, ...] | None = None,
    **attributes: Any,
) -> ArrayAdapter:
    """An array node: one frame per chunk unless `chunks` says otherwise."""
    navigation = sum(a["navigate"] for a in axes)
    size = chunks or tuple(1 if n < navigation else length for n, length in enumerate(array.shape))
    steps = [{"operation": name, "parameters": parameters} for name, parameters in recipe]
    described = {"axes": axes, "key": key, "state": "lazy", "parent": parent, "recipe": steps, "title": ""}
    return ArrayAdapter.from_array(
        array,
        chunks=tuple(
            tuple(min(c, n - start) for start in range(0, n, c))
            for n, c in zip(array.shape, size, strict=True)
        ),
        dims=tuple(a["name"] for a in axes),
        metadata={"attributes": {**described, "signal_type": "", **attributes}},
        specs=[Spec("SignalNode")],
    )


def tree(nodes: dict[str, ArrayAdapter], title: str = "") -> PinnedMap:
    return PinnedMap(nodes, metadata={"attributes": {"title": title}}, specs=[Spec("SignalTree")])


def file(**trees: PinnedMap) -> PinnedMap:
    return PinnedMap(trees, metadata={"attributes": {"state": "ready"}})


def unreadable(reason: str) -> PinnedMap:
    attributes = {"state": "failed", "error": reason}
    return PinnedMap({}, metadata={"attributes": attributes}, specs=[Spec("UnreadableFile")])


def failed(reason: str) -> PinnedMap:
    """A node whose recipe no longer fits: an empty container with its reason."""
    attributes = {"state": "failed", "failure": reason, "parent": "root", "recipe": [], "key": ""}
    return PinnedMap({}, metadata={"attributes": attributes}, specs=[Spec("SignalNode")])


def encoded(*shape: int, dtype: str = "<u2") -> np.ndarray:
    """Every pixel is another number, so a wrong frame, row or column is visible."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def scan_axes(ny: int, nx: int) -> list[dict[str, Any]]:
    return [axis("y", ny, 2.0, "nm", navigate=True), axis("x", nx, 2.0, "nm", navigate=True)]


def diffraction_scan(key: str = "0a", offset: int = 0) -> PinnedMap:
    """Non-square 4-D scan 5 × 7 | 6 × 9 with computed nodes of the same shape, and a virtual image."""
    data = encoded(5, 7, 6, 9) + np.uint16(offset)
    navigation = scan_axes(5, 7)
    signal = [axis("ky", 6, 0.1, "1/nm", offset=-0.25), axis("kx", 9, 0.1, "1/nm", offset=-0.4)]
    whole = {"chunks": (32, 32), "parent": "root"}
    return tree(
        {
            "root": node(data, navigation + signal, key, state="stored"),
            "navigator": node(data.sum((2, 3), dtype="f8"), navigation, key, recipe=(("sum", {}),), **whole),
            "halved": node(
                (data / 2).astype("<f4"),
                navigation + signal,
                key,
                "root",
                recipe=(("scale", {"factor": 0.5}),),
            ),
            "centre": node(
                data[:, :, 3, 4].astype("<f8"), navigation, key, recipe=(("virtual_image", {}),), **whole
            ),
        }
    )


ENERGY = ("Energy", 50, 0.1, "keV")


def several_scans() -> PinnedMap:
    """One of each kind the viewer draws, and a file it cannot."""
    energy = axis(*ENERGY, offset=1.0)
    return PinnedMap(
        {
            "scan.hspy": file(signal=diffraction_scan()),
            "spectra.hspy": file(signal=_spectra(energy)),
            "folder": PinnedMap({"series.mrc": file(signal=_series()), "depth.zspy": file(signal=_planes())}),
            "image.mrc": file(signal=_large_image()),
            "spectrum.dm3": file(signal=tree({"root": node(encoded(50, dtype="<f4"), [energy])})),
            "map.hspy": file(signal=_maps()),
            "two.emd": _two_signals(),
            "broken.mrc": unreadable("truncated: 12 of 1024 bytes"),
        }
    )


def _scan(data, navigation, signal, sums, sum_chunks, chunks=None) -> PinnedMap:
    """A root and its navigator."""
    root = node(data, [*navigation, *signal], **({"chunks": chunks} if chunks else {}))
    return tree({"root": root, "navigator": node(sums, navigation, parent="root", chunks=sum_chunks)})


def _spectra(energy) -> PinnedMap:
    data = encoded(5, 23, 50, dtype="<u4")
    return _scan(data, scan_axes(5, 23), [energy], data.sum(2, dtype="f8"), (32, 32), (1, 8, 50))


def _series() -> PinnedMap:
    data = encoded(11, 8, 9, dtype="<f4")
    data[:, 0, 0] = np.nan
    line = [axis("x", 11, 0.5, "µm", navigate=True)]
    return _scan(data, line, [axis("y", 8), axis("x", 9)], np.nansum(data, (1, 2)), (11,))


def _planes() -> PinnedMap:
    data = encoded(3, 4, 5, 6, 7)
    depth = [axis("z", 3, navigate=True), *scan_axes(4, 5)]
    return _scan(data, depth, [axis("ky", 6), axis("kx", 7)], data.sum((3, 4), dtype="f8"), (1, 32, 32))


def _large_image() -> PinnedMap:
    axes = [axis("y", 1500, 0.5, "nm"), axis("x", 2600, 0.5, "nm")]
    return tree({"root": node(encoded(1500, 2600), axes, chunks=(512, 512))})


def _maps() -> PinnedMap:
    large = node(encoded(70, 45, dtype="<f8"), scan_axes(70, 45), chunks=(32, 32))
    return tree({"root": node(encoded(5, 7), scan_axes(5, 7)), "large": large})


def _two_signals() -> PinnedMap:
    image = node(encoded(6, 8), [axis("y", 6, 0.1, "nm"), axis("x", 8, 0.1, "nm")])
    cube = node(encoded(2, 3, 4, 5), [axis(f"axis {n}", n) for n in (2, 3, 4, 5)])
    return file(image=tree({"root": image}), cube=tree({"root": cube}))


@dataclass
class Traffic:
    """What came in, and what is to be done to it."""

    requests: list[str] = field(default_factory=list)
    delays: dict[str, float] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)  # never answered
    left: list[str] = field(default_factory=list)  # those whose client hung up
    priorities: dict[str, str] = field(default_factory=dict)
    timing: str = ""
    most_at_once: int = 0
    _now: int = 0

    def data(self) -> list[str]:
        return [url for url in self.requests if "/zarr/" in url or "/array/" in url]

    def middleware(self, app: Any) -> Any:
        async def watched(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            url = f"{scope['path']}?{scope['query_string'].decode()}"
            self.requests.append(url)
            self.priorities[url] = dict(scope["headers"]).get(b"priority", b"").decode()
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            try:
                for part, seconds in self.delays.items():
                    if part in url:
                        await asyncio.sleep(seconds)
                if any(part in url for part in self.held):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    self.left.append(url)
                    return
                for part, (status, detail) in self.refusals.items():
                    if part in url:
                        await Response(f'{{"detail": "{detail}"}}', status, {"Retry-After": "0.1"})(
                            scope, receive, send
                        )
                        return
                await app(scope, receive, self._timed(send))
            finally:
                self._now -= 1

        return watched

    def _timed(self, send: Any) -> Any:
        async def timed(message: Any) -> None:
            if self.timing and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"server-timing", self.timing.encode())]
            await send(message)

        return timed


class StandIn:
    """A served tree. `stop` and `start` keep the port."""

    def __init__(self, tree: MapAdapter, api_key: str | None = None, routes: APIRouter | None = None) -> None:
        self.tree, self.traffic = tree, Traffic()
        get_settings.cache_clear()
        authentication = Authentication(
            allow_anonymous_access=api_key is None, single_user_api_key=api_key or "secret"
        )
        if routes is not None:
            tree.include_routers = [routes]
        self.app = self.traffic.middleware(build_app(tree, authentication=authentication))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None

    def start(self) -> StandIn:
        config = uvicorn.Config(self.app, port=self.port, log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the stand-in did not start")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join(10)
            self._server = None


@contextmanager
def opened(qtbot: Any, url: str, api_key: str | None = None, **pace: int) -> Iterator[Window]:
    """A window on a service, in which everything that is first shown has come."""
    window = Window(Session(Service(url, api_key), **pace))
    qtbot.addWidget(window)
    window.show()
    window.session.start()
    try:
        yield window
    finally:
        window.close()


def shown(window: Window) -> bool:
    """The frame of the present node and position is painted, and the navigator is complete."""
    session, signal = window.session, window.signal
    node = session.state.node
    if node is None or signal.picture is None or session.fetcher.busy("frame"):
        return False
    there = session.complete("frame") if node.kind == "map" else signal.painted_at == session.state.position
    return there and (session.navigator is None or session.complete("navigator"))


def choose(qtbot: Any, window: Window, *path: str) -> None:
    """Click a node in the list, and wait until it is shown."""
    unfold(qtbot, window, *path)
    window.tree.list.itemClicked.emit(window.tree.items[path], 0)
    qtbot.waitUntil(lambda: window.session.state.node is not None and window.session.state.node.path == path)
    qtbot.waitUntil(lambda: shown(window))


def unfold(qtbot: Any, window: Window, *path: str) -> None:
    """Wait until a path is listed, with its folders unfolded and its file looked into."""

    def there() -> bool:
        for length in range(1, len(path)):
            if (item := window.tree.items.get(path[:length])) is not None:
                item.setExpanded(True)
        file = window.session.library.file_of(path)
        if file is not None and file.path not in window.session.library.trees:
            window.session.library.open(file.path)
        return path in window.tree.items

    qtbot.waitUntil(there)


def painted(view: Any, row: int, column: int) -> Any:
    """The colour on the screen in the middle of a pixel of the image, as (r, g, b)."""
    colour = view.grab().toImage().pixelColor(place(view, row, column))
    return colour.red(), colour.green(), colour.blue()


def press(view: Any, row: float, column: float) -> None:
    """Click the middle of a pixel."""
    drag(view, place(view, row, column), place(view, row, column), steps=0)


def place(view: Any, row: float, column: float) -> QtCore.QPoint:
    """Where a pixel of the picture is in the view, in screen pixels."""
    return view.mapFromScene(view.box.mapViewToScene(QtCore.QPointF(column, row)))


def settle(qtbot: Any, window: Window, position: tuple[int, ...]) -> None:
    """Wait until the frame at a position is on the screen."""
    qtbot.waitUntil(lambda: window.session.state.position == position)
    qtbot.waitUntil(lambda: shown(window))
