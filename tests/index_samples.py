"""Folders that are looked through, and what a catalogue would keep of it."""

from __future__ import annotations

import pytest
import source_files as write
from conftest import until

from tiled_spyde.index import Index
from tiled_spyde.sources.probing import Probing

SETTLE = 0.4


class Kept:
    """What a catalogue would keep of what an index says; counts its looks at the folders."""

    def __init__(self, *folders, known=None, settle=SETTLE, limits=None, apart=False):
        self.now = dict(known or {})
        self.said = []
        self.looked = 0
        self.index = Index(
            folders, self.now, self.update, settle=settle, interval=0.05, limits=limits, apart=apart
        )
        self._look, self.index._watch.look = self.index._watch.look, self._counted

    def _counted(self, unsettled=()):
        try:
            return self._look(unsettled)
        finally:
            self.looked += 1

    def update(self, batch):
        self.said.append(dict(batch))
        self.now.update(batch)
        for path in [path for path, source in batch.items() if source is None]:
            del self.now[path]

    def __enter__(self):
        self.index.start()
        return self

    def __exit__(self, *_):
        self.index.stop()

    def said_of(self, path):
        return [batch[path] for batch in list(self.said) if path in batch]

    def looks(self, more=3):
        """Wait until the folders have been looked at again."""
        wanted = self.looked + more
        until(lambda: self.looked >= wanted)

    def names(self):
        return {path.name for path in self.now}


@pytest.fixture
def watched(tmp_path):
    """A folder to look through."""
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


@pytest.fixture
def probed(monkeypatch):
    """Paths that a child process was asked for."""
    paths = []

    def ask(self, request, ask=Probing.ask):
        paths.append(request.path)
        ask(self, request)

    monkeypatch.setattr(Probing, "ask", ask)
    return paths


def stack(path, frames=3, plus=0):
    """Write a small stack of images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write.write_mrc(path, (write.placed((frames, 6, 5), "u2") + plus).astype("u2"))
