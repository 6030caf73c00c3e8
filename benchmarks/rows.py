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
    most : float
        What our time may be of the floor's.
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
    most: float
    target: str
    floor: str = "floor"
    cold: bool = False
    blosc: bool = False
    conditional: bool = False
    least_of_naive: float | None = None


def rows(tree: str) -> list[Row]:
    """All rows but h5grove's; a new one is one more entry. `tree` is the path of our tree."""
    ours = f"/api/v1/array/full/{tree}"
    chunk = {
        "us": lambda y, x: f"/zarr/v3/{tree}/root/c/{y}/{x}/0/0",
        "naive": lambda y, x: f"/zarr/v3/raw/c/{y}/{x}/0/0",
    }
    computed = {
        "us": lambda y, x: f"{ours}/{RESULT}?slice={y},{x}{OCTETS}",
        "naive": lambda y, x: f"/api/v1/array/full/computed?slice={y},{x}{OCTETS}",
    }
    return [
        Row(
            "1",
            "raw frame, array/full",
            {
                "floor": lambda y, x: f"/held/raw/{y}/{x}",
                "us": lambda y, x: f"{ours}/root?slice={y},{x}{OCTETS}",
                "naive": lambda y, x: f"/api/v1/array/full/raw?slice={y},{x}{OCTETS}",
            },
            1.5,
            "≤ 1.5 × floor",
        ),
        Row(
            "1",
            "raw frame, array/block",
            {
                "floor": lambda y, x: f"/held/raw/{y}/{x}",
                "us": lambda y, x: f"/api/v1/array/block/{tree}/root?block={y},{x},0,0{OCTETS}",
                "naive": lambda y, x: f"/api/v1/array/block/raw?block={y},{x},0,0{OCTETS}",
            },
            1.5,
            "≤ 1.5 × floor",
        ),
        Row(
            "1z",
            "raw frame, zarr v3 chunk, cold",
            {"floor": lambda y, x: f"/encode/{y}/{x}", **chunk},
            1.5,
            "≤ 1.5 × (floor + encoding)",
            cold=True,
            blosc=True,
        ),
        Row(
            "1z",
            "raw frame, zarr v3 chunk, encoded before",
            {"floor": lambda y, x: f"/held/zarr/{y}/{x}", **chunk},
            1.1,
            "≤ 1.1 × floor",
            blosc=True,
        ),
        Row(
            "2",
            "computed frame, cold",
            {"floor": lambda y, x: f"/compute/{y}/{x}", **computed},
            1.1,
            "≤ 1.1 × its functions",
            cold=True,
            least_of_naive=40,
        ),
        Row(
            "3",
            "computed frame, cached",
            {"floor": lambda y, x: f"/held/computed/{y}/{x}", **computed},
            1.1,
            "≤ 1.1 × floor",
        ),
        Row(
            "3",
            "computed frame, If-None-Match: 304",
            {"floor": lambda y, x: f"/conditional/{y}/{x}", **computed},
            1.1,
            "≤ 1.1 × floor",
            conditional=True,
        ),
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
