"""Nodes as tiled sees them: arrays with metadata.

Everything here runs on the event loop, so it only looks into snapshots in memory; what is read and computed, the
evaluator's threads do.
"""

from __future__ import annotations

import json
import math
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from fastapi import HTTPException
from tiled.adapters.core import Adapter
from tiled.ndslice import NDSlice
from tiled.server.settings import get_settings
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import Spec, StructureFamily

from tiled_spyde.callers import in_time
from tiled_spyde.errors import Computing, InvalidSlice, NotFound, SpydeError, TooLarge, status_of
from tiled_spyde.named import paths_of
from tiled_spyde.node import PREVIEW
from tiled_spyde.recipe import package_versions
from tiled_spyde.slices import Selection
from tiled_spyde.tickets import TICKET, Ticket

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.rights import Rights
    from tiled_spyde.signals import SignalInfo
    from tiled_spyde.tree import SignalTree

    Chunks = tuple[tuple[int, ...], ...]

# What `array/full` says it expects: tiled compares it after reading, we before.
EXPECTED_SHAPE: ContextVar[tuple[int, ...] | None] = ContextVar("EXPECTED_SHAPE", default=None)

# Whether an array is asked for: a node that is failed has none, and says why.
ARRAY_ASKED: ContextVar[bool] = ContextVar("ARRAY_ASKED", default=False)

RETRY_AFTER = "5"

# tiled's zarr routes cap a chunk at 10 000 along an axis.
_LONGEST = 8192
_TILE = 512
_MAP_TILE = 32
_LINE_TILE = 1024
_ROW_BYTES = 64 * 1024
# Well below tiled's limit for a response, which a zarr client cannot get round.
_CHUNK_BYTES = 128 * 2**20
# What is at hand is copied on the event loop up to so many bytes.
_AT_ONCE = 512 * 1024
# Proxies take headers of 4 KiB in all.
_LONGEST_HEADER = 2000
# A spectrum that takes longer than this is its own chunk, in seconds.
_SLOW = 1e-3


def http_error(error: SpydeError) -> HTTPException:
    """Return the answer for one of our errors."""
    status = status_of(error) or 422
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else {}
    if isinstance(error, Computing) and error.job:
        headers["Location"] = error.job
    return HTTPException(status, str(error), headers or None)


class NodeAdapter(Adapter[ArrayStructure]):
    """One node as a lazily computed array.

    Parameters
    ----------
    tree : SignalTree
        Snapshot the node is taken from.
    name : str
        The node's name.
    evaluator : Evaluator
        Computes its slices.
    rights : Rights or None
        Of the served folder it is in; what `access` goes by.
    """

    structure_family = StructureFamily.array

    def __init__(
        self, tree: SignalTree, name: str, evaluator: Evaluator, rights: Rights | None = None
    ) -> None:
        self.rights = rights
        self.recipe = tree.recipes[name]
        self.tree = tree
        self.name = name
        self._evaluator = evaluator
        super().__init__(structure(self.recipe), specs=[Spec("SignalNode")])

    def metadata(self) -> Any:
        """Calibration, recipe, key and state, under ``attributes`` (all that zarr v2 shows)."""
        computing = self._evaluator.wholes.state_of(self.recipe)
        return {"attributes": attributes(self.tree, self.name) | computing}

    @property
    def path(self) -> str:
        """Where it is served."""
        name = f"{PREVIEW}@{self.recipe.key}" if self.name == PREVIEW else self.name
        return "/".join((*self.tree.address, name))

    async def read(self, slice: NDSlice = NDSlice(...)) -> NDArray[Any]:  # noqa: B008 - tiled's names
        """Evaluate a slice; a plain tuple is a zarr chunk, which must begin inside the array."""
        try:
            if type(slice) is tuple:
                _refuse_outside(slice, self._shape)
            return await self._evaluated(Selection.of(tuple(slice) or (...,), self._shape))
        except SpydeError as error:
            raise http_error(error) from error

    async def read_block(self, block: Any, slice: NDSlice = NDSlice(...)) -> NDArray[Any]:  # noqa: B008
        """Evaluate a slice of one block, and nothing else of it."""
        try:
            # Not from the structure: a movie of a million frames has as many chunks to be added up.
            whole = [
                range(i * size, min((i + 1) * size, end))
                for i, size, end in zip(map(int, block), chunk_shape(self.recipe), self._shape, strict=True)
            ]
            part = Selection.of(tuple(slice) or (...,), tuple(map(len, whole)))
            ranges = tuple(taken[_as_given(within)] for taken, within in zip(whole, part.ranges, strict=True))
            return await self._evaluated(Selection(ranges, part.kept))
        except SpydeError as error:
            raise http_error(error) from error

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.recipe.info.shape or (1,)

    async def _evaluated(self, selection: Selection) -> NDArray[Any]:
        """Evaluate without holding up one of tiled's few threads, which everything else needs too."""
        itemsize = self.recipe.info.dtype.itemsize
        refuse_unexpected(selection.shape, itemsize)
        scalar = not self.recipe.info.shape
        wanted = () if scalar else selection
        small = math.prod(selection.shape) * itemsize <= _AT_ONCE
        array = self._evaluator.at_hand(self.recipe, wanted) if small else None
        if array is None:
            ticket = TICKET.get() or Ticket()
            ticket.node = self.path
            making = self._evaluator.start(self.recipe, wanted, ticket)
            array = cast("NDArray[Any]", await in_time(making, ticket, self._evaluator.deadline_seconds))
        return np.asarray(array.reshape(1)[tuple(selection)]) if scalar else array


def _as_given(taken: range) -> slice:
    """Return the slice that takes these indices, also where they fall to the first one."""
    if not taken:  # its bounds may be negative, which as a slice count from the end
        return slice(0, 0)
    return slice(taken.start, taken.stop if taken.stop >= 0 else None, taken.step)


def attributes(tree: SignalTree, name: str) -> dict[str, Any]:
    """Describe a node beside its data: JSON without NaN. One that is failed has neither axes nor key."""
    node, failure = tree.nodes[name], tree.failure(name)
    described = {
        "state": "failed",
        "failure": failure and str(failure),
        "title": tree.root.title,
        "id": node.id,
        "version": node.version,
        "description": node.description,
        "parent": tree.parent_name(name),
        "operation": node.operation or None,
        "parameters": node.values() if node.operation else None,
        "inputs": paths_of(tree, node),
        "recipe": None,
        "key": None,
        "created": node.created,
        "created_by": node.created_by,
        "calibration_error": tree.calibration_error,
        "versions": package_versions(),
        "metadata": tree.root.metadata,
    }
    return described if failure else described | _of_array(tree.recipes[name])


def _of_array(recipe: Recipe) -> dict[str, Any]:
    return {
        "axes": [axis.to_json() for axis in recipe.info.axes],
        "signal_type": recipe.info.signal_type,
        "recipe": recipe.to_json(),
        "key": recipe.key,
        "state": "stored" if recipe.stored else "lazy",
        "instrument": recipe.info.instrument.to_json(),
        "_ARRAY_DIMENSIONS": list(_dims(recipe.info)),
    }


@lru_cache(maxsize=64)  # a movie of a million frames has a long list of chunks
def structure(recipe: Recipe) -> ArrayStructure:
    """Shape, dtype (little-endian), chunks and names of the axes; a single number has shape ``(1,)``."""
    info = recipe.info
    return ArrayStructure(
        data_type=BuiltinDtype.from_numpy_dtype(info.dtype.newbyteorder("<")),
        chunks=_chunks(recipe),
        shape=info.shape or (1,),
        dims=_dims(info),
    )


def in_a_header(recipe: Recipe) -> str | None:
    """Return axes and chunk as JSON that fits into a header, so that a slice tells what it is a slice of; or None."""
    axes, chunk = recipe.info.axes, chunk_shape(recipe)
    if not axes or any(axis.values is not None for axis in axes):
        return None
    told = json.dumps({"axes": [axis.to_json() for axis in axes], "chunk": chunk}, separators=(",", ":"))
    return told if len(told) <= _LONGEST_HEADER else None


def _dims(info: SignalInfo) -> tuple[str, ...]:
    return tuple(axis.name for axis in info.axes) or ("value",)


def _chunks(recipe: Recipe) -> Chunks:
    sizes, shape = chunk_shape(recipe), recipe.info.shape or (1,)
    return tuple(map(_cut, shape, sizes))


def chunk_shape(recipe: Recipe) -> tuple[int, ...]:
    """Shape of a chunk, by the kind of signal (see ``docs/architecture.md``)."""
    info = recipe.info
    navigation, signal = info.navigation_shape, info.signal_shape
    if not info.shape:
        return (1,)
    if not navigation:
        return tuple(min(_TILE, size) for size in signal)
    ones = (1,) * (len(navigation) - 1)
    if not signal:
        tile = (_LINE_TILE,) if len(navigation) == 1 else (_MAP_TILE, _MAP_TILE)
        return tuple(map(min, (*ones, *tile)[-len(navigation) :], navigation))
    frame = _halved(tuple(min(_LONGEST, size) for size in signal), info.dtype.itemsize)
    together = 1
    if len(signal) == 1 and recipe.seconds <= _SLOW:
        together = max(1, min(navigation[-1], _ROW_BYTES // max(1, info.frame_bytes)))
    return (*ones, together, *frame)


def _halved(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Halve the longest axes until a chunk is small enough for an answer."""
    while math.prod(shape) * itemsize > _CHUNK_BYTES:
        longest = shape.index(max(shape))
        shape = (*shape[:longest], -(-shape[longest] // 2), *shape[longest + 1 :])
    return shape


def _cut(size: int, chunk: int) -> tuple[int, ...]:
    whole, rest = divmod(size, max(1, chunk))
    return (chunk,) * whole + ((rest,) if rest else ()) or (0,)


def _refuse_outside(chunk: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    for axis, (part, size) in enumerate(zip(chunk, shape, strict=False)):
        if not 0 <= part.start < max(size, 1):
            raise NotFound(
                f"There is no such chunk: axis {axis} has {size} pixels, the chunk begins at {part.start}."
            )


def refuse_unexpected(shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse an answer of `shape` that a request says it does not expect, or that is over tiled's limit.

    Raises
    ------
    InvalidSlice, TooLarge
    """
    expected = EXPECTED_SHAPE.get()
    if expected is not None and expected != shape:
        raise InvalidSlice(
            f"This slice has the shape {shape}, not the expected {expected}. Read the structure again."
        )
    size, limit = math.prod(shape) * itemsize, get_settings().response_bytesize_limit
    if size > limit:
        raise TooLarge(
            f"The answer would have {size / 1e6:.0f} MB; the limit is {limit / 1e6:.0f} MB. "
            "Ask for a smaller slice (?slice=...), or for several."
        )
