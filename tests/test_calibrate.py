"""Calibration: scans out of stacks, axes and what the instrument was, without touching a number."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest
from conftest import encoded, make_root, serving, slices
from hypothesis import given
from hypothesis import strategies as st
from source_files import write_mrc
from test_evaluate import assert_equals_hyperspy, evaluator

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.evaluate import signal
from tiled_spyde.operations import build, calibrate
from tiled_spyde.operations.calibrate import electron_wavelength, pattern_scale
from tiled_spyde.recipe import Recipe
from tiled_spyde.signals import Axis, Instrument, SignalInfo

FRAMES = {0: (), 1: (33,), 2: (12, 17), 3: (6, 7, 3)}
# Scan in the file, parameters, and for each position of the scan that is wanted the frame's number in the file.
ARRANGED = {
    "rows": ((15,), {"navigation_shape": [3, 5]}, np.arange(15).reshape(3, 5)),
    "rows of other length": ((3, 5), {"navigation_shape": [5, 3]}, np.arange(15).reshape(5, 3)),
    "a line": ((3, 5), {"navigation_shape": [15]}, np.arange(15)),
    "a series": ((24,), {"navigation_shape": [2, 3, 4]}, np.arange(24).reshape(2, 3, 4)),
    "a series as a line": ((2, 3, 5), {"navigation_shape": [30]}, np.arange(30)),
    "begun late": ((16,), {"navigation_shape": [3, 5], "first_frame": 1}, 1 + np.arange(15).reshape(3, 5)),
    "with flyback": (
        (21,),
        {"navigation_shape": [3, 5], "flyback": 2},
        np.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11], [14, 15, 16, 17, 18]]),
    ),
    "stopped in the last row": (
        (20,),
        {"navigation_shape": [3, 5], "first_frame": 1, "flyback": 2},
        np.array([[1, 2, 3, 4, 5], [8, 9, 10, 11, 12], [15, 16, 17, 18, 19]]),
    ),
    "recorded too long": (
        (4, 5),
        {"navigation_shape": [2, 3, 2], "first_frame": 2, "flyback": 1, "leave_rest": True},
        2 + np.array([[[0, 1], [3, 4], [6, 7]], [[9, 10], [12, 13], [15, 16]]]),
    ),
}


def calibrated(root, **parameters):
    return Recipe(root).then(build("calibrate", parameters))


def arranged(name, signal_axes=2, dtype=np.uint16):
    """The recipe of one of `ARRANGED`, and the whole array it must be."""
    scan, parameters, numbers = ARRANGED[name]
    root = make_root((*scan, *FRAMES[signal_axes]), signal_axes, dtype)
    stack = root.reader.array.reshape(-1, *FRAMES[signal_axes])
    return calibrated(root, **parameters), stack[numbers]


@pytest.mark.parametrize("signal_axes", FRAMES)
@pytest.mark.parametrize("name", ARRANGED)
def test_a_scan_shows_the_frames_of_the_file(name, signal_axes):
    recipe, expected = arranged(name, signal_axes)
    assert recipe.info.shape == expected.shape
    np.testing.assert_array_equal(evaluator().read(recipe), expected)
    for index in np.ndindex(recipe.info.navigation_shape):
        np.testing.assert_array_equal(evaluator().read(recipe, index), expected[index])


@pytest.mark.parametrize("dtype", ["b1", "i2", "f4", "c8"])
@pytest.mark.parametrize("signal_axes", FRAMES)
@pytest.mark.parametrize("name", ARRANGED)
def test_hyperspys_lazy_signal_shows_the_same(name, signal_axes, dtype):
    recipe, _ = arranged(name, signal_axes, dtype)
    assert_equals_hyperspy(recipe)
    if signal_axes:
        assert_equals_hyperspy(recipe.then(build("sum", {})))


@pytest.mark.parametrize("name", ARRANGED)
def test_chains_over_a_calibrated_scan_equal_hyperspy(name):
    recipe, _ = arranged(name)
    for step, parameters in (("gaussian_filter", {"sigma": 1.5}), ("crop", {"x": {"stop": {"index": 9}}})):
        recipe = recipe.then(build(step, parameters))
    assert_equals_hyperspy(recipe)
    line = build("calibrate", {"navigation_shape": [int(np.prod(recipe.info.navigation_shape))]})
    assert_equals_hyperspy(recipe.then(line).then(build("bin", {"x": 2})))


@given(
    st.sampled_from([name for name in ARRANGED if name != "a line"]),
    st.lists(slices(1), max_size=3),
    st.data(),
)
def test_any_slice_is_numpys(name, parts, data):
    recipe, expected = arranged(name)
    parts = tuple(parts[: expected.ndim])
    np.testing.assert_array_equal(evaluator().read(recipe, parts), expected[parts])
    total = recipe.then(build("sum", {}))
    expected = expected.sum(axis=(-1, -2), dtype="u8")
    parts = parts[: expected.ndim]
    ours = evaluator()
    for _ in range(2):  # the second time a part of the map is there
        np.testing.assert_array_equal(ours.read(total, parts), expected[parts])
        parts = data.draw(st.lists(slices(1), max_size=expected.ndim).map(tuple))


def test_one_frame_is_one_read_of_the_file_and_nothing_is_held():
    recipe, expected = arranged("with flyback")
    ours, reader = evaluator(), recipe.root.reader
    np.testing.assert_array_equal(ours.read(recipe, (1, 2, slice(3, 9, 2), 4)), expected[1, 2, 3:9:2, 4])
    assert reader.reads == [(9,)]
    ours.read(recipe.then(build("gaussian_filter", {})), (1, 2))
    assert reader.reads == [(9,), (9,)]
    assert len(ours.cache) == 1  # the filtered one


def test_a_part_of_a_frame_is_all_that_is_read():
    recipe, _ = arranged("rows")
    regions = []
    read = recipe.root.reader.read
    recipe.root.reader.read = lambda index, region=(): (regions.append(region), read(index, region))[1]
    evaluator().read(recipe, (1, 2, slice(3, 9, 2), 4))
    assert regions == [(slice(3, 8, 2), slice(4, 5, 1))]


def test_a_view_stores_its_numbers_in_the_file():
    root = make_root((15, 12, 17))
    scan = calibrated(root, navigation_shape=[3, 5])
    assert Recipe(root).stored
    assert scan.stored
    assert scan.then(build("calibrate", {"beam_energy": 80.0})).stored
    summed = scan.then(build("sum", {}))
    assert not summed.stored
    assert not summed.then(build("calibrate", {"axes": {"x": {"name": "column"}}})).stored


def test_what_moves_no_frame_reads_the_node_below():
    """A map that only gets other axes is not computed anew."""
    root = make_root((3, 5, 12, 17))
    total = Recipe(root).then(build("sum", {}))
    named = total.then(build("calibrate", {"axes": {"x": {"name": "column"}}}))
    ours = evaluator()
    np.testing.assert_array_equal(ours.read(named), ours.read(total))
    assert len(root.reader.reads) == 15
    assert named.info.axes[1].name == "column"


def test_a_stack_is_calibrated_over_http(tmp_path):
    frames = encoded((15, 12, 17))
    write_mrc(tmp_path / "stack.mrc", frames)
    said = {"navigation_shape": [3, 5], "axes": {"x": {"scale": 2.0, "units": "nm"}}, "beam_energy": 200.0}
    with serving([tmp_path]) as service:

        def make(parent, operation, parameters):
            node = {"parent": parent, "operation": operation, "parameters": parameters}
            return service.client.post("/api/v1/nodes/stack.mrc/signal", json=node)

        made = make("root", "calibrate", said)
        assert made.status_code == 201, made.text
        assert make("calibrate", "sum", {}).status_code == 201
        described = service.get("/api/v1/metadata/stack.mrc/signal/calibrate").json()["data"]["attributes"]
        shown = described["metadata"]["attributes"]
        assert (shown["state"], shown["instrument"]["beam_energy"]) == ("stored", 200.0)
        assert described["structure"]["dims"] == ["y", "x", "ky", "kx"]
        assert [axis["units"] for axis in shown["axes"][:2]] == [None, "nm"]
        raw = "format=application/octet-stream"
        frame = service.get(f"/api/v1/array/full/stack.mrc/signal/calibrate?slice=1,2&{raw}").content
        np.testing.assert_array_equal(np.frombuffer(frame, "<u2").reshape(12, 17), frames[7])
        total = service.get(f"/api/v1/array/full/stack.mrc/signal/sum?{raw}").content
        np.testing.assert_array_equal(np.frombuffer(total, "<u8"), frames.sum(axis=(1, 2)))
        refused = make("root", "calibrate", {"navigation_shape": [4, 4]})
        assert refused.status_code == 422
        assert "4 × 4 needs 16 frames; there are 15" in refused.json()["detail"]


class TestAxes:
    def axes(self, root=None, **parameters):
        info = calibrated(root or make_root((3, 5, 12, 16)), **parameters).info
        return {axis.name: axis for axis in info.axes}

    def test_a_stack_of_patterns_becomes_a_scan(self):
        axes = self.axes(
            make_root((15, 12, 16)), navigation_shape=[3, 5], axes={"y": {"scale": 2.0, "units": "nm"}}
        )
        assert axes["y"] == Axis("y", 3, 2.0, 0.0, "nm", True)
        assert axes["x"] == Axis("x", 5, navigate=True)
        assert list(axes) == ["y", "x", "ky", "kx"]

    def test_a_signal_axis_makes_way_for_the_scans_x(self):
        info = SignalInfo((Axis("z", 15, navigate=True), Axis("y", 4), Axis("x", 6)), np.dtype("u2"))
        names = [axis.name for axis in build("calibrate", {"navigation_shape": [3, 5]}).output(info).axes]
        assert names == ["y", "x", "ky", "kx"]

    def test_a_scan_of_the_right_shape_keeps_its_axes(self):
        root = make_root((3, 5, 12, 16))
        recipe = calibrated(root, navigation_shape=[3, 5])
        assert recipe.info == root.info
        assert recipe.array.parent is None

    def test_center_offset_scale_and_units(self):
        axes = self.axes(
            axes={
                "ky": {"scale": 0.2, "units": "$1/nm$", "center": 5.5},
                "kx": {"scale": -0.1, "offset": 0.8},
                "x": {"units": "um", "name": " column "},
            }
        )
        assert (axes["ky"].value(5.5), axes["ky"].scale, axes["ky"].units) == (0.0, 0.2, "1/nm")
        assert [axes["kx"].value(i) for i in (0, 8)] == [0.8, 0.0]
        assert axes["column"] == Axis("column", 5, 0.75, -1.0, "µm", True)
        assert axes["y"] == make_root((3, 5, 12, 16)).info.axes[0]

    def test_axes_can_swap_their_names(self):
        axes = self.axes(axes={"x": {"name": "y"}, "y": {"name": "x"}})
        assert (axes["x"].size, axes["y"].size) == (3, 5)

    def test_px_says_that_nothing_is_known(self):
        assert self.axes(axes={"kx": {"units": "px"}})["kx"] == Axis("kx", 16)

    def test_an_axis_with_a_value_for_each_pixel(self):
        energies = Axis("E", 4, units="eV", values=(1.0, 2.0, 4.0, 8.0))
        info = SignalInfo((energies,), np.dtype("f4"))

        def axis(**given):
            return build("calibrate", {"axes": {"E": given}}).output(info).axes[0]

        assert axis(units="keV") == replace(energies, units="keV")
        assert axis(scale=0.5, center=2) == Axis("E", 4, 0.5, -1.0, "eV")
        with pytest.raises(InvalidOperation, match=r"axes\.E: scale is missing"):
            axis(offset=3.0)

    def test_the_reference_has_them_too(self):
        recipe = calibrated(
            make_root((15, 12, 16)),
            navigation_shape=[3, 5],
            beam_energy=80.0,
            axes={
                "y": {"scale": 3.0, "units": "nm"},
                "x": {"scale": 2.0, "units": "nm"},
                "kx": {"scale": 0.2, "units": "1/nm", "center": 8},
            },
        )
        found = signal(recipe)
        described = [
            (a.name, a.size, a.scale, a.offset, a.units, a.navigate) for a in found.axes_manager._axes
        ]
        assert described == [
            (a.name, a.size, a.scale, a.offset, a.units, a.navigate) for a in recipe.info.axes
        ]
        assert found.metadata.get_item("Acquisition_instrument.TEM.beam_energy") == 80.0


class TestInstrument:
    @pytest.mark.parametrize(
        ("kilovolts", "picometres"), [(100, 3.701), (200, 2.508), (300, 1.969), (1000, 0.872)]
    )
    def test_wavelengths_are_the_tabulated_ones(self, kilovolts, picometres):
        assert electron_wavelength(kilovolts) * 1e3 == pytest.approx(picometres, abs=5e-4)
        assert not doctest.testmod(calibrate).failed

    def test_a_ring_of_known_spacing_lies_where_it_must(self):
        """Gold 111 (0.2355 nm) at 200 kV and 1 m: by Bragg's law 10.66 mm from the centre, so 194 pixels of 55 µm."""
        angle = 2 * np.arcsin(electron_wavelength(200) / (2 * 0.2355))
        pixels = 1e6 * np.tan(angle) / 55.0
        assert pixels * pattern_scale(55.0, 200, 1000) == pytest.approx(1 / 0.2355, rel=1e-3)

    def test_the_detectors_pixels_give_the_scale(self):
        recipe = calibrated(
            make_root((3, 5, 12, 17)),
            beam_energy=200.0,
            camera_length=1000.0,
            pixel_size=55.0,
            axes={"kx": {"center": 7.25}, "y": {"scale": 3.0}},
        )
        axes = {axis.name: axis for axis in recipe.info.axes}
        scale = pattern_scale(55.0, 200.0, 1000.0)
        assert (axes["ky"].units, axes["ky"].scale, axes["ky"].index(0.0)) == ("1/nm", scale, 5.5)
        assert (axes["kx"].units, axes["kx"].scale, axes["kx"].index(0.0)) == ("1/nm", scale, 7.25)
        assert axes["y"].scale == 3.0

    def test_the_files_own_numbers_are_taken(self):
        root = make_root((3, 5, 12, 17))
        known = replace(root.info, instrument=Instrument(beam_energy=300.0, camera_length=500.0))
        info = build("calibrate", {"pixel_size": 10.0}).output(known)
        assert info.signal_axes[0].scale == pattern_scale(10.0, 300.0, 500.0)

    def test_what_is_said_replaces_what_the_file_says(self):
        info = replace(make_root().info, instrument=Instrument(beam_energy=300.0, counting=False))
        said = build("calibrate", {"counting": True, "scan_rotation": -12.5}).output(info).instrument
        assert said == Instrument(beam_energy=300.0, counting=True, scan_rotation=-12.5)

    def test_it_stays_along_a_chain_and_in_json(self):
        recipe = calibrated(make_root(), beam_energy=80.0).then(build("bin", {})).then(build("sum", {}))
        assert recipe.info.instrument == Instrument(beam_energy=80.0)
        assert SignalInfo.from_json(recipe.info.to_json()) == recipe.info

    def test_it_is_in_the_key(self):
        keys = {calibrated(make_root(), **said).key for said in ({}, {"counting": True}, {"counting": False})}
        assert len(keys | {Recipe(make_root()).key}) == 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"navigation_shape": [0, 3]}, r"navigation_shape\.0: .*greater than or equal to 1"),
        ({"navigation_shape": []}, "navigation_shape: .*at least 1"),
        ({"navigation_shape": [2] * 100_000}, "navigation_shape: .*at most 3"),
        ({"navigation_shape": [10**400]}, r"navigation_shape\.0: .*less than or equal to 1000000000"),
        ({"navigation_shape": [2.5, 2]}, r"navigation_shape\.0: .*integer"),
        ({"navigation_shape": "2,3"}, "navigation_shape: .*array"),
        ({"first_frame": 3}, "first_frame, flyback and leave_rest need navigation_shape"),
        ({"axes": {"kx": {"scale": 0}}}, r"axes\.kx\.scale: a pixel is not 0 wide"),
        ({"axes": {"kx": {"scale": float("nan")}}}, r"axes\.kx\.scale: .*finite"),
        ({"axes": {"kx": {"scale": 1e400}}}, r"axes\.kx\.scale: .*finite"),
        ({"axes": {"kx": {"scale": 1e31}}}, r"axes\.kx\.scale: .*less than or equal to 1"),
        ({"axes": {"kx": {"units": "x" * 10**6}}}, r"axes\.kx\.units: .*at most 32 characters"),
        ({"axes": {"kx": {"units": "n\0m"}}}, r"axes\.kx\.units: write units in plain letters"),
        ({"axes": {"kx": {"units": "\ud800"}}}, "units|plain JSON"),
        ({"axes": {"kx": {"offset": 1, "center": 2}}}, r"axes\.kx: offset and center say the same"),
        ({"axes": {"kx": {"units": "px", "center": 2}}}, r"axes\.kx: units: px means uncalibrated"),
        ({"axes": {"kx": {"name": " "}}}, r"axes\.kx\.name: a name needs a letter"),
        ({"axes": {"kx": {"name": "n" * 65}}}, r"axes\.kx\.name: .*at most 64"),
        ({"axes": {"k" * 10**6: {}}}, r"axes\.k.*at most 64"),
        ({"axes": {str(i): {} for i in range(10_000)}}, "axes: .*at most 16"),
        ({"axes": {"kx": {"zero": 3}}}, r"axes\.kx\.zero: Extra"),
        ({"z" * 10**6: 3}, "Extra"),
        ({"beam_energy": -1}, "beam_energy: .*greater than 0"),
        ({"beam_energy": "200"}, "beam_energy: .*number"),
        ({"camera_length": True}, "camera_length: .*number"),
        ({"counting": 1}, "counting: .*boolean"),
        ({"scan_rotation": 361}, "scan_rotation: .*less than or equal to 360"),
    ],
)
def test_malformed_parameters_are_named(parameters, message):
    with pytest.raises(InvalidOperation, match=message) as raised:
        build("calibrate", parameters)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"navigation_shape": [3, 6]},
            r"3 × 6 needs 18 frames; there are 15\. Give a shape that multiplies to 15",
        ),
        ({"navigation_shape": [3, 4]}, r"3 × 4 takes 12 of 15 frames\. .*leave_rest"),
        ({"navigation_shape": [3, 5], "first_frame": 1}, "needs 16 frames; there are 15"),
        ({"navigation_shape": [3, 5], "flyback": 1}, "needs 17 frames; there are 15"),
        ({"axes": {"E": {}}}, r"axes: there is no axis 'E'; there are: z, ky, kx"),
        ({"axes": {"kx": {"name": "ky"}}}, "two would be called 'ky'; choose another name"),
        ({"axes": {"z": {"scale": 2.0}}}, r"axes\.z: units are missing: the axis is uncalibrated"),
        ({"pixel_size": 55.0}, "pixel_size: .*Give what is missing"),
        (
            {
                "pixel_size": 55.0,
                "beam_energy": 200.0,
                "camera_length": 100.0,
                "axes": {"kx": {"units": "1/Å"}},
            },
            r"axes\.kx\.units: the scale from pixel_size is in 1/nm",
        ),
    ],
)
def test_what_does_not_fit_the_signal_is_refused(parameters, message):
    root = make_root((15, 12, 16))
    axes = (Axis("z", 15, navigate=True), *root.info.signal_axes)
    with pytest.raises(InvalidOperation, match=message):
        calibrated(replace(root, info=replace(root.info, axes=axes)), **parameters)


def test_one_frame_has_no_scan_to_arrange():
    with pytest.raises(InvalidOperation, match="navigation_shape: this signal is one frame"):
        calibrated(make_root((12, 16)), navigation_shape=[1])


def test_uncalibrated_axes_are_called_so():
    info = SignalInfo((Axis("y", 3, navigate=True), Axis("ky", 12), Axis("kx", 16)), np.dtype("u2"))
    disk = {"kind": "disk", "radius": {"value": 1, "unit": "1/nm"}}
    for operation, parameters in (
        ("crop", {"x": {"start": {"value": 1.0, "unit": "1/nm"}}}),
        ("virtual_image", {"detector": disk}),
    ):
        with pytest.raises(InvalidOperation, match=r"the axis k[xy] is uncalibrated.*calibrate it"):
            build(operation, parameters).output(info)
