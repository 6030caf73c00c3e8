"""Safe names in the served tree: each follows from a file's own name alone, whatever else lies beside it."""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b
from pathlib import PurePath

MAX_LENGTH = 150
_LONGEST_ENDING = 12


def safe_name(name: str) -> str:
    """Return `name` where it can stand in a URL; else a safe form of it, marked by a hash of the original.

    The mark begins with ``~``, which no name keeps that is left as it is: so the two kinds never meet, and no
    name depends on which file was found first.
    """
    cleaned = re.sub(r"[^\w .,()+=-]", "_", unicodedata.normalize("NFC", name)).strip(" .")
    if cleaned == name and 0 < len(name) <= MAX_LENGTH:
        return name
    mark = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    ending = PurePath(cleaned).suffix
    ending = ending if len(ending) <= _LONGEST_ENDING else ""
    stem = cleaned.removesuffix(ending)[: MAX_LENGTH - 10 - len(ending)].rstrip(" .")
    return f"{stem or 'unnamed'}~{mark}{ending}"
