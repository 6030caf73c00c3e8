"""How many requests may be on the way, told from how long answers take; no threads, no clock."""

import math

import numpy as np
import pytest

from viewer.pace import AdaptiveWindow, Distance


def test_the_window_grows_while_that_costs_no_latency():
    window = AdaptiveWindow(most=8)
    for _ in range(60):
        window.record(0.020)
    assert window.size == 8


def test_the_window_shrinks_on_a_service_that_computes_one_at_a_time():
    """Each further request in flight waits for all before it."""
    window = AdaptiveWindow(most=8)
    for _ in range(60):
        window.record(0.040 * window.size)
    sizes = []
    for _ in range(60):
        window.record(0.040 * window.size)
        sizes.append(window.size)
    assert np.mean(sizes) < 2
    assert min(sizes) >= 1


def test_another_node_may_cost_something_else():
    window = AdaptiveWindow()
    for _ in range(20):
        window.record(0.001)
    window.restart()
    grown = window.size
    for _ in range(20):
        window.record(0.5)
    assert window.size >= grown


def test_a_few_milliseconds_more_are_not_taken_for_a_queue():
    window = AdaptiveWindow(most=8)
    for number in range(60):
        window.record(0.004 + 0.006 * (number % 2))
    assert window.size == 8


def test_on_a_slow_node_a_share_of_its_time_is_too_late():
    """Four workers of 150 ms: a fifth and sixth request wait, and so would the frame a person stops at."""
    window = AdaptiveWindow(most=8)
    for _ in range(200):
        window.record(0.150 * max(1.0, window.size / 4))
    sizes = []
    for _ in range(200):
        window.record(0.150 * max(1.0, window.size / 4))
        sizes.append(window.size)
    assert 4 <= np.mean(sizes) <= 5.5


def test_a_service_that_became_slower_is_not_taken_for_a_queue_for_long():
    window = AdaptiveWindow(most=8)
    for seconds in (0.020, 0.080):
        for _ in range(60):
            window.record(seconds)
    assert window.size == 8


@pytest.mark.parametrize(
    ("distance", "round_trip", "answers", "most"),
    [
        (0.02, 0.03, 60, 7),
        (0.10, 0.12, 60, 7),  # far, not slow
        (0.02, 0.15, 60, 1),
        (0.02, 0.03, 1, 0),
        (0.02, 0.15, 1, 0),
        (math.inf, 0.15, 60, 7),  # nothing says that it is not only far
    ],
)
def test_what_is_fetched_ahead_leaves_room_for_what_is_looked_at(distance, round_trip, answers, most):
    window = AdaptiveWindow(most=8)
    assert window.ahead(distance) == 0
    for _ in range(answers):
        window.record(round_trip)
    assert window.ahead(distance) == most
    window.restart()
    assert window.ahead(distance) == 0


def test_the_distance_is_that_of_the_quickest_answer():
    distance = Distance()
    for seconds in (0.3, 0.02, 0.15):
        distance.record(seconds)
    assert distance.seconds == 0.02
