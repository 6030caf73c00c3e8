"""The tree factory that a configuration names, and the ASGI app that ``tiled-spyde serve`` runs."""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from tiled.media_type_registration import default_serialization_registry
from tiled.structures.core import StructureFamily

from tiled_spyde import codecs
from tiled_spyde.access import FolderPolicy
from tiled_spyde.adapters import folder_adapter
from tiled_spyde.catalog import Catalog, safe_name
from tiled_spyde.errors import SourceError, SpydeError
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.lane import Guard
from tiled_spyde.rights import Rights, rights_from
from tiled_spyde.routes import routes
from tiled_spyde.sources import Root, find_sources, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiled.adapters.mapping import MapAdapter
    from tiled.config import Config

logger = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\$\{?(\w+)")


class ServedFolder(BaseModel, extra="forbid", frozen=True):
    """One folder (or file) of a configuration, and who may see it.

    Parameters
    ----------
    path : str
        Where it is.
    name : str or None
        The name it is served under, with slashes where folders stand above it; its own by default. Empty:
        its content stands at the top.
    readers, editors : tuple of str
        Who may read, and who may make, change and delete nodes as well: names, ``group:NAME``, ``*`` for
        everyone who has logged in, ``public`` for everyone.
    """

    path: str = Field(min_length=1)
    name: str | None = None
    readers: tuple[str, ...] = ()
    editors: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name, split at its slashes."""
        wanted = Path(self.path).expanduser().absolute().name if self.name is None else self.name
        return tuple(part for part in wanted.split("/") if part)

    @model_validator(mode="after")
    def _can_be_an_address(self) -> ServedFolder:
        # Rights go by the name, so it must be the very one that the catalogue serves.
        matters = self.name or self.readers or self.editors
        if matters and any(part != safe_name(part) for part in self.names):
            raise ValueError(
                f"{'/'.join(self.names)!r} is no name for addresses. Use letters, digits, - and _."
            )
        return self


# So that a plain `tiled serve` of our tree gives the viewer its compressed slices too.
default_serialization_registry.register(StructureFamily.array, codecs.MEDIA_TYPE, codecs.serialize)
# tiled's own fails on an empty slice.
default_serialization_registry.register(
    StructureFamily.array, "application/octet-stream", codecs.serialize_raw
)


def tree(
    paths: Sequence[str] = (),
    nodes: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    *,
    folders: Sequence[Mapping[str, Any]] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    cache_mb: int = 512,
    workers: int | None = None,
    max_seconds: float = 120.0,
) -> MapAdapter[Any]:
    """Serve files and folders: what a configuration names as ``tiled_spyde.app:tree``.

    Parameters
    ----------
    paths : sequence of str
        Files and folders. A single folder's content stands at the top, else each path has its own name.
    nodes : mapping, optional
        For ``file/signal``, nodes to make at the start: ``parent``, ``operation``, ``parameters``, ``name``.
    folders : sequence of mapping
        Instead of `paths`, folders with rights of their own: see `ServedFolder`.
    groups : mapping, optional
        Members of each group that ``readers`` and ``editors`` name as ``group:NAME``.
    cache_mb : int
        Bound on computed frames in memory, in MiB.
    workers : int, optional
        Threads for large requests; as many as cores by default.
    max_seconds : float
        Requests estimated to need longer are refused.

    Returns
    -------
    tiled.adapters.mapping.MapAdapter
        With our own routes as its ``include_routers``.
    """
    catalog = Catalog()
    served = served_folders(paths, folders)
    for folder in served:
        _open_all(catalog, folder)
    for address, wanted in (nodes or {}).items():
        _make_nodes(catalog, tuple(address.strip("/").split("/")), wanted)
    evaluator = Evaluator(cache_mb * 2**20, workers, max_seconds)
    top = folder_adapter(lambda: catalog.top, evaluator, rights_of(served, groups or {}))
    top.include_routers = [routes(catalog, evaluator)]
    return top


def demo_tree(
    folder: str | None = None, nodes: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, **settings: Any
) -> MapAdapter[Any]:
    """Serve the synthetic scan, made at the first start: ``tiled_spyde.app:demo_tree``.

    Parameters
    ----------
    folder : str, optional
        Where the scan is kept; the user's cache by default.
    nodes, **settings
        As for `tree`.
    """
    from tiled_spyde.demo import cache_folder, make_scan, show_progress

    scan = make_scan(Path(folder).expanduser() if folder else cache_folder(), progress=show_progress)
    return tree([str(scan)], nodes, **settings)


def config_for(paths: Sequence[str], *, api_key: str, public: bool = False) -> Config:
    """Return tiled's configuration for serving `paths` to one person, or to everyone who can connect."""
    return _validated(
        {
            "trees": [{"path": "/", "tree": "tiled_spyde.app:tree", "args": {"paths": list(paths)}}],
            "access_control": {"access_policy": "tiled_spyde.access:CredentialPolicy", "args": {}},
            "authentication": {"single_user_api_key": api_key, "allow_anonymous_access": public},
        }
    )


def read_config(file: Path) -> Config:
    """Read a configuration, with ``${NAME}`` for what stands in the environment.

    Raises
    ------
    ValueError
        There is none, or a variable that it names is not set: tiled would take its name for its value,
        and a secret key that everyone can read is none.
    """
    from tiled.config import parse_configs

    if not file.exists():
        raise ValueError(f"There is no configuration at {file}.")
    files = [file] if file.is_file() else sorted((*file.glob("*.yml"), *file.glob("*.yaml")))
    lines = [
        line for one in files for line in one.read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    named = dict.fromkeys(name for line in lines for name in _VARIABLE.findall(line))
    if missing := [name for name in named if not os.environ.get(name)]:
        raise ValueError(
            f"{file} needs {', '.join(missing)} from the environment. Set {_it(missing)} and start again."
        )
    return parse_configs(file)


def build(config: Config) -> Guard:
    """Build the ASGI app of a configuration, with the guard round it.

    Raises
    ------
    ValueError
        The configuration would show folders to others than it says.
    """
    from tiled.server.app import build_app_from_config

    _check_rights(config)
    _check_database(config)
    return Guard(build_app_from_config(config))


def _check_rights(config: Config) -> None:
    """Refuse what would be closed to everyone, or open to more people than it says."""
    named = getattr(config.merged_trees, "rights", None) is not None
    policy, providers = (
        config.access_policy,
        [spec.provider for spec in config.authentication.providers or ()],
    )
    if named and not isinstance(policy, FolderPolicy):
        raise ValueError(
            "Folders name readers and editors, so access_control.access_policy must be "
            "tiled_spyde.access:FolderPolicy."
        )
    if isinstance(policy, FolderPolicy) and not named:
        raise ValueError("FolderPolicy shows nothing of folders without readers and editors: name them.")
    if isinstance(policy, FolderPolicy) and policy.provider not in providers:
        raise ValueError(
            f"access_control.args.provider is {policy.provider!r}, but authentication.providers has "
            f"{', '.join(providers) or 'nobody'}."
        )


def _check_database(config: Config) -> None:
    """Refuse a folder for tiled's database that is not there, before tiled does with a long story."""
    uri = (config.database and config.database.uri) or ""
    scheme, _, file = uri.partition(":///")
    if scheme.startswith("sqlite") and file and not file.startswith((":memory:", "file:")):
        folder = Path(file).parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(
                f"database.uri: the server cannot write in {folder}. Make the folder, and let it."
            )


def _it(several: Sequence[str]) -> str:
    return "it" if len(several) == 1 else "them"


def _validated(config: dict[str, Any]) -> Config:
    from tiled.config import Config

    return Config.model_validate(config)


def served_folders(paths: Sequence[str], folders: Sequence[Mapping[str, Any]]) -> tuple[ServedFolder, ...]:
    """Return what a configuration serves, each under a name that nothing else has.

    Raises
    ------
    ValueError
        Something is missing, unknown or named twice.
    """
    if bool(paths) == bool(folders):
        raise ValueError("Give either paths or folders.")
    try:
        named = [ServedFolder.model_validate(folder) for folder in folders]
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ValueError(f"folders: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    if not named and len(paths) == 1 and Path(paths[0]).expanduser().is_dir():
        return (ServedFolder(path=paths[0], name=""),)
    served = (*named, *(ServedFolder(path=path) for path in paths))
    names = [folder.names for folder in served]
    for one in names if folders else ():
        if any(other[: len(one)] == one for other in names if other is not one):
            raise ValueError(
                f"Two folders are served as or inside {'/'.join(one)!r}. Give each a name of its own."
            )
    return served


def rights_of(served: Sequence[ServedFolder], groups: Mapping[str, Sequence[str]]) -> Rights | None:
    """Return who may see what, or None where no folder says so."""
    if not any(folder.readers or folder.editors for folder in served):
        return None
    return rights_from(((folder.names, folder.readers, folder.editors) for folder in served), groups)


def _open_all(catalog: Catalog, folder: ServedFolder) -> None:
    found = list(_sources(Path(folder.path).expanduser().absolute(), folder.names))
    with ThreadPoolExecutor(8, thread_name_prefix="open") as pool:
        for (_, name), (roots, error) in zip(found, pool.map(_open, (s for s, _ in found)), strict=True):
            catalog.add_file(name, roots, error)


def _sources(path: Path, names: tuple[str, ...]) -> Iterable[tuple[Path, tuple[str, ...]]]:
    """Every source below `path`, with the names under which it is served."""
    if not path.exists():
        raise SourceError(f"There is nothing at {path}. Check the path.")
    for source in find_sources(path):
        inside = source.relative_to(path).parts if source.is_relative_to(path) else ()
        yield source, (*names, *inside) if path.is_dir() else names


def _open(path: Path) -> tuple[tuple[Root, ...], str | None]:
    try:
        roots = open_source(path)
        for root in roots:
            # Metadata show the key, and they are asked for on the event loop: read the samples here.
            _ = root.fingerprint
    except SpydeError as error:
        logger.warning("%s", error)
        return (), str(error)
    return roots, None


def _make_nodes(catalog: Catalog, path: tuple[str, ...], wanted: Sequence[Mapping[str, Any]]) -> None:
    for node in wanted:
        catalog.add_node(
            path,
            parent=node.get("parent", "root"),
            operation=node["operation"],
            parameters=node.get("parameters", {}),
            name=node.get("name"),
        )
