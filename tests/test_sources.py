"""One contract for every reader: the frames, the calibration and the types that hyperspy gives."""

from __future__ import annotations

import gc
import json
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
from source_samples import SMALL

from tiled_spyde.errors import SourceError
from tiled_spyde.recipe import Recipe
from tiled_spyde.sources import Source, open_source

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
def real(request, shared_data):
    return shared_data / request.param


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
    root.reader.read((0,))  # the file system is asked once what it can say
    asked = []
    preadv = os.preadv

    def counting(descriptor, buffers, offset, *flags):
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
    before, started = resident(), time.thread_time()
    (root,) = open_source(path)
    assert time.thread_time() - started < 1
    assert root.info.shape == (frames, side, side)
    assert same(root.reader.read((frames - 1,)), last)
    assert not root.reader.read((0,)).any()
    assert resident() - before < 50e6


def test_hdf5_without_a_reader_says_so(shared_data):
    with pytest.raises(SourceError, match="its reader, kikuchipy, is not installed"):
        open_source(shared_data / "Ni_EBSD_3x3_kikuchipy.h5")


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
    assert len({Recipe(root).key for root in roots}) == 3


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


def test_what_is_remembered_reads_as_what_was_opened(small):
    """And is opened at the first frame, not before."""
    source = Source.from_json(json.loads(json.dumps(Source.at(small).to_json())))
    for remembered, opened in zip(source.roots, open_source(small), strict=True):
        assert (remembered.name, remembered.info, remembered.files) == (
            opened.name,
            opened.info,
            opened.files,
        )
        assert Recipe(remembered).key == Recipe(opened).key
        index = tuple(n - 1 for n in opened.info.navigation_shape)
        np.testing.assert_array_equal(remembered.reader.read(index), opened.reader.read(index))
