"""For notebooks: a node of a service as a lazy hyperspy signal. ``tiled_spyde.client.open(url)``.

Needs hyperspy here, nothing of the server; each chunk is fetched when it is computed.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from tiled_spyde.remote import Changed, NotAllowed, RemoteArray, Service, ServiceError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Changed", "NotAllowed", "ServiceError", "Unreachable", "open", "recipe", "script"]

Path = tuple[str, ...]

# What stands between the address of a service and a node's path, in the addresses that people copy.
_BETWEEN = re.compile(
    r"/(?:api/v1/(?:array/(?:full|block)|container/full|node/full|metadata|search-deep|search|nodes)"
    r"|api/v1|zarr/v[23]|ui/browse|ui)(?=/|$)"
)
_ZARR_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def open(url: str, api_key: str | None = None, *, signal_type: bool = False, patience: float = 60.0) -> Any:
    """Open a node as a lazy hyperspy signal: nothing is read until something is computed.

    Parameters
    ----------
    url : str
        A node, as the viewer, a browser, tiled or zarr have it. A tree is its root; a file or folder is
        the only signal in it. ``?api_key=…`` may stand in it.
    api_key : str, optional
        By default what `url` says, else the environment variable ``TILED_API_KEY``. It goes along where
        the signal is pickled, as for dask.distributed.
    signal_type : bool
        Make it a signal of the package for its kind, such as pyxem's for diffraction. Importing that can
        take many seconds, and it must be installed.
    patience : float
        Seconds for which a busy service is asked again.

    Returns
    -------
    hyperspy.signals.BaseSignal
        Lazy, with axes, units, title and metadata. ``original_metadata.tiled_spyde`` says where it is from:
        address, key, recipe and signal type. All its pixels are of the one recipe that was there when it was
        opened; `Changed` is raised where the service does not have that any more.

    Raises
    ------
    ValueError
        `url` is no address of a service.
    ServiceError
        Nobody answers, the credential is not good for it, or there is no such signal.

    Examples
    --------
    >>> scan = tiled_spyde.client.open("http://127.0.0.1:8000/ui/browse/scan.hspy/signal?api_key=…")
    >>> scan.inav[3, 4].plot()
    """
    service, path = _split(url, api_key, patience)
    path, described = _node(service, path)
    signal = _signal(service, path, described)
    origin = described["metadata"]["attributes"]
    signal.original_metadata.add_dictionary({"tiled_spyde": _origin(service, path, origin)})
    if signal_type:
        signal.set_signal_type(origin.get("signal_type") or "")
    if navigator := _navigator(service, path, signal):
        signal.navigator = navigator
    return signal


def recipe(url: str, api_key: str | None = None, *, patience: float = 60.0) -> dict[str, Any]:
    """Return the recipe of a tree, or of a node and what it is made from: a document that another tree can be given.

    Parameters
    ----------
    url, api_key, patience
        As of `open`; `url` names a tree or a node.

    Raises
    ------
    ValueError, ServiceError
        As `open`.
    """
    service, tree, parameters = _recipe(url, api_key, patience)
    return service.json(f"/api/v1/nodes/{_quoted(tree)}/recipe", format="json", **parameters)


def script(url: str, api_key: str | None = None, *, patience: float = 60.0) -> str:
    """Return the recipe of a tree or node as a Python script that computes it without the service; as `recipe`."""
    service, tree, parameters = _recipe(url, api_key, patience)
    return service.get(f"/api/v1/nodes/{_quoted(tree)}/recipe", format="script", **parameters).text


def _recipe(url: str, api_key: str | None, patience: float) -> tuple[Service, Path, dict[str, str]]:
    """Return the service, the tree, and which node of it is meant."""
    service, path = _split(url, api_key, patience)
    specs = {spec["name"] for spec in _described(service, path)["specs"]}
    if "SignalTree" in specs:
        return service, path, {}
    if "SignalNode" in specs:
        return service, path[:-1], {"node": path[-1].partition("@")[0]}
    raise ServiceError(f"{'/'.join(path) or service.url} is no tree or node. Put one behind the address.")


def _split(url: str, api_key: str | None, patience: float) -> tuple[Service, Path]:
    """Return the service and the path in it."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a service. Copy one from a browser or the viewer.")
    query = parse_qs(parts.query)
    if "slice" in query or "block" in query:
        raise ValueError("The address names a part of a node. Open the node, and slice the signal.")
    key = api_key or next(iter(query.get("api_key", ())), None) or os.environ.get("TILED_API_KEY")
    found = _BETWEEN.search(parts.path)
    prefix, below = (
        (parts.path, "") if found is None else (parts.path[: found.start()], parts.path[found.end() :])
    )
    path = tuple(unquote(part) for part in below.split("/") if part)
    if path and path[-1] in _ZARR_METADATA:
        path = path[:-1]
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{prefix.rstrip('/')}"
    return Service(address, key, patience), path


def _node(service: Service, path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the array that `path` means, going down where there is no choice."""
    described = _described(service, path)
    while described["structure_family"] == "container":
        specs = {spec["name"] for spec in described["specs"]}
        attributes = (described.get("metadata") or {}).get("attributes") or {}
        if attributes.get("state") == "failed":
            raise ServiceError(
                f"{'/'.join(path)} cannot be opened: {attributes.get('failure') or attributes.get('error')}"
            )
        name = "root" if "SignalTree" in specs else _only_child(service, path)
        path = (*path, name)
        described = _described(service, path)
    attributes = (described.get("metadata") or {}).get("attributes") or {}
    if described["structure_family"] != "array" or "axes" not in attributes:
        raise ServiceError(f"{'/'.join(path)} is no signal of tiled-spyde: it does not describe its axes.")
    return path, described


def _only_child(service: Service, path: Path) -> str:
    page = service.json(f"/api/v1/search/{_quoted(path)}", fields="metadata", **{"page[limit]": 10})
    names = [entry["id"] for entry in page["data"]]
    if len(names) == 1:
        return str(names[0])
    where = "/".join(path) or service.url
    if not names:
        raise ServiceError(f"There is nothing in {where} that this key may read.")
    more = ", …" if page.get("meta", {}).get("count", 0) > len(names) else ""
    raise ServiceError(
        f"{where} holds several: {', '.join(names)}{more}. Put one of them behind the address."
    )


def _described(service: Service, path: Path) -> dict[str, Any]:
    answered = service.json(f"/api/v1/metadata/{_quoted(path)}")
    try:
        described: dict[str, Any] = answered["data"]["attributes"]
    except (LookupError, TypeError):
        raise ServiceError(f"{service.url} is no tiled-spyde service.") from None
    return described


def _signal(service: Service, path: Path, described: Mapping[str, Any]) -> Any:
    """Return the hyperspy signal of a node."""
    try:
        import dask.array
        from hyperspy.signals import BaseSignal, Signal1D, Signal2D
    except ImportError as error:
        raise ImportError('Signals need hyperspy here: pip install "tiled-spyde[notebook]"') from error

    attributes = described["metadata"]["attributes"]
    remote = _remote(service, path, described)
    data = dask.array.from_array(  # type: ignore[no-untyped-call]
        remote,
        chunks=tuple(map(tuple, described["structure"]["chunks"])),
        name=f"{path[-1]}-{dask.base.tokenize(remote)}",
        meta=np.empty((0,) * remote.ndim, remote.dtype.newbyteorder("=")),
        inline_array=True,
    )
    data, axes = _with_colour(data, attributes["axes"])
    kind = {1: Signal1D, 2: Signal2D}.get(sum(not axis["navigate"] for axis in axes), BaseSignal)
    signal = kind(data, axes=[_axis(axis) for axis in axes]).as_lazy()
    # Complex numbers have a class of hyperspy's own; no package is imported for this.
    signal.set_signal_type("")
    kept = {key: value for key, value in (attributes.get("metadata") or {}).items() if key != "Signal"}
    title = attributes.get("title") or ""
    signal.metadata.add_dictionary(kept | {"General": kept.get("General", {}) | {"title": title}})
    return signal


def _remote(service: Service, path: Path, described: Mapping[str, Any]) -> RemoteArray:
    structure, key = described["structure"], described["metadata"]["attributes"].get("key")
    pinned = path if not key or "@" in path[-1] else (*path[:-1], f"{path[-1]}@{key}")
    number = structure["data_type"]
    dtype = np.dtype(f"<{number['kind']}{number['itemsize']}")
    return RemoteArray(service, _quoted(pinned), tuple(structure["shape"]), dtype)


def _with_colour(data: Any, axes: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """Return what hyperspy makes of a colour axis: one structured number per pixel."""
    if not axes or axes[-1]["name"] != "colour" or data.dtype.kind != "u" or data.shape[-1] not in (3, 4):
        return data, axes
    pixel = np.dtype({"names": list("RGBA"[: data.shape[-1]]), "formats": [data.dtype] * data.shape[-1]})
    whole = data.rechunk({data.ndim - 1: -1})
    return whole.map_blocks(_packed, pixel, dtype=pixel, drop_axis=data.ndim - 1), axes[:-1]


def _packed(block: Any, pixel: np.dtype[Any]) -> Any:
    return np.ascontiguousarray(block).view(pixel)[..., 0]


def _axis(described: Mapping[str, Any]) -> dict[str, Any]:
    shared = {"name": described["name"], "units": described["units"], "navigate": described["navigate"]}
    if described.get("values"):
        return shared | {"axis": list(described["values"])}
    return shared | {name: described[name] for name in ("size", "scale", "offset")}


def _navigator(service: Service, path: Path, signal: Any) -> Any:
    """Return the tree's navigator, lazy too, so that a plot does not read the scan to make one."""
    shape = signal.axes_manager.navigation_shape
    if not shape or not signal.axes_manager.signal_shape:
        return None
    try:
        described = _described(service, (*path[:-1], "navigator"))
        navigator = _signal(service, (*path[:-1], "navigator"), described)
    except (NotAllowed, LookupError):
        return None
    return navigator.T if navigator.axes_manager.navigation_shape == shape else None


def _origin(service: Service, path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Say where a signal is from, without the credential."""
    address = f"{service.url}/api/v1/metadata/{_quoted(path)}"
    kept = {name: attributes.get(name) for name in ("key", "recipe", "signal_type", "versions")}
    return {"address": address} | {name: value for name, value in kept.items() if value is not None}


def _quoted(path: Path) -> str:
    return "/".join(quote(part, safe="") for part in path)
