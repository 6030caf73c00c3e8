"""What fails in the pool: who is told, and that nobody is given anything else; nothing here looks at a clock."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from conftest import until
from test_pool import PATIENCE, Gate, Log, blocked, pool

from tiled_spyde.claims import Job
from tiled_spyde.errors import Busy, ComputeError
from tiled_spyde.pool import Pool
from tiled_spyde.tickets import Ticket


@pytest.mark.parametrize("raised", [ValueError("bad"), KeyboardInterrupt(), SystemExit(2), MemoryError()])
@pytest.mark.parametrize("where", ["part", "later part", "result", "then", "making parts"])
def test_whatever_is_raised_reaches_who_asks_and_the_worker_lives(raised, where):
    def fail(*_):
        raise raised

    def parts():
        yield fail if where == "part" else lambda claim: None
        if where == "making parts" and isinstance(raised, Exception):
            fail()
        yield fail if where in ("later part", "making parts") else lambda claim: None

    expected = {ValueError: ValueError, MemoryError: Busy}.get(type(raised), ComputeError)
    with pool() as ours:
        job = Job(parts(), fail if where == "result" else lambda: 1)
        future = ours.submit(job, Ticket(), fail if where == "then" else None, key="same")
        with pytest.raises(expected):
            future.result(PATIENCE)
        until(lambda: not ours.busy)
        assert ours.submit(Log().job("next"), Ticket(), key="same").result(PATIENCE) == "next"
        assert len(ours._threads) == 1


def test_the_first_failure_drops_the_rest_for_all():
    log = Log()

    def parts():
        yield lambda claim: 1 / 0
        yield lambda claim: log.ran.append("never")

    with pool() as ours:
        with blocked(ours):
            futures = [ours.submit(Job(parts(), lambda: 1), Ticket(str(i)), key="same") for i in range(3)]
        for future in futures:
            with pytest.raises(ZeroDivisionError):
                future.result(PATIENCE)
        assert ours.submit(log.job("next"), Ticket()).result(PATIENCE) == "next"
    assert log.ran == ["next"]


class TestAPartFails:
    """While another part of the same job is at work."""

    @contextmanager
    def held(self):
        """Keep who has failed from saying so, until the other one has ended."""
        failed, release = threading.Event(), threading.Event()

        class Held(Pool):
            def _answer(self, job, error):
                if error is not None:
                    failed.set()
                    assert release.wait(PATIENCE)
                super()._answer(job, error)

        ours, gate = Held(2), Gate()
        try:
            yield ours, gate, failed, release
        finally:
            gate.release.set()
            release.set()
            ours.close()

    def test_nobody_is_given_what_the_others_have_made(self):
        with self.held() as (ours, gate, failed, release):

            def fails(claim):
                gate.wait()
                raise ZeroDivisionError

            parts = iter([lambda claim: gate(Ticket()), fails])
            future = ours.submit(Job(parts, lambda: "half of it"), Ticket())
            assert failed.wait(PATIENCE)
            gate.release.set()
            until(lambda: ours.busy == 1)
            assert not future.done()
            release.set()
            with pytest.raises(ZeroDivisionError):
                future.result(PATIENCE)

    def test_the_times_of_what_is_still_at_work_harm_nobody(self):
        def fails(claim):
            claim.add("read", 1.0)
            raise ZeroDivisionError

        job = Job(iter([fails]), lambda: None)

        class Noting(Ticket):
            def add(self, stage, seconds):
                super().add(stage, seconds)
                job.add(f"{stage} of another part", seconds)

        with pool() as ours:
            future = ours.submit(job, Noting())
            with pytest.raises(ZeroDivisionError):
                future.result(PATIENCE)
