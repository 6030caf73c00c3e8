"""Chunks of HDF5 and zarr: each is decoded once, however it is packed, and as HDF5 itself would."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import source_files as write

from tiled_spyde.cache import Cache
from tiled_spyde.errors import SourceError
from tiled_spyde.sources import chunks, open_source, remembered

DATA = "Experiments/__unnamed__/data"
SHAPE = (5, 6, 8, 10)
SHUFFLED_GZIP = {"compression": "gzip", "shuffle": True}


def blosc(**options):
    plugin = pytest.importorskip("hdf5plugin")
    return plugin.Blosc(**options)


STORED = {
    "one frame": lambda: {"chunks": (1, 1, 8, 10)},
    "many frames": lambda: {"chunks": (2, 4, 8, 10)},
    "parts of frames": lambda: {"chunks": (2, 2, 3, 4)},
    "gzip": lambda: {"chunks": (2, 4, 8, 10), "compression": "gzip"},
    "shuffled gzip": lambda: {"chunks": (2, 4, 8, 10), **SHUFFLED_GZIP},
    "shuffled gzip of parts": lambda: {"chunks": (2, 4, 3, 4), **SHUFFLED_GZIP},
    "shuffled": lambda: {"chunks": (1, 2, 8, 10), "shuffle": True},
    "shuffled to an edge": lambda: {"chunks": (2, 4, 8, 10), "shuffle": True},
    "lzf": lambda: {"chunks": (2, 4, 8, 10), "compression": "lzf"},
    "checked": lambda: {"chunks": (2, 4, 8, 10), "fletcher32": True},
    "blosc": lambda: {"chunks": (2, 4, 8, 10), **blosc(cname="lz4")},
    "blosc, bits": lambda: {"chunks": (2, 4, 8, 10), **blosc(cname="zstd", shuffle=2)},
    "lz4": lambda: {"chunks": (2, 4, 8, 10), **pytest.importorskip("hdf5plugin").LZ4()},
}
OURS = {key for key in STORED if key not in ("lzf", "checked", "lz4", "shuffled to an edge")}


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """Each test has its own memory of chunks."""
    cache = Cache(1 << 20)
    monkeypatch.setattr(remembered, "DECODED", cache)
    return cache


def opened(folder, data=None, **stored):
    data = write.placed(SHAPE, "u2") if data is None else data
    (root,) = open_source(write.write_hspy(folder / "a.hspy", data, 2, **stored))
    return root.reader


@pytest.mark.parametrize("name", ["one frame", "in one piece"])
def test_opening_lays_out_no_dask_array(name, tmp_path, monkeypatch):
    """That of 16 384 chunks takes 0.25 s, and importing dask 0.5; both for the first frame of a file."""
    data, stored = write.placed(SHAPE, "u2"), STORED.get(name, dict)()
    (root,) = open_source(write.write_hspy(tmp_path / "a.hspy", data, 2, **stored))
    assert np.array_equal(root.lazy_array().compute(), data)

    def refuse(*arguments, **options):
        raise AssertionError("it was laid out")

    monkeypatch.setattr("dask.array.from_array", refuse)
    (root,) = open_source(tmp_path / "a.hspy")
    assert np.array_equal(root.reader.read((2, 3)), data[2, 3])


@pytest.mark.parametrize("dtype", ["u2", ">u2", "f4", ">f8", "u1", "c8", "?"])
@pytest.mark.parametrize("name", STORED)
def test_it_is_what_was_written(name, dtype, tmp_path):
    data = write.placed(SHAPE, dtype)
    reader = opened(tmp_path, data, **STORED[name]())
    for index in np.ndindex(5, 6):
        np.testing.assert_array_equal(reader.read(index), data[index])
        np.testing.assert_array_equal(
            reader.read(index, (slice(1, 7, 2), slice(3, 10, 1))), data[index][1:7:2, 3:10]
        )
    cuts = (slice(1, 5, 3), slice(0, 5, 2))
    np.testing.assert_array_equal(reader.read_region(cuts), data[cuts])
    whole = tuple(slice(0, size, 1) for size in SHAPE)
    np.testing.assert_array_equal(reader.read_region(whole[:2], whole[2:]), data)
    assert (reader._stored is not None) == (name in OURS)


@pytest.mark.parametrize("shape", [(1, 1), (2, 4)])
def test_many_large_frames_are_read_together_wherever_they_lie(shape, tmp_path):
    data = write.placed((5, 6, 50, 60), "u2")
    path = write.write_hspy(tmp_path / "a.hspy", data, 2, chunks=(*shape, 50, 60))
    with h5py.File(path, "a") as file:  # the first chunk behind the last
        del file[DATA]
        made = file.create_dataset(DATA, data.shape, "u2", chunks=(*shape, 50, 60))
        for index in reversed(list(np.ndindex(5, 6))):
            made[index] = data[index]
    reader = open_source(path)[0].reader
    reader.read((0, 0))
    assert reader._in_chunks is not None
    whole = tuple(slice(0, size, 1) for size in data.shape)
    np.testing.assert_array_equal(reader.read_region(whole[:2], whole[2:]), data)
    cuts = (slice(1, 5, 2), slice(0, 6, 4), slice(3, 40, 2), slice(0, 60, 1))
    np.testing.assert_array_equal(reader.read_region(cuts[:2], cuts[2:]), data[cuts])


def test_what_is_not_known_here_h5py_reads(tmp_path):
    data = write.placed(SHAPE, "u2")
    path = tmp_path / "a.hspy"
    write.write_hspy(tmp_path / "b.hspy", data, 2, chunks=(1, 1, 8, 10))
    with h5py.File(path, "w", userblock_size=512) as file, h5py.File(tmp_path / "b.hspy") as other:
        file.attrs.update(other.attrs)
        other.copy("Experiments", file)
    reader = open_source(path)[0].reader
    np.testing.assert_array_equal(reader.read((3, 4)), data[3, 4])
    assert reader._stored is None


@pytest.mark.parametrize("stored", [{}, SHUFFLED_GZIP])
@pytest.mark.parametrize("frames", [1, 2])
def test_chunks_that_were_never_written_hold_the_fill_value(stored, frames, tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed(SHAPE, "u2"), 2)
    with h5py.File(path, "a") as file:
        del file[DATA]
        data = file.create_dataset(DATA, SHAPE, ">u2", chunks=(1, frames, 8, 10), fillvalue=7, **stored)
        data[3, 4] = 9
    reader = open_source(path)[0].reader
    for index in ((0, 0), (3, 4)):
        expected = np.full((8, 10), 9 if any(index) else 7)
        np.testing.assert_array_equal(reader.read(index), expected)
        at_once = reader.read_at_once(index, (slice(2, 4, 1), slice(0, 3, 1)))
        assert at_once is None or (at_once == expected[2:4, :3]).all()
    assert reader._stored is not None


@pytest.mark.parametrize("mask", [0, 1, 2, 3])
def test_a_chunk_to_which_a_filter_was_not_applied(mask, tmp_path):
    data = write.placed(SHAPE, "u2")
    path = write.write_hspy(tmp_path / "a.hspy", data, 2, chunks=(1, 1, 8, 10), **SHUFFLED_GZIP)
    raw = data[1, 2].tobytes()
    shuffled = raw if mask & 1 else raw[::2] + raw[1::2]
    with h5py.File(path, "a") as file:
        packed = shuffled if mask & 2 else chunks.zlib.compress(shuffled)
        file[DATA].id.write_direct_chunk((1, 2, 0, 0), packed, filter_mask=mask)
    reader = open_source(path)[0].reader
    np.testing.assert_array_equal(reader.read((1, 2)), data[1, 2])
    np.testing.assert_array_equal(reader.read((1, 3)), data[1, 3])


@pytest.mark.parametrize(
    "damage", [b"", b"x" * 40, chunks.zlib.compress(bytes(10)), chunks.zlib.compress(bytes(1 << 20))]
)
def test_a_damaged_chunk_is_an_error_that_names_the_frame(damage, tmp_path):
    path = write.write_hspy(
        tmp_path / "a.hspy", write.placed(SHAPE, "u2"), 2, chunks=(1, 1, 8, 10), compression="gzip"
    )
    with h5py.File(path, "a") as file:
        file[DATA].id.write_direct_chunk((1, 2, 0, 0), damage or b"\0")
    reader = open_source(path)[0].reader
    with pytest.raises(SourceError, match=r"frame \(1, 2\) of a.hspy"):
        reader.read((1, 2))
    assert reader.read((1, 3)).shape == (8, 10)


@pytest.mark.parametrize("size", [10, 8 * 10 * 2 - 2, 8 * 10 * 2 + 2])
def test_a_blosc_chunk_that_holds_another_size_gives_nothing_of_the_memory(size, tmp_path):
    from numcodecs import Blosc

    data = write.placed(SHAPE, "u2")
    path = write.write_hspy(tmp_path / "a.hspy", data, 2, chunks=(1, 1, 8, 10), **blosc())
    with h5py.File(path, "a") as file:
        file[DATA].id.write_direct_chunk((1, 2, 0, 0), Blosc().encode(bytes(size)))
    reader = open_source(path)[0].reader
    with pytest.raises(SourceError, match=r"frame \(1, 2\) of a.hspy: a chunk that holds .* damaged"):
        reader.read((1, 2))
    np.testing.assert_array_equal(reader.read((1, 3)), data[1, 3])


@pytest.mark.parametrize("name", ["shuffled gzip", "lzf", "blosc"])
def test_each_chunk_of_hdf5_is_decoded_once_for_all_who_read(name, tmp_path, monkeypatch):
    reader = opened(tmp_path, **STORED[name]())
    decoded, lock = [], threading.Lock()

    def counted(self, numbers, decode=chunks.Hdf5Frames._decoded):
        with lock:
            decoded.append(numbers)
        return decode(self, numbers)

    monkeypatch.setattr(chunks.Hdf5Frames, "_decoded", counted)
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(reader.read, np.ndindex(5, 6)))
    np.testing.assert_array_equal(np.reshape(frames, SHAPE), write.placed(SHAPE, "u2"))
    assert sorted(decoded) == [(y, x, 0, 0) for y in range(3) for x in range(2)]


def test_each_chunk_of_a_zarr_store_is_decoded_once_for_all_who_read(tmp_path, monkeypatch):
    from zarr.storage import LocalStore

    data = write.placed(SHAPE, "u2")
    reader = open_source(write.write_zspy(tmp_path / "a.zspy", data, 2, chunks=(2, 3, 8, 10)))[0].reader
    asked, get = [], LocalStore.get

    async def counted(self, key, *arguments, **named):
        asked.append(key)
        return await get(self, key, *arguments, **named)

    monkeypatch.setattr(LocalStore, "get", counted)
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(reader.read, np.ndindex(5, 6)))
    np.testing.assert_array_equal(np.reshape(frames, SHAPE), data)
    of_chunks = [key for key in asked if key.rpartition("/")[2][:1].isdigit()]
    assert len(of_chunks) == len(set(of_chunks)) == 6


def test_who_walks_through_a_scan_displaces_nothing(tmp_path, cache):
    reader = opened(tmp_path, chunks=(1, 1, 8, 10), compression="gzip")
    cache.put("looked at", bytes(1000))
    reader.read_region((slice(0, 5, 1), slice(0, 6, 1)))
    assert len(cache) == 1
    reader.read((2, 3))
    assert len(cache) == 2


@pytest.mark.parametrize("limit", [0, 700])
def test_chunks_that_cannot_be_held_are_read_all_the_same(limit, tmp_path, monkeypatch):
    cache = Cache(limit)
    monkeypatch.setattr(remembered, "DECODED", cache)
    reader = opened(tmp_path, chunks=(2, 4, 8, 10), compression="gzip")
    np.testing.assert_array_equal(reader.read((4, 5)), write.placed(SHAPE, "u2")[4, 5])
    assert cache.size == 0


def test_a_scan_of_very_many_chunks_is_not_held_in_places(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "_MOST_CHUNKS", 10)
    reader = opened(tmp_path, chunks=(1, 1, 8, 10))
    np.testing.assert_array_equal(reader.read((4, 5)), write.placed(SHAPE, "u2")[4, 5])
    assert reader._stored is None


def test_all_share_one_bound(tmp_path, monkeypatch):
    cache = Cache(1 << 16)
    monkeypatch.setattr(remembered, "DECODED", remembered.DECODED)
    remembered.remember_in(cache)
    reader = opened(tmp_path, chunks=(1, 2, 8, 10), compression="gzip")
    reader.read((0, 0))
    assert (len(cache), cache.size >= 2 * 8 * 10 * 2) == (1, True)


def test_a_server_has_one_bound_for_all_that_it_remembers(tmp_path, monkeypatch):
    from tiled_spyde.app import tree

    monkeypatch.setattr(remembered, "DECODED", remembered.DECODED)
    served = write.write_hspy(tmp_path / "a.hspy", write.placed(SHAPE, "u2"), 2)
    tree([str(served)], state=str(tmp_path / "state"), cache_mb=3)
    assert remembered.DECODED.limit == 3 << 20
