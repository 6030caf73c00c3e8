"""The tree factory that a configuration names, and the ASGI app that ``tiled-spyde serve`` runs."""

from __future__ import annotations

import logging
import os
import re
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiled.media_type_registration import default_compression_registry, default_serialization_registry
from tiled.server.settings import get_settings
from tiled.structures.core import StructureFamily

from tiled_spyde import codecs
from tiled_spyde.access import FolderPolicy
from tiled_spyde.bodies import OCTETS
from tiled_spyde.fresh import Fresh
from tiled_spyde.guard import Guard
from tiled_spyde.lane import Lane, LaneSettings
from tiled_spyde.places import database_in
from tiled_spyde.seeking import Seeking
from tiled_spyde.service import CACHE_MB, STORE_MB, Bounds, Service
from tiled_spyde.settings import read_yaml, rights_of, served_folders, trees_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiled.config import Config

    from tiled_spyde.listing import Listing

logger = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\$\{?(\w+)")

# So that a plain `tiled serve` of our tree gives the viewer its compressed slices too.
default_serialization_registry.register(StructureFamily.array, codecs.MEDIA_TYPE, codecs.serialize)
# tiled's own fails on an empty slice.
default_serialization_registry.register(StructureFamily.array, OCTETS, codecs.serialize_raw)
if "blosc2" in default_compression_registry.encodings(OCTETS):
    default_compression_registry.register(
        OCTETS, "blosc2", codecs.any_length(default_compression_registry.dispatch(OCTETS, "blosc2"))
    )


def tree(
    paths: Sequence[str] = (),
    trees: str | Mapping[str, Any] | None = None,
    *,
    folders: Sequence[Mapping[str, Any]] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    state: str | None = None,
    database: str | None = None,
    cache_mb: int = CACHE_MB,
    workers: int | None = None,
    max_seconds: float = 120.0,
    settle_seconds: float = 2.0,
    remember_rights_seconds: float = 60.0,
    deadline_seconds: float = 120.0,
    store_mb: int = STORE_MB,
) -> Listing:
    """Serve files and folders: what a configuration names as ``tiled_spyde.app:tree``.

    Parameters
    ----------
    paths : sequence of str
        Files and folders. A single folder's content stands at the top, else each has its own name.
    trees : str or mapping, optional
        Nodes to begin with, by ``file/signal``, or the YAML file that says so: `tiled_spyde.settings.Trees`.
    folders : sequence of mapping
        Instead of `paths`, folders with rights and calibration of their own: `FolderSettings` there.
    groups : mapping, optional
        Members of each group that ``readers`` and ``editors`` name as ``group:NAME``.
    state : str, optional
        Folder of the database; ``tiled-spyde`` in the user's folder for state by default.
    database : str, optional
        Another place for the trees: ``postgresql://USER:PASSWORD@HOST:PORT/NAME``. By small files in `state`, the
        processes of one machine hear of each other's changes at once.
    cache_mb : int
        Bound on all that is remembered in memory, in MiB: frames, maps, encoded answers, decoded chunks.
    workers : int, optional
        Threads for large requests; as many as cores by default.
    max_seconds : float
        Requests estimated to need longer are refused.
    settle_seconds : float
        A file that was written to is not opened before it has been the same for so long.
    remember_rights_seconds : float
        For how long the straight lane remembers what a credential may read; 0: tiled is asked each time.
    deadline_seconds : float
        A frame that is not there after so long is given up, and answered 503.
    store_mb : int
        Bound on computed results that are kept in the folder for state, in MiB; the least recently used go first.

    Returns
    -------
    Listing
        With our own routes as its ``include_routers``, and what the lane needs as its ``lane``.
    """
    wanted = served_folders(paths, folders)
    bounds = Bounds(
        cache_mb, workers, max_seconds, settle_seconds, remember_rights_seconds, deadline_seconds, store_mb
    )
    service = Service(wanted, rights_of(wanted, groups or {}), database_in(state), database, bounds)
    service.catalog.prepare(trees_of(trees))
    return service.listing()


def demo_tree(
    folder: str | None = None, trees: str | Mapping[str, Any] | None = None, **settings: Any
) -> Listing:
    """Serve the synthetic scan, made at the first start: ``tiled_spyde.app:demo_tree``.

    Parameters
    ----------
    folder : str, optional
        Where the scan is kept; the user's cache by default.
    trees, **settings
        As for `tree`. What is made is remembered beside the scan unless `state` says otherwise.
    """
    from tiled_spyde.demo import cache_folder, make_scan, show_progress

    place = Path(folder).expanduser() if folder else cache_folder()
    scan = make_scan(place, progress=show_progress)
    return tree([str(scan)], trees, **{"state": str(place / "state"), **settings})


def config_for(paths: Sequence[str], *, api_key: str, public: bool = False, **settings: Any) -> Config:
    """Return tiled's configuration for serving `paths` to one person, or to everyone who can connect.

    Parameters
    ----------
    paths : sequence of str
    api_key : str
    public : bool
        Everyone who can connect may read.
    **settings
        For `tree`.
    """
    arguments = {"paths": [str(Path(path).absolute()) for path in paths], **settings}
    return _validated(
        {
            "trees": [{"path": "/", "tree": "tiled_spyde.app:tree", "args": arguments}],
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
    from pydantic import ValidationError
    from tiled.config import parse_configs

    if not file.exists():
        raise ValueError(f"There is no configuration at {file}. Check the path.")
    files = [file] if file.is_file() else sorted((*file.glob("*.yml"), *file.glob("*.yaml")))
    for one in files:
        read_yaml(one)  # tiled would end with a long story
    lines = [
        line for one in files for line in one.read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    named = dict.fromkeys(name for line in lines for name in _VARIABLE.findall(line))
    if missing := [name for name in named if not os.environ.get(name)]:
        raise ValueError(
            f"{file} needs {', '.join(missing)} from the environment. Set {_it(missing)} and start again."
        )
    try:
        return parse_configs(file)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        raise ValueError(f"{file}: {where}: {problem['msg']}. Mend it there.") from error


def build(config: Config) -> Guard | Lane | Fresh:
    """Build the ASGI app of a configuration, with the guard and the straight lane round it.

    Raises
    ------
    ValueError
        The configuration would show folders to others than it says.
    """
    from tiled.server.app import build_app_from_config

    _check_arguments(config)
    _check_database(config)  # before the tree is made: it would make the folder on its way
    _check_rights(config)
    app = wrapped(build_app_from_config(config), config.merged_trees)
    catalog = getattr(config.merged_trees, "catalog", None)
    return Fresh(Seeking(app, catalog, config.merged_trees.lane.previews), catalog) if catalog else app


def wrapped(app: Any, root: Any) -> Guard | Lane:
    """Put the guard round a tiled app, and the straight lane where `root`, which it serves, is one of our trees."""
    if hasattr(app, "dependency_overrides"):
        app.dependency_overrides = _Overrides(app.dependency_overrides)
    settings: LaneSettings | None = getattr(root, "lane", None)
    return Guard(app) if settings is None else Lane(Guard(app), settings)


class _Overrides(dict[Any, Any]):
    """An app's overrides of dependencies, which are not there while they change nothing.

    tiled overrides one, and while there is any, FastAPI inspects the signatures of all anew for each request: half of
    its time. What tiled's gives are the settings of the process with the configuration written into them: the very
    object that it stands in for, unless that was made anew for another app.
    """

    def __bool__(self) -> bool:
        settings = self.get(get_settings)
        return len(self) > 1 or (settings is not None and settings() is not get_settings())


def share_out(config: Config, processes: int, secret: str) -> None:
    """Make `config`, which is not built yet, that of one of several processes.

    Parameters
    ----------
    config : Config
    processes : int
        Each gets its part of ``cache_mb``.
    secret : str
        Signs people's sessions in all of them, where the configuration names no ``secret_keys``.
    """
    for spec in config.trees:
        if spec.tree_type in (tree, demo_tree):
            given = spec.args or {}
            spec.args = {**given, "cache_mb": max(1, int(given.get("cache_mb", CACHE_MB)) // processes)}
    authentication = config.authentication
    if authentication.providers and not authentication.secret_keys and "TILED_SECRET_KEYS" not in os.environ:
        authentication.secret_keys = [secret]


def _check_arguments(config: Config) -> None:
    """Refuse what `tree` does not take, before Python does."""
    for spec in config.trees:
        known = set(signature(tree).parameters) | set(signature(demo_tree).parameters)
        unknown = sorted(set(spec.args or {}) - known)
        if spec.tree_type in (tree, demo_tree) and unknown:
            raise ValueError(
                f"The tree at {spec.path} has no argument {unknown[0]!r}. There are: "
                f"{', '.join(signature(tree).parameters)}."
            )


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
