"""Drives the window by itself, as a person would, and saves what it saw.

Every wait is for a condition, with a bound; a step that does not complete in time ends the tour with
a sentence.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from viewer.tour.guide import Guide, TourEnded
from viewer.tour.looking import look
from viewer.tour.playing import play

if TYPE_CHECKING:
    from pathlib import Path

    from viewer.window import Window


def take_tour(window: Window, folder: Path) -> int:
    """Look at a scan, then play with parameters, compare, keep, reopen; print each screenshot's path.

    Returns
    -------
    int
        0, or 1 after a sentence on the standard error.
    """
    try:
        guide = Guide(window, folder)
        play(guide, look(guide))
    except TourEnded as ended:
        print(f"tiled-spyde-viewer: the tour ended early: {ended}", file=sys.stderr)
        return 1
    finally:
        window.close()
    return 0
