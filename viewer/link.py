"""What is looked at ↔ the part of a link after ``#``. Pure: no Qt, no HTTP.

``v=1&node=scan.hspy/signal/halved&at=3,2&levels=0,120&map=inferno&scale=log&zoom=0,8,1,6&with=root,centre&diff=1``:
names are percent-encoded, whatever else is wrong with a part of it is told in words and the part left out. A link
comes from anywhere, so nothing in it is believed before it is checked.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from viewer.picture import Scale
from viewer.theme import COLORMAPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from viewer.picture import Levels

    Path = tuple[str, ...]
    Position = tuple[int, ...]

VERSION = "1"
MOST_CHARACTERS, MOST_SEGMENTS, MOST_AXES = 4000, 32, 16
MOST_COMPARED, MOST_PINS = 6, 3
MOST_LETTERS = 255
RATES = (1, 2, 4, 8)  # of a flicker, in turns of both pictures each second
INDEX = re.compile(r"[0-9]{1,9}")
KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")
# Beyond this no screen shows anything of a picture, and no intensity is told apart.
LARGEST = 1e30


@dataclass(frozen=True, slots=True)
class Link:
    """One view, as it can be written down.

    Parameters
    ----------
    node : tuple of str
        Path of the node that is shown.
    key : str
        Content key it is pinned to; empty where its name means its newest.
    position : tuple of int
        One index for each of its position axes.
    levels : tuple of float or None
        Contrast, in intensity.
    colormap : str or None
        One of `viewer.theme.COLORMAPS`.
    scale : Scale or None
        How intensity becomes brightness.
    zoom : tuple of float
        Of an image the edges of what is on the screen, in pixels (y0, y1, x0, x1); of a curve both ends, in units.
    compared : tuple of tuple of str
        Paths of the nodes side by side.
    pins : tuple of tuple of int
        Positions that are kept in view.
    difference : bool
        True where B − A is shown beside them.
    flicker : int
        How many turns of A and B there are each second; 0 where they stand side by side.
    own_levels : bool
        True where each of them has its own levels.
    """

    node: Path
    key: str = ""
    position: Position = ()
    levels: Levels | None = None
    colormap: str | None = None
    scale: Scale | None = None
    zoom: tuple[float, ...] = ()
    compared: tuple[Path, ...] = ()
    pins: tuple[Position, ...] = ()
    difference: bool = False
    flicker: int = 0
    own_levels: bool = False


def fragment_of(link: Link) -> str:
    """Write a view down, without the ``#``."""
    node = _path_text(link.node) + (f"@{link.key}" if link.key else "")
    parts = {
        "v": VERSION,
        "node": node,
        "at": _list(link.position),
        "levels": _list(link.levels or ()),
        "map": link.colormap or "",
        "scale": link.scale or "",
        "zoom": _list(link.zoom),
        "with": ",".join(_beside(path, link.node) for path in link.compared),
        "pins": ";".join(map(_list, link.pins)),
        "diff": "1" if link.difference else "",
        "flicker": str(link.flicker) if link.flicker else "",
        "own": "1" if link.own_levels else "",
    }
    return "&".join(f"{name}={text}" for name, text in parts.items() if text)


def read(fragment: str) -> tuple[Link | None, tuple[str, ...]]:
    """Read what `fragment_of` wrote, or anything else.

    Parameters
    ----------
    fragment : str
        Without the ``#``.

    Returns
    -------
    Link or None
        None where it names no node.
    tuple of str
        What was left out, in words.
    """
    if len(fragment) > MOST_CHARACTERS:
        return None, (f"it has more than {MOST_CHARACTERS} characters",)
    texts = dict(part.partition("=")[::2] for part in fragment.split("&") if part)
    if texts.pop("v", "") != VERSION:
        return None, (f"it is not of version {VERSION}: another viewer wrote it",)
    try:
        node, key = _node(texts.pop("node", ""))
    except ValueError as error:
        return None, (f"the node {error}",)
    told: dict[str, object] = {}
    problems = [f"{_shown(name)} is not known" for name in texts if name not in READERS]
    for name, (field, reader) in READERS.items():
        if name in texts:
            try:
                told[field] = reader(texts[name], node)
            except ValueError as error:
                problems.append(f"{name} {error}")
    return Link(node, key, **told), tuple(problems)  # type: ignore[arg-type]


def _list(values: tuple[float, ...]) -> str:
    return ",".join(f"{value!r}".removesuffix(".0") for value in values)


def _path_text(path: Path) -> str:
    return "/".join(quote(segment, safe="") for segment in path)


def _beside(path: Path, node: Path) -> str:
    """Name of a node of the same tree, whole path of another."""
    return _path_text(path[-1:]) if path[:-1] == node[:-1] else f"/{_path_text(path)}"


def _shown(text: str) -> str:
    """Return a text from elsewhere, made fit for a sentence."""
    return repr(text[:20])


def _node(text: str) -> tuple[Path, str]:
    path, at, key = text.partition("@")
    if at and not KEY.fullmatch(key):
        raise ValueError("has no proper key")
    return _path(path), key


def _path(text: str) -> Path:
    path = tuple(map(unquote, text.split("/")))
    if len(path) > MOST_SEGMENTS or not all(map(_is_name, path)):
        raise ValueError(f"{_shown(text)} is no path")
    return path


def _is_name(segment: str) -> bool:
    """Return True for what may stand between two strokes of a path; encoding must not have hidden any in it."""
    plain = segment.isprintable() and "/" not in segment and "\ufffd" not in segment
    return plain and segment not in ("", ".", "..") and len(segment) <= MOST_LETTERS


def _position(text: str, _node: Path = ()) -> Position:
    parts = text.split(",")
    if len(parts) > MOST_AXES or not all(map(INDEX.fullmatch, parts)):
        raise ValueError("is no position")
    return tuple(map(int, parts))


def _floats(text: str, numbers: tuple[int, ...], what: str) -> tuple[float, ...]:
    """Finite numbers, each pair of them rising."""
    try:
        values = tuple(map(float, text.split(",", MOST_AXES)))
    except ValueError:
        values = ()
    sound = all(math.isfinite(value) and abs(value) <= LARGEST for value in values)
    rising = all(low < high for low, high in zip(values[::2], values[1::2], strict=False))
    if len(values) not in numbers or not (sound and rising):
        raise ValueError(f"are no {what}" if numbers == (2,) else f"is no {what}")
    return values


def _levels(text: str, _node: Path) -> Levels:
    low, high = _floats(text, (2,), "two rising numbers")
    return low, high


def _zoom(text: str, _node: Path) -> tuple[float, ...]:
    return _floats(text, (2, 4), "part of a picture")


def _colormap(text: str, _node: Path) -> str:
    if text not in COLORMAPS:
        raise ValueError(f"{_shown(text)} is no colormap here")
    return text


def _scale(text: str, _node: Path) -> Scale:
    if text not in tuple(Scale):
        raise ValueError(f"{_shown(text)} is no scale")
    return Scale(text)


def _compared(text: str, node: Path) -> tuple[Path, ...]:
    paths = tuple(
        _path(part[1:]) if part.startswith("/") else (*node[:-1], *_path(part)) for part in text.split(",")
    )
    if len(paths) > MOST_COMPARED:
        raise ValueError(f"names more than {MOST_COMPARED} nodes")
    return paths


def _pins(text: str, _node: Path) -> tuple[Position, ...]:
    pins = tuple(map(_position, text.split(";")))
    if len(pins) > MOST_PINS:
        raise ValueError(f"are more than {MOST_PINS}")
    return pins


def _switch(text: str, _node: Path) -> bool:
    if text not in ("0", "1"):
        raise ValueError("is neither 0 nor 1")
    return text == "1"


def _rate(text: str, _node: Path) -> int:
    if text not in map(str, RATES):
        raise ValueError(f"{_shown(text)} is no rate of a flicker")
    return int(text)


READERS: dict[str, tuple[str, Callable[[str, Path], object]]] = {
    "at": ("position", _position),
    "levels": ("levels", _levels),
    "map": ("colormap", _colormap),
    "scale": ("scale", _scale),
    "zoom": ("zoom", _zoom),
    "with": ("compared", _compared),
    "pins": ("pins", _pins),
    "diff": ("difference", _switch),
    "flicker": ("flicker", _rate),
    "own": ("own_levels", _switch),
}
