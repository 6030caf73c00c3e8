"""What a configuration says: folders and who may see them, how they are calibrated, and trees to begin with.

Everything is checked before the server starts; an error names the place in the configuration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tiled_spyde.catalog import Served
from tiled_spyde.errors import SpydeError
from tiled_spyde.names import safe_name
from tiled_spyde.operations.calibrate import Calibrate  # noqa: TC001 - pydantic looks it up
from tiled_spyde.prepared import checked
from tiled_spyde.rights import Rights, rights_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Settings(BaseModel):
    """Part of a configuration: nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationRule(Settings):
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


class FolderSettings(Settings):
    """One folder, or file, that is served."""

    path: str = Field(min_length=1, description="Where it is")
    name: str | None = Field(
        None,
        description="The name it is served under, with slashes where folders stand above it; its own when left "
        "out. Empty: its content stands at the top",
    )
    readers: tuple[str, ...] = Field(
        (), description="Who may read: names, group:NAME, * for all who have logged in, public for everyone"
    )
    editors: tuple[str, ...] = Field((), description="Who may also make nodes")
    calibration: tuple[CalibrationRule, ...] = Field(
        (), description="What its files do not say of themselves: the first rule that fits a file counts"
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The name, split at its slashes."""
        wanted = Path(self.path).expanduser().absolute().name if self.name is None else self.name
        return tuple(part for part in wanted.split("/") if part)

    @model_validator(mode="after")
    def _can_be_an_address(self) -> FolderSettings:
        # Rights go by the name, so it must be the very one that the catalogue serves.
        matters = self.name or self.readers or self.editors
        if matters and any(part != safe_name(part) for part in self.names):
            raise ValueError(
                f"{'/'.join(self.names)!r} is no name for addresses. Use letters, digits, - and _."
            )
        return self


def served_folders(paths: Sequence[str], folders: Sequence[Mapping[str, Any]]) -> tuple[FolderSettings, ...]:
    """Return what a configuration serves, each under a name that nothing else has.

    Parameters
    ----------
    paths : sequence of str
        Files and folders. The content of a single folder stands at the top, else each has its own name.
    folders : sequence of mapping
        Instead of `paths`: see `FolderSettings`.

    Raises
    ------
    ValueError
        Something is missing, unknown or named twice.
    """
    if bool(paths) == bool(folders):
        raise ValueError("Give either paths or folders.")
    named = [_checked(FolderSettings, folder, f"folders.{n}") for n, folder in enumerate(folders)]
    if len(paths) == 1 and Path(paths[0]).expanduser().is_dir():
        return (FolderSettings(path=paths[0], name=""),)
    served = (*named, *(FolderSettings(path=path) for path in paths))
    for number, one in enumerate(served):
        for other in (*served[:number], *served[number + 1 :]):
            if other.names[: len(one.names)] == one.names:
                raise ValueError(
                    f"Two folders, {one.path} and {other.path}, would be served as or inside "
                    f"{'/'.join(one.names)!r}. Give each a name of its own (folders: name)."
                )
    return served


def locations(served: Sequence[FolderSettings]) -> list[Served]:
    """Return where each folder is and under which names it is served.

    Raises
    ------
    ValueError
        There is nothing at a path.
    """
    found = []
    for folder in served:
        path = Path(folder.path).expanduser().resolve()
        if not path.exists():
            raise ValueError(f"There is nothing at {path}. Check the path.")
        found.append(Served(path, folder.names))
    return found


def calibration_of(served: Sequence[FolderSettings]) -> Calibration:
    """Return what the folders say of their files."""
    return Calibration(
        {
            Path(folder.path).expanduser().resolve(): folder.calibration
            for folder in served
            if folder.calibration
        }
    )


def rights_of(served: Sequence[FolderSettings], groups: Mapping[str, Sequence[str]]) -> Rights | None:
    """Return who may see what, or None where no folder says so."""
    if not any(folder.readers or folder.editors for folder in served):
        return None
    return rights_from(((folder.names, folder.readers, folder.editors) for folder in served), groups)


def trees_of(wanted: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the nodes to begin with, by ``folder/file/signal``: see `tiled_spyde.prepared.PreparedNode`.

    Parameters
    ----------
    wanted : mapping or path
        As they are, or the YAML file that has them.

    Raises
    ------
    ValueError
        No such file, no YAML, or not what is asked for; the message names the file.
    """
    if not isinstance(wanted, str | Path):
        return wanted or {}
    described = read_yaml(Path(wanted).expanduser())
    if not isinstance(described, dict):
        raise ValueError(f"{wanted}: it is no mapping of folder/file/signal to a list of nodes.")
    try:
        checked(described)
    except SpydeError as error:
        raise ValueError(f"{wanted}: {error}") from error
    return dict(described)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says, an empty mapping for an empty one.

    Raises
    ------
    ValueError
        It cannot be read, or is no YAML; the message says which file, and where.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ValueError(f"Cannot read {path}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8, so no YAML. Check the path.") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}, column {place.column + 1}" if place else ""
        told = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise ValueError(f"{path} is no YAML{where}: {told}. Mend it there.") from error


def _checked(model: Any, described: Any, where: str) -> Any:
    try:
        # As JSON: operations take nothing but what JSON has, and lists for tuples only from there.
        return model.model_validate_json(json.dumps(described))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{where}: it is not plain text, numbers and lists: {error}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, (where, *problem["loc"])))
        raise ValueError(f"{place}: {problem['msg'].removeprefix('Value error, ')}") from None
