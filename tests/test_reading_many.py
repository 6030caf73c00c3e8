"""Many positions of what stands in a file: read at once where the reader can, a few MB at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ArrayReader, make_root, slices
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate import evaluator

from tiled_spyde import evaluate
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.signals import RegionReader, read_positions

FRAMES = {0: (), 1: (7,), 2: (6, 5)}


class RegionArrayReader(ArrayReader):
    """Reads many frames at once too; counts how many, and refuses what its contract forbids."""

    def __init__(self, array, signal_axes):
        super().__init__(array, signal_axes)
        self.together = []

    def read_region(self, positions, region=()):
        assert len(positions) == self.axes
        assert len(region) in (0, self.array.ndim - self.axes)
        for cut, size in zip((*positions, *region), self.array.shape, strict=False):
            assert 0 <= cut.start < cut.stop <= size
            assert cut.step > 0
        part = self.array[(*positions, *region)].copy()
        self.together.append(part.shape[: self.axes])
        return part


def make(shape, signal_axes=2, dtype=np.uint16):
    root = make_root(shape, signal_axes, dtype)
    return replace(root, reader=RegionArrayReader(root.reader.array, signal_axes), sampled="f" * 32)


def test_a_stored_map_is_one_read():
    root = make((64, 48), 0)
    np.testing.assert_array_equal(evaluator().read(Recipe(root)), root.reader.array)
    assert root.reader.together == [(64, 48)]
    assert root.reader.reads == []


def test_one_frame_is_read_alone():
    root = make((4, 5, 6, 7))
    evaluator().read(Recipe(root), (1, 2))
    assert (root.reader.reads, root.reader.together) == ([(1, 2)], [])


def test_never_more_than_a_few_megabytes_at_once(monkeypatch):
    monkeypatch.setattr(evaluate, "_TOGETHER_BYTES", 1000)
    root = make((9, 11, 6, 7))
    np.testing.assert_array_equal(evaluator().read(Recipe(root)), root.reader.array)
    assert len(root.reader.together) > 9 * 11 * 6 * 7 * 2 / 1000
    assert max(np.prod(part) for part in root.reader.together) * 6 * 7 * 2 <= 1000


def test_a_frame_larger_than_that_is_read_whole(monkeypatch):
    monkeypatch.setattr(evaluate, "_TOGETHER_BYTES", 50)
    root = make((2, 3, 6, 7))
    np.testing.assert_array_equal(evaluator().read(Recipe(root)), root.reader.array)
    assert root.reader.together == [(1, 1)] * 6


def test_tiny_frames_are_bounded_by_their_number(monkeypatch):
    monkeypatch.setattr(evaluate, "_TOGETHER", 10)
    root = make((12, 12), 0)
    np.testing.assert_array_equal(evaluator().read(Recipe(root)), root.reader.array)
    assert max(np.prod(part) for part in root.reader.together) <= 10


def test_a_chain_reads_the_frames_below_it_together():
    root = make((8, 9, 7), 1)
    recipe = Recipe(root).then(build("gaussian_filter", {"sigma": 0.7})).then(build("sum", {}))
    whole = evaluator().read(recipe)
    assert root.reader.reads == []
    assert sum(np.prod(part) for part in root.reader.together) == 72
    one_by_one = Recipe(make_root((8, 9, 7), 1)).then(build("gaussian_filter", {"sigma": 0.7}))
    np.testing.assert_array_equal(whole, evaluator().read(one_by_one.then(build("sum", {}))))


def test_refining_a_map_reads_the_rest_in_a_few_parts():
    root = make((32, 32, 7), 1)
    recipe, ours = Recipe(root).then(build("sum", {})), evaluator()
    ours.read(recipe, (slice(None, None, 8), slice(None, None, 8)))
    ours.read(recipe, (slice(None, None, 4), slice(None, None, 4)))
    assert sorted(root.reader.together) == [(4, 4), (4, 4), (4, 8)]
    np.testing.assert_array_equal(ours.read(recipe), root.reader.array.sum(-1, dtype="u8"))
    assert sum(np.prod(part) for part in root.reader.together) == 1024


def test_a_calibrated_stack_is_one_read_and_with_flyback_one_for_each_row():
    root = make((8 * 12, 6, 5))
    scan = Recipe(root).then(build("calibrate", {"navigation_shape": [8, 12]}))
    expected = root.reader.array.reshape(8, 12, 6, 5)
    np.testing.assert_array_equal(evaluator().read(scan), expected)
    assert root.reader.together == [(96,)]
    skipping = Recipe(root).then(build("calibrate", {"navigation_shape": [8, 10], "flyback": 2}))
    np.testing.assert_array_equal(evaluator().read(skipping, (..., slice(1, 4), 2)), expected[:, :10, 1:4, 2])
    assert root.reader.together[1:] == [(10,)] * 8


def test_large_maps_are_not_refused_for_reads_that_are_not_made():
    root = make((2000, 2000), 0, np.uint8)
    assert evaluator(max_seconds=0.5).read(Recipe(root)).shape == (2000, 2000)
    with pytest.raises(evaluate.TooLarge):
        evaluator(max_seconds=0.5).read(Recipe(make_root((2000, 2000), 0, np.uint8)))


def test_readers_are_told_apart():
    assert isinstance(make((2, 3)).reader, RegionReader)
    assert not isinstance(make_root((2, 3)).reader, RegionReader)


@given(
    st.lists(slices(), max_size=4),
    st.sampled_from(list(FRAMES)),
    st.sampled_from([1, 60, 8 << 20]),
    st.booleans(),
    st.sampled_from([(), (3, 2), (1, 5), (40, 40)]),
)
def test_any_slice_is_numpys(parts, signal_axes, together, at_once, stored):
    make_one = make if at_once else make_root
    root = make_one((4, 5, *FRAMES[signal_axes]), signal_axes)
    object.__setattr__(root, "together", stored)
    scan = Recipe(root).then(
        build("calibrate", {"navigation_shape": [2, 9], "first_frame": 1, "leave_rest": True})
    )
    expected = root.reader.array.reshape(20, *FRAMES[signal_axes])[1:19].reshape(2, 9, *FRAMES[signal_axes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_TOGETHER_BYTES", together)
        for recipe, whole in ((Recipe(root), root.reader.array), (scan, expected)):
            wanted = tuple(parts[: whole.ndim])
            try:
                part = whole[wanted]
            except IndexError:
                continue
            np.testing.assert_array_equal(evaluator().read(recipe, wanted), part)


@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 4), st.integers(1, 4))
def test_both_ways_to_read_are_the_same(row, row_step, column, column_step):
    root = make((4, 5, 6, 7))
    cuts = (slice(row, 4, row_step), slice(column, 5, column_step))
    region = (slice(1, 5, 2), slice(0, 7, 3))
    at_once = read_positions(root.reader, root.info, cuts, region)
    one_by_one = read_positions(make_root((4, 5, 6, 7)).reader, root.info, cuts, region)
    np.testing.assert_array_equal(at_once, root.reader.array[(*cuts, *region)])
    np.testing.assert_array_equal(one_by_one, at_once)
