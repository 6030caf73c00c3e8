"""What a configuration says of files that say too little."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tiled_spyde.operations import build
from tiled_spyde.settings import Calibration, CalibrationRule, served_folders

RULES = """
- match: "*.mib"
  calibrate:
    navigation_shape: [256, 256]
    beam_energy: 200
    axes:
      kx: {scale: 0.02, units: 1/nm, center: 127.5}
- match: 2026-11/*
  signal: EDS
  calibrate: {counting: true}
- match: "*"
  calibrate: {beam_energy: 300}
"""


def rules(text=RULES):
    return served_folders((), [{"path": "/data", "calibration": yaml.safe_load(text)}])[0].calibration


def energy(path, signal="signal", folders=None):
    found = Calibration(folders or {Path("/data"): rules()})(Path(path), signal)
    return found and found.beam_energy


def test_the_first_rule_that_fits_counts():
    calibration = Calibration({Path("/data"): rules()})
    assert calibration(Path("/data/deep/down/Scan1.MIB"), "signal") == build(
        "calibrate",
        {
            "navigation_shape": [256, 256],
            "beam_energy": 200,
            "axes": {"kx": {"scale": 0.02, "units": "1/nm", "center": 127.5}},
        },
    )
    assert calibration(Path("/data/2026-11/a/map.emd"), "EDS").counting is True
    assert calibration(Path("/data/2026-11/a/map.emd"), "HAADF").beam_energy == 300
    assert calibration(Path("/elsewhere/scan.mib"), "signal") is None


def test_a_path_is_the_one_in_the_folder():
    assert energy("/data/2026-11.mib") == 200
    only = {
        Path("/data"): [CalibrationRule(match="data/*", calibrate=build("calibrate", {"beam_energy": 80}))]
    }
    assert energy("/data/scan.mrc", folders=only) is None
    assert energy("/data/data/scan.mrc", folders=only) == 80


def test_the_folder_next_to_a_file_comes_first_and_a_file_can_be_served_alone():
    def one(match, energy):
        return [CalibrationRule(match=match, calibrate=build("calibrate", {"beam_energy": energy}))]

    folders = {
        Path("/data"): one("*", 300),
        Path("/data/old"): one("*.mrc", 100),
        Path("/data/old/scan.blo"): one("scan.blo", 60),
    }
    assert energy("/data/old/a.mrc", folders=folders) == 100
    assert energy("/data/old/a.emd", folders=folders) == 300
    assert energy("/data/old/scan.blo", folders=folders) == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {match: '*.mib', calibrate: {axes: {kx: {scale: 0}}}}", r"0\.calibrate\.axes\.kx\.scale: "),
        ("- {match: a, calibrate: {}}\n- {match: b}", r"1\.calibrate: Field required"),
        ("- {match: '', calibrate: {}}", r"0\.match: .*at least 1"),
        ("- {calibrate: {}}", r"0\.match: Field required"),
        ("- {match: a, calibrate: {}, when: now}", r"0\.when: Extra"),
        ("- {match: a, calibrate: {beam_energy: .inf}}", r"0\.calibrate\.beam_energy: .*finite"),
        ("- {match: a, calibrate: {beam_energy: '200'}}", r"0\.calibrate\.beam_energy: .*valid number"),
        ("- words", "0: "),
        ("{match: a, calibrate: {}}", " Input should be a valid array"),
        ("3", " Input should be a valid array"),
    ],
)
def test_errors_name_the_folder_the_rule_and_the_parameter(text, message):
    with pytest.raises(ValueError, match=r"^folders\.0\.calibration[.:]" + message):
        rules(text)


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match=r"^folders\.0: it is not plain text"):
        rules("- {match: a, calibrate: {beam_energy: 2026-11-21}}")
