"""Sources after opening: fingerprints, files that change, many at once."""

from __future__ import annotations

import logging
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Thread

import numpy as np
import pytest
import source_files as write
from index_samples import stack
from source_samples import SMALL

from tiled_spyde.errors import SourceChanged, SourceError
from tiled_spyde.sources import Source, find_sources, formats, open_source
from tiled_spyde.sources.files import File, digest


class TestFingerprint:
    def test_is_that_of_the_content_wherever_it_lies(self, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        first = SMALL["mib 2|2 12-bit"](tmp_path / "one")
        second = SMALL["mib 2|2 12-bit"](tmp_path / "two")
        assert open_source(first)[0].fingerprint == open_source(second)[0].fingerprint

    @pytest.mark.parametrize("at", [0, 3 * (11 * 1024**2 + 1024) // 9 + 10, -1])
    def test_changes_with_the_first_a_sampled_and_the_last_byte(self, at, tmp_path):
        path = tmp_path / "a.mrc"
        write.write_mrc(path, np.zeros((6, 1024, 1024), "i2"))
        before = open_source(path)[0].fingerprint
        content = bytearray(path.read_bytes())
        content[at if at else 200] ^= 1
        path.write_bytes(content)
        assert open_source(path)[0].fingerprint != before

    def test_of_many_large_files_reads_no_more_than_of_ten(self, tmp_path, monkeypatch):
        members = []
        for number in range(40):
            path = tmp_path / f"{number}"
            with path.open("wb") as file:
                file.truncate(100 << 20)
            members.append(File.at(path, tmp_path))
        read = []
        pread = os.pread
        monkeypatch.setattr(os, "pread", lambda *at: read.append(at[1]) or pread(*at))
        before = digest(members)
        assert sum(read) <= 100 << 20
        assert len(read) == 40 * 10
        with members[7].path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        members[7] = File.at(members[7].path, tmp_path)
        assert digest(members) != before

    def test_is_read_on_first_need_only(self, tmp_path, monkeypatch):
        path = SMALL["mrc stack"](tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", partial(pytest.fail, "opening read the file for its fingerprint"))
            (root,) = open_source(path)
        assert len(root.fingerprint) == 32

    def test_of_a_store_follows_its_chunks(self, tmp_path):
        path = SMALL["zspy 2|2 one frame a chunk"](tmp_path)
        before = open_source(path)[0].fingerprint
        chunk = sorted((path / "Experiments/scan/data").rglob("*2.4.0.0"))[0]
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
        assert open_source(path)[0].fingerprint != before


READERS = [
    "hspy 2|2 contiguous",
    "hspy 2|2 chunked across frames",
    "zspy 2|2 edge chunks",
    "mrc stack",
    "blo",
    "mib 2|2 12-bit",
    "tif stack",
    "tif stack compressed",
]


def inside(path):
    """The file to tamper with."""
    return next(path.rglob(".zarray")) if path.is_dir() else path


@pytest.mark.parametrize("name", READERS)
class TestAfterOpening:
    def test_a_truncated_file_is_noticed(self, name, tmp_path):
        path = SMALL[name](tmp_path)
        (root,) = open_source(path)
        first = (0,) * len(root.info.navigation_axes)
        root.reader.read(first)
        os.truncate(inside(path), inside(path).stat().st_size // 2)
        with pytest.raises(SourceChanged, match="changed since it was opened"):
            root.reader.read(first)
        with pytest.raises(SourceError):
            _ = root.fingerprint

    def test_another_file_in_its_place_is_noticed(self, name, tmp_path):
        path = SMALL[name](tmp_path)
        (root,) = open_source(path)
        first = (0,) * len(root.info.navigation_axes)
        root.reader.read(first)
        other, times = tmp_path / "other", inside(path).stat()
        other.write_bytes(inside(path).read_bytes())
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same time
        other.replace(inside(path))
        with pytest.raises(SourceChanged):
            root.reader.read(first)

    def test_a_file_that_is_gone_is_noticed(self, name, tmp_path):
        path = SMALL[name](tmp_path)
        (root,) = open_source(path)
        inside(path).unlink()
        with pytest.raises(SourceChanged, match=r"gone|cannot be opened any more"):
            root.reader.read((0,) * len(root.info.navigation_axes))


def test_many_open_at_once_and_what_others_warn_and_log_is_still_heard(tmp_path, caplog):
    paths = [SMALL["hspy 1|2"], SMALL["tif stack"], SMALL["mib stack"], SMALL["zspy 1|1 big-endian"]]
    paths = [write_one(tmp_path) for write_one in paths] * 10
    with ThreadPoolExecutor(8) as pool:
        assert all(roots[0].info.shape for roots in pool.map(open_source, paths))
    with pytest.warns(UserWarning, match="of others"):
        warnings.warn("of others", stacklevel=1)
    logging.getLogger("tiled").warning("of others")
    assert "of others" in caplog.text


def test_one_slow_file_holds_up_no_other(tmp_path, monkeypatch):
    slow, quick = SMALL["mrc stack"](tmp_path), SMALL["hspy 1|2"](tmp_path)
    reached, go_on = Event(), Event()

    ask = formats.ask

    def slowly(path, *more):
        if path == slow:
            reached.set()
            assert go_on.wait(60)
        return ask(path, *more)

    monkeypatch.setattr(formats, "ask", slowly)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(open_source, slow)
        try:
            assert reached.wait(60)
            assert open_source(quick)
            assert not waiting.done()
        finally:
            go_on.set()
        assert waiting.result()


def test_a_folder_of_many_files_keeps_few_descriptors_open(tmp_path):
    for number in range(40):
        data = write.placed((2, 3, 5, 6), "u2")
        write.write_hspy(tmp_path / f"{number}.hspy", data, 2, chunks=(1, 1, 5, 6), compression="gzip")
        write.write_tif(tmp_path / f"{number}.tif", data[0], compression="zlib")
    before = len(os.listdir("/proc/self/fd"))
    roots = [root for path in find_sources(tmp_path) for root in open_source(path)]
    for root in roots:
        root.reader.read((0,) * len(root.info.navigation_axes))
    assert len(roots) == 80
    assert len(os.listdir("/proc/self/fd")) - before < 20


@pytest.mark.parametrize("name", ["mrc stack", "mib 2|2 12-bit", "blo"])
def test_a_large_frame_is_read_in_parts_that_fit(name, tmp_path, monkeypatch):
    (root,) = open_source(SMALL[name](tmp_path))
    first = (0,) * len(root.info.navigation_axes)
    whole = root.reader.read(first)
    monkeypatch.setattr("tiled_spyde.sources.raw._SPAN", 3 * whole[0].nbytes)
    np.testing.assert_array_equal(root.reader.read(first), whole)
    region = (slice(1, len(whole), 2), slice(0, 3, 1))
    np.testing.assert_array_equal(root.reader.read(first, region), whole[region])


class TestOpenSources:
    @pytest.fixture
    def many(self, tmp_path):
        paths = [stack(tmp_path / f"{number}.mrc", plus=number) for number in range(80)]
        return [Source.at(path) for path in paths]

    def test_only_some_stay_open_and_all_can_be_read(self, many):
        for _ in range(2):
            for number, source in enumerate(many):
                assert source.roots[0].reader.read((0,))[0, 0] == (number + 0)
        is_open = [source.roots[0].reader._later._opened is not None for source in many]
        assert sum(is_open) == 64
        assert not any(is_open[:16])

    def test_many_threads_open_once(self, many, monkeypatch):
        from tiled_spyde.sources import source as opening

        opened = []

        open_source = opening.open_source

        def counted(path, *more):
            opened.append(path)
            time.sleep(0.1)
            return open_source(path, *more)

        monkeypatch.setattr(opening, "open_source", counted)
        (root,) = many[0].roots
        threads = [Thread(target=root.reader.read, args=((0,),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened == [many[0].path]
