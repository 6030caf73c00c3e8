"""Processes for functions that hold the interpreter lock: threads would call them one after the other.

Both ends of the wire are here. A trip is JSON (operations by their place in our code, their parameters, the signal they
are applied to) and the bytes of one frame; what comes back is JSON and the bytes of frames. Nothing is pickled. A
process, unlike a thread, can be ended in the middle: when nobody waits any more, or when it takes too long.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde import errors
from tiled_spyde.operations.base import cast
from tiled_spyde.signals import SignalInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tiled_spyde.operations.base import FrameFunction
    from tiled_spyde.recipe import Recipe
    from tiled_spyde.tickets import Ticket

logger = logging.getLogger(__name__)

_START = 180.0  # seconds for the imports: 1 s here, more on a busy machine or from a network drive
_PAUSE = 10.0  # seconds before another one is started after one that did not start
_LOOK = 0.05  # seconds between two looks whether anyone still waits
_MOST_KNOWN = 256  # chains that a process keeps ready
_MOST_SAID = 16 << 20  # bytes of JSON


class StepError(Exception):
    """A function failed in a process.

    Parameters
    ----------
    step : str
        Name of its operation.
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class Processes:
    """A few processes, started at the first need and behind the scenes; until one is there `run` does nothing.

    Parameters
    ----------
    count : int
        As many as threads that use them.
    deadline : float
        Seconds after which a trip is given up.

    Attributes
    ----------
    lost : int
        Processes that ended by themselves, or were ended from outside, in the middle of a frame.
    """

    def __init__(self, count: int, deadline: float = 120.0) -> None:
        self.count = count
        self.deadline = deadline
        self.lost = 0
        self._lock = Lock()
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._there = 0  # with those that are on their way
        self._starting: set[Thread] = set()
        self._not_before = 0.0
        self._closed = False

    def ready(self) -> bool:
        """Whether one has nothing to do; if not, another one is started, as far as there may be more."""
        with self._lock:
            self._leave_out_dead()
            if not self._idle:
                self._start_one()
            return bool(self._idle)

    def run(
        self, steps: Sequence[Recipe], frame: NDArray[Any], back: Sequence[bool], claim: Ticket
    ) -> list[NDArray[Any] | None] | None:
        """Apply consecutive steps to a frame of the first one's parent.

        Parameters
        ----------
        steps : sequence of Recipe
            None of them a root or a view.
        frame : numpy.ndarray
        back : sequence of bool
            Which steps' frames are wanted.
        claim : Ticket
            When it is given up, the process is ended.

        Returns
        -------
        list of numpy.ndarray or None
            What each step made, where that is wanted. None instead of all where no process is idle or can do it.

        Raises
        ------
        StepError
            A function failed.
        WorkerEnded, Busy
            The process was ended from outside; it took too long.
        """
        with self._lock:
            self._leave_out_dead()
            child = self._idle.pop() if self._idle else None
        if child is None:
            return None
        whole = False
        try:
            made = child.ask(steps, frame, back, claim, self.deadline)
            whole = True
            return made
        except (StepError, _Told) as error:
            whole = True  # it has said all it had to say
            raise error.error if isinstance(error, _Told) else error from None
        except (EOFError, OSError) as error:
            self.lost += 1
            raise errors.WorkerEnded(
                "The process that computed this has ended in the middle. Try again in a moment; if it ends each "
                "time, try other parameters."
            ) from error
        finally:
            self._give_back(child, whole)

    def close(self) -> None:
        """End all processes, also those at work."""
        with self._lock:
            self._closed = True
            children, starting = list(self._children), list(self._starting)
            self._idle.clear()
        for child in children:
            child.end()
        for thread in starting:
            thread.join()

    def _give_back(self, child: _Child, whole: bool) -> None:
        with self._lock:
            if whole and not self._closed:
                self._idle.append(child)
                return
            self._children.discard(child)
        child.end()
        with self._lock:
            self._there -= 1
            self._start_one()

    def _leave_out_dead(self) -> None:
        """Forget those that were ended from outside while they had nothing to do; with the lock held."""
        while self._idle and not self._idle[-1].runs:
            child = self._idle.pop()
            self._children.discard(child)
            self._there -= 1
            child.end()

    def _start_one(self) -> None:
        """Start one more in the background, where there may be more; with the lock held."""
        if self._closed or self._there >= self.count or time.monotonic() < self._not_before:
            return
        thread = Thread(target=self._start, name="start-process", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads; it is done here until then
            return
        self._there += 1
        self._starting.add(thread)

    def _start(self) -> None:
        child = None
        try:
            child = _Child()
            with self._lock:
                self._children.add(child)
                closed = self._closed
            if not closed:
                child.await_start()
        except (EOFError, OSError) as error:
            logger.warning(
                "A process for computing does not start (%s). Trying again in %g s.", error, _PAUSE
            )
            self._not_before = time.monotonic() + _PAUSE
            closed = True
        with self._lock:
            self._starting.discard(current_thread())
            if not closed and not self._closed and child is not None:
                self._idle.append(child)
                return
            self._there -= 1
            if child is not None:
                self._children.discard(child)
        if child is not None:
            child.end()


class _Told(Exception):
    """Carries an error that a process has told of; the process is as good as before."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Child:
    """One process, used by one thread at a time."""

    def __init__(self) -> None:
        self._wire, theirs = Pipe()
        self._known: set[str] = set()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # -P: nothing is imported from the folder that the server was started in, which may be the data's
                [sys.executable, "-P", "-m", "tiled_spyde.processes", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # it ends when this does
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def await_start(self) -> None:
        """Return when it is there; raise EOFError or OSError where it does not come."""
        if not self._wire.poll(_START):
            raise TimeoutError(f"not there after {_START:g} s")
        self._wire.recv_bytes(16)

    def ask(
        self,
        steps: Sequence[Recipe],
        frame: NDArray[Any],
        back: Sequence[bool],
        claim: Ticket,
        deadline: float,
    ) -> list[NDArray[Any] | None] | None:
        """See `Processes.run`; raises EOFError or OSError where it has ended."""
        self._wire.send_bytes(json.dumps(self._said(steps, back)).encode())
        self._wire.send_bytes(_octets(np.ascontiguousarray(frame)))
        until = time.monotonic() + deadline
        while not self._wire.poll(_LOOK):
            claim.check()
            if time.monotonic() > until:
                raise errors.Busy(f"This took longer than {deadline:g} s and was ended. Ask for less.")
        answer = json.loads(self._wire.recv_bytes(_MOST_SAID))
        if "unknown" in answer:
            return None
        _raise(answer)
        made: list[NDArray[Any] | None] = []
        for step, wanted in zip(steps, back, strict=True):
            made.append(np.empty(step.info.signal_shape, step.info.dtype) if wanted else None)
            if (array := made[-1]) is not None:
                self._wire.recv_bytes_into(_octets(array))
        return made

    def end(self) -> None:
        """End it, whatever it does; from any thread."""
        with suppress(ProcessLookupError):
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(OSError):
            self._wire.close()
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _said(self, steps: Sequence[Recipe], back: Sequence[bool]) -> dict[str, Any]:
        """Return what is said of a trip: the steps themselves only where it does not know them."""
        key = f"{len(steps)}:{steps[-1].key}"
        said: dict[str, Any] = {"key": key, "back": list(back)}
        if key in self._known:
            return said
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(key)
        below = steps[0].parent
        return said | {
            "first": len(self._known) == 1,
            "info": (below or steps[0]).info.to_json(),
            "steps": [_address(step) for step in steps],
        }


def _address(step: Recipe) -> tuple[str, str, dict[str, Any]]:
    """Return where the code of a step's operation is, and its parameters."""
    operation = step.operation
    return type(operation).__module__, type(operation).__qualname__, operation.model_dump(mode="json")  # type: ignore[union-attr]


def _raise(answer: Mapping[str, Any]) -> None:
    """Raise the error that an answer tells of."""
    if "error" not in answer:
        return
    kind = getattr(errors, answer["kind"], None)
    if isinstance(kind, type) and issubclass(kind, errors.SpydeError):
        raise _Told(kind(answer["error"]))
    raise StepError(answer["step"], answer["error"])


def _octets(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TILED")}  # keys
    return inherited | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def main(wire: Connection) -> None:
    """Answer trips until the server ends: the process's side."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    known: dict[str, _Chain] = {}
    wire.send_bytes(b"ready")
    with suppress(EOFError, OSError):
        while True:
            _answer(wire, known)


class _Chain:
    """Consecutive steps, as a process knows them."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.below = info = SignalInfo.from_json(said["info"])
        self.steps: list[tuple[str, FrameFunction, SignalInfo]] = []
        for module, name, parameters in said["steps"]:
            operation = getattr(import_module(module), name).model_validate_json(json.dumps(parameters))
            made = operation.output(info)
            self.steps.append((operation.name, operation.function(info), made))
            info = made


def _answer(wire: Connection, known: dict[str, _Chain]) -> None:
    said = json.loads(wire.recv_bytes(_MOST_SAID))
    if "steps" in said:
        if said["first"]:
            known.clear()
        with suppress(Exception):  # its operations cannot be imported here: a thread computes it
            known[said["key"]] = _Chain(said)
    if (chain := known.get(said["key"])) is None:
        wire.recv_bytes()
        wire.send_bytes(b'{"unknown": true}')
        return
    frame = np.empty(chain.below.signal_shape, chain.below.dtype)
    wire.recv_bytes_into(_octets(frame))
    step, back = "", []
    try:
        for (step, function, info), wanted in zip(chain.steps, said["back"], strict=True):
            frame = cast(np.asarray(function(frame)), info, step)
            if wanted:
                back.append(frame)
    except BaseException as error:
        told = {"error": str(error)[:2000], "kind": type(error).__name__, "step": step}
        wire.send_bytes(json.dumps(told).encode())
        return
    wire.send_bytes(b"{}")
    for made in back:
        wire.send_bytes(_octets(made))


def _end_with_parent() -> None:
    """End this process when the server has ended: nobody holds the other end of standard input any more."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(0)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
