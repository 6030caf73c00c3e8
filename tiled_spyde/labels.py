"""What files and people call axes and units, in the words of the field."""

from __future__ import annotations

import re
from typing import Any

LONGEST_NAME, LONGEST_UNITS = 64, 32  # characters

# Units that say nothing: an axis with one of them, or with none, is uncalibrated.
_NO_UNITS = {
    "",
    "-",
    "?",
    "1",
    "a.u.",
    "none",
    "pixel",
    "pixels",
    "px",
    "undefined",
    "<undefined>",
    "channel",
}
_NAMES = {
    "micron": "µm", "microns": "µm", "micrometer": "µm", "micrometre": "µm", "um": "µm",
    "nanometer": "nm", "nanometre": "nm", "angstrom": "Å", "angstroms": "Å", "ang": "Å",
    "sec": "s", "second": "s", "seconds": "s", "degree": "°", "degrees": "°", "deg": "°",
    "electron volt": "eV", "ev": "eV", "kev": "keV",
}  # fmt: skip


def plain_text(text: object) -> str:
    """Return `text` with what is no Unicode replaced: names of files and fields can be any bytes."""
    return str(text).encode("utf-8", "replace").decode()


def default_names(navigate: bool, navigation: int, signal: int) -> list[str]:
    """Return names for the axes of one role, for a scan of so many navigation and signal axes."""
    if navigate:
        names, count = (["z"] if navigation == 1 and signal > 1 else ["t", "z", "y", "x"]), navigation
    elif signal == 1:
        names, count = ["channel"], signal
    else:
        names, count = (["kz", "ky", "kx"] if navigation > 1 else ["z", "y", "x"]), signal
    return [*(f"axis_{number}" for number in range(count - len(names))), *names]


def unused(name: str, taken: set[str]) -> str:
    """Return `name`, with a number behind it where it is taken."""
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def clean_name(name: Any) -> str:
    """Return the name of an axis, empty where the file gives none."""
    text = plain_text(name).strip() if isinstance(name, str) else ""
    text = "".join(letter for letter in text if letter.isprintable())
    return "" if text.lower() in {"", "undefined", "<undefined>", "none"} else text[:LONGEST_NAME]


def clean_units(units: Any) -> str | None:
    """Return units as the field writes them, None where there are none.

    Examples
    --------
    >>> clean_units("$nm$"), clean_units("1 / nm"), clean_units("A^-1"), clean_units("px")
    ('nm', '1/nm', '1/Å', None)
    """
    if not isinstance(units, str) or len(units) > 4 * LONGEST_UNITS:
        return None
    text = plain_text(units).replace("\\mathrm", "").replace("\\mu", "µ").replace("μ", "µ")
    text = re.sub(r"[{}$\0\s_]+", "", text).replace("**", "^")
    if text.lower() in _NO_UNITS or len(text) > LONGEST_UNITS or not text.isprintable():
        return None
    inverse = re.fullmatch(r"1/(.+)|(.+?)\^?(?:-1|⁻¹)", text)
    if inverse:
        base = clean_units(inverse[1] or inverse[2])
        return f"1/{'Å' if base == 'A' else base}" if base else None  # nobody counts per ampere
    return _NAMES.get(text.lower(), text)
