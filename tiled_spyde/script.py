"""A recipe as a Python script for hyperspy, to be read and run by people without the server.

Nothing that a person has chosen can become code: names and parameters are written by `repr`, and what stands in a
comment is one line of printable characters. Variables are named by this module.
"""

from __future__ import annotations

import builtins
import keyword
import re
import textwrap
from pprint import pformat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tiled_spyde.errors import InvalidOperation, SpydeError
from tiled_spyde.node import NAVIGATOR, ROOT
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.travel import foreign, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tiled_spyde.travel import Document, NodeStep, Step

NO_OTHERS: Mapping[str, Document] = MappingProxyType({})
_WIDTH = 100
_LONGEST = 300  # characters of a text in a comment
_USED = {
    "apply",
    "open_signal",
    "run",
    "recipe",
    "file",
    "others",
    *keyword.kwlist,
    *keyword.softkwlist,
    *dir(builtins),
}

# The first two lines say how Python reads the others: no text of a person may stand there.
_HEAD = """\
#!/usr/bin/env python3
# -*- coding: utf-8 -*-
"""
_USE = """\
#
# It computes what the server shows, bit for bit, without it:
#
#     pip install "tiled-spyde[script]"
#     python recipe.py FILE --node NAME --save OUT.hspy        (or .zspy, .npy; --position Y,X for one position)
#
# In a notebook, recipe(FILE)["NAME"] is a lazy hyperspy signal.
"""
_IMPORTS = """\

from tiled_spyde.saving import run
from tiled_spyde.steps import apply, open_signal


"""
_ALONE = """\
def recipe(file):
    \"\"\"Return every node by its name, as hyperspy's lazy signals.\"\"\"
"""
_WITH_OTHERS = """\
def recipe(file, others):
    \"\"\"Return every node by its name, as hyperspy's lazy signals; `others`: where the other files are.\"\"\"
"""


def script_of(
    document: Document, only: str | None = None, others: Mapping[str, Document] = NO_OTHERS, here: str = ""
) -> str:
    """Return the script of a recipe.

    Parameters
    ----------
    document : Document
        Of a whole tree, or of one node.
    only : str, optional
        The node that must be in it. Any other that cannot be written is left out, and a comment says why.
    others : mapping of str to Document, optional
        Recipes of nodes of other trees that parameters name, by the path that names them.
    here : str
        Where the file of the tree is served: another tree may be of the same one.

    Raises
    ------
    InvalidOperation
        `only` cannot be written as a script; the message says why.
    """
    variables, taken = {ROOT: ROOT}, {ROOT, *_USED}
    files: dict[str, str] = {}
    before, known = _elsewhere(document, others, here, taken, files)
    body = [*before, *_opening(document, ROOT, "file"), *_nodes(document, variables, known, taken, only)]
    for lost in document.left:
        body += ["", *_comment(f"{lost.name!r} is left out: {lost.why}")]
    body += ["", "return {", *(f"    {name!r}: {one}," for name, one in variables.items()), "}"]
    inside = "\n".join(f"    {line}" if line else "" for line in body)
    given = f"{_file(document)!r}" + (f", others={files!r}" if files else "")
    run = f'\n\n\nif __name__ == "__main__":\n    run(recipe, {given})\n'
    head = _WITH_OTHERS if files else _ALONE
    return f"{_HEAD}{_title(document)}{_USE}{_IMPORTS}{head}{inside}{run}"


def _elsewhere(
    document: Document, others: Mapping[str, Document], here: str, taken: set[str], files: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return what makes the nodes of other trees that parameters name, and the variables of these by their paths.

    `files` is filled: names of the other files, by where they are served.
    """
    body: list[str] = []
    known: dict[str, str] = {}
    trees: dict[str, dict[str, str]] = {}
    for path in _deepest_first(document, others, {}):
        tree, _, name = path.rpartition("/")
        address, one = tree.rpartition("/")[0].strip("/"), others[path]
        if tree not in trees:
            root = _variable(f"{_file(one)} {ROOT}", taken)
            trees[tree] = {ROOT: root}
            if address != here:
                files[address] = _file(one)
            body += _comment(f"From {address!r}.")
            body += [*_opening(one, root, "file" if address == here else f"others[{address!r}]")]
        body += _nodes(one, trees[tree], known, taken, None, name)
        body += [""]
        if name in trees[tree]:
            known[path] = trees[tree][name]
    return body, known


def _deepest_first(
    document: Document, others: Mapping[str, Document], found: dict[str, bool]
) -> Iterator[str]:
    """Yield the paths of nodes of other trees, each after those that it is made from itself."""
    for path in sorted(foreign(document)):
        if path in others and path not in found:
            found[path] = True
            yield from _deepest_first(others[path], others, found)
            yield path


def _nodes(
    document: Document,
    variables: dict[str, str],
    known: Mapping[str, str],
    taken: set[str],
    only: str | None,
    wanted: str = "",
) -> list[str]:
    """Return what makes the nodes of a document, and add their variables; those that have one are made already."""
    body = _navigator(document, variables, taken, wanted)
    for step in document.nodes:
        if step.name in variables:
            continue
        why = _unwritable(step, variables, known)
        if why is None:
            variables[step.name] = _variable(step.name, taken)
            body += _node(step, {**variables, **known})
        elif step.name == only:
            raise InvalidOperation(f"{only!r} cannot be written as a script: {why}")
        else:
            body += ["", *_comment(f"{step.name!r} is left out: {why}")]
    return body


def _title(document: Document) -> str:
    source = document.source
    of = f" of the signal {source.signal!r} in {source.file!r}" if source else ""
    versions = ", ".join(f"{name} {version}" for name, version in document.versions.items())
    lines = _comment(f"A recipe{of}.")
    if versions:
        lines += _comment(f"Written where these computed: {versions}. With others, last digits may differ.")
    return "\n".join(lines) + "\n"


def _file(document: Document) -> str:
    return document.source.file if document.source else "scan.hspy"


def _opening(document: Document, root: str, file: str) -> Iterator[str]:
    source = document.source
    if source:
        shape = " × ".join(map(str, source.shape))
        yield from _comment(f"The signal as the file has it: {shape} numbers, {source.dtype}.")
    yield f"{root} = open_signal({file}{f', {source.signal!r}' if source else ''})"
    if document.calibration:
        yield ""
        yield from _comment("What the configuration of the server says of this file.")
        yield from _described(document.calibration)
        yield from _call(root, root, document.calibration, {})


def _navigator(document: Document, variables: dict[str, str], taken: set[str], wanted: str) -> list[str]:
    """Return the image that a person points into, where it is wanted or a node is made from it."""
    used = wanted == NAVIGATOR or any(NAVIGATOR in step.made_from for step in document.nodes)
    if not used or NAVIGATOR in variables:
        return []
    variables[NAVIGATOR] = _variable(NAVIGATOR, taken)
    made = f"{variables[NAVIGATOR]} = apply({variables[ROOT]}, 'sum')"
    return ["", *_comment("The navigator: the sum over each frame."), made]


def _node(step: NodeStep, variables: Mapping[str, str]) -> Iterator[str]:
    yield ""
    yield from _comment(f"{step.name!r}, made from {step.parent!r}")
    yield from _described(step)
    for line in (step.description or "").splitlines():
        yield from _comment(line, 4)
    yield from _call(variables[step.name], variables[step.parent], step, variables)


def _unwritable(step: NodeStep, variables: Mapping[str, str], known: Mapping[str, str]) -> str | None:
    """Say why a node is not in the script; None where it is."""
    if step.failure:
        return step.failure
    if missing := [above for above in step.made_from if above not in variables]:
        return f"{missing[0]!r}, which it is made from, is left out."
    if lost := [name for name in named(step.parameters) if name.startswith("/") and name not in known]:
        return f"a parameter is {lost[0]!r}, a node of another file that is not in it."
    if step.operation not in REGISTRY:
        return f"there is no operation {step.operation!r}."
    return None


def _described(step: Step) -> Iterator[str]:
    """Yield what an operation does, and what its parameters mean, with their units."""
    operation = REGISTRY.get(step.operation)
    if operation is None:
        return
    yield from _comment(operation.summary())
    for name, value in _said(step).items():
        field = operation.model_fields.get(name)
        if field is None or not field.description:
            continue
        extra = field.json_schema_extra
        unit = extra.get("unit") if isinstance(extra, dict) else None
        plain = (
            f" = {value:g} {unit}"
            if unit and isinstance(value, int | float)
            else f" (in {unit})"
            if unit
            else ""
        )
        yield from _comment(f"{name}{plain}: {field.description}", 4)


def _said(step: Step) -> dict[str, Any]:
    """Return the parameters without what is left out, where that means the same."""
    short: dict[str, Any] = _without_none(step.parameters)
    try:
        same = build(step.operation, short) == build(step.operation, step.parameters)
    except SpydeError:
        same = False
    return short if same else step.parameters


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(one) for name, one in value.items() if one is not None}
    return list(map(_without_none, value)) if isinstance(value, list) else value


def _call(variable: str, parent: str, step: Step, variables: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of ``variable = apply(parent, operation, …)``."""
    arguments = [parent, repr(step.operation), *_arguments(step, variables)]
    line = f"{variable} = apply({', '.join(arguments)})"
    if len(line) <= _WIDTH and "\n" not in line:
        yield line
        return
    yield f"{variable} = apply("
    for argument in arguments:
        yield from (f"    {part}" for part in f"{argument},".split("\n"))
    yield ")"


def _arguments(step: Step, variables: Mapping[str, str]) -> Iterator[str]:
    odd = {}
    for name, value in _said(step).items():
        node = next(named({name: value}), None)
        if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
            odd[name] = value
        else:
            written = None if node is None else variables.get(node)
            yield f"{name}={written or _literal(value, len(name) + 1)}"
    if odd:
        yield f"**{_literal(odd, 2)}"


def _literal(value: Any, indent: int) -> str:
    written = pformat(value, width=_WIDTH - indent - 10, sort_dicts=False)
    return written.replace("\n", "\n" + " " * indent)


def _variable(name: str, taken: set[str]) -> str:
    """Return an identifier like `name` that nothing else has, and take it."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", name)[:40].strip("_") or "node"
    word = word if word[0].isalpha() else f"node_{word}"
    found, number = word, 1
    while found in taken:
        number += 1
        found = f"{word}_{number}"
    taken.add(found)
    return found


def _comment(text: str, indent: int = 0) -> list[str]:
    """Return `text` as lines of a comment: whatever could end one is gone."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    plain = plain if len(plain) <= _LONGEST else plain[:_LONGEST] + "…"
    before = "# " + " " * indent
    return textwrap.wrap(plain, _WIDTH, initial_indent=before, subsequent_indent=before + "  " * bool(indent))
