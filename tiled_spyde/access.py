"""Who may do what: the rights of the credential, and on a shared server those of the served folder too.

Stock tiled checks no right on its ``/zarr`` routes unless a policy stands in the configuration; with one
of these they are as closed as ``/api/v1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiled.access_control.access_policies import ALL_ACCESS, NO_ACCESS
from tiled.access_control.protocols import AccessPolicy, normalize_access_tags

from tiled_spyde.rights import Person, ReadableBy, Rights

if TYPE_CHECKING:
    from collections.abc import Iterable

READING = frozenset({"read:metadata", "read:data"})
EDITING = READING | {"create:node", "write:metadata", "delete:node"}
NOTHING: frozenset[str] = frozenset()


class CredentialPolicy(AccessPolicy):
    """A node allows what the request's own credential allows, and shows nothing without a right to read.

    For one person, or for people who may all see the same. A folder that names readers or editors is
    closed to everyone here: it asks for a `FolderPolicy`.
    """

    async def init_node(
        self, principal: Any, authn_access_tags: Any, authn_scopes: Any, access_tags: Any = None
    ) -> tuple[bool, Any]:
        """Change nothing: nodes carry no tags."""
        return False, access_tags or normalize_access_tags()

    async def allowed_scopes(
        self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any
    ) -> Any:
        """Scopes the credential has on `node`: its own."""
        return NOTHING if _is_restricted(node, authn_access_tags) else frozenset(authn_scopes)

    async def filters(
        self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any, scopes: Iterable[str]
    ) -> Any:
        """Return no children at all to a credential that lacks one of `scopes`."""
        allowed = await self.allowed_scopes(node, principal, authn_access_tags, authn_scopes)
        return ALL_ACCESS if set(scopes) <= allowed else NO_ACCESS


class FolderPolicy(AccessPolicy):
    """Readers and editors per served folder; what is below a folder inherits.

    What is allowed is always the intersection with the credential's own scopes, so an API key that was
    made for reading only reads. tiled's administrators see and edit everything. An API key with access
    tags is good for the folders of these names only.

    Parameters
    ----------
    provider : str
        The authentication provider whose names stand in the folders' ``readers`` and ``editors``. A name
        from another provider may be another person.
    """

    def __init__(self, *, provider: str) -> None:
        self.provider = provider

    async def init_node(
        self, principal: Any, authn_access_tags: Any, authn_scopes: Any, access_tags: Any = None
    ) -> tuple[bool, Any]:
        """Change nothing: the rights stand in the configuration."""
        return False, access_tags or normalize_access_tags()

    async def allowed_scopes(
        self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any
    ) -> Any:
        """Scopes the credential has on `node`: its own, as far as the folder grants them."""
        rights: Rights | None = getattr(node, "rights", None)
        if rights is None:  # what is emptied by a filter, and what is not ours
            return NOTHING
        person = self._person(principal, authn_access_tags, authn_scopes)
        granted = EDITING if rights.editable_by(person) else READING if rights.shown_to(person) else NOTHING
        return granted & frozenset(authn_scopes)

    async def filters(
        self, node: Any, principal: Any, authn_access_tags: Any, authn_scopes: Any, scopes: Iterable[str]
    ) -> Any:
        """Return what leaves the children that may be seen, counted and found."""
        allowed = await self.allowed_scopes(node, principal, authn_access_tags, authn_scopes)
        if not set(scopes) <= allowed:
            return NO_ACCESS
        if not (node.rights.below or getattr(node, "is_mixed", False)):
            return ALL_ACCESS
        return [ReadableBy(self._person(principal, authn_access_tags, authn_scopes))]

    def _person(self, principal: Any, authn_access_tags: Any, authn_scopes: Any) -> Person:
        return Person(
            names=frozenset() if principal is None else frozenset(self._names(principal)),
            known=principal is not None,
            everywhere="admin:apikeys" in authn_scopes,
            only=None if authn_access_tags is None else frozenset(authn_access_tags),
        )

    def _names(self, principal: Any) -> Iterable[str]:
        """Yield the names a configuration has for a principal: of users at our provider, or ``service:UUID``."""
        if principal.type == "service":
            yield f"service:{principal.uuid}"
        else:
            for identity in principal.identities:
                # A user may call himself anything at some providers.
                if identity.provider == self.provider and not identity.id.startswith("service:"):
                    yield identity.id


def _is_restricted(node: Any, authn_access_tags: Any) -> bool:
    """Say whether rights are asked for that this policy does not know: folders' own, or an API key's tags."""
    return authn_access_tags is not None or getattr(node, "rights", None) is not None
