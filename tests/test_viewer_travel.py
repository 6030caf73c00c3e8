"""Where a person is going, told from where they have been; no clock."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.travel import MOST_AHEAD, Travel

positions = st.tuples(st.integers(0, 30), st.integers(0, 30))


def passed(path, interval=0.016):
    travel = Travel()
    for number, position in enumerate(path):
        turned = travel.go(position, number * interval)
    return travel, turned


def test_a_held_key_goes_on():
    travel, turned = passed([(4, x) for x in range(3, 9)])
    assert travel.ahead(0.03) == [(4, 9), (4, 10), (4, 11)]
    assert not turned


def test_more_is_fetched_ahead_the_longer_an_answer_takes():
    travel, _ = passed([(4, x) for x in range(3, 9)])
    counts = [len(travel.ahead(seconds)) for seconds in (0.001, 0.02, 0.05, 0.08, 5.0, math.inf)]
    assert counts == [2, 3, 5, 6, MOST_AHEAD, 2]


def test_a_faster_hand_needs_more_of_them():
    slow, _ = passed([(4, x) for x in range(3, 9)], interval=0.1)
    quick, _ = passed([(4, x) for x in range(3, 9)], interval=0.01)
    assert len(slow.ahead(0.03)) < len(quick.ahead(0.03))


def test_a_slope_is_a_stair_of_steps():
    travel, turned = passed([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)])
    assert not turned
    assert travel.ahead(0.06)[-1] == (6, 5)


def test_most_of_a_bend_is_foreseen():
    bend = [(round(40 * math.cos(n / 33)), round(40 * math.sin(n / 33))) for n in range(150)]
    travel, foreseen, hits = Travel(), set(), 0
    for number, position in enumerate(bend):
        hits += position in foreseen
        travel.go(position, number * 0.016)
        foreseen.update(travel.ahead(0.03))
    assert hits > 0.9 * len(bend)
    assert len(foreseen) < 3 * len(bend)


def test_between_two_positions_either_may_be_meant_after_what_is_likely():
    travel, _ = passed([(0, 0), (0, 2), (1, 4)])  # goes on at y = 1.33 and 1.83
    assert travel.ahead(0.001) == [(1, 6), (2, 8), (2, 6)]
    assert travel.ahead(0.06) == [(1, 6), (2, 8), (2, 10), (3, 12), (3, 14)]  # too far away to be in doubt


def test_one_step_is_the_first_of_many_and_a_jump_is_not():
    assert passed([(4, 4), (4, 5)])[0].ahead(0.03) == [(4, 6), (4, 7)]
    assert passed([(4, 4), (4, 9)])[0].ahead(0.03) == [(4, 14), (4, 19)]
    assert passed([(4, 4), (4, 24)])[0].ahead(0.03) == []


@pytest.mark.parametrize(
    ("next_", "turned", "then"),
    [((4, 3), True, (4, 2)), ((5, 4), True, (6, 4)), ((3, 5), False, (3, 6)), ((4, 6), False, (4, 7))],
)
def test_a_turn_begins_anew(next_, turned, then):
    travel, found = passed([(4, 1), (4, 2), (4, 3), (4, 4), next_])
    assert found is turned
    assert travel.ahead(0.001)[0] == then


def test_a_pause_begins_anew():
    travel, _ = passed([(4, 1), (4, 3), (4, 5)])
    assert travel.go((4, 6), 10.0)
    assert travel.ahead(0.03) == [(4, 7), (4, 8)]


def test_another_scan_begins_anew():
    travel, _ = passed([(4, 1), (4, 3), (4, 5)])
    assert travel.go((7,), 0.05)
    assert travel.ahead(0.03) == []
    travel.begin((3, 3), 0.06)
    assert travel.ahead(0.03) == []
    travel.go((3, 4), 0.07)
    assert travel.ahead(0.03) == [(3, 5), (3, 6)]


@given(st.lists(positions, min_size=1, max_size=20), st.floats(0, 1), st.floats(1e-4, 1))
def test_what_is_ahead_is_elsewhere_each_once_and_bounded(path, seconds, interval):
    travel, _ = passed(path, interval)
    ahead = travel.ahead(seconds)
    assert path[-1] not in ahead
    assert len(set(ahead)) == len(ahead) <= MOST_AHEAD
