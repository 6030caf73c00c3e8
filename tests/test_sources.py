"""One contract for every reader: the frames, the calibration and the types that hyperspy gives."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import random
import resource
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import source_files as write

from tiled_spyde.errors import SourceChanged, SourceError
from tiled_spyde.sources import find_sources, open_source

SHARED = Path(__file__).parents[2] / "shared" / "data"


def hspy(shape, signal, dtype, **storage):
    return lambda folder: write.write_hspy(folder / "a.hspy", write.placed(shape, dtype), signal, **storage)


def zspy(shape, signal, dtype, chunks):
    return lambda folder: write.write_zspy(
        folder / "a.zspy", write.placed(shape, dtype), signal, chunks=chunks
    )


def mrc(shape, dtype, **options):
    return lambda folder: write.write_mrc(folder / "a.mrc", write.placed(shape, dtype), **options)


def mib(shape, dtype, **options):
    return lambda folder: write.write_mib(folder / "a.mib", write.placed(shape, dtype), **options)


def movie(shape, dtype):
    name = "20251103_00001_movie.mrc"
    return lambda folder: write.write_direct_electron(folder / name, write.placed(shape, dtype))


def tif(shape, dtype, **options):
    return lambda folder: write.write_tif(folder / "a.tif", write.placed(shape, dtype), **options)


def blo(shape):
    return lambda folder: write.write_blo(folder / "a.blo", write.placed(shape, "u1"))


GZIP = {"compression": "gzip", "shuffle": True}
SMALL = {
    "hspy 0|2 contiguous": hspy((13, 17), 2, "u2"),
    "hspy 0|1 float": hspy((37,), 1, "f8"),
    "hspy 1|1": hspy((5, 37), 1, "f4", **GZIP),
    "hspy 1|2": hspy((5, 13, 17), 2, "i4", chunks=(2, 13, 17)),
    "hspy 2|0 map": hspy((5, 7), 0, "f4", chunks=(3, 3)),
    "hspy 2|1 big-endian": hspy((5, 7, 31), 1, ">i2", chunks=(2, 2, 31), **GZIP),
    "hspy 2|2 contiguous": hspy((3, 5, 13, 17), 2, "u2"),
    "hspy 2|2 contiguous big-endian": hspy((3, 5, 13, 17), 2, ">f4"),
    "hspy 2|2 chunked across frames": hspy((3, 5, 13, 17), 2, "u1", chunks=(2, 2, 7, 9), **GZIP),
    "hspy 2|2 shuffled only": hspy((3, 5, 13, 17), 2, "u2", chunks=(2, 2, 13, 17), shuffle=True),
    "hspy 2|2 complex": hspy((3, 4, 5, 6), 2, "c8", chunks=(1, 2, 5, 6)),
    "hspy 3|1": hspy((2, 3, 4, 29), 1, "u4", chunks=(1, 3, 4, 29)),
    "hspy 3|2": hspy((2, 3, 5, 6, 7), 2, "f8"),
    "hspy bool": hspy((2, 3, 5, 6), 2, "?"),
    "zspy 2|2 one frame a chunk": zspy((3, 5, 13, 17), 2, "u2", (1, 1, 13, 17)),
    "zspy 2|2 edge chunks": zspy((3, 5, 13, 17), 2, "f4", (2, 2, 8, 8)),
    "zspy 1|1 big-endian": zspy((5, 37), 1, ">i4", (2, 37)),
    "mrc image": mrc((13, 17), "i2"),
    "mrc stack": mrc((5, 13, 17), "u2"),
    "mrc stack, extended header": mrc((5, 13, 17), "f4", extended=300),
    "mrc bytes": mrc((4, 6, 5), "u1"),
    "mrc half": mrc((4, 6, 5), "f2"),
    "mrc 2|2 of a Direct Electron camera": movie((3, 5, 13, 17), "u2"),
    "blo": blo((3, 5, 11, 11)),
    "blo one line": blo((1, 5, 11, 11)),
    "mib 2|2 6-bit": mib((3, 5, 12, 16), "u1", per_line=5),
    "mib 2|2 12-bit": mib((3, 5, 12, 16), "u2", per_line=5),
    "mib 2|2 24-bit without .hdr": mib((3, 5, 12, 16), "u4", per_line=5, hdr=False),
    "mib quad": mib((3, 5, 12, 16), "u2", per_line=5, quad=True),
    "mib one frame": mib((12, 16), "u2"),
    "mib stack": mib((6, 12, 16), "u2"),
    "tif image": tif((13, 17), "u2"),
    "tif stack": tif((5, 13, 17), "f4"),
    "tif stack big-endian": tif((5, 13, 17), "u2", byteorder=">"),
    "tif stack compressed": tif((5, 13, 17), "u2", compression="zlib"),
    "tif 4-D compressed": tif((2, 3, 13, 17), "i4", compression="zlib"),
    "tif tiled": tif((4, 70, 90), "u2", tile=(32, 32)),
    "tif ImageJ": tif((5, 13, 17), "u2", imagej=True),
}
REAL = (
    "LSMO_EELS_linescan.hdf5",
    "fei-extended.mrc",
    "TIA_scan_preview_5frames.emi",
    "HAADF_tilt_series.mrc",
    "Au_nanoparticle_velox.emd",
    "SiO2_EDS_map_128x128.hspy",
    "EELS_STO_spectrum.dm3",
    "EDS_STO_velox.emd",
    "CL_map_30x16.hspy",
    "hologram.hdf5",
    "SPED_2x3.blo",
    "SPED_7x3_topspin.app5",
    "Merlin_4x2_6bit.mib",
    "py4DSTEM_size2x3x4x5.h5",
    "test_tvips_2345_000.tvips",
    "Ni_EBSD_3x3.zspy",
    "EDS_map_256x256_tilt0.bcf",
)
WITHOUT_DASK = ("hspy", "zspy", "mrc", "blo", "mib", "tif")


@pytest.fixture(params=SMALL, scope="module")
def small(request, tmp_path_factory):
    return SMALL[request.param](tmp_path_factory.mktemp("small"))


@pytest.fixture(params=REAL, scope="module")
def real(request):
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with real files is not beside this checkout")
    return SHARED / request.param


def hyperspys(path):
    """What hyperspy loads, without the specialised classes that take many seconds to import."""
    import hyperspy.api as hs

    formats = {".hdf5": "HSPY", ".h5": "EMD", ".mrc": "MRC"}
    options = {"stack_group": False} if path.suffix == ".h5" else {}
    options |= {"mode": "r"} if path.suffix == ".zspy" else {}
    # Lazily it leaves TIFF files open, and does not open what HDF5 stores in one piece.
    lazy = path.suffix not in (".tif", ".hspy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = hs.load(path, lazy=lazy, signal_type="", file_format=formats.get(path.suffix), **options)
        loaded = loaded if isinstance(loaded, list) else [loaded]
        for signal in loaded:
            if lazy:
                signal.compute(show_progressbar=False)
    return loaded


def positions(shape, seed=4):
    """Corners, edges and a few more."""
    picked = random.Random(seed)  # noqa: S311
    corners = {tuple(0 if bit else size - 1 for size in shape) for bit in (True, False)}
    edges = {
        tuple(0 if at == edge else size // 2 for at, size in enumerate(shape)) for edge in range(len(shape))
    }
    return sorted(corners | edges | {tuple(picked.randrange(size) for size in shape) for _ in range(4)})


def regions(shape, seed=5):
    """The whole, a corner, a single pixel, something strided, something in the middle."""
    picked = random.Random(seed)  # noqa: S311
    yield ()
    yield tuple(slice(0, max(1, size // 3)) for size in shape)
    yield tuple(slice(size - 1, size) for size in shape)
    yield tuple(slice(size // 4, size, 3) for size in shape)
    for _ in range(3):
        starts = [picked.randrange(size) for size in shape]
        yield tuple(
            slice(start, picked.randint(start + 1, size), picked.randint(1, 4))
            for start, size in zip(starts, shape, strict=True)
        )


def same(ours, theirs):
    """Bit for bit, NaN included."""
    return (
        ours.shape == theirs.shape
        and ours.dtype == theirs.dtype
        and np.ascontiguousarray(ours).tobytes() == np.ascontiguousarray(theirs).tobytes()
    )


def assert_frames(root, array):
    scan = root.info.navigation_shape
    for index in positions(scan):
        for region in regions(root.info.signal_shape):
            part = root.reader.read(index, region)
            assert part.dtype.isnative
            assert same(part, np.asarray(array[index][region])), (index, region)
            part[...] = 0  # it is ours alone: the next read must not see this


def assert_equals_hyperspy(path):
    roots, loaded = open_source(path), hyperspys(path)
    assert len(roots) == len(loaded)
    for root, signal in zip(roots, loaded, strict=True):
        array = signal.data.astype(signal.data.dtype.newbyteorder("="))
        axes = list(signal.axes_manager.as_dictionary().values())
        if path.suffix != ".h5":  # py4DSTEM's, which has its own test
            order = sorted(range(array.ndim), key=lambda at: not axes[at]["navigate"])
            array, axes = array.transpose(order), [axes[at] for at in order]
            assert [axis.navigate for axis in root.info.axes] == [axis["navigate"] for axis in axes]
        assert root.info.shape == array.shape
        assert root.info.dtype == array.dtype
        assert root.title == signal.metadata.General.title
        for ours, theirs in zip(root.info.axes, axes, strict=True):
            assert ours.size == theirs["size"]
            if theirs["scale"]:
                assert (ours.scale, ours.offset) == (theirs["scale"], theirs["offset"])
        assert_frames(root, array)


def test_small_files_are_what_hyperspy_loads(small):
    assert_equals_hyperspy(small)


def test_real_files_are_what_hyperspy_loads(real):
    assert_equals_hyperspy(real)


@pytest.mark.parametrize("name", ["hspy 2|1 big-endian", "mib 2|2 12-bit", "tif stack big-endian", "blo"])
def test_written_values_come_back(name, tmp_path):
    """Not only as hyperspy has them: as they were written."""
    path = SMALL[name](tmp_path)
    (root,) = open_source(path)
    assert_frames(root, write.placed(root.info.shape, root.info.dtype))


def test_the_lazy_signal_is_the_same_data(small):
    (root,) = open_source(small)
    signal = root.signal()
    assert signal._lazy
    assert signal.data.shape == root.info.shape
    assert signal.data.dtype == root.info.dtype
    assert [axis.navigate for axis in signal.axes_manager._axes] == [axis.navigate for axis in root.info.axes]
    assert [axis.scale for axis in signal.axes_manager._axes] == [axis.scale for axis in root.info.axes]
    array = signal.data.compute(scheduler="synchronous")
    for index in positions(root.info.navigation_shape):
        assert same(root.reader.read(index), np.asarray(array[index]))
    del signal, array
    gc.collect()


@pytest.mark.parametrize("name", [name for name in SMALL if name.startswith(WITHOUT_DASK)])
def test_neither_dask_nor_memory_maps_read_a_frame(name, tmp_path, monkeypatch):
    import dask.base

    class Mapped(np.memmap):
        def __new__(cls, *_, **__):
            pytest.fail("a file was mapped into memory")

    path = SMALL[name](tmp_path)
    forbidden = partial(pytest.fail, "a frame was read through dask")
    monkeypatch.setattr(dask.base, "compute", forbidden)
    monkeypatch.setattr(dask.base.DaskMethodsMixin, "compute", forbidden)
    (root,) = open_source(path)
    monkeypatch.setattr(np, "memmap", Mapped)
    index = tuple(size - 1 for size in root.info.navigation_shape)
    expected = write.placed(root.info.shape, root.info.dtype)[index]
    assert same(root.reader.read(index), np.asarray(expected))


def test_only_the_frame_is_read_from_a_raw_file(tmp_path, monkeypatch):
    """Bytes that are asked of the file, not merely bytes that are returned."""
    (root,) = open_source(SMALL["mrc stack"](tmp_path))
    asked = []
    preadv = os.preadv

    def counting(descriptor, buffers, offset):
        asked.append((offset, sum(len(buffer) for buffer in buffers)))
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    root.reader.read((3,))
    root.reader.read((3,), (slice(2, 5), slice(0, 4)))
    frame = 13 * 17 * 2
    assert asked == [(1024 + 3 * frame, frame), (1024 + 3 * frame + 2 * 17 * 2, 3 * 17 * 2)]


@pytest.mark.parametrize(
    "name",
    ["hspy 2|2 contiguous", "hspy 2|2 chunked across frames", "zspy 2|2 edge chunks", "tif 4-D compressed"],
)
def test_many_threads_read_right_frames(name, tmp_path):
    (root,) = open_source(SMALL[name](tmp_path))
    array = write.placed(root.info.shape, root.info.dtype)
    scan = root.info.navigation_shape
    wanted = [tuple(np.unravel_index(n * 7 % np.prod(scan), scan)) for n in range(400)]
    wanted = [tuple(int(i) for i in index) for index in wanted]
    with ThreadPoolExecutor(16) as pool:
        for index, frame in zip(wanted, pool.map(root.reader.read, wanted), strict=True):
            assert same(frame, array[index])


def test_a_position_outside_the_scan_is_not_another_frame(small):
    (root,) = open_source(small)
    outside = tuple(size for size in root.info.navigation_shape) or (0,)
    with pytest.raises(IndexError):
        root.reader.read(outside)
    if root.info.navigation_shape:
        with pytest.raises(IndexError):
            root.reader.read((-1,) * len(outside))


def resident():
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_huge_file_opens_at_once_and_reads_no_pixel(tmp_path):
    open_source(SMALL["mrc stack"](tmp_path))  # imports are paid once for a server
    path = tmp_path / "huge.mrc"
    frames, side = 20_000, 724
    path.write_bytes(write.mrc_header(side, side, frames, mode=1))
    last = np.full((side, side), 7, "i2")
    with path.open("r+b") as file:
        file.seek(1024 + (frames - 1) * side * side * 2)
        file.write(last.tobytes())
    assert path.stat().st_size > 20e9
    before, started = resident(), time.perf_counter()
    (root,) = open_source(path)
    assert time.perf_counter() - started < 1
    assert root.info.shape == (frames, side, side)
    assert same(root.reader.read((frames - 1,)), last)
    assert not root.reader.read((0,)).any()
    assert resident() - before < 50e6


def test_hdf5_without_a_reader_says_so():
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with real files is not beside this checkout")
    with pytest.raises(SourceError, match=r"without signals that are known: neither HyperSpy's nor EMD"):
        open_source(SHARED / "Ni_EBSD_3x3_kikuchipy.h5")


def test_py4dstem_splits_scan_from_pattern(tmp_path):
    data = write.placed((3, 5, 6, 7), "f4")
    cube, virtual = open_source(write.write_py4dstem(tmp_path / "a.h5", data))
    assert [(a.name, a.size, a.navigate) for a in cube.info.axes] == [
        ("Rx", 3, True), ("Ry", 5, True), ("Qx", 6, False), ("Qy", 7, False)
    ]  # fmt: skip
    assert [(a.scale, a.units) for a in cube.info.axes] == [
        (0.5, "nm"), (1.0, "nm"), (1.5, "1/Å"), (2.0, "1/Å")
    ]  # fmt: skip
    assert_frames(cube, data)
    assert virtual.info.navigation_shape == ()
    assert_frames(virtual, data.sum(axis=(2, 3)))


def test_scan_axes_that_are_stored_last_come_first(tmp_path):
    data = write.placed((6, 7, 3, 5), "u2")
    path = write.write_py4dstem(tmp_path / "a.h5", data, ("Qx", "Qy", "Rx", "Ry"))
    cube = open_source(path)[0]
    assert [axis.name for axis in cube.info.axes] == ["Rx", "Ry", "Qx", "Qy"]
    assert_frames(cube, data.transpose(2, 3, 0, 1))
    assert same(cube.signal().data.compute(), data.transpose(2, 3, 0, 1))


def test_a_file_with_several_signals_gives_each_its_own_name(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "f4"), 2, title="Größe: a@b")
    for title in ("HAADF", "Größe? a@b"):
        write.add_to_hspy(path, write.placed((5,), "f4"), 1, title)
    roots = open_source(path)
    names = [root.name for root in roots]
    assert sorted(names) == ["Groe_a_b", "Groe_a_b_2", "HAADF"]
    assert len({root.fingerprint for root in roots}) == 3


def test_a_root_travels_to_another_process(small):
    """Functions that hold the interpreter's lock run in processes, and read there."""
    (root,) = open_source(small)
    index = (0,) * len(root.info.navigation_axes)
    copy = pickle.loads(pickle.dumps(root))  # noqa: S301
    assert same(copy.reader.read(index), root.reader.read(index))


def test_titles_are_kept_and_untitled_signals_are_called_signal(tmp_path):
    (root,) = open_source(write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "f4"), 2))
    assert (root.name, root.title) == ("signal", "")


def test_metadata_is_json_and_the_vendors_stays_out(real):
    for root in open_source(real):
        text = json.dumps(root.metadata, allow_nan=False)
        assert len(text) < 64_000
        assert root.metadata["Signal"].get("signal_type", "") == root.info.signal_type
        json.dumps([axis.to_json() for axis in root.info.axes], allow_nan=False)


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


def test_many_open_at_once(tmp_path):
    """What is silenced while opening is the whole process's: it must come back."""
    paths = [SMALL["hspy 1|2"], SMALL["tif stack"], SMALL["mib stack"], SMALL["zspy 1|1 big-endian"]]
    paths = [write_one(tmp_path) for write_one in paths] * 10
    filters, level = list(warnings.filters), logging.getLogger("rsciio").level
    with ThreadPoolExecutor(8) as pool:
        assert all(roots[0].info.shape for roots in pool.map(open_source, paths))
    assert (list(warnings.filters), logging.getLogger("rsciio").level) == (filters, level)


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
