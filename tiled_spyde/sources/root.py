"""A root: one signal of a source, as the rest of the house sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiled_spyde.sources.files import digest
from tiled_spyde.sources.instrument import with_instrument

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiled_spyde.signals import RegionReader, SignalInfo
    from tiled_spyde.sources.files import File


@dataclass(frozen=True, eq=False)
class Root:
    """One signal in one file, or in the files that belong together.

    Parameters
    ----------
    name : str
        Safe in a URL and unique in its source: from the title, ``signal`` where there is none.
    title : str
        As the file has it; may be empty.
    info : SignalInfo
        Axes in array order and dtype.
    reader : RegionReader
        Reads its frames; safe in threads.
    metadata : dict
        hyperspy's metadata as JSON; a vendor's own metadata is not in it.
    files : tuple of File
        Its member files, as they were when it was opened.
    lazy_array : callable
        Opens the source once more, as rosettasciio does, and returns its dask array in array order.
    sampled : str or None
        The fingerprint, where it is known already.
    together : tuple of int
        How many positions along each navigation axis are stored together, so that to decode one is to decode all of
        them; empty where each frame stands by itself.
    """

    name: str
    title: str
    info: SignalInfo
    reader: RegionReader
    metadata: dict[str, Any]
    files: tuple[File, ...]
    lazy_array: Callable[[], Any] = field(repr=False)
    sampled: str | None = None
    together: tuple[int, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the files hold, the same for all their signals and on every host.

        Read on first need (milliseconds).

        Raises
        ------
        tiled_spyde.errors.SourceChanged
            A file is not the one that was opened.
        """
        return self.sampled or digest(self.files)

    def to_json(self) -> dict[str, Any]:
        """Name the signal: its file, and what that holds."""
        return {
            "file": self.files[0].name if self.files else None,
            "signal": self.name,
            "fingerprint": self.fingerprint,
        }

    def signal(self, info: SignalInfo | None = None, array: Any = None) -> Any:
        """Return the hyperspy lazy signal: for notebooks and for jobs over a whole scan.

        With `info` and the dask `array` that it describes, the same signal in another arrangement.
        It is a plain ``LazySignal1D``, ``LazySignal2D`` or ``LazySignal``: call
        ``set_signal_type(root.info.signal_type)`` for a class of hyperspy's extensions (importing
        them can take many seconds).
        """
        from hyperspy.signals import BaseSignal, Signal1D, Signal2D

        info = info or self.info
        kind = {1: Signal1D, 2: Signal2D}.get(len(info.signal_axes), BaseSignal)
        data = self.lazy_array() if array is None else array
        signal = kind(data, axes=[_hyperspy_axis(axis) for axis in info.axes])
        signal = signal.as_lazy()
        kept = {key: value for key, value in self.metadata.items() if key != "Signal"}
        kept = with_instrument(kept, info.instrument)
        signal.metadata.add_dictionary(kept | {"General": kept.get("General", {}) | {"title": self.title}})
        return signal


def _hyperspy_axis(axis: Any) -> dict[str, Any]:
    described = {"name": axis.name, "units": axis.units, "navigate": axis.navigate}
    if axis.values is not None:
        return described | {"axis": list(axis.values)}
    return described | {"size": axis.size, "scale": axis.scale, "offset": axis.offset}
