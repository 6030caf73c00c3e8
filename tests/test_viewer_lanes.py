"""What a view's workers choose, and in which order: no threads, no clock but the one given."""

from time import perf_counter

import numpy as np
import pytest

from viewer import lanes
from viewer.addresses import locate
from viewer.cache import Cache
from viewer.errors import Busy, Refused
from viewer.lanes import BUSY_SECONDS, REST_SECONDS, Flight, Job, Lane
from viewer.nodes import Axis, Node
from viewer.pace import Distance
from viewer.view_state import Request, Span
from viewer.wire import Received

AXES = (Axis("x", 100, navigate=True), Axis("k", 4))
NODE = Node(("t", "n"), "0a", AXES, np.dtype("<u2"), (1, 4))
MAP = Node(("t", "map"), "0a", AXES[:1], np.dtype("<u2"), (100,))


def address(x):
    return locate(Request(NODE, (x, Span(0, 4))))[0]


class Bench:
    """A lane without workers: the test takes and answers in their stead."""

    def __init__(self):
        self.cache, self.distance, self.answers = Cache(), Distance(), []
        self.answer = lambda address: Received(np.zeros(address.shape, np.uint16), 8, {})
        self.lane = Lane("frame", self._read, self.cache, self.distance, self.answers.append)
        self.sequence = 0

    def _read(self, address, _call):
        return self.answer(address)

    def ask(self, x, at=0.0, not_before=0.0, alone=False):
        self.sequence += 1
        request = Request(NODE, (x, Span(0, 4)))
        self.lane.ask(Job(self.sequence, request, *locate(request), np.max, at, not_before, alone))

    def grow(self, round_trip=0.02):
        for _ in range(40):
            self.lane.window.record(round_trip)

    def take(self, now=0.0):
        """What a worker would fly with at a time: number and priority."""
        task = self.lane._choose(now)
        return None if task is None else (int(task.address.url.split("/c/")[1][:-2]), task.call.priority)

    def take_all(self, now=0.0):
        return list(iter(lambda: self.take(now), None))

    def land(self, x):
        self.lane._fly(self.lane._flights[address(x)])


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(lanes, "MOST_WORKERS", 0)
    return Bench()


def test_what_is_looked_at_goes_before_what_is_ahead(bench):
    bench.grow()
    bench.lane.ahead([address(60), address(61)])
    bench.ask(1)
    assert bench.take_all() == [(1, "u=1"), (60, "u=5"), (61, "u=5")]


def test_nothing_ahead_begins_while_a_person_waits_for_a_slot(bench):
    bench.grow()
    for x in range(bench.lane.window.size):
        bench.ask(x)
        assert bench.take() == (x, "u=1")
    bench.lane.ahead([address(60)])
    bench.ask(50)
    assert bench.take() is None
    bench.land(0)
    assert bench.take_all() == [(50, "u=1"), (60, "u=5")]


def test_what_is_ahead_takes_no_slot_of_what_is_looked_at(bench):
    bench.grow()
    size = bench.lane.window.size
    bench.lane.ahead([address(60 + n) for n in range(20)])
    assert len(bench.take_all()) == size - 1
    for x in range(size):
        bench.ask(x)
        assert bench.take() == (x, "u=1")


def test_what_is_outdated_is_let_go_once_a_person_rests(bench):
    bench.grow()
    for x in (1, 2):
        bench.ask(x, alone=True)
        assert bench.take() == (x, "u=1"), "a person who goes on sees what lies between"
    bench.ask(3, alone=True)
    outdated = [bench.lane._flights[address(x)].call for x in (1, 2)]
    assert bench.take(REST_SECONDS) == (3, "u=1")
    assert all(call.ended for call in outdated)
    assert list(bench.lane._flights) == [address(3)]


def test_what_outdates_waits_for_no_slot_longer_than_a_rest(bench):
    bench.ask(1, alone=True)
    assert bench.take() == (1, "u=1")
    bench.ask(2, alone=True)
    assert bench.take() is None
    assert bench.lane._patience(0.0) == pytest.approx(REST_SECONDS)
    assert bench.take(REST_SECONDS) == (2, "u=1")


def test_without_a_second_slot_nothing_is_fetched_ahead(bench):
    bench.lane.ahead([address(60)])
    assert bench.take() is None


def test_of_a_slow_node_one_frame_is_fetched_ahead_and_no_more(bench):
    bench.distance.record(0.02)
    bench.grow(0.15)
    bench.lane.ahead([address(60 + n) for n in range(7)])
    assert bench.take_all() == [(60, "u=5")]
    bench.land(60)
    assert bench.take_all() == []


def test_nothing_of_a_slow_node_is_fetched_ahead_while_its_workers_are_wanted(bench):
    bench.distance.record(0.02)
    bench.grow(0.15)
    bench.ask(1)
    bench.lane.ahead([address(60)])
    assert bench.take_all() == [(1, "u=1")]
    bench.land(1)
    assert bench.take_all() == [(60, "u=5")]


def test_of_a_slow_node_frames_are_asked_for_evenly_until_the_person_stops(bench):
    bench.distance.record(0.02)
    bench.grow(0.15)
    spacing = bench.lane.window.spacing(0.02)
    assert 0.15 / 8 <= spacing < REST_SECONDS
    bench.ask(1, at=10.0)
    assert bench.take(now=10.0) == (1, "u=1")
    bench.ask(2, at=10.01)
    assert bench.take(now=10.01) is None
    assert bench.lane._patience(10.01) == pytest.approx(spacing - 0.01)
    bench.ask(3, at=10.02)
    assert bench.take(now=10.0 + spacing) == (3, "u=1")


def test_where_a_person_stops_goes_beyond_the_window_by_one(bench):
    bench.ask(1)
    assert bench.take() == (1, "u=1")
    bench.ask(2, at=1.0)
    assert bench.take(now=1.0) is None
    assert bench.lane._patience(1.0) == pytest.approx(REST_SECONDS)
    assert bench.take(now=1.0 + REST_SECONDS) == (2, "u=1")
    bench.ask(3, at=2.0)
    assert bench.take(now=9.0) is None


def test_what_was_ahead_and_is_looked_at_now_is_not_asked_for_twice(bench):
    bench.grow()
    bench.lane.ahead([address(60)])
    assert bench.take() == (60, "u=5")
    bench.ask(60)
    assert bench.take() is None
    bench.land(60)
    assert [answer.sequence for answer in bench.answers] == [1]


def test_what_is_no_longer_ahead_is_not_begun(bench):
    bench.grow()
    bench.lane.ahead([address(60), address(61)])
    bench.lane.ahead([address(70)])
    assert bench.take_all() == [(70, "u=5")]


@pytest.mark.parametrize(("round_trip", "ended"), [(0.15, True), (0.02, False)])
def test_a_turn_lets_go_what_costs_work_ahead(bench, round_trip, ended):
    bench.distance.record(0.02)
    bench.grow(round_trip)
    bench.lane.ahead([address(60)])
    assert bench.take() == (60, "u=5")
    bench.ask(1)
    assert bench.take() == (1, "u=1")
    ahead, looked_at = bench.lane._flights.values()
    bench.lane.ahead([address(30)], turned=True)
    assert (looked_at.call.ended, ahead.call.ended) == (False, ended)


def test_dropping_ends_all_calls_and_asking_again_begins_others(bench):
    bench.grow()
    bench.ask(1)
    bench.lane.ahead([address(60)])
    bench.take_all()
    flights = list(bench.lane._flights.values())
    bench.lane.drop()
    assert [flight.call.ended for flight in flights] == [True, True]
    bench.ask(1)
    assert bench.take() == (1, "u=1")
    for flight in flights:  # their workers notice late
        bench.lane._fly(flight)
    assert bench.answers == []
    bench.land(1)
    assert len(bench.answers) == 1


def busy(seconds):
    def answer(_address):
        raise Busy("no room", seconds)

    return answer


def test_what_a_service_had_no_room_for_is_asked_again_when_it_says(bench):
    bench.answer = busy(3.0)
    bench.ask(1)
    bench.take()
    bench.land(1)
    assert isinstance(bench.answers[0].error, Busy)
    later = perf_counter() + 3.0
    bench.ask(1, not_before=later)
    assert bench.take(later - 0.01) is None
    assert bench.lane._patience(later - 0.01) == pytest.approx(0.01)
    assert bench.take(later) == (1, "u=1")


def test_another_position_does_not_wait_for_as_long_and_goes_alone(bench):
    bench.grow()
    bench.answer = busy(30.0)
    bench.ask(1)
    bench.take()
    bench.land(1)
    now = perf_counter()
    bench.ask(2, at=now)
    assert bench.take(now - BUSY_SECONDS) is None
    assert bench.lane._patience(now) <= BUSY_SECONDS
    assert bench.take(now + BUSY_SECONDS) == (2, "u=1")
    assert bench.lane.window.size == 1


def test_nothing_is_fetched_ahead_until_a_busy_service_has_room(bench):
    bench.grow()
    bench.answer = busy(3.0)
    bench.lane.ahead([address(60)])
    bench.take()
    bench.land(60)
    now = perf_counter()
    bench.grow()
    bench.lane.ahead([address(61)])
    assert bench.take(now) is None
    assert bench.lane._patience(now) == pytest.approx(3.0, abs=2.9)
    bench.ask(1, at=now)  # nobody has said that there is no room for what is looked at
    assert bench.take(now) == (1, "u=1")
    assert bench.take(now + 3.0) == (61, "u=5")


def test_another_node_is_not_what_the_service_was_busy_with(bench):
    bench.answer = busy(3.0)
    bench.ask(1)
    bench.take()
    bench.land(1)
    bench.lane.drop()
    bench.ask(4)
    assert bench.take(0.0) == (4, "u=1")


def test_an_answer_that_failed_does_not_set_the_pace(bench):
    def refused(_address):
        raise Refused("no")

    bench.answer = refused
    bench.ask(1)
    bench.take()
    bench.land(1)
    assert not np.isfinite(bench.distance.seconds)
    assert not np.isfinite(bench.lane.window.round_trip)


def test_a_map_says_that_it_is_not_the_most_urgent(bench):
    request = Request(MAP, (Span(0, 100),))
    bench.lane.ask(Job(1, request, *locate(request), np.max))
    flight = bench.lane._choose(0.0)
    assert isinstance(flight, Flight)
    assert flight.call.priority == "u=3"
