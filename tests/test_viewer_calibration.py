"""What a calibration form says becomes parameters, and what is wrong stands at its field."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_viewer_view_state import make_node

from tiled_spyde.operations.calibrate import Calibrate
from viewer.calibration import (
    axes_asked,
    carried_texts,
    factor_pairs,
    hint,
    parameters_of,
    present_texts,
    problems_told,
    shape_told,
)
from viewer.nodes import Axis

SCHEMA = Calibrate.model_json_schema()
ENERGY = Axis("Energy", 50, 0.1, 1.0, "keV")


@given(st.integers(1, 5000))
def test_suggested_shapes_hold_all_frames_and_the_squarest_comes_first(count):
    pairs = factor_pairs(count)
    assert all(rows * columns == count for rows, columns in pairs)
    assert len(set(pairs)) == len(pairs) >= 1
    squarest = min(abs(math.log(rows * rows / count)) for rows in range(1, count + 1) if count % rows == 0)
    assert abs(math.log(pairs[0][0] ** 2 / count)) == pytest.approx(squarest)
    assert pairs[0][1] >= pairs[0][0], "scans are rather wide than tall"


def test_no_frames_have_no_shape():
    assert factor_pairs(0) == []
    assert factor_pairs(7) == [(1, 7), (7, 1)]
    assert factor_pairs(77) == [(7, 11), (11, 7)]


@pytest.mark.parametrize(
    ("rows", "columns", "more", "fits", "says"),
    [
        ("", "", {}, True, "77 frames, as they are"),
        ("7", "11", {}, True, "7 × 11 = 77 frames"),
        ("7", "12", {}, False, "7 × 12 = 84, but there are 77 frames"),
        ("7", "", {}, False, "product is 77"),
        ("x", "11", {}, False, "whole numbers"),
        ("-7", "-11", {}, False, "product is 77"),
        ("7", "10", {"flyback": "1"}, True, "7 × 10 = 70, with what is left out 76 of 77 frames"),
        ("7", "10", {"first_frame": "7"}, True, "7 × 10 = 70, with what is left out 77 frames"),
        ("7", "10", {}, False, "but there are 77"),
        ("7", "10", {"leave_rest": "yes"}, True, "7 × 10 = 70 of 77 frames"),
        ("", "", {"flyback": "1"}, False, "rows and columns?"),
    ],
)
def test_the_product_is_checked_as_the_service_will(rows, columns, more, fits, says):
    found, told = shape_told({"rows": rows, "columns": columns, **more}, 77)
    assert found is fits
    assert says in told


@given(*[st.integers(1, 12)] * 2, st.integers(0, 3), st.integers(0, 3), st.integers(1, 90), st.booleans())
def test_what_the_form_accepts_the_service_accepts(rows, columns, first, flyback, frames, rest):
    from conftest import make_root

    from tiled_spyde.errors import InvalidOperation

    texts = {"rows": str(rows), "columns": str(columns), "first_frame": str(first), "flyback": str(flyback)}
    texts["leave_rest"] = "yes" if rest else ""
    fits, _ = shape_told(texts, frames)
    operation = Calibrate(
        navigation_shape=(rows, columns), first_frame=first, flyback=flyback, leave_rest=rest
    )
    try:
        operation.output(make_root((frames, 3, 4)).info)
        accepted = True
    except InvalidOperation:
        accepted = False
    assert fits is accepted


def test_a_stack_with_its_shape_has_other_axes_as_the_service_calls_them():
    from conftest import make_root

    info = make_root((77, 3, 4)).info
    node = make_node((77,), (3, 4))
    names = [axis.name for axis in axes_asked(node, reshaped=True)]
    made = Calibrate(navigation_shape=(7, 11)).output(info)
    assert names[:2] == ["y", "x"] == [axis.name for axis in made.axes[:2]]


def test_signal_axes_give_way_to_those_of_the_scan():
    stack = make_node((77,), (3, 4), names=("z", "y", "x"))
    assert [axis.name for axis in axes_asked(stack, reshaped=False)] == ["z", "y", "x"]
    assert [axis.name for axis in axes_asked(stack, reshaped=True)] == ["y", "x", "ky", "kx"]
    old, new = axes_asked(stack, reshaped=False), axes_asked(stack, reshaped=True)
    texts = {**present_texts(old), "axes.x.scale": "0.5", "axes.z.units": "s", "beam_energy": "200"}
    assert carried_texts(texts, old, new) == {"axes.kx.scale": "0.5", "beam_energy": "200"}
    assert carried_texts({"axes.kx.scale": "0.5"}, new, old) == {"axes.x.scale": "0.5"}


def test_only_what_was_changed_is_sent():
    texts = present_texts([ENERGY])
    assert parameters_of(texts, [ENERGY], SCHEMA, 0)[1] == {
        "": "Fill in what is known; nothing has been changed yet."
    }
    texts |= {
        "axes.Energy.scale": "0,2",
        "beam_energy": "300",
        "counting": "counting",
        "scan_rotation": "−12.5",
    }
    parameters, problems = parameters_of(texts, [ENERGY], SCHEMA, 0)
    assert problems == {}
    assert parameters == {
        "axes": {"Energy": {"scale": 0.2}},
        "beam_energy": 300.0,
        "counting": True,
        "scan_rotation": -12.5,
    }
    assert Calibrate.model_validate(parameters)


def test_a_whole_calibration_is_one_the_service_knows():
    bare = [Axis("y", 1, navigate=True), Axis("x", 1, navigate=True), Axis("kx", 9)]
    texts = {
        **present_texts(bare),
        "rows": "3",
        "columns": "4",
        "first_frame": "2",
        "axes.y.scale": "2",
        "axes.y.units": "nm",
        "axes.y.name": "depth",
        "axes.kx.scale": "0.1",
        "axes.kx.units": "1/nm",
        "axes.kx.center": "4",
        "counting": "integrating",
    }
    parameters, problems = parameters_of(texts, bare, SCHEMA, 14)
    assert problems == {}
    assert parameters == {
        "navigation_shape": [3, 4],
        "first_frame": 2,
        "axes": {
            "y": {"scale": 2.0, "name": "depth", "units": "nm"},
            "kx": {"scale": 0.1, "center": 4.0, "units": "1/nm"},
        },
        "counting": False,
    }
    operation = Calibrate.model_validate_json(__import__("json").dumps(parameters))
    assert operation.axes["kx"].center == 4


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("beam_energy", "-1", "must be more than 0"),
        ("beam_energy", "10001", "must be at most"),
        ("beam_energy", "much", "'much' is no number"),
        ("beam_energy", "nan", "is no number"),
        ("scan_rotation", "-361", "must be at least -360"),
        ("axes.Energy.scale", "0", "must not be 0"),
        ("axes.Energy.offset", "1e31", "must be at most"),
        ("axes.Energy.center", "a", "no number"),
    ],
)
def test_what_is_out_of_bounds_is_said_at_its_field(field, text, says):
    _, problems = parameters_of({**present_texts([ENERGY]), field: text}, [ENERGY], SCHEMA, 0)
    assert list(problems) == [field]
    assert says in problems[field]


def test_a_scale_wants_its_units():
    bare = Axis("kx", 9)
    _, problems = parameters_of({**present_texts([bare]), "axes.kx.scale": "0.1"}, [bare], SCHEMA, 0)
    assert list(problems) == ["axes.kx.units"]


def test_help_and_bounds_come_from_the_service():
    energy = hint(SCHEMA, "beam_energy")
    assert (energy.unit, energy.above, energy.most) == ("keV", 0, 10_000)
    assert "Acceleration" in energy.text
    assert "values fall" in hint(SCHEMA, "axes", "kx", "scale").text
    assert hint(SCHEMA, "axes", "kx", "center").unit == "px"
    assert hint({}, "beam_energy").problem(-5) == ""


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("calibrate: axes.kx.scale: a pixel is not 0 wide (got 0)", {"axes.kx.scale": "a pixel is not 0 wide (got 0)"}),
        ("calibrate: axes.kx: units are missing: give 1/nm.", {"axes.kx": "units are missing: give 1/nm."}),
        ("calibrate: navigation_shape: 3 × 5 needs 15 frames", {"navigation_shape": "3 × 5 needs 15 frames"}),
        ("calibrate: navigation_shape.0: too small (got 0)", {"navigation_shape": "too small (got 0)"}),
        ("calibrate: beam_energy: too much; camera_length: none", {"beam_energy": "too much", "camera_length": "none"}),
        ("The disk is full.", {"": "The disk is full."}),
    ],
)  # fmt: skip
def test_what_the_service_refuses_is_said_at_the_field_it_names(detail, told):
    fields = ["", "axes.kx", "axes.kx.scale", "navigation_shape", "beam_energy", "camera_length", "name"]
    assert problems_told(detail, fields) == told
