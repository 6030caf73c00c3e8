"""How pictures are drawn, by kind, and their levels, by family of nodes. Pure: no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from viewer.nodes import Kind
from viewer.picture import Scale, filled, prepare, prepare_colours
from viewer.readout import signal_word

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from viewer.nodes import Node
    from viewer.picture import Levels, Picture
    from viewer.view_state import Request


FAR = 4.0


@dataclass(frozen=True, slots=True)
class Contrast:
    """How one kind of picture is drawn.

    Parameters
    ----------
    scale : Scale
        How intensity becomes brightness (or height, for a curve).
    colormap : str
        One of `viewer.theme.COLORMAPS`.
    locked : bool
        True to keep the levels while frames change.
    """

    scale: Scale = Scale.LINEAR
    colormap: str = "gray"
    locked: bool = True


class Contrasts:
    """One contrast for each sort of signal; levels are chosen once for a family of nodes, then kept.

    Only a preview may find them senseless: where its numbers lie elsewhere than those they were chosen for (a
    normalised frame, another dtype), they are chosen anew, once, and kept from then on.
    """

    def __init__(self) -> None:
        self._by_word: dict[str, Contrast] = {}
        self.levels: dict[object, Levels] = {}
        self._settled: dict[
            object, tuple[Node, Levels]
        ] = {}  # what was painted last, and where its numbers lie

    def of(self, node: Node) -> Contrast:
        """How nodes like this one are drawn."""
        return self._by_word.get(signal_word(node), _first_contrast(node))

    def put(self, node: Node, contrast: Contrast) -> None:
        """Draw nodes like this one in another way from now on."""
        self._by_word[signal_word(node)] = contrast

    def settle(self, request: Request, picture: Picture) -> Levels:
        """Levels to paint the answer of a request with."""
        node, automatic = request.node, automatic_levels(request.node, picture)
        before, numbers = self._settled.get(node.family, (node, automatic))
        levels = self.levels.get(node.family) if self.of(node).locked else None
        tried = (node.is_preview or before.is_preview) and (node.path, node.key) != (before.path, before.key)
        if tried and levels is not None:
            # Compared at one position, and with what the levels were chosen for: else they would creep.
            if lie_elsewhere(automatic, numbers):
                levels = None
            else:
                automatic = numbers
        self._settled[node.family] = node, automatic
        if levels is not None:
            return levels
        if node.kind is not Kind.MAP or request.stride == 1 or node.is_preview:
            self.levels[node.family] = automatic
        return automatic

    def work(self, node: Node, stride: int = 1) -> Callable[[NDArray[Any]], Picture]:
        """Return what makes an array of a node ready for painting, as it is to be drawn now."""
        if node.colour_axes:
            return prepare_colours
        scale, levels = self.of(node).scale, self.levels.get(node.family)
        return partial(_ready, scale, levels, stride, _grid(node))

    @staticmethod
    def plain(node: Node, stride: int = 1) -> Callable[[NDArray[Any]], Picture]:
        """Return what makes an array of a navigator ready for painting."""
        return partial(_ready, Scale.LINEAR, None, stride, _grid(node))


def _first_contrast(node: Node) -> Contrast:
    """Patterns in colour, images and maps in grey; curves fill their panel at every position."""
    if node.kind is Kind.CURVE:
        return Contrast(locked=False)
    return Contrast(colormap="inferno" if signal_word(node) == "Diffraction" else "gray")


def automatic_levels(node: Node, picture: Picture) -> Levels:
    """1–99 % of an image or map; all of a curve."""
    return picture.automatic if len(node.shown_axes) == 2 else picture.limits


def lie_elsewhere(numbers: Levels, before: Levels) -> bool:
    """Return True where levels that suit the numbers of before show next to nothing of these.

    They do not meet, or are spread over a range so many times as wide, or as narrow.
    """
    (low, high), (low_before, high_before) = numbers, before
    ratio = (high - low) / (high_before - low_before)
    return low > high_before or high < low_before or not 1 / FAR < ratio < FAR


def _grid(node: Node) -> tuple[int, ...] | None:
    """Return the full grid that coarse maps are filled up to."""
    return tuple(axis.size for axis in node.shown_axes) if node.kind is Kind.MAP else None


def _ready(
    scale: Scale, levels: Levels | None, stride: int, grid: tuple[int, ...] | None, raw: NDArray[Any]
) -> Picture:
    """In a worker thread: the picture of an array."""
    picture = prepare(raw, scale, levels)
    return picture if grid is None else filled(picture, stride, grid)
