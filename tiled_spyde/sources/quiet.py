"""Silence of readers that warn and log about files that people only want to see."""

from __future__ import annotations

import logging
import re
import warnings

_READERS = re.compile(r"(rsciio|tifffile|h5py|zarr|hyperspy|tiled_spyde\.sources)(\.|$)")
_LOGGERS = ("rsciio", "tifffile", "hyperspy.io", "hyperspy.axes", "hyperspy.misc")


def silence_readers() -> None:
    """Keep what readers warn and log from people who only want to see a file; to be called before each use.

    Filters of warnings and levels of loggers are the whole process's, on every Python before 3.14. Setting and
    restoring them round each opening would need one lock for all, so that one slow file holds up everyone;
    and restored in another order than they were set they leave everything silent. So they stay: for the
    readers' modules only, and asked for again because others (tests, `warnings.catch_warnings`) take them away.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level <= logging.CRITICAL:
            logger.setLevel(logging.CRITICAL + 1)
    if not any(module is _READERS for _, _, _, module, _ in warnings.filters[:1]):
        warnings.filterwarnings("ignore", module=_READERS.pattern)  # compiled again, re gives the same object
