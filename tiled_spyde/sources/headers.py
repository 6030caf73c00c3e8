"""Headers of raw formats: read before anyone believes them, and where the frames lie after them."""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING, Literal

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.raw import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MRC_TYPES = {0: "u1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
_MIB_TYPES = {"U08": "u1", "U16": ">u2", "U32": ">u4"}
_MOST_MISSING = 100  # a file with less than a hundredth of what its header says is not that file
_TIMESTAMPS = 10_000  # as many frames as rosettasciio looks at


def mrc(path: Path) -> tuple[Place, str]:
    """Return where the frames of an MRC file lie, and its byte order (``<`` or ``>``).

    Raises
    ------
    SourceError
        The header is none, or claims far more than there is.
    """
    header = _head(path, 1024)
    order: Literal["<", ">"] = "<" if struct.unpack_from("<4I", header)[3] in _MRC_TYPES else ">"
    nx, ny, nz, mode = struct.unpack_from(f"{order}4I", header)
    (extended,) = struct.unpack_from(f"{order}I", header, 92)
    if mode not in _MRC_TYPES:
        mode = struct.unpack_from("<4I", header)[3]
        raise SourceError(
            f"its header says pixels of kind {mode}, which MRC does not have. Is it an MRC file?"
        )
    dtype = np.dtype(_MRC_TYPES[mode]).newbyteorder(order)
    place = Place(1024 + extended, dtype, frames=nz, pixels=ny * nx)
    return believed(place, path, f"{nz} × {ny} × {nx}"), order


def blo(path: Path) -> Place:
    """Return where the frames of a NanoMEGAS blockfile lie: each has six bytes before it.

    Raises
    ------
    SourceError
        The header is none, or claims far more than there is.
    """
    header = _head(path, 240)
    offset, _, side, _, nx, ny = struct.unpack_from("<IIHHHH", header, 12)
    place = Place(offset + 6, np.dtype("u1"), frames=ny * nx, pixels=side * side, gap=6)
    return believed(place, path, f"{ny} × {nx} × {side} × {side}")


def mib(path: Path) -> tuple[Place, tuple[int, ...]]:
    """Return where the frames of a Merlin file lie, and its scan in hyperspy's order.

    The scan is found as rosettasciio finds it, from the .hdr file or from the first gap in the frames'
    times, but without its memory map.

    Raises
    ------
    SourceError
        The header is none, or of a kind that rosettasciio does not read.
    """
    fields = _head(path, 384).decode("latin-1").split(",")
    if fields[0] != "MQ1" or len(fields) < 8:
        raise SourceError("it does not begin with a Merlin header. Is it a .mib file?")
    if fields[6] not in _MIB_TYPES:
        raise SourceError(f"its frames are of kind {fields[6]} (raw). Save processed data with Merlin.")
    head, width, height = int(fields[2]), int(fields[4]), int(fields[5])
    dtype = np.dtype(_MIB_TYPES[fields[6]])
    size = head + width * height * dtype.itemsize
    frames = path.stat().st_size // size
    place = Place(head, dtype, frames, width * height, gap=head, flipped=True)
    return believed(place, path, f"{height} × {width}"), _scan(path, frames, head, size)


def believed(place: Place, path: Path, shape: str) -> Place:
    """Return `place` unless the file at `path` is far too small for it.

    Raises
    ------
    SourceError
        Not one frame is in the file, or less than a hundredth of what its header says.
    """
    size = path.stat().st_size
    one = place.pixels * place.dtype.itemsize
    needed = place.offset + place.frames * (one + place.gap) - place.gap
    if not place.frames * place.pixels or place.offset + one > size or needed > _MOST_MISSING * size:
        raise SourceError(
            f"its header says {shape} pixels, {needed} bytes, but it has {size} bytes. It is something else, "
            "or hardly more than its beginning: copy it again."
        )
    return place


def hdr_of(path: Path) -> Path | None:
    """Return the .hdr file beside the .mib file at `path`, None where there is none."""
    beside = path.with_name(path.name.replace(".mib", ".hdr"))
    return beside if beside != path and beside.exists() else None


def _scan(path: Path, frames: int, head: int, size: int) -> tuple[int, ...]:
    beside = hdr_of(path)
    per_line, said = 1, frames
    if beside is not None:
        notes = dict(re.findall(r"^([^\t\n]+?):?\t(.*)$", beside.read_text(errors="replace"), re.MULTILINE))
        per_line = int(notes.get("Frames per Trigger (Number)", 1))
        said = int(notes.get("Frames in Acquisition (Number)", frames))
    if per_line == 1:
        per_line = _first_gap(list(_times(path, min(frames, _TIMESTAMPS), head, size)))
    if said == 0 or per_line == 0:
        return (frames,)
    return per_line, said // per_line


def _times(path: Path, frames: int, head: int, size: int) -> Iterator[str]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # headers only, nothing read ahead
        for number in range(frames):
            header = os.pread(descriptor, head, number * size).rstrip(b"\0").decode("latin-1")
            yield header.split(",")[-4].removesuffix("Z")
    finally:
        os.close(descriptor)


def _first_gap(times: list[str]) -> int:
    """Return the number of frames before the first pause that is longer than the mean; 1 without one."""
    steps = np.diff(np.array(times, "datetime64")).astype(float)
    longer = np.flatnonzero(steps - steps.mean() > 0) if steps.size else steps
    return int(longer[0]) + 1 if longer.size else 1


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        header = file.read(size)
    if len(header) < size:
        raise SourceError(f"it ends within its header, after {len(header)} bytes. Copy it again.")
    return header
