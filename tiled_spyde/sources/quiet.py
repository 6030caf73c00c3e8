"""Silence around readers that warn and log about files that people only want to see."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALONE = threading.RLock()  # what is silenced is the process's, not the thread's


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what readers warn and log from people who only want to see a file."""
    loggers = [logging.getLogger(name) for name in ("rsciio", "tifffile", "hyperspy")]
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
