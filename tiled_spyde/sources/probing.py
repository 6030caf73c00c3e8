"""Threads that have files looked at, each in a child process of its own, as long as there are any."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, PriorityQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING

from tiled_spyde.sources.probe import Limits, Probe, ProbeError
from tiled_spyde.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

_PAUSE = 10.0  # seconds before a child that did not start is tried again


@dataclass(order=True, frozen=True, slots=True)
class Request:
    """One source to be looked at; the smallest `order` comes first.

    Parameters
    ----------
    order : float
        Of use are times: the newest file first.
    path : pathlib.Path
        Absolute.
    members : tuple of pathlib.Path
        What belongs to it, as far as it lies beside it.
    """

    order: float
    path: Path
    members: tuple[Path, ...] = field(default=(), compare=False)


_WAKE_UP = Request(-math.inf, Path())


class Probing:
    """Looks at sources in child processes. None runs when there has been nothing to look at for a while.

    Parameters
    ----------
    found : callable
        Given a request and what was found, in any thread.
    limits : Limits
        What one file may take.
    served : sequence of pathlib.Path
        The served folders: no source leads out of them.
    apart : bool
        Nor from one of them into another.
    most : int
        Child processes at a time.
    idle : float
        Seconds after which a child without work is ended.
    """

    def __init__(
        self,
        found: Callable[[Request, Source], None],
        limits: Limits | None = None,
        served: Sequence[Path] = (),
        apart: bool = False,
        most: int = 2,
        idle: float = 30.0,
    ) -> None:
        self._found = found
        self._limits = limits
        self._served = served
        self._apart = apart
        self._most = most
        self._idle = idle
        self._requests: PriorityQueue[Request] = PriorityQueue()
        self._lock = Lock()
        self._probes: set[Probe] = set()
        self._free = 0
        self._closed = False

    def ask(self, request: Request) -> None:
        """Have a source looked at."""
        with self._lock:
            self._requests.put(request)
            wanted = self._requests.qsize() > self._free and len(self._probes) < self._most
            if wanted and not self._closed:
                probe = Probe(self._limits, self._served, self._apart)
                self._probes.add(probe)
                Thread(target=self._work, args=(probe,), name="probe", daemon=True).start()

    def close(self) -> None:
        """End all children; what was asked and is not answered yet never will be."""
        with self._lock:
            self._closed = True
            probes = list(self._probes)
        for probe in probes:
            probe.close()
            self._requests.put(_WAKE_UP)

    def _work(self, probe: Probe) -> None:
        try:
            while (request := self._next(probe)) is not None:
                self._look(probe, request)
        finally:
            probe.close()

    def _next(self, probe: Probe) -> Request | None:
        """Return the next request, None when this thread is to end."""
        with self._lock:
            self._free += 1
        try:
            request = None if self._closed else self._requests.get(timeout=self._idle)
        except Empty:
            request = None
        with self._lock:
            self._free -= 1
            if request is None and not self._closed and not self._requests.empty():
                request = self._requests.get_nowait()  # it came between
            if request is None or self._closed:
                self._probes.discard(probe)
                return None
        return request

    def _look(self, probe: Probe, request: Request) -> None:
        try:
            source = probe.look(request.path, request.members)
        except ProbeError as error:
            if self._closed:
                return
            logger.warning("%s Trying again in %g s.", error, _PAUSE)
            time.sleep(_PAUSE)
            self._requests.put(request)
        except Exception:
            logger.exception("Looking at %r failed", request.path)
            self._found(request, Source.failed(request.path, "the server failed to look at it; see its log."))
        else:
            self._found(request, source)
