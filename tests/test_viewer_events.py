"""Following a tree: what the service tells is seen at once, and what it does not tell is looked for."""

import numpy as np
import pytest
from changing_service import Changes
from hypothesis import given
from hypothesis import strategies as st
from test_viewer_one_key import OFFSET, parts
from viewer_service import PACE, PinnedMap, StandIn, choose, diffraction_scan, encoded, file, opened, shown

from viewer.errors import Garbled
from viewer.events import MOST_BYTES, Event, Follower, events_in

SCAN = encoded(5, 7, 6, 9)
ROOT = ("scan.hspy", "signal", "root")
AT = "scan.hspy/signal"
# So seldom does the window look by itself that what it sees it was told.
TOLD = {**PACE, "pulse_ms": 600_000}


def serving(telling):
    changes = Changes(PinnedMap({"scan.hspy": file(signal=diffraction_scan())}), telling)
    stand_in = StandIn(changes.top, routes=changes.router).start()
    stand_in.changes = changes
    return stand_in


@pytest.fixture
def service():
    stand_in = serving(telling=True)
    yield stand_in
    stand_in.changes.tell("", None)
    stand_in.stop()


@pytest.fixture
def window(qtbot, service):
    with opened(qtbot, service.url, **TOLD) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(lambda: window.follower.live)
        yield window


def idle(library):
    return not library._opening and not library._urgent and not library._visible


def replaced(changes, number):
    """All nodes of the tree get other counts, under another key."""
    top = changes.top._mapping["scan.hspy"]._mapping
    top["signal"] = diffraction_scan(key=f"0{number}", offset=OFFSET * (number % 2))
    changes.tell("node", {"what": "changed", "name": "root"})


def test_a_node_that_others_make_or_delete_is_listed_at_once(qtbot, window, service):
    service.changes.put(AT, "new", service.changes.tree(AT)._mapping["halved"])
    qtbot.waitUntil(lambda: (*ROOT[:2], "new") in window.tree.items)
    service.changes.put(AT, "new", None)
    qtbot.waitUntil(lambda: (*ROOT[:2], "new") not in window.tree.items)


def test_list_and_picture_change_in_one_step(qtbot, window, service):
    seen = []
    for said in (window.session.chosen, window.session.framed, window.session.navigated):
        said.connect(lambda *_: seen.append(parts(window)))
    for number in (1, 2, 3):
        replaced(service.changes, number)
        qtbot.waitUntil(lambda key=f"0{number}": window.session.state.node.key == key and shown(window))
        qtbot.waitUntil(lambda number=number: parts(window) == {number % 2})
    assert {frozenset(found) for found in seen} <= {frozenset(), frozenset({0}), frozenset({1})}
    assert {0} in seen
    assert {1} in seen


def test_a_node_that_others_rename_stays_on_the_screen(qtbot, window, service):
    choose(qtbot, window, *ROOT[:2], "halved")
    nodes = service.changes.tree(AT)._mapping
    nodes["half"] = nodes.pop("halved")
    service.changes.tell("node", {"what": "changed", "name": "half"})
    qtbot.waitUntil(lambda: window.session.state.node.name == "half" and shown(window))
    assert window.banner.text.text() == "'halved' is called 'half' now."
    np.testing.assert_array_equal(window.signal.picture.raw, (SCAN[2, 3] / 2).astype("f4"))


def test_nothing_is_looked_for_where_it_is_told(qtbot, service):
    with opened(qtbot, service.url, **PACE) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(lambda: window.follower.live and bool(service.changes.followers))
        library, requests = window.session.library, service.traffic.requests
        qtbot.waitUntil(lambda: idle(library))
        before = sum(f"/search/{AT}" in url for url in requests)
        pulses = len(requests)
        qtbot.waitUntil(lambda: sum("/metadata/?" in url for url in requests[pulses:]) > 20)
        assert sum(f"/search/{AT}" in url for url in requests) == before


def test_where_nothing_is_told_it_is_looked_for(qtbot):
    service = serving(telling=False)
    with opened(qtbot, service.url, **PACE) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(lambda: service.changes.followed == [AT])
        service.changes.put(AT, "new", service.changes.tree(AT)._mapping["halved"])
        qtbot.waitUntil(lambda: (*ROOT[:2], "new") in window.tree.items)
        assert not window.follower.live
        assert service.changes.followed == [AT], "it is asked once"
    service.stop()


def test_a_lost_stream_is_followed_again_and_nothing_between_is_missed(qtbot, service):
    with opened(qtbot, service.url, **TOLD) as window:
        window.follower.close()
        window.follower = Follower(window.session, first_pause=0.05)
        choose(qtbot, window, *ROOT)
        window.follower._follow(window.session.state)
        qtbot.waitUntil(lambda: window.follower.live and idle(window.session.library))
        asked = len(service.changes.followed)
        service.changes.tell("", None)
        qtbot.waitUntil(lambda: not window.follower.live)
        nodes = service.changes.tree(AT)._mapping
        nodes["new"] = nodes["halved"]
        qtbot.waitUntil(lambda: (*ROOT[:2], "new") in window.tree.items)
        assert len(service.changes.followed) > asked


def test_a_stream_ends_with_its_window_or_when_another_tree_is_shown(qtbot):
    top = PinnedMap({name: file(signal=diffraction_scan()) for name in ("scan.hspy", "other.hspy")})
    changes = Changes(top)
    service = StandIn(top, routes=changes.router).start()
    with opened(qtbot, service.url, **TOLD) as window:
        choose(qtbot, window, *ROOT)
        qtbot.waitUntil(lambda: len(changes.followers) == 1)
        choose(qtbot, window, "other.hspy", "signal", "root")
        qtbot.waitUntil(lambda: changes.followed[-1] == "other.hspy/signal" and len(changes.followers) == 1)
    qtbot.waitUntil(lambda: not changes.followers)
    service.stop()


def test_events_are_read_as_they_are_written():
    lines = [
        "event: tree",
        'data: {"change": 3}',
        "",
        ": alive",
        "event: node",
        "data: {",
        'data:"a": 1}',
        "",
    ]
    assert list(events_in(lines)) == [Event("tree", {"change": 3}), Event("node", {"a": 1})]
    assert list(events_in(["data: [1]", "", "data: {", "", "id: 4", "data: {}"])) == []
    with pytest.raises(Garbled):
        list(events_in(["data: " + "x" * MOST_BYTES, ""]))


@given(st.lists(st.text(max_size=30) | st.sampled_from(["", "data: {}", "event: node", ":", "data: {"])))
def test_whatever_is_told_is_no_exception(lines):
    for event in events_in(lines):
        assert isinstance(event.data, dict)
