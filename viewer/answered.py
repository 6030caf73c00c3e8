"""What an answer says beside its body: what a status means, when to come again, where the time went."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from viewer.errors import Busy, Forbidden, Gone, Refused, ServiceError, Unauthorised, Unreachable

if TYPE_CHECKING:
    import httpx

LONGEST_WAIT, SHORTEST_WAIT = 30.0, 0.1


def refusal(answer: httpx.Response, name: str, writing: bool) -> ServiceError:
    """Return the error that a status means."""
    detail = _detail(answer)
    if answer.status_code in (401, 403) and writing:
        return Forbidden(f"This key may look, but make nothing here ({detail}).")
    if answer.status_code in (401, 403):
        # Which scopes tiled misses says nothing to who has forgotten the key.
        wrong = "" if answer.request.headers.get("Authorization") is None else f" ({detail})"
        asks = "another key" if wrong else "a key"
        return Unauthorised(f"{name} asks for {asks}{wrong}. Start the viewer with --api-key KEY.")
    if answer.status_code == 410:
        return Gone(detail)
    if answer.status_code in (429, 503):  # a proxy says the first
        return Busy(detail, seconds_of(answer.headers.get("Retry-After", "")))
    if answer.status_code in (502, 504):
        return Unreachable(f"{name} is behind a proxy that cannot reach it ({detail}).")
    return Refused(detail, answer.status_code)


def _detail(answer: httpx.Response) -> str:
    """Return what the service says went wrong, in one line."""
    detail = None
    with suppress(ValueError, KeyError, TypeError):
        detail = answer.json()["detail"]
    if isinstance(detail, list):
        return "; ".join(map(_complaint, detail))
    return str(detail) if detail else f"{answer.status_code} {answer.reason_phrase}"


def _complaint(item: Any) -> str:
    """One entry of a list of validation errors."""
    if not isinstance(item, dict):
        return str(item)
    place = ".".join(str(part) for part in item.get("loc", ()) if part != "body")
    return f"{place}: {item.get('msg', item)}" if place else str(item.get("msg", item))


def seconds_of(text: str) -> float:
    """Return the seconds that a ``Retry-After`` asks to wait, in words of either kind; a second where it has none."""
    seconds = 1.0
    with suppress(ValueError, OverflowError, TypeError):
        if text.replace(".", "", 1).isdecimal():
            seconds = float(text)
        else:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    return min(max(SHORTEST_WAIT, seconds), LONGEST_WAIT)


def stages_of(text: str) -> dict[str, float]:
    """Return the seconds by stage of a ``Server-Timing`` header; what is not understood is left out."""
    stages: dict[str, float] = {}
    for entry in text.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            word, _, value = parameter.partition("=")
            with suppress(ValueError):
                if word.strip().lower() == "dur" and name:
                    stages[name] = float(value.strip().strip('"')) / 1000
    return stages
