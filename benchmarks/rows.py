"""What is asked of each contender: one row is one kind of request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.scan import CHAIN, TITLE

RESULT = CHAIN[-1][0]
OCTETS = "&format=application/octet-stream"

Path = Callable[[int, int], str]


@dataclass(frozen=True)
class Row:
    """One kind of request.

    Parameters
    ----------
    number : str
        Of the row in the issue's table.
    name : str
    paths : dict of str to callable
        Contender to the path it is asked for at a position.
    most : float or None
        What our time may be of the floor's; None where that is only told beside.
    target : str
        The same in words.
    floor : str
        The contender that is the floor.
    cold : bool
        Every request is for a position nobody has asked for; otherwise for one asked for before.
    blosc : bool
        The answer is a Blosc frame; otherwise the plain bytes of the array.
    conditional : bool
        Asked with the entity tag of the answer before: the answer must be 304.
    least_of_naive : float, optional
        How many times faster than stock tiled it must be: row 4.
    """

    number: str
    name: str
    paths: dict[str, Path]
    most: float | None
    target: str
    floor: str = "floor"
    cold: bool = False
    blosc: bool = False
    conditional: bool = False
    least_of_naive: float | None = None


def rows(tree: str) -> list[Row]:
    """All rows but h5grove's; a new one is one more entry. `tree` is the path of our tree."""
    return [*_raw(tree), *_chunks(tree), *_computed(tree)]


def _raw(tree: str) -> list[Row]:
    """Row 1: the bytes of a frame as they stand in the file."""
    target = "≤ 1.5 × floor"
    full = {
        "floor": lambda y, x: f"/held/raw/{y}/{x}",
        "us": lambda y, x: f"/api/v1/array/full/{tree}/root?slice={y},{x}{OCTETS}",
        "naive": lambda y, x: f"/api/v1/array/full/raw?slice={y},{x}{OCTETS}",
    }
    block = {
        "floor": full["floor"],
        "us": lambda y, x: f"/api/v1/array/block/{tree}/root?block={y},{x},0,0{OCTETS}",
        "naive": lambda y, x: f"/api/v1/array/block/raw?block={y},{x},0,0{OCTETS}",
    }
    return [
        Row("1", "raw frame, array/full", full, 1.5, target),
        Row("1", "raw frame, array/block", block, 1.5, target),
        # Those above are remembered, as the floor's are; this one is found, and read from the page cache.
        Row("1", "raw frame, array/full, never asked for before", full, None, "beside", cold=True),
    ]


def _chunks(tree: str) -> list[Row]:
    """Row 1z: the same frame as a chunk of zarr."""
    chunk = {
        "us": lambda y, x: f"/zarr/v3/{tree}/root/c/{y}/{x}/0/0",
        "naive": lambda y, x: f"/zarr/v3/raw/c/{y}/{x}/0/0",
    }
    cold = {"floor": lambda y, x: f"/encode/{y}/{x}", **chunk}
    before = {"floor": lambda y, x: f"/held/zarr/{y}/{x}", **chunk}
    name, target = "raw frame, zarr v3 chunk", "≤ 1.5 × (floor + encoding)"
    return [
        Row("1z", f"{name}, cold", cold, 1.5, target, cold=True, blosc=True),
        Row("1z", f"{name}, encoded before", before, 1.1, "≤ 1.1 × floor", blosc=True),
    ]


def _computed(tree: str) -> list[Row]:
    """Rows 2 to 4: a frame of the chain's last node."""
    computed = {
        "us": lambda y, x: f"/api/v1/array/full/{tree}/{RESULT}?slice={y},{x}{OCTETS}",
        "naive": lambda y, x: f"/api/v1/array/full/computed?slice={y},{x}{OCTETS}",
    }
    cold = {"floor": lambda y, x: f"/compute/{y}/{x}", **computed}
    cached = {"floor": lambda y, x: f"/held/computed/{y}/{x}", **computed}
    known = {"floor": lambda y, x: f"/conditional/{y}/{x}", **computed}
    functions, target = "≤ 1.1 × its functions", "≤ 1.1 × floor"
    return [
        Row("2", "computed frame, cold", cold, 1.1, functions, cold=True, least_of_naive=40),
        Row("3", "computed frame, cached", cached, 1.1, target),
        Row("3", "computed frame, If-None-Match: 304", known, 1.1, target, conditional=True),
    ]


def h5grove_row(tree: str, file: str, which: str) -> Row:
    """Row 5, against the contender `which` that serves `file`."""
    dataset = f"Experiments/{TITLE}/data"
    return Row(
        "5",
        f"raw frame, against h5grove ({which})",
        {
            which: lambda y, x: f"/data?file={file}&path=/{dataset}&format=bin&selection={y},{x}",
            "us": lambda y, x: f"/api/v1/array/full/{tree}/root?slice={y},{x}{OCTETS}",
        },
        0.5,
        "≤ 0.5 × its time",
        floor=which,
    )
