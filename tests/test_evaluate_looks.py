"""A first look at a map: every n-th position, again and again with other parameters, over the same frames below."""

import numpy as np
import pytest
from test_evaluate import Counting, evaluator, make_root

from tiled_spyde.evaluate import Evaluator
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe

LOOK = (slice(None, None, 2), slice(None, None, 2))
BELOW = {
    "root": [],
    "computed": [("subtract_background", {"min_sigma": 1.0, "max_sigma": 3.0})],
    "viewed": [
        ("subtract_background", {"min_sigma": 1.0, "max_sigma": 3.0}),
        ("calibrate", {"beam_energy": 200}),
    ],
}


def below(name):
    """A node of 6 × 8 frames, and those of its steps that compute."""
    root = make_root((6, 8, 12, 16))
    recipe = Recipe(root)
    for operation, parameters in BELOW[name]:
        recipe = recipe.then(build(operation, parameters))
    return root, recipe


def map_over(recipe, radius):
    detector = {"kind": "disk", "radius": {"value": radius, "unit": "px"}}
    return recipe.then(build("virtual_image", {"detector": detector}))


@pytest.mark.parametrize("name", BELOW)
def test_a_second_look_reads_nothing_and_computes_nothing_below(name):
    root, recipe = below(name)
    steps = [recipe] if name == "computed" else [recipe.parent] if name == "viewed" else []
    ours, counting = evaluator(), Counting(*steps)
    ours.read(map_over(recipe, 3.0), LOOK)
    assert len(root.reader.reads) == 12
    found = ours.read(map_over(recipe, 4.0), LOOK)
    assert len(root.reader.reads) == 12
    assert set(counting.calls.values()) <= {12}
    np.testing.assert_array_equal(found, Evaluator(0).read(map_over(recipe, 4.0), LOOK))


def test_a_look_that_would_drive_out_what_people_look_at_is_not_remembered():
    root, recipe = below("root")
    ours = Evaluator(12 * root.info.frame_bytes)
    for radius in (3.0, 4.0):
        ours.read(map_over(recipe, radius), LOOK)
    assert len(root.reader.reads) == 24


def test_a_whole_map_is_not_remembered_frame_by_frame():
    root, recipe = below("root")
    ours = evaluator()
    for radius in (3.0, 4.0):
        ours.read(map_over(recipe, radius))
    assert len(root.reader.reads) == 96
