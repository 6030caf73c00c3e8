"""What `tiled serve config` is given in row 13: tiled's own HDF5 adapter, and nothing else.

A configuration alone cannot name a file to it.
"""

from __future__ import annotations

from tiled.adapters.hdf5 import HDF5Adapter


def tree(path: str) -> HDF5Adapter:
    """Serve the HDF5 file at `path`."""
    return HDF5Adapter.from_uris(f"file://localhost{path}")
