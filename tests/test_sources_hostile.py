"""Files are not trusted: what they lead to, what they are called, what they carry. Their claims: see beside."""

from __future__ import annotations

import json
import os
import pickle
import time
from importlib.metadata import entry_points

import h5py
import numpy as np
import pytest
import source_files as write
from format_files import FORMATS, empad
from source_samples import SMALL

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import Source, open_source
from tiled_spyde.sources.bounds import Bounds

# rosettasciio's reader of Semper files leaves them open.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
    ),
]
OUTSIDE = "outside the served folders"
DATA = "Experiments/__unnamed__/data"


@pytest.fixture
def places(tmp_path):
    """A served folder, and one beside it with a file that must not be read."""
    served, outside = tmp_path / "served", tmp_path / "outside"
    served.mkdir()
    outside.mkdir()
    write.write_hspy(outside / "secret.hspy", write.placed((3, 4), "u2"), 2)
    return served, outside


def refused(path, roots=()):
    with pytest.raises(SourceError) as caught:
        open_source(path, roots)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def link(group, target):
    group["data"] = h5py.ExternalLink(target, f"/{DATA}")


def storage(group, target):
    group.create_dataset("data", (3, 4), "u2", external=[(target, 0, 24)])


def virtual(group, target):
    layout = h5py.VirtualLayout((3, 4), "u2")
    layout[...] = h5py.VirtualSource(target, f"/{DATA}", (3, 4))
    group.create_virtual_dataset("data", layout)


def leading(path, lead, target):
    """A HyperSpy file whose data are in another file."""
    write.write_hspy(path, write.placed((3, 4), "u2"), 2)
    with h5py.File(path, "a") as file:
        del file[DATA]
        lead(file["Experiments/__unnamed__"], str(target))
    return path


@pytest.mark.parametrize("lead", [link, storage, virtual])
class TestHdf5:
    def test_leads_to_nothing_outside(self, lead, places):
        served, outside = places
        assert OUTSIDE in refused(leading(served / "a.hspy", lead, outside / "secret.hspy"))
        assert OUTSIDE in refused(leading(served / "b.hspy", lead, "../outside/secret.hspy"), [served])
        (served / "inside.hspy").symlink_to(outside / "secret.hspy")
        assert OUTSIDE in refused(leading(served / "c.hspy", lead, "inside.hspy"))

    def test_leads_to_what_is_served(self, lead, places):
        served, outside = places
        path = leading(served / "a.hspy", lead, outside / "secret.hspy")
        (root,) = open_source(path, [served, outside])
        assert [file.name for file in root.files] == ["a.hspy", "../outside/secret.hspy"]
        assert root.reader.read(()).shape == (3, 4)

    def test_a_target_that_is_missing_is_named(self, lead, places):
        served, _ = places
        assert "leads to 'gone.h5', which is not beside it" in refused(
            leading(served / "a.hspy", lead, "gone.h5")
        )

    def test_the_working_folder_is_not_searched_for_it(self, lead, places, monkeypatch):
        served, outside = places
        monkeypatch.chdir(outside)
        assert OUTSIDE in refused(leading(served / "a.hspy", lead, "secret.hspy"))


def test_what_is_led_to_is_looked_at_too(places):
    served, outside = places
    leading(served / "b.hspy", link, outside / "secret.hspy")
    assert OUTSIDE in refused(leading(served / "a.hspy", link, "b.hspy"))


def test_files_that_lead_to_each_other_end(places):
    served, _ = places
    leading(served / "b.hspy", link, "a.hspy")
    refused(leading(served / "a.hspy", link, "b.hspy"))


def test_soft_links_that_lead_in_circles_end(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u2"), 2)
    with h5py.File(path, "a") as file:
        file["Experiments/__unnamed__/metadata/again"] = h5py.SoftLink("/Experiments/__unnamed__/metadata")
        file["Experiments/loop"] = h5py.SoftLink("/Experiments/loop")
        file["Experiments/lost"] = h5py.SoftLink("/nowhere")
    started = time.thread_time()
    refused(path)
    assert time.thread_time() - started < 5


def swapped(path, outside):
    """`path`, with a link out of the folder in its place."""
    moved = outside / path.name
    path.rename(moved)
    path.symlink_to(moved)


COMPANIONS = {
    "ripple": "a.raw",
    "empad": "scan_x4_y3.raw",
    "impulse": "a_Metadata.log",
    "dectris scan": "a_data_000002.h5",
    "tvips": "a_001.tvips",
}


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion_that_is_a_link_out_is_not_followed(name, places):
    served, outside = places
    path = FORMATS[name](served)
    open_source(path)
    swapped(served / COMPANIONS[name], outside)
    assert OUTSIDE in refused(path)
    assert open_source(path, [served, outside])


def test_a_header_of_merlin_that_is_a_link_out_or_a_pipe(places):
    served, outside = places
    path = write.write_mib(served / "a.mib", write.placed((2, 12, 16), "u2"))
    swapped(served / "a.hdr", outside)
    assert OUTSIDE in refused(path)
    (served / "a.hdr").unlink()
    os.mkfifo(served / "a.hdr")
    assert "no regular file" in refused(path)


@pytest.mark.parametrize("name", ["../outside/secret.raw", "/etc/passwd", "../../../../../../etc/passwd"])
def test_a_header_that_names_a_file_elsewhere(name, places):
    served, outside = places
    (outside / "secret.raw").write_bytes(bytes(3 * 4 * 130 * 128 * 4))
    assert OUTSIDE in refused(empad(served, raw=name))


def test_a_file_that_is_itself_a_link_out(places):
    served, outside = places
    (served / "a.hspy").symlink_to(outside / "secret.hspy")
    assert OUTSIDE in refused(served / "a.hspy", [served])
    assert open_source(served / "a.hspy")  # a person named it


def test_a_store_that_leads_out(places):
    served, outside = places
    data = write.placed((4, 5, 4, 5), "u2")
    path = write.write_zspy(served / "a.zspy", data, 2, chunks=(1, 1, 4, 5))
    swapped(next(path.rglob("1.0.0.0")), outside)
    (root,) = open_source(path)  # that chunk is not one of those that are looked at on opening
    np.testing.assert_array_equal(root.reader.read((0, 1)), data[0, 1])
    with pytest.raises(SourceError, match=OUTSIDE):
        root.reader.read((1, 0))
    swapped(path / "Experiments/scan/data", outside)
    assert OUTSIDE in refused(path)


def test_what_is_remembered_is_opened_within_the_same_bounds(places):
    served, outside = places
    source = Source.at(
        write.write_zspy(served / "a.zspy", write.placed((2, 3, 4, 5), "u2"), 2, chunks=(1, 1, 4, 5))
    )
    swapped(next((served / "a.zspy").rglob("1.1.0.0")), outside)
    with pytest.raises(SourceError):
        source.roots[0].reader.read((1, 1))


NAMES = [
    "a b",
    "ü µ Å 漢字 🔬",
    "a'b\"c",
    "a\\b",
    "%2e%2e",
    "#?&;",
    "a\nb",
    "\x7f\x01",
    "-rf",
    "..a",
    "*[a]",
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("kind", ["mrc stack", "mib 2|2 12-bit", "hspy 1|2", "tif stack"])
def test_names_of_every_character(name, kind, tmp_path):
    path = SMALL[kind](tmp_path)
    for other in list(tmp_path.iterdir()):
        other.rename(other.with_name(name + other.suffix))
    path = path.with_name(name + path.suffix)
    (root,) = open_source(path)
    assert root.reader.read((0,) * len(root.info.navigation_shape)).shape == root.info.signal_shape
    path.write_bytes(b"nothing")
    refused(path)


def test_metadata_of_every_kind_become_little_json(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u2"), 2)
    with h5py.File(path, "a") as file:
        about = file["Experiments/__unnamed__/metadata"]
        about.attrs.update({"nan": np.nan, "far": np.inf, "bytes": np.void(b"\xff\0\x01"), "none": "_None_"})
        about["long"] = "x" * 10_000_000
        about["many"] = np.arange(1_000_000)
        about.attrs["_bs_raw"] = np.void(b"\x80\x04")
        inner = about
        for _ in range(200):
            inner = inner.create_group("in")
        several = about.create_group("several")
        for number in range(5000):
            several.attrs[f"key {number}"] = number
        file["Experiments/__unnamed__/metadata/General"].attrs["title"] = "t" * 60_000
    (root,) = open_source(path)
    text = json.dumps(root.metadata, allow_nan=False)
    assert len(text) < 100_000
    assert len(root.title) <= 1000
    assert len(root.name) <= 64


def test_keys_are_bounded_like_their_values():
    from tiled_spyde.sources.metadata import to_json

    assert len(json.dumps(to_json({"k" * 10_000_000: 1, **{f"{n}": n for n in range(100_000)}}))) < 300_000


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    class Ran:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    packed = np.array([Ran()], object)
    np.save(tmp_path / "a.npy", packed, allow_pickle=True)
    np.savez(tmp_path / "b.npz", data=packed, meta_data=packed)
    (tmp_path / "b.npz").rename(tmp_path / "b.prz")
    np.savez(tmp_path / "c.npz", data=write.placed((3, 4), "f4"), meta_data=packed)
    (tmp_path / "c.npz").rename(tmp_path / "c.prz")
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u2"), 2)
    with h5py.File(path, "a") as file:
        model = file.create_group("Analysis/models/a")
        model.attrs["_signal"] = "/Experiments/__unnamed__"
        model["_bs_dumped"] = np.void(pickle.dumps(Ran()))
    for name in ("a.npy", "b.prz"):
        refused(tmp_path / name)
    for name in ("c.prz", "a.hspy"):
        for root in open_source(tmp_path / name):
            root.reader.read((0,) * len(root.info.navigation_shape))
    assert not (tmp_path / "ran").exists()


def test_nothing_is_written_beside_the_data(tmp_path):
    for number, writer in enumerate([*FORMATS.values(), *SMALL.values()]):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = writer(folder)
        before = sorted(folder.rglob("*"))
        for root in open_source(path):
            root.reader.read((0,) * len(root.info.navigation_shape))
        assert sorted(folder.rglob("*")) == before


def test_a_reader_may_look_up_what_is_installed(tmp_path, monkeypatch):
    """Also in a checkout, whose packages are not below Python's own folder."""
    package = tmp_path / "checkout" / "some-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: some\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[some.group]\nname = module\n")
    (package.parent / "secret.txt").write_text("secret")
    (tmp_path / "served").mkdir()
    monkeypatch.syspath_prepend(package.parent)
    with Bounds([tmp_path / "served"]).kept() as opened:
        assert [point.name for point in entry_points(group="some.group")] == ["name"]
    assert opened == []
    with pytest.raises(SourceError, match="outside"), Bounds([tmp_path / "served"]).kept():
        (package.parent / "secret.txt").read_text()
