"""Every format that is read: the values, axes and types that hyperspy gives, through files of its own kind."""

from __future__ import annotations

import pickle
import runpy
import time
from pathlib import Path

import numpy as np
import pytest
import source_files as write
import tifffile
from format_files import FORMATS, colours, dectris
from source_samples import SMALL

from tiled_spyde.cache import Cache
from tiled_spyde.errors import SourceError
from tiled_spyde.sources import Source, open_source, readers, remembered
from tiled_spyde.sources.choosing import is_data, reader_of
from tiled_spyde.sources.report import table

DOCUMENTED = Path(__file__).parents[1] / "docs" / "formats.md"
# rosettasciio's reader of Semper files leaves them open.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
    ),
]
UNREAD_BY_HYPERSPY = {"dectris stack"}  # not as many lines as columns
SCANS_OF_OURS = {"dectris scan"}  # hyperspy takes its scan for signal axes


@pytest.fixture(params=FORMATS, scope="module")
def written(request, tmp_path_factory):
    name = request.param
    return name, FORMATS[name](tmp_path_factory.mktemp("format"))


def test_values_axes_and_types_are_hyperspys(written):
    from tiled_spyde.sources import report

    name, path = written
    for line in report.lines(path):
        said = line.rstrip(" |").rpartition(" | ")[2]
        if name in UNREAD_BY_HYPERSPY:
            assert said == "hyperspy cannot open it"
        elif name in SCANS_OF_OURS:
            assert said == "yes, but x is a scan axis"
        else:
            assert said == "yes", line


def test_many_frames_at_once_are_the_frames(written):
    _, path = written
    for root in open_source(path):
        assert_regions(root)


@pytest.mark.parametrize("name", SMALL)
def test_many_frames_at_once_are_the_frames_of_raw_files_too(name, tmp_path):
    (root,) = open_source(SMALL[name](tmp_path))
    assert_regions(root)


def assert_regions(root):
    scan, pattern = root.info.navigation_shape, root.info.signal_shape
    whole = root.reader.read_region(tuple(slice(0, size, 1) for size in scan))
    assert whole.shape == root.info.shape
    assert whole.dtype == root.info.dtype
    assert whole.dtype.isnative
    for index in np.ndindex(*scan):
        np.testing.assert_array_equal(whole[index], root.reader.read(index))
    positions = tuple(slice(size // 3, size, 2) for size in scan)
    region = tuple(slice(size // 4, size, 3) for size in pattern)
    part = root.reader.read_region(positions, region)
    np.testing.assert_array_equal(part, whole[positions + region])
    part[...] = 0  # it is ours alone
    np.testing.assert_array_equal(root.reader.read_region(positions, region), whole[positions + region])
    if scan:
        with pytest.raises(IndexError):
            root.reader.read_region(tuple(slice(0, size + 1, 1) for size in scan))


def test_what_is_remembered_of_it_reads_the_same(written):
    _, path = written
    for later, opened in zip(Source.at(path).roots, open_source(path), strict=True):
        first = (0,) * len(opened.info.navigation_shape)
        np.testing.assert_array_equal(later.reader.read(first), opened.reader.read(first))
        copy = pickle.loads(pickle.dumps(opened))  # noqa: S301
        np.testing.assert_array_equal(copy.reader.read(first), opened.reader.read(first))


COMPANIONS = {
    "ripple": {"a.rpl", "a.raw"},
    "empad": {"a.xml", "scan_x4_y3.raw"},
    "dectris scan": {"a_master.h5", *(f"a_data_{n:06d}.h5" for n in (1, 2, 3))},
    "hspy of virtual datasets": {"a.hspy", "part_0.h5", "part_1.h5"},
    "impulse": {"a_Synchronized data.csv", "a_Metadata.log"},
}


@pytest.mark.parametrize("name", COMPANIONS)
def test_files_that_belong_together_are_one_source(name, tmp_path):
    path = FORMATS[name](tmp_path)
    (root,) = open_source(path)
    assert {file.name for file in root.files} == COMPANIONS[name]
    before = root.fingerprint
    for other in COMPANIONS[name] - {path.name}:
        content = (tmp_path / other).read_bytes()
        (tmp_path / other).write_bytes(content + b" ")
        assert open_source(path)[0].fingerprint != before
        (tmp_path / other).write_bytes(content)
    assert open_source(path)[0].fingerprint == before


def test_emi_and_tvips_bring_all_their_files(shared_data, tmp_path):
    (root,) = open_source(shared_data / "TIA_scan_preview_5frames.emi")
    assert {file.name for file in root.files} == {
        "TIA_scan_preview_5frames.emi",
        "TIA_scan_preview_5frames_1.ser",
    }
    (root,) = open_source(FORMATS["tvips"](tmp_path))
    assert {file.name for file in root.files} == {path.name for path in tmp_path.iterdir()}
    assert len(root.files) > 1


@pytest.mark.parametrize("name", [name for name in FORMATS if "colours" in name and "jpg" not in name])
def test_colours_are_the_last_signal_axis(name, tmp_path):
    (root,) = open_source(FORMATS[name](tmp_path))
    *_, last = root.info.axes
    assert (last.name, last.size in (3, 4), last.navigate, last.units) == ("colour", True, False, None)
    written = colours(root.info.shape, root.info.dtype)
    whole = root.reader.read_region(tuple(slice(0, size, 1) for size in root.info.navigation_shape))
    np.testing.assert_array_equal(whole, written)
    assert root.signal().data.compute(scheduler="synchronous").tolist() == written.tolist()


def test_colours_one_after_the_other_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", colours((3, 5, 7), "u1"), photometric="rgb", planarconfig="separate")
    with pytest.raises(SourceError, match="an image for each colour"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["i2", "f4", "u2"])
def test_big_endian_mrc(dtype, tmp_path):
    data = write.placed((3, 5, 7), dtype)
    mode = write.MRC_MODES[np.dtype(dtype).str[1:]]
    path = tmp_path / "a.mrc"
    path.write_bytes(write.mrc_header(7, 5, 3, mode, order=">") + data.astype(f">{dtype}").tobytes())
    (root,) = open_source(path)
    np.testing.assert_array_equal(root.reader.read_region((slice(0, 3, 1),)), data)
    assert [axis.scale for axis in root.info.axes[1:]] == [0.2, 0.2]


@pytest.mark.parametrize(
    ("name", "content", "reader"),
    [
        ("a.img", b"IM\x00", "hamamatsu"), ("a.img", b"\x34\0\0\0", "jeol"), ("a.dm4", b"", "digitalmicrograph"),
        ("a.csv", b"TimeStamp,Experiment time,x\n", "impulse"), ("a.csv", b"Time, Notes, x\n", "protochips"),
        ("a.xml", b'<root><raw_file filename="a.raw"/>', "empad"), ("a.xml", b"<LSX_Data>", "jobinyvon"),
        ("a.ALI", b"", "mrc"), ("a.mrcz", b"", "mrcz"), ("a.pts", b"", "jeol"), ("a.wdf", b"", "renishaw"),
    ],
)  # fmt: skip
def test_the_reader_is_chosen_by_content_where_the_name_says_too_little(name, content, reader, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert reader_of(tmp_path / name) == reader
    assert is_data(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.img", "neither a Hamamatsu nor a JEOL"), ("a.csv", "it is a table"), ("a.xml", "not of a microscope"),
        ("a.raw", "belongs to a .rpl or .xml"), ("a.hdr", "belongs to a .mib"), ("a.nc", "runs what the file says"),
    ],
)  # fmt: skip
def test_what_no_reader_may_have_says_why(name, why, tmp_path):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(SourceError, match=why):
        open_source(tmp_path / name)
    assert not is_data(tmp_path / name)


def test_hdf5_is_nexus_only_where_it_says_so(tmp_path):
    import h5py

    path = FORMATS["nexus"](tmp_path)
    path.rename(tmp_path / "a.h5")
    assert len(open_source(tmp_path / "a.h5")) == 5
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["entry/data/data"] = np.zeros((3, 4))
    with pytest.raises(SourceError, match="without signals that are known"):
        open_source(tmp_path / "b.h5")


def test_a_block_is_decoded_once_for_all_its_frames(shared_data, monkeypatch):
    import importlib

    bruker = importlib.import_module("rsciio.bruker._api")
    calls = []
    parse = bruker.unbcf_fast.parse_to_numpy if bruker.fast_unbcf else bruker.py_parse_hypermap

    def counted(*arguments, **named):
        calls.append(1)
        return parse(*arguments, **named)

    holder, name = (
        (bruker.unbcf_fast, "parse_to_numpy") if bruker.fast_unbcf else (bruker, "py_parse_hypermap")
    )
    monkeypatch.setattr(holder, name, counted)
    monkeypatch.setattr(remembered, "DECODED", Cache(1 << 30))
    root = next(r for r in open_source(shared_data / "EDS_map_256x256_tilt0.bcf") if r.info.navigation_shape)
    first = root.reader.read((0, 0))
    started = time.thread_time()
    for index in ((255, 255), (100, 3), (0, 0)):
        root.reader.read(index)
    assert time.thread_time() - started < 0.5
    np.testing.assert_array_equal(root.reader.read((0, 0)), first)
    assert len(calls) == 1


def test_what_is_decoded_is_kept_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "DECODED", Cache(600))
    (root,) = open_source(dectris(tmp_path))
    frames = [root.reader.read(index) for index in np.ndindex(3, 3)]
    assert remembered.DECODED.size <= 600
    np.testing.assert_array_equal(np.reshape(frames, (9, 6, 6)), write.placed((9, 6, 6), "u4").astype("u2"))


def test_a_map_that_is_stored_reads_in_few_reads(tmp_path):
    """Position by position, a map of 512 × 512 numbers took 9 s."""
    data = np.random.default_rng(0).random((512, 512)).astype("f4")
    path = write.write_hspy(tmp_path / "a.hspy", data, 0, chunks=(64, 64), compression="gzip")
    (root,) = open_source(path)
    started = time.thread_time()
    whole = root.reader.read_region((slice(0, 512, 1), slice(0, 512, 1)))
    assert time.thread_time() - started < 2
    np.testing.assert_array_equal(whole, data)


def test_the_table_of_real_files_is_the_documented_one(shared_data):
    """Without what was measured; a file that comes or goes, or opens otherwise, changes the table."""

    def outcomes(lines):
        rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in lines if " | " in line]
        return [[*row[:6], row[-1]] for row in rows]

    documented = DOCUMENTED.read_text(encoding="utf-8").partition("## Files\n")[2]
    assert outcomes(table(shared_data)) == outcomes(documented.splitlines())


def test_every_reader_of_rosettasciio_is_documented():
    documented = DOCUMENTED.read_text(encoding="utf-8").splitlines()
    assert [line for line in readers.table() if line not in documented] == []


@pytest.mark.parametrize(
    ("argument", "status", "words"),
    [("--help", 0, "usage: python -m tiled_spyde.sources"), ("nowhere", 2, "Nothing at nowhere")],
)
def test_the_command_of_the_page_says_what_it_wants(argument, status, words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sources", argument])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tiled_spyde.sources", run_name="__main__")
    assert ended.value.code == status
    assert words in "".join(capsys.readouterr())
