"""Files that cannot be opened or read: a SourceError that says what, why and what to do."""

from __future__ import annotations

import contextlib
import os
import re
import struct

import h5py
import numpy as np
import pytest
import source_files as write
import tifffile

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import open_source

SUFFIXES = [
    ".hspy",
    ".zspy",
    ".mrc",
    ".blo",
    ".mib",
    ".tif",
    ".tiff",
    ".hdf5",
    ".h5",
    ".emd",
    ".dm3",
    ".bcf",
    ".ser",
]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


def refused(path):
    """The message with which `path` is refused."""
    with pytest.raises(SourceError) as caught:
        open_source(path)
    message = str(caught.value)
    assert message.startswith(f"Cannot open {path.name}: ")
    assert "Traceback" not in message
    assert "\n" not in message
    assert len(message) < 500
    assert re.search(r"[.?] [A-Z].*[.?]$", message), f"no remedy in: {message}"
    return message


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [b"", b"x", b"this is a text, not a picture.\n" * 400, PNG, b"\0" * 5000, b"\xff" * 5000],
    ids=["empty", "one byte", "text", "png", "zeros", "ones"],
)  # fmt: skip
def test_something_else_under_its_name(suffix, content, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    "writer",
    [
        lambda path: write.write_hspy(path / "a.hspy", write.placed((3, 5, 13, 17), "u2"), 2),
        lambda path: write.write_mrc(path / "a.mrc", write.placed((3, 13, 17), "u2")),
        lambda path: write.write_blo(path / "a.blo", write.placed((3, 5, 11, 11), "u1")),
        lambda path: write.write_mib(path / "a.mib", write.placed((3, 5, 12, 16), "u2"), per_line=5),
        lambda path: write.write_tif(path / "a.tif", write.placed((3, 13, 17), "u2")),
    ],
    ids=["hspy", "mrc", "blo", "mib", "tif"],
)
def test_no_truncation_gives_anything_but_an_answer(writer, tmp_path):
    """Cut anywhere, a file either opens, and says per frame what is missing, or is refused."""
    path = writer(tmp_path)
    whole = path.read_bytes()
    for size in sorted({1, 10, 100, 384, 1000, 1024, 1100, *range(0, len(whole), len(whole) // 23 + 1)}):
        path.write_bytes(whole[:size])
        try:
            roots = open_source(path)
        except SourceError:
            continue
        for root in roots:
            with contextlib.suppress(SourceError):
                root.reader.read(tuple(size - 1 for size in root.info.navigation_shape))


def test_a_truncated_stack_opens_and_names_the_frame_that_is_missing(tmp_path):
    path = write.write_mrc(tmp_path / "a.mrc", write.placed((9, 13, 17), "u2"))
    os.truncate(path, 1024 + 5 * 13 * 17 * 2 + 100)
    (root,) = open_source(path)
    assert root.info.shape == (9, 13, 17)
    assert root.reader.read((4,)).shape == (13, 17)
    with pytest.raises(
        SourceError, match=r"a\.mrc is truncated: frame \(5,\) ends at byte 3676.*Copy it again"
    ):
        root.reader.read((5,))
    assert root.reader.read((5,), (slice(0, 2), slice(0, 17))).shape == (2, 17)  # that much is there


def test_a_damaged_chunk_names_file_and_frame(tmp_path):
    path = tmp_path / "a.hspy"
    write.write_hspy(path, write.placed((2, 3, 30, 40), "u2"), 2, chunks=(1, 1, 30, 40), compression="gzip")
    with h5py.File(path) as file:
        chunk = file["Experiments/__unnamed__/data"].id.get_chunk_info_by_coord((1, 2, 0, 0))
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * chunk.size)
    (root,) = open_source(path)
    assert root.reader.read((0, 0)).shape == (30, 40)
    with pytest.raises(SourceError, match=r"frame \(1, 2\) of a\.hspy: .*damaged"):
        root.reader.read((1, 2))


def test_a_damaged_chunk_of_a_store_names_file_and_frame(tmp_path):
    path = write.write_zspy(tmp_path / "a.zspy", write.placed((2, 3, 30, 40), "u2"), 2, chunks=(1, 1, 30, 40))
    next(path.rglob("1.2.0.0")).write_bytes(b"damaged")
    (root,) = open_source(path)
    assert root.reader.read((0, 0)).shape == (30, 40)
    with pytest.raises(SourceError, match=r"frame \(1, 2\) of a\.zspy.*damaged"):
        root.reader.read((1, 2))


@pytest.mark.parametrize(
    "shape", [(2**31, 2**31, 2**31), (65_535, 65_535, 65_535), (30_000, 30_000, 1), (0, 4, 4)]
)
def test_an_mrc_header_that_cannot_be_true(shape, tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(write.mrc_header(*shape, mode=1) + bytes(5000))
    assert "its header says" in refused(path)


def test_a_blockfile_header_that_cannot_be_true(tmp_path):
    path = write.write_blo(tmp_path / "a.blo", write.placed((1, 2, 11, 11), "u1"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<HH", content, 24, 65_535, 65_535)
    path.write_bytes(content)
    assert "its header says 65535 × 65535" in refused(path)


def test_a_tiff_header_that_cannot_be_true(tmp_path):
    path = write.write_tif(tmp_path / "a.tif", write.placed((1, 13, 17), "u2"))
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        places = [tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")]
    content = bytearray(path.read_bytes())
    for at in places:
        struct.pack_into("<H", content, at, 60_000)
    path.write_bytes(content)
    assert "its header says" in refused(path)


def test_raw_merlin_frames_are_refused(tmp_path):
    path = write.write_mib(tmp_path / "a.mib", write.placed((2, 12, 16), "u2"))
    path.write_bytes(path.read_bytes().replace(b"U16", b"R64"))
    assert "raw" in refused(path)


def test_hdf5_without_signals(tmp_path):
    for name in ("a.h5", "a.hdf5", "a.hspy", "a.emd"):
        assert "without signals" in refused(write.write_plain_hdf5(tmp_path / name))


def test_an_hdf5_shape_that_cannot_be_true(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u2"), 2)
    with h5py.File(path, "a") as file:
        del file["Experiments/__unnamed__/data"]
        file["Experiments/__unnamed__"].create_dataset("data", (10**12, 4), "u2", chunks=(1, 4))
    assert "says it has shape (1000000000000, 4)" in refused(path)


def test_a_hyperspy_file_with_nothing_in_it(tmp_path):
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.attrs["file_format"] = "HyperSpy"
        file.attrs["file_format_version"] = "3.3"
        file.create_group("Experiments")
    refused(tmp_path / "a.hspy")


def test_a_signal_that_cannot_be_served_does_not_cost_the_others(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", np.zeros(4, [("qx", "f4"), ("qy", "f4")]), 1)
    assert "not numbers" in refused(path)
    write.add_to_hspy(path, write.placed((3, 4), "u2"), 2, "image")
    (root,) = open_source(path)
    assert (root.name, root.info.shape) == ("image", (3, 4))
    assert root.signal().data.compute().tolist() == write.placed((3, 4), "u2").tolist()


def test_a_file_that_changes_while_it_is_opened(tmp_path, monkeypatch):
    from tiled_spyde.sources import formats

    path = write.write_mrc(tmp_path / "a.mrc", write.placed((2, 6, 5), "u2"))

    def rewritten(path, bounds, ask=formats.ask):
        found = ask(path, bounds)
        write.write_mrc(path, write.placed((3, 6, 5), "u2"))
        return found

    monkeypatch.setattr(formats, "ask", rewritten)
    assert "changed since it was opened" in refused(path)


def test_unknown_extension(tmp_path):
    path = tmp_path / "notes.xyz"
    path.write_text("notes")
    assert "no reader for files named .xyz" in refused(path)


def test_folders_links_and_pipes(tmp_path):
    assert "no such file" in refused(tmp_path / "none.mrc")
    (tmp_path / "folder.mrc").mkdir()
    assert "folder" in refused(tmp_path / "folder.mrc")
    (tmp_path / "dangling.mrc").symlink_to(tmp_path / "nowhere.mrc")
    assert "leads nowhere" in refused(tmp_path / "dangling.mrc")
    (tmp_path / "looped.mrc").symlink_to(tmp_path / "looped.mrc")
    refused(tmp_path / "looped.mrc")
    os.mkfifo(tmp_path / "pipe.mrc")
    assert "not a regular file" in refused(tmp_path / "pipe.mrc")
    (tmp_path / "empty.zspy").mkdir()
    refused(tmp_path / "empty.zspy")


@pytest.mark.parametrize("suffix", [".mrc", ".hspy", ".tif"])
def test_permission_denied(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"0" * 2000)
    path.chmod(0)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may read anything
    assert "permission denied" in refused(path)


def test_a_name_that_is_no_unicode_does_not_break_the_message(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mrc")
    path.write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        open_source(path)
    assert str(caught.value).encode() == b"Cannot open caf?.mrc: it is empty. Copy it again."


def test_nothing_is_warned_logged_or_printed(tmp_path, capsys, caplog, recwarn):
    path = write.write_mib(tmp_path / "a.mib", write.placed((2, 12, 16), "u2"), hdr=False)
    open_source(path)
    (tmp_path / "a.zspy").mkdir()
    refused(tmp_path / "a.zspy")
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
    assert not recwarn.list


def test_a_file_that_is_cut_off_is_called_so(tmp_path):
    with h5py.File(tmp_path / "whole.hspy", "w") as file:
        file["Experiments/a/data"] = np.ones((64, 64))
    (tmp_path / "cut.hspy").write_bytes((tmp_path / "whole.hspy").read_bytes()[:5000])
    with pytest.raises(
        SourceError, match=r"cut\.hspy is damaged or cut off: .*truncated file.*Copy it again"
    ):
        open_source(tmp_path / "cut.hspy")
