"""Which part of which job comes next; what is dropped, shared and refused. Nothing here looks at a clock."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import CancelledError
from contextlib import contextmanager

import pytest
from conftest import until

from tiled_spyde.claims import Job
from tiled_spyde.errors import Abandoned, Busy
from tiled_spyde.pool import Pool
from tiled_spyde.tickets import Ticket, Urgency

LOOKED_AT, AHEAD, BULK = Urgency
PATIENCE = 30


@contextmanager
def pool(workers=1, **settings):
    ours = Pool(workers, **settings)
    try:
        yield ours
    finally:
        ours.close()


class Gate:
    """A part that says when it is entered, and waits to be let go."""

    def __init__(self):
        self.entered, self.release = threading.Semaphore(0), threading.Event()

    def __call__(self, claim):
        self.entered.release()
        assert self.release.wait(PATIENCE)
        claim.check()

    def wait(self):
        assert self.entered.acquire(timeout=PATIENCE)


class Log:
    """Jobs whose parts note when they run."""

    def __init__(self):
        self.ran = []

    def job(self, name, parts=1, **settings):
        return Job((self._part(name) for _ in range(parts)), lambda: name, **settings)

    def _part(self, name):
        return lambda claim: self.ran.append(name)


@contextmanager
def blocked(ours):
    """Keep the only worker until everything has been asked for."""
    gate = Gate()
    held = ours.submit(Job(iter([gate]), lambda: None), Ticket("gate"))
    gate.wait()
    yield
    gate.release.set()
    held.result(PATIENCE)


def test_the_urgent_goes_first():
    log = Log()
    with pool() as ours:
        with blocked(ours):
            futures = [
                ours.submit(log.job(urgency.name), Ticket("a", urgency))
                for urgency in (BULK, AHEAD, LOOKED_AT)
            ]
            assert ours.waiting == [1, 1, 1]
        for future in futures:
            future.result(PATIENCE)
    assert log.ran == ["LOOKED_AT", "AHEAD", "BULK"]


def test_clients_take_turns_and_each_keeps_its_order():
    log = Log()
    with pool() as ours:
        with blocked(ours):
            asked = ["a1", "a2", "a3", "b1", "b2", "c1"]
            futures = [ours.submit(log.job(name), Ticket(name[0])) for name in asked]
        for future in futures:
            future.result(PATIENCE)
    assert log.ran == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_tile_gives_way_to_a_frame_between_its_parts():
    log, gate = Log(), Gate()
    with pool() as ours:

        def parts():
            yield gate
            for _ in range(3):
                yield lambda claim: log.ran.append("tile")

        tile = ours.submit(Job(parts(), lambda: "tile"), Ticket("a", BULK))
        gate.wait()
        frame = ours.submit(log.job("frame"), Ticket("b"))
        gate.release.set()
        assert (frame.result(PATIENCE), tile.result(PATIENCE)) == ("frame", "tile")
    assert log.ran == ["frame", "tile", "tile", "tile"]


def test_many_frames_do_not_stop_a_tile_for_ever():
    log = Log()
    with pool() as ours:
        with blocked(ours):
            tile = ours.submit(log.job("tile", 2), Ticket("a", BULK))
            frames = [ours.submit(log.job("frame", 20), Ticket("b")) for _ in range(3)]
        for future in (tile, *frames):
            future.result(PATIENCE)
    first, second = (at for at, name in enumerate(log.ran) if name == "tile")
    assert 0 < first < second < len(log.ran) - 1


def test_many_frames_and_a_tile_do_not_stop_what_is_ahead_for_ever():
    log = Log()
    with pool() as ours:
        with blocked(ours):
            asked = (("ahead", 2, AHEAD), ("tile", 20, BULK), ("frame", 200, LOOKED_AT))
            futures = [
                ours.submit(log.job(name, parts), Ticket(name, urgency)) for name, parts, urgency in asked
            ]
        for future in futures:
            future.result(PATIENCE)
    rest = log.ran[len(log.ran) - log.ran[::-1].index("ahead") :]
    assert {"tile", "frame"} <= set(rest)


def test_a_job_uses_all_workers():
    gate = Gate()
    with pool(3) as ours:
        future = ours.submit(Job(iter([gate] * 3), lambda: "done"), Ticket())
        for _ in range(3):
            gate.wait()
        gate.release.set()
        assert future.result(PATIENCE) == "done"


def test_long_parts_leave_a_worker_to_who_looks():
    gate, log = Gate(), Log()
    with pool(2) as ours:
        bulk = ours.submit(Job(iter([gate] * 2), lambda: "bulk", long=True), Ticket("a", BULK))
        ahead = ours.submit(Job(iter([gate]), lambda: "ahead", long=True), Ticket("a", AHEAD))
        gate.wait()
        assert ours.submit(log.job("frame", long=True), Ticket("b")).result(PATIENCE) == "frame"
        assert not gate.entered.acquire(blocking=False)
        gate.release.set()
        assert (bulk.result(PATIENCE), ahead.result(PATIENCE)) == ("bulk", "ahead")


def test_what_waits_for_a_long_part_waits_for_no_answer_of_it():
    gate, answering = Gate(), Gate()
    with pool(2) as ours:
        first = ours.submit(
            Job(iter([gate]), lambda: "first", long=True),
            Ticket("a", BULK),
            lambda value: answering(Ticket()),
        )
        gate.wait()
        second = ours.submit(Job(iter([lambda claim: None]), lambda: "second", long=True), Ticket("b", BULK))
        until(lambda: ours.busy == 1)
        gate.release.set()
        answering.wait()
        assert second.result(PATIENCE) == "second"
        assert not first.done()
        answering.release.set()
        first.result(PATIENCE)


def test_the_same_is_done_once_and_each_makes_its_own_of_it():
    gate = Gate()
    with pool(2) as ours:
        futures = [
            ours.submit(Job(iter([gate]), lambda: 5), Ticket(str(i)), lambda x, i=i: x * i, key="same")
            for i in range(32)
        ]
        gate.release.set()
        assert [future.result(PATIENCE) for future in futures] == [5 * i for i in range(32)]
        assert gate.entered.acquire(timeout=PATIENCE)
        assert not gate.entered.acquire(blocking=False)
        assert ours.started[LOOKED_AT] == 1
        assert ours.finished[LOOKED_AT] == 32


def test_who_joins_lends_a_job_his_urgency():
    log = Log()
    with pool() as ours:
        with blocked(ours):
            ours.submit(log.job("other"), Ticket("c", AHEAD))
            slow = ours.submit(log.job("shared"), Ticket("a", BULK), key="same")
            fast = ours.submit(log.job("never"), Ticket("b"), key="same")
        assert (slow.result(PATIENCE), fast.result(PATIENCE)) == ("shared", "shared")
    assert log.ran[0] == "shared"
    assert "never" not in log.ran


def test_what_was_given_up_is_dropped_before_its_next_part():
    gate, log, ticket = Gate(), Log(), Ticket("a")
    with pool() as ours:

        def parts():
            yield lambda claim: gate(Ticket())
            for _ in range(5):
                yield lambda claim: log.ran.append("never")

        future = ours.submit(Job(parts(), lambda: None), ticket)
        gate.wait()
        waiting = ours.submit(log.job("never"), ticket)
        ticket.abandon()
        for given_up in (future, waiting):  # at once: the worker is still at it
            with pytest.raises(Abandoned):
                given_up.result(0)
        gate.release.set()
        assert ours.submit(log.job("next"), Ticket("a")).result(PATIENCE) == "next"
        assert ours.dropped[LOOKED_AT] == 2
    assert log.ran == ["next"]


def test_a_ticket_that_was_given_up_before_is_not_worked_for():
    log, ticket = Log(), Ticket()
    ticket.abandon()
    with pool() as ours:
        with blocked(ours), pytest.raises(Abandoned):
            ours.submit(log.job("never"), ticket).result(0)
        assert log.ran == []


def test_a_job_that_is_shared_is_dropped_when_all_are_gone():
    gate, log, tickets = Gate(), Log(), [Ticket(str(i)) for i in range(3)]

    def parts():
        yield gate
        yield lambda claim: log.ran.append("second")

    with pool() as ours:
        futures = [ours.submit(Job(parts(), lambda: "value"), ticket, key="same") for ticket in tickets]
        gate.wait()
        tickets[0].abandon()
        tickets[2].abandon()
        gate.release.set()
        assert futures[1].result(PATIENCE) == "value"
        assert log.ran == ["second"]
        for gone in (0, 2):
            with pytest.raises(Abandoned):
                futures[gone].result(PATIENCE)


def test_who_comes_after_all_have_gone_gets_a_job_of_his_own():
    gate, ticket = Gate(), Ticket("a")
    with pool() as ours:
        first = ours.submit(Job(iter([gate]), lambda: 1), ticket, key="same")
        gate.wait()
        ticket.abandon()
        second = ours.submit(Job(iter([lambda claim: None]), lambda: 2), Ticket("a"), key="same")
        gate.release.set()
        assert second.result(PATIENCE) == 2
        with pytest.raises(Abandoned):
            first.result(PATIENCE)


def test_a_future_that_is_cancelled_harms_nobody():
    with pool() as ours:
        with blocked(ours):
            cancelled = ours.submit(Log().job("x"), Ticket())
            assert cancelled.cancel()
            fine = ours.submit(Log().job("y"), Ticket())
        assert fine.result(PATIENCE) == "y"
        with pytest.raises(CancelledError):
            cancelled.result(PATIENCE)


def test_too_many_are_refused_and_one_client_cannot_fill_the_queue():
    log = Log()
    with pool(most_waiting=8) as ours:
        with blocked(ours):
            tickets = [Ticket("greedy") for _ in range(2)]
            futures = [ours.submit(log.job("greedy"), ticket) for ticket in tickets]
            with pytest.raises(Busy, match="2 of them yours"):
                ours.submit(log.job("never"), Ticket("greedy"))
            futures += [ours.submit(log.job(str(i)), Ticket(str(i))) for i in range(5)]
            with pytest.raises(Busy, match="8 requests"):
                ours.submit(log.job("never"), Ticket("late"))
            assert ours.refused[LOOKED_AT] == 2
            tickets[0].abandon()
            futures += [ours.submit(log.job("late"), Ticket("late"))]
        for future in futures[1:]:
            future.result(PATIENCE)
    assert sorted(log.ran) == ["0", "1", "2", "3", "4", "greedy", "late"]


def test_a_worker_that_asks_for_more_does_it_itself():
    """Were it to wait for another worker, that one might wait for it."""
    with pool() as ours:

        def outer(array):
            return array + ours.submit(Log().job("inner"), Ticket(), key="in").result(0)

        assert ours.submit(Log().job("outer "), Ticket(), outer).result(PATIENCE) == "outer inner"


def test_times_go_to_every_ticket():
    tickets = [Ticket(str(i)) for i in range(2)]
    with pool() as ours:
        with blocked(ours):
            futures = [
                ours.submit(
                    Job(iter([lambda claim: claim.add("compute", 2.0)] * 3), lambda: 1),
                    ticket,
                    lambda value: value,
                    key="same",
                )
                for ticket in tickets
            ]
        for future, ticket in zip(futures, tickets, strict=True):
            assert future.result(PATIENCE) == 1
            assert ticket.timings["compute"] == 6.0
            assert ticket.timings.keys() == {"queue", "compute", "encode"}


def test_closing_ends_the_threads_and_tells_who_waits():
    ours, gate = Pool(1), Gate()
    running = ours.submit(Job(iter([gate]), lambda: 1), Ticket())
    gate.wait()
    waiting = ours.submit(Log().job("never"), Ticket())
    threads = list(ours._threads.values())
    gate.release.set()
    ours.close()
    assert not any(thread.is_alive() for thread in threads)
    assert waiting.done()
    assert running.done()
    with pytest.raises(Busy, match="ending"):
        ours.submit(Log().job("never"), Ticket())


def test_nothing_is_held_of_what_is_done():
    class Value:
        pass

    ticket = Ticket()
    with pool() as ours:
        future = ours.submit(Job(iter([lambda claim: None]), Value), ticket)
        value = weakref.ref(future.result(PATIENCE))
        del future
        until(lambda: not ours.busy)

        def gone():
            gc.collect()
            return value() is None

        until(gone)
        assert ticket._then == []


def test_threads_without_work_end(monkeypatch):
    monkeypatch.setattr("tiled_spyde.pool._IDLE", 0.01)
    with pool(2) as ours:
        for _ in range(3):
            assert ours.submit(Log().job("x", 4), Ticket()).result(PATIENCE) == "x"
            until(lambda: not ours._threads)
