"""From a path to named root signals, and readers that touch one frame at a time.

The path of a source:

1. `find_sources` walks what a person named and gives the files that are sources.
2. `open_source` asks rosettasciio what is in one of them: `choosing` says which of its readers, `bounds`
   and `links` which other files they may open. No pixel is read.
3. `calibration` turns what rosettasciio says into axes in array order: the one place that does.
4. Where it is known how the frames lie in the file, a reader of this package takes them from
   there (`raw`, `arrays`); everything else is decoded in dask's blocks, each once (`decoded`).
5. `Source` is what is remembered of it all: enough to list and describe a file without opening it.
6. `watching` says what there is below the served folders; `probe` has a child process make a `Source` of
   each file, so that one that hangs or crashes its reader costs nobody anything.
"""

from __future__ import annotations

import os

# A lock of ours on a file would make the program fail that writes it: we only look, and notice what changes.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # read once, when h5py is imported

from tiled_spyde.sources.files import File
from tiled_spyde.sources.finding import find_sources
from tiled_spyde.sources.opening import open_source
from tiled_spyde.sources.root import Root
from tiled_spyde.sources.source import Signal, Source

__all__ = ["File", "Root", "Signal", "Source", "find_sources", "open_source"]
