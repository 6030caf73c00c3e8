"""``python -m tiled_spyde.sources FOLDER``: the page of formats, and of what becomes of the files there."""

from __future__ import annotations

import argparse
from pathlib import Path

from tiled_spyde.errors import SpydeError
from tiled_spyde.sources.report import page

parser = argparse.ArgumentParser(
    prog="python -m tiled_spyde.sources",
    description="Print the page of formats (docs/formats.md), and what becomes of each file of a folder.",
)
parser.add_argument("folder", metavar="FOLDER", type=Path)
try:
    for line in page(parser.parse_args().folder):
        print(line)
except SpydeError as error:
    parser.error(str(error))
