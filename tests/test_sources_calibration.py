"""What files say of axes, and what is made of it."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import source_files as write

from tiled_spyde import labels
from tiled_spyde.errors import SourceError
from tiled_spyde.labels import clean_units
from tiled_spyde.sources import open_source
from tiled_spyde.sources.calibration import describe
from tiled_spyde.sources.metadata import to_json, with_mapped


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("nm", "nm"), ("$nm$", "nm"), ("n_m", "nm"), ("um", "µm"), ("micron", "µm"), ("μm", "µm"), (" µm ", "µm"),
        (r"$\mu m$", "µm"), ("1 / nm", "1/nm"), ("nm^-1", "1/nm"), ("nm-1", "1/nm"), ("$nm^{-1}$", "1/nm"),
        ("A^-1", "1/Å"), ("Å^-1", "1/Å"), ("1 / Å", "1/Å"), ("1/um", "1/µm"), ("Angstrom", "Å"), ("A", "A"),
        ("eV", "eV"), ("keV", "keV"), ("mrad", "mrad"), ("deg", "°"), ("sec", "s"),
        ("", None), (" ", None), ("<undefined>", None), ("px", None), ("pixel", None), ("1/px", None),
        (None, None), (3, None),
    ],
)  # fmt: skip
def test_units(said, meant):
    assert clean_units(said) == meant


def axes_of(*axes):
    return describe(axes, [axis.get("size", 4) for axis in axes], np.dtype("u2"), {}).info.axes


def axis(navigate=False, **said):
    return {"size": 4, "name": "", "scale": 1.0, "offset": 0.0, "units": "", "navigate": navigate, **said}


@pytest.mark.parametrize(
    ("navigation", "signal", "names"),
    [
        (0, 1, ["channel"]), (0, 2, ["y", "x"]), (1, 1, ["x", "channel"]), (1, 2, ["z", "y", "x"]),
        (2, 0, ["y", "x"]), (2, 1, ["y", "x", "channel"]), (2, 2, ["y", "x", "ky", "kx"]),
        (3, 2, ["z", "y", "x", "ky", "kx"]), (5, 0, ["axis_0", "t", "z", "y", "x"]),
    ],
)  # fmt: skip
def test_nameless_axes_are_named_by_their_role(navigation, signal, names):
    made = axes_of(*[axis(navigate=True)] * navigation, *[axis()] * signal)
    assert [one.name for one in made] == names


def test_names_are_unique_and_given_ones_are_kept():
    made = axes_of(axis(True, name="x"), axis(True), axis(name="x"), axis(name="x"))
    assert [one.name for one in made] == ["x_4", "x_3", "x_2", "x"]
    assert [one.name for one in axes_of(axis(name="x"), axis(name="<undefined>"))] == ["x", "x_2"]


@pytest.mark.parametrize(
    "scale", [0, 0.0, math.nan, math.inf, -math.inf, None, "wide", 1e-300, -1e-300, 1e300, [1, 2], 1j]
)
def test_a_scale_that_is_none_leaves_the_axis_uncalibrated(scale):
    (made,) = axes_of(axis(scale=scale, offset=5.0, units="nm"))
    assert (made.scale, made.offset, made.units) == (1.0, 0.0, None)


@pytest.mark.parametrize("offset", [math.nan, math.inf, 1e300, None, "far"])
def test_an_offset_that_is_none_leaves_the_axis_uncalibrated(offset):
    (made,) = axes_of(axis(scale=0.5, offset=offset, units="nm"))
    assert (made.scale, made.offset, made.units) == (1.0, 0.0, None)


@pytest.mark.parametrize(
    "said", ["x" * 33, "n" * 10_000, "\x01\x02", "nm\x00\x7f", "\u202enm", b"nm", ["nm"], {"a": 1}, 2.5]
)
def test_units_of_garbage_are_none(said):
    assert clean_units(said) is None


def test_names_of_axes_are_short_and_can_be_shown():
    (made,) = axes_of(axis(name="a\nb\x00" + "c" * 10_000))
    assert made.name == "ab" + "c" * 62


def test_a_negative_scale_is_kept():
    (made,) = axes_of(axis(scale=-0.5, offset=2.0, units="nm"))
    assert (made.scale, made.offset, made.value(4)) == (-0.5, 2.0, 0.0)


def test_values_of_an_axis_that_is_not_uniform_are_kept(tmp_path):
    data, values = write.placed((3, 5), "f4"), np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    axes = write.described(data.shape, 1)
    axes[1] = {"name": "wavelength", "units": "nm", "navigate": False, "axis": values, "_type": "DataAxis"}
    (root,) = open_source(write.write_hspy(tmp_path / "a.hspy", data, 1, axes))
    assert root.info.axes[1].values == tuple(values)
    assert root.info.axes[1].units == "nm"
    assert root.signal().axes_manager[1].axis.tolist() == values.tolist()


def test_an_axis_that_is_a_formula_is_not_evaluated():
    made = axes_of(
        {"name": "E", "size": 3, "expression": "__import__('os')", "units": "eV", "navigate": False}
    )
    assert (made[0].scale, made[0].units, made[0].values) == (1.0, None, None)


def test_navigation_axes_come_first():
    found = describe(
        [axis(name="E", size=7), axis(True, name="y", size=3), axis(True, name="x", size=5)],
        (7, 3, 5),
        np.dtype(">u2"),
        {"signal_type": "EELS"},
    )
    assert [one.name for one in found.info.axes] == ["y", "x", "E"]
    assert found.order == (1, 2, 0)
    assert found.info.dtype == np.dtype("u2")
    assert found.info.signal_type == "EELS"


def test_old_files_say_only_what_was_recorded():
    axes = [{"name": name, "scale": 1.0} for name in "yxE"]
    found = describe(axes, (3, 5, 7), np.dtype("f4"), {"record_by": "spectrum"})
    assert found.info.navigation_shape == (3, 5)


@pytest.mark.parametrize(
    ("dtype", "shape", "why"),
    [
        (np.dtype([("R", "f4"), ("G", "f4"), ("B", "f4")]), (4, 4), "not numbers"),
        (np.dtype("g"), (4, 4), "not numbers"),
        (np.dtype(object), (4, 4), "not numbers"),
        (np.dtype("S3"), (4, 4), "not numbers"),
        (np.dtype("u2"), (0, 4), "no pixel"),
        (np.dtype("u2"), (4, 4, 4), "2 axes"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(dtype, shape, why):
    with pytest.raises(SourceError, match=why):
        describe([axis(), axis()], shape, dtype, {})


def units(path):
    return {axis.name: axis.units for axis in open_source(path)[0].info.axes}


def test_headers_without_a_pixel_size_give_no_units(tmp_path):
    """Where rosettasciio says 1 nm for what the file does not say."""
    data = write.placed((2, 6, 5), "u2")
    assert units(write.write_mrc(tmp_path / "a.mrc", data)) == {"z": None, "y": "nm", "x": "nm"}
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    content[28:32] = bytes(4)
    (tmp_path / "a.mrc").write_bytes(content)
    assert units(tmp_path / "a.mrc") == {"z": None, "y": "nm", "x": None}

    scan = write.placed((2, 3, 5, 5), "u1")
    path = write.write_blo(tmp_path / "a.blo", scan)
    assert units(path) == {"y": "nm", "x": "nm", "dy": "cm", "dx": "cm"}
    content = bytearray(path.read_bytes())
    content[50:52] = bytes(2)
    path.write_bytes(content)
    assert units(path) == {"y": "nm", "x": "nm", "dy": None, "dx": None}

    movie = write.write_direct_electron(tmp_path / "20251103_00001_movie.mrc", scan)
    assert set(units(movie).values()) == {None}


def test_metadata_becomes_json():
    made = to_json(
        {
            "General": {"title": "a", "scale": np.float64(0.5), "bad": math.nan, "far": np.float32("inf")},
            "list": [np.int16(3), (1, 2)],
            "array": np.arange(3),
            "huge": np.zeros(10_000),
            "bytes": b"\xff\x00a",
            "surrogate": "a\udcffb",
            "large": 2**70,
            "_HyperSpy": {"x": 1},
            "Markers": {"x": 1},
        }
    )
    assert made == {
        "General": {"title": "a", "scale": 0.5, "bad": None, "far": None},
        "list": [3, [1, 2]],
        "array": [0, 1, 2],
        "huge": "array of shape (10000,)",
        "bytes": "\ufffd\x00a",
        "surrogate": "a?b",
        "large": str(2**70),
    }


def test_metadata_is_bounded():
    made = to_json({str(n): "text" * 500 for n in range(1000)})
    assert sum(map(len, made.values())) < 25_000
    nested = {}
    for _ in range(100):
        nested = {"in": nested}
    assert str(to_json(nested)).count("in") < 20


def test_metadata_that_readers_map_is_merged():
    mapping = {"a.b": ("General.x", None), "a.c": ("General.y", float), "no": ("General.z", None)}
    merged = with_mapped({"General": {"title": "t"}}, {"a": {"b": 1, "c": "text"}}, mapping)
    assert merged == {"General": {"title": "t", "x": 1}}


def test_examples_in_docstrings():
    assert doctest.testmod(labels).attempted
    assert not doctest.testmod(labels).failed
