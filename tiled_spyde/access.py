"""Who may do what: the rights of the credential, asked on every route.

Stock tiled checks no right on its ``/zarr`` routes unless a policy stands in the configuration; with this
one they are as closed as ``/api/v1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiled.access_control.access_policies import ALL_ACCESS, NO_ACCESS
from tiled.access_control.protocols import AccessPolicy, normalize_access_tags

if TYPE_CHECKING:
    from collections.abc import Iterable

READING = frozenset({"read:metadata", "read:data"})


class CredentialPolicy(AccessPolicy):
    """A node allows what the request's own credential allows, and shows nothing without a right to read."""

    async def init_node(
        self, principal: Any, authn_access_tags: Any, authn_scopes: Any, access_tags: Any = None
    ) -> tuple[bool, Any]:
        """Change nothing: nodes carry no tags."""
        return False, access_tags or normalize_access_tags()

    async def allowed_scopes(
        self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any
    ) -> Any:
        """Scopes the credential has on `node`: its own."""
        return frozenset(authn_scopes)

    async def filters(
        self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any, scopes: Iterable[str]
    ) -> Any:
        """Return no children at all to a credential that lacks one of `scopes`."""
        return ALL_ACCESS if set(scopes) <= set(authn_scopes) else NO_ACCESS
