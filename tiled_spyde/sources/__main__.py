"""``python -m tiled_spyde.sources FOLDER > docs/formats.md``: what is read, and what becomes of the files in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from tiled_spyde.sources.report import page

for line in page(Path(sys.argv[1])):
    print(line)
