"""A node resolved down to its source: immutable, hashable, all that is needed to compute."""

from __future__ import annotations

import hashlib
import json
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from operator import mul
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.inputs import check_inputs
from tiled_spyde.signals import PromptReader
from tiled_spyde.slices import index_of, strides_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tiled_spyde.operations.base import FrameFunction, FrameNumbers, Operation
    from tiled_spyde.signals import Index, Region, SignalInfo
    from tiled_spyde.sources import Root

MAX_STEPS = 64

# Whose versions decide the bytes of a computed frame.
COMPUTING_PACKAGES = ("numpy", "scipy", "scikit-image", "rosettasciio", "tiled-spyde")
# Reading a frame of a node that a parameter names, and one that was stored, in seconds; for estimates only.
_READ_SECONDS = 0.1e-3
_STORED_SECONDS = 1e-3

NO_INPUTS: Mapping[str, Recipe] = MappingProxyType({})


class Recipe:
    """A root and the operations applied to it, one frame at a time.

    Parameters
    ----------
    root : Root
        The signal in a file.
    parent : Recipe or None
        What `operation` is applied to; None for the root itself.
    operation : Operation or None
        The last step.
    inputs : mapping of str to Recipe
        The nodes that its parameters name, by parameter: read at the same position, or the one frame they have.

    Raises
    ------
    InvalidOperation
        The operation does not fit the parent's signal, or the chain is too long.
    """

    def __init__(
        self,
        root: Root,
        parent: Recipe | None = None,
        operation: Operation | None = None,
        inputs: Mapping[str, Recipe] = NO_INPUTS,
    ) -> None:
        self.root = root
        self.parent = parent
        self.operation = operation
        self.inputs = inputs
        # Whether the last step only looks differently at the numbers of its parent.
        self.is_view: bool = operation is not None and operation.locality == "slice"
        # Whether the last step needs all positions, so that its one frame is computed by a job, and stored.
        self.is_whole: bool = operation is not None and operation.locality == "whole"
        # Steps, with those of the inputs.
        self.length: int = 0 if parent is None else parent.length + 1 + sum(i.length for i in inputs.values())
        self.info: SignalInfo = root.info if parent is None else self._declared()

    def then(self, operation: Operation, inputs: Mapping[str, Recipe] = NO_INPUTS) -> Recipe:
        """Return the recipe that applies `operation` to this one's frames."""
        return Recipe(self.root, self, operation, inputs)

    @cached_property
    def function(self) -> FrameFunction:
        """Last step's function on one frame of the parent."""
        if self.parent is None or self.operation is None:
            raise InvalidOperation("A root has no operation.")
        return self.operation.function(self.parent.info)

    @cached_property
    def stored(self) -> bool:
        """Whether all numbers stand in the file as they are: no step computes any."""
        return self.parent is None or (self.is_view and self.parent.stored)

    @cached_property
    def array(self) -> Recipe:
        """Recipe of the very same array: without the last steps that move no frame."""
        moved = not self.is_view or self.frames is not None
        return self if moved or self.parent is None else self.parent.array

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Array shape."""
        return self.info.shape

    @cached_property
    def navigation_dimension(self) -> int:
        """How many axes a person points into."""
        return len(self.info.navigation_axes)

    @cached_property
    def only_numbers(self) -> bool:
        """Whether every position of a scan has one computed number."""
        return not self.stored and self.navigation_dimension > 0 and not self.info.signal_axes

    @cached_property
    def above(self) -> tuple[Recipe, ...]:
        """What the last step is made from: its parent, and its inputs."""
        return () if self.parent is None else (self.parent, *self.inputs.values())

    @cached_property
    def wholes(self) -> tuple[Recipe, ...]:
        """Recipes whose one frame must be stored before a frame of this one can be computed."""
        return (self,) if self.is_whole else self.wholes_above

    @cached_property
    def wholes_above(self) -> tuple[Recipe, ...]:
        """Those of `above`."""
        return tuple({whole.key: whole for recipe in self.above for whole in recipe.wholes}.values())

    @cached_property
    def is_mixed(self) -> bool:
        """Whether a frame is made from more than one chain."""
        return bool(self.inputs) or (self.parent is not None and not self.is_whole and self.parent.is_mixed)

    @cached_property
    def root_frame_bytes(self) -> int:
        """Size of a frame in the file."""
        return self.root.info.frame_bytes

    @property
    def bytes_below(self) -> int:
        """Size of a frame that the last function takes."""
        return self.info.frame_bytes if self.parent is None else self.parent.info.frame_bytes

    @cached_property
    def largest_frame_bytes(self) -> int:
        """Of the frames that are held whole to compute one of these; 0 where none is computed."""
        if self.parent is None or self.stored:
            return 0
        below = (max(recipe.largest_frame_bytes, recipe.root_frame_bytes) for recipe in self.above)
        return max(self.info.frame_bytes, *below)

    @cached_property
    def read_at_once(self) -> Callable[[Index, Region], NDArray[Any] | None] | None:
        """Of the root's reader, where it knows what it can give at once; see `PromptReader`."""
        reader = self.root.reader
        return reader.read_at_once if isinstance(reader, PromptReader) else None

    def computed(self, index: Index) -> tuple[Recipe, Index]:
        """Return whose frame stands at `index`, and where: past the views, the recipe that computes it or the root."""
        recipe = self
        while recipe.is_view and recipe.parent is not None:
            recipe, index = recipe.parent, recipe.below(index)
        return recipe, index

    def below(self, index: Index) -> Index:
        """Position of the parent's frame that a view has at `index`."""
        if self.frames is None:
            return index
        strides, there = self._scans
        return index_of(self.frames(sum(map(mul, index, strides))), there)

    @cached_property
    def _scans(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Strides of the scan here, and shape of the parent's."""
        parent = self.info if self.parent is None else self.parent.info
        return strides_of(self.info.navigation_shape), parent.navigation_shape

    @cached_property
    def rearranged(self) -> bool:
        """Whether frames stand elsewhere than in the root."""
        return self.frames is not None or (self.parent is not None and self.parent.rearranged)

    def root_numbers(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return, for positions by their numbers in array order, the numbers of the root's frames."""
        if self.parent is None:
            return numbers
        return self.parent.root_numbers(numbers if self.frames is None else self.frames(numbers))

    @cached_property
    def frames(self) -> FrameNumbers | None:
        """Which of the parent's frames stand where, by their numbers; None where each stays in its place."""
        if self.parent is None or self.operation is None:
            return None
        return self.operation.frames(self.parent.info)

    @cached_property
    def seconds(self) -> float:
        """Estimated time for one frame from the root, on one core; for one that is stored, to read it."""
        if self.parent is None or self.operation is None:
            return 0.0
        if self.is_whole:
            return _STORED_SECONDS
        inputs = sum(_READ_SECONDS + i.seconds for i in self.inputs.values() if i.navigation_dimension)
        return self.parent.seconds + self.operation.seconds(self.parent.info) + inputs

    @cached_property
    def key(self) -> str:
        """Content key: equal keys mean equal bytes, on every host. The first call reads samples of the file."""
        if self.parent is None:
            return _digest(self.root.fingerprint, self.root.name, package_versions())
        step = self._step() | {"inputs": {name: recipe.key for name, recipe in self.inputs.items()}}
        return _digest(self.parent.key, step if self.inputs else self._step())

    def to_json(self) -> list[dict[str, Any]]:
        """Return the steps from the root, each with every parameter.

        A parameter that is a node stands in ``inputs`` of its step instead: as the ``step`` of this list after which
        the frames are those that it names (0: the root's), else with ``steps`` of its own. These begin at the same
        root, or at that of their ``source``.
        """
        if self.parent is None or self.operation is None:
            return []
        step = self._step()
        if self.inputs:
            step["inputs"] = {name: self._described(recipe) for name, recipe in self.inputs.items()}
        return [*self.parent.to_json(), step]

    def _step(self) -> dict[str, Any]:
        """Return the last step without its inputs."""
        if self.operation is None:
            raise InvalidOperation("A root has no operation.")
        return {
            "operation": self.operation.name,
            "version": self.operation.version,
            "parameters": self.operation.model_dump(mode="json", exclude=set(self.inputs)),
        }

    def _described(self, recipe: Recipe) -> dict[str, Any]:
        same = self.parent
        while same is not None:
            if same.root is recipe.root and same.key == recipe.key:
                return {"step": len(same.to_json())}
            same = same.parent
        if recipe.root is self.root:
            return {"steps": recipe.to_json()}
        return {"source": recipe.root.to_json(), "steps": recipe.to_json()}

    def _declared(self) -> SignalInfo:
        if self.parent is None or self.operation is None:
            raise InvalidOperation("An operation needs a parent.")
        if self.length > MAX_STEPS:
            raise InvalidOperation(
                f"A chain has at most {MAX_STEPS} steps; this one would have {self.length}"
                + (", with those of the nodes that parameters name." if self.is_mixed else ".")
            )
        self.operation.check(self.parent.info)
        check_inputs(self.operation, self.parent.info, {name: i.info for name, i in self.inputs.items()})
        return self.operation.output(self.parent.info)


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that compute."""
    return {name: _version(name) for name in COMPUTING_PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
