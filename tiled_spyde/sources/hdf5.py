"""Which of rosettasciio's readers knows an HDF5 file, by what is in it, and how its data lie."""

from __future__ import annotations

import contextlib
import math
import re
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.raw import Place

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_NOTE = 64 << 20  # bytes of an array in the metadata that its reader reads as a whole
_DECTRIS = re.compile(r"data_\d+")  # what a detector's master file calls its data files


def signals_of(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the module of rosettasciio's reader for the HDF5 file at `path`, and its arguments.

    Never NeXus for a file that does not say so: that reader opens almost any HDF5 file, and returns
    what it does not understand as signals.

    Raises
    ------
    SourceError
        It is no HDF5 file, or none that is known.
    """
    import h5py

    if not h5py.is_hdf5(path):
        raise SourceError("it is no HDF5 file, whatever its name says. Give it its right name.")
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
        if any(name.startswith("Acquisition") and "PhysicalData" in file[name] for name in file):
            return "delmic", {"signal": "all"}
        if _data_files(file):
            return "dectris", {}
        if any("NX_class" in group.attrs for group in groups):
            return "nexus", {}
        maker = next(
            (file[name][()] for name in ("manufacturer", "Manufacturer", " Manufacturer") if name in file), ""
        )
    raise SourceError(_unknown(_text(maker)))


def _unknown(maker: str) -> str:
    if maker == "kikuchipy":
        return "its reader, kikuchipy, is not installed, as it needs zarr 2. Save it as .hspy with kikuchipy."
    return (
        "it is an HDF5 file without signals that are known: neither HyperSpy's, EMD (Velox, Berkeley, "
        "py4DSTEM), NeXus, Delmic, Tofwerk nor Dectris. Save it as .hspy with the program that reads it."
    )


def read_hspy(path: Path) -> list[dict[str, Any]]:
    """Return the signals of the HyperSpy file at `path`, as rosettasciio's `file_reader` does.

    That one also keeps the file open for good, lazily opens nothing that is stored in one piece rather
    than in chunks, and reads models and decompositions.
    """
    import h5py
    from rsciio.hspy._api import HyperspyReader

    class Reader(HyperspyReader):
        def _read_array(self, group: Any, key: str) -> Any:
            data = super()._read_array(group, key)
            if not isinstance(data, h5py.Dataset):
                return data
            listed = data.dtype.char == "S" or key.startswith(("_list_", "_tuple_"))
            if listed and data.size * data.dtype.itemsize > _LARGEST_NOTE:
                raise SourceError(f"its {key!r} unpacks to more than anyone reads. Save it without.")
            if key == "data" and group.parent.name == "/Experiments":
                return DaskLater(data)
            if data.chunks or data.dtype.char == "S":
                return data
            return data if listed else _InOnePiece(data)

        def _group2dict(self, group: Any, dictionary: Any = None, lazy: bool = False) -> Any:
            if group.name.startswith("/Analysis/models") or group.name.endswith("learning_results"):
                return {"_signal": ""}  # what people computed from the signal is not in it
            return super()._group2dict(group, dictionary, lazy)

    file = opened(path)
    try:
        signals: list[dict[str, Any]] = Reader(file).read(lazy=True)
    except BaseException:
        file.close()
        raise
    return signals


class DaskLater:
    """The dask array of an HDF5 dataset, made when more is asked of it.

    Importing dask takes half a second, and laying out an array of 16 384 chunks a quarter; opening the file 4 ms.

    Parameters
    ----------
    dataset : h5py.Dataset
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.shape = dataset.shape
        self.dtype = dataset.dtype

    def __dask_keys__(self) -> Any:
        """Return the keys of its chunks; that there is such a method is how rosettasciio tells what is lazy."""
        return self.to_dask_array().__dask_keys__()

    def to_dask_array(self) -> Any:
        """Return the array; what `dask.array.asarray` calls."""
        import dask.array as da

        return da.from_array(self.dataset, chunks=self.dataset.chunks or "auto")  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.to_dask_array(), name)


class _InOnePiece:
    """An HDF5 dataset that is stored in one piece, for who takes it that all have chunks."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.chunks = dataset.shape

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __getitem__(self, selection: Any) -> Any:
        return self._dataset[selection]


def read_dectris(path: Path) -> list[dict[str, Any]]:
    """Return the scan of a Dectris master file and its data files, as rosettasciio's reader for Arina does.

    That one reads all of it at once, and only scans of as many lines as columns: others are a stack here.
    """
    import dask.array as da

    file = opened(path)
    try:
        parts = list(_data_files(file))
        dtype = parts[0].dtype if parts[0].dtype != "u4" else "u2"  # the counter has 16 bits
        stack = da.concatenate([da.from_array(part, chunks=part.chunks or "auto") for part in parts])  # type: ignore[no-untyped-call]
        frames, *pattern = stack.shape
        side = math.isqrt(frames)
        scan = (side, side) if side > 1 and side * side == frames else (frames,)
        data = stack.astype(dtype).reshape(*scan, *pattern)
    except BaseException:
        file.close()
        raise
    names = [*("x", "y")[: len(scan)], "qx", "qy"]
    axes = [
        {"name": name, "size": size, "scale": 1.0, "offset": 0.0, "units": "", "navigate": name[0] != "q"}
        for name, size in zip(names, data.shape, strict=True)
    ]
    return [{"data": data, "axes": axes, "metadata": {}, "original_metadata": {}}]


def opened(path: Path, **options: Any) -> Any:
    """Return the HDF5 file at `path`, open for reading."""
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 - registers more compressions
    return h5py.File(path, "r", **options)


def unpacked_size(path: Path) -> int:
    """Return how many bytes the datasets of the HDF5 file at `path` are in memory."""
    import h5py

    sizes: list[int] = []

    def look(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            sizes.append(item.size * item.dtype.itemsize)

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return sum(sizes)


def place(dataset: Any) -> Place | None:
    """Return where the data of `dataset` lie if they lie there as one uncompressed piece, else None."""
    offset = dataset.id.get_offset()
    if dataset.chunks is not None or offset is None or not is_plain(dataset):
        return None
    return Place(offset, dataset.dtype, frames=1, pixels=dataset.size)


def is_plain(dataset: Any) -> bool:
    """Whether the numbers of `dataset` lie in its own file as numpy has them, where HDF5 says they are."""
    import h5py

    if dataset.is_virtual or dataset.external or dataset.dtype.names or dataset.file.userblock_size:
        return False
    return bool(dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True))


def _data_files(file: Any) -> list[Any]:
    """Return the datasets of a detector's master file, in the order of their names."""
    import h5py

    data = file.get("entry/data")
    names = [name for name in data if _DECTRIS.fullmatch(name)] if isinstance(data, h5py.Group) else []
    found = [data.get(name) for name in sorted(names)]
    return [part for part in found if isinstance(part, h5py.Dataset) and part.ndim == 3]


def _text(value: Any) -> str:
    if getattr(value, "shape", None) == (1,):
        value = value[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
