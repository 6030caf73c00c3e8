"""What can go wrong between the viewer and the service, as a tree. The texts are for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viewer.nodes import Node


class ServiceError(Exception):
    """Base of all that can go wrong between the viewer and the service; the text is for people."""


class Unreachable(ServiceError):
    """Nothing answers at the address, or the connection was lost."""


class Unauthorised(ServiceError):
    """The service wants a key, or another key."""


class Gone(ServiceError):
    """A pinned address is no longer the node's: list again."""


class Busy(ServiceError):
    """The service will have it later.

    Parameters
    ----------
    detail : str
        What it said.
    retry_after : float
        Seconds it asks to wait.
    """

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Refused(ServiceError):
    """The service does not do this; the text is its reason.

    Parameters
    ----------
    detail : str
        What it said.
    status : int or None
        The HTTP status it said it with.
    """

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class Overtaken(Refused):
    """Somebody else was quicker to change a node.

    Parameters
    ----------
    detail : str
        Who, and when.
    node : Node
        As it is now.
    """

    def __init__(self, detail: str, node: Node) -> None:
        super().__init__(detail)
        self.node = node


class Forbidden(ServiceError):
    """The key may look, but not do this."""


class Garbled(ServiceError):
    """The answer is not what the metadata promised."""
