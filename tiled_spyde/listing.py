"""A container as tiled sees it: what stands in it is listed, searched and sorted before any of it is made.

Everything here runs on the event loop, so it only looks into snapshots in memory.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from tiled.adapters.container import ContainerAdapter
from tiled.iterviews import ItemsView, KeysView, ValuesView
from tiled.queries import QueryValueError
from tiled.structures.container import ContainerStructure
from tiled.structures.core import Spec

from tiled_spyde.adapters import http_error
from tiled_spyde.errors import NotFound, SpydeError
from tiled_spyde.node import PREVIEW
from tiled_spyde.rights import Person, ReadableBy, Rights
from tiled_spyde.search import Entries, Entry, matching, ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tiled.server.schemas import SortingItem

_EMPTY = ContainerStructure(keys=[])
# Each looks at every entry, and everyone waits for it.
_MOST_QUERIES = 10


class Listing(ContainerAdapter[Any]):
    """A container whose children are made when they are asked for.

    Parameters
    ----------
    entries : callable
        Gives the current children by name, each with what a query sees of it.
    adapt : callable
        Makes the adapter of a child from its name; raises `NotFound`.
    metadata : callable
        Gives what is said of the container itself.
    specs : iterable of str
    rights : Rights or None
        Of the served folder it is in; what `access` goes by.
    below : callable, optional
        Gives everything that a deep search finds, as a `Listing` by path; the children by default.
    rights_of : callable, optional
        Gives the rights of a child, where these are others than `rights` says.
    """

    def __init__(
        self,
        entries: Callable[[], Mapping[str, Entry]],
        adapt: Callable[[str], Any],
        *,
        metadata: Callable[[], dict[str, Any]] = dict,
        specs: Iterable[str] = (),
        rights: Rights | None = None,
        below: Callable[[], Listing] | None = None,
        rights_of: Callable[[str], Rights | None] | None = None,
        narrowed: bool = False,
        person: Person | None = None,
    ) -> None:
        super().__init__(_EMPTY, specs=[Spec(name) for name in specs])
        self.rights = rights
        self.sorting: list[SortingItem] = []
        self.include_routers: list[Any] = []
        self.lane: Any = None
        self.catalog: Any = None  # of the top
        self.background_tasks: list[Any] = []
        self.entries_stale_at = self.metadata_stale_at = None
        self.must_revalidate = True
        self._entries = entries
        self._adapt = adapt
        self._describe = metadata
        self._below = below
        self._rights_of = rights_of
        self._narrowed = narrowed
        self._person = person
        self.queries = 0

    @property
    def is_mixed(self) -> bool:
        """Whether not everyone who may see it may see each child."""
        return self._rights_of is not None

    def metadata(self) -> Any:
        """Return what is said of the container itself."""
        return {"attributes": self._describe()}

    def __getitem__(self, name: str) -> Any:
        # A name with a key behind it is not in a listing, but a right to the one is a right to the other.
        plain, hides = name.partition("@")[0], self._rights_of is not None
        if self._narrowed and plain not in self._entries() and not (hides and plain == PREVIEW):
            raise KeyError(name)  # of a preview, what enters it says who may read it
        try:
            found = self._adapt(name)
            # How many a container holds is said before the policy is asked about it.
            if self._person and isinstance(found, Listing) and found.rights and found.rights.below:
                return found.search(ReadableBy(self._person))
            return found
        except NotFound as error:
            raise KeyError(name) from error
        except SpydeError as error:
            raise http_error(error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def read(self, fields: Any = None) -> Any:
        """Refuse: what stands in it can be as large as all data."""
        raise HTTPException(400, "Folders, files and trees are not sent as a whole. Ask for their nodes.")

    def keys(self) -> Any:
        """Return the names, to be sliced."""
        return KeysView(self.__len__, self._names)

    def values(self) -> Any:
        """Return the children, to be sliced; only those taken are made."""
        return ValuesView(self.__len__, self._items)

    def items(self) -> Any:
        """Return names and children, to be sliced."""
        return ItemsView(self.__len__, self._items)

    def search(self, query: Any) -> Listing:
        """Return the children that `query` asks for."""
        if isinstance(query, ReadableBy):
            return self._shown_to(query.person)
        if self.queries == _MOST_QUERIES:
            raise QueryValueError(f"At most {_MOST_QUERIES} queries are answered at once.")
        found = self.only(matching(query, self._entries().values()))
        found.queries = self.queries + 1
        return found

    def sort(self, sorting: Iterable[tuple[str, int]]) -> Listing:
        """Return the same children in another order."""
        try:
            return self.only(ordered(sorting, self._entries().values()))
        except QueryValueError as error:  # tiled expects none here
            raise HTTPException(400, str(error)) from error

    def search_deep(self, max_depth: int | None = None) -> Listing:
        """Return the trees below, by their paths."""
        found = self._below() if self._below else self
        if self._person:  # tiled asks the policy about this container only, not about those below
            found = found.search(ReadableBy(self._person))
        within = self._entries() if self._narrowed else None
        names = [
            path
            for path in found
            if (within is None or path.partition("/")[0] in within)
            and (max_depth is None or path.count("/") < max_depth)
        ]
        return found.only(names)

    def only(self, names: Iterable[str], person: Person | None = None) -> Listing:
        """Return the children called `names`, in that order."""
        entries = self._entries()
        kept = Entries({name: None for name in names if name in entries}, entries.__getitem__)
        narrowed = Listing(
            lambda: kept,
            self._adapt,
            metadata=self._describe,
            specs=[spec.name for spec in self.specs],
            rights=self.rights,
            below=self._below,
            rights_of=self._rights_of,
            narrowed=True,
            person=person or self._person,
        )
        narrowed.include_routers = self.include_routers
        return narrowed

    def _shown_to(self, person: Person) -> Listing:
        known: dict[int, tuple[Rights, bool]] = {}  # of thousands of nodes, most have the same

        def shown(path: str) -> bool:
            if self._rights_of is not None:
                own = self._rights_of(path)
                if own is not None and id(own) not in known:
                    known[id(own)] = own, own.shown_to(person)
                return own is not None and known[id(own)][1]
            rights = self.rights
            for name in path.split("/"):
                # Below a served folder everything has its rights.
                rights = rights and rights.of(name)
            return rights is not None and rights.shown_to(person)

        return self.only((name for name in self._entries() if shown(name)), person)

    def _names(self, start: int, stop: int | None, direction: int, page_size: Any = None) -> Iterator[str]:
        names = iter(self._entries()) if direction > 0 else iter(reversed(list(self._entries())))
        return islice(names, start, stop)

    def _items(
        self, start: int, stop: int | None, direction: int, page_size: Any = None
    ) -> Iterator[tuple[str, Any]]:
        for name in self._names(start, stop, direction):
            yield name, self[name]
