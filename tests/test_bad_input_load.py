"""More than the server can do, and clients that leave: the others get what they asked for, and nothing stays behind."""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from threading import Event, Lock, Semaphore, Thread

import numpy as np
import pytest
import source_files as write
from conftest import serving, until
from raw_http import RAW, Wire, request
from scipy.ndimage import gaussian_filter

from tiled_spyde.tickets import Ticket, Urgency

TREE = "scan.hspy/signal"
SCAN = np.random.default_rng(3).integers(0, 4000, (40, 24, 32, 32), "u2")
WORKERS = 3
SIGMA = 2.0
NODES = {
    TREE: [
        {"name": name, "operation": "gaussian_filter", "parameters": {"sigma": SIGMA + i / 100}}
        for i, name in enumerate(("smooth", "held", "other"))
    ]
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    write.write_hspy(folder / "scan.hspy", SCAN, 2, chunks=(1, 4, 32, 32), compression="gzip", title="signal")
    with serving([folder], trees=NODES, arguments={"workers": WORKERS, "cache_mb": 4}) as service:
        for name in ("root", "smooth", "held", "other"):
            until(lambda: service.get(f"/api/v1/metadata/{TREE}/{name}").status_code == 200)  # noqa: B023
            assert service.get(address(name, "0:0")).status_code == 200  # its right is known from here on
        yield service


def address(name, part):
    return f"/api/v1/array/full/{TREE}/{name}?slice={part}&{RAW}"


def evaluator(served):
    return served.root.lane.bodies._evaluator


def smooth(index):
    return gaussian_filter(SCAN[index].astype("f4"), SIGMA).tobytes()


def held():
    """What a process holds: descriptors, and threads but for those of pools, which are kept for the next."""
    kept = ("AnyIO", "pool", "asyncio")
    threads = [thread.name for thread in threading.enumerate() if not thread.name.startswith(kept)]
    return len(os.listdir("/proc/self/fd")), len(threads)


def claims():
    """Tickets of requests that somebody still refers to."""
    gc.collect()
    return sum(type(found) is Ticket for found in gc.get_objects())


@pytest.fixture
def nothing_left(served):
    """After a test nothing is held that was not before."""
    served.get(address("root", "0,0"))
    before, claimed = held(), claims()
    yield
    pool = evaluator(served).pool
    until(lambda: not pool.busy and not any(pool.waiting) and not pool._open and not pool._jobs)
    until(lambda: not evaluator(served).cache._in_flight)
    until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
    until(lambda: claims() <= claimed)
    assert served.get(address("smooth", "1,1")).content == smooth((1, 1))


@contextmanager
def function_of(served, name, function):
    """Have the function of a node replaced; gives what it was."""
    from tiled_spyde.snapshot import SourceFile

    file = served.root.lane.snapshot().entries["scan.hspy"]
    assert isinstance(file, SourceFile)
    recipe = file.trees["signal"].recipes[name]
    before = recipe.function
    recipe.__dict__["function"] = function
    try:
        yield before
    finally:
        recipe.__dict__["function"] = before


def leave(served, target):
    """Ask, take a random part of the answer or none, and go: politely, or not."""
    dice = random.Random(target)  # noqa: S311
    host, _, port = served.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        if dice.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw = request(target)
        connection.sendall(raw[: dice.randrange(20, len(raw))] if dice.random() < 0.1 else raw)
        if dice.random() < 0.5:
            connection.settimeout(0.05)
            with suppress(OSError):
                connection.recv(dice.randrange(1, 5000))


def test_hundreds_who_leave_do_not_disturb_those_who_stay(served, nothing_left):
    dice = random.Random(11)  # noqa: S311
    parts = ["{y},{x}", "{y},{x}", "{y}:{z},{x}", "{y},:", "{y},{x},::-1"]
    targets = [
        address(
            dice.choice(["root", "smooth"]), dice.choice(parts).format(y=y, x=dice.randrange(24), z=y + 3)
        )
        for y in (dice.randrange(17) for _ in range(350))
    ] + [f"/zarr/v3/{TREE}/smooth/c/{dice.randrange(20)}/{dice.randrange(24)}/0/0" for _ in range(150)]
    over, right, failures = Event(), Counter(), []

    def stay(number):
        mine = random.Random(number)  # noqa: S311
        with Wire(served.url) as wire:
            while not (over.is_set() and right[number]):
                index = mine.randrange(20), mine.randrange(24)
                answer = wire.ask(request(address("smooth", f"{index[0]},{index[1]}")))
                if (answer.status, answer.body) == (200, smooth(index)):
                    right[number] += 1
                else:
                    failures.append((answer.status, answer.headers))
                    return

    people = [Thread(target=stay, args=(number,)) for number in range(3)]
    for person in people:
        person.start()
    try:
        with ThreadPoolExecutor(8) as leaving:
            list(leaving.map(partial(leave, served), targets))
    finally:
        over.set()
        for person in people:
            person.join()
    assert failures == []
    assert min(right[number] for number in range(3)) > 0


class Gate:
    """A function that lets its calls through one by one, and counts those that wait at it."""

    def __init__(self):
        self.waiting = self.passed = 0
        self.before = None
        self._tokens, self._open, self._lock = Semaphore(0), Event(), Lock()

    def __call__(self, frame):
        with self._lock:
            self.waiting += 1
        while not self._open.is_set() and not self._tokens.acquire(timeout=0.02):
            pass
        with self._lock:
            self.waiting -= 1
            self.passed += 1
        return self.before(frame)

    def pass_one(self):
        self._tokens.release()

    def open(self):
        self._open.set()


@contextmanager
def gated(served):
    gate = Gate()
    with function_of(served, "held", gate) as gate.before:
        try:
            yield gate
        finally:
            gate.open()


@contextmanager
def asking(served, targets, *headers):
    """One connection for each of `targets`, which has been asked."""
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(served.url)) for _ in targets]
        for wire, target in zip(wires, targets, strict=True):
            wire.send(request(target, *headers))
        yield wires


@pytest.mark.parametrize("urgency", ["u=6", "u=5"])
def test_one_who_asks_for_all_at_once_does_not_starve_who_looks(served, nothing_left, urgency):
    """A frame that is looked at waits for what runs already, not for the 64 that came before it."""
    targets = [address("held", f"{n // 24 + (10 if urgency == 'u=5' else 0)},{n % 24}") for n in range(64)]
    pool, looked = evaluator(served).pool, 10
    answers = []

    def look():
        with Wire(served.url) as wire:
            for x in range(looked):
                answers.append(
                    wire.ask(request(address("other", f"{19 - (urgency == 'u=5')},{x}"), "Priority: u=1"))
                )

    with gated(served) as gate, asking(served, targets, f"Priority: {urgency}") as wires:
        until(lambda: gate.waiting and sum(map(len, pool._open.values())) == 64)
        person = Thread(target=look)
        person.start()
        let = 0
        while person.is_alive():
            # Only while a frame that is looked at waits: how long its client thinks says nothing.
            if gate.waiting == pool.workers and pool.waiting[Urgency.LOOKED_AT]:
                have = gate.passed
                gate.pass_one()
                let += 1
                until(lambda: gate.passed > have)  # noqa: B023
            person.join(0.002)
        assert let <= 2 * looked + WORKERS
        assert gate.passed <= let + WORKERS
        gate.open()
        assert [wire.receive().status for wire in wires] == [200] * 64
    assert [answer.status for answer in answers] == [200] * looked


def test_who_asks_for_more_than_may_wait_is_told_to_come_again(served, nothing_left):
    pool = evaluator(served).pool
    allowed, too_many = pool.most_waiting // 4, 30
    targets = [address("held", f"{n // 24 + 20},{n % 24}") for n in range(allowed + too_many)]
    refused = sum(pool.refused)
    with gated(served) as gate, asking(served, targets, "Priority: u=2") as wires:
        until(lambda: sum(pool.refused) == refused + too_many)
        # All the others wait: nobody has been refused in vain.
        assert sum(map(len, pool._open.values())) == allowed
        gate.open()
        answers = [wire.receive() for wire in wires]
        assert Counter(answer.status for answer in answers) == {200: allowed, 503: too_many}
        for wire, target, answer in zip(wires, targets, answers, strict=True):
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) > 0
                assert b"again" in answer.body
                assert wire.ask(request(target)).status == 200


def test_what_nobody_waits_for_is_not_computed(served, nothing_left):
    pool = evaluator(served).pool
    targets = [address("held", f"{n // 24 + 17},{n % 24}") for n in range(60)]
    dropped = sum(pool.dropped)
    with gated(served) as gate:
        with asking(served, targets):
            until(lambda: gate.waiting and sum(map(len, pool._open.values())) == 60)
        until(lambda: sum(pool.dropped) == dropped + 60)
        assert gate.passed == 0
        begun = gate.waiting
        gate.open()
        until(lambda: not gate.waiting)
        assert gate.passed == begun <= WORKERS
