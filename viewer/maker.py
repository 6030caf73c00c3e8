"""Makes nodes: whether that can be done here, and what came of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyqtgraph.Qt import QtCore

from viewer.calibration import OPERATION, SHAPE
from viewer.errors import Forbidden, Refused, Unauthorised
from viewer.nodes import NAVIGATOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from viewer.described import Operation
    from viewer.errors import ServiceError
    from viewer.fetch import Fetcher
    from viewer.nodes import Node
    from viewer.wire import Service

    Path = tuple[str, ...]

MAKER = "maker"
ASKING = "The service has not said yet what it can do."
NO_SUCH = "This service has no operation that calibrates."
TAKEN = 409


class Maker(QtCore.QObject):
    """Calibrates trees where the service offers it and the key may.

    Parameters
    ----------
    service : Service
        Where nodes are made.
    fetcher : Fetcher
        In whose calling thread it is asked.
    """

    possible = QtCore.Signal(str)  # why nothing can be made in the tree that is looked at; empty where it can
    made = QtCore.Signal(object)  # path of the node
    refused = QtCore.Signal(str, bool)  # why, and whether it is the name that is taken

    def __init__(self, service: Service, fetcher: Fetcher) -> None:
        super().__init__()
        self._service, self._fetcher = service, fetcher
        self._operations: tuple[Operation, ...] | None = None
        self._reasons: dict[Path, str] = {}
        self._tree: Path = ()
        self._asked = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What the service can do, as far as that is known."""
        return self._operations or ()

    def why_not_make(self, tree: Path) -> str:
        """Return why no node can be made in a tree; empty where it can, or where that is not known yet."""
        return self._reasons.get(tree, "")

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON schema of the parameters."""
        return next((op.parameters for op in self._operations or () if op.name == OPERATION), {})

    def why_not(self, tree: Path) -> str:
        """Return why a tree cannot be calibrated; empty where it can, or where that is not known yet."""
        if self._operations is None:
            return ASKING
        return self._reasons.get(tree, "") if self.schema else NO_SUCH

    def look_at(self, tree: Path) -> None:
        """Find out whether this tree can be calibrated; each tree is asked about once."""
        self._tree = tree
        if self._operations is None and not self._asked:
            self._asked = True
            self._fetcher.call(MAKER, self._service.operations, self._operations_came)
        elif self._operations and tree not in self._reasons:
            self._reasons[tree] = ""
            self._fetcher.call(MAKER, lambda: self._service.why_not_create(tree), self._reason_came(tree))
        self.possible.emit(self.why_not(tree))

    def calibrate(self, tree: Path, parameters: Mapping[str, Any], name: str | None) -> None:
        """Make a calibrated node of a tree's root."""

        def came(node: Node | None, error: ServiceError | None) -> None:
            if node is not None:
                self.made.emit(node.path)
                return
            if isinstance(error, Forbidden):
                self._reasons[tree] = str(error)
                self.possible.emit(self.why_not(self._tree))
            self.refused.emit(str(error), isinstance(error, Refused) and error.status == TAKEN)

        self._fetcher.call(MAKER, lambda: self._make(tree, parameters, name), came)

    def _make(self, tree: Path, parameters: Mapping[str, Any], name: str | None) -> Node:
        """In the calling thread: make the node, and where the scan has another shape a map to point into."""
        made = self._service.make_node(tree, "root", OPERATION, parameters, name)
        try:
            navigator = self._service.node((*tree, NAVIGATOR)) if SHAPE in parameters else None
            if navigator is not None and navigator.operations:
                operation, told = navigator.operations[-1], json.loads(navigator.parameters[-1])
                own = f"{made.name}_{NAVIGATOR}"
                self._service.make_node(tree, made.name, operation, told, own)
        except (Refused, Forbidden):
            pass  # then the navigator of the file is pointed into
        return made

    def _operations_came(self, operations: Any, error: ServiceError | None) -> None:
        self._asked = False
        if error is None or isinstance(error, Refused | Unauthorised):
            self._operations = operations or ()
            self.look_at(self._tree)

    def _reason_came(self, tree: Path) -> Any:
        def came(reason: str | None, error: ServiceError | None) -> None:
            if error is not None:
                del self._reasons[tree]  # the connection: asked again when the tree is shown again
            elif reason is not None:
                self._reasons[tree] = reason
            self.possible.emit(self.why_not(self._tree))

        return came
