"""Computed nodes on disk, by content key: whole or not at all, and looked over before they are believed.

A node is a folder with ``data.npy`` (little-endian, C order) and ``node.json`` (axes, and the digest of the data). It
is written beside its place and put there by one rename. Beside them, in ``.work``, stands what is under way.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import time
import weakref
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import StorageFull, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tiled_spyde.signals import Index, SignalInfo

_DATA, _NODE, _WORK, _PARTIAL = "data.npy", "node.json", ".work", "partial"
_FORMAT = 1
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What nobody has touched for so long, in seconds: left by a process that was killed in the middle of writing, or of
# computing.
_LEFT_WRITING, _LEFT_COMPUTING = 3600.0, 30 * 86_400.0
_SLICE = 1 << 24


class Store:
    """Computed nodes in a folder, which several processes may share; the least recently opened go first.

    Parameters
    ----------
    folder : pathlib.Path or None
        Made when something is to be written. None: one that goes with this object.
    limit : int
        Bytes held at most.
    """

    def __init__(self, folder: Path | None = None, limit: int = 4 << 30) -> None:
        self.folder = folder or Path(gettempdir()) / f"tiled-spyde-store-{token_hex(8)}"
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.limit = limit
        # Which file was looked over, by key.
        self._known: dict[str, tuple[int, int, int]] = {}

    def has(self, key: str) -> bool:
        """Whether a node is there, as far as its name says; microseconds."""
        return os.path.exists(self.folder / key / _NODE)

    def read(self, key: str, info: SignalInfo, index: Index = ()) -> NDArray[Any] | None:
        """Return one frame of a node that `info` describes; None where it is not there, was damaged, or not just now.

        What is damaged is thrown away, to be computed anew; not what cannot be opened, as with too many files open.
        """
        place = self.folder / key
        try:
            file = os.open(place / _DATA, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            _discard(place)
            return None
        except OSError:
            return None
        try:
            if not self._is_whole(key, file, info):
                _discard(place)
                return None
            number = int(np.ravel_multi_index(index, info.navigation_shape)) if index else 0
            begin = os.fstat(file).st_size - info.frame_bytes * math.prod(info.navigation_shape)
            octets = _pread(file, info.frame_bytes, begin + number * info.frame_bytes)
        except OSError:
            return None
        finally:
            os.close(file)
        wire = np.frombuffer(octets, info.dtype.newbyteorder("<")).reshape(info.signal_shape)
        return wire.astype(info.dtype)

    def write(self, key: str, info: SignalInfo, array: NDArray[Any]) -> None:
        """Keep a node.

        Raises
        ------
        StorageFull
            There is no room for it.
        Unavailable
            The folder cannot be written.
        """
        data = _npy(array)
        size = sum(map(len, data))
        self.refuse_beyond(size)
        described = {
            "format": _FORMAT,
            "key": key,
            "size": size,
            "digest": _digest(data),
            "info": info.to_json(),
        }
        new = self.folder / f".{key}.{token_hex(4)}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.mkdir()
            self._make_room(size)
            _write(new / _DATA, data)
            _write(new / _NODE, [json.dumps(described).encode()])
            _sync(new)
            self._put(new, key)
            _sync(self.folder)
        except OSError as error:
            raise _explained(error) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _put(self, new: Path, key: str) -> None:
        """Put what is written in its place, unless somebody was faster: equal key, equal bytes."""
        try:
            new.rename(self.folder / key)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not self.has(key):  # what stands there is of no use to anybody
                _discard(self.folder / key)
                new.rename(self.folder / key)

    def refuse_beyond(self, size: int) -> None:
        """Refuse what can never be kept, or not now, before it is computed.

        Raises
        ------
        StorageFull
        """
        if size > self.limit:
            raise StorageFull(
                f"The result has {size / 1e6:.0f} MB; the store holds at most {self.limit / 1e6:.0f} MB. Take less "
                "of the scan, or configure a larger store_mb."
            )
        try:
            room = shutil.disk_usage(self.folder if self.folder.exists() else self.folder.parent)
        except OSError:
            return
        if room.free < size:
            raise StorageFull(
                f"The result needs {size / 1e6:.0f} MB, the disk has {room.free / 1e6:.0f} MB left. Make room in the "
                "folder for state."
            )

    # What is under way: a few words by name, and the last total.

    def say(self, key: str, name: str, words: Any) -> None:
        """Write a few words of what is under way, for other processes and later ones; None takes them back."""
        file = self.folder / _WORK / key / name
        with suppress(OSError):
            if words is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                _replace(file, [json.dumps(words).encode()])

    def said(self, key: str, name: str) -> Any:
        """Return these words; None where there are none."""
        try:
            return json.loads((self.folder / _WORK / key / name).read_bytes())
        except (OSError, ValueError):
            return None

    def place(self, key: str) -> Path | None:
        """Return the file on which processes agree whose turn it is; None where none can be made."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / _WORK / key).mkdir(parents=True, exist_ok=True)
            return self.folder / _WORK / key / "turn"
        return None

    def save(self, key: str, done: int, total: NDArray[Any]) -> None:
        """Keep the total of the first `done` frames.

        Raises
        ------
        StorageFull, Unavailable
        """
        octets = np.ascontiguousarray(total).tobytes()
        described = {"done": done, "dtype": total.dtype.str, "digest": _digest([octets, b"%d" % done])}
        try:
            file = self.folder / _WORK / key / _PARTIAL
            file.parent.mkdir(parents=True, exist_ok=True)
            _replace(file, [json.dumps(described).encode() + b"\n", octets])
        except OSError as error:
            raise _explained(error) from error

    def saved(self, key: str, total: NDArray[Any]) -> tuple[int, NDArray[Any]]:
        """Return what `save` kept, into an array as `total` is; that itself and 0 where there is nothing sound."""
        try:
            head, _, octets = (self.folder / _WORK / key / _PARTIAL).read_bytes().partition(b"\n")
            told = json.loads(head)
            done = int(told["done"])
            sound = told["digest"] == _digest([octets, b"%d" % done]) and told["dtype"] == total.dtype.str
            if sound and len(octets) == total.nbytes:
                return done, np.frombuffer(octets, total.dtype).reshape(total.shape).copy()
        except (OSError, ValueError, LookupError, TypeError):
            pass
        return 0, total

    def forget(self, key: str) -> None:
        """Throw away what was under way."""
        shutil.rmtree(self.folder / _WORK / key, ignore_errors=True)

    def _is_whole(self, key: str, file: int, info: SignalInfo) -> bool:
        """Say whether the data are those that were written: once for each file, for it takes as long as reading it."""
        found = os.fstat(file)
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._known.get(key) == stamp:
            return True
        try:
            told = json.loads((self.folder / key / _NODE).read_bytes())
            whole = (told["format"], told["key"], told["info"]) == (_FORMAT, key, info.to_json())
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return False
        if (
            not whole
            or told["size"] != found.st_size
            or told["digest"] != _digest(_slices(file, found.st_size))
        ):
            return False
        self._known[key] = stamp
        with suppress(OSError):
            os.utime(self.folder / key)
        return True

    def _make_room(self, size: int) -> None:
        """Throw away what was opened least recently, until there is room for `size` bytes within the limit."""
        now, held = time.time(), []
        for entry, changed in _entries(self.folder):
            if entry.name == _WORK:
                _discard_old(Path(entry.path), now - _LEFT_COMPUTING)
            elif not entry.name.startswith("."):
                held.append((changed, entry.path, _size_of(entry.path)))
            elif now - changed > _LEFT_WRITING:
                shutil.rmtree(entry.path, ignore_errors=True)
        total = sum(size_of for _, _, size_of in held)
        for _, path, size_of in sorted(held):
            if total + size <= self.limit:
                break
            _discard(Path(path))
            total -= size_of


def _npy(array: NDArray[Any]) -> list[bytes]:
    """Return a file as `numpy.save` writes it: header and numbers."""
    wire = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(wire))
    return [head.getvalue(), wire.tobytes()]


def _digest(parts: Iterable[bytes]) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _slices(file: int, size: int) -> Iterator[bytes]:
    for begin in range(0, size, _SLICE):
        yield _pread(file, min(_SLICE, size - begin), begin)


def _pread(file: int, size: int, begin: int) -> bytes:
    octets = os.pread(file, size, begin)
    while len(octets) < size:
        more = os.pread(file, size - len(octets), begin + len(octets))
        if not more:
            raise OSError(errno.EIO, "The file is shorter than it was.")
        octets += more
    return octets


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, parts: Iterable[bytes]) -> None:
    """Write a small file so that whoever reads it finds the old one or the new one."""
    new = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        new.write_bytes(b"".join(parts))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _size_of(folder: str) -> int:
    with suppress(OSError):
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    return 0


def _discard(folder: Path) -> None:
    """Take a folder away at once; who reads in it may go on."""
    gone = folder.with_name(f".{folder.name}.{token_hex(4)}")
    with suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _discard_old(folder: Path, before: float) -> None:
    for entry, changed in _entries(folder):
        if changed < before:
            shutil.rmtree(entry.path, ignore_errors=True)


def _entries(folder: Path) -> Iterator[tuple[os.DirEntry[str], float]]:
    """Yield what is in a folder, and when each changed last; others may take away what they wrote meanwhile."""
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            yield entry, entry.stat().st_mtime


def _explained(error: OSError) -> StorageFull | Unavailable:
    if error.errno in _FULL:
        return StorageFull(
            "The disk is full, so the result cannot be kept. Make room in the folder for state."
        )
    return Unavailable(f"The result cannot be kept ({error.strerror or error}). Check the folder for state.")
