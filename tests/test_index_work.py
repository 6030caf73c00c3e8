"""The index at work: what fails is tried again, first results come first, and what is idle costs nothing."""

from __future__ import annotations

import time
from pathlib import Path

from conftest import until
from index_samples import Kept, stack

from tiled_spyde import index as module
from tiled_spyde.sources import Source, watching
from tiled_spyde.sources.probe import Limits


def test_what_took_too_long_is_looked_at_again_and_at_the_next_start(watched, probed, monkeypatch):
    path = stack(watched / "a.mrc")
    monkeypatch.setattr(module, "_AGAIN", 0.5)
    hung = Source.failed(path, "looking at it took longer than 30 s.")
    with Kept(watched, known={path: hung}) as kept:
        until(lambda: kept.now[path].error is None)
    assert probed == [path]
    probed.clear()
    monkeypatch.setattr("tiled_spyde.sources.probe.Probe.look", lambda self, path, members=(): hung)
    with Kept(watched) as kept:
        until(lambda: len(kept.said_of(path)) >= 2)  # listed with its reason meanwhile
        assert kept.now[path].error


def test_batches_that_are_not_taken_are_offered_again(watched, monkeypatch, caplog):
    monkeypatch.setattr(module, "_REFUSED", 0.2)
    paths = {stack(watched / f"{number}.mrc", plus=number) for number in range(5)}
    kept = Kept(watched)
    refused = []

    def update(batch):
        if len(refused) < 3:
            refused.append(batch)
            raise OSError("the database is locked")
        kept.update(batch)

    kept.index._update = update
    with kept:
        until(lambda: kept.now.keys() == paths)
    assert "the database is locked" in caplog.text


def test_the_index_survives_its_own_failures(watched, monkeypatch, caplog):
    look, failures = watching.Watch.look, []

    def failing(self, unsettled=()):
        if len(failures) < 2:
            failures.append(1)
            raise RuntimeError("a fault of ours")
        return look(self, unsettled)

    monkeypatch.setattr(watching.Watch, "look", failing)
    path = stack(watched / "a.mrc")
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
    assert "a fault of ours" in caplog.text


def test_first_results_do_not_wait_for_the_last(watched):
    for number in range(300):
        stack(watched / f"{number}.mrc", plus=number)
    with Kept(watched) as kept:
        until(lambda: kept.said)
        until(lambda: len(kept.now) == 300)
        assert kept.index.progress.of == 300
    assert len(kept.said) >= 2
    assert len(kept.said[0]) < 300


def test_stopping_while_there_is_much_to_do(watched):
    for number in range(200):
        stack(watched / f"{number}.mrc", plus=number)
    with Kept(watched) as kept:
        until(lambda: kept.said)
    until(lambda: not kept.index._probing._probes)
    assert not kept.index._thread.is_alive()
    said = len(kept.said)
    stack(watched / "late.mrc")
    time.sleep(0.3)
    assert len(kept.said) == said


def test_an_idle_look_lists_nothing(watched, monkeypatch):
    """What a second costs when nothing changes: one system call for each folder."""
    for number in range(20):
        stack(watched / f"{number % 4}/{number}.mrc", plus=number)
    with Kept(watched) as kept:
        until(lambda: len(kept.now) == 20)
    watch = watching.Watch([watched], settle=0.0, interval=1000.0)
    watch.look()
    assert len(watch.look().present) == 20
    assert not watch.look().listed
    stack(watched / "2/new.mrc")
    listed = []
    until(lambda: listed.append(watch.look().listed) or listed[-1])
    assert {Path(path).parent.name for path in listed[-1]} == {"2"}


def test_a_limit_reaches_the_children(watched):
    path = stack(watched / "a.mrc")
    with Kept(watched, limits=Limits(answer=10)) as kept:
        until(lambda: path in kept.now)
    assert "too long" in kept.now[path].error
