"""One line of the table: what was measured, against what, and whether it meets its target."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

# One line is a plain dict, see README.md; every module that measures gives lines.
Line = dict[str, Any]
Measured = Callable[[], Iterable[Line]]


def line(row: str, what: str, us: float, **more: Any) -> Line:
    """Make one line.

    Parameters
    ----------
    row : str
        The row of the table: ``1z``.
    what : str
    us : float
        What was measured, in `unit`.
    **more
        ``floor`` (in the same unit, of the same run), ``ratio`` (us / floor when left out), ``unit`` (ms when left
        out), ``target`` (as people read it), ``most`` or ``least`` (what `ratio` may be, or `us` where there is no
        floor), ``frame``, ``client``, ``n``, ``note``, ``spread`` (first and third quartile).
    """
    most, least, floor = more.pop("most", None), more.pop("least", None), more.get("floor")
    ratio = more.pop("ratio", us / floor if floor else None)
    judged = us if ratio is None else ratio
    met = None
    if most is not None or least is not None:
        met = (most is None or judged <= most) and (least is None or judged >= least)
    empty = {"frame": "", "client": "", "floor": None, "unit": "ms", "target": "", "n": 1, "note": ""}
    return empty | {"row": row, "what": what, "us": us, "ratio": ratio, "met": met} | more


def failed(row: str, what: str, why: str, **more: Any) -> Line:
    """Make the line of what could not be measured; it says why."""
    return line(row, what, float("nan"), **more) | {"us": None, "met": None, "note": f"not measured: {why}"}


def guarded(row: str, what: str, measured: Measured, **more: Any) -> list[Line]:
    """Return the lines of `measured`, or one that says why there are none: the other rows go on."""
    try:
        return list(measured())
    except Exception as error:  # any: whatever one row runs into is its own
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return [failed(row, what, why[:300], **more)]


def quartiles(times: list[float]) -> list[float]:
    """Return the first and the third quartile."""
    first, _, third = statistics.quantiles(times, n=4)
    return [first, third]
