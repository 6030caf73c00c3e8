"""Everything that can go wrong, as a tree, and the HTTP status of each branch.

A message says what failed, why, and what to do about it: it reaches people as it stands.
"""

from __future__ import annotations

from typing import Any


class SpydeError(Exception):
    """Base of all errors that are an answer rather than a fault of ours."""


class SourceError(SpydeError):
    """A file, or a frame of it, cannot be read."""


class SourceChanged(SourceError):
    """A file is not the one that was opened: replaced, rewritten or gone."""


class NotFound(SpydeError):
    """There is no such tree, node or chunk."""


class Gone(SpydeError):
    """A pinned address whose recipe is no longer the node's."""


class NameTaken(SpydeError):
    """A node of that name exists and is another one."""


class Conflict(SpydeError):
    """What others have made or changed stands against it."""


class Outdated(SpydeError):
    """Someone else was faster: the node is not the one that the change was meant for.

    Parameters
    ----------
    message : str
    tree : SignalTree
        As it is now.
    name : str
        The node's name in it.
    """

    def __init__(self, message: str, tree: Any = None, name: str = "") -> None:
        super().__init__(message)
        self.tree = tree
        self.name = name


class InvalidOperation(SpydeError):
    """An operation that is unknown, does not fit the signal, or has parameters out of bounds."""


class InvalidSlice(SpydeError):
    """A slice or an expected shape that does not fit the array."""


class TooLarge(SpydeError):
    """More than the server answers or computes in one request."""


class Busy(SpydeError):
    """The server has no room for this now; the same request may succeed in a moment."""


class Computing(Busy):
    """A job computes this now; its address is `job`."""

    def __init__(self, message: str, job: str = "") -> None:
        super().__init__(message)
        self.job = job


class WorkerEnded(Busy):
    """The process that computed this ended in the middle; another one takes its place."""


class Abandoned(SpydeError):
    """Whoever asked for this has gone, so nobody waits for it."""


class Unavailable(SpydeError):
    """The database cannot be used just now: locked, read-only, gone. What is known is served meanwhile."""


class Unusable(Unavailable):
    """The database cannot be used until someone mends it: damaged, of a newer version, not ours."""


class Unreachable(Unusable):
    """Nobody answers at the database's address: it may come up later, or never."""


class StorageFull(SpydeError):
    """There is no room on the disk for what is to be kept."""


class ComputeError(SpydeError):
    """An operation failed on the data of one frame."""


class Cancelled(ComputeError):
    """Somebody has ended the job that computed this; it begins again when somebody asks for that."""


# Looked up along an exception's bases, so a new branch inherits its parent's status.
STATUS: dict[type[Exception], int] = {
    SourceError: 422,
    SourceChanged: 410,
    NotFound: 404,
    Gone: 410,
    NameTaken: 409,
    Conflict: 409,
    Outdated: 412,
    InvalidOperation: 422,
    InvalidSlice: 422,
    TooLarge: 400,
    Busy: 503,
    Abandoned: 503,
    Unavailable: 503,
    StorageFull: 507,
    ComputeError: 422,
}


def status_of(error: BaseException) -> int | None:
    """HTTP status for `error`, or None where it is not one of ours."""
    return next((STATUS[base] for base in type(error).__mro__ if base in STATUS), None)
