"""Imports that wait until something is needed: what tiled's server names in annotations is a third of a start."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType

# What tiled's server imports for kinds of data that nobody may ever ask for.
PACKAGES = ("dask.array", "dask.dataframe", "pandas", "sparse", "blosc2")
# Its modules that name them in annotations, which Python evaluates unless it is told not to.
ANNOTATED = ("tiled.adapters.protocols", "tiled.adapters.utils")

_lock = Lock()


@contextmanager
def postponed(packages: Sequence[str] = PACKAGES, annotated: Sequence[str] = ANNOTATED) -> Iterator[None]:
    """Let modules that are imported within, and that import one of `packages`, wait with that until they use it.

    What stands for a package gets from it whatever is asked of it. So where another version of tiled needs one while
    it starts, it starts more slowly, and nothing else is different. An ``import`` afterwards is an ordinary one, which
    threads may do at the same time; a module of `importlib.util.LazyLoader` is found half made then (cpython#114763).

    Parameters
    ----------
    packages : sequence of str
        What has been imported before, or is not installed, is left alone.
    annotated : sequence of str
        Modules whose annotations are not evaluated where they stand.
    """
    waiting = [_Waiting(name) for name in packages if name not in sys.modules and find_spec(name)]
    finder = _Annotated(annotated)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for module in waiting:
            module.make_way()


class _Waiting(ModuleType):
    """Stands for a package where that was imported."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = find_spec(name)
        sys.modules[name] = self
        parent, _, own = name.rpartition(".")
        if parent:  # as an import does; that of the package itself puts it in this place
            setattr(import_module(parent), own, self)

    def __getattr__(self, name: str) -> Any:
        self.make_way()
        return getattr(import_module(self.__name__), name)

    def make_way(self) -> None:
        """Let the next import find the package."""
        with _lock:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]


class _Annotated(MetaPathFinder):
    """Finds some modules as always, and has their annotations kept as strings (PEP 563)."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Unevaluated(fullname, spec.loader.path)
        return spec


class _Unevaluated(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compile it here: stored byte code is everyone's."""
        flags = annotations.compiler_flag
        code: CodeType = compile(self.get_data(self.path), self.path, "exec", flags, dont_inherit=True)
        return code
