"""Both ends of the wire: what the viewer asks a real server for, and what it makes of the answers."""

import httpx
import numpy as np
import pytest
from fastapi import APIRouter, HTTPException, Response
from viewer_service import PinnedMap, StandIn, diffraction_scan, encoded, file, tree

from viewer.addresses import Address, decode
from viewer.answered import refusal, seconds_of, stages_of
from viewer.errors import Busy, Garbled, Gone, Refused, Unauthorised, Unreachable
from viewer.nodes import Sort
from viewer.view_state import Request, Span, map_request
from viewer.walk import Walk
from viewer.wire import Service


@pytest.fixture
def service(stand_in):
    stand_in.traffic.requests.clear()
    stand_in.traffic.refusals.clear()
    service = Service(stand_in.url)
    yield service
    service.close()


def select(node, *parts):
    spans = [
        Span(0, axis.size) if part is None else part for part, axis in zip(parts, node.axes, strict=True)
    ]
    return Request(node, tuple(spans))


def listed(service):
    """Every tree of a service, and every file that cannot be read."""
    known = {}
    walk = Walk(known)
    while (place := walk.next) is not None:
        walk.take(service.page(*place))
    trees = {}
    for entry in (entry for entries in known.values() for entry in entries.values()):
        if entry.sort is Sort.UNREADABLE:
            trees["/".join(entry.path)] = entry
        elif entry.sort is not Sort.FOLDER:
            trees |= {"/".join(tree.path): tree for tree in service.trees(entry)}
    return trees


def test_lists_trees_folders_and_unreadable_files(service):
    trees = listed(service)
    assert set(trees) == {
        "scan.hspy/signal",
        "spectra.hspy/signal",
        "folder/series.mrc/signal",
        "folder/depth.zspy/signal",
        "image.mrc/signal",
        "spectrum.dm3/signal",
        "map.hspy/signal",
        "two.emd/image",
        "two.emd/cube",
        "broken.mrc",
    }
    assert trees["broken.mrc"].error == "truncated: 12 of 1024 bytes"
    scan = trees["scan.hspy/signal"]
    assert [node.name for node in scan.nodes] == ["root", "navigator", "halved", "centre"]
    root = scan.root
    assert root.shape == (5, 7, 6, 9)
    assert root.chunks == (1, 1, 6, 9)
    assert [axis.units for axis in root.axes] == ["nm", "nm", "1/nm", "1/nm"]
    assert root.axes[2].value(0) == pytest.approx(-0.25)
    assert scan.node("halved").operations == ("scale",)
    assert scan.node("halved").parameters == ('{"factor": 0.5}',)


def test_a_frame_is_its_pinned_chunk(service, stand_in):
    node = service.node(("scan.hspy", "signal", "root"))
    frame = service.fetch(select(node, 3, 4, None, None))
    np.testing.assert_array_equal(frame, encoded(5, 7, 6, 9)[3, 4])
    assert stand_in.traffic.data() == ["/zarr/v3/scan.hspy/signal/root@0a/c/3/4/0/0?"]


@pytest.mark.parametrize("x", [0, 7, 8, 15, 16, 22])
def test_a_spectrum_comes_out_of_its_row_chunk(service, stand_in, x):
    node = service.node(("spectra.hspy", "signal", "root"))
    spectrum = service.fetch(select(node, 2, x, None))
    np.testing.assert_array_equal(spectrum, encoded(5, 23, 50, dtype="u4")[2, x])
    assert stand_in.traffic.data() == [f"/zarr/v3/spectra.hspy/signal/root@0a/c/2/{x // 8}/0?"]


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_a_map_comes_strided_as_one_slice(service, stand_in, stride):
    node = service.node(("map.hspy", "signal", "large"))
    came = service.fetch(map_request(node, (0, 0), stride))
    np.testing.assert_array_equal(came, encoded(70, 45, dtype="f8")[::stride, ::stride])
    (url,) = stand_in.traffic.data()
    assert url.startswith("/api/v1/array/full/map.hspy/signal/large@0a?format=application/x-blosc&slice=")


def test_a_region_at_the_edge_of_a_large_image(service):
    node = service.node(("image.mrc", "signal", "root"))
    array = encoded(1500, 2600)
    for rows, columns in [
        ((1024, 1500, 1), (2048, 2560, 1)),
        ((0, 1500, 2), (128, 2600, 2)),
        ((1400, 1500, 1), (2560, 2600, 1)),
    ]:
        came = service.fetch(select(node, Span(*rows), Span(*columns)))
        np.testing.assert_array_equal(came, array[slice(*rows), slice(*columns)])


def test_one_plane_of_three_navigation_axes(service):
    node = service.node(("folder", "depth.zspy", "signal", "navigator"))
    np.testing.assert_array_equal(
        service.fetch(map_request(node, (2, 0, 0), 1)), encoded(3, 4, 5, 6, 7).sum((3, 4), dtype="f8")[2]
    )


def test_a_node_that_changed_is_gone(service, stand_in):
    node = service.node(("scan.hspy", "signal", "root"))
    signal = stand_in.tree["scan.hspy"]._mapping
    before = signal["signal"]
    signal["signal"] = diffraction_scan(key="0b")
    try:
        with pytest.raises(Gone, match="list it again"):
            service.fetch(select(node, 3, 4, None, None))
    finally:
        signal["signal"] = before


def test_a_refusal_says_what_the_service_said(service, stand_in):
    node = service.node(("scan.hspy", "signal", "root"))
    stand_in.traffic.refusals["/c/1/1/"] = (422, "scan.hspy is cut off at frame (1, 1)")
    with pytest.raises(Refused, match=r"cut off at frame \(1, 1\)"):
        service.fetch(select(node, 1, 1, None, None))
    stand_in.traffic.refusals["/c/1/2/"] = (503, "computing")
    with pytest.raises(Busy) as busy:
        service.fetch(select(node, 1, 2, None, None))
    assert busy.value.retry_after == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("status", "detail", "kind", "told"),
    [
        (429, "slowly", Busy, "slowly"),
        (422, None, Refused, "422 Unprocessable"),
        (422, {"why": "so"}, Refused, "why"),
        (422, [{"loc": ["body", "name"], "msg": "too long"}, "no"], Refused, "name: too long; no"),
    ],
)
def test_whatever_a_refusal_holds_is_told(status, detail, kind, told):
    error = refusal(httpx.Response(status, json={"detail": detail}), "here", writing=False)
    assert type(error) is kind
    assert told in str(error)


def test_an_unknown_node_is_refused(service):
    with pytest.raises(Refused):
        service.node(("scan.hspy", "signal", "nobody"))


def test_a_long_listing_comes_page_by_page(monkeypatch):
    monkeypatch.setattr("viewer.wire.PAGE", 3)
    many = {f"file {number}": file(signal=tree({})) for number in range(7)}
    server = StandIn(PinnedMap(many)).start()
    try:
        service = Service(server.url)
        assert [path.partition("/")[0] for path in listed(service)] == list(many)
        service.close()
    finally:
        server.stop()


def test_a_private_service_wants_its_key():
    server = StandIn(file(signal=diffraction_scan()), api_key="opensesame").start()
    try:
        for key, words in (
            (None, "asks for a key. Start"),
            ("wrong", r"another key \(Invalid API key\). Start"),
        ):
            stranger = Service(server.url, key)
            with pytest.raises(Unauthorised, match=f"{words} the viewer with --api-key"):
                stranger.page((), 0)
            stranger.close()
        for service in (
            Service(server.url, "opensesame"),
            Service(f"{server.url}/api/v1?api_key=opensesame"),
        ):
            (found,) = listed(service).values()
            assert service.fetch(select(found.root, 0, 0, None, None)).shape == (6, 9)
            service.close()
    finally:
        server.stop()


def test_nothing_at_the_address():
    service = Service("http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 cannot be reached"):
        service.about()
    service.close()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://host/lab/tiled/api/v1/?api_key=k", "https://host/lab/tiled"),
        ("https://host/lab", "https://host/lab"),
    ],
)
def test_addresses_people_paste(url, base):
    service = Service(url)
    assert service.url == base
    service.close()


@pytest.mark.parametrize("url", ["", "http://", "ftp://host/x"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="address of a service"):
        Service(url)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"\x02\x01\x21\x02" + bytes(40)])
def test_a_garbled_answer_is_an_error_not_a_picture(body):
    with pytest.raises(Garbled):
        decode(body, Address("/x", (6, 9), "<u2"))


def test_a_page_of_html_is_not_a_service():
    server = StandIn(file(signal=diffraction_scan())).start()
    service = Service(server.url)
    try:
        server.traffic.refusals["/api/v1/search"] = (200, "welcome")
        with pytest.raises(Garbled, match="not a tiled-spyde service"):
            service.page((), 0)
    finally:
        service.close()
        server.stop()


@pytest.fixture(scope="module")
def workshop():
    """A service that makes nodes."""
    routes, made = APIRouter(), {}
    scan = diffraction_scan()

    @routes.get("/operations")
    def operations():
        accepts = {"accepts": {"signal_dimensions": [2]}}
        schema = {"type": "object", "properties": {"factor": {"type": "number", "default": 0.5}}}
        return [{"name": "scale", "summary": "Multiply.", "parameters": schema} | accepts]

    @routes.post("/nodes/{path:path}", status_code=201)
    def make(path: str, body: dict, response: Response):
        if body["operation"] != "scale":
            raise HTTPException(422, [{"loc": ["body", "operation"], "msg": "no such operation"}])
        made.update(body)
        scan._mapping["scaled"] = scan._mapping["halved"]
        response.headers["Location"] = f"/api/v1/metadata/{path}/scaled"
        return {}

    server = StandIn(file(signal=scan), routes=routes).start()
    yield server, made
    server.stop()


def test_a_node_is_made_and_comes_back_as_listed(workshop):
    server, made = workshop
    service = Service(server.url)
    (operation,) = service.operations()
    (server_tree,) = listed(service).values()
    assert operation.name == "scale"
    root, navigator = (server_tree.node(name) for name in ("root", "navigator"))
    assert operation.fits(root)
    assert not operation.fits(navigator)
    node = service.make_node(("signal",), "root", "scale", {"factor": 0.25})
    assert made == {"parent": "root", "operation": "scale", "parameters": {"factor": 0.25}}
    assert node.path == ("signal", "scaled")
    assert node.shape == (5, 7, 6, 9)
    with pytest.raises(Refused, match="operation: no such operation"):
        service.make_node(("signal",), "root", "unscale", {})
    service.close()


def test_timeouts_are_unreachable(stand_in):
    stand_in.traffic.delays["/api/v1/"] = 1.0
    try:
        service = Service(stand_in.url, timeout=httpx.Timeout(0.1))
        with pytest.raises(Unreachable, match="does not answer in time"):
            service.about()
        service.close()
    finally:
        stand_in.traffic.delays.clear()


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://host/spyde/", "https://host/spyde"),
        ("https://host/spyde", "https://host/spyde"),
        ("https://host/spyde/api/v1", "https://host/spyde"),
        ("https://host/spyde/api/v1/?api_key=k", "https://host/spyde"),
        ("https://host/spyde/api", "https://host/spyde"),
        ("https://host/spyde/ui", "https://host/spyde"),
        ("https://host/spyde/ui/?api_key=k", "https://host/spyde"),
        ("https://host/spyde/ui/browse/scan.hspy/signal", "https://host/spyde"),
        ("https://host/a/b/ui/", "https://host/a/b"),
        ("https://host/build/quit", "https://host/build/quit"),
        ("host:8000", "http://host:8000"),
        ("http://host:8000/ui/", "http://host:8000"),
    ],
)
def test_what_is_pasted_behind_the_service_is_left_away(given, base):
    service = Service(given)
    assert service.url == base
    service.close()


@pytest.mark.parametrize("behind", ["", "/", "/api/v1", "/ui/"])
def test_everything_goes_below_the_sub_path(behind):
    """A proxy that serves the service at /spyde/: nothing is asked beside it, and frames come."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    server = StandIn(file(signal=diffraction_scan()), api_key="opensesame")
    server.app = server.traffic.middleware(Starlette(routes=[Mount("/spyde", app=server.app)]))
    server.start()
    service = Service(f"{server.url}/spyde{behind}", "opensesame")
    try:
        (found,) = listed(service).values()
        frame = service.fetch(select(found.root, 3, 4, None, None))
        np.testing.assert_array_equal(frame, encoded(5, 7, 6, 9)[3, 4])
        assert service.about()["api_version"] == 0
        assert len(server.traffic.requests) >= 4
        assert all(url.startswith(("/spyde/api/v1/", "/spyde/zarr/")) for url in server.traffic.requests)
    finally:
        service.close()
        server.stop()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.1),
        ("99999", 30.0),
        ("", 1.0),
        ("soon", 1.0),
        ("-4", 1.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:28:00", 1.0),
    ],
)
def test_how_long_a_busy_service_asks_to_wait(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("queue;dur=1.5, compute;dur=6", {"queue": 0.0015, "compute": 0.006}),
        ('cache;desc="Hit; all";dur=2', {"cache": 0.002}),
        ("read;dur=fast, encode", {}),
        ("", {}),
        (";dur=3,,=", {}),
    ],
)
def test_where_the_service_says_its_time_went(text, stages):
    assert stages_of(text) == pytest.approx(stages)
