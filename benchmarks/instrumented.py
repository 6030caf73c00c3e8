"""Our server, which writes down every call of a function: ``python -m benchmarks.instrumented serve …``.

A line of the file named by ``BENCHMARK_CALLS`` is ``operation y x``: frames carry their position in the first two
pixels, so the first function of a chain knows where it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tiled_spyde import operations
from tiled_spyde.operations.base import FrameFunction, Operation

if TYPE_CHECKING:
    from pathlib import Path

CALLS = "BENCHMARK_CALLS"


@dataclass(frozen=True)
class Counted:
    """A function that writes down its calls: one write each, so that threads and processes can share the file."""

    name: str
    function: Any

    def __call__(self, frame: Any) -> Any:
        y, x = frame.ravel()[:2]
        file = os.open(os.environ[CALLS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{self.name} {y:g} {x:g}\n".encode())
        os.close(file)
        return self.function(frame)


@dataclass(frozen=True)
class Slept:
    """Give back a frame after a while, holding a place but no core."""

    seconds: float

    def __call__(self, frame: Any) -> Any:
        time.sleep(self.seconds)
        return frame


class BenchSleep(Operation):
    """Give back each frame after a while."""

    name: ClassVar[str] = "bench_sleep"
    signal_dimensions: ClassVar[tuple[int, ...]] = (2,)

    duration: float = Field(0.5, gt=0, le=10)

    def output(self, info: Any) -> Any:
        return info

    def function(self, info: Any) -> FrameFunction:
        return Slept(self.duration)

    def seconds(self, info: Any) -> float:
        return self.duration


def calls(log: Path) -> Counter[tuple[str, str]]:
    """Count what was written down, by operation and position."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter((name, position) for name, _, position in (line.partition(" ") for line in lines))


def _count(kind: type[Operation]) -> None:
    plain: Any = kind.function

    def function(self: Operation, info: Any) -> FrameFunction:
        return Counted(self.name, plain(self, info))

    kind.function = function  # type: ignore[method-assign]


def register() -> None:
    """Have every call of this process counted from now on; only for a process of its own."""
    operations.REGISTRY[BenchSleep.name] = BenchSleep
    for kind in operations.REGISTRY.values():
        if kind.locality == "frame":
            _count(kind)


if __name__ == "__main__":
    from tiled_spyde.cli import main

    register()
    sys.exit(main())
