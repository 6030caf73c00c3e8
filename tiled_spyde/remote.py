"""A node's array over HTTP: every slice that is asked for is one request. For `client`; knows no hyperspy."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from tiled_spyde.codecs import MEDIA_TYPE, decode
from tiled_spyde.slices import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BUSY = (502, 503, 504)
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LOCK = Lock()
_CONNECTIONS: dict[tuple[str, str | None, int], httpx.Client] = {}


class ServiceError(Exception):
    """The service did not give what was asked for; the text says why and what to do."""


class Unreachable(ServiceError):
    """Nobody answers, or nobody has time."""


class NotAllowed(ServiceError):
    """The credential is missing, wrong, or not good for this."""


class Changed(ServiceError):
    """The node is not the one that was opened."""


@dataclass(frozen=True)
class Service:
    """Where a service is, and how to ask it. Small, and can be pickled: its key goes along.

    Parameters
    ----------
    url : str
        Without ``/api/v1``.
    api_key : str or None
        Sent with every request.
    patience : float
        Seconds for which a busy service is asked again.
    """

    url: str
    api_key: str | None = None
    patience: float = 60.0

    def get(self, path: str, **parameters: str | int) -> httpx.Response:
        """Send one request; again while the service says that it is busy.

        Raises
        ------
        ServiceError
            Any of its branches.
        """
        until = time.monotonic() + self.patience
        while True:
            try:
                answer = _connections(self).get(path, params=parameters)
            except httpx.ConnectError as error:
                raise Unreachable(
                    f"Nobody answers at {self.url} ({error}). Is the server running, and is this its address?"
                ) from error
            except httpx.HTTPError as error:
                answer, failed = None, error
            if answer is not None and answer.status_code not in _BUSY:
                break
            pause = _pause(answer)
            if time.monotonic() + pause > until:
                reason = _detail(answer) if answer is not None else f"{type(failed).__name__}: {failed}"
                raise Unreachable(f"{self.url} did not answer within {self.patience:g} s: {reason}")
            time.sleep(pause)
        if not answer.is_success:
            raise _refusal(answer, self)
        return answer

    def json(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """Return what a request answers, as JSON."""
        try:
            answered: dict[str, Any] = self.get(path, **parameters).json()
        except ValueError:
            raise ServiceError(f"{self.url} is no tiled-spyde service: it does not answer in JSON.") from None
        return answered


@dataclass(frozen=True)
class RemoteArray:
    """An array whose slices are fetched when they are asked for; what dask needs of an array.

    Parameters
    ----------
    service : Service
    path : str
        The node's pinned address, percent-encoded.
    shape : tuple of int
    dtype : numpy.dtype
        Little-endian, as it travels.
    """

    service: Service
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        parts = index if isinstance(index, tuple) else (index,)
        for axis, part in enumerate(parts):
            if isinstance(part, list | np.ndarray):
                return self._with_picked(parts, axis)
        return self._fetched(parts)

    def _with_picked(self, parts: tuple[Any, ...], axis: int) -> NDArray[Any]:
        """Fetch what spans a list of indices, and pick them here: an address has only slices."""
        picked = np.arange(self.shape[axis])[parts[axis]]
        first = int(picked.min(initial=self.shape[axis]))
        spanning = slice(first, int(picked.max(initial=0)) + 1)
        after = sum(not isinstance(part, int | np.integer) for part in parts[:axis])
        spanned = self[(*parts[:axis], spanning, *parts[axis + 1 :])]
        return np.asarray(spanned.take(picked - first, axis=after))

    def _fetched(self, index: tuple[Any, ...]) -> NDArray[Any]:
        selection = Selection.of(index, self.shape)
        native = self.dtype.newbyteorder("=")
        if 0 in selection.shape:
            return np.empty(selection.shape, native)
        answer = self.service.get(
            f"/api/v1/array/full/{self.path}", slice=_written(selection), format=MEDIA_TYPE
        )
        try:
            array = decode(answer.content, selection.shape, self.dtype)
        except (ValueError, RuntimeError) as error:
            raise ServiceError(f"The answer for {answer.url} is no such array ({error}).") from error
        return array.astype(native, copy=False)


def close_connections() -> None:
    """Close what is kept alive; the next request opens connections anew."""
    with _LOCK:
        while _CONNECTIONS:
            _CONNECTIONS.popitem()[1].close()


def _connections(service: Service) -> httpx.Client:
    """Kept-alive connections of this process: a forked one must have its own."""
    where = service.url, service.api_key, os.getpid()
    with _LOCK:
        if where not in _CONNECTIONS:
            _CONNECTIONS[where] = httpx.Client(
                base_url=service.url,
                headers={"Authorization": f"Apikey {service.api_key}"} if service.api_key else {},
                timeout=_TIMEOUT,
                follow_redirects=True,
                limits=httpx.Limits(max_connections=32, max_keepalive_connections=32),
                trust_env=urlsplit(service.url).hostname not in _LOOPBACK,
            )
        return _CONNECTIONS[where]


def _written(selection: Selection) -> str:
    """Write a slice in numpy's syntax."""
    return ",".join(
        _range_written(taken) if kept else str(taken.start)
        for taken, kept in zip(selection.ranges, selection.kept, strict=True)
    )


def _range_written(taken: range) -> str:
    if taken.step == 1:
        return f"{taken.start}:{taken.stop}"
    stop = taken.stop if taken.stop >= 0 else ""  # down to the first one
    return f"{taken.start}:{stop}:{taken.step}"


def _pause(answer: httpx.Response | None) -> float:
    """Seconds until it is worth asking again."""
    try:
        return min(max(float(answer.headers["Retry-After"]), 0.05), 10.0) if answer else 0.5
    except (KeyError, ValueError):
        return 1.0


def _refusal(answer: httpx.Response, service: Service) -> ServiceError:
    """Return the error a status means."""
    detail = _detail(answer)
    if answer.status_code == 401:
        what = "The key is not valid any more, or never was" if service.api_key else "It asks for a key"
        return NotAllowed(f"{service.url}: {what}. Give one: open(url, api_key=...). ({detail})")
    if answer.status_code == 403:
        return NotAllowed(
            f"{service.url}: this key is not good for that. Ask whoever gave it to you. ({detail})"
        )
    if answer.status_code == 404:
        return NotAllowed(
            f"There is nothing at {answer.url.copy_with(query=None)} that this key may read. Check the address, "
            f"and the key. ({detail})"
        )
    if answer.status_code == 410:
        return Changed(f"This has changed since it was opened: open it again. ({detail})")
    return ServiceError(f"{answer.status_code} from {service.url}: {detail}")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"
