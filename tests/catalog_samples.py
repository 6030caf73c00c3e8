"""Sources that are made up, for tests of what is kept of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tiled_spyde.catalog import Catalog, Folder, Served
from tiled_spyde.database import Database
from tiled_spyde.signals import Axis, SignalInfo
from tiled_spyde.sources import Source
from tiled_spyde.sources.files import File
from tiled_spyde.sources.source import Signal

PATH = ("scan.hspy", "signal")
_INODES = itertools.count(1)


def info(shape=(4, 5, 16, 16), signal_axes=2):
    navigation = len(shape) - signal_axes
    axes = (Axis(f"a{i}", size, navigate=i < navigation) for i, size in enumerate(shape))
    return SignalInfo(tuple(axes), np.dtype("u2"))


def source(path, content="f", shape=(4, 5, 16, 16), signal_axes=2, names=("signal",)):
    """A file with that content, as the index hands it over."""
    signals = tuple(Signal(name, name, info(shape, signal_axes), {}) for name in names)
    return Source(path, (File(path, path.name, 1, 1, 1, next(_INODES)),), content, signals)


def url(folder):
    return f"sqlite:///{folder}/catalogue.db"


def catalog(folder, data, **settings):
    return Catalog(Database(url(folder)), [Served(data)], **settings)


def sigma(number):
    return {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": float(number)}}


def names(catalog, path=PATH):
    """Nodes beside the root and its navigator."""
    return list(catalog.tree(path).nodes)[2:]


def addresses(folder, above=()):
    """Where each file stands in a listing."""
    for name, entry in folder.entries.items():
        yield from addresses(entry, (*above, name)) if isinstance(entry, Folder) else [(*above, name)]


@pytest.fixture
def data_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def catalogued(tmp_path, data_folder):
    """A catalogue with one scan."""
    made = catalog(tmp_path, data_folder)
    made.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
    return made
