"""What rosettasciio found: its dictionary, the files, and where the frames lie if that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.sources import hdf5, headers
from tiled_spyde.sources.raw import Place

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Found:
    """One signal that rosettasciio found.

    Parameters
    ----------
    signal : dict
        rosettasciio's dictionary, with lazy data where its reader can.
    members : tuple of pathlib.Path
        The files that hold it; the one with the frames first.
    place : Place or None
        Where its frames lie, for formats that need no decoding.
    series : int or None
        Number of its series in a TIFF file whose pages are its frames.
    """

    signal: dict[str, Any]
    members: tuple[Path, ...]
    place: Place | None = None
    series: int | None = None


def of_array(signal: dict[str, Any], members: Sequence[Path]) -> Found:
    """Return what is known of `signal` from its data: where it lies, if it lies in one piece."""
    beneath = array_beneath(signal["data"])
    if is_hdf5(beneath):
        return Found(signal, tuple(members), hdf5.place(beneath))
    mapped = _mapped(signal["data"])
    if mapped is not None:
        path, place = mapped
        headers.believed(place, path, " × ".join(map(str, signal["data"].shape)))
        return Found(signal, (path, *(other for other in members if other != path)), place)
    return Found(signal, tuple(members))


def array_beneath(data: Any) -> Any:
    """Return the array that the dask array `data` does nothing but slice, None where there is none."""
    if isinstance(data, hdf5.DaskLater):
        return data.dataset
    if not hasattr(data, "dask"):
        return None
    layers = list(data.dask.layers.items())
    if len(layers) != 2 or not layers[0][0].startswith("original-"):
        return None
    (beneath,) = dict(layers[0][1]).values()
    return beneath if getattr(beneath, "shape", None) == data.shape else None


def release(found: Found) -> None:
    """Close the HDF5 file that rosettasciio keeps open behind the data of `found`."""
    beneath = array_beneath(found.signal["data"])
    if is_hdf5(beneath) and beneath:  # false once it is closed
        beneath.file.close()


def is_hdf5(array: Any) -> bool:
    """Whether `array` is an HDF5 dataset."""
    return type(array).__module__.startswith("h5py")


def is_zarr(array: Any) -> bool:
    """Whether `array` is a zarr array."""
    return type(array).__module__.startswith("zarr")


def _mapped(data: Any) -> tuple[Path, Place] | None:
    """Return file and place of a dask array that does nothing but map a file into memory, in order."""
    layers = list(data.dask.layers.items()) if hasattr(data, "dask") else []
    if len(layers) != 2 or not layers[1][0].startswith("slice_memmap"):
        return None
    said = getattr(getattr(layers[1][1], "task", None), "kwargs", {})
    if said.get("positions") or said.get("order", "C") != "C" or "file" not in said:
        return None
    record, offset = np.dtype(said["dtypes"]), int(said.get("offset") or 0)
    frames = math.prod(said["shape"])
    if record.names is None:
        pixels = math.prod(record.shape)
        place = Place(offset, record.base, frames, pixels)
    else:
        held, start = record.fields[said["key"]][:2]
        pixels = math.prod(held.shape)
        gap = record.itemsize - held.itemsize
        place = Place(offset + start, held.base, frames, pixels, gap)
    if frames * pixels != data.size:
        return None
    return Path(said["file"]), place
