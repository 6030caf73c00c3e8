"""What a person tries before it is kept: one step on a node, looked at from somewhere. Pure: no Qt, no HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.described import axis_from_json
from viewer.view_state import ViewState, first_request, slice_text

if TYPE_CHECKING:
    from viewer.nodes import Node
    from viewer.view_state import Request


@dataclass(frozen=True, slots=True)
class Trial:
    """An operation with parameters on a node.

    Parameters
    ----------
    node : Node
        What it is made from.
    operation : str
        Its name.
    parameters : str
        JSON.
    view : ViewState
        Place and screen; its node is like what is expected, None where nothing is known of that yet.
    """

    node: Node
    operation: str
    parameters: str
    view: ViewState

    @property
    def told(self) -> dict[str, Any]:
        """The parameters."""
        told: dict[str, Any] = json.loads(self.parameters)
        return told

    @property
    def steps(self) -> str:
        """As the service reads it, always written alike."""
        steps = [{"operation": self.operation, "parameters": self.told}]
        return json.dumps(steps, separators=(",", ":"), sort_keys=True)

    @property
    def slice(self) -> str:
        """The slice that is asked for; empty where nothing is known to slice."""
        return self._slice(self.view.node)

    def request(self, node: Node) -> Request | None:
        """Return the request of the node it turned out to be that this answers; None where it answers none."""
        if not self.slice or len(node.position_axes) != len(self.view.position):
            return None
        return first_request(replace(self.view, node=node)) if self._slice(node) == self.slice else None

    def made(self, address: str, dtype: str, structure: str) -> Node | None:
        """Return the node that a slice tells of; None where it does not tell all that there is to know.

        Parameters
        ----------
        address : str
            Where it is, with its key.
        dtype : str
            ``<f4``.
        structure : str
            Axes and chunk, as JSON; empty where they are too long to be told beside a slice.
        """
        if self.view.node is None or not structure:
            return None
        told, like = json.loads(structure), self.view.node
        return replace(
            like,
            key=address.rpartition("@")[2],
            axes=tuple(map(axis_from_json, told["axes"])),
            dtype=np.dtype(dtype),
            chunks=tuple(told["chunk"]),
            parameters=(*like.parameters[:-1], self.parameters),
        )

    def _slice(self, node: Node | None) -> str:
        request = first_request(replace(self.view, node=node))
        return slice_text(request.selection, request.node) if request is not None else ""
