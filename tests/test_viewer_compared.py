"""Which pictures belong together, what lies between two, and how large they may be: without a window."""

import numpy as np
import pytest

from viewer.compared import Rounds, centred, columns_for, difference, shared_levels


def test_a_set_is_painted_when_all_of_it_has_come():
    rounds = Rounds(2)
    first, second = rounds.begin(), rounds.begin()
    assert rounds.came(0, second, "a2") == {}
    assert rounds.waiting
    assert rounds.came(1, first, "b1") == {}
    assert rounds.came(1, second, "b2") == {0: "a2", 1: "b2"}
    assert not rounds.waiting
    assert rounds.came(0, first, "a1") == {}, "of an older position than what is painted"
    assert not rounds.waiting


def test_what_waits_too_long_is_painted_without_the_others():
    rounds = Rounds(2)
    rounds.came(0, rounds.begin(), "a1")
    number = rounds.begin()
    rounds.came(0, number, "a2")
    assert rounds.due() == {0: "a2"}
    assert rounds.due() == {}
    assert rounds.is_older(1)
    assert rounds.came(1, number, "b2") == {0: "a2", 1: "b2"}
    assert not rounds.is_older(1)


def test_one_that_failed_holds_up_nobody():
    rounds = Rounds(2)
    number = rounds.begin()
    rounds.came(1, number, None)
    assert rounds.came(0, number, "a") == {0: "a", 1: None}


def test_a_difference_of_counts_does_not_wrap_round():
    picture = difference(np.array([[5, 0]], "u2"), np.array([[3, 7]], "u2"))
    np.testing.assert_array_equal(picture.raw, np.array([[-2, 7]], "f4"))
    assert picture.shown.dtype == np.float32
    assert centred((-2.0, 7.0)) == (-7.0, 7.0)
    assert centred((0.0, 0.0)) == (-1.0, 1.0)
    gap = difference(np.array([[np.nan, 1]]), np.array([[1.0, 2]]))
    np.testing.assert_array_equal(gap.shown, np.array([[np.nan, 1]], "f4"))
    assert centred((-6.219, 3.0)) == (-6.3, 6.3)
    assert centred((-1e-3, 4.56e4)) == (-46000.0, 46000.0)


def test_levels_that_hold_all():
    assert shared_levels([(1.0, 5.0), (-2.0, 3.0)]) == (-2.0, 5.0)


@pytest.mark.parametrize(
    ("aspects", "room", "columns"),
    [
        ([1.0, 1.0], (800, 400), 2),
        ([1.0, 1.0], (400, 800), 1),
        ([1.0, 1.0, 1.0], (800, 800), 2),  # a quarter is empty, but all others would be half as large
        ([1.0, 1.0, 1.0], (1000, 760), 3),  # nearly as large, and nothing is empty
        ([2.5, 2.5, 2.5], (800, 760), 1),
        ([0.4, 0.4, 0.4], (800, 760), 3),
        ([1.0] * 4, (800, 760), 2),
        ([1.0] * 7, (0, 0), 1),
        ([], (800, 760), 1),
    ],
)
def test_pictures_are_as_large_as_the_room_lets_them_be(aspects, room, columns):
    assert columns_for(aspects, room, (20, 44)) == columns
