"""Frames that are stored together are decoded once, however much of a scan is asked for and however little is held."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import source_files as write

from tiled_spyde.evaluate import Evaluator
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.sources import Source, chunks, remembered

SHAPE = (12, 40, 16, 16)
STORED = (4, 5, 16, 16)
CHUNK = 4 * 5 * 16 * 16 * 2
LIMIT = 7 * CHUNK  # a row has eight, and what is being decoded needs room too


@contextmanager
def evaluating(monkeypatch, **settings):
    ours = Evaluator(**{"cache_bytes": LIMIT, "workers": 2, **settings})
    monkeypatch.setattr(remembered, "DECODED", ours.cache)
    try:
        yield ours
    finally:
        ours.close()


@pytest.fixture
def decoded(monkeypatch):
    """Which chunks have been decoded, and how much was counted as held meanwhile."""
    found, lock = [], threading.Lock()

    def counted(self, numbers, decode=chunks.Hdf5Frames._decoded):
        made = decode(self, numbers)
        with lock:
            found.append((numbers, remembered.DECODED.size))
        return made

    monkeypatch.setattr(chunks.Hdf5Frames, "_decoded", counted)
    return found


@pytest.fixture(params=["gzip", "shuffled gzip"])
def recipe(request, tmp_path):
    path = write.write_hspy(
        tmp_path / "a.hspy",
        write.placed(SHAPE, "u2"),
        2,
        chunks=STORED,
        compression="gzip",
        shuffle="shuffled" in request.param,
    )
    return Recipe(Source.from_json(Source.at(path).to_json()).roots[0])


WHOLE = (slice(None), slice(None))
ASKED = [
    WHOLE,
    (slice(1, 12, 2), slice(3, 40)),
    (slice(None, None, -1), slice(None, None, -3)),
    (5, slice(None)),
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("operation", [None, "sum", "bin"])
@pytest.mark.parametrize("parts", ["of whole chunks", "of parts of chunks"])
def test_each_chunk_is_decoded_once(asked, operation, parts, recipe, decoded, monkeypatch):
    monkeypatch.setattr("tiled_spyde.evaluate._TOGETHER_BYTES", 3 * 16 * 16 * 2)
    workers = 2
    if parts == "of parts of chunks":
        # One that is held up may find its chunk gone.
        monkeypatch.setattr("tiled_spyde.evaluate._STORED_TOGETHER_BYTES", 1)
        workers = 1
    node = recipe if operation is None else recipe.then(build(operation, {}))
    with evaluating(monkeypatch, workers=workers) as ours:
        got = ours.read(node, asked)
    expected = write.placed(SHAPE, "u2")[asked]
    if operation == "sum":
        expected = expected.sum(axis=(-1, -2))
    elif operation == "bin":
        expected = expected.reshape(*expected.shape[:-2], 8, 2, 8, 2).sum(axis=(-1, -3))
    np.testing.assert_array_equal(got, expected)
    numbers = [number for number, _ in decoded]
    assert len(numbers) == len(set(numbers)) > 0


def test_what_is_being_decoded_and_computed_counts_as_held(recipe, decoded, monkeypatch):
    monkeypatch.setattr("tiled_spyde.evaluate._TOGETHER_BYTES", 1)
    with evaluating(monkeypatch, workers=1) as ours:
        for number in range(100):
            ours.cache.put(number, bytes(CHUNK))
        ours.read(recipe.then(build("sum", {})))
        assert decoded
        for _, size in decoded:
            assert 2 * CHUNK <= size <= LIMIT
        assert ours.cache.size <= LIMIT


@pytest.mark.parametrize(
    ("stored", "together"),
    [
        ({}, ()),
        ({"chunks": (1, 1, 16, 16)}, ()),
        ({"chunks": (1, 1, 8, 8), "compression": "gzip"}, ()),
        ({"chunks": STORED, "compression": "lzf"}, (4, 5)),
    ],
)
def test_a_source_remembers_what_is_stored_together(stored, together, tmp_path):
    path = write.write_hspy(tmp_path / "a.hspy", write.placed(SHAPE, "u2"), 2, **stored)
    source = Source.at(path)
    assert source.roots[0].together == together
    described = source.to_json()
    assert Source.from_json(described) == source
    del described["signals"][0]["together"]  # as an earlier version wrote it
    assert Source.from_json(described).roots[0].together == ()


def test_of_a_zarr_store_too(tmp_path):
    path = write.write_zspy(tmp_path / "a.zspy", write.placed(SHAPE, "u2"), 2, chunks=STORED)
    assert Source.at(path).roots[0].together == (4, 5)
