"""The synthetic scan: what is known of it is true, and it is written whole, once, and always the same."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from tiled_spyde import demo
from tiled_spyde.catalog import Catalog, Served
from tiled_spyde.database import Database
from tiled_spyde.demo import (
    Foil,
    cache_folder,
    make_scan,
    reflections,
    show_progress,
    strain_maps,
)
from tiled_spyde.settings import trees_of
from tiled_spyde.sources import Source

SCAN, DETECTOR = (6, 8), (32, 40)
# Per grain, two reflections far enough from the direct beam for its halo to be flat.
SPOTS = (((2, 0, 0), (0, 2, 0)), ((2, 0, 0), (0, 2, -2)))
FRAMES = f"Experiments/{demo.TITLE}/data"


@pytest.fixture
def small(tmp_path):
    return make_scan(tmp_path / "scan", scan=SCAN, detector=DETECTOR)


def spot(frame, near):
    """Centre (x, y) of the disk `near` a place, after a plane through what surrounds it is taken off."""
    x, y = np.rint(near).astype(int)
    dy, dx = np.mgrid[-8:9, -8:9]
    patch = frame[y - 8 : y + 9, x - 8 : x + 9]
    plane = np.stack([np.ones_like(dx), dx, dy], axis=-1)
    outside = np.hypot(dx, dy) > 7
    patch = patch - plane @ np.linalg.lstsq(plane[outside], patch[outside], rcond=None)[0]
    weights = np.clip(patch - patch.max() / 2, 0, None)
    return np.array([x + (weights * dx).sum() / weights.sum(), y + (weights * dy).sum() / weights.sum()])


def measured_deformation(foil, y, x, grain):
    """Deformation gradient from pairs (g, -g) of a noise-free frame, so that no centre is needed."""
    frame = foil.expected(y, x)
    hkl, g, _ = reflections(grain)
    middle = np.array([foil.truth["centre_x"][y, x], foil.truth["centre_y"][y, x]])
    found, ideal = [], []
    for wanted in SPOTS[grain]:
        vector = g[(hkl == wanted).all(axis=1)][0]
        pair = [spot(frame, middle + sign * vector / foil.pixel) for sign in (1, -1)]
        found.append((pair[0] - pair[1]) / 2 * foil.pixel)
        ideal.append(vector)
    return np.linalg.inv(np.linalg.solve(np.array(ideal), np.array(found)))


class TestTruth:
    @pytest.mark.parametrize(
        ("y", "x", "grain"), [(34, 33, 0), (20, 8, 0), (90, 40, 0), (5, 100, 1), (48, 102, 1), (90, 120, 1)]
    )
    def test_reflections_stand_where_the_strain_says(self, y, x, grain):
        foil = Foil((96, 128), (128, 128))
        truth = {name: values[y, x] for name, values in foil.truth.items()}
        deformation = measured_deformation(foil, y, x, grain)
        symmetric = (deformation + deformation.T) / 2 - np.eye(2)
        # A twentieth of the strain's amplitude: a wrong sign, axis or position is far outside.
        close = {"abs": demo.STRAIN / 20}
        assert symmetric[0, 0] == pytest.approx(truth["exx"], **close)
        assert symmetric[1, 1] == pytest.approx(truth["eyy"], **close)
        assert symmetric[0, 1] == pytest.approx(truth["exy"], **close)
        assert (deformation[1, 0] - deformation[0, 1]) / 2 == pytest.approx(truth["rotation"], **close)

    def test_direct_beam_stands_at_the_centre_on_a_detector_that_is_not_square(self):
        foil = Foil((5, 7), (112, 144))
        middle = np.array([foil.truth["centre_x"][4, 1], foil.truth["centre_y"][4, 1]])
        assert spot(foil.expected(4, 1), middle) == pytest.approx(middle, abs=0.1)

    def test_maps_have_the_shape_of_the_scan_and_both_grains(self):
        maps = strain_maps((12, 20))
        assert {values.shape for values in maps.values()} == {(12, 20)}
        assert maps["right_grain"][:, 0].max() < 0.01
        assert maps["right_grain"][:, -1].min() > 0.99
        assert np.abs(maps["exx"]).max() > 0.01

    def test_counts_are_poisson_round_the_expected_frame(self):
        foil = Foil(SCAN, DETECTOR)
        expected = foil.expected(2, 3)
        deviation = (foil.frame(2, 3) - expected) / np.sqrt(expected)
        assert np.abs(deviation.mean()) < 0.1
        assert deviation.std() == pytest.approx(1, abs=0.1)

    def test_every_position_has_its_own_pattern(self):
        foil = Foil(SCAN, DETECTOR)
        frames = {foil.frame(y, x).tobytes() for y in range(SCAN[0]) for x in range(SCAN[1])}
        assert len(frames) == SCAN[0] * SCAN[1]
        assert not np.array_equal(foil.expected(2, 3), foil.expected(3, 2))


class TestFile:
    def test_frames_lie_at_their_position_one_chunk_each_unfiltered(self, small):
        foil = Foil(SCAN, DETECTOR)
        with h5py.File(small) as file:
            data = file[FRAMES]
            assert data.shape == SCAN + DETECTOR
            assert data.chunks == (1, 1, *DETECTOR)
            assert (data.compression, data.shuffle) == (None, False)
            for y, x in [(0, 0), (5, 7), (2, 6)]:
                assert np.array_equal(data[y, x], foil.frame(y, x))

    def test_hyperspy_reads_it_with_calibrated_axes(self, small):
        from rsciio.hspy import file_reader

        (signal,) = file_reader(str(small), lazy=True)
        axes = [(axis["name"], axis["units"], axis["size"], axis["navigate"]) for axis in signal["axes"]]
        assert axes == [
            ("y", "nm", 6, True),
            ("x", "nm", 8, True),
            ("ky", "1/nm", 32, False),
            ("kx", "1/nm", 40, False),
        ]
        kx = signal["axes"][3]
        assert kx["offset"] + kx["scale"] * (40 - 1) / 2 == pytest.approx(0)
        assert signal["metadata"]["Signal"]["signal_type"] == "electron_diffraction"
        assert signal["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 200

    def test_truth_lies_beside_it(self, small):
        with np.load(small.with_name("strained-foil_truth.npz")) as truth:
            assert np.array_equal(truth["exx"], strain_maps(SCAN)["exx"])
            assert np.hypot(*truth["g_left"].T) == pytest.approx([2 / 0.40495] * 2)
            assert np.hypot(*truth["g_right"].T) == pytest.approx([2 / 0.40495, 3**0.5 / 0.40495])

    def test_same_bytes_for_any_number_of_workers(self, small, tmp_path):
        for workers in (1, 3):
            other = make_scan(tmp_path / str(workers), scan=SCAN, detector=DETECTOR, workers=workers)
            assert other.read_bytes() == small.read_bytes()


class TestCache:
    def test_second_call_writes_nothing(self, small, monkeypatch):
        before = small.stat()
        known = (before.st_ino, before.st_mtime_ns, before.st_size)
        monkeypatch.setattr(demo, "_write_scan", lambda *_: pytest.fail("written again"))
        assert make_scan(small.parent, scan=SCAN, detector=DETECTOR) == small
        after = small.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_size) == known

    def test_other_shape_or_version_is_written_again(self, small, monkeypatch):
        make_scan(small.parent, scan=(3, 4), detector=DETECTOR)
        with h5py.File(small) as file:
            assert file[FRAMES].shape == (3, 4, *DETECTOR)
        monkeypatch.setattr(demo, "VERSION", demo.VERSION + 1)
        before = small.stat().st_ino
        make_scan(small.parent, scan=(3, 4), detector=DETECTOR)
        assert small.stat().st_ino != before

    @pytest.mark.parametrize("damage", [b"", b"not HDF5"])
    def test_damaged_scan_is_written_again(self, small, damage):
        whole = small.read_bytes()
        small.write_bytes(damage)
        make_scan(small.parent, scan=SCAN, detector=DETECTOR)
        assert small.read_bytes() == whole

    def test_missing_truth_is_written_again(self, small):
        truth = small.with_name("strained-foil_truth.npz")
        truth.unlink()
        make_scan(small.parent, scan=SCAN, detector=DETECTOR)
        assert truth.exists()

    def test_nothing_half_written_is_left_behind(self, small):
        whole = small.read_bytes()

        def full(done, total):
            if done == 3:
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            make_scan(small.parent, scan=(9, 5), detector=DETECTOR, progress=full)
        assert sorted(p.name for p in small.parent.iterdir()) == [small.name, "strained-foil_truth.npz"]
        assert small.read_bytes() == whole

    def test_folder_is_the_users_cache(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "tiled-spyde"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache" / "tiled-spyde"


def test_small_scan_takes_well_under_a_second(tmp_path):
    begin = time.thread_time()
    make_scan(tmp_path, scan=SCAN, detector=DETECTOR)
    assert time.thread_time() - begin < 1


def test_progress_goes_to_standard_error_in_tenths(capsys):
    for done in range(1, 41):
        show_progress(done, 40)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[-2] for line in err.splitlines()] == [str(10 * n) for n in range(1, 11)]


def test_ready_tree_of_the_configuration_fits_the_scan(small, tmp_path):
    """Every node's parent stands before it, and its parameters are accepted for this very signal."""
    config = yaml.safe_load((Path(__file__).parents[1] / "config" / "demo.yml").read_text())
    ((address, nodes),) = trees_of(config["trees"][0]["args"]["trees"]).items()
    catalog = Catalog(Database(f"sqlite:///{tmp_path}/catalog.sqlite"), [Served(small, (small.name,))])
    catalog.update({small: Source.at(small)})
    catalog.prepare({address: nodes})
    tree = catalog.tree(tuple(address.split("/")))
    assert {"root", "navigator", *(node["name"] for node in nodes)} == set(tree.recipes)
    assert len(nodes) > 3
