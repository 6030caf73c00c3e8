"""Where arrays are: the address of a slice, and what comes from there. Pure: no HTTP.

A slice travels as one Blosc frame: as the pinned zarr v3 chunk that holds it where there is one (the
address every cache on the way knows), as ``array/full`` with a slice otherwise. What is not kept is derived.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numcodecs.blosc import Blosc

from viewer.errors import Garbled
from viewer.trials import Trial
from viewer.view_state import Span, slice_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from viewer.nodes import Node
    from viewer.view_state import Request, Selection

BLOSC = "application/x-blosc"
_BLOSC = Blosc()  # frames describe themselves, so one codec reads them all
# A whole chunk is worth its bytes when it is small, since its neighbours come with it.
SMALL_CHUNK_BYTES = 256 * 1024
# Proxies take no longer address than 8 KiB.
LONGEST_ADDRESS = 4000


@dataclass(frozen=True, slots=True)
class Address:
    """Where an array is: equal addresses give equal bytes, so this is the key of every cache.

    Parameters
    ----------
    url : str
        Path and query below the service's base.
    shape : tuple of int
        Shape of the array that comes.
    dtype : str
        Its dtype, little-endian.
    """

    url: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Derivation(Address):
    """Where a slice of what is not kept is; its shape and dtype come with it."""

    trial: Trial


Crop = tuple["int | slice", ...]


def locate(request: Request | Trial) -> tuple[Address, Crop]:
    """Return the address that holds a slice, and how to cut the slice out of what comes.

    Parameters
    ----------
    request : Request or Trial
        One entry per axis of the node.
    """
    if isinstance(request, Trial):
        return Derivation(derived(request, sliced=True), (), "", request), ()
    node = request.node
    chunk = _chunk_of(request.selection, node)
    if chunk is not None:
        indices, crop = chunk
        url = "/".join((f"/zarr/v3/{pinned(node)}/c", *map(str, indices)))
        return Address(url, node.chunks, node.dtype.str), crop
    url = f"/api/v1/array/full/{pinned(node)}?format={BLOSC}&slice={slice_text(request.selection, node)}"
    return Address(url, request.shape, node.dtype.str), ()


def _chunk_of(selection: Selection, node: Node) -> tuple[tuple[int, ...], Crop] | None:
    """Index of the one chunk that holds `selection` and the cut in it; None where a slice is better."""
    indices, crop, wanted = [], [], 1
    for part, size in zip(selection, node.chunks, strict=True):
        first, last = (part.start, part.stop - 1) if isinstance(part, Span) else (part, part)
        if first // size != last // size or (isinstance(part, Span) and part.step != 1):
            return None
        indices.append(first // size)
        start = first - first // size * size
        crop.append(slice(start, start + len(part)) if isinstance(part, Span) else start)
        wanted *= len(part) if isinstance(part, Span) else 1
    chunk = int(np.prod(node.chunks))
    worthwhile = 2 * wanted >= chunk or chunk * node.dtype.itemsize <= SMALL_CHUNK_BYTES
    return (tuple(indices), tuple(crop)) if worthwhile else None


def question(trial: Trial, sliced: bool) -> tuple[str, dict[str, Any] | None]:
    """Return where to ask for a slice of a trial, or for what it would be, and what to send there: None with GET."""
    url = derived(trial, sliced)
    if len(url) <= LONGEST_ADDRESS:
        return url, None
    more = {"slice": trial.slice, "format": BLOSC} if sliced else {}
    return url.partition("?")[0], {"steps": json.loads(trial.steps), **more}


def derived(trial: Trial, sliced: bool) -> str:
    """Return the address of a slice of a trial, or of what it would be."""
    url = f"/api/v1/derive/{pinned(trial.node)}?steps={quote(trial.steps, safe='')}"
    return f"{url}&format={BLOSC}&slice={trial.slice}" if sliced else url


def pinned(node: Node) -> str:
    """Path of the node, percent-encoded, pinned to its key where it has one."""
    path = quoted(node.path)
    return f"{path}@{quote(node.key, safe='')}" if node.key else path


def decode(body: bytes, address: Address) -> NDArray[Any]:
    """Array in one Blosc frame, native byte order, C order.

    Raises
    ------
    Garbled
        Not a Blosc frame, or not as long as shape and dtype say.
    """
    dtype = np.dtype(address.dtype)
    try:
        flat = np.frombuffer(_BLOSC.decode(body), dtype=dtype)
        return flat.reshape(address.shape).astype(dtype.newbyteorder("="), copy=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Garbled(f"The answer for {address.url} is not a {address.shape} array: {error}") from error


def quoted(path: Sequence[str]) -> str:
    """Return a path as it stands in a URL."""
    return "/".join(quote(segment, safe="") for segment in path)
