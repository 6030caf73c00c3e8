"""Registered operations: what a person can do to a signal.

An operation is one class in one of the files here: its fields are the parameters, `output` declares
what comes out, `function` gives what runs on one frame. A new one needs no other change.
"""

from __future__ import annotations

import json
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations.base import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def _kinds(of: type[Operation]) -> Iterator[type[Operation]]:
    for kind in of.__subclasses__():
        yield from _kinds(kind) if isabstract(kind) else (kind,)


REGISTRY: dict[str, type[Operation]] = {
    operation.name: operation
    for operation in sorted(_kinds(Operation), key=lambda o: o.name)  # type: ignore[type-abstract]
}


def build(name: str, parameters: Mapping[str, Any]) -> Operation:
    """Make the operation `name` with `parameters`, which come from outside.

    Raises
    ------
    InvalidOperation
        Unknown operation, or a parameter that is unknown, of the wrong type or out of bounds; the
        message names it and says what is allowed.
    """
    if name not in REGISTRY:
        raise InvalidOperation(f"There is no operation {name!r}. There are: {', '.join(REGISTRY)}.")
    try:
        return REGISTRY[name].model_validate_json(json.dumps(parameters))
    except ValidationError as error:
        raise InvalidOperation(f"{name}: {explain(error)}{_there_are(name, error)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOperation(f"{name}: the parameters are not plain JSON: {error}") from None


def describe() -> list[dict[str, Any]]:
    """List every operation: name, summary, JSON schema of its parameters, and what it accepts."""
    return [
        {
            "name": name,
            "version": operation.version,
            "summary": operation.summary(),
            "accepts": {"signal_dimensions": list(operation.signal_dimensions)},
            "parameters": operation.model_json_schema(),
        }
        for name, operation in REGISTRY.items()
    ]


def explain(error: ValidationError) -> str:
    """Say what is wrong with parameters, each by its name, in one line."""
    problems = error.errors(include_url=False, include_context=False)
    more = "" if len(problems) <= 5 else f"; and {len(problems) - 5} more"
    return "; ".join(map(_sentence, problems[:5])) + more


def _there_are(name: str, error: ValidationError) -> str:
    """Say what parameters an operation has, to who gave one that it has not."""
    unknown = any(
        problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1 for problem in error.errors()
    )
    if not unknown:
        return ""
    known = ", ".join(REGISTRY[name].model_fields)
    return f". Its parameters are: {known}." if known else ". It has no parameters."


def _sentence(problem: Any) -> str:
    # pydantic quotes what was sent, which can be a megabyte.
    where = ".".join(str(part)[:64] for part in problem["loc"]) or "parameters"
    told = problem["msg"].removeprefix("Value error, ")[-300:]
    return f"{where}: {told} (got {str(problem['input'])[:80]})"
