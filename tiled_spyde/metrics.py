"""What the server says of itself to Prometheus, in tiled's own ``/api/v1/metrics`` and under the right for it.

What happens with each request is counted in plain numbers, which costs it about a microsecond. Once a second they are
brought to prometheus_client, which takes longer, and which adds up several server processes by files that they share.
"""

from __future__ import annotations

import asyncio
import os
import resource
from bisect import bisect_left
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from prometheus_client import Counter, Gauge, Histogram

from tiled_spyde.tickets import Urgency

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.followers import Followers
    from tiled_spyde.previews import Previews

_INTERVAL = 1.0  # seconds
_STAGES = ("queue", "read", "compute", "encode")
_BOUNDS = (
    *(50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0),
)
_WAYS = ("tiled", "lane")
_ENDS = ("stored", "failed", "interrupted")
_SHARED = "PROMETHEUS_MULTIPROC_DIR"


class _Seconds(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add observations, counted by bucket, and their sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


def _counter(name: str, said: str, *labels: str) -> Counter:
    return Counter(f"tiled_spyde_{name}", said, labels)


def _gauge(name: str, said: str, *labels: str) -> Gauge:
    return Gauge(f"tiled_spyde_{name}", said, labels, multiprocess_mode="livesum")


_STAGE = _Seconds(
    "tiled_spyde_stage_seconds", "Time of a request in one stage of its way, in seconds.", ["stage"], buckets=_BOUNDS
)  # fmt: skip
_REQUESTS = _counter("requests", "Answers, by what gave them and the class of their status.", "by", "status")
_SENT = _counter("sent_bytes", "Bytes of answers, without their heads.", "by")
_PROBES = _counter("rights_probes", "Decisions on rights that were asked of tiled, for none was remembered.")
_RESIDENT = _gauge("resident_bytes", "Resident memory of the server processes.")

_HITS = _counter("cache_hits", "Values that were remembered, or being made.")
_MISSES = _counter("cache_misses", "Values that had to be made.")
_EVICTIONS = _counter("cache_evictions", "Values dropped for others.")
_HELD = _gauge("cache_bytes", "Bytes remembered.")
_LIMIT = _gauge("cache_limit_bytes", "Bytes remembered at most.")
_WORKERS = _gauge("pool_workers", "Threads that may work at the same time.")
_BUSY = _gauge("pool_busy", "Threads that work.")
_WAITING = _gauge("pool_waiting", "Requests that nobody works at yet.", "urgency")
_POOL = {
    "started": _counter("pool_started", "Jobs that a worker began.", "urgency"),
    "finished": _counter("pool_finished", "Requests that got what they asked for.", "urgency"),
    "dropped": _counter("pool_dropped", "Requests given up because whoever asked had gone.", "urgency"),
    "refused": _counter("pool_refused", "Requests refused because too many waited.", "urgency"),
}
_FOLLOWERS = _gauge("followers", "Event streams that are open.", "of")
_DERIVED = _counter("previews_derived", "Chains derived that nobody had asked for within a day.")
_REMEMBERED = _gauge("previews_remembered", "Chains whose address needs no look in the database.")
_COMPUTING = _gauge("whole_scans_computing", "Nodes that need a whole scan and are computed now.")
_ENDED = _counter("whole_scans", "Computations over a whole scan, by how they ended.", "ended")
_LOST = _counter("processes_lost", "Child processes that ended by themselves in the middle of a frame.")


class _Tally:
    """What happened since the last time it was brought; written by the event loop only, so without a lock."""

    def __init__(self) -> None:
        self.stages = {stage: [0] * (len(_BOUNDS) + 1) for stage in _STAGES}
        self.seconds = dict.fromkeys(_STAGES, 0.0)
        self.answers = [0] * 12  # six classes of statuses by tiled, six by the lane
        self.sent = [0, 0]
        self.probes = 0


_tally = _Tally()
# What each has counted when it was brought last.
_evaluators: WeakKeyDictionary[Evaluator, dict[Counter, float]] = WeakKeyDictionary()
_previews: WeakKeyDictionary[Previews, int] = WeakKeyDictionary()
_followers: WeakKeyDictionary[Followers, str] = WeakKeyDictionary()
_bringing = Lock()


def answered(timings: Mapping[str, float], lane: bool, status: int, size: int) -> None:
    """Count one answer; on the event loop.

    Parameters
    ----------
    timings : mapping of str to float
        Seconds by stage: those of its ticket.
    lane : bool
        Whether the lane gave it, else tiled.
    status : int
        Of HTTP.
    size : int
        Bytes of the body that was sent.
    """
    tally = _tally
    tally.answers[6 * lane + status // 100] += 1
    tally.sent[lane] += size
    for stage, seconds in timings.items():
        tally.stages[stage][bisect_left(_BOUNDS, seconds)] += 1
        tally.seconds[stage] += seconds


def probed() -> None:
    """Count one decision on rights that tiled was asked for; on the event loop."""
    _tally.probes += 1


def watch(evaluator: Evaluator) -> None:
    """Have the numbers of an evaluator shown as long as there is one."""
    with _bringing:
        _evaluators.setdefault(evaluator, {})


def watch_previews(previews: Previews) -> None:
    """Have the numbers of previews shown as long as there are any."""
    with _bringing:
        _previews.setdefault(previews, 0)


def watch_followers(followers: Followers, of: str) -> None:
    """Have it shown how many follow what, as long as anybody can."""
    with _bringing:
        _followers.setdefault(followers, of)


def bring() -> None:
    """Bring what was counted to prometheus_client; on the event loop."""
    global _tally
    with _bringing:
        tally, _tally = _tally, _Tally()
        _bring_requests(tally)
        measured = dict.fromkeys((_HELD, _LIMIT, _WORKERS, _BUSY, _COMPUTING), 0.0)
        for evaluator, before in _evaluators.items():
            for counter, count in _counted(evaluator):
                counter.inc(count - before.get(counter, 0))
                before[counter] = count
            for gauge, value in _measured(evaluator):
                measured[gauge] = measured.get(gauge, 0.0) + value
        for gauge, value in measured.items():
            gauge.set(value)
        _bring_previews()
        for kind in ("trees", "jobs"):
            _FOLLOWERS.labels(kind).set(sum(len(one) for one, of in _followers.items() if of == kind))
        _RESIDENT.set(_resident())


def _bring_requests(tally: _Tally) -> None:
    for stage, counts in tally.stages.items():
        _STAGE.labels(stage).add(counts, tally.seconds[stage])
    for lane, way in enumerate(_WAYS):
        for status in range(1, 6):
            _REQUESTS.labels(way, f"{status}xx").inc(tally.answers[6 * lane + status])
        _SENT.labels(way).inc(tally.sent[lane])
    _PROBES.inc(tally.probes)


def _bring_previews() -> None:
    for previews, before in list(_previews.items()):
        derived = previews.derived
        _DERIVED.inc(derived - before)
        _previews[previews] = derived
    _REMEMBERED.set(sum(previews.remembered for previews in _previews))


def _counted(evaluator: Evaluator) -> Iterator[tuple[Counter, float]]:
    """Yield what an evaluator has counted from its beginning on."""
    cache, pool = evaluator.cache, evaluator.pool
    yield from ((_HITS, cache.hits), (_MISSES, cache.misses), (_EVICTIONS, cache.evictions))
    yield _LOST, evaluator.processes.lost
    yield from ((_ENDED.labels(how), evaluator.wholes.ended[how]) for how in _ENDS)
    for name, counter in _POOL.items():
        counts = getattr(pool, name)
        yield from ((counter.labels(urgency.name.lower()), counts[urgency]) for urgency in Urgency)


def _measured(evaluator: Evaluator) -> Iterator[tuple[Gauge, float]]:
    """Yield what is the case with an evaluator now."""
    cache, pool = evaluator.cache, evaluator.pool
    yield from ((_HELD, cache.size), (_LIMIT, cache.limit), (_WORKERS, pool.workers), (_BUSY, pool.busy))
    yield _COMPUTING, evaluator.wholes.computing
    waiting = pool.waiting
    yield from ((_WAITING.labels(urgency.name.lower()), waiting[urgency]) for urgency in Urgency)


def _resident() -> int:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


async def keep_bringing() -> None:
    """Bring what was counted once a second, and when this is cancelled."""
    _forget_the_dead()
    try:
        while True:
            bring()
            await asyncio.sleep(_INTERVAL)
    finally:
        bring()


@contextmanager
def shared() -> Iterator[None]:
    """Have the processes that are started inside add up their numbers; they see it in their environment."""
    if os.environ.get(_SHARED):
        yield
        return
    with TemporaryDirectory(prefix="tiled-spyde-metrics-") as folder:
        os.environ[_SHARED] = folder
        try:
            yield
        finally:
            del os.environ[_SHARED]


def _forget_the_dead() -> None:
    """Take processes that have ended out of what is the case now: whoever follows one does. What they counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    for file in Path(os.environ.get(_SHARED) or os.devnull).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(file.parent))  # type: ignore[no-untyped-call]
        except OSError:
            pass  # another's
