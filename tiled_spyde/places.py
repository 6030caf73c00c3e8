"""Where things are kept."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Return where a person's trees are kept: what other programs use for state, too."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "tiled-spyde"


def database_in(state: str | os.PathLike[str] | None) -> Path:
    """Return the database in a folder for state; in the person's own where none is given."""
    return (Path(state).expanduser() if state else state_folder()) / "catalog.sqlite"
