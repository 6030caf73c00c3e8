"""The tree factory that a configuration names, and the ASGI app that ``tiled-spyde serve`` runs."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiled.media_type_registration import default_serialization_registry
from tiled.structures.core import StructureFamily

from tiled_spyde import codecs
from tiled_spyde.adapters import folder_adapter
from tiled_spyde.catalog import Catalog
from tiled_spyde.errors import SourceError, SpydeError
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.guard import Guard
from tiled_spyde.routes import routes
from tiled_spyde.sources import Root, find_sources, open_source
from tiled_spyde.zarr import zarr_routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiled.adapters.mapping import MapAdapter
    from tiled.config import Config

logger = logging.getLogger(__name__)

# So that a plain `tiled serve` of our tree gives the viewer its compressed slices too.
default_serialization_registry.register(StructureFamily.array, codecs.MEDIA_TYPE, codecs.serialize)
# tiled's own fails on an empty slice.
default_serialization_registry.register(
    StructureFamily.array, "application/octet-stream", codecs.serialize_raw
)


def tree(
    paths: Sequence[str],
    nodes: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    *,
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
    _open_all(catalog, [Path(path).expanduser() for path in paths])
    for address, wanted in (nodes or {}).items():
        _make_nodes(catalog, tuple(address.strip("/").split("/")), wanted)
    evaluator = Evaluator(cache_mb * 2**20, workers, max_seconds)
    top = folder_adapter(lambda: catalog.top, evaluator)
    top.include_routers = [routes(catalog, evaluator), zarr_routes()]
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


def build(config: Config) -> Guard:
    """Build the ASGI app of a configuration, with the guard round it."""
    from tiled.server.app import build_app_from_config

    return Guard(build_app_from_config(config))


def _validated(config: dict[str, Any]) -> Config:
    from tiled.config import Config

    return Config.model_validate(config)


def _open_all(catalog: Catalog, paths: Sequence[Path]) -> None:
    found = [(source, name) for path in paths for source, name in _sources(path, alone=len(paths) == 1)]
    with ThreadPoolExecutor(8, thread_name_prefix="open") as pool:
        for (_, name), (roots, error) in zip(found, pool.map(_open, (s for s, _ in found)), strict=True):
            catalog.add_file(name, roots, error)


def _sources(path: Path, alone: bool) -> Iterable[tuple[Path, tuple[str, ...]]]:
    """Every source below `path`, with the names under which it is served."""
    path = path.absolute()
    if not path.exists():
        raise SourceError(f"There is nothing at {path}. Check the path.")
    above = path if path.is_dir() and alone else path.parent
    for source in find_sources(path):
        relative = source.relative_to(above) if source.is_relative_to(above) else Path(source.name)
        yield source, relative.parts


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
