"""Notebooks: a node opened over HTTP is the signal that hyperspy gives for the same file."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import contextmanager

import dask
import numpy as np
import pytest
from conftest import KEY, running, serving
from viewer_service import PinnedMap, StandIn, axis, diffraction_scan, file, node, scan_axes, tree, unreadable

import tiled_spyde.client as spyde
from tiled_spyde import remote

SCAN = "scan4d.hspy/signal"


@pytest.fixture(autouse=True, scope="module")
def _connections_are_closed():
    yield
    remote.close_connections()


@pytest.fixture(scope="module")
def service(scans):
    with serving([scans]) as served:
        node = {
            "parent": "root",
            "operation": "gaussian_filter",
            "parameters": {"sigma": 1.0},
            "name": "smooth",
        }
        served.client.post(f"/api/v1/nodes/{SCAN}", json=node).raise_for_status()
        yield served


@pytest.mark.parametrize("name", ["scan4d", "spectra", "image", "line"])
def test_a_signal_is_the_one_hyperspy_loads(service, scans, name):
    import hyperspy.api as hs

    expected = hs.load(scans / f"{name}.hspy", lazy=True)
    opened = spyde.open(f"{service.url}/api/v1/metadata/{name}.hspy", KEY)
    assert opened.data.dtype == expected.data.dtype
    assert type(opened) is type(expected)
    assert opened.axes_manager.as_dictionary().keys() == expected.axes_manager.as_dictionary().keys()
    for one, other in zip(opened.axes_manager._axes, expected.axes_manager._axes, strict=True):
        for field in ("name", "size", "scale", "offset", "units", "navigate"):
            assert getattr(one, field) == getattr(other, field), field
    assert opened.metadata.General.title == expected.metadata.General.title
    np.testing.assert_array_equal(opened.data.compute(), expected.data.compute())


def test_its_chunks_are_those_of_the_server(service):
    signal = spyde.open(f"{service.url}/api/v1/metadata/{SCAN}/root", KEY)
    assert signal.data.chunks == ((1,) * 3, (1,) * 5, (12,), (16,))


def test_a_computed_node_is_the_same_in_hyperspy(service, scans):
    import hyperspy.api as hs
    from scipy.ndimage import gaussian_filter

    signal = spyde.open(f"{service.url}/api/v1/array/full/{SCAN}/smooth", KEY)
    expected = gaussian_filter(hs.load(scans / "scan4d.hspy").inav[2, 1].data.astype("f4"), 1.0)
    np.testing.assert_array_equal(signal.inav[2, 1].data.compute(), expected)
    origin = signal.original_metadata.tiled_spyde
    assert origin.address.endswith(f"/{SCAN}/smooth")
    assert origin.recipe[-1]["operation"] == "gaussian_filter"
    assert KEY not in str(signal.original_metadata) + str(signal.metadata)


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/metadata/{node}",
        "/api/v1/array/full/{node}",
        "/api/v1/array/block/{node}",
        "/api/v1/search/{tree}",
        "/api/v1/metadata/{tree}/",
        "/api/v1/container/full/{tree}",
        "/zarr/v2/{node}",
        "/zarr/v3/{node}",
        "/zarr/v3/{node}/zarr.json",
        "/zarr/v2/{node}/.zarray",
        "/ui/browse/{node}",
        "/ui/browse/{tree}/",
        "/ui/browse/scan4d.hspy",
    ],
)
def test_every_address_of_a_node_that_people_copy_is_understood(service, address):
    path = address.format(node=f"{SCAN}/root", tree=SCAN)
    for url in (
        f"{service.url}{path}?api_key={KEY}",
        f"{service.url.removeprefix('http://')}{path}?api_key={KEY}",
    ):
        assert spyde.open(url).data.shape == (3, 5, 12, 16)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/api/v1/metadata/x", "no address"),
        ("http:///api/v1", "no address"),
        ("http://host/api/v1/array/full/x?slice=3,4", "slice the signal"),
    ],
)
def test_what_is_no_address_of_a_node_is_refused_before_anything_is_sent(url, said):
    with pytest.raises(ValueError, match=said):
        spyde.open(url)


@pytest.fixture(scope="module")
def stock():
    """A stock tiled server, whose requests are counted and can be refused."""
    image = {"root": node(np.arange(24).reshape(4, 6), [axis("y", 4), axis("x", 6)])}
    held = {
        "scan": diffraction_scan(),
        "several": file(a=tree(image), b=tree(image)),
        "nothing": PinnedMap({}),
        "broken": unreadable("truncated: 12 of 1024 bytes"),
    }
    server = StandIn(PinnedMap(held)).start()
    yield server
    server.stop()


@contextmanager
def counted(stock):
    stock.traffic.requests.clear()
    asked = []
    yield asked
    asked.extend(stock.traffic.data())


def test_opening_reads_no_data_and_one_frame_is_one_request(stock):
    with counted(stock) as asked:
        signal = spyde.open(f"{stock.url}/api/v1/metadata/scan")
    assert asked == []
    with counted(stock) as asked:
        frame = signal.inav[3, 2].data.compute()
    np.testing.assert_array_equal(frame, np.arange(5 * 7 * 6 * 9).reshape(5, 7, 6, 9)[2, 3])
    assert len(asked) == 1
    assert "root@0a?" in asked[0]
    with counted(stock) as asked:
        part = signal.inav[1:3, 4].isig[2:5, 1].data.compute()
    assert len(asked) == 2
    assert part.shape == (2, 3)


@pytest.mark.parametrize(
    "index", [np.s_[::-1, 2, ::2], np.s_[..., -1], np.s_[1, 1, 5:0:-2], np.s_[:, [3, 0, 3]]]
)
def test_slices_of_all_kinds_are_those_of_numpy(stock, index):
    expected = np.arange(5 * 7 * 6 * 9, dtype="u2").reshape(5, 7, 6, 9)
    data = spyde.open(f"{stock.url}/api/v1/metadata/scan").data
    np.testing.assert_array_equal(data[index].compute(), expected[index])


def test_the_array_itself_takes_what_numpy_takes(stock):
    signal = spyde.open(f"{stock.url}/api/v1/metadata/scan")
    service = remote.Service(stock.url)
    array = remote.RemoteArray(service, "scan/root@0a", signal.data.shape, signal.data.dtype)
    expected = np.arange(5 * 7 * 6 * 9, dtype="u2").reshape(5, 7, 6, 9)
    for index in (np.s_[1, 2], np.s_[:, [4, 1]], np.s_[1:1], np.s_[:, [False] * 6 + [True]], np.s_[3:0:-2]):
        np.testing.assert_array_equal(array[index], expected[index])
    # As dask means it: the axes stay where they are.
    np.testing.assert_array_equal(array[2, :, np.array([5, 0]), 1:3], expected[2][:, [5, 0], 1:3])


def test_a_map_and_a_sum_are_computed_here_frame_by_frame(stock):
    signal = spyde.open(f"{stock.url}/api/v1/metadata/scan")
    with counted(stock) as asked:
        doubled = signal.map(
            lambda frame: frame * 2.0, inplace=False, output_dtype=float, output_signal_size=(6, 9)
        )
        one = doubled.inav[0, 1].data.compute()
    np.testing.assert_array_equal(one, np.arange(5 * 7 * 6 * 9).reshape(5, 7, 6, 9)[1, 0] * 2.0)
    assert len(asked) == 1
    assert signal.sum(signal.axes_manager.signal_axes).data.compute().shape == (5, 7)


def test_a_plot_takes_the_trees_navigator_and_one_frame(stock):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    signal = spyde.open(f"{stock.url}/api/v1/metadata/scan")
    with counted(stock) as asked:
        signal.plot()
    try:
        frames = [url for url in asked if "root" in url]
        assert len(frames) <= 2, asked
        assert any("navigator@0a" in url for url in asked)
        shown = signal._plot.navigator_plot.ax.images[0].get_array()
        expected = np.arange(5 * 7 * 6 * 9).reshape(5, 7, 6, 9).sum((2, 3))
        np.testing.assert_array_equal(np.asarray(shown), expected)
    finally:
        plt.close("all")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("several", "holds several: a, b"),
        ("nothing", "nothing in nothing"),
        ("broken", "truncated: 12 of 1024 bytes"),
        ("nowhere", "nothing at .* Check the address"),
        ("", "holds several"),
    ],
)
def test_what_cannot_be_opened_says_why(stock, path, said):
    with pytest.raises(spyde.ServiceError, match=said):
        spyde.open(f"{stock.url}/api/v1/metadata/{path}")


def test_without_a_key_and_with_a_wrong_one_the_error_says_what_to_do(service, monkeypatch):
    monkeypatch.delenv("TILED_API_KEY", raising=False)
    with pytest.raises(spyde.NotAllowed, match=r"asks for a key. Give one: open\(url, api_key"):
        spyde.open(f"{service.url}/api/v1/metadata/{SCAN}")
    with pytest.raises(spyde.NotAllowed, match="not valid"):
        spyde.open(f"{service.url}/api/v1/metadata/{SCAN}", "wrong")
    monkeypatch.setenv("TILED_API_KEY", KEY)
    assert spyde.open(f"{service.url}/api/v1/metadata/{SCAN}").data.shape == (3, 5, 12, 16)


def test_nobody_there_is_said_at_once():
    with pytest.raises(spyde.Unreachable, match=r"Nobody answers at http://127\.0\.0\.1:9"):
        spyde.open("http://127.0.0.1:9/api/v1/metadata/x")


def test_something_else_there_is_said():
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse
    from starlette.routing import Route

    async def text(_):
        return PlainTextResponse("hello")

    async def other(_):
        return JSONResponse({"hello": 1})

    routes = [Route("/api/v1/metadata/text", text), Route("/api/v1/metadata/other", other)]
    with running(Starlette(routes=routes)) as url:
        for path in ("text", "other"):
            with pytest.raises(spyde.ServiceError, match="no tiled-spyde service"):
                spyde.open(f"{url}/api/v1/metadata/{path}")


def test_a_busy_service_is_asked_again_and_given_up_after_a_while(stock):
    signal = spyde.open(f"{stock.url}/api/v1/metadata/scan", patience=1.0)
    stock.traffic.refusals["/array/"] = (503, "all hands are busy")
    try:
        with (
            counted(stock) as asked,
            pytest.raises(spyde.Unreachable, match="within 1 s: all hands are busy"),
        ):
            signal.inav[0, 0].data.compute()
        assert len(asked) > 3
    finally:
        stock.traffic.refusals.clear()
    assert signal.inav[0, 0].data.compute().shape == (6, 9)


def test_a_changed_node_is_never_mixed_with_what_was_opened():
    server = StandIn(PinnedMap({"scan": diffraction_scan()})).start()
    try:
        signal = spyde.open(f"{server.url}/api/v1/metadata/scan")
        before = signal.inav[0, 0].data.compute()
        server.tree._mapping["scan"] = diffraction_scan(key="0b", offset=100)
        with pytest.raises(spyde.Changed, match="open it again"):
            signal.inav[0, 0].data.compute()
        again = spyde.open(f"{server.url}/api/v1/metadata/scan")
        np.testing.assert_array_equal(again.inav[0, 0].data.compute(), before + 100)
    finally:
        server.stop()


def test_a_pinned_address_is_opened_as_it_is(stock):
    assert spyde.open(f"{stock.url}/api/v1/metadata/scan/root@0a").data.shape == (5, 7, 6, 9)
    with pytest.raises(spyde.Changed):
        spyde.open(f"{stock.url}/api/v1/metadata/scan/root@ffff")


def test_it_can_be_pickled_and_computed_in_another_process(stock):
    signal = spyde.open(f"{stock.url}/api/v1/metadata/scan")
    again = pickle.loads(pickle.dumps(signal.data))  # noqa: S301 - our own
    np.testing.assert_array_equal(again[1, 2].compute(), signal.data[1, 2].compute())
    with dask.config.set(scheduler="processes", num_workers=1):
        np.testing.assert_array_equal(signal.data[1, 2].compute(), again[1, 2].compute())


def test_it_imports_nothing_heavy_until_it_is_called():
    heavy = ("hyperspy", "tiled", "dask", "fastapi", "h5py", "rsciio", "zarr", "pyxem")
    code = f"import sys, tiled_spyde.client; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_it_needs_no_tiled_and_no_server_code(stock):
    code = f"""
import sys
for name in ("tiled", "fastapi", "starlette", "uvicorn"):
    sys.modules[name] = None
import tiled_spyde.client
signal = tiled_spyde.client.open("{stock.url}/api/v1/metadata/scan")
print(signal.inav[3, 2].data.compute().sum())
print([name for name in sys.modules if name.startswith("tiled_spyde")])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said.split()[0]) == np.arange(5 * 7 * 6 * 9).reshape(5, 7, 6, 9)[2, 3].sum()
    assert "tiled_spyde.adapters" not in said
    assert "tiled_spyde.sources" not in said


def test_the_signal_type_is_a_packages_class_only_for_those_who_ask(stock):
    axes = [*scan_axes(2, 2), axis("E", 5)]
    typed = node(np.arange(20).reshape(2, 2, 5), axes, signal_type="EELS")
    server = StandIn(PinnedMap({"eels": tree({"root": typed})})).start()
    try:
        signal = spyde.open(f"{server.url}/api/v1/metadata/eels")
        assert type(signal).__name__ == "LazySignal1D"
        assert signal.original_metadata.tiled_spyde.signal_type == "EELS"
    finally:
        server.stop()
