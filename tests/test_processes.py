"""Functions that hold the interpreter lock run in processes: the same bits, and ended when nobody waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import make_root, until
from locking import Add, AddMore

from tiled_spyde.errors import Abandoned, Busy, ComputeError, TooLarge, WorkerEnded
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.tickets import Ticket


@contextmanager
def evaluating(ready=True, workers=2):
    """An evaluator with a process that waits for work."""
    ours = Evaluator(workers=workers)
    try:
        if ready:
            until(ours.processes.ready)
        yield ours
    finally:
        ours.close()


def chain(*steps):
    recipe = Recipe(make_root())
    for step in steps:
        recipe = recipe.then(step)
    return recipe


def makers(folder):
    """The processes that computed."""
    return {int(file.name.split("-")[0]) for file in Path(folder).iterdir()}


def children(ours):
    return {child.pid for child in ours.processes._children}


def test_a_process_gives_the_same_bits(tmp_path):
    recipe = chain(Add(amount=0.1, marks=str(tmp_path)))
    frame = recipe.root.reader.array[1, 2]
    with evaluating() as ours:
        np.testing.assert_array_equal(ours.read(recipe, (1, 2)), (frame + 0.1).astype("f4"))
        assert makers(tmp_path) <= children(ours)
        whole = ours.read(recipe)
    np.testing.assert_array_equal(whole, (recipe.root.reader.array + 0.1).astype("f4"))
    assert whole.dtype == "f4"


def test_until_a_process_is_there_the_thread_computes(tmp_path, monkeypatch):
    monkeypatch.setattr("tiled_spyde.processes.Processes._start", lambda self: None)
    recipe = chain(Add(marks=str(tmp_path)))
    with evaluating(ready=False) as ours:
        ours.read(recipe, (1, 2))
    assert makers(tmp_path) == {os.getpid()}


def test_consecutive_steps_go_in_one_trip_and_are_remembered(tmp_path):
    first = chain(build("gaussian_filter", {}), Add(amount=1, marks=str(tmp_path)))
    recipe = first.then(AddMore(amount=2, marks=str(tmp_path))).then(build("bin", {"x": 2}))
    with evaluating() as ours:
        trips, run = [], ours.processes.run
        ours.processes.run = lambda steps, *rest: trips.append(len(steps)) or run(steps, *rest)
        got = ours.read(recipe, (1, 2))
        assert trips == [2]
        smooth = ours.read(first.parent, (1, 2))
        held = ours.read(first, (1, 2))
        np.testing.assert_array_equal(held, smooth + np.float32(1))
        assert got.sum() == (held + np.float32(2)).sum(dtype="f8")
        assert trips == [2]
        ours.read(first.then(AddMore(amount=5)), (1, 2))
        assert trips == [2, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_process_that_is_killed_costs_one_answer_and_is_replaced(tmp_path):
    dying = chain(Add(what="die", server=os.getpid()))
    with evaluating() as ours:
        with pytest.raises(WorkerEnded, match="Try again"):
            ours.read(dying, (0, 0))
        until(ours.processes.ready)
        recipe = chain(Add(marks=str(tmp_path)))
        assert ours.read(recipe, (1, 2)).dtype == "f4"
        assert makers(tmp_path) <= children(ours)


def test_one_that_was_killed_while_it_had_nothing_to_do_is_replaced(tmp_path):
    recipe = chain(Add(marks=str(tmp_path)))
    with evaluating(workers=1) as ours:
        (child,) = ours.processes._children
        os.kill(child.pid, signal.SIGKILL)
        child._process.wait(30)
        ours.read(recipe, (1, 2))
        until(ours.processes.ready)
        assert child.pid not in children(ours)
        ours.read(recipe, (1, 3))
        assert makers(tmp_path) <= {os.getpid(), *children(ours)}


def test_what_nobody_waits_for_is_ended(tmp_path):
    hanging = chain(Add(what="hang", marks=str(tmp_path), server=os.getpid()))
    ticket = Ticket()
    with evaluating(workers=1) as ours:
        (before,) = children(ours)
        future = ours.start(hanging, (0, 0), ticket)
        until(lambda: makers(tmp_path) == {before})
        ticket.abandon()
        with pytest.raises(Abandoned):
            future.result(30)
        until(ours.processes.ready)
        assert before not in children(ours)
        assert ours.read(chain(Add()), (1, 2)).dtype == "f4"


def test_what_takes_too_long_is_ended():
    hanging = chain(Add(what="hang", server=os.getpid()))
    with evaluating(workers=1) as ours:
        ours.processes.deadline = 0.1
        with pytest.raises(Busy, match="longer"):
            ours.read(hanging, (0, 0))
        until(ours.processes.ready)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("fail", ComputeError, r"test_add failed at position \(1, 2\): no such thing"),
        ("exit", ComputeError, r"test_add failed at position \(1, 2\): 3"),
        ("refuse", TooLarge, "this is too much"),
        ("shape", ComputeError, r"test_add declared frames of \(12, 16\) but made \(3, 16\)"),
    ],
)
def test_errors_come_across_and_cost_no_process(what, error, message):
    with evaluating(workers=1) as ours:
        before = children(ours)
        with pytest.raises(error, match=message):
            ours.read(chain(Add(what=what, server=os.getpid())), (1, 2))
        assert children(ours) == before
        assert ours.read(chain(Add()), (1, 2)).dtype == "f4"


def test_more_chains_than_a_process_remembers(monkeypatch):
    monkeypatch.setattr("tiled_spyde.processes._MOST_KNOWN", 2)
    with evaluating(workers=1) as ours:
        for amount in (1, 2, 3, 1, 2, 3):
            recipe = chain(Add(amount=amount))
            frame = recipe.root.reader.array[1, amount]
            np.testing.assert_array_equal(ours.read(recipe, (1, amount)), frame + np.float32(amount))
            ours.cache.bound(0)


def test_closing_leaves_no_process_and_no_thread(tmp_path):
    hanging = chain(Add(what="hang", marks=str(tmp_path), server=os.getpid()))
    with evaluating() as ours:
        future = ours.start(hanging, (0, 0))
        until(lambda: makers(tmp_path))
        known = list(ours.processes._children)
        ours.close()
        assert future.exception(30) is not None
        assert not ours.pool._threads
        assert all(child._process.returncode is not None for child in known)
        with pytest.raises(Busy, match="ending"):
            ours.start(hanging, (0, 1))


def test_processes_end_with_the_server(tmp_path):
    """Also where it is killed and can say nothing."""
    script = (
        "import sys, time\n"
        "from tiled_spyde.processes import Processes\n"
        "ours = Processes(1)\n"
        "while not ours.ready(): time.sleep(0.01)\n"
        "print([c.pid for c in ours._children][0], flush=True)\n"
        "time.sleep(600)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with server:
        try:
            child = int(server.stdout.readline())
        finally:
            server.kill()
    until(lambda: not _runs(child))


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_processes_import_only_what_computes():
    script = (
        "import sys, tiled_spyde.processes\n"
        "print([m for m in ('tiled', 'fastapi', 'hyperspy', 'h5py', 'dask', 'sqlalchemy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_many_at_once_get_their_own_answers():
    recipes = [chain(Add(amount=amount)) for amount in range(4)]
    with evaluating() as ours, ThreadPoolExecutor(8) as people:
        asked = {
            (recipe, i): people.submit(ours.read, recipe, (1, i)) for recipe in recipes for i in range(5)
        }
        wait(asked.values(), 60)
        for (recipe, i), future in asked.items():
            expected = recipe.root.reader.array[1, i] + np.float32(recipe.operation.amount)
            np.testing.assert_array_equal(future.result(), expected)
