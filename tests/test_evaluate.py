"""Evaluating a frame: equal to hyperspy's lazy map bit for bit, and never more than is asked for."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise, product

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import make_root, slices
from hypothesis import given
from hypothesis import strategies as st

from tiled_spyde import operations
from tiled_spyde.errors import ComputeError, InvalidOperation, InvalidSlice, TooLarge
from tiled_spyde.evaluate import Evaluator, signal
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.recipe import MAX_STEPS, Recipe
from tiled_spyde.slices import Selection

# Parameters that suit small frames, one set or more for every operation that is registered.
EXAMPLES = {
    "bin": [{"x": 2}, {"x": 3}],
    "calibrate": [{"beam_energy": 80.0, "counting": True}],
    "centre_by_shifts": [{"shifts": {"node": "centres"}}, {"shifts": {"node": "one centre"}}],
    "centre_of_mass": [{}, {"within": {"radius": {"value": 4}}}],
    "crop": [{"x": {"start": {"index": 2}, "stop": {"index": 9}}}],
    "divide_by_reference": [{"reference": {"node": node}} for node in ("mean", "smooth", "other", "itself")],
    "gaussian_filter": [{"sigma": 1.5}, {"sigma": 0.3}],
    "max_over_scan": [{}],
    "mean_over_scan": [{}],
    "subtract_reference": [{"reference": {"node": node}} for node in ("mean", "smooth", "other", "itself")],
    "sum_over_scan": [{}],
    "subtract_background": [{"min_sigma": 1.0, "max_sigma": 4.0}],
    "savitzky_golay": [
        {"window_length": 5, "polynomial_order": 2},
        {"window_length": 7, "derivative": 1},
    ],
    "sum": [{}],
    "virtual_image": [
        {"detector": {"kind": "disk", "radius": {"value": 4}}},
        {"detector": {"kind": "annulus", "inner": {"value": 2}, "outer": {"value": 5}}},
        {"detector": {"kind": "rectangle", "x": {"start": {"index": 3}}, "y": {"stop": {"index": 7}}}},
    ],
}
# Nodes that parameters name, made from the same root or from another one.
NODES = {
    "itself": lambda root: Recipe(root),
    "smooth": lambda root: Recipe(root).then(build("gaussian_filter", {"sigma": 2.0})),
    "mean": lambda root: Recipe(root).then(build("mean_over_scan", {})),
    "other": lambda root: Recipe(
        make_root(root.info.signal_shape, len(root.info.signal_axes), "i2", fingerprint="e" * 32)
    ),
    "centres": lambda root: Recipe(root).then(build("centre_of_mass", {})),
    "one centre": lambda root: NODES["other"](root).then(build("centre_of_mass", {})),
}
SCANS = [(), (7,), (3, 5), (2, 3, 5)]
FRAMES = {0: (), 1: (33,), 2: (12, 17), 3: (6, 7, 3)}
CHAINS = {
    1: [("gaussian_filter", 0), ("savitzky_golay", 0), ("bin", 0)],
    2: [("subtract_background", 0), ("crop", 0), ("virtual_image", 1)],
}


def applied(root, name, parameters):
    """The recipe of one operation on a root, with the nodes that its parameters name."""
    operation = build(name, parameters)
    return Recipe(root).then(operation, {p: NODES[node](root) for p, node in operation.named.items()})


def needs_scan(name, parameters):
    return REGISTRY[name].locality == "whole" or {"node": "mean"} in parameters.values()


def evaluator(**settings):
    return Evaluator(workers=2, **settings)


def positions(navigation):
    """Every corner, and some in between."""
    corners = set(product(*((0, n - 1) for n in navigation)))
    inside = np.random.default_rng(5).integers(0, navigation, (6, len(navigation))) if navigation else []
    return corners | {tuple(map(int, index)) for index in inside}


def assert_equals_hyperspy(recipe):
    reference = signal(recipe).data
    reference = np.asarray(reference.compute() if hasattr(reference, "compute") else reference)
    info = recipe.info
    assert reference.dtype == info.dtype
    reference = reference.reshape(info.shape)
    ours = evaluator()
    for index in positions(info.navigation_shape):
        np.testing.assert_array_equal(ours.read(recipe, index), reference[index], err_msg=str(index))
    np.testing.assert_array_equal(evaluator().read(recipe), reference)


def cases():
    for name, operation in REGISTRY.items():
        for number, parameters in enumerate(EXAMPLES[name]):
            for signal_axes in set(operation.signal_dimensions) & FRAMES.keys():
                for navigation in SCANS if signal_axes and not needs_scan(name, parameters) else SCANS[1:]:
                    title = f"{name}-{len(navigation)}nav-{signal_axes}sig-{number}"
                    shape = (*navigation, *FRAMES[signal_axes])
                    yield pytest.param(name, parameters, shape, signal_axes, id=title)


@pytest.mark.parametrize(("name", "parameters", "shape", "signal_axes"), list(cases()))
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
def test_every_operation_equals_hyperspys_lazy_map(name, parameters, shape, signal_axes, dtype):
    root = make_root(shape, signal_axes, dtype)
    assert_equals_hyperspy(applied(root, name, parameters))


@pytest.mark.parametrize("navigation", SCANS)
@pytest.mark.parametrize("signal_axes", [1, 2])
def test_chains_of_three_equal_hyperspys_lazy_map(navigation, signal_axes):
    recipe = Recipe(make_root((*navigation, *FRAMES[signal_axes]), signal_axes))
    for name, example in CHAINS[signal_axes]:
        recipe = recipe.then(build(name, EXAMPLES[name][example]))
    assert_equals_hyperspy(recipe)


def test_there_is_an_example_for_every_operation():
    assert EXAMPLES.keys() == REGISTRY.keys()


def test_library_functions_on_the_cast_root_are_the_reference():
    """An independent one: hyperspy maps scipy's own function over the root cast to float32."""
    from scipy.ndimage import gaussian_filter

    root = make_root()
    lazy = hs.signals.Signal2D(root.reader.array.astype("f4")).as_lazy()
    mapped = lazy.map(
        gaussian_filter, sigma=1.5, inplace=False, output_signal_size=(12, 16), output_dtype="f4"
    )
    ours = evaluator().read(Recipe(root).then(build("gaussian_filter", {"sigma": 1.5})))
    np.testing.assert_array_equal(ours, mapped.data.compute())


def test_the_axes_of_the_reference_are_the_declared_ones():
    recipe = Recipe(make_root()).then(build("crop", EXAMPLES["crop"][0])).then(build("bin", {"x": 2}))
    mapped = signal(recipe)
    found = [(a.name, a.size, a.scale, a.offset, a.units) for a in mapped.axes_manager._axes]
    declared = [(a.name, a.size, a.scale, a.offset, a.units) for a in recipe.info.axes]
    assert found == declared


class Counting:
    """Replaces the functions of a chain by ones that count their calls."""

    def __init__(self, *recipes):
        self.calls = {recipe.operation.name: 0 for recipe in recipes}
        for recipe in recipes:
            recipe.__dict__["function"] = self._counted(recipe.operation.name, recipe.function)

    def _counted(self, name, function):
        def counted(frame):
            self.calls[name] += 1
            return function(frame)

        return counted


def chain(shape=(6, 8, 12, 16)):
    root = make_root(shape)
    recipes = [Recipe(root)]
    for name, example in CHAINS[2][:2]:
        recipes.append(recipes[-1].then(build(name, EXAMPLES[name][example])))
    recipes.append(recipes[-1].then(build("gaussian_filter", {"sigma": 1.0})))
    return root, recipes[1:]


def test_one_frame_costs_one_call_of_each_function_and_one_read():
    root, recipes = chain()
    counting = Counting(*recipes)
    evaluator().read(recipes[-1], (3, 4))
    assert counting.calls == {"subtract_background": 1, "crop": 1, "gaussian_filter": 1}
    assert root.reader.reads == [(3, 4)]


def test_a_cached_frame_and_its_ancestors_cost_nothing():
    root, recipes = chain()
    counting, ours = Counting(*recipes), evaluator()
    first = ours.read(recipes[-1], (3, 4))
    before = dict(counting.calls)
    np.testing.assert_array_equal(ours.read(recipes[-1], (3, 4)), first)
    for recipe in recipes:
        ours.read(recipe, (3, 4))
    assert counting.calls == before
    assert root.reader.reads == [(3, 4)]


def test_a_strided_slice_costs_what_it_touches():
    root, recipes = chain()
    counting = Counting(*recipes)
    assert evaluator().read(recipes[-1], (slice(None, None, 3), slice(1, None, 4))).shape[:2] == (2, 2)
    assert set(counting.calls.values()) == {4}
    assert sorted(root.reader.reads) == [(0, 1), (0, 5), (3, 1), (3, 5)]


def test_refining_a_map_computes_only_the_rest():
    root = make_root((6, 8, 12, 16))
    recipe = Recipe(root).then(build("sum", {}))
    ours = evaluator()
    ours.read(recipe, (slice(None, None, 4), slice(None, None, 4)))
    assert len(root.reader.reads) == 4
    full = ours.read(recipe)
    assert len(root.reader.reads) == len(set(root.reader.reads)) == 48
    np.testing.assert_array_equal(full, root.reader.array.sum(axis=(2, 3), dtype="u8"))
    ours.read(recipe, (slice(1, 5), 3))
    assert len(root.reader.reads) == 48


def test_many_who_ask_for_the_same_frame_cost_one_computation():
    _, recipes = chain()
    entered, release = threading.Event(), threading.Event()
    calls = []

    def slow(frame):
        calls.append(1)
        entered.set()
        assert release.wait(60)
        return frame.astype("f4")

    last = Recipe(recipes[-1].root).then(build("gaussian_filter", {"sigma": 1.0}))
    last.__dict__["function"] = slow
    ours, results = evaluator(), []
    threads = [threading.Thread(target=lambda: results.append(ours.read(last, (1, 2)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    release.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(results) == 8
    assert all(np.array_equal(a, b) for a, b in pairwise(results))


@given(st.lists(slices(), max_size=4), st.integers(0, 2))
def test_any_slice_is_numpys(parts, step):
    root = make_root((4, 5, 6, 7))
    recipe = [
        Recipe(root),
        Recipe(root).then(build("gaussian_filter", {"sigma": 1.0})),
        Recipe(root).then(build("sum", {})),
    ][step]
    whole = evaluator().read(recipe)
    parts = tuple(parts[: whole.ndim])
    try:
        expected = whole[parts]
    except IndexError:
        with pytest.raises(InvalidSlice):
            evaluator().read(recipe, parts)
        return
    got = evaluator().read(recipe, parts)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_an_ellipsis_stands_for_what_is_left():
    assert Selection.of((1, ..., slice(2, 3)), (4, 5, 6)).shape == (5, 1)
    with pytest.raises(InvalidSlice, match="3 axes"):
        Selection.of((1, 2, 3, 4), (4, 5, 6))
    with pytest.raises(InvalidSlice, match="3 axes"):
        Selection.of((..., 1, ...), (4, 5, 6))
    with pytest.raises(InvalidSlice, match="indices 0 to 3"):
        Selection.of((4,), (4, 5, 6))
    with pytest.raises(InvalidSlice, match="step"):
        Selection.of((slice(None, None, 0),), (4, 5, 6))


def test_a_cast_is_hyperspys():
    """A function that returns another dtype than declared is cast as ``out[...] = result`` does."""
    root = make_root((3, 4, 6, 5))
    recipe = Recipe(root).then(build("bin", {"x": 1}))
    recipe.__dict__["function"] = lambda frame: frame + 0.75
    assert_equals_hyperspy(recipe)


def test_a_function_that_fails_names_the_position():
    recipe = Recipe(make_root()).then(build("gaussian_filter", {}))
    recipe.__dict__["function"] = lambda frame: 1 / 0
    for wanted in ((1, 2), (slice(None),)):
        with pytest.raises(
            ComputeError, match=r"gaussian_filter failed at position \(\d, \d\): division by zero"
        ):
            evaluator().read(recipe, wanted)


def test_a_failed_map_can_be_asked_again():
    recipe = Recipe(make_root()).then(build("sum", {}))
    good, ours = recipe.function, evaluator()
    recipe.__dict__["function"] = lambda frame: 1 / 0
    with pytest.raises(ComputeError):
        ours.read(recipe)
    recipe.__dict__["function"] = good
    assert ours.read(recipe)[1, 2] == recipe.root.reader.array[1, 2].sum()


def test_a_function_that_breaks_its_declaration_is_told_so():
    recipe = Recipe(make_root()).then(build("gaussian_filter", {}))
    recipe.__dict__["function"] = lambda frame: frame[:3]
    with pytest.raises(ComputeError, match="declared"):
        evaluator().read(recipe, (0, 0))


def test_what_would_take_too_long_is_refused_before_computing():
    root = make_root((20, 30, 12, 16))
    recipe = Recipe(root).then(build("subtract_background", {}))
    with pytest.raises(TooLarge, match="600 positions"):
        evaluator(max_seconds=0.01).read(recipe)
    assert root.reader.reads == []
    evaluator(max_seconds=0.01).read(recipe, (3, 4))


def test_a_single_frame_that_takes_too_long_is_refused_too():
    recipe = Recipe(make_root((2, 3, 12, 16))).then(build("gaussian_filter", {"sigma": 200.0}))
    with pytest.raises(TooLarge, match="1 positions"):
        evaluator(max_seconds=1e-5).read(recipe, (0, 0))


def test_a_part_of_a_large_root_is_estimated_by_what_is_read():
    image = Recipe(make_root((2000, 3000)))
    impatient = evaluator(max_seconds=1e-3)
    assert impatient.read(image, (slice(10, 20), slice(5, 8))).shape == (10, 3)
    with pytest.raises(TooLarge):
        impatient.read(image)


def test_a_frame_that_cannot_be_held_is_refused():
    root = make_root((1, 2, 12, 16))
    axes = tuple(replace(axis, size=40_000) for axis in root.info.signal_axes)
    huge = Recipe(replace(root, info=root.info.with_signal(axes)))
    with pytest.raises(TooLarge, match="6400 MB"):
        evaluator().read(huge.then(build("gaussian_filter", {})), (0, 0, 0, 0))
    assert root.reader.reads == []


def test_nothing_asked_for_costs_nothing():
    root, recipes = chain()
    counting = Counting(*recipes)
    empty = evaluator().read(recipes[-1], (slice(None), slice(None), slice(5, 5), 0))
    assert (empty.shape, empty.dtype) == ((6, 8, 0), recipes[-1].info.dtype)
    assert set(counting.calls.values()) == {0}
    assert root.reader.reads == []


def test_a_map_that_cannot_be_held_is_computed_position_by_position():
    root = make_root((6, 8, 12, 16))
    recipe = Recipe(root).then(build("sum", {}))
    small = evaluator(cache_bytes=1000)
    np.testing.assert_array_equal(
        small.read(recipe, (slice(1, 5, 2), 3)), root.reader.array[1:5:2, 3].sum((1, 2), dtype="u8")
    )
    assert len(root.reader.reads) == 2


def test_a_chain_has_a_bound():
    recipe = Recipe(make_root((2, 3, 4, 5)))
    for _ in range(MAX_STEPS):
        recipe = recipe.then(build("gaussian_filter", {"sigma": 0.1}))
    evaluator().read(recipe, (1, 2))
    with pytest.raises(InvalidOperation, match="64 steps"):
        recipe.then(build("gaussian_filter", {}))


def test_a_result_cannot_be_changed_under_others():
    recipe = Recipe(make_root()).then(build("gaussian_filter", {}))
    frame = evaluator().read(recipe, (0, 0))
    with pytest.raises(ValueError, match="read-only"):
        frame[0, 0] = 1


def test_complex_data_are_summed_and_not_smoothed():
    root = make_root(dtype="c8")
    assert_equals_hyperspy(Recipe(root).then(build("sum", {})))
    with pytest.raises(InvalidOperation, match="real numbers"):
        Recipe(root).then(build("gaussian_filter", {}))


def test_the_registry_says_what_it_has():
    described = {o["name"]: o for o in operations.describe()}
    assert described.keys() == REGISTRY.keys()
    assert described["gaussian_filter"]["parameters"]["properties"]["sigma"]["unit"] == "px"
