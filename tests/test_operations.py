"""Operations: what they declare, what they refuse and how they say it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import axes_of, make_root

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.recipe import Recipe
from tiled_spyde.signals import Axis, SignalInfo


def info(shape=(3, 5, 12, 16), signal_axes=2, dtype="u2"):
    return SignalInfo(axes_of(shape, signal_axes), np.dtype(dtype))


def apply(name, parameters, root=None, index=(1, 2)):
    recipe = Recipe(root or make_root()).then(build(name, parameters))
    return recipe, recipe.function(recipe.root.reader.array[index])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("nope", {}, r"There is no operation 'nope'. There are: bin, calibrate, centre_by"),
        ("bin", {"x": 0}, r"bin: x: .*greater than or equal to 1.*got 0"),
        ("bin", {"x": 2.5}, r"bin: x: .*integer"),
        ("bin", {"x": "2"}, r"bin: x: .*integer"),
        ("bin", {"x": True}, r"bin: x: .*integer"),
        ("gaussian_filter", {"sigma": -1}, r"sigma: .*greater than 0"),
        ("gaussian_filter", {"sigma": 1e9}, r"sigma: .*less than or equal to 200"),
        ("gaussian_filter", {"sigma": float("nan")}, r"sigma: .*finite"),
        ("gaussian_filter", {"sigma": float("inf")}, r"sigma: .*finite"),
        ("gaussian_filter", {"sigma": None}, r"sigma: .*number"),
        ("gaussian_filter", {"blur": 1}, r"blur: Extra inputs .*Its parameters are: sigma\."),
        ("mean_over_scan", {"blur": 1}, r"blur: Extra inputs .*It has no parameters\."),
        (
            "subtract_background",
            {"min_sigma": 5, "max_sigma": 5},
            r"min_sigma must be less than max_sigma \(5\)",
        ),
        ("savitzky_golay", {"window_length": 4}, r"window_length must be odd"),
        (
            "savitzky_golay",
            {"window_length": 5, "polynomial_order": 5},
            r"polynomial_order must be less than",
        ),
        ("virtual_image", {"detector": {"kind": "star"}}, r"detector: .*'disk', 'annulus', 'rectangle'"),
        (
            "virtual_image",
            {"detector": {"kind": "disk", "radius": {"value": -1}}},
            r"radius.value: .*greater",
        ),
        (
            "virtual_image",
            {"detector": {"kind": "annulus", "inner": {"value": 5}, "outer": {"value": 5}}},
            r"inner must be less than outer",
        ),
        ("crop", {"x": 3}, r"crop: x: "),
        ("crop", [], r"crop: parameters: .*"),
    ],
)
def test_bad_parameters_are_named(name, parameters, message):
    with pytest.raises(InvalidOperation, match=message):
        build(name, parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "signal", "message"),
    [
        ("savitzky_golay", {}, info(), r"1 dimension\(s\).*has 2"),
        ("subtract_background", {}, info((3, 5, 40), 1), r"2 dimension\(s\).*has 1"),
        ("gaussian_filter", {}, info((3, 5), 0), "has 0"),
        ("gaussian_filter", {}, info(dtype="c16"), "real numbers"),
        ("savitzky_golay", {"window_length": 41}, info((3, 5, 40), 1), "at most 40, the size of E; got 41"),
        ("bin", {"x": 17}, info(), "x must be at most 16, the size of kx; got 17"),
        ("bin", {"x": 13}, info(), "y must be at most 12, the size of ky; got 13"),
        ("bin", {"x": 2, "y": 2}, info((3, 5, 40), 1), "y is for images"),
        ("crop", {"y": {}}, info((3, 5, 40), 1), "y is for images"),
        ("crop", {"x": {"start": {"index": 16}}}, info(), r"crop: x.start: outside the axis kx.*0 to 15"),
        (
            "crop",
            {"x": {"start": {"index": 5}, "stop": {"index": 5}}},
            info(),
            r"start \(5\) must lie before stop",
        ),
        ("crop", {"x": {"start": {"value": 1, "unit": "eV"}}}, info(), "is in 1/nm; got unit 'eV'"),
        ("crop", {"x": {"start": {"value": 1}}}, info(), "is in 1/nm; got unit None"),
        ("crop", {"x": {"start": {}}}, info(), r'give \{"index": 10\} or \{"value": 1.5, "unit": "1/nm"\}'),
        ("crop", {"x": {"start": {"value": 1, "unit": "1/nm", "index": 1}}}, info(), "give "),
        (
            "virtual_image",
            {"detector": {"kind": "disk", "centre": {"x": {"index": 99}}}},
            info(),
            r"detector.centre.x: outside",
        ),
        (
            "virtual_image",
            {"detector": {"kind": "disk", "radius": {"value": 1, "unit": "mrad"}}},
            info(),
            'unit must be "px" or "1/nm"; got \'mrad\'',
        ),
        (
            "virtual_image",
            {"detector": {"kind": "annulus", "inner": {"value": 90}, "outer": {"value": 91}}},
            info(),
            "no pixel's centre lies in this annulus",
        ),
    ],
)
def test_what_does_not_fit_the_signal_is_refused(name, parameters, signal, message):
    operation = build(name, parameters)
    root = make_root()
    with pytest.raises(InvalidOperation, match=message):
        Recipe(replace(root, info=signal)).then(operation)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_operation_describes_itself(name):
    operation = REGISTRY[name]
    schema = operation.model_json_schema()
    assert operation.summary().endswith(".")
    for parameter, described in schema["properties"].items():
        assert "default" in described, parameter
        assert "description" in described or "$ref" in json.dumps(described), parameter
    assert build(name, {}).model_dump(mode="json").keys() == schema["properties"].keys()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_parameter_survives_json(name):
    operation = build(name, {})
    assert build(name, json.loads(operation.model_dump_json())) == operation


def test_crop_keeps_the_calibration():
    recipe, frame = apply("crop", {"x": {"start": {"value": -1.0, "unit": "1/nm"}, "stop": {"index": 9}}})
    # kx: scale 1.25, offset -3: -1 is nearest to index 2, whose value is -0.5.
    axis = recipe.info.signal_axes[-1]
    assert (axis.size, axis.value(0), axis.scale) == (7, -0.5, 1.25)
    np.testing.assert_array_equal(frame, recipe.root.reader.array[1, 2, :, 2:9])


def test_bin_sums_and_moves_the_centre():
    recipe, frame = apply("bin", {"x": 5, "y": 2})
    array = recipe.root.reader.array[1, 2].astype("u8")
    assert frame[1, 2] == array[2:4, 10:15].sum()
    axis = recipe.info.signal_axes[-1]
    assert (axis.size, axis.scale, axis.value(0)) == (3, 6.25, -3 + 1.25 * 2)
    assert recipe.info.dtype == np.uint64


def test_a_background_never_wraps_below_zero():
    recipe, frame = apply("subtract_background", {"min_sigma": 1, "max_sigma": 3})
    assert recipe.info.dtype == np.float32
    assert frame.min() == 0
    assert frame.max() <= recipe.root.reader.array.max()


def test_the_background_is_pyxems_formula():
    from scipy.ndimage import gaussian_filter

    _, frame = apply("subtract_background", {"min_sigma": 1, "max_sigma": 3})
    raw = make_root().reader.array[1, 2].astype("f4")
    narrow, wide = gaussian_filter(raw, 1), gaussian_filter(raw, 3)
    expected = np.where(narrow > wide, raw, 0) - wide
    expected[expected < 0] = 0
    np.testing.assert_array_equal(frame, expected)


def test_a_centred_disk_has_81_pixels():
    """A radius of 5 round a pixel's centre: 81 pixels, where half a pixel of shift would give 80."""
    square = Recipe(make_root((2, 3, 21, 21)))
    disk = {"kind": "disk", "radius": {"value": 5}, "centre": {"x": {"index": 10}, "y": {"index": 10}}}
    operation = build("virtual_image", {"detector": disk})
    assert operation.detector.mask(square.info).sum() == 81


def test_a_detector_in_units_follows_each_axis():
    axes = (Axis("ky", 21, 0.5, -5.0, "1/nm"), Axis("kx", 41, 0.25, -5.0, "1/nm"))
    signal = SignalInfo(axes, np.dtype("u2"))
    disk = {"kind": "disk", "radius": {"value": 2.0, "unit": "1/nm"}}
    mask = build("virtual_image", {"detector": disk}).detector.mask(signal)
    assert mask[10, 12:29].all()
    assert mask.any(axis=1).sum() == 9
    assert mask.any(axis=0).sum() == 17


def test_a_detector_stands_on_the_zero_of_the_axes():
    axes = (Axis("ky", 20, 1.0, -7.0, "1/nm"), Axis("kx", 20, 1.0, -4.0, "1/nm"))
    mask = build("virtual_image", {"detector": {"kind": "disk", "radius": {"value": 0.5}}}).detector.mask(
        SignalInfo(axes, np.dtype("u2"))
    )
    assert np.argwhere(mask).tolist() == [[7, 4]]
    plain = (Axis("ky", 5), Axis("kx", 7))
    mask = build("virtual_image", {"detector": {"kind": "disk", "radius": {"value": 0.5}}}).detector.mask(
        SignalInfo(plain, np.dtype("u2"))
    )
    assert np.argwhere(mask).tolist() == [[2, 3]]


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
def test_a_virtual_image_is_the_masked_sum(dtype):
    root = make_root(dtype=dtype)
    for kind in ("disk", "annulus", "rectangle"):
        detector = {"kind": kind}
        if kind == "disk":
            detector["radius"] = {"value": 4}
        if kind == "annulus":
            detector |= {"inner": {"value": 2}, "outer": {"value": 5}}
        recipe, value = apply("virtual_image", {"detector": detector}, root)
        mask = recipe.operation.detector.mask(root.info)
        assert value == root.reader.array[1, 2][mask].sum(dtype=recipe.info.dtype)


def test_a_derivative_is_per_unit_of_the_axis():
    root = make_root((2, 30), 1, "f8")
    axis = root.info.signal_axes[0]
    root.reader.array[:] = 3.0 * (axis.offset + axis.scale * np.arange(30))
    _, slope = apply(
        "savitzky_golay", {"window_length": 5, "polynomial_order": 2, "derivative": 1}, root, (1,)
    )
    np.testing.assert_allclose(slope, 3.0)


def test_axes_without_uniform_steps():
    energies = tuple(float(i * i) for i in range(12))
    axes = (Axis("x", 3, navigate=True), Axis("E", 12, units="eV", values=energies))
    signal = SignalInfo(axes, np.dtype("f4"))
    cropped = build("crop", {"x": {"start": {"value": 5, "unit": "eV"}, "stop": {"index": 6}}}).output(signal)
    assert cropped.signal_axes[0].values == (4.0, 9.0, 16.0, 25.0)
    for beyond in (-1.0, 122.0):
        with pytest.raises(InvalidOperation, match=r"outside the axis E.*0 to 121 eV"):
            build("crop", {"x": {"start": {"value": beyond, "unit": "eV"}}}).output(signal)
    binned = build("bin", {"x": 5}).output(signal)
    assert binned.signal_axes[0].values == (6.0, 51.0)
    with pytest.raises(InvalidOperation, match="uniform"):
        build("savitzky_golay", {"window_length": 5, "derivative": 1}).output(signal)
