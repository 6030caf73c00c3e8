"""``python -m tiled_spyde.sources FOLDER``: the table of formats for the files in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from tiled_spyde.sources.report import table

for folder in sys.argv[1:]:
    for line in table(Path(folder)):
        print(line)
