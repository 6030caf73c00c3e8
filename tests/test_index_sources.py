"""Which files are one source, under whatever name, and which are none."""

from __future__ import annotations

import os
import socket

import h5py
import numpy as np
import pytest
import source_files as write
from conftest import until
from index_samples import Kept, stack
from source_samples import SMALL

from tiled_spyde.errors import SourceChanged
from tiled_spyde.sources import Source
from tiled_spyde.sources.files import File


def test_companions_belong_to_their_source(watched):
    path = SMALL["mib 2|2 12-bit"](watched)
    notes = path.with_suffix(".hdr")
    text = notes.read_text()
    notes.unlink()
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
        assert [file.path for file in kept.now[path].files] == [path]
        notes.write_text(text)
        until(lambda: [file.path for file in kept.now[path].files] == [path, notes])
        before = kept.now[path].fingerprint
        notes.write_text(text + "Note:\tchanged\n")
        until(lambda: kept.now[path].fingerprint != before)
        notes.unlink()
        until(lambda: len(kept.now[path].files) == 1)
        assert kept.names() == {"a.mib"}


def test_a_companion_that_no_reader_names_belongs_too(watched):
    """A movie in several files: rosettasciio finds the second by itself, and says nothing."""
    first, second = watched / "m_000.tvips", watched / "m_001.tvips"
    first.write_bytes(b"this is no movie")
    second.write_bytes(b"nor this")
    with Kept(watched) as kept:
        until(lambda: first in kept.now)
        assert [file.path for file in kept.now[first].files] == [first, second]
        second.write_bytes(b"it changed")
        until(lambda: len(kept.said_of(first)) == 2)
        assert kept.names() == {"m_000.tvips"}


def test_a_store_is_one_source_and_its_chunks_are_never_listed(watched, monkeypatch):
    listed = set()

    def scandir(path, scandir=os.scandir):
        listed.add(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    store = SMALL["zspy 2|2 one frame a chunk"](watched)
    with Kept(watched) as kept:
        until(lambda: store in kept.now)
        before = kept.now[store]
        kept.looks()
        assert kept.said_of(store) == [before]
        data = store / "Experiments/scan/data"
        chunk = data / "1.1.0.0"
        other = store / "new"
        other.write_bytes(chunk.read_bytes())
        other.replace(chunk)  # as zarr writes
        until(lambda: kept.now[store] is not before)
        write.write_zspy(store, write.placed((2, 3, 4, 5), "u2"), 2)
        until(lambda: kept.now[store].signals[0].info.shape == (2, 3, 4, 5))
    assert {path for path in listed if path.startswith(str(store))} == {str(store / "Experiments")}


HOSTILE_NAMES = [
    b"caf\xe9.mrc",
    b"line\nfeed.mrc",
    b"\x01\x1b[31m\x7f.mrc",
    b" leading and trailing .mrc ",
    b"quote'\"\\{}%s%00.mrc",
    "Zürich αβγ 😀.mrc".encode(),
    b"n" * 251 + b".mrc",
    b"-rf.mrc",
]


def test_names_with_every_character(watched):
    paths = {stack(watched / os.fsdecode(name)) for name in HOSTILE_NAMES}
    deep = watched
    for _ in range(60):
        deep = deep / ("d" * 40)
    paths.add(stack(deep / "deep.mrc"))
    with Kept(watched) as kept:
        until(lambda: kept.now.keys() == paths)
        for path, source in kept.now.items():
            assert bool(source.error) == path.name.endswith(" ")  # no reader for ".mrc "
            assert Source.from_json(source.to_json()) == source


def test_pipes_sockets_devices_and_links_out_are_left_alone(watched, probed):
    outside = stack(watched.parent / "outside.mrc")
    os.mkfifo(watched / "pipe.mrc")
    (watched / "device.mrc").symlink_to("/dev/zero")
    (watched / "out.mrc").symlink_to(outside)
    (watched / "out").symlink_to(watched.parent)
    (watched / "loop").symlink_to(watched)
    (watched / "itself.mrc").symlink_to(watched / "itself.mrc")
    inside = stack(watched / "in.mrc")
    (watched / "link.mrc").symlink_to(inside)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(watched / "socket.mrc"))  # such names may have 108 bytes
        with Kept(watched) as kept:
            until(lambda: len(kept.now) == 2)
            kept.looks()
    assert kept.names() == {"in.mrc", "link.mrc"}
    assert set(probed) == {inside, watched / "link.mrc"}


def test_a_link_may_lead_into_another_served_folder(watched):
    other = stack(watched.parent / "other/a.mrc")
    (watched / "link.mrc").symlink_to(other)
    with Kept(watched, other.parent) as kept:
        until(lambda: kept.now.keys() == {other, watched / "link.mrc"})


def test_a_pipe_that_takes_the_place_of_a_file_holds_nobody_up(watched):
    path = stack(watched / "a.mrc")
    file = File.at(path, watched)
    source = Source.at(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceChanged):
        file.open()
    with pytest.raises(SourceChanged):
        source.roots[0].reader.read((0,))


def test_sources_that_are_served_by_themselves_and_folders_in_folders(watched):
    path, named = stack(watched / "sub/a.mrc"), stack(watched.parent / "named.txt")
    store = write.write_zspy(watched.parent / "s.zspy", write.placed((3, 4), "u2"), 2)
    with Kept(watched, watched / "sub", named, store, path) as kept:
        until(lambda: kept.now.keys() == {path, named, store})
        stack(path, frames=4)
        until(lambda: kept.now[path].signals[0].info.shape == (4, 6, 5))
        named.unlink()
        until(lambda: named not in kept.now)


def test_data_in_other_files_are_read_within_what_is_served_and_followed(watched):
    far = watched.parent / "far/frames.h5"
    far.parent.mkdir()
    path = write.write_hspy(watched / "a.hspy", write.placed((2, 3, 4, 5), "u2"), 2)
    with h5py.File(far, "w") as file:
        file["data"] = write.placed((2, 3, 4, 5), "u2") + 1
    with h5py.File(path, "a") as file:
        group = file["Experiments/__unnamed__"]
        del group["data"]
        layout = h5py.VirtualLayout((2, 3, 4, 5), "u2")
        layout[...] = h5py.VirtualSource(str(far), "data", (2, 3, 4, 5))
        group.create_virtual_dataset("data", layout)
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
        assert "outside" in kept.now[path].error
    with Kept(watched, far.parent) as kept:
        until(lambda: path in kept.now)
        before = kept.now[path]
        assert far in {file.path for file in before.files}
        remembered = Source.from_json(before.to_json())
        np.testing.assert_array_equal(
            remembered.roots[0].reader.read((1, 2)), write.placed((2, 3, 4, 5), "u2")[1, 2] + 1
        )
        with h5py.File(far.with_name("new"), "w") as file:
            file["data"] = np.full((2, 3, 4, 5), 7, "u2")
        far.with_name("new").replace(far)
        with pytest.raises(SourceChanged):
            remembered.roots[0].reader.read((1, 2))
        until(lambda: kept.now[path] is not before)
        assert kept.now[path].fingerprint not in ("", before.fingerprint)
        assert (kept.now[path].roots[0].reader.read((1, 2)) == 7).all()
    with Kept(watched, far.parent, apart=True) as kept:
        until(lambda: path in kept.now)
        assert "outside" in kept.now[path].error
