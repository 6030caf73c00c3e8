"""Files are not trusted: what they claim to hold, and what unpacks to more than anyone reads."""

from __future__ import annotations

import json
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest
import source_files as write
import tifffile
from format_files import FORMATS, empad
from test_sources_hostile import DATA, refused

from tiled_spyde.errors import SourceError
from tiled_spyde.sources import open_source

GIB = 1 << 30


def test_a_chunk_that_decodes_to_more_than_anyone_reads(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u1"), 2)
    with h5py.File(path, "a") as file:
        del file[DATA]
        shape = (1, 1 << 15, 1 << 15)
        file.create_dataset(DATA, shape, "u1", chunks=shape, compression="gzip")
    assert f"chunks of {GIB} bytes" in refused(path)
    store = write.write_zspy(tmp_path / "a.zspy", write.placed((2, 3, 4, 5), "u1"), 2)
    about = next(store.rglob("data/.zarray"))
    said = json.loads(about.read_text()) | {
        "chunks": [1, 1, 1 << 15, 1 << 15],
        "shape": [2, 3, 1 << 15, 1 << 15],
    }
    about.write_text(json.dumps(said))
    (store / ".zmetadata").unlink(missing_ok=True)
    assert f"chunks of {GIB} bytes" in refused(store)


def test_hdf5_that_is_read_whole_and_unpacks_to_too_much(tmp_path):
    path = FORMATS["delmic"](tmp_path)
    with h5py.File(path, "a") as file:
        file.create_dataset("Acquisition0/more", (300 << 20,), "u1", chunks=(1 << 20,), compression="gzip")
    assert "can only be read as a whole" in refused(path)
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u1"), 2)
    with h5py.File(path, "a") as file:
        names = file["Experiments/__unnamed__/metadata"]
        names.create_dataset("names", (10 << 20,), "S100", chunks=(1 << 20,), compression="gzip")
    started = time.thread_time()
    assert "unpacks to more than anyone reads" in refused(path)
    assert time.thread_time() - started < 2


def test_data_that_are_more_than_their_file_holds(tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((3, 4), "u1"), 2)
    with h5py.File(path, "a") as file:
        del file[DATA]
        file.create_dataset(DATA, (10**6, 10**6), "u2")
    assert "more than there is in the file" in refused(path)


@pytest.mark.parametrize("name", ["a.prz", "a.sur"])
def test_packed_files_that_unpack_to_too_much(name, tmp_path):
    with (
        zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("data.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(
            file, {"descr": "u1", "fortran_order": False, "shape": (300 << 20,)}
        )
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert (tmp_path / name).stat().st_size < 1 << 20
    started = time.thread_time()
    assert "can only be read as a whole" in refused(tmp_path / name)
    assert time.thread_time() - started < 2


def test_a_picture_that_unpacks_to_too_much(tmp_path):
    import zlib

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(60_001)))
    (tmp_path / "a.png").write_bytes(content + part(b"IEND", b""))
    refused(tmp_path / "a.png")


def test_a_page_that_unpacks_to_too_much(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, write.placed((64, 64), "u1"), compression="zlib", photometric="minisblack")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            struct.pack_into("<HHI", content, tags[name].offset + 2, 4, 0, 1)
            struct.pack_into("<I", content, tags[name].offset + 8, 40_000)
    path.write_bytes(content)
    refused(path)


def numpy_header(shape, kind="<f8"):
    def written(path):
        with path.open("wb") as file:
            about = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, about)
            file.write(bytes(1000))

    return written


@pytest.mark.parametrize(
    "shape", [(1,) * 65, (2,) * 65, (10**6,) * 3, (10**18,), (10**9, 10**3), (-3, 4), (0, 4)], ids=str
)
def test_shapes_that_cannot_be_true(shape, tmp_path):
    numpy_header(shape)(tmp_path / "a.npy")
    started = time.thread_time()
    refused(tmp_path / "a.npy")
    assert time.thread_time() - started < 2


@pytest.mark.parametrize(
    ("key", "value"), [("width", 10**6), ("depth", 10**12), ("offset", 10**12), ("depth", "many")]
)
def test_a_ripple_header_that_cannot_be_true(key, value, tmp_path):
    path = FORMATS["ripple"](tmp_path)
    lines = [f"{key}\t{value}" if line.startswith(key) else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    refused(path)


@pytest.mark.parametrize("padding", [0, 1 << 17])
@pytest.mark.parametrize(
    "entities",
    [
        '<!ENTITY a "{}">'.format("ha" * 500)
        + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)),
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
    ],
    ids=["that grow", "of other files"],
)
def test_xml_entities(entities, padding, tmp_path):
    path = empad(tmp_path)
    name = "j" if "&" in entities else "a"
    text = path.read_text().replace("10:00:00<", f"10:00:00&{name};<")
    path.write_text(f"<!--<raw_file{' ' * padding}--><!DOCTYPE root [{entities}]>{text}")
    started = time.thread_time()
    refused(path)
    assert time.thread_time() - started < 5


def test_a_tiff_whose_pages_go_in_a_circle(tmp_path):
    path = write.write_tif(tmp_path / "a.tif", write.placed((3, 13, 17), "u2"), metadata=None)
    with tifffile.TiffFile(path) as tiff:
        pages = [(page.offset, len(page.tags)) for page in tiff.pages]
    content = bytearray(path.read_bytes())
    last, tags = pages[-1]
    struct.pack_into("<I", content, last + 2 + 12 * tags, pages[0][0])
    path.write_bytes(content)
    started = time.thread_time()
    try:
        roots = open_source(path)
        roots[0].reader.read((0,) * len(roots[0].info.navigation_shape))
    except SourceError:
        pass
    assert time.thread_time() - started < 5
