"""Opening a source: what rosettasciio says of a file becomes roots with the fastest reader that fits."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import SourceError
from tiled_spyde.labels import plain_text
from tiled_spyde.sources import formats
from tiled_spyde.sources.arrays import TiffFrames, ZarrFrames
from tiled_spyde.sources.blocks import dask_array
from tiled_spyde.sources.bounds import Bounds
from tiled_spyde.sources.calibration import Described, describe
from tiled_spyde.sources.chunks import Hdf5Frames
from tiled_spyde.sources.colours import count, plain
from tiled_spyde.sources.decoded import DecodedFrames, is_mapped
from tiled_spyde.sources.files import File
from tiled_spyde.sources.found import array_beneath, is_hdf5, is_zarr, release
from tiled_spyde.sources.instrument import instrument_of
from tiled_spyde.sources.metadata import to_json, with_mapped
from tiled_spyde.sources.quiet import silence_readers
from tiled_spyde.sources.raw import RawFrames
from tiled_spyde.sources.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiled_spyde.signals import RegionReader
    from tiled_spyde.sources.found import Found

_LONGEST_TITLE = 1000  # characters


def open_source(path: Path, roots: Sequence[Path] = ()) -> tuple[Root, ...]:
    """Return the signals in the source at `path`; no pixel is read.

    Parameters
    ----------
    path : pathlib.Path
        A data file or a ``.zspy`` folder.
    roots : sequence of pathlib.Path
        The served folders: whatever the file leads to must lie in one of them. Without any, in its own folder.

    Raises
    ------
    SourceError
        It cannot be opened. The message says why, and what to do.
    """
    path = Path(path).absolute()
    bounds = Bounds(roots or (path.parent, Path(os.path.realpath(path)).parent))
    try:
        silence_readers()
        return _open(path, bounds)
    except SourceError as error:
        raise SourceError(_about(path, str(error))) from error
    except OSError as error:
        raise SourceError(_about(path, f"{error.strerror or error}. Is it complete?")) from error
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(
            _about(path, f"{lines[0][:200].rstrip('.')}. Is it complete, and what its name says?")
        ) from error


def _about(path: Path, why: str) -> str:
    said = why if why.startswith("Cannot open") else f"Cannot open {path.name}: {why}"
    return "".join(letter if letter.isprintable() else "?" for letter in plain_text(said))


def _open(path: Path, bounds: Bounds) -> tuple[Root, ...]:
    here = File.at(path, path.parent)
    bounds.require(path)
    if not os.access(path, os.R_OK):
        raise SourceError("permission denied. Ask its owner to let you read it.")
    if here.folder and path.suffix.lower() != ".zspy":
        raise SourceError("it is a folder. Name the files in it.")
    if not here.folder and here.size == 0:
        raise SourceError("it is empty. Copy it again.")
    asked = formats.ask(path, bounds)
    roots: list[Root] = []
    refused = SourceError("there is no signal in it. Save it again with the program it is from.")
    try:
        for number, found in enumerate(asked):
            try:
                roots.append(_root(path, number, found, bounds))
            except SourceError as error:
                refused = error  # a table of peaks beside an image must not cost the image
    finally:
        for one in asked:
            release(one)
    here.check()
    if not roots:
        raise refused
    return _uniquely_named(roots)


def _root(path: Path, number: int, found: Found, bounds: Bounds) -> Root:
    signal = _processed(found.signal)
    metadata = with_mapped(
        signal["metadata"], signal.get("original_metadata") or {}, signal.get("mapping") or {}
    )
    data = signal["data"]
    described = describe(signal["axes"], data.shape, data.dtype, metadata.get("Signal") or {})
    files = tuple(File.at(member, path.parent) for member in found.members)
    later = _Later(path, bounds)
    reader = _reader(found, number, data, described, files, later)
    title = plain_text((metadata.get("General") or {}).get("title") or "")[:_LONGEST_TITLE]
    by_frame = isinstance(reader, RawFrames | TiffFrames)
    by_frame |= isinstance(reader, DecodedFrames) and is_mapped(data)
    return Root(
        name=_safe(title),
        title=title,
        info=replace(described.info, instrument=instrument_of(metadata)),
        reader=reader,
        metadata=to_json(metadata),
        files=files,
        lazy_array=partial(dask_array, reader, described.info)
        if by_frame
        else partial(_asked_again, later, number, described),
        together=() if by_frame else _together(data, described.navigate),
    )


def _reader(
    found: Found, number: int, data: Any, described: Described, files: tuple[File, ...], later: _Later
) -> RegionReader:
    info, navigate = described.info, described.navigate
    coloured = count(found.signal["data"].dtype) > 0
    if found.place is not None and described.in_order and found.place.holds(info):
        return RawFrames(files[0], found.place, info)
    if isinstance(data, np.ndarray) and data.nbytes > formats.LARGEST:
        raise SourceError(f"it can only be read as a whole, {data.nbytes} bytes. Save it as .hspy.")
    if found.series is not None and described.in_order:
        return TiffFrames(files, found.series, navigate, info)
    beneath: Any = None if coloured else array_beneath(data)
    if is_hdf5(beneath):
        return Hdf5Frames(files, beneath.name, navigate, info)
    if is_zarr(beneath):
        return ZarrFrames(files, (later.path, beneath.path, later.bounds), navigate, info)
    reader = DecodedFrames(files, later, number, navigate, info, later.bounds)
    reader.hold(data)
    return reader


def _together(data: Any, navigate: Sequence[bool]) -> tuple[int, ...]:
    """Return how many positions along each navigation axis are in one chunk of `data`; empty where one is."""
    beneath = array_beneath(data)
    chunks = getattr(data if beneath is None else beneath, "chunks", None)
    if chunks is None or len(chunks) != len(navigate):
        return ()
    sizes = [one if isinstance(one, int) else max(one) for one in chunks]  # dask says the size of each
    found = tuple(size for size, axis in zip(sizes, navigate, strict=True) if axis)
    return found if math.prod(found) > 1 else ()


@dataclass(frozen=True)
class _Later:
    """Opens a source once more, and gives the arrays of its signals as they are stored."""

    path: Path
    bounds: Bounds

    def __call__(self) -> list[Any]:
        silence_readers()
        return [_processed(found.signal)["data"] for found in formats.ask(self.path, self.bounds)]


def _processed(signal: dict[str, Any]) -> dict[str, Any]:
    """Return `signal` after what its reader wants done to the finished hyperspy signal, its colours as an axis."""
    if not signal.get("post_process"):
        data, axes = plain(signal["data"], list(signal["axes"]))
        return {**signal, "data": data, "axes": axes}
    from hyperspy.io import dict2signal

    metadata = signal["metadata"]
    kind = metadata.get("Signal") or {}
    # Without its type: some types would import packages that take many seconds.
    bare = metadata | {"Signal": {**kind, "signal_type": ""}}
    made = dict2signal({**signal, "metadata": bare, "models": {}}, lazy=True)
    axes = list(made.axes_manager.as_dictionary().values())
    return {**signal, "metadata": metadata | {"Signal": kind}, "data": made.data, "axes": axes}


def _asked_again(later: _Later, number: int, described: Described) -> Any:
    """Return the dask array of a signal in array order, from a file opened for it."""
    import dask.array as da

    array = da.asarray(later()[number])  # type: ignore[no-untyped-call]
    return array.transpose(described.order).astype(described.info.dtype)


def _uniquely_named(roots: list[Root]) -> tuple[Root, ...]:
    named: dict[str, Root] = {}
    counts: dict[str, int] = {}
    for root in roots:
        name, count = root.name, counts.get(root.name, 1)
        while name in named:
            count += 1
            name = f"{root.name}_{count}"
        counts[root.name] = count
        named[name] = root if name == root.name else replace(root, name=name)
    return tuple(named.values())


def _safe(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.-]+", "_", plain)[:64].strip("._-") or "signal"
