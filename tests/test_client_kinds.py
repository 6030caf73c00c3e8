"""Numbers, axes and colours of every kind come to a notebook as hyperspy has them."""

from __future__ import annotations

import numpy as np
import pytest
from viewer_service import PinnedMap, StandIn, axis, node, tree

import tiled_spyde.client as spyde
from tiled_spyde import remote


def kinds():
    """Stock arrays with our metadata, one of each kind."""
    y, x = axis("y", 4), axis("x", 6)
    values = [0.0, 0.5, 2.0, 4.5]
    numbers = np.arange(24).reshape(4, 6)
    colour = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    one = ArrayOf(np.array([7.5]), [], dims=("value",))
    return PinnedMap(
        {
            "uneven": tree(
                {"root": node(numbers, [axis("y", 4, 1.0, "nm", navigate=True, values=values), x])}
            ),
            "complex": tree({"root": node(numbers * (1 + 2j), [y, x])}),
            "bool": tree({"root": node(numbers % 3 == 0, [y, x])}),
            "half": tree({"root": node(numbers.astype("f2"), [y, x])}),
            "rgb8": tree({"root": node(colour.astype("u1"), [y, x, axis("colour", 3)], chunks=(2, 3, 3))}),
            "rgba16": tree(
                {"root": node(np.tile(numbers[..., None], 4).astype("u2"), [y, x, axis("colour", 4)])}
            ),
            "number": tree({"root": one}),
            "nan": tree({"root": node(np.array([np.nan, np.inf, -np.inf, 1.0]), [axis("E", 4)])}),
            "a name, with µ & ?": tree({"root": node(numbers, [y, x])}),
        }
    )


def ArrayOf(array, axes, dims):  # noqa: N802 - the one node whose shape is not its axes'
    made = node(array, [axis("value", 1)])
    made.metadata()["attributes"]["axes"] = axes
    return made


@pytest.fixture(scope="module")
def stock():
    """A stock tiled server of these."""
    server = StandIn(kinds()).start()
    yield server
    remote.close_connections()
    server.stop()


def test_axes_that_are_not_uniform_keep_their_values(stock):
    signal = spyde.open(f"{stock.url}/api/v1/metadata/uneven")
    assert list(signal.axes_manager.navigation_axes[0].axis) == [0.0, 0.5, 2.0, 4.5]
    assert signal.axes_manager.navigation_axes[0].units == "nm"
    np.testing.assert_array_equal(signal.inav[2.0].data.compute(), np.arange(12, 18))


@pytest.mark.parametrize("name", ["complex", "bool", "half", "nan"])
def test_numbers_of_every_kind_come_as_they_are(stock, name):
    numbers = np.arange(24).reshape(4, 6)
    expected = {
        "complex": numbers * (1 + 2j),
        "bool": numbers % 3 == 0,
        "half": numbers.astype("f2"),
        "nan": np.array([np.nan, np.inf, -np.inf, 1.0]),
    }[name]
    signal = spyde.open(f"{stock.url}/api/v1/metadata/{name}")
    assert signal.data.dtype == expected.dtype
    np.testing.assert_array_equal(signal.data.compute(), expected)
    if name == "complex":
        assert type(signal).__name__ == "LazyComplexSignal2D"
        np.testing.assert_allclose(signal.amplitude.data, abs(expected))


def test_colour_is_hyperspys_colour(stock):
    for name, dtype in (("rgb8", "rgb8"), ("rgba16", "rgba16")):
        signal = spyde.open(f"{stock.url}/api/v1/metadata/{name}")
        assert signal.data.shape == (4, 6)
        expected = {
            "rgb8": np.arange(72).reshape(4, 6, 3),
            "rgba16": np.tile(np.arange(24).reshape(4, 6, 1), 4),
        }[name]
        pixels = signal.data.compute()
        for number, letter in enumerate("RGBA"[: expected.shape[-1]]):
            np.testing.assert_array_equal(pixels[letter], expected[..., number])
        signal.compute()
        signal.change_dtype(f"uint{dtype[-1] if dtype == 'rgb8' else 16}")
        assert signal.data.shape == expected.shape


def test_a_single_number_is_a_signal_of_one(stock):
    signal = spyde.open(f"{stock.url}/api/v1/metadata/number")
    assert signal.axes_manager.navigation_dimension == 0
    np.testing.assert_array_equal(signal.data.compute(), [7.5])


def test_names_of_all_kinds(stock):
    signal = spyde.open(f"{stock.url}/ui/browse/a%20name%2C%20with%20%C2%B5%20%26%20%3F")
    assert signal.data.shape == (4, 6)
