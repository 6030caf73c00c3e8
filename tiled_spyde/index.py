"""Which sources there are below the served folders, and what is in them: found and kept while serving goes on.

One thread looks at the folders and compares what is there with what is remembered; what is new or has
changed is looked at in child processes, as soon as it is finished.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from tiled_spyde.sources.probing import Probing, Request
from tiled_spyde.sources.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tiled_spyde.sources import Source
    from tiled_spyde.sources.files import File
    from tiled_spyde.sources.finding import Members
    from tiled_spyde.sources.probe import Limits

logger = logging.getLogger(__name__)

_BATCH = 0.5  # seconds between two batches
_SHARE = 20  # of the time, folders are looked at for no more than a 20th
_PATIENCE = 5  # times as long as a readable file must an unreadable one be left alone to be called so
_FIRST_ANSWERS = 1.5  # seconds that a start leaves to those who wait for it, where enough is known to answer
_AGAIN = 600.0  # seconds after which what took too long is looked at again
_REFUSED = 10.0  # seconds after which a batch that was not taken is offered again
_MOST_LOST = 5000  # sources that are gone but may come back with their folder

State = dict[str, tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the index is.

    Parameters
    ----------
    done, of : int
        Sources that are known, of those that were found and are not being written.
    scanning : bool
        The folders have not all been listed yet, so that `of` is not final.
    """

    done: int
    of: int
    scanning: bool


@dataclass(slots=True)
class _Awaited:
    """A source that is new or has changed."""

    state: State
    since: float
    due: float
    grew: bool = False
    asked: bool = False


class Index:
    """Watches folders, and says what appears in them, changes and goes.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        What is served: folders, and sources by themselves.
    known : mapping of pathlib.Path to Source
        What is remembered from before; read in the index's thread. What has not changed is not looked at again.
    update : callable
        Given what is new, in batches: a source that appeared or changed, None for one that is gone. Called in
        the index's thread only; a batch for which it raises is offered again later, with what is newer.
    settle : float
        Seconds for which a file must have been left alone to be taken for finished.
    interval : float
        Seconds between two looks at the folders, at least.
    limits : Limits or None
        What looking at one file may take.
    apart : bool
        Sources may not lead from one served folder into another: not everyone may read both.
    tell : callable, optional
        Told of the progress whenever there is some.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        known: Mapping[Path, Source],
        update: Callable[[Mapping[Path, Source | None]], None],
        *,
        settle: float = 2.0,
        interval: float = 1.0,
        limits: Limits | None = None,
        apart: bool = False,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.progress = Progress(len(known), len(known), True)
        self._tell = tell
        self._update = update
        self._settle = settle
        self._interval = interval
        served = [Path(path).absolute() for path in paths]
        # Beside a file that is served by itself stand those that belong to it.
        beside = [path if path.is_dir() else path.parent for path in served]
        self._watch = Watch(served, settle, interval)
        self._found = len(known)
        self._remembered = known
        self._known: dict[str, Source] = {}
        self._awaited: dict[str, _Awaited] = {}
        self._missing: dict[str, float] = {}
        self._lost: OrderedDict[str, Source] = OrderedDict()
        self._changes: dict[Path, Source | None] = {}
        self._next_batch = 0.0
        self._answers: SimpleQueue[tuple[Request, Source] | None] = SimpleQueue()
        self._probing = Probing(lambda *answer: self._answers.put(answer), limits, beside, apart)
        self._stopped = False
        self._thread = Thread(target=self._run, name="index", daemon=True)

    def start(self) -> None:
        """Begin, unless it has; returns at once."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """End, and end the child processes."""
        self._stopped = True
        self._answers.put(None)
        self._probing.close()
        if self._thread.is_alive():
            self._thread.join(5)  # a network drive that is gone may hold it up for good

    def _run(self) -> None:
        self._recall()
        next_look = 0.0
        while not self._stopped:
            try:
                if time.monotonic() >= next_look:
                    began = time.monotonic()
                    next_look = began + self._interval
                    self._look()
                    next_look = max(next_look, began + _SHARE * (time.monotonic() - began))
                self._hand_over()
                self._take(min(next_look, self._next_batch if self._changes else next_look))
            except Exception:
                logger.exception("The index of sources failed, and goes on")

    def _recall(self) -> None:
        if self._remembered:
            self._take(time.monotonic() + _FIRST_ANSWERS)
        for path in self._remembered:
            try:
                self._known[str(path)] = self._remembered[path]
            except Exception:
                logger.exception("What is remembered of %r cannot be used", path)
        self._remembered = {}

    def _look(self) -> None:
        """Look at the folders, and compare."""
        seen = self._watch.look(self._unsettled())
        for path, members in seen.listed.items():
            self._compare(path, members)
        for path in self._awaited.keys() - seen.present:
            del self._awaited[path]
        self._miss(self._known.keys() - seen.present)
        self._found = len(seen.present)
        self._say_progress()

    def _unsettled(self) -> set[str]:
        """Return the folders to be listed at the next look, for what is awaited in them."""
        soon = time.monotonic() + self._settle + self._interval
        paths = [path for path, awaited in self._awaited.items() if not awaited.asked and awaited.due < soon]
        return {os.path.dirname(path) for path in paths}.union(paths)

    def _compare(self, path: str, members: Members) -> None:
        if (known := self._known.get(path)) is not None and _is_still(known, members):
            self._awaited.pop(path, None)
        elif (lost := self._lost.get(path)) is not None and _is_still(lost, members):
            self._remember(path, lost)
        else:
            self._await(path, members)

    def _await(self, path: str, members: Members) -> None:
        state, now = _state(members), time.monotonic()
        awaited = self._awaited.get(path)
        if awaited is None or awaited.state != state:
            due = now if _left_alone(state) >= self._settle else now + self._settle
            awaited = self._awaited[path] = _Awaited(state, now, due, awaited is not None)
        if not awaited.asked and awaited.due <= now:
            awaited.asked = True
            self._probing.ask(Request(-_last_change(state), Path(path), tuple(map(Path, members))))

    def _miss(self, paths: Iterable[str]) -> None:
        """Let sources go when they have been gone for as long as a new one must have been there."""
        now = time.monotonic()
        self._missing = {path: self._missing.get(path, now) for path in paths}
        for path, since in list(self._missing.items()):
            if now - since >= self._settle:
                self._lost[path] = self._known.pop(path)
                self._changes[Path(path)] = None
        while len(self._lost) > _MOST_LOST:
            self._lost.popitem(last=False)

    def _take(self, until: float) -> None:
        """Wait for an answer, and take it."""
        with suppress(Empty):
            answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            if answer is not None:
                self._judge(str(answer[0].path), answer[1])

    def _judge(self, path: str, source: Source) -> None:
        """Remember an answer if it is about what is there, and finished."""
        awaited = self._awaited.get(path)
        if awaited is None or not awaited.asked:
            return  # it is gone, or has changed since
        now = time.monotonic()
        patience = _PATIENCE * self._settle
        alone = max(_left_alone(awaited.state), now - awaited.since)
        if not _agrees(source, awaited.state):
            awaited.asked, awaited.due = False, now + self._settle
        elif source.error and alone < patience:  # perhaps it is only half there
            awaited.asked, awaited.due = False, now + patience - alone
        elif not source.files:  # nothing is known of it but that it took too long
            self._remember(path, source)
            self._awaited[path] = _Awaited(awaited.state, awaited.since, now + _AGAIN)
        else:
            self._remember(path, source)

    def _remember(self, path: str, source: Source) -> None:
        if source.error:
            logger.warning("%s", source.error)
        source = source.following(self._known.get(path) or self._lost.get(path))
        self._awaited.pop(path, None)
        self._lost.pop(path, None)
        self._known[path] = source
        self._changes[Path(path)] = source

    def _hand_over(self) -> None:
        if not self._changes or time.monotonic() < self._next_batch:
            return
        batch, self._changes = self._changes, {}
        try:
            self._update(batch)
            self._next_batch = time.monotonic() + _BATCH
            self._say_progress()
        except Exception:
            logger.exception("What the index found was not taken; it will be offered again")
            self._changes = batch | self._changes
            self._next_batch = time.monotonic() + _REFUSED

    def _say_progress(self) -> None:
        growing = sum(awaited.grew and path not in self._known for path, awaited in self._awaited.items())
        waiting = sum(
            awaited.asked or (path not in self._known and not awaited.grew)
            for path, awaited in self._awaited.items()
        )
        of = self._found - growing
        progress = Progress(max(0, of - waiting - len(self._changes)), of, False)
        if progress != self.progress:
            self._tell(progress)
        self.progress = progress


def _is_still(source: Source, members: Members) -> bool:
    """Whether `source` is what is there: all its files are the same, and none has come to it."""
    files = {str(file.path): file for file in source.files}
    return bool(files) and members.keys() <= files.keys() and all(_matches(f, members) for f in source.files)


def _matches(file: File, members: Members) -> bool:
    try:
        return file.matches(members.get(str(file.path)) or os.stat(file.path))
    except OSError:
        return False


def _state(members: Members) -> State:
    return {
        path: (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        for path, found in members.items()
    }


def _agrees(source: Source, state: State) -> bool:
    """Whether `source` is about the files as they are in `state`."""
    seen = {str(file.path): (file.size, file.mtime_ns, file.ctime_ns, file.inode) for file in source.files}
    return all(state[path] == stamp for path, stamp in seen.items() if path in state)


def _last_change(state: State) -> float:
    """Return the time of the last change: programs that copy set the time of the last write back, not this one."""
    return max((max(stamp[1:3]) / 1e9 for stamp in state.values()), default=0.0)


def _left_alone(state: State) -> float:
    return time.time() - _last_change(state)
