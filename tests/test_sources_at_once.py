"""Frames that are at hand: given to the event loop at once, or not at all; and files that change under a reader."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress

import h5py
import numpy as np
import pytest
import source_files as write
from conftest import until
from source_samples import SMALL
from test_sources_chunks import blosc

from tiled_spyde.cache import Cache
from tiled_spyde.errors import SourceChanged, SourceError
from tiled_spyde.sources import Source, open_source, raw, remembered

FRAME = (64, 64)
SHAPE = (4, 5, *FRAME)
DATA = "Experiments/__unnamed__/data"
PLACED = {
    "mrc": lambda at: write.write_mrc(at / "a.mrc", write.placed((20, *FRAME), "u2")),
    "mib": lambda at: write.write_mib(at / "a.mib", write.placed((20, *FRAME), "u2")),
    "hspy in one piece": lambda at: hspy(at),
    "hspy, a chunk a frame": lambda at: hspy(at, chunks=(1, 1, *FRAME)),
    "hspy, a chunk for frames": lambda at: hspy(at, chunks=(2, 2, *FRAME)),
}
DECODED = {
    "hspy, packed": lambda at: hspy(at, chunks=(2, 2, *FRAME), compression="gzip", shuffle=True),
    "hspy, Blosc": lambda at: hspy(at, chunks=(2, 2, *FRAME), **blosc()),
    "hspy, lzf": lambda at: hspy(at, chunks=(2, 2, 32, 64), compression="lzf"),
    "zspy": lambda at: write.write_zspy(at / "a.zspy", write.placed(SHAPE, "u2"), 2, chunks=(2, 2, *FRAME)),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    cache = Cache(1 << 24)
    monkeypatch.setattr(remembered, "DECODED", cache)
    return cache


@pytest.fixture(scope="session")
def file_system_says(tmp_path_factory):
    """Skip where the file system cannot say whether a read would wait."""
    path = tmp_path_factory.mktemp("told") / "a"
    path.write_bytes(bytes(10))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.preadv(descriptor, [bytearray(10)], 0, os.RWF_NOWAIT)
    except (AttributeError, OSError):
        pytest.skip("this file system does not say whether a read would wait")
    finally:
        os.close(descriptor)


def hspy(folder, **stored):
    return write.write_hspy(folder / "a.hspy", write.placed(SHAPE, "u2"), 2, **stored)


def last(root):
    return tuple(size - 1 for size in root.info.navigation_shape)


@pytest.mark.usefixtures("file_system_says")
@pytest.mark.parametrize("name", PLACED)
def test_a_frame_in_memory_is_given_at_once(name, tmp_path):
    (root,) = Source.at(PLACED[name](tmp_path)).roots
    assert root.reader.read_at_once(last(root)) is None, "it is not open yet"
    whole = root.reader.read(last(root))
    np.testing.assert_array_equal(root.reader.read_at_once(last(root)), whole)
    region = (slice(3, 40, 2), slice(0, 64, 1))
    at_once = root.reader.read_at_once(last(root), region)
    np.testing.assert_array_equal(at_once, whole[region])
    assert at_once.dtype == root.info.dtype
    at_once[...] = 0
    np.testing.assert_array_equal(root.reader.read_at_once(last(root)), whole)


@pytest.mark.usefixtures("file_system_says")
@pytest.mark.parametrize("name", PLACED)
def test_a_frame_that_is_asked_for_again_is_read_twice_and_remembered(name, tmp_path, monkeypatch, cache):
    path = PLACED[name](tmp_path)
    (root,) = Source.at(path).roots
    whole = root.reader.read(last(root))
    preadv, read = os.preadv, []

    def counted(descriptor, buffers, offset, flags=0):
        read.append(offset)
        return preadv(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", counted)
    found = [root.reader.read_at_once(last(root)) for _ in range(5)]
    assert len(read) == 2
    for frame in found:
        np.testing.assert_array_equal(frame, whole)
    assert not found[-1].flags.writeable, "others have it too"
    held = len(cache)
    others = list(np.ndindex(root.info.navigation_shape))[:-1]
    for index in others:
        assert root.reader.read_at_once(index) is not None
    assert (len(read), len(cache)) == (2 + len(others), held), (
        "who walks through a scan needs each frame once"
    )
    path.write_bytes(path.read_bytes())
    with pytest.raises(SourceChanged):
        root.reader.read_at_once(last(root))


@pytest.mark.parametrize("name", DECODED)
def test_a_frame_of_a_decoded_chunk_is_given_at_once(name, tmp_path, cache):
    (root,) = Source.at(DECODED[name](tmp_path)).roots
    assert root.reader.read_at_once((2, 2)) is None, "it is not open yet"
    root.reader.read((2, 2))
    neighbour = root.reader.read_at_once((3, 3))
    np.testing.assert_array_equal(neighbour, write.placed(SHAPE, "u2")[3, 3])
    neighbour[...] = 0
    np.testing.assert_array_equal(root.reader.read_at_once((3, 3)), write.placed(SHAPE, "u2")[3, 3])
    assert root.reader.read_at_once((0, 0)) is None, "its chunk is not decoded"
    cache.bound(0)
    assert root.reader.read_at_once((3, 3)) is None


@pytest.mark.parametrize("name", SMALL)
def test_at_once_is_what_reading_gives_or_nothing(name, tmp_path):
    for root in Source.at(SMALL[name](tmp_path)).roots:
        whole = root.reader.read(last(root))
        region = tuple(slice(0, size, 2) for size in root.info.signal_shape)
        for part, expected in (((), whole), (region, whole[region])):
            at_once = root.reader.read_at_once(last(root), part)
            if at_once is not None:
                np.testing.assert_array_equal(at_once, expected)
                assert (at_once.dtype, at_once.shape) == (expected.dtype, expected.shape)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_what_would_wait_is_left_to_those_who_can(code, tmp_path, monkeypatch):
    (root,) = open_source(PLACED["mrc"](tmp_path))
    preadv, asked = os.preadv, []
    assert root.reader.read_at_once((1,)) is None, "nobody knows yet whether opening it takes long"

    def waits(descriptor, buffers, offset, flags=0):
        asked.append(flags)
        if flags:
            raise OSError(code, os.strerror(code))
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(raw, "_NO_WAIT", 8)
    monkeypatch.setattr(os, "preadv", waits)
    assert root.reader.read((1,)).any()
    assert [flags for flags in asked if flags] == [8]
    assert root.reader.read_at_once((1,)) is None
    assert root.reader.read_at_once((1,)) is None
    assert len([flags for flags in asked if flags]) == (3 if code == errno.EAGAIN else 1), (
        "a file system that cannot say is not asked again"
    )


@pytest.mark.parametrize("name", ["mrc", "hspy, a chunk a frame", "hspy, packed", "zspy"])
def test_nothing_is_opened_or_looked_at_where_that_may_take_long(name, tmp_path, monkeypatch):
    """A network drive that is gone holds up whoever asks it for anything: not the event loop."""

    def cannot_say(descriptor, buffers, offset, flags=0, preadv=os.preadv):
        if flags:
            raise OSError(errno.EOPNOTSUPP, "")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", cannot_say)
    monkeypatch.setattr(os, "RWF_NOWAIT", 8, raising=False)
    (root,) = Source.at((PLACED | DECODED)[name](tmp_path)).roots
    root.reader.read(last(root))
    touched = []

    def noted(call):
        return lambda *arguments, **named: touched.append(call) or call(*arguments, **named)

    with monkeypatch.context() as noting:
        noting.setattr(os, "open", noted(os.open))
        noting.setattr(os, "stat", noted(os.stat))
        found = root.reader.read_at_once(last(root))
    assert (found, touched) == (None, [])


def test_a_large_frame_is_left_to_those_who_have_time(tmp_path):
    data = np.ones((2, 1024, 1025), "u1")
    for path in (
        write.write_mrc(tmp_path / "a.mrc", data),
        write.write_hspy(tmp_path / "a.hspy", data, 2, chunks=(1, 1024, 1025), compression="gzip"),
    ):
        (root,) = open_source(path)
        root.reader.read((1,))
        assert root.reader.read_at_once((1,)) is None


class TestChanges:
    @pytest.mark.parametrize("name", [*PLACED, *DECODED])
    @pytest.mark.parametrize("how", ["truncated", "replaced", "gone", "written to"])
    def test_none_goes_unnoticed(self, name, how, tmp_path):
        path = (PLACED | DECODED)[name](tmp_path)
        (root,) = open_source(path)
        root.reader.read(last(root))
        member = root.files[0].path
        times = member.stat()
        until_later(member, tmp_path)
        if how == "truncated":
            os.truncate(member, times.st_size // 2)
        elif how == "gone":
            member.unlink()
        elif how == "replaced":
            other = tmp_path / "other"
            other.write_bytes(member.read_bytes())
            other.replace(member)
        else:
            with member.open("r+b") as file:
                file.write(file.read(1))
        if how in ("replaced", "written to"):
            os.utime(member, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(SourceChanged):
            root.reader.read(last(root))
        with suppress(SourceChanged):
            assert root.reader.read_at_once(last(root)) is None

    @pytest.mark.parametrize("name", [*PLACED, "hspy, packed", "hspy, Blosc"])
    def test_who_reads_while_it_is_written_gets_the_old_or_an_error(self, name, tmp_path):
        path = (PLACED | DECODED)[name](tmp_path)
        (root,) = open_source(path)
        expected = {index: root.reader.read(index) for index in np.ndindex(root.info.navigation_shape)}
        remembered.remember_in(Cache(1 << 14))  # most chunks are decoded anew
        wrong, begun, written = [], threading.Barrier(4), threading.Event()

        def hammer():
            begun.wait(60)
            while not written.is_set():
                for index, frame in expected.items():
                    for read in (root.reader.read, root.reader.read_at_once):
                        try:
                            now = read(index)
                        except SourceError:
                            continue
                        if now is not None and not np.array_equal(now, frame):
                            wrong.append(index)

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait(60)
        rewrite(path)
        written.set()
        for thread in threads:
            thread.join()
        assert not wrong
        with pytest.raises(SourceChanged):
            root.reader.read(last(root))

    def test_a_frame_that_is_cut_off_is_named(self, tmp_path):
        path = hspy(tmp_path, chunks=(1, 1, *FRAME))
        with h5py.File(path) as file:
            end = max(file[DATA].id.get_chunk_info(n).byte_offset for n in range(20))
        (root,) = open_source(path)
        root.reader.read((0, 0))
        at = next(i for i in np.ndindex(4, 5) if root.reader._in_chunks._start(i) == end)
        os.truncate(path, end + 100)
        # As after opening a file that was cut off before, which HDF5 itself refuses.
        cut = os.stat(path)
        for attribute in ("size", "mtime_ns", "ctime_ns"):
            object.__setattr__(root.files[0], attribute, getattr(cut, f"st_{attribute}"))
        with pytest.raises(SourceError, match="truncated"):
            root.reader.read(at)


def until_later(member, folder):
    """Wait until a change has another time than the last one: file systems count in ticks of some milliseconds."""
    clock = folder / "clock"
    until(lambda: clock.touch() or clock.stat().st_ctime_ns > member.stat().st_ctime_ns)


def rewrite(path):
    """Write other numbers over what a file holds, in place and many times."""
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        for turn in range(20):
            for start in range(0, size, 1 << 16):
                file.seek(start)
                file.write(bytes([turn + 200]) * min(1 << 16, size - start))
