"""JSON schema of an operation's parameters → fields that a person fills in. Pure: no Qt, no HTTP.

A field says what it takes; values are plain JSON, as the service reads them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from viewer.readout import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from viewer.nodes import Node

    Schema = Mapping[str, Any]

DEEPEST = 8
PX = "px"
# What says of a part of a schema what it is, beside or round its alternatives.
TELLING = ("description", "unit", "default", "title")
# pydantic speaks of the whole of the parameters where several do not go together.
WHOLE = "parameters"
# What was sent stands in the form.
GOT = re.compile(r" \(got .*\)$", re.DOTALL)


class Sort(StrEnum):
    """What a field takes."""

    NUMBER = "number"
    INTEGER = "integer"
    SWITCH = "switch"
    CHOICE = "choice"
    TEXT = "text"
    POSITION = "position"
    DISTANCE = "distance"
    GROUP = "group"
    VARIANT = "variant"
    LIST = "list"
    MAPPING = "mapping"
    NODE = "node"
    ANY = "any"


@dataclass(frozen=True)
class Field:
    """One parameter, or a part of one.

    Parameters
    ----------
    name : str
        As the service calls it.
    sort : Sort
        What it takes.
    help, unit : str
        What the service says of it.
    default : object
        JSON that stands for leaving it out.
    required, optional : bool
        It cannot be left out; it may be null.
    low, high, above, below : float
        Bounds of a number: the first two belong to it.
    choices : tuple
        JSON of each choice.
    parts : tuple of Field
        Of a group; of a variant, its alternatives.
    tag : str
        What tells the alternatives of a variant apart; empty where their kind does.
    least, most : int
        Numbers of items of a list or mapping; its first part is one item.
    node : mapping
        Which nodes fit.
    """

    name: str
    sort: Sort
    help: str = ""
    unit: str = ""
    default: Any = None
    required: bool = False
    optional: bool = False
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    choices: tuple[Any, ...] = ()
    parts: tuple[Field, ...] = ()
    tag: str = ""
    least: int = 0
    most: int = 1000
    node: Schema | None = None

    @property
    def label(self) -> str:
        """What people read before it."""
        return self.name.replace("_", " ").capitalize()

    @property
    def bottom(self) -> float:
        """Lower bound, whether it belongs to it or not."""
        return max(self.low, self.above)

    @property
    def top(self) -> float:
        """Upper bound, whether it belongs to it or not."""
        return min(self.high, self.below)

    def problem(self, value: float) -> str:
        """Return what is wrong with a number; empty where nothing is."""
        if value <= self.above:
            return f"must be more than {number(self.above)}"
        if value < self.low:
            return f"must be at least {number(self.low)}"
        if value >= self.below:
            return f"must be less than {number(self.below)}"
        return f"must be at most {number(self.high)}" if value > self.high else ""


def form_of(schema: Schema) -> Field:
    """Return the group of an operation's parameters."""
    return _field("", schema, schema, required=True)


def _field(name: str, part: Schema, whole: Schema, required: bool, depth: int = 0) -> Field:
    told = _resolved(part, whole)
    options = [_resolved(option, whole) for key in ("anyOf", "oneOf") for option in told.get(key, ())]
    optional = any(option.get("type") == "null" for option in options)
    options = [option for option in options if option.get("type") != "null"]
    if len(options) == 1:
        told = {**options[0], **{key: told[key] for key in (*TELLING, "x-node") if key in told}}
        field = _field(name, told, whole, required, depth)
        # A node is never left out: null only says that nothing can be chosen for a person.
        return replace(field, optional=optional and field.sort is not Sort.NODE)
    field = Field(
        name,
        _sort(told, options, depth),
        help=" ".join(str(told.get("description", "")).split()),
        unit=told.get("unit", ""),
        default=told.get("default"),
        required=required,
        optional=optional,
        least=told.get("minItems", 0),
        most=told.get("maxItems", told.get("maxProperties", 1000)),
        node=told.get("x-node"),
        low=float(told.get("minimum", -math.inf)),
        above=float(told.get("exclusiveMinimum", -math.inf)),
        high=float(told.get("maximum", math.inf)),
        below=float(told.get("exclusiveMaximum", math.inf)),
    )
    return _with_parts(field, told, options, whole, depth + 1)


def _resolved(part: Schema, whole: Schema) -> dict[str, Any]:
    """Return a part of a schema with what it refers to; what stands beside the reference counts."""
    told = dict(part)
    for _ in range(DEEPEST):
        refers = [told.pop("$ref")] if "$ref" in told else []
        alone = told.pop("allOf") if len(told.get("allOf", ())) == 1 else []
        if not refers and not alone:
            break
        for place in refers:
            told = {**whole.get("$defs", {}).get(place.rpartition("/")[2], {}), **told}
        for inner in alone:
            told = {**inner, **told}
    return told


def _sort(told: Schema, options: list[dict[str, Any]], depth: int) -> Sort:
    properties = told.get("properties", {})
    if told.get("x-node") is not None:
        return Sort.NODE
    if depth > DEEPEST:
        return Sort.ANY
    if "enum" in told or "const" in told or (options and all(_values(option) for option in options)):
        return Sort.CHOICE
    if options:
        return Sort.VARIANT
    if {"value", "unit", "index"} == set(properties):
        return Sort.POSITION
    if {"value", "unit"} == set(properties):
        return Sort.DISTANCE
    if told.get("type") == "object":
        if isinstance(told.get("additionalProperties"), dict):
            return Sort.MAPPING
        return Sort.GROUP if "properties" in told else Sort.ANY
    if told.get("type") == "array" and "items" not in told and "prefixItems" not in told:
        return Sort.ANY
    plain = {"boolean": Sort.SWITCH, "string": Sort.TEXT, "array": Sort.LIST}
    return ({"number": Sort.NUMBER, "integer": Sort.INTEGER} | plain).get(told.get("type", ""), Sort.ANY)


def _values(told: Schema) -> tuple[Any, ...]:
    """Return the values that a part of a schema names one by one."""
    return tuple(told["enum"]) if "enum" in told else ((told["const"],) if "const" in told else ())


def _with_parts(field: Field, told: Schema, options: list[Any], whole: Schema, depth: int) -> Field:
    """Return a field with what it is made of, and a default where the schema gives none."""
    if field.sort is Sort.CHOICE:
        values = _values(told) or tuple(value for option in options for value in _values(option))
        field = replace(field, choices=values)
    elif field.sort in (Sort.POSITION, Sort.DISTANCE):
        value = _field("value", told["properties"]["value"], whole, True, depth)
        field = replace(field, low=value.low, high=value.high, above=value.above, below=value.below)
    elif field.sort is Sort.VARIANT:
        field = _variant(field, told, options, whole, depth)
    elif field.sort is Sort.GROUP:
        field = replace(field, parts=tuple(_members(told, whole, depth)))
    elif field.sort is Sort.LIST and "prefixItems" in told:
        parts = (_field(str(n), item, whole, True, depth) for n, item in enumerate(told["prefixItems"]))
        field = replace(field, sort=Sort.GROUP, tag=Sort.LIST, parts=tuple(parts))
    elif field.sort in (Sort.LIST, Sort.MAPPING):
        item = told["items" if field.sort is Sort.LIST else "additionalProperties"]
        field = replace(field, parts=(_field("", item, whole, True, depth),))
    return field if "default" in told else replace(field, default=None if field.optional else start(field))


def _members(told: Schema, whole: Schema, depth: int) -> Iterator[Field]:
    needed = told.get("required", ())
    for name, part in told.get("properties", {}).items():
        yield _field(name, part, whole, name in needed, depth)


def _variant(field: Field, told: Schema, options: list[Any], whole: Schema, depth: int) -> Field:
    """Alternatives, each under its value of the tag, or what its kind is called."""
    tag = told.get("discriminator", {}).get("propertyName", "")
    if not tag and all(option.get("type") == "object" for option in options):
        shared = [
            {name for name, part in option.get("properties", {}).items() if "const" in part}
            for option in options
        ]
        tag = next(iter(set.intersection(*shared)), "")
    parts = []
    for option in options:
        name = option["properties"][tag]["const"] if tag else str(option.get("title", option.get("type", "")))
        part = _field(str(name), option, whole, True, depth)
        parts.append(replace(part, parts=tuple(member for member in part.parts if member.name != tag)))
    return replace(field, tag=tag, parts=tuple(parts))


def start(field: Field) -> Any:
    """Return a value to begin with where the schema gives no default: JSON that its sort takes."""
    if field.sort in (Sort.NUMBER, Sort.INTEGER):
        bottom = field.bottom if math.isfinite(field.bottom) else min(0.0, field.top)
        value = max(bottom, 1.0) if field.top >= 1 and bottom >= 0 else bottom
        return int(value) if field.sort is Sort.INTEGER else value
    if field.sort is Sort.GROUP:
        values = {part.name: part.default for part in field.parts}
        return list(values.values()) if field.tag else values
    if field.sort is Sort.VARIANT:
        return _tagged(field, field.parts[0], start(field.parts[0]))
    if field.sort is Sort.LIST:
        return [start(field.parts[0])] * field.least
    plain = {
        Sort.SWITCH: False,
        Sort.CHOICE: next(iter(field.choices), None),
        Sort.TEXT: "",
        Sort.POSITION: {"index": 0},
        Sort.DISTANCE: {"value": max(1.0, field.bottom), "unit": PX},
        Sort.MAPPING: {},
    }
    return plain.get(field.sort)


def _tagged(field: Field, part: Field, value: Any) -> Any:
    return {field.tag: part.name, **value} if field.tag else value


def alternative(field: Field, value: Any) -> int:
    """Return which of a variant's alternatives a value is."""
    kinds: dict[Sort, Any] = {Sort.SWITCH: bool, Sort.INTEGER: int, Sort.NUMBER: int | float, Sort.LIST: list}
    for index, part in enumerate(field.parts):
        if field.tag:
            if isinstance(value, dict) and value.get(field.tag) == part.name:
                return index
        elif part.sort is Sort.CHOICE:
            if value in part.choices:
                return index
        elif isinstance(value, kinds.get(part.sort, str if part.sort is Sort.TEXT else dict)):
            return index
    return 0


def trimmed(form: Field, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters to send: what is as it would be anyway is left out.

    The service counts both as the same; a person who reads a recipe later does not want to read all of it.
    """
    return {
        part.name: values[part.name]
        for part in form.parts
        if part.name in values and (part.required or plain(values[part.name]) != plain(part.default))
    }


def plain(value: Any) -> Any:
    """Return a value without what is null: a position with an index has no unit, whether it says so or not."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def problems_of(form: Field, values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is plainly wrong, by the path of the field; the service knows what else may be."""
    return dict(_problems(form, values, ""))


def _problems(field: Field, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value is None:
        if not field.optional and field.sort in (Sort.NODE, Sort.ANY):
            yield path, "choose a node" if field.sort is Sort.NODE else "write JSON, for example 1.5"
    elif field.sort in (Sort.NUMBER, Sort.INTEGER, Sort.DISTANCE):
        size = value["value"] if field.sort is Sort.DISTANCE else value
        if problem := field.problem(size):
            yield path, problem
    elif field.sort in (Sort.LIST, Sort.MAPPING) and not field.least <= len(value) <= field.most:
        yield path, f"{field.least} to {field.most} are needed"
    for part, inner, name in _inside(field, value):
        yield from _problems(part, inner, f"{path}.{name}".lstrip("."))


def _inside(field: Field, value: Any) -> Iterator[tuple[Field, Any, str]]:
    """Yield each part of a field with its value and name."""
    if value is None:
        return
    if field.sort is Sort.VARIANT:
        chosen = field.parts[alternative(field, value)]
        yield from _inside(chosen, value) if field.tag else [(chosen, value, "")]
    elif field.sort is Sort.GROUP:
        for number_, part in enumerate(field.parts):
            yield part, value[number_] if field.tag else value.get(part.name), part.name
    elif field.sort in (Sort.LIST, Sort.MAPPING):
        named = value.items() if field.sort is Sort.MAPPING else enumerate(value)
        for name, inner in named:
            yield field.parts[0], inner, str(name)


def problems_told(detail: str, operation: str, paths: Iterable[str]) -> dict[str, str]:
    """Put what the service refused beside the fields it names; under "" what it says of none.

    Parameters
    ----------
    detail : str
        Its sentences begin with the operation's name, then the parameter's.
    operation : str
        That name.
    paths : iterable of str
        Of the fields, with dots.
    """
    known = sorted(filter(None, paths), key=len, reverse=True)
    problems: dict[str, str] = {}
    for told in re.split(r"; (?=[a-z_][\w.]*: )", detail.removeprefix(f"{operation}: ")):
        sentence = GOT.sub("", told)
        where, _, text = sentence.partition(": ")
        named = [path for path in known if _leads_to(where.split("."), path.split("."))]
        if not named:
            text = text if where == WHOLE else sentence
            named = [path for path in known if re.search(rf"(?<![\w.]){re.escape(path)}(?!\w)", text)]
        path = named[0] if named else ""
        problems[path] = "; ".join(filter(None, (problems.get(path), text or sentence)))
    return problems


def _leads_to(where: list[str], path: list[str]) -> bool:
    """Return True where a place goes through a field; it also says which alternative was tried."""
    places = iter(where)
    return where[0] == path[0] and all(name in places for name in path)


def fitting(wanted: Schema, node: Node, others: Iterable[Node]) -> list[Node]:
    """Return the nodes that a parameter may name.

    Parameters
    ----------
    wanted : mapping
        ``navigation``, "same" as `node` has or "none", and ``signal``, the numbers of signal axes that fit.
    node : Node
        Whose frames it goes with.
    others : iterable of Node
        Those there are.
    """
    scan = [axis.size for axis in node.navigation_axes]
    known: dict[str, list[list[int]]] = {"none": [[]], "same": [scan]}
    scans = known.get(wanted.get("navigation", ""), [scan, []])
    signal: Sequence[int] = wanted.get("signal", range(9))
    return [
        other
        for other in others
        if other.error is None
        and [axis.size for axis in other.navigation_axes] in scans
        and len(other.signal_axes) in signal
    ]
