"""What a configuration says of the served folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from tiled_spyde.errors import InvalidOperation
from tiled_spyde.operations import explain
from tiled_spyde.operations.base import Strict
from tiled_spyde.operations.calibrate import Calibrate  # noqa: TC001 - pydantic looks it up

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class CalibrationRule(Strict):
    """What is known of the files of a folder that they do not say."""

    match: str = Field(
        min_length=1,
        max_length=1000,
        description="Files, by their path in the folder, in any case: *.mib, 2026-11/*, run?.hdf5. "
        "A * also stands for folders",
    )
    signal: str | None = Field(None, description="Only the signal of this name; all of a file by default")
    calibrate: Calibrate

    def fits(self, name: str, signal: str) -> bool:
        """Whether it is about the signal `signal` of the file `name`, a path in the folder of the rule."""
        return fnmatchcase(name.lower(), self.match.lower()) and self.signal in (None, signal)


@dataclass(frozen=True)
class Calibration:
    """Which calibration stands before everything else that is made of a signal.

    Parameters
    ----------
    rules : mapping of pathlib.Path to sequence of CalibrationRule
        By the absolute path of a served folder, or of a served file. The rules of the folder next to a
        file come first; of a folder's rules the first that fits counts.
    """

    rules: Mapping[Path, Sequence[CalibrationRule]]

    def __call__(self, path: Path, signal: str) -> Calibrate | None:
        """Return the calibration of a signal of the file at `path`, None where there is none."""
        for folder in (path, *path.parents):
            name = path.relative_to(folder if folder != path else path.parent).as_posix()
            for rule in self.rules.get(folder, ()):
                if rule.fits(name, signal):
                    return rule.calibrate
        return None


def calibration_rules(said: Any, where: str) -> tuple[CalibrationRule, ...]:
    """Return the rules that a configuration gives for one folder.

    Parameters
    ----------
    said : list of mapping
        As read from YAML: ``match``, ``signal`` (optional) and ``calibrate``.
    where : str
        Names the configuration and the folder in errors.

    Raises
    ------
    InvalidOperation
        A rule is not one; the message names it, the parameter, and what is allowed.
    """
    if not isinstance(said, list | tuple):
        raise InvalidOperation(f"{where}: calibration is a list of rules, each with match and calibrate.")
    return tuple(_rule(rule, f"{where}: calibration rule {number}") for number, rule in enumerate(said, 1))


def _rule(said: Any, where: str) -> CalibrationRule:
    if isinstance(said, dict) and isinstance(said.get("match"), str):
        where = f"{where} ({said['match'][:64]})"
    try:
        return CalibrationRule.model_validate_json(json.dumps(said))
    except ValidationError as error:
        raise InvalidOperation(f"{where}: {explain(error)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOperation(f"{where}: it is not plain text, numbers and lists: {error}") from None
