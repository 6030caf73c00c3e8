"""The garbage collector passes over what stays, frees what does not, and looks at all of it again at times."""

from __future__ import annotations

import gc
import weakref

import pytest
from conftest import serving

from tiled_spyde import collecting
from tiled_spyde.collecting import Sparing, spare_what_stays


class Thing:
    """May refer to itself, and be watched."""


@pytest.fixture(autouse=True)
def collector():
    """The process as it was: nothing spared, nobody called."""
    before = list(gc.callbacks)
    gc.callbacks[:] = [called for called in before if not isinstance(called, Sparing)]
    gc.unfreeze()
    yield
    gc.callbacks[:] = before
    gc.unfreeze()


def test_what_stays_is_passed_over_and_still_freed():
    kept = [Thing() for _ in range(1000)]
    spare_what_stays()
    assert gc.get_freeze_count() > 1000
    assert not any(found is kept[0] for found in gc.get_objects(2))
    gone = weakref.ref(kept.pop())
    assert gone() is None


def test_cycles_that_come_later_are_collected():
    spare_what_stays()
    thing = Thing()
    thing.itself = thing
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None


def test_a_slow_collection_spares_what_it_left(monkeypatch):
    spare_what_stays()
    before = gc.get_freeze_count()
    kept = [[i] for i in range(1000)]
    monkeypatch.setattr(collecting, "_SLOW", 1e9)
    gc.collect()
    assert gc.get_freeze_count() <= before
    monkeypatch.setattr(collecting, "_SLOW", -1.0)
    gc.collect()
    assert gc.get_freeze_count() > before + len(kept) // 2


def test_cycles_among_the_spared_are_found_once_there_are_twice_as_many(monkeypatch):
    monkeypatch.setattr(collecting, "_SLOW", -1.0)
    thing = Thing()
    thing.itself = thing
    gone = weakref.ref(thing)
    gc.callbacks.append(Sparing())
    gc.collect()
    del thing
    gc.collect()
    assert gone() is not None
    more = [[i] for i in range(2 * gc.get_freeze_count())]
    gc.collect()  # finds that there are twice as many
    gc.collect()
    assert gone() is None
    assert more


def test_one_for_a_process():
    spare_what_stays()
    spare_what_stays()
    assert sum(isinstance(called, Sparing) for called in gc.callbacks) == 1


def test_a_server_spares_what_it_has_loaded(scans):
    with serving([scans / "line.hspy"]):
        assert gc.get_freeze_count() > 10_000
        assert any(isinstance(called, Sparing) for called in gc.callbacks)
