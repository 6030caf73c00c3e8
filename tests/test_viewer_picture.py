"""Arrays made ready for painting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.contrast import Contrast, Contrasts
from viewer.nodes import Axis, Node
from viewer.picture import Scale, Stretch, filled, prepare
from viewer.view_state import Request, Span, map_request

DTYPES = ["b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", list(Scale))
def test_every_dtype_becomes_one_that_paints_quickly(dtype, scale):
    array = np.arange(60).reshape(6, 10).astype(dtype)
    picture = prepare(array, scale)
    assert picture.shown.dtype in (np.uint8, np.uint16, np.float32)
    assert picture.shown.flags.c_contiguous
    assert np.isfinite(picture.shown).all()
    assert picture.counts.sum() > 0
    assert picture.automatic[1] > picture.automatic[0]


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_linear_pictures_are_the_data(dtype):
    array = np.arange(60, dtype=dtype).reshape(6, 10)
    picture = prepare(array)
    assert picture.shown.dtype == array.dtype
    np.testing.assert_array_equal(picture.shown, array)


def test_nan_and_infinity_are_painted_as_the_nearest_finite_value():
    array = np.array([[np.nan, 1.0], [3.0, np.inf], [-np.inf, 2.0]])
    picture = prepare(array)
    np.testing.assert_array_equal(picture.shown, [[1, 1], [3, 3], [1, 2]])
    assert np.isnan(picture.raw[0, 0])
    assert picture.limits == (1.0, 3.0)


@pytest.mark.parametrize("array", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.full((1, 1), 7, "u2")])
def test_pictures_without_contrast_still_have_levels(array):
    picture = prepare(array)
    assert picture.automatic[1] > picture.automatic[0]
    assert np.isfinite(picture.shown).all()


def test_automatic_levels_are_1_and_99_percent():
    array = np.random.default_rng(3).normal(size=(150, 200))
    np.testing.assert_allclose(prepare(array).automatic, np.percentile(array, (1, 99)))


def test_percentiles_of_a_large_image_see_every_column():
    array = np.zeros((1024, 1024), np.uint16)
    array[:, 1::2] = 100
    assert prepare(array).automatic == (0.0, 100.0)


@given(
    st.sampled_from(list(Scale)),
    st.floats(0.01, 1e4),
    st.floats(-1e6, 1e6),
)
def test_a_stretch_can_be_undone(scale, threshold, value):
    stretch = Stretch(scale, threshold)
    assert stretch.inverse(stretch.forward(value)) == pytest.approx(value, rel=1e-3, abs=threshold * 1e-3)


@given(
    st.sampled_from(list(Scale)),
    st.floats(0.01, 1e4),
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20),
)
def test_a_stretch_keeps_the_order(scale, threshold, values):
    stretched = Stretch(scale, threshold)(np.sort(np.array(values)))
    assert (np.diff(stretched) >= 0).all()


def test_the_logarithm_begins_at_one_count_and_does_not_flicker():
    counts = np.arange(300, dtype=np.uint16).reshape(15, 20)
    assert prepare(counts, Scale.LOG).stretch.threshold == 1.0
    faint = np.linspace(0, 1e-3, 300).reshape(15, 20)
    levels = (0.0, 5e-4)
    thresholds = [prepare(faint * factor, Scale.LOG, levels).stretch.threshold for factor in (1, 3, 10)]
    assert thresholds == pytest.approx([5e-6] * 3)


def test_a_coarse_map_covers_the_full_grid_with_its_nearest_samples():
    full = np.arange(70.0).reshape(7, 10)
    coarse = filled(prepare(full[::4, ::4]), 4, (7, 10))
    assert coarse.shown.shape == full.shape
    np.testing.assert_array_equal(coarse.shown[::4, ::4], full[::4, ::4])
    assert coarse.raw[0, 3] == full[0, 4]
    assert coarse.raw[6, 9] == full[4, 8]


def a_map(name="map", **more):
    axes = (Axis("y", 7, navigate=True), Axis("x", 10, navigate=True))
    return Node(("t", name), "0a", axes, np.dtype("<f8"), (7, 10), parent="root", **more)


def an_image(name, operations=(), parent="root"):
    axes = (Axis("ky", 6), Axis("kx", 10))
    return Node(("t", name), "0a", axes, np.dtype("<f8"), (6, 10), parent=parent, operations=operations)


def request_of(node):
    return Request(node, tuple(Span(0, axis.size) for axis in node.axes))


def test_levels_are_chosen_once_for_a_family_and_then_kept():
    contrasts, ramp = Contrasts(), np.arange(60.0).reshape(6, 10)
    first, brighter = prepare(ramp), prepare(ramp * 10)
    root, blurred = an_image("root", parent=None), an_image("blurred", ("blur",))
    kept = contrasts.settle(request_of(root), first)
    assert kept == first.automatic
    assert contrasts.settle(request_of(root), brighter) == kept
    assert contrasts.settle(request_of(blurred), brighter) == brighter.automatic
    assert contrasts.settle(request_of(an_image("blurred more", ("blur",))), first) == brighter.automatic
    assert contrasts.settle(request_of(root), brighter) == kept


def test_unlocked_levels_follow_every_frame():
    contrasts, ramp = Contrasts(), np.arange(60.0).reshape(6, 10)
    root = an_image("root", parent=None)
    contrasts.put(root, Contrast(locked=False))
    for factor in (1, 10, 0.1):
        picture = prepare(ramp * factor)
        assert contrasts.settle(request_of(root), picture) == picture.automatic


def test_levels_of_a_map_are_settled_when_it_is_complete():
    contrasts, node = Contrasts(), a_map()
    coarse, complete = prepare(np.arange(6.0).reshape(2, 3)), prepare(np.arange(70.0).reshape(7, 10))
    assert contrasts.settle(map_request(node, (0, 0), 4), coarse) == coarse.automatic
    assert contrasts.settle(map_request(node, (0, 0), 1), complete) == complete.automatic
    assert contrasts.settle(map_request(node, (0, 0), 4), coarse) == complete.automatic
