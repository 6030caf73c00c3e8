"""Values remembered by content key within a bound of bytes; and what is made of a snapshot once."""

from __future__ import annotations

import ctypes
import math
import sys
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import contextmanager
from functools import wraps
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from numpy.typing import NDArray

    from tiled_spyde.signals import Region

# Of glibc's allocator: heaps for all threads together, what lies free at the end of one before it is given back, and
# from which size on each block is mapped by itself. Frames stay below that: mapping one anew costs 50 µs.
_ALLOCATOR = {-8: 4, -1: 4 << 20, -3: 1 << 20}
# What an entry needs besides its numbers: key, object, place in the dictionary.
_ENTRY_BYTES = 512

_Snapshot = TypeVar("_Snapshot")
_Made = TypeVar("_Made")
_Value = TypeVar("_Value")


def once(make: Callable[[_Snapshot], _Made]) -> Callable[[_Snapshot], _Made]:
    """Have `make` called once for each immutable snapshot, and what it makes held as long as the snapshot."""
    held: WeakKeyDictionary[_Snapshot, _Made] = WeakKeyDictionary()

    @wraps(make)
    def made(snapshot: _Snapshot) -> _Made:
        found = held.get(snapshot)
        if found is None:
            found = held[snapshot] = make(snapshot)
        return found

    return made


def give_back_memory() -> None:
    """Have what is freed given back to the system, where the C library can be told to (glibc).

    By default each thread fills a heap of its own with holes. A process with a cache of 512 MiB grew by 654 MB when
    it read 2000 frames of a 20 GB scan, computed as many and a virtual image; so by 507 MB, and takes no longer.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in _ALLOCATOR.items():
            mallopt(parameter, value)


class Cache:
    """Least-recently-used values within a bound of bytes, safe for use from many threads.

    A value is an array, `bytes`, or whatever says its ``nbytes``: a `DenseMap`. Who has taken one keeps it, also when
    it is dropped here.

    Parameters
    ----------
    limit : int
        Bytes held at most, with what an entry itself needs; 0 holds nothing, but still computes once for many.

    Attributes
    ----------
    size : int
        Bytes held, and needed for a while.
    hits, misses, evictions : int
        How often a value was held (or being computed), was computed, and was dropped for another.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = self.hits = self.misses = self.evictions = 0
        self._held: OrderedDict[Hashable, Any] = OrderedDict()
        self._in_flight: dict[Hashable, Future[Any]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, compute: Callable[[], _Value]) -> _Value:
        """Return the value of `key`, computing it only when nobody has or is.

        Parameters
        ----------
        key : hashable
            Equal keys mean equal bytes.
        compute : callable
            Makes the value. What it raises reaches everyone who waits, and is not remembered.

        Returns
        -------
        object
            An array is read-only: others hold it too.
        """
        with self._lock:
            if (held := self._take(key)) is not None:
                return cast("_Value", held)
            waiting = self._in_flight.get(key)
            if waiting is None:
                self.misses += 1
                mine = self._in_flight[key] = Future()
            else:
                self.hits += 1
        if waiting is not None:
            return cast("_Value", waiting.result())
        return self._compute(key, compute, mine)

    def peek(self, key: Hashable) -> Any | None:
        """Return the value of `key` where it is held, else None; blocks for nobody who computes (about 0.3 µs).

        That it is not held counts as no miss: whoever needs it goes on to `get`.
        """
        with self._lock:
            return self._take(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Hold `value`, which was made elsewhere, as `get` would."""
        _freeze(value)
        with self._lock:
            self._hold(key, value)

    @contextmanager
    def room(self, nbytes: int) -> Iterator[None]:
        """Count memory that is needed for a while as held: what is remembered makes room for it."""
        with self._lock:
            self.size += nbytes
            self._drop()
        try:
            yield
        finally:
            with self._lock:
                self.size -= nbytes

    def bound(self, limit: int) -> None:
        """Hold at most `limit` bytes from now on."""
        with self._lock:
            self.limit = limit
            self._drop()

    def _take(self, key: Hashable) -> Any | None:
        if (held := self._held.get(key)) is not None:
            self._held.move_to_end(key)
            self.hits += 1
        return held

    def _compute(self, key: Hashable, compute: Callable[[], _Value], mine: Future[Any]) -> _Value:
        try:
            value = compute()
            _freeze(value)
        except BaseException as error:
            with self._lock:
                del self._in_flight[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._in_flight[key]
            self._hold(key, value)
        mine.set_result(value)
        return value

    def _hold(self, key: Hashable, value: Any) -> None:
        if _cost(value) > self.limit:
            return
        if (before := self._held.pop(key, None)) is not None:
            self.size -= _cost(before)
        self._held[key] = value
        self.size += _cost(value)
        self._drop()

    def _drop(self) -> None:
        while self.size > self.limit and self._held:
            _, dropped = self._held.popitem(last=False)
            self.size -= _cost(dropped)
            self.evictions += 1


def _cost(value: Any) -> int:
    return (value.nbytes if hasattr(value, "nbytes") else len(value)) + _ENTRY_BYTES


def _freeze(value: Any) -> None:
    if isinstance(value, np.ndarray):
        value.flags.writeable = False


class DenseMap:
    """One value per position, filled in any order: a strided slice first, the rest when it is asked for.

    Parameters
    ----------
    shape : tuple of int
        Navigation shape.
    dtype : numpy.dtype
        Of the values.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.values: NDArray[Any] = np.zeros(shape, dtype)
        self._done = np.zeros(shape, bool)
        self._claimed = np.zeros(shape, bool)
        self._change = Condition()

    def read(self, part: Region, compute: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Return a copy of ``values[part]``, computing what nobody has computed or is computing.

        Parameters
        ----------
        part : tuple of slice
            One per navigation axis.
        compute : callable
            Given positions, shape ``(n, axes)``, returns their ``n`` values. What it raises reaches this
            caller; others who wait for the same positions try themselves.
        """
        while len(mine := self._claim(part)):
            where = tuple(mine.T)
            try:
                values = compute(mine)
            except BaseException:
                self._release(where)
                raise
            self.values[where] = values
            self._release(where, done=True)
        return self.values[part].copy()

    @staticmethod
    def bytes_of(shape: tuple[int, ...], dtype: Any) -> int:
        """Return the memory a map needs, its two masks included."""
        return math.prod(shape) * (int(np.dtype(dtype).itemsize) + 2)

    @property
    def nbytes(self) -> int:
        """Memory of this map."""
        return self.bytes_of(self.values.shape, self.values.dtype)

    def missing(self, part: Region) -> int:
        """Count the positions of `part` that are not computed yet."""
        return int(np.count_nonzero(~self._done[part]))

    def _claim(self, part: Region) -> NDArray[Any]:
        """Positions to compute here; waits while others compute the rest, empty when all is done."""
        with self._change:
            while True:
                done, claimed = self._done[part], self._claimed[part]
                free = ~done & ~claimed
                if free.any() or done.all():
                    claimed |= free  # a view: this claims them
                    return _positions(free, part, self.values.shape)
                self._change.wait()

    def _release(self, where: tuple[NDArray[Any], ...], done: bool = False) -> None:
        with self._change:
            self._claimed[where] = False
            self._done[where] |= done
            self._change.notify_all()


def _positions(inside: NDArray[Any], part: Region, shape: tuple[int, ...]) -> NDArray[Any]:
    """Positions in the whole map of what is True within `part`, shape ``(n, axes)``."""
    found = np.argwhere(inside)
    axes = [np.arange(size)[cut] for size, cut in zip(shape, part, strict=True)]
    return np.stack([axis[found[:, k]] for k, axis in enumerate(axes)], axis=1)
