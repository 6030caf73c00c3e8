"""hyperspy's metadata as JSON: what a file says of how it was made, bounded in size."""

from __future__ import annotations

import math
from datetime import date, time
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.labels import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_BUDGET = 20_000  # characters and numbers in all
_LONGEST = 2_000  # characters of one text, numbers of one array
_LONGEST_KEY = 200
_DEEPEST = 10
_INTERNAL = {"_HyperSpy", "Markers", "FileIO"}  # how hyperspy shows a signal, not how it was made

Mapped = dict[str, tuple[str, "Callable[[Any], Any] | None"]]


def with_mapped(metadata: Mapping[str, Any], original: Mapping[str, Any], mapping: Mapped) -> dict[str, Any]:
    """Return `metadata` with what a reader maps into it from a vendor's metadata, as hyperspy does.

    Parameters
    ----------
    metadata, original : mapping
        hyperspy's and the vendor's metadata.
    mapping : dict
        From a dotted path in `original` to a dotted path in `metadata` and a conversion.
    """
    merged = _copied(metadata)
    for source, (target, convert) in mapping.items():
        value = _found(original, source)
        try:
            value = convert(value) if convert is not None and value is not None else value
        except Exception:  # noqa: S112 - one odd value of a vendor must not cost the others
            continue
        if value is not None:
            _put(merged, target.split("."), value)
    return merged


def to_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metadata` with what JSON can hold: no NaN, no numpy, no signals, nothing huge."""
    bounded = _Bounded()
    return bounded.mapping(metadata, 0)


class _Bounded:
    """Converts values as long as there is room for them."""

    def __init__(self) -> None:
        self._left = _BUDGET

    def mapping(self, values: Mapping[str, Any], depth: int) -> dict[str, Any]:
        kept = {}
        for key, value in values.items():
            name = plain_text(key)[:_LONGEST_KEY]
            if name in _INTERNAL or name.startswith(("_sig_", "_hspy_")) or self._left <= 0:
                continue
            self._left -= len(name)
            kept[name] = self.value(value, depth + 1)
        return kept

    def sequence(self, values: Iterable[Any], depth: int) -> list[Any]:
        return [self.value(value, depth + 1) for value in values if self._left > 0]

    def value(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return None
        if isinstance(value, dict):
            return self.mapping(value, depth)
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return self.array(value, depth)
        if isinstance(value, list | tuple | set):
            if len(value) > _LONGEST:
                return f"{len(value)} values"
            return self.sequence(value, depth)
        return self.scalar(value)

    def array(self, value: Any, depth: int) -> Any:
        if math.prod(value.shape) > _LONGEST or value.dtype.kind not in "biufSU":
            return f"array of shape {tuple(value.shape)}"
        if hasattr(value, "compute"):
            value = value.compute(scheduler="synchronous")
        plain = np.asarray(value).tolist()
        return self.sequence(plain, depth) if isinstance(plain, list) else self.scalar(plain)

    def scalar(self, value: Any) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        text = value.isoformat() if isinstance(value, date | time) else plain_text(value)
        self._left -= len(text[:_LONGEST])
        return text[:_LONGEST]


def _copied(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in metadata.items()}


def _found(tree: Any, path: str) -> Any:
    if isinstance(tree, dict) and path in tree:
        return tree[path]
    for step in path.split("."):
        if not isinstance(tree, dict) or step not in tree:
            return None
        tree = tree[step]
    return tree


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        inner = tree.get(step)
        if not isinstance(inner, dict):
            inner = tree[step] = {}
        tree = inner
    tree[path[-1]] = value
