"""How a signal was acquired, as files say it."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import make_root

from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.signals import Instrument
from tiled_spyde.sources import open_source
from tiled_spyde.sources.instrument import instrument_of, with_instrument


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({"TEM": {"beam_energy": 200, "camera_length": 91.0}}, Instrument(200.0, 91.0)),
        ({"SEM": {"beam_energy": 5.0, "camera_length": 0.0}}, Instrument(5.0)),
        ({"TEM": {"camera_length": 0.2}}, Instrument()),  # .blo: metres
        ({"TEM": {"beam_energy": float("nan"), "camera_length": float("inf")}}, Instrument()),
        ({"TEM": {"beam_energy": "200", "camera_length": [1, 2]}}, Instrument(200.0)),
        ({"TEM": {"beam_energy": np.float32(80), "rotation": 25.0}}, Instrument(80.0)),
        ({"TEM": None}, Instrument()),
        ("a microscope", Instrument()),
    ],
)
def test_what_metadata_say(said, known):
    assert instrument_of({"Acquisition_instrument": said}) == known


def test_metadata_get_what_is_known_better():
    metadata = {
        "General": {"title": "a"},
        "Acquisition_instrument": {"TEM": {"beam_energy": 200.0, "microscope": "b"}},
    }
    better = with_instrument(metadata, Instrument(beam_energy=80.0, camera_length=120.0))
    assert better["Acquisition_instrument"]["TEM"] == {
        "beam_energy": 80.0,
        "camera_length": 120.0,
        "microscope": "b",
    }
    assert better["General"] == {"title": "a"}
    assert metadata["Acquisition_instrument"]["TEM"]["beam_energy"] == 200.0
    assert (
        "SEM"
        in with_instrument({"Acquisition_instrument": {"SEM": {}}}, Instrument(5.0))["Acquisition_instrument"]
    )
    assert with_instrument({}, Instrument()) == {}


def test_a_file_gives_it_to_its_signals(tmp_path):
    signal = hs.signals.Signal2D(np.zeros((4, 5, 6), "u2"))
    signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    signal.metadata.set_item("Acquisition_instrument.TEM.camera_length", 150.0)
    signal.save(tmp_path / "a.hspy")
    (root,) = open_source(tmp_path / "a.hspy")
    assert root.info.instrument == Instrument(200.0, 150.0)
    scaled = Recipe(root).then(build("calibrate", {"pixel_size": 55.0}))
    assert scaled.info.signal_axes[0].units == "1/nm"


def test_nothing_is_known_of_what_says_nothing():
    assert make_root().info.instrument == Instrument()
