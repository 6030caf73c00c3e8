"""The command line of a recipe's script: which nodes to save, and where."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiled_spyde.errors import InvalidOperation, NotFound, SpydeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KINDS = (".npy", ".hspy", ".zspy")


def run(
    recipe: Callable[..., Mapping[str, Any]],
    file: str,
    arguments: Sequence[str] | None = None,
    others: Mapping[str, str] | None = None,
) -> None:
    """Do what the command line asks for: list the nodes, or save some.

    Parameters
    ----------
    recipe : callable
        From a file to its nodes by name, as hyperspy's lazy signals. Where there are `others`, it is given these too.
    file : str
        Opened where the command line names none.
    arguments : sequence of str, optional
        The command line's by default.
    others : mapping of str to str, optional
        Other files that it needs, by what they are called in the recipe: looked for beside the first one.
    """
    parser = argparse.ArgumentParser(description="Without --save it lists the nodes.")
    parser.add_argument("file", nargs="?", default=file, metavar="FILE", help="default: %(default)s")
    parser.add_argument(
        "--node", action="append", default=[], metavar="NAME", help="a node; as often as needed"
    )
    parser.add_argument(
        "--save", action="append", default=[], metavar="OUT", help=f"its file: {', '.join(KINDS)}"
    )
    parser.add_argument("--position", metavar="Y,X", help="only this position of the scan, counted from 0")
    if others:
        said = f"where another file is, by default beside FILE: {', '.join(others)}".replace("%", "%%")
        parser.add_argument("--other", action="append", default=[], metavar="NAME=FILE", help=said)
    given = parser.parse_args(arguments)
    if given.save and len(given.save) != len(given.node):
        parser.error("give as many --node as --save")
    try:
        nodes = recipe(given.file, _places(others, given)) if others else recipe(given.file)
        chosen = [(name, _part(_node(nodes, name), given.position)) for name in given.node or nodes]
        for (_, signal), out in zip(chosen, given.save, strict=False):
            save(signal, out)
            print(f"saved {out}")
    except (SpydeError, OSError) as error:
        parser.error(str(error))
    if not given.save:
        for name, signal in chosen:
            print(f"{name}: {signal}, {signal.data.dtype}")


def save(signal: Any, out: str | Path) -> None:
    """Compute a lazy signal and save it.

    Parameters
    ----------
    signal : hyperspy.signals.BaseSignal
        Computed chunk by chunk.
    out : path
        ``.npy`` has the numbers only, ``.hspy`` and ``.zspy`` the axes and metadata too.

    Raises
    ------
    InvalidOperation
        There is something at `out`, or it ends differently.
    """
    out = Path(out)
    if out.suffix not in KINDS:
        raise InvalidOperation(f"{out.name}: save as one of {', '.join(KINDS)}.")
    if out.exists():  # it may be the very file that is being read
        raise InvalidOperation(f"{out} is there already. Give another name, or delete it.")
    if out.suffix == ".npy":
        _save_npy(signal.data, out)
    elif out.suffix == ".zspy":
        _save_zspy(signal, out)
    else:
        signal.save(out)


def _places(others: Mapping[str, str], given: argparse.Namespace) -> dict[str, Path]:
    """Return where the other files are: beside the first one, unless one that is called the same may be meant."""
    beside, called = Path(given.file), [Path(given.file).name, *others.values()]
    places = {name: beside.with_name(file) for name, file in others.items() if called.count(file) == 1}
    for one in given.other:
        name = next((name for name in others if one.startswith(f"{name}=")), None)
        if name is None:
            raise NotFound(f"--other {one}: give one of {', '.join(others)}, and where it is: NAME=FILE.")
        places[name] = Path(one.removeprefix(f"{name}="))
    for name, file in others.items():
        if name not in places or not places[name].exists():
            raise NotFound(f"Where is {places.get(name, file)}? Say it: --other {name}=FILE.")
    return places


def _node(nodes: Mapping[str, Any], name: str) -> Any:
    if name not in nodes:
        raise NotFound(f"There is no node {name!r} in this recipe. There are: {', '.join(nodes)}.")
    return nodes[name]


def _part(signal: Any, position: str | None) -> Any:
    """Return the signal at one position, which is said in array order; hyperspy has x first."""
    if position is None:
        return signal
    shape = signal.axes_manager.navigation_shape[::-1]
    if not shape:
        raise InvalidOperation(f"--position {position}: this node has no scan. Leave --position out.")
    try:
        index = tuple(map(int, position.split(",")))
    except ValueError:
        index = ()
    if len(index) != len(shape) or not all(0 <= at < size for at, size in zip(index, shape, strict=True)):
        raise InvalidOperation(
            f"--position {position}: this node's scan has {' × '.join(map(str, shape))} positions. "
            "Give one number for each axis of the scan, counted from 0."
        )
    return signal.inav[index[::-1]]


def _save_npy(data: Any, out: Path) -> None:
    import dask.array as da

    data = da.asarray(data)  # type: ignore[no-untyped-call]
    array = np.lib.format.open_memmap(out, "w+", data.dtype, data.shape)
    da.store([data], [array])
    array.flush()


def _save_zspy(signal: Any, out: Path) -> None:
    """Write what hyperspy would, as zarr v2: its own writer does not know zarr-python 3."""
    import dask.array as da
    import zarr

    data = da.asarray(signal.data)  # type: ignore[no-untyped-call]
    chunks = tuple(max(sizes) for sizes in data.chunks)
    top = zarr.open_group(out, mode="w", zarr_format=2)
    top.attrs.update({"file_format": "ZSpy", "file_format_version": "3.3"})
    group = top.create_group("Experiments").create_group("signal")
    group.attrs.update({"package": "hyperspy", "package_version": "2"})
    array: Any = group.create_array("data", shape=data.shape, dtype=data.dtype, chunks=chunks)
    da.store([data.rechunk(chunks)], [array])
    for number, axis in enumerate(signal.axes_manager.as_dictionary().values()):
        _write(group.create_group(f"axis-{number}"), axis)
    _write(group.create_group("metadata"), signal.metadata.as_dictionary())
    group.create_group("original_metadata")


def _write(group: Any, values: Mapping[str, Any]) -> None:
    """Write plain values as attributes, arrays as arrays; what hyperspy keeps beside these is not needed."""
    for name, value in values.items():
        if isinstance(value, dict):
            _write(group.create_group(name), value)
        elif isinstance(value, np.ndarray):
            group.create_array(name, data=value)
        elif value is None or isinstance(value, str | bool | int | float):
            group.attrs[name] = "_None_" if value is None else value
