"""What is compared is asked for as a whole, and what is hidden meanwhile only where a person rests."""

import numpy as np
import pytest
from viewer_service import PinnedMap, StandIn, choose, diffraction_scan, encoded, file, opened

TREE = ("scan.hspy", "signal")
SCAN = encoded(5, 7, 6, 9)


@pytest.fixture
def service():
    stand_in = StandIn(PinnedMap({"scan.hspy": file(signal=diffraction_scan())}))
    yield stand_in.start()
    stand_in.stop()


@pytest.fixture
def window(qtbot, service):
    with opened(qtbot, service.url) as window:
        choose(qtbot, window, *TREE, "root")
        yield window


def compare(qtbot, window, *names):
    for name in names:
        window.comparing.mark((*TREE, name))
    window.comparing.start()
    qtbot.waitUntil(lambda: at(window) == {window.session.state.position})
    return [window.comparing.panel.cell(which) for which in range(len(names))]


def at(window):
    """Positions of the frames that are painted."""
    painted = window.comparing.beside.painted.values()
    return {answer.request.position for answer in painted if answer.request.node.kind != "map"}


def test_all_of_a_position_are_asked_for_once_none_of_them_would_wait(qtbot, window, service, monkeypatch):
    one, other = compare(qtbot, window, "root", "halved")
    fetcher, beside = window.session.fetcher, window.comparing.beside
    monkeypatch.setattr("viewer.beside.WAIT_MS", 1e9)
    beside._rest.setInterval(10**8)
    with monkeypatch.context() as held:
        held.setattr(fetcher, "free", lambda view: not view.endswith("B"))
        for position in ((0, 0), (0, 1), (1, 1)):
            window.session.move_to(position)
        assert not any(fetcher.busy(f"beside {letter}") for letter in "AB")
    qtbot.waitUntil(lambda: at(window) == {(1, 1)})  # with the next answer, whatever it is of
    np.testing.assert_array_equal(one.image.picture.raw, SCAN[1, 1])
    np.testing.assert_array_equal(other.image.picture.raw, (SCAN[1, 1] / 2).astype("f4"))
    assert not [url for url in service.traffic.data() if "/halved@0a/c/0/" in url]


def test_who_rests_does_not_wait_for_the_slowest(qtbot, window, monkeypatch):
    compare(qtbot, window, "root", "halved")
    monkeypatch.setattr("viewer.beside.WAIT_MS", 1e9)
    monkeypatch.setattr(window.session.fetcher, "free", lambda _view: False)
    window.session.move_to((4, 6))
    qtbot.waitUntil(lambda: at(window) == {(4, 6)})


def test_what_is_hidden_is_fetched_where_a_person_rests(qtbot, window, service, monkeypatch):
    monkeypatch.setattr("viewer.session.HIDDEN_SECONDS", 1e6)
    compare(qtbot, window, "halved", "centre")
    window.session.move_to((4, 6))
    qtbot.waitUntil(lambda: at(window) == {(4, 6)})
    hidden = "/root@0a/c/4/6/"
    assert not [url for url in service.traffic.data() if hidden in url]
    window.comparing.stop()
    qtbot.waitUntil(lambda: window.signal.painted_at == (4, 6))


def test_the_status_bar_tells_of_the_pictures_that_are_seen(qtbot, window):
    compare(qtbot, window, "root", "halved")
    window.session.move_to((4, 6))
    qtbot.waitUntil(lambda: at(window) == {(4, 6)})
    painted = window.comparing.beside.painted.values()
    assert window.session.meter._latencies[-1] in {answer.latency for answer in painted}
