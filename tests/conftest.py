"""Position-encoded signals, and a real server over them."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread

# Before anything imports Qt: without a display it would end the whole run.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_FONT_DPI", "96")

import httpx
import numpy as np
import pytest
import uvicorn
from hypothesis import settings
from hypothesis import strategies as st
from tiled.config import Config
from tiled.server.settings import get_settings

from tiled_spyde.server import server as our_server
from tiled_spyde.signals import Axis, SignalInfo
from tiled_spyde.sources import Root

SHARED = Path(__file__).parents[2] / "shared" / "data"
KEY = "secret"

# How long an example takes says how busy the machine is.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

pytest_plugins = ["clients_table", "catalog_samples", "index_samples", "postgres_server", "zarr_samples"]

NAMES = {0: (), 1: ("x",), 2: ("y", "x"), 3: ("t", "y", "x")}
SIGNAL_NAMES = {0: (), 1: ("E",), 2: ("ky", "kx"), 3: ("ky", "kx", "colour")}


def slices(last=3):
    """Integers from ``-last - 1`` to `last`, and slices of any kind."""
    bound = st.none() | st.integers(-6, 6)
    return st.integers(-last - 1, last) | st.builds(
        slice, bound, bound, st.none() | st.integers(-4, 4).filter(bool)
    )


def encoded(shape, dtype=np.uint16):
    """Every number says where it stands, and none repeats along an axis."""
    grid = np.indices(shape).reshape(len(shape), -1)
    weights = np.array([11, 17, 29, 43, 61, 97][-len(shape) :])[:, None]
    values = (grid * weights).sum(axis=0) % 251 + (grid[0] * 7 % 13 if len(shape) else 0)
    return values.reshape(shape).astype(dtype)


# Nothing that a test makes may end in the folder where a person's trees are kept.
STATE = tempfile.TemporaryDirectory(prefix="tiled-spyde-tests-")
os.environ["XDG_STATE_HOME"] = STATE.name


class ArrayReader:
    """Reads frames of an array in memory, and counts them."""

    def __init__(self, array, signal_axes):
        self.array, self.axes, self.reads = array, array.ndim - signal_axes, []

    def read(self, index, region=()):
        assert len(index) == self.axes
        self.reads.append(index)
        return self.array[index][region].copy()


def axes_of(shape, signal_axes):
    navigation = len(shape) - signal_axes
    names = NAMES[navigation] + SIGNAL_NAMES[signal_axes]
    return tuple(
        Axis(name, size, 0.5 + 0.25 * i, -1.0 * i, "nm" if i < navigation else "1/nm", i < navigation)
        for i, (name, size) in enumerate(zip(names, shape, strict=True))
    )


def make_root(shape=(3, 5, 12, 16), signal_axes=2, dtype=np.uint16, name="signal", fingerprint="f" * 32):
    """Root over a position-encoded array in memory."""
    array = encoded(shape, dtype)
    info = SignalInfo(axes_of(shape, signal_axes), array.dtype)

    def lazy_array():
        import dask.array as da

        # Chunks of several frames, so that the reference really is a map over whole chunks.
        return da.from_array(array, chunks=tuple(2 if axis.navigate else -1 for axis in info.axes))

    root = Root(name, "a title", info, ArrayReader(array, signal_axes), {}, (), lazy_array)
    root.__dict__["fingerprint"] = fingerprint
    return root


@dataclass
class Served:
    """A running server and a client of it."""

    url: str
    client: httpx.Client
    app: object
    # What is served, and what stands round the tiled app.
    root: object = field(default=None, kw_only=True)
    outer: object = field(default=None, kw_only=True)

    def get(self, path, **kwargs):
        return self.client.get(path, **kwargs)


@contextmanager
def running(app):
    """Run an ASGI app under uvicorn on a free port, as we do where it answers at once; gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    server = our_server(app) if hasattr(app, "at_once") else uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + 120
        while not server.started:
            assert thread.is_alive(), "the server ended at start-up"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def serving(paths, *, public=False, trees=None, guarded=True, arguments=None, wait=True, **settings):
    """Serve `paths` as the command line does, once they are indexed; without the guard as plain tiled does."""
    from tiled.server.app import build_app_from_config

    from tiled_spyde.app import wrapped

    state = (arguments or {}).get("state") or str(tempfile.mkdtemp(prefix="state-", dir=STATE.name))
    get_settings.cache_clear()
    config = Config.model_validate(
        {
            "trees": [
                {
                    "path": "/",
                    "tree": "tiled_spyde.app:tree",
                    "args": {
                        "paths": [str(p) for p in paths],
                        "trees": trees,
                        "state": state,
                        **(arguments or {}),
                    },
                }
            ],
            "access_control": {"access_policy": "tiled_spyde.access:CredentialPolicy", "args": {}},
            "authentication": {"single_user_api_key": KEY, "allow_anonymous_access": public},
            **settings,
        }
    )
    app = build_app_from_config(config)
    outer = wrapped(app, config.merged_trees) if guarded else app
    with running(outer) as url:
        headers = {} if public else {"Authorization": f"Apikey {KEY}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            if wait:
                until(lambda: not config.merged_trees.metadata()["attributes"]["indexing"]["scanning"])
            yield Served(url, client, app, root=config.merged_trees, outer=outer)
    get_settings.cache_clear()


def until(done, seconds=120):
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


@pytest.fixture
def qtbot(qtbot):
    """As patient as `until`: five seconds are not much on a busy machine."""
    qtbot.waitUntil = partial(qtbot.waitUntil, timeout=120_000)
    return qtbot


def until_indexed(client, seconds=120):
    """Wait until a server somewhere has looked through its folders."""

    def idle():
        top = client.get("/api/v1/metadata/").json()["data"]["attributes"]["metadata"]
        return not top["attributes"]["indexing"]["scanning"]

    until(idle, seconds)


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """A folder with a 4-D scan, a spectrum map, an image, a line scan and files that cannot be read."""
    import hyperspy.api as hs

    folder = tmp_path_factory.mktemp("scans")
    for name, shape, kind in (
        ("scan4d.hspy", (3, 5, 12, 16), hs.signals.Signal2D),
        ("spectra.hspy", (4, 6, 40), hs.signals.Signal1D),
        ("image.hspy", (530, 600), hs.signals.Signal2D),
        ("line.hspy", (7, 33), hs.signals.Signal1D),
    ):
        signal_axes = 2 if kind is hs.signals.Signal2D else 1
        signal = kind(encoded(shape), axes=[_described(a) for a in axes_of(shape, signal_axes)])
        signal.save(folder / name)
    (folder / "empty.hspy").touch()
    (folder / "text.mrc").write_text("this is no image")
    (folder / "notes.xyz").write_text("an unknown extension")
    return folder


def _described(axis):
    return {
        "name": axis.name,
        "size": axis.size,
        "scale": axis.scale,
        "offset": axis.offset,
        "units": axis.units,
        "navigate": axis.navigate,
    }


@pytest.fixture(scope="module")
def stand_in():
    """A stock tiled server with one of each kind the viewer draws."""
    from viewer_service import StandIn, several_scans

    server = StandIn(several_scans()).start()
    yield server
    server.stop()


@pytest.fixture
def scan_service():
    """A stock tiled server with one scan, for one test to stop, change and slow down."""
    from viewer_service import StandIn, diffraction_scan, file

    server = StandIn(file(signal=diffraction_scan())).start()
    yield server
    server.stop()


@pytest.fixture
def window(qtbot, scan_service):
    """A window on the scan of `scan_service`, which soon notices what that does."""
    from viewer_service import PACE, choose, opened

    with opened(qtbot, scan_service.url, **PACE) as window:
        choose(qtbot, window, "signal", "root")
        yield window


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real files, which are not ours to publish."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with real files is not beside this checkout")
    return SHARED
