"""Silence of readers that warn and log about files that people only want to see."""

from __future__ import annotations

import logging
import re
import warnings

_READERS = re.compile(r"(rsciio|tifffile|h5py|zarr|hyperspy|tiled_spyde\.sources)(\.|$)")
_LOGGERS = ("rsciio", "tifffile", "hyperspy.io", "hyperspy.axes", "hyperspy.misc")


def silence_readers() -> None:
    """Keep what readers warn and log from people who only want to see a file; to be called before each use.

    It stays so. Filters of warnings and levels of loggers are the whole process's (on
    every Python before 3.14): to set them for one opening and restore them takes one lock for all, so
    that a slow file holds up everyone; and what others restore in between leaves everything silent. So they
    are set for the readers' modules only, and again each time, because others take them away
    (`warnings.catch_warnings`).
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level <= logging.CRITICAL:
            logger.setLevel(logging.CRITICAL + 1)
    if not any(module is _READERS for _, _, _, module, _ in warnings.filters[:1]):
        warnings.filterwarnings("ignore", module=_READERS.pattern)  # compiled again, re gives the same object
