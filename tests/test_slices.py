"""Positions of a scan: their numbers, and the few regular grids that hold them."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiled_spyde.slices import blocks, cells, grids, index_of, numbers_of, place_in, strides_of

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


@st.composite
def scans_with_some_positions(draw):
    shape = draw(SHAPES)
    return shape, draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))


@given(scans_with_some_positions())
def test_grids_hold_exactly_the_positions(scan):
    shape, wanted = scan
    positions = np.argwhere(np.reshape(wanted, shape))
    found = [index for grid in grids(positions) for index in product(*grid)]
    assert sorted(found) == [tuple(index) for index in positions.tolist()]


def test_regular_positions_are_one_grid():
    every_third = np.zeros((9, 20), bool)
    every_third[1::3, 2::4] = True
    assert grids(np.argwhere(every_third)) == [(range(1, 8, 3), range(2, 19, 4))]


def test_what_refining_a_map_leaves_are_two_grids():
    """A person saw every fourth position in both directions and asks for every second."""
    missing = np.zeros((16, 16), bool)
    missing[::2, ::2] = True
    missing[::4, ::4] = False
    assert sorted(grids(np.argwhere(missing)), key=str) == [
        (range(0, 13, 4), range(2, 15, 4)),
        (range(2, 15, 4), range(0, 15, 2)),
    ]


@given(SHAPES, st.integers(1, 50))
def test_blocks_follow_each_other_and_are_small(shape, most):
    grid = tuple(range(1, 1 + 2 * size, 2) for size in shape)
    parts = list(blocks(grid, most))
    assert all(np.prod([len(taken) for taken in part]) <= most for part in parts)
    assert [index for part in parts for index in product(*part)] == list(product(*grid))


@given(SHAPES, st.data())
def test_numbers_count_in_array_order(shape, data):
    index = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    number = np.ravel_multi_index(index, shape)
    assert np.dot(index, strides_of(shape)) == number
    assert index_of(int(number), shape) == index
    taken = tuple(range(i, size) for i, size in zip(index, shape, strict=True))
    assert numbers_of(taken, shape).tolist() == [np.ravel_multi_index(at, shape) for at in product(*taken)]


@pytest.mark.parametrize("together", [(1, 1), (4, 4), (5, 3), (40, 1), (1, 40)])
@pytest.mark.parametrize(
    "grid", [(range(12), range(40)), (range(3, 12, 2), range(5, 40, 7)), (range(1), range(9))]
)
@pytest.mark.parametrize("most", [1, 16, 100, 10_000])
def test_cells_take_all_positions_once_and_share_nothing_that_is_stored_together(together, grid, most):
    found = list(cells(grid, together, most))
    whole = np.zeros(tuple(map(len, grid)), int)
    for cell in found:
        whole[place_in(grid, cell)] += 1
        assert all(
            taken[where] == part for taken, where, part in zip(grid, place_in(grid, cell), cell, strict=True)
        )
    assert (whole == 1).all()
    stored = [{(y // together[0], x // together[1]) for y, x in product(*cell)} for cell in found]
    assert sum(map(len, stored)) == len(set().union(*stored))
    several = [math.prod(map(len, cell)) for cell, of in zip(found, stored, strict=True) if len(of) > 1]
    assert max(several, default=0) <= most
