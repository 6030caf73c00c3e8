"""Small files of every kind that is read, by what is special about them."""

from __future__ import annotations

import source_files as write


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
