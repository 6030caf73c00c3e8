"""What goes over the wire: a slice of a node, laid out and encoded once for all who ask for it.

A whole chunk has many addresses (zarr v2, zarr v3, tiled's blocks and slices). They are one `Body` here, known by its
tag before anything is computed.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from tiled.media_type_registration import default_compression_registry

from tiled_spyde import codecs
from tiled_spyde.callers import in_time
from tiled_spyde.frames import one_frame
from tiled_spyde.headers import accepted_encodings
from tiled_spyde.tickets import TICKET, Ticket

if TYPE_CHECKING:
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.frames import OneFrame
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.slices import Selection

    Octets = bytes | memoryview

OCTETS = "application/octet-stream"

# Up to so many bytes are laid out, and encoded by Blosc, on the event loop: a thread would take longer to begin.
_SMALL = 512 * 1024
# As tiled: less than this is sent as it is, and so is what compressing does not make smaller by a tenth.
_WORTH_COMPRESSING = 1000
_WORTH_SENDING = 0.9


@dataclass(frozen=True, slots=True)
class Body:
    """A slice of a node in one layout: all of an answer that is not a header.

    Parameters
    ----------
    recipe : Recipe
        Of the node, which has at least one axis.
    selection : Selection
        Which part of it.
    media_type : str
        ``application/octet-stream`` or ``application/x-blosc``.
    encoding : str
        The content encoding to try, from tiled's registry; empty for none.
    padded : tuple of int
        Shape of a zarr chunk that reaches over the edge; empty where nothing is missing.
    tag : str
        Says all of it: equal tags, equal bytes. Without quotes.
    nbytes : int
        Size in bytes before it is encoded.
    key : tuple
        What it is remembered by.
    is_made : bool
        Whether its bytes are others than the array's own.
    one : OneFrame or None
        The one frame that it is a part of, as it lies there; None where it is not.
    """

    recipe: Recipe
    selection: Selection
    media_type: str
    encoding: str
    padded: tuple[int, ...]
    tag: str
    nbytes: int
    key: tuple[str, str]
    is_made: bool
    one: OneFrame | None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        selection: Selection,
        media_type: str = codecs.MEDIA_TYPE,
        encoding: str = "",
        padded: tuple[int, ...] = (),
    ) -> Body:
        """Return the body of a slice; reads nothing."""
        itemsize = recipe.info.dtype.itemsize
        # Which axes an integer has taken away does not change the bytes; whole ones at the end go without saying.
        parts, nbytes, last, backwards = [recipe.key], itemsize, 0, False
        for size, taken in zip(recipe.shape, selection.ranges, strict=True):
            start, step, count = taken.start, taken.step, len(taken)
            nbytes *= count
            parts.append(str(start) if count == 1 else f"{start}:{taken.stop}:{step}")
            if count != size or step != 1:
                last = len(parts)
                backwards = backwards or step < 0
        del parts[max(last, 1) :]
        if padded:
            nbytes = math.prod(padded) * itemsize
            parts += ["of", *map(str, padded)]
        parts.append("blosc" if media_type == codecs.MEDIA_TYPE else "octets")
        if encoding:
            parts.append(encoding)
        tag, is_made = ".".join(parts), bool(encoding) or media_type == codecs.MEDIA_TYPE
        one = None if backwards or recipe.only_numbers else one_frame(recipe.array, selection)
        return cls(recipe, selection, media_type, encoding, padded, tag, nbytes, ("body", tag), is_made, one)

    @classmethod
    def encoded(cls, recipe: Recipe, selection: Selection, media_type: str, accept_encoding: str) -> Body:
        """Return the body of a slice in the best encoding that is accepted."""
        body = cls.of(recipe, selection, media_type)
        if accept_encoding and media_type == OCTETS:
            encoding = encoding_for(accepted_encodings(accept_encoding), body.nbytes)
            body = cls.of(recipe, selection, media_type, encoding)
        return body

    def encoding_of(self, octets: Octets) -> str:
        """Return the content encoding of what `Bodies` gave: none where compressing was not worth it."""
        return self.encoding if len(octets) < self.nbytes else ""


class Bodies:
    """Bodies by what they are: remembered, or made from what an evaluator gives.

    Parameters
    ----------
    evaluator : Evaluator
        Its cache holds them, too.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def at_hand(self, body: Body) -> Octets | None:
        """Return a body that takes microseconds, or None; for the event loop.

        Raises
        ------
        SpydeError
            As `Evaluator.at_hand`.
        """
        held = self._evaluator.cache.peek(body.key) if body.is_made else None
        if held:
            return held  # type: ignore[no-any-return]
        if not (nbytes := body.nbytes):
            return b""
        if nbytes > _SMALL or (body.encoding and held is None):
            return None
        if (one := body.one) is None:
            array = self._evaluator.at_hand(body.recipe, body.selection)
        else:
            array = self._evaluator.glance(one)
        if array is None or not body.is_made:
            return None if array is None else _octets(array)
        # Not `get`: who else makes it is in a thread, and nobody waits on the event loop.
        made = _made(body, array)
        self._evaluator.cache.put(body.key, made)
        return made or _octets(array)

    def start(self, body: Body, ticket: Ticket | None = None) -> Future[Octets]:
        """Begin to make a body, in the pool; see `Evaluator.start`."""

        def finish(array: NDArray[Any]) -> Octets:
            if ticket is None:
                return self._finished(body, array)
            with ticket.timed("encode"):
                return self._finished(body, array)

        return self._evaluator.start(body.recipe, body.selection, ticket, finish)

    async def read(self, body: Body, node: str = "") -> Octets:
        """Return a body of the node at a path, and wait for it without holding up a thread; see `Evaluator.read`.

        Raises
        ------
        Busy
            Also where it is not there by the evaluator's deadline.
        """
        octets = self.at_hand(body)
        if octets is None:
            ticket = TICKET.get() or Ticket()
            ticket.node = node
            octets = await in_time(self.start(body, ticket), ticket, self._evaluator.deadline_seconds)
        return octets

    def _finished(self, body: Body, array: NDArray[Any]) -> Octets:
        if not body.is_made:
            return _octets(array)
        made = self._evaluator.cache.get(body.key, lambda: _made(body, array))
        # Nothing is remembered of what compressing did not make smaller.
        return made if made or body.nbytes == 0 else _octets(array)


def encoding_for(accepted: str, nbytes: int) -> str:
    """Return the content encoding that is tried for octets, as tiled chooses; empty for none.

    Parameters
    ----------
    accepted : str
        What the client takes: names separated by commas, without q values (`headers.accepted_encodings`).
    nbytes : int
        Size of the octets.
    """
    return _encoding_for(accepted) if accepted and nbytes >= _WORTH_COMPRESSING else ""


@lru_cache(maxsize=256)
def _encoding_for(accepted: str) -> str:
    names = {name.strip() for name in accepted.split(",")}
    return next((name for name in default_compression_registry.encodings(OCTETS) if name in names), "")


def padded(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a chunk at the edge of an array in its full `shape`, with zeros behind."""
    return np.pad(array, [(0, size - have) for size, have in zip(shape, array.shape, strict=True)])


def _made(body: Body, array: NDArray[Any]) -> bytes:
    if body.padded:
        array = padded(array.reshape(tuple(map(len, body.selection.ranges))), body.padded)
    if body.media_type == codecs.MEDIA_TYPE:
        return codecs.encode(array)
    return _compressed(codecs.wire_order(array).reshape(-1), body.encoding)


def _octets(array: NDArray[Any]) -> Octets:
    if array.size == 0:
        return b""
    return codecs.wire_order(array).reshape(-1).view(np.uint8).data


def _compressed(array: NDArray[Any], encoding: str) -> bytes:
    """Compress as tiled does; return nothing where that is not worth it."""
    buffer = io.BytesIO()
    writer = default_compression_registry.dispatch(OCTETS, encoding)(buffer)
    # blosc2 shuffles by the size of an item, which bytes do not tell.
    writer.write(array.data)
    writer.close()
    compressed = buffer.getvalue()
    return compressed if len(compressed) < _WORTH_SENDING * array.nbytes else b""
