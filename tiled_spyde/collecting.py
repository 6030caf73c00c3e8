"""Python's garbage collector kept away from what is there to stay.

A full collection looks at every object with the interpreter lock held. With the libraries loaded and 5000 files
known that is half a million objects and a fifth of a second, again and again, in which nothing is answered.
"""

from __future__ import annotations

import gc
from time import thread_time
from typing import Any

# Seconds that a full collection may take.
_SLOW = 0.005


class Sparing:
    """Called by the collector: after a slow full collection it has what it left pass over from then on.

    What it passes over is freed as ever once nothing refers to it; only cycles of such objects stay. So all is looked
    at once more whenever their number has doubled.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._most = 0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """Time a full collection, and judge it."""
        if info["generation"] != 2:
            return
        if phase == "start":
            self._began = thread_time()
        elif thread_time() - self._began > _SLOW:
            self._spare()

    def _spare(self) -> None:
        gc.freeze()
        spared = gc.get_freeze_count()
        if not self._most:
            self._most = 2 * spared
        elif spared > self._most:
            gc.unfreeze()
            self._most = 0


def spare_what_stays() -> None:
    """Have the collector pass over what is there now, and over what later turns out to stay; once for a process."""
    gc.freeze()
    if not any(isinstance(called, Sparing) for called in gc.callbacks):
        gc.callbacks.append(Sparing())
