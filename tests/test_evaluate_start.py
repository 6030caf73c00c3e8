"""What is begun and not waited for: shared, given up, at hand; and any mix of it ends with the right numbers."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context

import numpy as np
import pytest
from conftest import ArrayReader, make_root, until
from locking import Add

from tiled_spyde.errors import Abandoned, Busy, InvalidSlice, TooLarge
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.tickets import TICKET, Ticket, Urgency

PATIENCE = 30


@contextmanager
def evaluating(**settings):
    ours = Evaluator(**{"workers": 2, **settings})
    try:
        yield ours
    finally:
        ours.close()


class Slow:
    """A function that waits to be let go, and counts."""

    def __init__(self, recipe):
        self.entered, self.release, self.calls = threading.Semaphore(0), threading.Event(), 0
        self._function, self._lock = recipe.function, threading.Lock()
        recipe.__dict__["function"] = self

    def __call__(self, frame):
        with self._lock:
            self.calls += 1
        self.entered.release()
        assert self.release.wait(PATIENCE)
        return self._function(frame)

    def wait(self):
        assert self.entered.acquire(timeout=PATIENCE)


def smooth(root=None):
    return Recipe(root or make_root()).then(build("gaussian_filter", {"sigma": 1.0}))


def summed(root=None):
    return Recipe(root or make_root()).then(build("sum", {}))


class Prompt(ArrayReader):
    """Gives the frames at once that are in `ready`."""

    def __init__(self, array, signal_axes):
        super().__init__(array, signal_axes)
        self.ready = set()

    def read_at_once(self, index, region=()):
        return self.array[index][region].copy() if index in self.ready else None


def prompt_root(shape=(3, 5, 12, 16)):
    root = make_root(shape)
    root.__dict__["reader"] = Prompt(root.reader.array, 2)
    return root


def test_what_is_started_is_what_is_read():
    recipe = smooth()
    with evaluating() as ours:
        for wanted in ((1, 2), (1, slice(None, None, -2), slice(3, 7)), (...,), (slice(2, 2),)):
            started = ours.start(recipe, wanted, Ticket()).result(PATIENCE)
            np.testing.assert_array_equal(started, Evaluator(workers=1).read(recipe, wanted))
            assert ours.start(recipe, wanted, None, np.sum).result(PATIENCE) == pytest.approx(started.sum())


def test_what_cannot_be_is_refused_at_once():
    with evaluating(max_seconds=1e-5) as ours:
        with pytest.raises(InvalidSlice):
            ours.start(smooth(), (7, 0))
        with pytest.raises(TooLarge):
            ours.start(smooth())
        with pytest.raises(InvalidSlice):
            ours.at_hand(smooth(), (7, 0))


def test_32_who_ask_for_the_same_frame_cost_one_call():
    recipe = smooth()
    slow = Slow(recipe)
    with evaluating() as ours:
        futures = [ours.start(recipe, (1, 2), Ticket(str(i))) for i in range(32)]
        slow.wait()
        slow.release.set()
        first, *others = [future.result(PATIENCE) for future in futures]
        assert slow.calls == 1
        assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("workers", [1, 3])
def test_of_20_frames_given_up_no_more_are_computed_than_there_are_workers(workers):
    recipe = smooth(make_root((4, 6, 12, 16)))
    slow = Slow(recipe)
    with evaluating(workers=workers) as ours:
        tickets = [Ticket("a") for _ in range(20)]
        futures = [ours.start(recipe, (i // 6, i % 6), ticket) for i, ticket in enumerate(tickets)]
        for _ in range(workers):
            slow.wait()
        for ticket in tickets:
            ticket.abandon()
        for future in futures:
            with pytest.raises(Abandoned):
                future.result(0)
        fresh = ours.start(recipe, (3, 5), Ticket("a"))
        slow.release.set()
        assert fresh.result(PATIENCE).shape == (12, 16)
        assert slow.calls == workers + 1


def test_a_tile_that_is_given_up_ends_between_two_frames():
    recipe = smooth(make_root((4, 6, 12, 16)))
    slow, ticket = Slow(recipe), Ticket("a")
    with evaluating(workers=1) as ours:
        tile = ours.start(recipe, (...,), ticket)
        slow.wait()
        ticket.abandon()
        slow.release.set()
        with pytest.raises(Abandoned):
            tile.result(PATIENCE)
        until(lambda: not ours.pool.busy)
        assert slow.calls == 1


def test_who_reads_and_has_gone_is_let_go_at_once():
    recipe, ticket = smooth(), Ticket("a")
    slow = Slow(recipe)
    with evaluating() as ours, ThreadPoolExecutor(1) as threads:
        TICKET.set(ticket)
        reading = threads.submit(copy_context().run, ours.read, recipe, (1, 2))
        TICKET.set(None)
        slow.wait()
        ticket.abandon()
        with pytest.raises(Abandoned):
            reading.result(PATIENCE)
        slow.release.set()


def test_a_frame_that_others_gave_up_is_computed_for_who_still_waits():
    """Its child waits for it where it is computed for somebody who goes away."""
    parent = smooth()
    middle = parent.then(build("gaussian_filter", {"sigma": 2.0}))
    child = middle.then(build("bin", {"x": 2}))
    slow, ticket = Slow(parent), Ticket("a")
    with evaluating() as ours:
        gone = ours.start(middle, (1, 2), ticket)
        slow.wait()
        wanted = ours.start(child, (1, 2), Ticket("b"))
        until(lambda: ours.pool.busy == 2)
        ticket.abandon()
        slow.release.set()
        assert wanted.result(PATIENCE).shape == (6, 8)
        with pytest.raises(Abandoned):
            gone.result(PATIENCE)


def test_maps_that_overlap_wait_only_for_what_is_being_computed():
    """With one worker the second could wait for ever, were positions claimed before they are begun."""
    recipe = summed(make_root((6, 8, 12, 16)))
    slow = Slow(recipe)
    with evaluating(workers=1) as ours:
        first = ours.start(recipe, (slice(0, 4),), Ticket("a", Urgency.BULK))
        slow.wait()
        second = ours.start(recipe, (slice(2, 6),), Ticket("b"))
        slow.release.set()
        whole = recipe.root.reader.array.sum((2, 3), dtype="u8")
        np.testing.assert_array_equal(second.result(PATIENCE), whole[2:6])
        np.testing.assert_array_equal(first.result(PATIENCE), whole[:4])
        assert slow.calls == 48


def test_several_frames_that_take_long_are_bulk(monkeypatch):
    monkeypatch.setattr("tiled_spyde.evaluate._BULK_SECONDS", 1e-4)
    recipe = smooth()
    with evaluating() as ours:
        ours.start(recipe, (1,), Ticket("a")).result(PATIENCE)
        ours.start(recipe, (2, 2), Ticket("a")).result(PATIENCE)
        assert ours.pool.started == [1, 0, 1]


def test_a_full_queue_refuses():
    recipe = smooth()
    slow = Slow(recipe)
    with evaluating(workers=1, most_waiting=4) as ours:
        running = ours.start(recipe, (0, 0), Ticket("a"))
        with pytest.raises(Busy, match="Try again"):
            ours.start(recipe, (0, 1), Ticket("a"))
        slow.release.set()
        running.result(PATIENCE)


def test_computed_frames_are_at_hand_once_they_were_computed():
    recipe = smooth()
    with evaluating() as ours:
        assert ours.at_hand(recipe, (1, 2)) is None
        frame = ours.read(recipe, (1, 2))
        recipe.__dict__["function"] = lambda frame: pytest.fail("it is remembered")
        np.testing.assert_array_equal(ours.at_hand(recipe, (1, 2)), frame)
        np.testing.assert_array_equal(ours.at_hand(recipe, (-2, 2, ..., slice(8, 2, -3))), frame[:, 8:2:-3])
        np.testing.assert_array_equal(ours.at_hand(recipe, (slice(1, 2), slice(2, 3))), frame[None, None])
        assert ours.at_hand(recipe, (1, slice(2, 4))) is None
        assert ours.at_hand(recipe, (1, 3)) is None
        seen_otherwise = recipe.then(build("calibrate", {"navigation_shape": [5, 3]}))
        np.testing.assert_array_equal(ours.at_hand(seen_otherwise, (2, 1)), frame)


def test_maps_are_at_hand_where_all_of_the_part_is_known():
    recipe = summed()
    with evaluating() as ours:
        assert ours.at_hand(recipe, (0, 0)) is None
        part = ours.read(recipe, (slice(0, 2), slice(0, 5, 2)))
        np.testing.assert_array_equal(ours.at_hand(recipe, (slice(0, 2), slice(4, None, -2))), part[:, ::-1])
        assert ours.at_hand(recipe, (1, 2)) == part[1, 1]
        assert ours.at_hand(recipe, (1,)) is None
        taken = ours.at_hand(recipe, (slice(0, 2), slice(0, 5, 2)))
        taken[...] = 0  # a copy
        assert ours.at_hand(recipe, (1, 2)) == part[1, 1]


def test_raw_frames_are_at_hand_where_the_reader_has_them():
    root = prompt_root()
    recipe = Recipe(root)
    root.reader.ready = {(1, 2)}
    with evaluating() as ours:
        frame = root.reader.array[1, 2]
        np.testing.assert_array_equal(ours.at_hand(recipe, (1, 2)), frame)
        np.testing.assert_array_equal(
            ours.at_hand(recipe, (1, 2, slice(3), slice(None, None, -1))), frame[:3, ::-1]
        )
        assert ours.at_hand(recipe, (1, 3)) is None
        assert ours.at_hand(recipe, (1,)) is None
        line = recipe.then(build("calibrate", {"navigation_shape": [15]}))
        np.testing.assert_array_equal(ours.at_hand(line, (7,)), frame)
        assert root.reader.reads == []
        np.testing.assert_array_equal(ours.read(recipe, (1, 3)), root.reader.array[1, 3])
        assert root.reader.reads == [(1, 3)]
        assert Recipe(make_root()).read_at_once is None


def test_stages_are_timed():
    ticket = Ticket()
    with evaluating() as ours:
        ours.start(smooth(), (1, 2), ticket, np.sum).result(PATIENCE)
    assert ticket.timings.keys() == {"queue", "read", "compute", "encode"}
    assert all(seconds > 0 for seconds in ticket.timings.values())


@pytest.mark.parametrize("seed", range(4))
def test_any_mix_ends_with_the_right_numbers(seed):
    """Maps, tiles and frames of nodes that share ancestors, with whoever asked going away at any moment."""
    chance = random.Random(seed)  # noqa: S311
    root = make_root((6, 8, 10, 12))
    first = smooth(root)
    recipes = [
        Recipe(root),
        first,
        first.then(build("bin", {"x": 2})),
        first.then(build("sum", {})),
        first.then(Add(amount=2.0)).then(build("sum", {})),
        Recipe(root).then(build("virtual_image", {"detector": {"kind": "disk", "radius": {"value": 4}}})),
        first.then(build("calibrate", {"navigation_shape": [8, 6]})),
    ]
    with evaluating(workers=1) as reference:
        expected = [reference.read(recipe) for recipe in recipes]

    def axis(size):
        start = chance.randrange(size)
        return chance.choice([start, slice(start, None, chance.choice([1, 2, 3])), slice(None)])

    with evaluating(workers=3, cache_bytes=chance.choice([20_000, 2**20])) as ours:
        if seed % 2:
            until(ours.processes.ready)
        asked = []
        for _ in range(150):
            which = chance.randrange(len(recipes))
            wanted = (axis(6), axis(6))
            ticket = Ticket(chance.choice("abc"), chance.choice(list(Urgency)))
            asked.append((which, wanted, ticket, ours.start(recipes[which], wanted, ticket)))
            if chance.random() < 0.4:
                chance.choice(asked)[2].abandon()
        _, missing = wait([future for *_, future in asked], PATIENCE * 2)
        assert not missing
        for which, wanted, ticket, future in asked:
            if future.exception() is None:
                np.testing.assert_array_equal(future.result(), expected[which][wanted])
            else:
                assert isinstance(future.exception(), Abandoned)
                assert not ticket.wanted
        until(lambda: not ours.pool.busy)
        assert not ours.pool._jobs
        assert not ours.pool._open
        assert not any(ours.pool.waiting)
        for recipe, whole in zip(recipes, expected, strict=True):
            np.testing.assert_array_equal(ours.read(recipe), whole)
