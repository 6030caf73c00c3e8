"""Folders, files and trees as containers, put together from snapshots in memory without opening a file."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tiled.structures.core import StructureFamily

from tiled_spyde.adapters import ARRAY_ASKED, NodeAdapter, attributes, http_error
from tiled_spyde.cache import once
from tiled_spyde.cards import file_card, info_card, tree_card
from tiled_spyde.catalog import Folder, SourceFile
from tiled_spyde.errors import InvalidOperation, NotFound
from tiled_spyde.listing import Listing
from tiled_spyde.node import NAVIGATOR, PREVIEW, ROOT
from tiled_spyde.search import Entries, Entry, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiled_spyde.errors import SpydeError
    from tiled_spyde.evaluate import Evaluator
    from tiled_spyde.previews import Previews
    from tiled_spyde.rights import Rights
    from tiled_spyde.sources import Signal
    from tiled_spyde.tree import SignalTree


class FailedNode(Listing):
    """A node that is failed: an empty container which says why, so that it is seen and can be mended.

    Whoever asks for its numbers is told why there are none, rather than that it is no array.

    Parameters
    ----------
    tree : SignalTree
    name : str
    failure : SpydeError
        Why it is failed.
    rights : Rights or None
    """

    def __init__(self, tree: SignalTree, name: str, failure: SpydeError, rights: Rights | None) -> None:
        super().__init__(
            dict, self._child, metadata=lambda: attributes(tree, name), specs=["SignalNode"], rights=rights
        )
        self._why = InvalidOperation(f"{name!r} is failed: {failure}")

    @property
    def structure_family(self) -> StructureFamily:
        """A container, but for those who ask for arrays: tiled would say that there is none."""
        return StructureFamily.array if ARRAY_ASKED.get() else StructureFamily.container

    def structure(self) -> Any:
        """Return that of an empty container."""
        return self.refuse() if ARRAY_ASKED.get() else super().structure()

    def read(self, *asked: Any, **how: Any) -> NoReturn:
        """Say why there is nothing to be read."""
        self.refuse()

    def refuse(self) -> NoReturn:
        """Say why there is nothing to be read.

        Raises
        ------
        HTTPException
        """
        raise http_error(self._why)

    @staticmethod
    def _child(name: str) -> NoReturn:
        raise NotFound(name)


def top_listing(
    folder: Callable[[], Folder],
    evaluator: Evaluator,
    describe: Callable[[], dict[str, Any]],
    rights: Rights | None = None,
    previews: Previews | None = None,
) -> Listing:
    """Container of all that is served, which shows what there is at any moment.

    Parameters
    ----------
    folder : callable
        Gives the current snapshot.
    evaluator : Evaluator
    describe : callable
        Gives what is said of the whole.
    rights : Rights or None
        Readers and editors of the served folders; None where the credential alone counts.
    previews : Previews, optional
        What has a pinned address without being a node.
    """
    return _folder(folder, _Serving(evaluator, rights, previews), rights, describe)


class _Serving(NamedTuple):
    """What every node needs to know: who computes it, the rights of all that is served, what is shown beside it."""

    evaluator: Evaluator
    rights: Rights | None
    previews: Previews | None

    def rights_of(self, others: frozenset[tuple[str, ...]], inherited: Rights | None) -> Rights | None:
        """Return the rights of a node: its folder's, and those of all trees that enter it."""
        if self.rights is None or inherited is None or not others:
            return inherited
        return inherited.entered_by(self.rights.at(address) for address in sorted(others))


def _folder(
    folder: Callable[[], Folder],
    serving: _Serving,
    rights: Rights | None,
    describe: Callable[[], dict[str, Any]] = dict,
) -> Listing:
    def adapt(path: str) -> Any:
        # A deep search names what it finds by paths.
        name, _, rest = path.partition("/")
        found = folder().entries.get(name)
        if found is None:
            raise NotFound(path)
        inherited = rights and rights.of(name)
        below = (
            _folder(lambda: found, serving, inherited)
            if isinstance(found, Folder)
            else _file(found, serving, inherited)
        )
        return below[rest] if rest else below

    return Listing(
        lambda: _entries(folder()),
        adapt,
        metadata=describe,
        rights=rights,
        below=lambda: Listing(lambda: _trees_below(folder()), adapt, rights=rights),
    )


def _file(file: SourceFile, serving: _Serving, rights: Rights | None) -> Listing:
    def adapt(name: str) -> Any:
        if name not in file.trees:
            raise NotFound(name)
        return _tree(file, name, serving, rights)

    entry = _file_entry(file)
    return Listing(
        lambda: Entries(file.signals, lambda name: _trees(file)[name]),
        adapt,
        metadata=lambda: dict(entry.card),
        specs=entry.specs,
        rights=rights,
    )


def _tree(file: SourceFile, name: str, serving: _Serving, rights: Rights | None) -> Listing:
    """Container of a tree's nodes; ``name@key`` is a pinned address."""
    tree = file.trees[name]

    def adapt(address: str) -> Any:
        node, _, key = address.partition("@")
        if node == PREVIEW and serving.previews:
            if key.endswith(".zarr"):  # the image of a preview, and none itself
                raise NotFound(address)
            preview = serving.previews.get(tree, key)
            above, own = (
                tree.showing(preview.node, preview.recipe),
                serving.rights_of(preview.entering, rights),
            )
            return NodeAdapter(above, PREVIEW, serving.evaluator, own)
        if key or node not in tree.nodes:
            tree.recipe(address)
        return node_entry(tree, node, serving.evaluator, rights_of(node))

    @cache  # of the few sets of trees that enter nodes
    def entered_by(others: frozenset[tuple[str, ...]]) -> Rights | None:
        return serving.rights_of(others, rights)

    def rights_of(node: str) -> Rights | None:
        node, _, _ = node.partition("@")
        return entered_by(tree.entering(node)) if node in tree.nodes else rights

    shown = {
        **_trees(file)[name].card,
        **info_card(tree.recipe(ROOT).info),
        "calibration_error": tree.calibration_error,
        "navigator": NAVIGATOR if NAVIGATOR in tree.nodes else None,
    }
    return Listing(
        lambda: _nodes(tree),
        adapt,
        metadata=lambda: shown,
        specs=["SignalTree"],
        rights=rights,
        rights_of=rights_of if tree.is_mixed and serving.rights is not None else None,
    )


def _entries(folder: Folder) -> Mapping[str, Entry]:
    def make(name: str) -> Entry:
        entry = folder.entries[name]
        return Entry(name, {}) if isinstance(entry, Folder) else _file_entry(entry)._replace(name=name)

    return Entries(folder.entries, make)


@once
def _trees_below(folder: Folder) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for name, entry in folder.entries.items():
        below = _trees_below(entry) if isinstance(entry, Folder) else _trees(entry)
        for path, tree in below.items():
            found[f"{name}/{path}"] = tree._replace(name=f"{name}/{path}")
    return found


@once
def _file_entry(file: SourceFile) -> Entry:
    card = file_card(file.source)
    spec = "UnreadableFile" if file.error else "SignalFile"
    return Entry("", card, frozenset({spec}), text=text_of(card))


@once
def _trees(file: SourceFile) -> dict[str, Entry]:
    return {signal.name: _tree_entry(file, signal) for signal in file.source.signals}


def _tree_entry(file: SourceFile, signal: Signal) -> Entry:
    nodes = file.made(signal.name)
    card = tree_card(file.source, signal, nodes)
    # Of all nodes, also where the card has only the first names.
    text = f"{text_of(card)} {text_of([node.name for node in nodes])}"
    return Entry(signal.name, card, frozenset({"SignalTree"}), text=text)


def node_entry(
    tree: SignalTree, name: str, evaluator: Evaluator, rights: Rights | None = None
) -> NodeAdapter | FailedNode:
    """Return a node as it is shown."""
    failure = tree.failure(name)
    return FailedNode(tree, name, failure, rights) if failure else NodeAdapter(tree, name, evaluator, rights)


def remember_trees(folder: Folder) -> None:
    """Put together what a search over `folder` looks at, so that the first one need not wait for it."""
    _trees_below(folder)


@once
def _nodes(tree: SignalTree) -> dict[str, Entry]:
    return {
        name: Entry(
            name,
            {"operation": node.operation or None, "parent": tree.parent_name(name)},
            frozenset({"SignalNode"}),
            "array",
        )
        for name, node in tree.nodes.items()
    }
