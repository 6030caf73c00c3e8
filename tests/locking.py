"""Operations that processes compute: children import this file, and nothing of the tests."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import ClassVar

from tiled_spyde.errors import TooLarge
from tiled_spyde.operations.base import Operation


class Add(Operation):
    """Add something, in plain Python; and say in which process."""

    name: ClassVar[str] = "test_add"
    signal_dimensions: ClassVar[tuple[int, ...]] = (1, 2)
    holds_lock: ClassVar[bool] = True

    amount: float = 1.5
    marks: str = ""
    what: str = ""
    server: int = 0

    def output(self, info):
        return info.with_signal(info.signal_axes, "f4")

    def function(self, info):
        return partial(_add, **self.model_dump())

    def seconds(self, info):
        return 1e-3


class AddMore(Add):
    """Another one, so that their names differ."""

    name: ClassVar[str] = "test_add_more"


def _add(frame, amount, marks, what, server):
    if marks:
        Path(marks, f"{os.getpid()}-{time.monotonic_ns()}").touch()
    if os.getpid() != server:
        _do(what)
    if what == "shape":
        return frame[:3]
    return [[pixel + amount for pixel in row] for row in frame.tolist()]


def _do(what):
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "hang":
        while True:
            time.sleep(0.01)
    elif what == "fail":
        raise ValueError("no such thing")
    elif what == "exit":
        raise SystemExit(3)
    elif what == "refuse":
        raise TooLarge("this is too much")
