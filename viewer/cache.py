"""Arrays that came, by address, within a number of bytes. No Qt."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from viewer.addresses import Address

CACHE_BYTES = 256 * 1024**2


class Cache:
    """Arrays by address, the least recently used forgotten beyond a number of bytes. Thread-safe."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self.capacity = capacity
        self.used = 0
        self._arrays: OrderedDict[Address, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, address: Address) -> NDArray[Any] | None:
        """Return the array, or None."""
        with self._lock:
            if (array := self._arrays.get(address)) is not None:
                self._arrays.move_to_end(address)
            return array

    def put(self, address: Address, array: NDArray[Any]) -> None:
        """Remember an array; one that is larger than a quarter of the cache is not worth the others."""
        if array.nbytes > self.capacity // 4:
            return
        array.flags.writeable = False
        with self._lock:
            if (old := self._arrays.pop(address, None)) is not None:
                self.used -= old.nbytes
            self._arrays[address] = array
            self.used += array.nbytes
            while self.used > self.capacity:
                self.used -= self._arrays.popitem(last=False)[1].nbytes

    def __contains__(self, address: Address) -> bool:
        with self._lock:
            return address in self._arrays
