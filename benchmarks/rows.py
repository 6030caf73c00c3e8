"""What is asked of each contender: one row of the table is one kind of request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.scan import CHAIN

RESULT = CHAIN[-1][0]
OCTETS = "&format=application/octet-stream"

Path = Callable[[int, int], str]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    name : str
    paths : dict of str to callable
        Contender to the path it is asked for at a position.
    cold : bool
        Every request is for a position nobody has asked for; otherwise for one asked for before.
    blosc : bool
        The answer is a Blosc frame; otherwise the plain bytes of the array.
    """

    name: str
    paths: dict[str, Path]
    cold: bool = False
    blosc: bool = False


def rows(tree: str) -> list[Row]:
    """All rows; a new one is one more entry. `tree` is the path of our tree."""
    ours = f"/api/v1/array/full/{tree}"
    return [
        Row(
            "raw frame, array/full",
            {
                "floor": lambda y, x: f"/raw/{y}/{x}",
                "us": lambda y, x: f"{ours}/root?slice={y},{x}{OCTETS}",
                "naive": lambda y, x: f"/api/v1/array/full/raw?slice={y},{x}{OCTETS}",
            },
        ),
        Row(
            "raw frame, array/block",
            {
                "floor": lambda y, x: f"/raw/{y}/{x}",
                "us": lambda y, x: f"/api/v1/array/block/{tree}/root?block={y},{x},0,0{OCTETS}",
                "naive": lambda y, x: f"/api/v1/array/block/raw?block={y},{x},0,0{OCTETS}",
            },
        ),
        Row(
            "raw frame, zarr v3 chunk, cold",
            {
                "floor": lambda y, x: f"/zarr/{y}/{x}",
                "us": lambda y, x: f"/zarr/v3/{tree}/root/c/{y}/{x}/0/0",
                "naive": lambda y, x: f"/zarr/v3/raw/c/{y}/{x}/0/0",
            },
            cold=True,
            blosc=True,
        ),
        Row(
            "raw frame, zarr v3 chunk, again",
            {
                "floor": lambda y, x: f"/zarr/{y}/{x}",
                "us": lambda y, x: f"/zarr/v3/{tree}/root/c/{y}/{x}/0/0",
                "naive": lambda y, x: f"/zarr/v3/raw/c/{y}/{x}/0/0",
            },
            blosc=True,
        ),
        Row(
            "computed frame, cold",
            {
                "floor": lambda y, x: f"/compute/{y}/{x}",
                "us": lambda y, x: f"{ours}/{RESULT}?slice={y},{x}{OCTETS}",
                "naive": lambda y, x: f"/api/v1/array/full/computed?slice={y},{x}{OCTETS}",
            },
            cold=True,
        ),
        Row(
            "computed frame, again",
            {
                "floor": lambda y, x: f"/computed/{y}/{x}",
                "us": lambda y, x: f"{ours}/{RESULT}?slice={y},{x}{OCTETS}",
                "naive": lambda y, x: f"/api/v1/array/full/computed?slice={y},{x}{OCTETS}",
            },
        ),
    ]
