"""``python -m tiled_spyde.sources FOLDER``: the page of formats, and of what becomes of the files there."""

from __future__ import annotations

import sys
from pathlib import Path

from tiled_spyde.sources.report import page

for line in page(Path(sys.argv[1])):
    print(line)
