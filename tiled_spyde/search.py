"""tiled's queries and sorting over what an index knows: names and a card of plain values for each.

No file is opened and no adapter made to answer: a query looks at the cards alone. Every query takes time in
proportion to their number, so it may run on the event loop; tiled's `Regex`, whose time a client could
choose freely, is refused.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import translate
from typing import Any, NamedTuple

from tiled import queries
from tiled.queries import QueryValueError

Card = Mapping[str, Any]

# A query costs so much for every file there is, and everyone waits for it. Names are looked up, so they are free.
_LONGEST_QUERY = 2000
_MOST_WORDS = 30
_MOST_KEYS = 10


class Entry(NamedTuple):
    """What a query sees of one child: its name, its card, and what tiled calls its specs and family.

    `text` has all words of the card, in lower case, where somebody has put them together already.
    """

    name: str
    card: Card
    specs: frozenset[str] = frozenset()
    family: str = "container"
    text: str | None = None


class Entries(Mapping[str, Entry]):
    """Entries by name, each made when it is looked at: to count thousands of files, none need be described."""

    def __init__(self, names: Collection[str], make: Callable[[str], Entry]) -> None:
        self._names = names
        self._make = make

    def __getitem__(self, name: str) -> Entry:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def matching(query: Any, entries: Iterable[Entry]) -> list[str]:
    """Return the names of the entries that `query` asks for.

    Parameters
    ----------
    query : tiled query
        `FullText` finds every word anywhere in a card, also inside words and whatever the case. Keys are
        dotted paths into a card; ``attributes.`` in front, as in tiled's metadata, may be left out.

    Raises
    ------
    tiled.queries.QueryValueError
        A query that is not answered here; it becomes 400.
    """
    accepts = _MATCHES.get(type(query))
    if accepts is None:
        known = ", ".join(sorted(kind.__name__ for kind in _MATCHES))
        raise QueryValueError(f"{type(query).__name__} is not answered here. There are: {known}.")
    if not isinstance(query, queries.KeysFilter):
        _refuse_long(repr(query))
    wanted = accepts(query)
    return [entry.name for entry in entries if wanted(entry)]


def ordered(sorting: Iterable[tuple[str, int]], entries: Iterable[Entry]) -> list[str]:
    """Return the names sorted by keys, the first one counting most; entries without a value come last.

    Parameters
    ----------
    sorting : iterable of (str, int)
        Dotted keys (``name`` too), and 1 for ascending or -1 for descending. ``_`` is the given order.

    Raises
    ------
    tiled.queries.QueryValueError
        There are too many keys.
    """
    keys = list(sorting)
    if len(keys) > _MOST_KEYS:
        raise QueryValueError(f"At most {_MOST_KEYS} keys to sort by are taken at once, not {len(keys)}.")
    _refuse_long(repr(keys))
    taken = list(entries)
    for key, direction in reversed(keys):
        if key in {"_", ""}:
            taken = taken[::direction]
            continue
        present = [entry for entry in taken if _term(entry, key) is not None]
        missing = [entry for entry in taken if _term(entry, key) is None]
        present.sort(key=lambda entry: _rank(_term(entry, key)), reverse=direction < 0)
        taken = present + missing
    return [entry.name for entry in taken]


def _refuse_long(text: str) -> None:
    if len(text) > _LONGEST_QUERY:
        raise QueryValueError(
            f"This query has {len(text)} characters; at most {_LONGEST_QUERY} are taken. Ask for less at once."
        )


def _term(entry: Entry, key: str) -> Any:
    if key == "name":
        return entry.name
    value: Any = entry.card
    for part in key.removeprefix("attributes.").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _rank(value: Any) -> tuple[int, Any]:
    """Return what orders values of any kind: numbers, then text, then lists."""
    if isinstance(value, bool | int | float):
        return 0, value
    return (1, value.casefold()) if isinstance(value, str) else (2, repr(value))


def text_of(value: Any) -> str:
    """Return all words of a card, in lower case, for `FullText`."""
    if isinstance(value, Mapping):
        return " ".join(map(text_of, value.values()))
    if isinstance(value, list | tuple):
        return " ".join(map(text_of, value))
    return value.casefold() if isinstance(value, str) else ""


_Accepts = Callable[[Entry], bool]


def _full_text(query: queries.FullText) -> _Accepts:
    words = set(query.text.casefold().split())
    if len(words) > _MOST_WORDS:
        raise QueryValueError(f"At most {_MOST_WORDS} words are looked for at once, not {len(words)}.")

    def found(entry: Entry) -> bool:
        text = f"{entry.name.casefold()} {text_of(entry.card) if entry.text is None else entry.text}"
        return all(word in text for word in words)

    return found


def _of_term(accept: Callable[[Any, Any], bool]) -> Callable[[Any], _Accepts]:
    def with_query(query: Any) -> _Accepts:
        def found(entry: Entry) -> bool:
            term = _term(entry, query.key)
            return term is not None and accept(term, query)

        return found

    return with_query


def _compares(term: Any, query: queries.Comparison) -> bool:
    try:
        return bool(getattr(operator, query.operator.value)(term, query.value))
    except TypeError:
        return False  # a text is neither less nor more than a number


def _contains(term: Any, query: queries.Contains) -> bool:
    if isinstance(term, str):
        return str(query.value).casefold() in term.casefold()
    return isinstance(term, list | tuple) and query.value in term


def _like(query: queries.Like) -> _Accepts:
    # fnmatch's expressions never go back over what they matched, so their time is bounded.
    plain = re.sub(r"([*?[])", r"[\1]", str(query.pattern)).replace("%", "*").replace("_", "?")
    pattern = re.compile(translate(plain))

    def found(entry: Entry) -> bool:
        return pattern.match(str(_term(entry, query.key) or "")) is not None

    return found


def _key_present(query: queries.KeyPresent) -> _Accepts:
    wanted = str(query.exists).lower() != "false"
    return lambda entry: (_term(entry, query.key) is not None) is wanted


def _specs(query: queries.SpecsQuery) -> _Accepts:
    include, exclude = set(query.include), set(query.exclude)
    return lambda entry: include <= entry.specs and exclude.isdisjoint(entry.specs)


def _names(query: queries.KeysFilter) -> _Accepts:
    names = set(query.keys)
    return lambda entry: entry.name in names


def _family(query: queries.StructureFamilyQuery) -> _Accepts:
    wanted = getattr(query.value, "value", query.value)
    return lambda entry: entry.family == wanted


_MATCHES: dict[type, Callable[[Any], _Accepts]] = {
    queries.FullText: _full_text,
    queries.KeysFilter: _names,
    queries.SpecsQuery: _specs,
    queries.StructureFamilyQuery: _family,
    queries.KeyPresent: _key_present,
    queries.Like: _like,
    queries.Eq: _of_term(lambda term, query: bool(_plain(term) == query.value)),
    queries.NotEq: _of_term(lambda term, query: bool(_plain(term) != query.value)),
    queries.In: _of_term(lambda term, query: _plain(term) in query.value),
    queries.NotIn: _of_term(lambda term, query: _plain(term) not in query.value),
    queries.Contains: _of_term(_contains),
    queries.Comparison: _of_term(_compares),
}


def _plain(term: Any) -> Any:
    return list(term) if isinstance(term, tuple) else term
