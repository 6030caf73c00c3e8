"""Readers and editors of the served folders, as a configuration names them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EVERYONE_LOGGED_IN = "*"
PUBLIC = "public"
GROUP = "group:"


@dataclass(frozen=True)
class Person:
    """Who asks.

    Parameters
    ----------
    names : frozenset of str
        Under which a configuration may name this person or service.
    known : bool
        False for someone who has not logged in.
    everywhere : bool
        True for an administrator.
    only : frozenset of str or None
        Names of the folders that the credential is restricted to.
    """

    names: frozenset[str] = frozenset()
    known: bool = False
    everywhere: bool = False
    only: frozenset[str] | None = None

    def among(self, named: frozenset[str]) -> bool:
        """Say whether a list of names means this person."""
        if self.everywhere or PUBLIC in named:
            return True
        return self.known and (EVERYONE_LOGGED_IN in named or not self.names.isdisjoint(named))


@dataclass(frozen=True)
class Rights:
    """Who may read and edit a served folder and all that is in it; or what stands above such folders.

    Parameters
    ----------
    address : str
        Where it is served; empty for the top.
    readers, editors : frozenset of str
        Names, ``*`` for everyone who has logged in, ``public`` for everyone. Editors read too.
    below : mapping
        By name, the rights of served folders that stand in here; nothing else does.
    also : tuple of Rights
        Of other folders, from which something enters: who reads it must be allowed to read those too.
    """

    address: str = ""
    readers: frozenset[str] = frozenset()
    editors: frozenset[str] = frozenset()
    below: Mapping[str, Rights] = field(default_factory=dict)
    also: tuple[Rights, ...] = ()

    def of(self, name: str) -> Rights:
        """Return the rights of a child."""
        return self.below.get(name, NOBODY) if self.below else self

    def at(self, address: Iterable[str]) -> Rights:
        """Return the rights of what is at an address below."""
        rights = self
        for name in address:
            rights = rights.of(name)
        return rights

    def entered_by(self, others: Iterable[Rights]) -> Rights:
        """Return the rights of what is made from things with `others`, too."""
        return replace(self, also=tuple(others))

    def shown_to(self, person: Person) -> bool:
        """Say whether someone may know of it and read it."""
        if not all(rights.shown_to(person) for rights in self.also):
            return False
        if self.below:
            return not self.address or any(rights.shown_to(person) for rights in self.below.values())
        allowed = person.only is None or self.address in person.only
        return allowed and (person.among(self.readers) or person.among(self.editors))

    def editable_by(self, person: Person) -> bool:
        """Say whether someone may make, change and delete nodes."""
        return self.shown_to(person) and person.among(self.editors)


NOBODY = Rights("(nobody's)")


@dataclass(frozen=True)
class ReadableBy:
    """The query by which a container leaves only the children that someone may know of."""

    person: Person


def rights_from(
    folders: Iterable[tuple[Sequence[str], Iterable[str], Iterable[str]]],
    groups: Mapping[str, Iterable[str]],
) -> Rights:
    """Return the rights of all served folders.

    Parameters
    ----------
    folders : iterable
        Of each folder: the names under which it is served, its readers, its editors.
    groups : mapping
        The members of each group that readers and editors name as ``group:NAME``.

    Raises
    ------
    ValueError
        A group is unknown, or a folder stands inside another one.
    """
    top: dict[str, Any] = {}
    for names, readers, editors in folders:
        rights = Rights("/".join(names), _members(readers, groups), _members(editors, groups))
        if not names:
            return rights
        held = top
        for name in names[:-1]:
            held = held.setdefault(name, {})
        held[names[-1]] = rights
    return _above("", top)


def _above(address: str, held: Mapping[str, Any]) -> Rights:
    return Rights(
        address,
        below={
            name: inside if isinstance(inside, Rights) else _above(f"{address}/{name}".strip("/"), inside)
            for name, inside in held.items()
        },
    )


def _members(named: Iterable[str], groups: Mapping[str, Iterable[str]]) -> frozenset[str]:
    members: set[str] = set()
    for name in named:
        if not name.startswith(GROUP):
            members.add(name)
        elif name.removeprefix(GROUP) in groups:
            members.update(groups[name.removeprefix(GROUP)])
        else:
            raise ValueError(
                f"{name} is among the readers or editors, but groups has no {name.removeprefix(GROUP)!r}."
            )
    return frozenset(members)
