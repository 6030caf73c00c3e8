"""Bodies: equal tags mean equal bytes, and all who ask for the same get the same."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from conftest import encoded, make_root
from hypothesis import example, given
from hypothesis import strategies as st

from tiled_spyde import codecs
from tiled_spyde.bodies import OCTETS, Bodies, Body, encoding_for
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.recipe import Recipe
from tiled_spyde.slices import Selection

SHAPE = (3, 5, 4, 1)
RECIPE = Recipe(make_root(SHAPE))
ARRAY = encoded(SHAPE)

bounds = st.one_of(st.none(), st.integers(-6, 6))
cuts = st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1, -2]))
slices = st.tuples(*(st.one_of(st.integers(-size, size - 1), cuts) for size in SHAPE))


@pytest.fixture(scope="module")
def bodies():
    evaluator = Evaluator(workers=1)
    yield Bodies(evaluator)
    evaluator.close()


@given(one=slices, other=slices)
def test_equal_tags_mean_equal_bytes(one, other):
    tags = [Body.of(RECIPE, Selection.of(wanted, SHAPE), OCTETS).tag for wanted in (one, other)]
    if tags[0] == tags[1]:
        assert ARRAY[one].tobytes() == ARRAY[other].tobytes()


@given(wanted=slices)
@example(wanted=(0, 0, 0, slice(-2, None, -1)))
def test_a_slice_of_a_slice_is_the_same(wanted):
    selection = Selection.of(wanted, SHAPE)
    assert Selection.of(selection, SHAPE) is selection
    np.testing.assert_array_equal(ARRAY[tuple(selection)], ARRAY[wanted])
    assert Body.of(RECIPE, selection, OCTETS).nbytes == ARRAY[wanted].nbytes


@pytest.mark.parametrize("wanted", [(1, 2), (slice(0, 0),), (slice(None, None, -1), 0), (0, 0, 0, 0)])
@pytest.mark.parametrize("media_type", [OCTETS, codecs.MEDIA_TYPE])
def test_a_body_is_the_same_however_it_comes(bodies, wanted, media_type):
    body = Body.of(RECIPE, Selection.of(wanted, SHAPE), media_type)
    read, started = bytes(asyncio.run(bodies.read(body))), bytes(bodies.start(body).result())
    hand = bodies.at_hand(body)
    assert read == started
    assert hand is None or bytes(hand) == read
    raw = codecs.decode(read, (-1,), "u2").tobytes() if media_type != OCTETS and read else read
    assert raw == ARRAY[wanted].tobytes()


def test_a_chunk_at_the_edge_is_padded_and_another_body(bodies):
    part = Selection.of((slice(2, 4), slice(3, 6)), SHAPE)
    plain, whole = Body.of(RECIPE, part), Body.of(RECIPE, part, padded=(2, 3, 4, 1))
    assert plain.tag != whole.tag
    decoded = codecs.decode(bytes(asyncio.run(bodies.read(whole))), (2, 3, 4, 1), "u2")
    np.testing.assert_array_equal(decoded[:1, :2], ARRAY[2:, 3:])
    assert not decoded[1:].any()
    assert not decoded[:, 2:].any()


def test_encodings_are_chosen_as_tiled_does():
    assert encoding_for("gzip, zstd", 10_000) == "zstd"
    assert encoding_for("gzip, zstd, blosc2", 10_000) == "blosc2"
    assert encoding_for("gzip", 999) == ""
    assert encoding_for("br", 10_000) == ""
    assert encoding_for("", 10_000) == ""
