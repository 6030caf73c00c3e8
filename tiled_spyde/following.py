"""One process looks through the folders, the others take over what it writes; all hear of each other's changes."""

from __future__ import annotations

import logging
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from tiled_spyde.errors import StorageFull, Unavailable
from tiled_spyde.index import Index, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiled_spyde.catalog import Catalog
    from tiled_spyde.marks import Turn

logger = logging.getLogger(__name__)

_INTERVAL = 0.25  # seconds between two looks at what others changed, where nothing is heard of it
_GRACE = 2.0  # seconds that the thread has to end


class Following:
    """Keeps a catalogue up to date: with the folders, or with the process that looks at them.

    Whichever process of this machine comes first looks; when it ends, another one does.

    Parameters
    ----------
    catalog : Catalog
    index : callable
        Makes the index when it is this process's turn, given what is to be told of its progress.
    turn : Turn
        Shared by those who serve the same folders from the same database.
    taken_over : callable
        Called after something was taken over.
    heard : callable
        Looks, in a microsecond, for what other processes tell of and no database does.
    await_news : callable
        Waits for so many seconds, less where somebody tells of a change, or until the event: `Database.await_news`.
    """

    def __init__(
        self,
        catalog: Catalog,
        index: Callable[[Callable[[Progress], None]], Index],
        turn: Turn,
        taken_over: Callable[[], None],
        heard: Callable[[], None],
        await_news: Callable[[float, Event], None],
    ) -> None:
        self._catalog = catalog
        self._make_index = index
        self._turn = turn
        self._taken_over = taken_over
        self._heard = heard
        self._await_news = await_news
        self._index: Index | None = None
        self._ended = Event()
        self._taking = Lock()
        self._told = ""
        self._thread = Thread(target=self._run, name="following", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far the index is, whichever process it runs in."""
        if self._index is not None:
            return self._index.progress
        try:
            done, of, scanning = map(int, self._turn.read().split())
        except ValueError:  # nobody has begun
            known = len(self._catalog.known)
            return Progress(known, known, True)
        return Progress(done, of, bool(scanning))

    def start(self) -> None:
        """Begin, unless it has; returns at once."""
        if self._thread.ident is None:
            self._take_turn()
            self._thread.start()

    def stop(self) -> None:
        """End, and let another process look at the folders."""
        self._ended.set()
        with self._taking:
            if self._index is not None:
                self._index.stop()
                self._turn.give_back()
        if self._thread.is_alive():
            self._thread.join(_GRACE)  # a database that does not answer may hold it up

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._await_news(_INTERVAL, self._ended)
                self._heard()
                if self._index is None:
                    self._take_turn()
                if self._catalog.follow():
                    self._taken_over()
                self._told = ""
            except (Unavailable, StorageFull) as error:
                if self._told != str(error):
                    logger.warning("What other processes change is not seen: %s", error)
                self._told = str(error)
            except Exception:
                logger.exception("Following the database failed, and goes on")

    def _take_turn(self) -> None:
        with self._taking:
            if not self._ended.is_set() and self._turn.take():
                index = self._make_index(self._tell)
                self._tell(index.progress)
                self._index = index
                index.start()

    def _tell(self, progress: Progress) -> None:
        self._turn.write(b"%d %d %d" % (progress.done, progress.of, progress.scanning))
