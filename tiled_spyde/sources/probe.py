"""A child process that looks at files: one that hangs it, crashes it or swallows memory costs the server nothing.

Both ends of its wire are here. A line is JSON: ``{"path": …, "members": […], "served": […]}`` one way,
``{"source": …, "last": …}`` the other. Nothing is pickled.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Timer
from typing import TYPE_CHECKING, Any

from tiled_spyde.sources.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_START = 180.0  # seconds for the child's imports: 1 s here, more on a busy machine or from a network drive
_MOST_FILES = 1000  # before a child is replaced
_MOST_LEFT = 256 << 20  # bytes that files may leave behind in its memory before it is replaced
_SPARE = 60.0  # seconds that a child waits for its first file
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class Limits:
    """What looking at one file may take.

    Parameters
    ----------
    seconds : float
        By the clock; of computing nine tenths of it, so that what computes all the time, and is itself to
        blame, is told from what waits for a network drive.
    memory : int
        Bytes, over what the child has before.
    answer : int
        Bytes that the description of a file may have as JSON.
    """

    seconds: float = 30.0
    memory: int = 2 << 30
    answer: int = 16 << 20


_spare: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()


class ProbeError(Exception):
    """The child process does not start, or was ended by us; no file is to blame."""


class _Refused(Exception):
    """What a file did to the child."""


class _Hung(_Refused):
    """It took too long; that may be the network drive's fault."""


class _Crashed(_Refused):
    """The child is gone."""


class Probe:
    """Looks at files in a child process, one after the other; for use by one thread.

    The child starts with the first file. It dies with the thread that called `look` first.

    Parameters
    ----------
    limits : Limits
        What one file may take.
    served : sequence of pathlib.Path
        As for `open_source`.
    apart : bool
        No source may lead from one of them into another: not everyone may read both.
    """

    def __init__(
        self, limits: Limits | None = None, served: Sequence[Path] = (), apart: bool = False
    ) -> None:
        self._limits = limits or Limits()
        self._served = tuple(served)
        self._apart = apart
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False

    def look(self, path: Path, members: Sequence[Path] = ()) -> Source:
        """Return what is to be remembered of the source at `path`; why, where it cannot be opened.

        Parameters
        ----------
        path : pathlib.Path
            Absolute.
        members : sequence of pathlib.Path
            As for `Source.at`.

        Raises
        ------
        ProbeError
            The child does not start.
        """
        fresh = self._child is None
        try:
            try:
                return self._ask(path, members)
            except _Crashed:
                if fresh:
                    raise
                return self._ask(path, members)  # perhaps an earlier file had spoiled the child
        except _Hung as error:
            return Source.failed(path, str(error))
        except _Refused as error:
            return Source.failed(path, str(error), members)

    def close(self) -> None:
        """End the child; also from another thread, and then `look` raises ProbeError."""
        self._closed = True
        self._end()

    def _ask(self, path: Path, members: Sequence[Path]) -> Source:
        child = self._child = self._child or self._start()
        beside = [str(member) for member in members]
        within = [str(f) for f in self._served if not self._apart or path.is_relative_to(f)]
        request = {"path": str(path), "members": beside, "served": within}
        try:
            with suppress(BrokenPipeError):  # it is gone: the answer tells how
                _write(child.stdin, request)
            answer = json.loads(self._line(child, self._limits.seconds))
            if answer["last"]:
                self._end()
            return Source.from_json(answer["source"])
        except BaseException:
            self._end()
            if self._closed:
                raise ProbeError("The process that looks at files was ended.") from None
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise ProbeError("The process that looks at files was ended.")
        child = _prepared(self._limits) or _child(self._limits)
        try:
            self._line(child, _START)
        except _Refused as error:
            _kill(child)
            raise ProbeError(f"The process that looks at files does not start: {error}") from error
        return child

    def _line(self, child: subprocess.Popen[bytes], seconds: float) -> bytes:
        """Return what the child says next, within bounds of time and size."""
        assert child.stdout is not None  # noqa: S101 - for the type checker
        waiting, line = select.poll(), bytearray()
        waiting.register(child.stdout, select.POLLIN)
        deadline = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            if len(line) > self._limits.answer + 1024:
                raise _Refused(_too_long(len(line)))
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise _Hung(f"looking at it took longer than {seconds:g} s. Is it complete?")
            part = os.read(child.stdout.fileno(), 1 << 16)
            if not part:
                raise _Crashed(_how_it_ended(child, self._limits))
            line += part
        return bytes(line)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            _kill(child)


@contextmanager
def prepared(wanted: bool = True) -> Iterator[None]:
    """Start a child before there is a file to look at, for the next one that needs one within a minute."""
    if not wanted:
        yield
        return
    _spare.put(_child(Limits()))
    timer = Timer(_SPARE, _prepared)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _prepared()


def _prepared(limits: Limits | None = None) -> subprocess.Popen[bytes] | None:
    """Take the child that was started before; end it where it is not what is wanted."""
    with suppress(Empty):
        child = _spare.get_nowait()
        if limits == Limits():
            return child
        _kill(child)
    return None


def _child(limits: Limits) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module
        # -P: nothing is imported from the folder that the server was started in, which may be the data's
        [sys.executable, "-P", "-m", __name__, json.dumps(asdict(limits))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TILED")}  # keys
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    here = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    # Address space is what is limited, and each thread would have 64 MiB of it for its own memory.
    return inherited | threads | here | {"HDF5_USE_FILE_LOCKING": "FALSE", "MALLOC_ARENA_MAX": "2"}


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # a process that waits for a dead network drive cannot be ended
        child.wait(5)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _how_it_ended(child: subprocess.Popen[bytes], limits: Limits) -> str:
    try:
        code = child.wait(5)
    except subprocess.TimeoutExpired:
        return "its reader stopped answering. Is it complete, and what its name says?"
    if code == -signal.SIGXCPU:
        return (
            f"looking at it took more than {0.9 * limits.seconds:g} s of computing. Is it what its name says?"
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its reader crashed ({how}). Is it complete, and what its name says?"


def _too_long(size: int) -> str:
    return f"what it says of itself is too long ({size} bytes). Save it again with less metadata."


def _write(pipe: Any, message: Mapping[str, Any]) -> None:
    pipe.write(json.dumps(message).encode() + b"\n")
    pipe.flush()


def main(limits: Limits) -> None:
    """Answer the requests on standard input until it ends: the child's side."""
    requests, answers = _take_wire()
    _die_with_parent()
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_readers()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from here on it writes no file
    before = _memory()[1]
    _write(answers, {"ready": True})
    for number, line in enumerate(requests, 1):
        answer = _answer(json.loads(line), limits)
        last = number >= _MOST_FILES or _memory()[1] - before > _MOST_LEFT
        answers.write(b'{"last": %s, "source": %s}\n' % (b"true" if last else b"false", answer))
        answers.flush()


def _take_wire() -> tuple[Any, Any]:
    """Return the pipes to the parent, which no reader finds any more, whatever it prints or asks for."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    return requests, answers


def _die_with_parent() -> None:
    """Have the system end this process with its parent; where it cannot, the end of the requests does."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _import_readers() -> None:
    """Import what nearly every file needs, before time and memory count."""
    gc.disable()  # hardly anything of it is garbage
    for name in ("h5py", "dask.array", "hyperspy.io", "zarr"):
        importlib.import_module(name)
    gc.freeze()
    gc.enable()


def _answer(request: Mapping[str, Any], limits: Limits) -> bytes:
    path = Path(request["path"])
    members, served = (list(map(Path, request[which])) for which in ("members", "served"))
    _limit(resource.RLIMIT_AS, _memory()[0] + limits.memory)
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + 0.9 * limits.seconds))
    try:
        found = json.dumps(Source.at(path, members, served).to_json()).encode()
        if len(found) <= limits.answer:
            return found
        why = _too_long(len(found))
    except MemoryError:
        why = f"looking at it takes more than {limits.memory} bytes of memory. Is it what its name says?"
    except Exception as error:
        why = f"its reader failed ({type(error).__name__}). Is it complete, and what its name says?"
    return json.dumps(Source.failed(path, why, members).to_json()).encode()


def _limit(what: int, wanted: int) -> None:
    most = resource.getrlimit(what)[1]
    resource.setrlimit(what, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _memory() -> tuple[int, int]:
    """Return the bytes of address space, and those that are resident."""
    sizes = Path("/proc/self/statm").read_text().split()
    page = resource.getpagesize()
    return int(sizes[0]) * page, int(sizes[1]) * page


if __name__ == "__main__":
    main(Limits(**json.loads(sys.argv[1])))
