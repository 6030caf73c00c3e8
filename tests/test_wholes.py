"""What needs a whole scan: the same bytes however it is computed, once, and gone on with after a cancel or a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import make_root, until

from tiled_spyde.errors import Abandoned, Cancelled, StorageFull
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.evaluate import signal as hyperspys
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.store import Store
from tiled_spyde.tickets import Ticket


def noisy(shape=(9, 7, 12, 16), dtype="f4"):
    """A root whose sums depend on their order."""
    root = make_root(shape, dtype=dtype, fingerprint="a" * 32)
    root.reader.array[:] = np.random.default_rng(3).normal(1, 1e3, shape)
    return root


def over_scan(root, name="mean_over_scan"):
    return Recipe(root).then(build("gaussian_filter", {"sigma": 0.8})).then(build(name, {}))


@pytest.fixture
def evaluators(tmp_path):
    made = []

    def make(folder=tmp_path / "computed", **settings):
        store = Store(folder, settings.pop("limit", 1 << 30))
        made.append(Evaluator(**{"workers": 2, "store": store, **settings}))
        made[-1].wholes.save_seconds = 0.0
        return made[-1]

    yield make
    for one in made:
        one.close()


class Gate:
    """A function that stops at one call until it is let go, and counts."""

    def __init__(self, recipe, at):
        self.calls, self._at, self._function = 0, at, recipe.function
        self.reached, self.open, self._lock = threading.Event(), threading.Event(), threading.Lock()
        recipe.__dict__["function"] = self

    def __call__(self, frame):
        with self._lock:
            self.calls += 1
            stop = self.calls >= self._at
        if stop:
            self.reached.set()
            assert self.open.wait(60)
        return self._function(frame)


def few_at_once(monkeypatch):
    monkeypatch.setattr("tiled_spyde.runs._TOGETHER_BYTES", 4 * 12 * 16 * 4)


@pytest.mark.parametrize("name", ["mean_over_scan", "sum_over_scan", "max_over_scan"])
def test_the_bytes_do_not_depend_on_threads_nor_on_what_is_computed_at_once(
    evaluators, tmp_path, monkeypatch, name
):
    found = [evaluators(tmp_path / "1", workers=1).read(over_scan(noisy(), name))]
    few_at_once(monkeypatch)
    found.append(evaluators(tmp_path / "3", workers=3).read(over_scan(noisy(), name)))
    assert found[0].tobytes() == found[1].tobytes()


def test_floats_are_added_in_array_order_in_double_precision(evaluators):
    root = noisy()
    total = np.zeros((12, 16))
    for frame in root.reader.array.reshape(-1, 12, 16):
        total += frame
    ours = evaluators().read(Recipe(root).then(build("sum_over_scan", {})))
    assert ours.tobytes() == total.tobytes()
    mean = evaluators().read(Recipe(root).then(build("mean_over_scan", {})))
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, (total / 63).astype("f4"))


@pytest.mark.parametrize(("dtype", "tolerance"), [("f4", 1e-6), ("f8", 1e-12), ("u2", 0), ("i4", 0)])
def test_it_is_hyperspys_lazy_mean(evaluators, dtype, tolerance):
    root = noisy(dtype=dtype)
    ours = evaluators().read(Recipe(root).then(build("mean_over_scan", {})))
    theirs = root.signal().mean(axis=("x", "y")).data.compute()
    assert ours.dtype == theirs.dtype
    # hyperspy adds up float32 in float32.
    np.testing.assert_allclose(ours, theirs, rtol=1e-3 if dtype == "f4" else tolerance)
    reference = hyperspys(Recipe(root).then(build("mean_over_scan", {}))).data.compute()
    np.testing.assert_allclose(ours, reference, rtol=tolerance)


def test_many_who_ask_cost_one_computation(evaluators):
    root = make_root()
    mean, ours = Recipe(root).then(build("mean_over_scan", {})), evaluators()
    below = Recipe(root).then(
        build("subtract_reference", {"reference": {"node": "mean"}}), {"reference": mean}
    )
    asked = [ours.start(recipe, wanted) for recipe, wanted in ((mean, ()), (mean, (3,)), (below, (1, 2)))]
    whole, row, frame = (future.result(60) for future in asked)
    assert sorted(set(root.reader.reads)) == sorted(np.ndindex(3, 5))
    assert len(root.reader.reads) == 15 + 1  # and that of the frame
    np.testing.assert_array_equal(row, whole[3])
    np.testing.assert_array_equal(frame, root.reader.array[1, 2].astype("f4") - whole.astype("f4"))


def test_what_is_stored_is_read_by_another_process_and_computed_no_more(evaluators):
    first = evaluators().read(over_scan(noisy()))
    root = noisy()
    again = evaluators().read(over_scan(root))
    assert again.tobytes() == first.tobytes()
    assert root.reader.reads == []


def test_a_cancelled_one_goes_on_where_it_was(evaluators, monkeypatch, tmp_path):
    few_at_once(monkeypatch)
    expected = evaluators(tmp_path / "other").read(over_scan(noisy()))
    mean, ours = over_scan(noisy()), evaluators(workers=1)
    gate = Gate(mean.parent, 30)
    asked = ours.start(mean)
    assert gate.reached.wait(60)
    until(lambda: ours.wholes.progress(mean).done > 20)
    assert ours.wholes.progress(mean).state == "computing"
    ending = threading.Thread(target=ours.wholes.cancel, args=(mean.key,))
    ending.start()
    until(lambda: ours.wholes.store.said(mean.key, "cancel"))
    gate.open.set()
    ending.join(60)
    with pytest.raises(Cancelled, match="cancelled"):
        asked.result(60)
    progress = ours.wholes.progress(mean)
    assert progress.state == "cancelled"
    assert 20 < progress.done < 63
    with pytest.raises(Cancelled):
        ours.read(mean)
    before = gate.calls
    ours.wholes.start(mean, again=True).result(60)
    assert gate.calls - before <= 63 - progress.done
    assert ours.read(mean).tobytes() == expected.tobytes()


def test_who_gives_up_waiting_does_not_end_it(evaluators):
    mean, ours = over_scan(noisy()), evaluators(workers=1)
    gate = Gate(mean.parent, 1)
    ticket = Ticket()
    asked = ours.start(mean, (), ticket)
    assert gate.reached.wait(60)
    ticket.abandon()
    with pytest.raises(Abandoned):
        asked.result(60)
    gate.open.set()
    until(lambda: ours.wholes.progress(mean).state == "stored")


def of_a_preview():
    ticket = Ticket()
    ticket.node = "scan.hspy/signal/preview@" + "0" * 32
    return ticket


def test_what_nobody_keeps_ends_when_all_who_asked_have_gone_and_goes_on_for_the_next(
    evaluators, monkeypatch, tmp_path
):
    """A slider above a mean: each value would read the whole scan, long after the person has moved on."""
    few_at_once(monkeypatch)
    monkeypatch.setattr("tiled_spyde.runs._LEFT_SECONDS", 0.0)
    mean, ours = over_scan(noisy()), evaluators(workers=1)
    expected = evaluators(tmp_path / "other").read(over_scan(noisy()))
    gate, tickets = Gate(mean.parent, 30), [of_a_preview(), of_a_preview()]
    asked = [ours.start(mean, (row,), ticket) for row, ticket in enumerate(tickets)]
    assert gate.reached.wait(60)
    tickets[0].abandon()
    assert ours.wholes.progress(mean).state == "computing"
    tickets[1].abandon()
    for one in asked:
        with pytest.raises(Abandoned):
            one.result(60)
    until(lambda: ours.wholes.progress(mean).state == "waiting")
    gate.open.set()
    until(lambda: ours.wholes.computing == 0)
    assert 16 <= ours.wholes.progress(mean).done < 63
    calls = gate.calls
    assert ours.start(mean, (), of_a_preview()).result(60).tobytes() == expected.tobytes()
    assert gate.calls - calls <= 63 - 16


@pytest.mark.parametrize("how", ["a job", "a node", "who waited to the end", "another preview"])
def test_what_is_kept_or_was_waited_for_goes_on(evaluators, monkeypatch, how):
    few_at_once(monkeypatch)
    monkeypatch.setattr("tiled_spyde.runs._LEFT_SECONDS", 0.0)
    mean = over_scan(noisy())
    ours = evaluators(workers=1, deadline_seconds=1e-9 if how == "who waited to the end" else 3600.0)
    gate, ticket = Gate(mean.parent, 30), of_a_preview()
    ours.start(mean, (), ticket)
    assert gate.reached.wait(60)
    if how == "a job":
        ours.wholes.start(mean)
    elif how == "a node":
        ours.start(mean, (0,))
    elif how == "another preview":
        ours.start(mean, (0,), of_a_preview())
    ticket.abandon()
    gate.open.set()
    until(lambda: ours.wholes.progress(mean).state == "stored")


def test_what_a_job_needs_above_ends_with_it(evaluators, monkeypatch):
    few_at_once(monkeypatch)
    monkeypatch.setattr("tiled_spyde.runs._LEFT_SECONDS", 0.0)
    scan = Recipe(noisy())
    mean = scan.then(build("mean_over_scan", {}))
    rest = scan.then(build("subtract_reference", {"reference": {"node": "mean"}}), {"reference": mean})
    again, ours = rest.then(build("mean_over_scan", {})), evaluators(workers=1)
    reached, go_on = threading.Event(), threading.Event()
    read = scan.root.reader.read

    def held(*where):
        reached.set()
        assert go_on.wait(60)
        return read(*where)

    monkeypatch.setattr(scan.root.reader, "read", held)
    asked = ours.wholes.start(again)
    assert reached.wait(60)
    threading.Thread(target=ours.wholes.cancel, args=(again.key,)).start()
    with pytest.raises(Cancelled):
        asked.result(60)
    until(lambda: mean.key not in ours.wholes._runs)
    go_on.set()
    assert ours.wholes.progress(mean).state == "waiting"


def test_no_thread_of_the_pool_waits_for_it(evaluators):
    """With one worker, which is at the mean, a frame that needs none is given between two parts."""
    mean, ours = over_scan(noisy()), evaluators(workers=1)
    waiting = [ours.start(mean, (row,)) for row in range(12)]
    assert ours.start(Recipe(make_root()), (1, 2)).result(60).shape == (12, 16)
    assert [future.result(60).shape for future in waiting] == [(16,)] * 12


def test_it_waits_for_room_in_the_queue(evaluators):
    mean, ours = over_scan(noisy()), evaluators(workers=1, most_waiting=4)
    slow = Recipe(make_root()).then(build("gaussian_filter", {"sigma": 1.0}))
    gate = Gate(slow, 1)
    others = [ours.start(slow, (1, column), Ticket(f"client {column}")) for column in range(4)]
    assert gate.reached.wait(60)
    done = ours.wholes.start(mean)
    assert not done.done()
    gate.open.set()
    done.result(60)
    assert [other.result(60).shape for other in others] == [(12, 16)] * 4


def test_two_processes_share_one_computation(evaluators):
    """Two evaluators know of each other only by the folder, as two processes do."""
    mean, other = over_scan(noisy()), over_scan(noisy())
    gate = Gate(mean.parent, 5)
    here, there = evaluators(), evaluators()
    asked = here.start(mean)
    assert gate.reached.wait(60)
    theirs = there.start(other)
    assert not theirs.done()
    gate.open.set()
    assert asked.result(60).tobytes() == theirs.result(60).tobytes()
    assert other.root.reader.reads == []


def test_another_process_can_cancel_it_and_sees_how_far_it_is(evaluators, monkeypatch):
    few_at_once(monkeypatch)
    mean, same = over_scan(noisy()), over_scan(noisy())
    gate = Gate(mean.parent, 30)
    here, there = evaluators(workers=1), evaluators()
    asked = here.start(mean)
    assert gate.reached.wait(60)
    until(lambda: there.wholes.progress(same).done > 20)
    assert there.wholes.progress(same).state == "computing"
    there.wholes.cancel(same.key)
    gate.open.set()
    with pytest.raises(Cancelled):
        asked.result(60)
    assert there.wholes.progress(same).state == "cancelled"


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_wholes import noisy, over_scan
from tiled_spyde import runs
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.store import Store
from pathlib import Path
runs._TOGETHER_BYTES = 4 * 12 * 16 * 4
mean = over_scan(noisy())
smooth, calls = mean.parent.function, []
def slow(frame):
    calls.append(1)
    if len(calls) > 30:
        time.sleep(600)
    return smooth(frame)
mean.parent.__dict__["function"] = slow
ours = Evaluator(workers=1, store=Store(Path({folder!r})))
ours.wholes.save_seconds = 0.0
ours.start(mean)
time.sleep(600)
"""


def test_a_killed_server_goes_on_where_it_was(evaluators, tmp_path):
    folder = tmp_path / "computed"
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    killed = subprocess.Popen([sys.executable, "-c", code])
    try:
        root = noisy()
        mean, ours = over_scan(root), evaluators(folder)
        until(lambda: ours.wholes.progress(mean).done > 20 or killed.poll() is not None)
        assert killed.poll() is None
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    done = ours.wholes.progress(mean).done
    assert ours.wholes.progress(mean).state == "waiting"
    result = ours.read(mean)
    assert 63 - done <= len(root.reader.reads) <= 63 - 16
    assert result.tobytes() == evaluators(tmp_path / "other").read(over_scan(noisy())).tobytes()


def test_what_fails_says_so_until_somebody_starts_it_again(evaluators):
    root = noisy()
    mean, ours = over_scan(root), evaluators()
    function = mean.parent.function
    mean.parent.__dict__["function"] = lambda frame: 1 / 0
    for _ in range(2):
        with pytest.raises(Exception, match=r"gaussian_filter failed at position .*division"):
            ours.read(mean)
    reads = len(root.reader.reads)
    assert ours.wholes.progress(mean).state == "failed"
    assert reads < 63
    mean.parent.__dict__["function"] = function
    ours.wholes.start(mean, again=True).result(60)
    assert ours.wholes.progress(mean).state == "stored"


def test_a_store_without_room_refuses_before_anything_is_computed(evaluators):
    root = noisy()
    ours = evaluators(limit=100)
    with pytest.raises(StorageFull, match="store_mb"):
        ours.read(over_scan(root))
    assert root.reader.reads == []


def test_what_two_need_that_have_not_room_together_ends(evaluators):
    """Each drives the other out of the store: that is said, not tried for ever."""
    root = noisy()
    mean, peak = over_scan(root), over_scan(root, "max_over_scan")
    differing = mean.then(build("subtract_reference", {"reference": {"node": "peak"}}), {"reference": peak})
    size = 12 * 16 * 4
    ours = evaluators(limit=size + 600)
    with pytest.raises(StorageFull, match="store_mb"):
        ours.read(differing)


def test_a_mean_of_what_needs_a_mean(evaluators):
    root = make_root()
    scan = Recipe(root)
    mean = scan.then(build("mean_over_scan", {}))
    rest = scan.then(build("subtract_reference", {"reference": {"node": "mean"}}), {"reference": mean})
    again = evaluators().read(rest.then(build("mean_over_scan", {})))
    np.testing.assert_allclose(again, 0, atol=1e-4)
