"""A served folder where things are called by zarr's own words."""

from __future__ import annotations

import json

import pytest
from conftest import serving

SCAN = "scan4d.hspy/signal"
# Names that are also words of zarr.
ODD = ["c", "42", "0.0", "a b", "ü", "root.zarr", "zarr.json", "kx"]
READY = {
    SCAN: [
        *(
            {"name": name, "operation": "gaussian_filter", "parameters": {"sigma": 1.0 + i}}
            for i, name in enumerate(ODD)
        ),
        {"name": "cropped", "operation": "crop", "parameters": {"x": {"start": {"index": 3}}}},
        {"name": "total", "operation": "sum"},
    ],
    "image.hspy/signal": [{"name": "total", "operation": "sum"}],
}
DOCUMENT = {"v2": ".zarray", "v3": "zarr.json"}


@pytest.fixture(scope="module")
def named(scans, tmp_path_factory):
    """A server of that folder."""
    folder = tmp_path_factory.mktemp("names")
    for path in scans.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for below in ("c/0", "zarr.json", "c/0/c/0"):
        (folder / below).mkdir(parents=True, exist_ok=True)
        (folder / below / "0").mkdir(exist_ok=True)
        (folder / below / "line.hspy").write_bytes((scans / "line.hspy").read_bytes())
    with serving([folder], trees=READY) as service:
        yield service


def described(service, path, version="v3"):
    """A document, which must be JSON."""
    answer = service.get(f"/zarr/{version}/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(answer.text, parse_constant=refuse)
