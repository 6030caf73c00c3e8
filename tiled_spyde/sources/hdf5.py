"""Which of rosettasciio's readers knows an HDF5 file, by what is in it, and how its data lie."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.raw import Place

if TYPE_CHECKING:
    from pathlib import Path

_ELSEWHERE = "it leads to data in other files. Save it as one file."
_MOST_CHUNKS = 10_000_000  # along one axis; dask counts them all


def reader_of(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the module of rosettasciio's reader for the HDF5 file at `path`, and its arguments.

    Never NeXus for a file that does not say so: that reader opens almost any HDF5 file, and returns
    what it does not understand as signals.

    Raises
    ------
    SourceError
        It is no HDF5 file, none that is known, or leads out of itself.
    """
    import h5py

    if not h5py.is_hdf5(path):
        raise SourceError("it is no HDF5 file, whatever its name says. Give it its right name.")
    refuse_outside(path)
    with h5py.File(path, "r") as file:
        if _text(file.attrs.get("file_format")) == "HyperSpy" or "Experiments" in file:
            return "hspy", {}
        if "Version" in file:
            return "emd", {}
        groups = [file, *(group for group in file.values() if isinstance(group, h5py.Group))]
        if any("version_major" in group.attrs for group in groups):
            # Of py4DSTEM's EMD 1.0, stacking would mix the scan with its virtual images.
            root = any(_text(group.attrs.get("emd_group_type")) == "root" for group in groups)
            return "emd", {"stack_group": False} if root else {}
        if "TofDAQ Version" in file.attrs:
            return "tofwerk", {}
    raise SourceError(
        "it is an HDF5 file without signals that are known: neither HyperSpy's nor EMD (Velox, Berkeley, "
        "py4DSTEM). Save it as .hspy with the program that reads it."
    )


def read_hspy(path: Path) -> list[dict[str, Any]]:
    """Return the signals of the HyperSpy file at `path`, as rosettasciio's `file_reader` does.

    That one also keeps the file open for good, and lazily opens no data that is stored in one
    piece rather than in chunks.
    """
    import dask.array as da
    import h5py
    from rsciio.hspy._api import HyperspyReader

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - registers more compressions

    class Reader(HyperspyReader):
        def _read_array(self, group: Any, key: str) -> Any:
            data = super()._read_array(group, key)
            if key == "data" and isinstance(data, h5py.Dataset):
                return da.from_array(data, chunks=data.chunks or "auto")  # type: ignore[no-untyped-call]
            return data

    file = h5py.File(path, "r")
    try:
        signals: list[dict[str, Any]] = Reader(file).read(lazy=True)
    except BaseException:
        file.close()
        raise
    return signals


def refuse_outside(path: Path) -> None:
    """Raise SourceError where the HDF5 file at `path` would have another file read for it.

    External links, external storage and virtual datasets: a client could have any file of the
    host read through them. Likewise where it claims more chunks than anyone can count.
    """
    import h5py

    def is_external(_: bytes, link: Any) -> bool | None:
        return True if link.type == h5py.h5l.TYPE_EXTERNAL else None

    def fault(_: str, item: Any) -> str | None:
        if not isinstance(item, h5py.Dataset):
            return None
        if item.is_virtual or item.external:
            return _ELSEWHERE
        chunks = item.chunks or item.shape or ()
        if any(size > _MOST_CHUNKS * chunk for size, chunk in zip(item.shape or (), chunks, strict=True)):
            return f"{item.name} says it has shape {item.shape}. It is damaged: copy it again."
        return None

    with h5py.File(path, "r") as file:
        found = _ELSEWHERE if file.id.links.visit(is_external, info=True) else file.visititems(fault)
    if found:
        raise SourceError(found)


def place(dataset: Any) -> Place | None:
    """Return where the data of `dataset` lie if they lie there as one uncompressed piece, else None."""
    import h5py

    offset = dataset.id.get_offset()
    plain = dataset.chunks is None and offset is not None and dataset.file.userblock_size == 0
    if not plain or dataset.id.get_type() != h5py.h5t.py_create(dataset.dtype, logical=True):
        return None
    return Place(offset, dataset.dtype, frames=1, pixels=dataset.size)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
