"""Fetching without waiting: the newest wins, the window adapts, the cache is bounded."""

import threading
from collections import defaultdict

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore

from viewer.addresses import locate
from viewer.errors import Refused, Unreachable
from viewer.fetch import Fetcher
from viewer.nodes import Axis, Node
from viewer.view_state import Request, Span
from viewer.wire import Received

AXES = (Axis("x", 100, navigate=True), Axis("k", 4))
NODE = Node(("t", "n"), "0a", AXES, np.dtype("<u2"), (1, 4))


def frame(x):
    return Request(NODE, (x, Span(0, 4)))


class Reader:
    """Stands for the service: counts, and holds back what a test holds back."""

    def __init__(self):
        self.read_at = defaultdict(int)
        self.order = []
        self.held = defaultdict(threading.Event)
        self.hold = set()
        self.fail = {}
        self.cut = []
        self.deaf = False
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, address, call):
        x = int(address.url.split("/c/")[1].split("/")[0])
        with self._lock:
            self.read_at[x] += 1
            self.order.append(x)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if x in self.hold:
                self._wait(x, call)
            if x in self.fail:
                raise self.fail[x]
            return Received(np.full((1, 4), x, np.uint16), 8, {"read": 0.001})
        finally:
            with self._lock:
                self.now -= 1

    def _wait(self, x, call):
        """Until the test lets go of it, or the call is ended."""
        while not self.held[x].wait(0.005):
            if call.ended and not self.deaf:
                self.cut.append(x)
                raise Unreachable("the connection was closed")


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def fetcher(qtbot, reader):
    fetcher = Fetcher(reader)
    fetcher.came = []
    fetcher.answered.connect(fetcher.came.append)
    yield fetcher
    for x in list(reader.hold):
        reader.held[x].set()
    fetcher.close()
    assert not workers()


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("viewer-")]


def open_window(qtbot, fetcher):
    """Let the window grow: several requests may be on the way afterwards."""
    fetcher.ask("frame", frame(99), top)
    qtbot.waitUntil(lambda: len(fetcher.came) == 1)
    fetcher.window("frame").restart()
    for _ in range(20):
        fetcher.window("frame").record(0.01)
    fetcher.window("frame").restart()
    fetcher.came.clear()


def values(fetcher):
    return [int(answer.value) for answer in fetcher.came if answer.error is None]


def top(array):
    return array.max()


def test_one_answer_with_its_cost(qtbot, fetcher):
    sequence = fetcher.ask("frame", frame(7), top)
    assert fetcher.busy("frame")
    qtbot.waitUntil(lambda: len(fetcher.came) == 1)
    (answer,) = fetcher.came
    assert (answer.view, answer.sequence, answer.value, answer.bytes) == ("frame", sequence, 7, 8)
    assert 0 <= answer.round_trip <= answer.latency
    assert not fetcher.busy("frame")


def test_the_newest_wins_while_the_service_is_slow(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    reader.hold |= set(range(50))
    for x in range(50):
        fetcher.ask("frame", frame(x), top)
    qtbot.waitUntil(lambda: len(reader.order) >= 2)
    for x in range(50):
        reader.held[x].set()
    qtbot.waitUntil(lambda: values(fetcher)[-1:] == [49])
    assert len(reader.order) <= 10, "what nobody waits for any more was fetched"
    assert reader.most <= 8


def test_an_older_answer_that_comes_later_is_discarded(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    reader.hold.add(1)
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.order[-1:] == [1])
    fetcher.ask("frame", frame(2), top)
    qtbot.waitUntil(lambda: values(fetcher) == [2])
    reader.held[1].set()
    qtbot.waitUntil(lambda: locate(frame(1))[0] in fetcher.cache)
    fetcher.ask("frame", frame(3), top)
    qtbot.waitUntil(lambda: values(fetcher)[-1] == 3)
    assert values(fetcher) == [2, 3]


def test_answers_on_the_way_are_shown_while_scrubbing(qtbot, fetcher, reader):
    """Never cancel while scrubbing: frames that arrive in order are all worth seeing."""
    for x in range(5):
        fetcher.ask("frame", frame(x), top)
        qtbot.waitUntil(lambda x=x: values(fetcher)[-1:] == [x])
    assert values(fetcher) == [0, 1, 2, 3, 4]


def test_what_is_dropped_is_cancelled_and_not_told(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    reader.hold.add(1)
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.order[-1:] == [1])
    fetcher.drop("frame")
    assert not fetcher.busy("frame")
    qtbot.waitUntil(lambda: reader.cut == [1])
    fetcher.ask("frame", frame(2), top)
    qtbot.waitUntil(lambda: values(fetcher) == [2])
    assert [answer.error for answer in fetcher.came] == [None]


def test_what_was_cancelled_can_be_asked_for_again(qtbot, fetcher, reader):
    """Also while the worker has not noticed yet: toggling there and back must not lose the frame."""
    reader.deaf = True
    reader.hold.add(1)
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.read_at[1] == 1)
    fetcher.drop("frame")
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.read_at[1] == 2)
    reader.held[1].set()
    qtbot.waitUntil(lambda: values(fetcher) == [1])


def test_nothing_is_cancelled_while_scrubbing(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    reader.hold |= {1, 2, 3}
    for x in (1, 2, 3):
        fetcher.ask("frame", frame(x), top)
        qtbot.waitUntil(lambda x=x: reader.order[-1:] == [x])
    for x in (1, 2, 3):
        reader.held[x].set()
        qtbot.waitUntil(lambda x=x: locate(frame(x))[0] in fetcher.cache)
    assert reader.cut == []


def test_where_a_person_stops_does_not_wait_for_a_slot(qtbot, fetcher, reader):
    reader.hold |= {1, 2}
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.order == [1])
    assert fetcher.window("frame").size == 1
    fetcher.ask("frame", frame(2), top)
    qtbot.waitUntil(lambda: reader.order == [1, 2])
    reader.held[2].set()
    qtbot.waitUntil(lambda: values(fetcher) == [2])
    reader.held[1].set()


def test_abandoned_requests_do_not_keep_the_next_node_waiting(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    reader.hold |= set(range(8))
    for round_ in range(4):
        for x in (2 * round_, 2 * round_ + 1):
            fetcher.ask("frame", frame(x), top)
            qtbot.waitUntil(lambda x=x: x in reader.order)
        fetcher.drop("frame")
    fetcher.ask("frame", frame(50), top)
    qtbot.waitUntil(lambda: values(fetcher) == [50])


def test_a_frame_does_not_wait_for_the_navigator(qtbot, fetcher, reader):
    reader.hold |= {90, 91, 92}
    for x in (90, 91, 92):
        fetcher.ask("navigator", frame(x), top)
    for x in range(10):
        fetcher.ask("frame", frame(x), top)
        qtbot.waitUntil(lambda x=x: values(fetcher)[-1:] == [x])


def test_what_is_cached_does_not_wait_for_the_window(qtbot, fetcher, reader):
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: values(fetcher) == [1])
    reader.hold |= set(range(10, 30))
    for x in range(10, 30):
        fetcher.ask("frame", frame(x), top)
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: values(fetcher) == [1, 1])
    assert fetcher.came[-1].bytes == 0


def test_the_same_slice_is_fetched_once(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    fetcher.window("frame").record(0.01)
    reader.hold.add(5)
    fetcher.ahead("frame", [frame(5)])
    qtbot.waitUntil(lambda: reader.order[-1:] == [5])
    fetcher.ask("frame", frame(5), top)
    reader.held[5].set()
    qtbot.waitUntil(lambda: values(fetcher) == [5])
    assert reader.read_at[5] == 1


def test_a_view_is_free_until_its_next_request_would_wait(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    fetcher.window("frame").begin_anew()
    assert fetcher.free("frame")
    reader.hold.add(5)
    fetcher.ask("frame", frame(5), top)
    assert not fetcher.free("frame")
    assert fetcher.free("beside A")
    reader.held[5].set()
    qtbot.waitUntil(lambda: values(fetcher)[-1:] == [5])
    assert fetcher.free("frame")


def test_nothing_is_fetched_ahead_while_other_views_wait_for_much(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    fetcher.window("frame").record(0.01)
    reader.hold |= {1, 2, 3, 4}
    for x in range(1, 5):
        fetcher.ask(f"beside {x}", frame(x), top)
    qtbot.waitUntil(lambda: {1, 2, 3, 4} <= set(reader.order))
    fetcher.ahead("frame", [frame(50)])
    for x in range(1, 5):
        reader.held[x].set()
    qtbot.waitUntil(lambda: sorted(values(fetcher)) == [1, 2, 3, 4])
    assert 50 not in reader.read_at
    fetcher.ahead("frame", [frame(51)])
    qtbot.waitUntil(lambda: reader.read_at[51] == 1)


def test_an_error_of_the_newest_is_told_and_an_old_one_is_not(qtbot, fetcher, reader):
    open_window(qtbot, fetcher)
    reader.hold |= {1}
    reader.fail = {1: Refused("cut off at 1"), 2: Refused("cut off at 2")}
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.order[-1:] == [1])
    fetcher.ask("frame", frame(2), top)
    reader.held[1].set()
    qtbot.waitUntil(lambda: len(fetcher.came) == 1)
    qtbot.waitUntil(lambda: reader.now == 0)
    assert str(fetcher.came[0].error) == "cut off at 2"


def test_a_lost_connection_is_told_even_when_something_newer_was_asked(qtbot, fetcher, reader):
    reader.hold |= {1, 2}
    reader.fail = {1: Unreachable("gone away")}
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.order[-1:] == [1])
    fetcher.ask("frame", frame(2), top)
    reader.held[1].set()
    qtbot.waitUntil(lambda: len(fetcher.came) == 1)
    assert isinstance(fetcher.came[0].error, Unreachable)


@pytest.mark.parametrize("fault", [ZeroDivisionError("oops"), MemoryError()])
def test_a_fault_of_ours_does_not_leave_the_view_waiting(qtbot, fetcher, reader, fault):
    reader.fail = {1: fault}
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: len(fetcher.came) == 1)
    assert "cannot be read" in str(fetcher.came[0].error)

    def broken(array):
        raise fault

    fetcher.ask("frame", frame(2), broken)
    qtbot.waitUntil(lambda: len(fetcher.came) == 2)
    assert "cannot be drawn" in str(fetcher.came[1].error)
    fetcher.call("list", lambda: broken(None))
    qtbot.waitUntil(lambda: len(fetcher.came) == 3)
    fetcher.call("list", lambda: "still there")
    qtbot.waitUntil(lambda: len(fetcher.came) == 4)
    assert fetcher.came[3].value == "still there"


def test_the_gui_thread_ticks_while_an_answer_takes_its_time(qtbot, fetcher, reader):
    reader.hold.add(1)
    """Were the thread held up, then until the answer comes, which is after the ticks."""
    ticks = []
    timer = QtCore.QTimer(interval=10)
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start()
    fetcher.ask("frame", frame(1), top)
    fetcher.call("list", lambda: reader.held[1].wait(100))
    qtbot.waitUntil(lambda: len(ticks) > 40)
    timer.stop()
    assert fetcher.came == []
    reader.held[1].set()


def test_closing_does_not_wait_for_a_hung_service(qtbot):
    reader = Reader()
    reader.hold.add(1)
    reader.deaf = True
    fetcher = Fetcher(reader)
    fetcher.ask("frame", frame(1), top)
    qtbot.waitUntil(lambda: reader.order[-1:] == [1])
    fetcher.close()
    assert reader.now == 1
    reader.held[1].set()
    qtbot.waitUntil(lambda: not workers())


def test_after_closing_nothing_is_begun(qtbot, reader):
    fetcher = Fetcher(reader)
    fetcher.close()
    fetcher.ask("frame", frame(1), top)
    fetcher.ahead("navigator", [frame(2)])
    assert not workers()
    assert reader.order == []
