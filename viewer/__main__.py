"""``tiled-spyde-viewer URL``: look at a tiled-spyde service."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="tiled-spyde-viewer", description="Look at a tiled-spyde service: scans, patterns, spectra."
    )
    parser.add_argument(
        "url",
        metavar="URL",
        help="for example http://localhost:8000 (?api_key=… and copied links are understood)",
    )
    parser.add_argument("--api-key", metavar="KEY", help="also read from TILED_API_KEY")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark", help="default: dark")
    parser.add_argument(
        "--tour",
        metavar="DIR",
        type=Path,
        help="drive the window by itself, save screenshots in DIR, and exit",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the window, or take the tour.

    Returns
    -------
    int
        Exit status: 0, or 1 with a sentence on the standard error.
    """
    options = parse(arguments)
    from pyqtgraph.Qt import mkQApp

    from viewer.session import Session
    from viewer.window import Window
    from viewer.wire import Service

    try:
        url, _, fragment = options.url.partition("#")
        service = Service(url, options.api_key or os.environ.get("TILED_API_KEY"))
    except ValueError as error:
        print(f"tiled-spyde-viewer: {error}", file=sys.stderr)
        return 1
    application = mkQApp("tiled-spyde viewer")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    window = Window(Session(service), options.theme)
    window.show()
    # What is there now stays: without it, tidying up all of it again and again stalls the window for 30 ms.
    gc.collect()
    gc.freeze()
    if fragment:
        window.linking.open(fragment)
    window.session.start()
    if options.tour is None:
        return int(application.exec())
    from viewer.tour import take_tour

    return take_tour(window, options.tour)


if __name__ == "__main__":
    sys.exit(main())
