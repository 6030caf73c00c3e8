"""The viewer's cache: bounded in bytes, the least recently used forgotten."""

import numpy as np

from viewer.addresses import Address
from viewer.cache import Cache


def test_the_cache_forgets_what_was_not_used_for_longest():
    cache = Cache(capacity=4 * 100)
    addresses = [Address(f"/{n}", (100,), "|u1") for n in range(5)]
    for address in addresses[:4]:
        cache.put(address, np.zeros(100, np.uint8))
    assert cache.get(addresses[0]) is not None
    cache.put(addresses[4], np.zeros(100, np.uint8))
    assert [address in cache for address in addresses] == [True, False, True, True, True]
    assert cache.used == 400


def test_the_cache_never_outgrows_its_bound():
    cache = Cache(capacity=1000)
    rng = np.random.default_rng(0)
    for n in rng.integers(0, 40, 500):
        cache.put(Address(f"/{n}", (), "|u1"), np.zeros(rng.integers(1, 400), np.uint8))
        assert cache.used <= 1000
