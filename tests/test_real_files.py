"""Real files, through HTTP, compared with what hyperspy makes of them."""

from __future__ import annotations

import contextlib
import io
import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from conftest import serving

# File, tree, and what hyperspy needs to be told to open it.
FILES = [
    ("SiO2_EDS_map_128x128.hspy", "EDS_Spectrum_Image", {}),
    ("CL_map_30x16.hspy", "880_30K_map2a", {}),
    ("Ni_EBSD_3x3.zspy", "Ni_EBSD_3x3", {}),
    ("HAADF_tilt_series.mrc", "signal", {}),
    ("fei-extended.mrc", "signal", {}),
    ("SPED_2x3.blo", "signal", {}),
    ("Merlin_4x2_6bit.mib", "signal", {}),
    ("LSMO_EELS_linescan.hdf5", None, {"reader": "HSPY"}),
    ("hologram.hdf5", None, {"reader": "HSPY"}),
]


@pytest.fixture(scope="module")
def served(shared_data, tmp_path_factory):
    import tifffile

    written = tmp_path_factory.mktemp("written")
    series = np.random.default_rng(3).integers(0, 4000, (5, 40, 56)).astype("u2")
    tifffile.imwrite(written / "series.tif", series, imagej=True, metadata={"axes": "ZYX"})
    with serving([shared_data, written]) as service:
        service.written = written
        yield service


def test_every_kind_of_file_that_is_promised_is_compared():
    kinds = {name.rpartition(".")[2] for name, _, _ in FILES} | {"tif"}
    assert kinds == {"hspy", "zspy", "mrc", "blo", "mib", "hdf5", "tif"}


@pytest.mark.parametrize(("name", "tree", "options"), FILES, ids=[name for name, _, _ in FILES])
def test_a_file_over_http_is_what_hyperspy_reads(served, shared_data, name, tree, options):
    reference = _reference(shared_data / name, options)
    assert_same(served, f"{shared_data.name}/{name}", tree, reference)


def test_a_tiff_over_http_is_what_hyperspy_reads(served):
    reference = _reference(served.written / "series.tif", {})
    assert_same(served, f"{served.written.name}/series.tif", None, reference)


def assert_same(served, file, tree, reference):
    trees = [item["id"] for item in served.get(f"/api/v1/search/{file}").json()["data"]]
    assert tree is None or tree in trees
    path = f"{file}/{tree or trees[0]}/root"
    node = served.get(f"/api/v1/metadata/{path}").json()["data"]["attributes"]
    axes = reference.axes_manager._axes
    assert node["structure"]["shape"] == list(reference.data.shape)
    described = node["structure"]["data_type"]
    dtype = np.dtype(f"<{described['kind']}{described['itemsize']}")
    assert dtype == reference.data.dtype.newbyteorder("<")
    shown = node["metadata"]["attributes"]["axes"]
    assert [a["navigate"] for a in shown] == [bool(a.navigate) for a in axes]
    for ours, theirs in zip(shown, axes, strict=True):
        if ours["units"] is not None:
            assert ours["scale"] == pytest.approx(theirs.scale)
            assert ours["offset"] == pytest.approx(theirs.offset)
    for index in _positions(reference):
        wanted = ",".join(map(str, index)) or ":"
        answer = served.get(
            f"/api/v1/array/full/{path}", params={"slice": wanted, "format": "application/octet-stream"}
        )
        assert answer.status_code == 200, answer.text
        expected = np.asarray(reference.data[index])
        np.testing.assert_array_equal(np.frombuffer(answer.content, dtype).reshape(expected.shape), expected)


def _reference(path, options):
    # A plain signal class: extensions that may be installed take many seconds to import.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        signal = hs.load(path, lazy=False, signal_type="", **options)
    return signal[0] if isinstance(signal, list) else signal


def _positions(reference):
    navigation = reference.axes_manager._navigation_shape_in_array
    corners = {tuple(0 for _ in navigation), tuple(n - 1 for n in navigation)}
    inside = np.random.default_rng(7).integers(0, navigation, (4, len(navigation))) if navigation else []
    return corners | {tuple(map(int, index)) for index in inside}
