"""Fetching without waiting: worker threads, the newest wins.

The path of one frame through here:

1. The GUI thread asks for a view's slice (`Fetcher.ask`). It becomes the view's one pending request;
   an older one that no worker has taken is forgotten.
2. A worker of that view takes it as soon as fewer requests are on the way than the window allows, reads
   and decodes it, and puts the array into the cache. What is cached does not wait for the window.
3. The same worker makes it ready for painting, and one Qt signal brings the answer to the GUI thread.
4. There an answer that is older than the last one is discarded. Nothing is cancelled while a crosshair
   moves: with cancelling on every event no frame would ever arrive. Another node cancels (`drop`).

Each view has its own workers, so a navigator that takes a minute never delays a frame.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore

from viewer.addresses import locate
from viewer.cache import CACHE_BYTES, Cache
from viewer.errors import Garbled, ServiceError, Unreachable
from viewer.lanes import Answer, Job, Lane
from viewer.pace import MOST_IN_FLIGHT, AdaptiveWindow, Distance
from viewer.trials import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from viewer.lanes import Read
    from viewer.view_state import Request

    Then = Callable[[Any, ServiceError | None], None]

SLOW_JOIN_SECONDS = 2.0
# Who waits for the interpreter lock gets it after so long: by default 5 ms, several times for each of many pictures.
SWITCH_SECONDS = 0.001


class Fetcher(QtCore.QObject):
    """All that is fetched for one window. Its methods are for the GUI thread, and none of them blocks.

    Parameters
    ----------
    read : callable
        Address, call → what came; called in worker threads.
    cache_bytes : int
        Bound of the cache.
    """

    answered = QtCore.Signal(object)
    _done = QtCore.Signal(object)

    def __init__(self, read: Read, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__()
        self.cache = Cache(cache_bytes)
        self.distance = Distance()
        self._read = read
        self._lanes: dict[str, Lane] = {}
        self._sequence = 0
        self._newest: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._requests: dict[str, Request | Trial] = {}
        self._thens: dict[int, Then] = {}
        self._calls: deque[tuple[str, int, Callable[[], Any]]] = deque()
        self._called = threading.Condition()
        self._caller: threading.Thread | None = None
        self._closed = False
        sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))
        self._done.connect(self._arrive, QtCore.Qt.ConnectionType.QueuedConnection)

    def ask(
        self, view: str, request: Request | Trial, work: Callable[[NDArray[Any]], Any], wait: float = 0.0
    ) -> int:
        """Fetch a slice for a view; what the view asked before and no worker took is forgotten.

        Parameters
        ----------
        view : str
            Who asks; each view has workers of its own.
        request : Request or Trial
            What to fetch; a trial outdates those before it.
        work : callable
            What to make of the array, in the worker thread.
        wait : float
            Seconds for which the service is not asked, where what is cached will not do.

        Returns
        -------
        int
            Sequence number that the answer will carry.
        """
        self._sequence += 1
        if self._closed:
            return self._sequence
        self._asked[view], self._requests[view] = self._sequence, request
        now, alone = perf_counter(), isinstance(request, Trial)
        self._lane(view).ask(Job(self._sequence, request, *locate(request), work, now, now + wait, alone))
        return self._sequence

    def ahead(self, view: str, requests: Iterable[Request], turned: bool = False) -> None:
        """Fetch these into the cache when the view asks for nothing else.

        Parameters
        ----------
        view : str
            Who may ask for them next.
        requests : iterable of Request
            The most likely first; they replace those given before.
        turned : bool
            True where what is already on the way leads elsewhere.

        While other views wait for as much already, nothing is: of several pictures of each position, those of the
        next ones would take the time of this one's.
        """
        if self._closed:
            return
        others = sum(lane.on_the_way for name, lane in self._lanes.items() if name != view)
        wanted = requests if others < MOST_IN_FLIGHT // 2 else ()
        self._lane(view).ahead([locate(request)[0] for request in wanted], turned)

    def drop(self, view: str) -> None:
        """Cancel whatever is under way for a view: its node, its parameters or its window changed."""
        self._newest[view] = self._sequence
        self._asked.pop(view, None)
        self._lane(view).drop()

    def call(self, name: str, function: Callable[[], Any], then: Then | None = None) -> int:
        """Run `function` in a thread; calls run one after the other, none is forgotten.

        Parameters
        ----------
        name : str
            Who calls.
        function : callable
            What to do in the calling thread.
        then : callable, optional
            Gets the value and the error in the GUI thread, after everybody who listens to `answered`.

        Returns
        -------
        int
            Sequence number that the answer will carry.
        """
        self._sequence += 1
        if then is not None:
            self._thens[self._sequence] = then
        with self._called:
            self._calls.append((name, self._sequence, function))
            if self._caller is None:
                self._caller = threading.Thread(target=self._call_all, name="viewer-calls", daemon=True)
                self._caller.start()
            self._called.notify()
        return self._sequence

    def busy(self, view: str) -> bool:
        """Return True while the newest request of a view has no answer."""
        return self._asked.get(view, 0) > self._newest.get(view, 0)

    def wanted(self, view: str) -> Request | Trial | None:
        """Return the newest request of a view while it has no answer."""
        return self._requests[view] if self.busy(view) else None

    def free(self, view: str) -> bool:
        """Return True where a view's next request waits for none of its others."""
        return self._lane(view).free

    def is_newest(self, answer: Answer) -> bool:
        """Return True while its view has asked for nothing since."""
        return self._asked.get(answer.view) == answer.sequence

    def window(self, view: str) -> AdaptiveWindow:
        """Return what bounds a view's requests on the way."""
        return self._lane(view).window

    def close(self) -> None:
        """End all workers; a worker that waits for a hung server is left behind after a moment."""
        self._closed = True
        with self._called:
            self._called.notify_all()
        for lane in self._lanes.values():
            lane.close()
        deadline = perf_counter() + SLOW_JOIN_SECONDS
        for lane in self._lanes.values():
            lane.join(deadline)
        if self._caller is not None:
            self._caller.join(max(0.0, deadline - perf_counter()))

    def _lane(self, view: str) -> Lane:
        if view not in self._lanes:
            self._lanes[view] = Lane(view, self._read, self.cache, self.distance, self._deliver)
        return self._lanes[view]

    def _call_all(self) -> None:
        while True:
            with self._called:
                while not self._calls and not self._closed:
                    self._called.wait()
                if self._closed:
                    return
                name, sequence, function = self._calls.popleft()
            started = perf_counter()
            try:
                answer = Answer(name, sequence, None, function())
                self.distance.record(perf_counter() - started)
            except ServiceError as error:
                answer = Answer(name, sequence, None, error=error)
            except Exception as error:  # a fault of ours: the thread must live on
                answer = Answer(name, sequence, None, error=Garbled(f"{name} failed: {error!r}."))
            self._deliver(answer)

    def _deliver(self, answer: Answer) -> None:
        """In a worker thread: hand over to the GUI thread."""
        if not self._closed:
            self._done.emit(answer)

    def _arrive(self, answer: Answer) -> None:
        """In the GUI thread: pass on what is newer than all before."""
        if self._closed:
            return
        if answer.request is not None:
            newest = self._newest.get(answer.view, 0)
            stale = answer.sequence < self._asked.get(answer.view, 0) and answer.error is not None
            if answer.sequence <= newest or (stale and not isinstance(answer.error, Unreachable)):
                return
            self._newest[answer.view] = answer.sequence
        self.answered.emit(answer)
        if (then := self._thens.pop(answer.sequence, None)) is not None:
            then(answer.value, answer.error)
