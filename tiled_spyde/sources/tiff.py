"""Where the pixels of TIFF series lie, from the series that rosettasciio has opened."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import SourceError
from tiled_spyde.sources.colours import count
from tiled_spyde.sources.raw import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def check(path: Path) -> None:
    """Raise what tifffile raises for a damaged file, and close it: rosettasciio would leave it open."""
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as tiff:
        for series in tiff.series:
            for tag in series.keyframe.tags:
                _ = tag.value


def located(signals: Sequence[dict[str, Any]]) -> list[tuple[Place | None, bool]]:
    """Return for each of `signals` its place if it lies in one piece, and whether its pages are frames.

    rosettasciio leaves a file open for as long as its dask arrays live. Here it is closed, as
    nothing will be read through them.
    """
    series = [_series_of(signal["data"]) for signal in signals]
    try:
        return [_located(one, signal["data"]) for one, signal in zip(series, signals, strict=True)]
    finally:
        for one in series:
            one.keyframe.parent.close()


def _located(series: Any, data: Any) -> tuple[Place | None, bool]:
    colours = count(data.dtype)
    if colours and not series.axes.endswith("S"):
        raise SourceError("it has an image for each colour. Save it with the colours of a pixel together.")
    pixels = math.prod(data.shape[-2:]) * (colours or 1)
    paged = len(series.pages) * pixels == data.size * (colours or 1) == series.size
    if series.dataoffset is None:
        return None, paged
    one = data.dtype[0] if colours else data.dtype
    dtype = one.newbyteorder(series.keyframe.parent.byteorder)
    return Place(series.dataoffset, dtype, frames=math.prod(data.shape[:-2]), pixels=pixels), paged


def _series_of(data: Any) -> Any:
    """Return the series that the one task behind `data` would read."""
    for task in dict(data.dask).values():
        for argument in getattr(task, "args", ()):
            value = getattr(argument, "value", argument)
            if type(value).__name__ == "TiffPageSeries":
                return value
    raise TypeError("rosettasciio no longer hands its TIFF series to one task")
