"""What is said of a file and of a tree in a listing: plain values, from what is remembered of the file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tiled_spyde.labels import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiled_spyde.node import Node
    from tiled_spyde.signals import SignalInfo
    from tiled_spyde.sources import Signal, Source


MOST_NAMES = 100


def file_card(source: Source) -> dict[str, Any]:
    """Describe a file: its state, size and date, and each of its signals.

    A file with one signal has that signal's values too, so that it is found by them.
    """
    signals = [signal_card(signal) for signal in source.signals]
    found: dict[str, Any] = {
        "state": "failed" if source.error else "ready",
        "size": sum(file.size for file in source.files if not file.folder),
        "modified": _modified(source),
        "signals": signals,
    }
    if source.error:
        found["error"] = source.error
    return found | (signals[0] if len(signals) == 1 else {})


def tree_card(source: Source, signal: Signal, nodes: Iterable[Node]) -> dict[str, Any]:
    """Describe a tree: its signal, and what people made of it; of thousands of nodes the first names."""
    made = list(nodes)
    return signal_card(signal) | {
        "file": plain_text(source.path.name),
        "modified": _modified(source),
        "nodes": [node.name for node in made[:MOST_NAMES]],
        "node_count": len(made),
        "operations": sorted({node.operation for node in made}),
    }


def signal_card(signal: Signal) -> dict[str, Any]:
    """Describe a signal: title, kind, shapes (array order), dtype and calibration."""
    return {"name": signal.name, "title": signal.title} | info_card(signal.info)


def info_card(info: SignalInfo) -> dict[str, Any]:
    """Describe what is known of an array: kind, shapes (array order), dtype and units."""
    return {
        "signal_type": info.signal_type,
        "shape": list(info.shape),
        "navigation_shape": list(info.navigation_shape),
        "signal_shape": list(info.signal_shape),
        "dtype": info.dtype.newbyteorder("<").str.lstrip("|<"),
        "units": {axis.name: axis.units for axis in info.axes},
    }


def _modified(source: Source) -> str | None:
    """Date of the last write, UTC, as ISO 8601: dates compare as texts."""
    if not source.files:
        return None
    seconds = max(file.mtime_ns for file in source.files) // 10**9
    return datetime.fromtimestamp(seconds, UTC).isoformat()
