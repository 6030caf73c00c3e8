"""Numbers and units as people read them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.nodes import Axis, Node
from viewer.readout import (
    axis_label,
    bytes_text,
    ends_text,
    indices_text,
    number,
    place_text,
    pretty_units,
    quantity,
    scale_bar,
    shape_text,
    signal_word,
)


@given(st.floats(1e-12, 1e12))
def test_a_scale_bar_is_1_2_or_5_and_the_longest_that_fits_a_third(span):
    length = scale_bar(span)
    mantissa = length / 10 ** math.floor(math.log10(length) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5)) < 1e-6
    assert length <= span / 3 * (1 + 1e-12)
    assert length * 2.5 > span / 3 * (1 - 1e-9)


@pytest.mark.parametrize(
    ("span", "length"), [(30, 10), (29.9, 5), (0.7, 0.2), (1, 0.2), (1.6, 0.5), (3000, 1000)]
)
def test_scale_bars(span, length):
    assert scale_bar(span) == pytest.approx(length)


@pytest.mark.parametrize("span", [0, -1, math.nan, math.inf])
def test_no_scale_bar_for_no_width(span):
    with pytest.raises(ValueError, match="wide"):
        scale_bar(span)


@pytest.mark.parametrize(
    ("units", "pretty"),
    [
        (None, "px"),
        ("", "px"),
        ("um", "µm"),
        ("micron", "µm"),
        ("1 / nm", "nm⁻¹"),
        ("1/nm", "nm⁻¹"),
        ("nm^-1", "nm⁻¹"),
        ("$A^{-1}$", "Å⁻¹"),
        ("$nm$", "nm"),
        ("eV", "eV"),
        ("m s^-2", "ms⁻²"),
    ],
)
def test_units(units, pretty):
    assert pretty_units(units) == pretty


@pytest.mark.parametrize(
    ("value", "units", "text"),
    [
        (0.05, "µm", "50 nm"),
        (20, "nm", "20 nm"),
        (2000, "nm", "2 µm"),
        (0.5, "nm", "0.5 nm"),
        (0.02, "1/nm", "0.02 nm⁻¹"),
        (5, None, "5 px"),
        (0.0, "µm", "0 µm"),
        (1e-9, "m", "1 nm"),
    ],
)
def test_quantities(value, units, text):
    assert quantity(value, units) == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_can_be_said(value):
    assert number(value)


def test_numbers():
    assert number(214) == "214"
    assert number(65535.0) == "65535"
    assert number(0.123456) == "0.1235"
    assert number(1.5e-7) == "1.5×10⁻⁷"
    assert number(math.nan) == "nan"


def test_positions_read_x_first():
    axes = (Axis("y", 48, 2.0, 0.0, "nm"), Axis("x", 64, 2.0, 1.0, "nm"))
    assert indices_text((47, 61)) == "(61, 47)"
    assert indices_text(()) == ""
    assert place_text(axes, (47, 61)) == "x 123 nm · y 94 nm"
    assert place_text((Axis("z", 77),), (3,)) == ""


def test_an_uncalibrated_axis_says_so():
    assert axis_label(Axis("x", 5)) == "x, uncalibrated (px)"
    assert axis_label(Axis("kx", 5, 0.1, 0, "1/nm")) == "kx (nm⁻¹)"


def node_of(navigation, signal, signal_type="", units=None):
    axes = [Axis("n", size, navigate=True) for size in navigation] + [
        Axis("s", size, units=units) for size in signal
    ]
    return Node(("t", "n"), "0a", tuple(axes), np.dtype("u1"), (1,) * len(axes), signal_type=signal_type)


@pytest.mark.parametrize(
    ("navigation", "signal", "text"),
    [
        ((128, 128), (256, 256), "128²|256²"),
        ((16, 30), (334,), "30×16|334"),
        ((), (3710, 3838), "3838×3710"),
        ((77,), (256, 200), "77|200×256"),
        ((128, 100), (), "100×128"),
    ],
)
def test_shapes_read_as_in_hyperspy(navigation, signal, text):
    assert shape_text(node_of(navigation, signal)) == text


def test_words_of_the_field():
    assert signal_word(node_of((2, 2), (4, 4), "electron_diffraction")) == "Diffraction"
    assert signal_word(node_of((2, 2), (4, 4), units="1/nm")) == "Diffraction"
    assert signal_word(node_of((2, 2), (4, 4))) == "Image"
    assert signal_word(node_of((2, 2), (4,), "EELS")) == "EELS spectrum"
    assert signal_word(node_of((2, 2), (4,))) == "Spectrum"
    assert signal_word(node_of((2, 2), ())) == "Map"


def test_two_numbers_that_a_pattern_is_shifted_by_are_no_spectrum():
    assert (
        signal_word(Node(("f", "s", "c"), "k", (Axis("shift", 2, units="px"),), np.dtype("f4"), (2,)))
        == "Shift"
    )


def test_a_scale_without_units_is_no_scale():
    axis = Axis("z", 1728, scale=0.1, offset=3.0)
    assert axis.value(864) == 864
    assert axis.index(864) == 864
    assert axis_label(axis) == "z, uncalibrated (px)"


def test_sizes():
    assert [bytes_text(n) for n in (12, 40_000, 3 * 1024**2, 118 * 1024**2)] == [
        "12 B",
        "39 KiB",
        "3.0 MiB",
        "118 MiB",
    ]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.000308, 18.73, ("0", "18.7")),
        (-6.3, 6.3, ("-6.3", "6.3")),
        (1000.004, 1000.016, ("1000", "1000")),
        (9180.2, 19403.0, ("9200", "19400")),
        (2e-9, 5.123e-9, ("2×10⁻⁹", "5.12×10⁻⁹")),
        (3.0, 3.0, ("3", "3")),
        (0.0, float("inf"), ("0", "inf")),
    ],
)
def test_ends_of_a_bar_are_as_round_as_they_are_told_apart(low, high, texts):
    assert ends_text(low, high) == texts
