"""What HTTP asks of headers (RFC 9110, 9111 and the Fetch standard), as functions of headers alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.datastructures import Headers, MutableHeaders

REVALIDATED = "private, no-cache"
IMMUTABLE = "private, max-age=31536000, immutable"

# What a script from another origin may read of an answer.
EXPOSED = (
    "Content-Length, Content-Range, Content-Encoding, ETag, Location, Retry-After, "
    "X-Array-Dtype, X-Array-Shape, X-Node, X-Node-Structure, X-Tiled-Request-ID"
)
_METHODS = "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"
# Asked for where a preflight does not say what it needs.
_REQUEST_HEADERS = "Authorization, Content-Type, If-Match, If-None-Match, Range"

# What of a request decides about the answer of a data route.
VARYING = ("Accept", "Accept-Encoding", "Authorization", "Cookie")

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_STRONG_OR_WEAK = re.compile(r'(W/)?"([^"]*)"')
_TOKENS = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*")
_ENCODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def matches(if_none_match: str | None, etag: str) -> bool:
    """Say whether a client has this representation already (weak comparison; ``*`` is any, no tag is none)."""
    if not if_none_match:
        return False
    return if_none_match.strip() == "*" or (bool(etag) and opaque(etag) in _TAG.findall(if_none_match))


def still_holds(if_match: str | None, etag: str) -> bool:
    """Say whether a change may be made to what has `etag` now (strong comparison: a weak tag never holds)."""
    if if_match is None or if_match.strip() == "*":
        return True
    return any(not weak and tag == opaque(etag) for weak, tag in _STRONG_OR_WEAK.findall(if_match))


def opaque(etag: str) -> str:
    """Return what stands between the quotes of an entity tag, or the tag itself where it has none."""
    quoted = _TAG.fullmatch(etag)
    return quoted[1] if quoted else re.sub(r"[^!#-~]", "", etag)


def tag_representation(headers: MutableHeaders) -> None:
    """Quote the ETag, and let it differ by media type and encoding: those are different bytes."""
    if "etag" not in headers:
        return
    parts = [opaque(headers["etag"])]
    if not _TAG.fullmatch(headers["etag"]):
        parts += re.findall(r"[\w.-]+", headers.get("content-type", "").partition(";")[0])[-1:]
    if encoding := headers.get("content-encoding"):
        parts.append(encoding)
    weak = "W/" if headers["etag"].startswith("W/") else ""
    headers["etag"] = f'{weak}"{"-".join(parts)}"'


def accepted_encodings(accept_encoding: str) -> str:
    """Return the encodings a client wants, best first, without those it refuses by ``q=0``."""
    asked = [m for m in map(_ENCODING.fullmatch, accept_encoding.lower().split(",")) if m]
    quality = {m[1]: float(m[2] or 1) for m in asked}
    if quality.pop("*", 0) > 0:
        quality.setdefault("gzip", 0.001)
    return ", ".join(sorted((name for name, q in quality.items() if q > 0), key=lambda name: -quality[name]))


def add_vary(headers: MutableHeaders, *names: str) -> None:
    """Add names to Vary, each once."""
    for name in names:
        known = [given.strip().lower() for given in headers.get("vary", "").split(",")]
        if name.lower() not in known and "*" not in known:
            headers.add_vary_header(name)


def allow_origin(headers: MutableHeaders, origin: str | None, allowed: Collection[str]) -> bool:
    """Let scripts of a configured origin read the answer; credentials only where it is named itself."""
    for name in ("allow-origin", "allow-credentials", "expose-headers"):
        if f"access-control-{name}" in headers:
            del headers[f"access-control-{name}"]
    if not allowed:
        return False
    add_vary(headers, "Origin")
    if origin is None or not {origin, "*"} & set(allowed):
        return False
    if origin in allowed:
        headers["access-control-allow-origin"] = origin
        headers["access-control-allow-credentials"] = "true"
    else:
        headers["access-control-allow-origin"] = "*"
    headers["access-control-expose-headers"] = EXPOSED
    return True


def preflight(asked: Headers) -> dict[str, str]:
    """Headers that tell a browser what a request from an allowed origin may contain."""
    wanted = asked.get("access-control-request-headers", "").strip()
    return {
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": wanted if _TOKENS.fullmatch(wanted) else _REQUEST_HEADERS,
        "access-control-max-age": "600",
        "vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
    }


def server_timing(seconds: Mapping[str, float], theirs: str = "") -> str:
    """Return ``Server-Timing``: stages in milliseconds, and what `theirs` says of others.

    Parameters
    ----------
    seconds : mapping of str to float
        By stage.
    theirs : str
        A header that is there already.
    """
    ours = [f"{stage};dur={time * 1000:.3f}" for stage, time in seconds.items()]
    if not theirs:
        return ", ".join(ours)
    kept = [part for part in map(str.strip, theirs.split(",")) if part.partition(";")[0] not in seconds]
    return ", ".join(filter(None, (*ours, *kept)))
