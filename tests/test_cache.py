"""The cache stays within its bytes, and many who ask cost one computation."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tiled_spyde.cache import Cache, DenseMap


def test_what_is_needed_for_a_while_takes_the_place_of_others():
    cache = Cache(10_000)
    for number in range(9):
        cache.put(number, bytes(500))
    with cache.room(6000):
        assert cache.size <= 10_000
        assert len(cache) == 3
        assert cache.peek(8) is not None
        with cache.room(1 << 40):
            assert len(cache) == 0
    assert cache.size == 0
    cache.put("later", bytes(5000))
    assert len(cache) == 1


def test_the_bound_holds_and_the_oldest_goes_first():
    cache = Cache(2 * (40 + 512))
    for name in "abc":
        cache.get(name, lambda: np.zeros(40, "u1"))
    assert (len(cache), cache.size) == (2, 2 * (40 + 512))
    assert cache.peek("a") is None
    cache.get("b", lambda: pytest.fail("b is held"))
    cache.get("d", lambda: np.zeros(40, "u1"))
    assert cache.peek("c") is None
    assert cache.peek("b") is not None


def test_what_is_larger_than_the_bound_is_not_held():
    cache = Cache(10)
    assert cache.get("large", lambda: np.ones(11, "u1")).sum() == 11
    assert (len(cache), cache.size) == (0, 0)


def test_an_error_reaches_all_who_wait_and_is_forgotten():
    cache, entered, release = Cache(100), threading.Event(), threading.Event()
    failures = []

    def fail():
        entered.set()
        assert release.wait(60)
        raise OSError("no")

    def ask():
        try:
            cache.get("x", fail)
        except OSError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    release.set()
    for thread in threads:
        thread.join()
    assert failures == ["no"] * 4
    assert cache.get("x", lambda: np.ones(1)).sum() == 1


def test_bytes_and_maps_live_in_the_same_bound():
    cache = Cache(3 * 1024)
    cache.put("body", bytes(1000))
    dense = cache.get("map", lambda: DenseMap((10, 10), "f8"))
    assert cache.size == 1000 + 10 * 10 * (8 + 2) + 2 * 512
    cache.put("body", bytes(900))
    assert cache.size == 900 + 10 * 10 * (8 + 2) + 2 * 512
    cache.put("frame", np.zeros(1500, "u1"))
    assert cache.peek("body") is None
    assert cache.peek("map") is None, "it had been asked for before the frame"
    assert dense.read((slice(0, 1), slice(0, 2)), lambda at: at[:, 1] + 1.0).tolist() == [[1, 2]]


def test_it_counts_what_it_saves():
    cache = Cache(2 * 1024)
    cache.get("a", lambda: np.zeros(8))
    cache.get("a", lambda: pytest.fail("a is held"))
    assert cache.peek("a") is not None
    assert cache.peek("b") is None
    cache.put("large", bytes(1500))
    assert (cache.hits, cache.misses, cache.evictions) == (2, 1, 1)


def test_what_was_peeked_at_stays_longer():
    cache = Cache(2 * (8 + 512))
    for name in "ab":
        cache.put(name, bytes(8))
    cache.peek("a")
    cache.put("c", bytes(8))
    assert cache.peek("a") is not None
    assert cache.peek("b") is None


def test_a_lower_bound_drops_at_once():
    cache = Cache(10_000)
    cache.put("old", bytes(1000))
    cache.put("new", bytes(1000))
    cache.bound(2000)
    assert (cache.peek("old"), len(cache), cache.size) == (None, 1, 1512)


def test_nobody_writes_into_what_others_hold():
    cache = Cache(10_000)
    cache.put("x", np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        cache.peek("x")[0] = 1


def test_two_who_need_overlapping_positions_share_them():
    dense = DenseMap((4, 6), "i8")
    seen, lock, together = [], threading.Lock(), threading.Barrier(2)

    def compute(positions):
        with lock:
            seen.extend(map(tuple, positions.tolist()))
        together.wait(60)
        return positions[:, 0] * 10 + positions[:, 1]

    parts = [(slice(0, 3), slice(None)), (slice(2, 4), slice(None))]
    results = [None, None]

    def ask(i):
        results[i] = dense.read(parts[i], compute)

    threads = [threading.Thread(target=ask, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = np.arange(4)[:, None] * 10 + np.arange(6)
    for part, result in zip(parts, results, strict=True):
        np.testing.assert_array_equal(result, whole[part])
    assert len(seen) == len(set(seen)) == 24


def test_missing_counts_what_a_part_still_needs():
    dense = DenseMap((4, 6), "i8")
    dense.read((slice(0, 4, 2), slice(0, 6, 2)), lambda positions: np.zeros(len(positions)))
    assert dense.missing((slice(None), slice(None))) == 24 - 6
    assert dense.missing((slice(0, 1), slice(0, 3, 2))) == 0
