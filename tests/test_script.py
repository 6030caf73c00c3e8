"""Recipes as scripts: the server's bytes without the server, and nothing that anybody wrote can become code."""

from __future__ import annotations

import ast
import subprocess
import sys
import tokenize
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from conftest import encoded, make_root, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import write_hspy, write_mrc, write_zspy
from test_evaluate import EXAMPLES

from tiled_spyde.errors import InvalidOperation, NotFound
from tiled_spyde.operations import REGISTRY, build
from tiled_spyde.recipe import Recipe
from tiled_spyde.saving import run
from tiled_spyde.script import script_of
from tiled_spyde.signals import Axis
from tiled_spyde.steps import apply, info_of, open_signal
from tiled_spyde.travel import Document, NodeStep

# As somebody without a server has it.
ALONE = """
import runpy, sys
for missing in ("tiled", "fastapi", "sqlalchemy", "uvicorn"):
    sys.modules[missing] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FOLDER = {
    "calibration": [
        {
            "match": "*.mrc",
            "calibrate": {
                "navigation_shape": [3, 4],
                "flyback": 1,
                "axes": {"kx": {"scale": 0.25, "units": "1/nm"}, "ky": {"scale": 0.25, "units": "1/nm"}},
                "beam_energy": 200.0,
                "camera_length": 300.0,
            },
        }
    ]
}
# The configuration says these of the stack already.
COLUMN = {"beam_energy": 80.0, "camera_length": 200.0}
CHAIN = [
    ("gaussian_filter", {"sigma": 0.8}),
    ("crop", {"x": {"start": {"index": 1}}}),
    ("bin", {"x": 2}),
    (
        "calibrate",
        {"navigation_shape": [2, 3], "first_frame": 1, "leave_rest": True, "pixel_size": 50.0, **COLUMN},
    ),
    ("virtual_image", {"detector": {"kind": "disk", "radius": {"value": 2}}}),
]
# What examples name: with a scan, and without.
NAMED = [
    ("mean", "mean_over_scan", {}),
    ("smooth", "gaussian_filter", {"sigma": 1.5}),
    ("centres", "centre_of_mass", {}),
    ("itself", "calibrate", {}),
]
SPECTRA_CHAIN = [
    ("savitzky_golay", {"window_length": 5, "polynomial_order": 2, "derivative": 1}),
    ("crop", {"x": {"start": {"index": 3}, "stop": {"index": 30}}}),
    ("bin", {"x": 3}),
    ("sum", {}),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("travel")
    write_hspy(
        folder / "scan.hspy", encoded((3, 5, 12, 16)), 2, title='it\'s a "scan"', chunks=(1, 2, 12, 16)
    )
    # 3 rows of 4, and what was recorded while the beam flew back.
    write_mrc(folder / "stack.mrc", encoded((15, 10, 14), "f4"))
    write_zspy(folder / "spectra.zspy", encoded((3, 4, 33), "u2"), 1, chunks=(1, 4, 33))
    return folder


@pytest.fixture(scope="module")
def service(files):
    folders = [{"path": str(files), "name": "", **FOLDER}]
    with serving([], arguments={"folders": folders}) as served:
        for tree, chain in trees(served).items():
            fill(served, tree, chain)
        yield served


def trees(served):
    names = {}
    for file in ("scan.hspy", "stack.mrc", "spectra.zspy"):
        (signal,) = served.get(f"/api/v1/search/{file}").json()["data"]
        names[f"{file}/{signal['id']}"] = SPECTRA_CHAIN if file == "spectra.zspy" else CHAIN
    return names


def fill(served, tree, chain):
    """Make a node of every example that fits, and a chain."""
    made = 0
    for name, operation, parameters in NAMED:
        node = {"name": name, "parent": "root", "operation": operation, "parameters": parameters}
        assert served.client.post(f"/api/v1/nodes/{tree}", json=node).status_code in (201, 422)
    for name, examples in EXAMPLES.items():
        for number, parameters in enumerate(examples):
            node = {"name": f"{name} {number}", "parent": "root", "operation": name, "parameters": parameters}
            answer = served.client.post(f"/api/v1/nodes/{tree}", json=node)
            assert answer.status_code in (201, 404, 422), answer.text
            made += answer.status_code == 201
    assert made > 3
    above = "root"
    for number, (name, parameters) in enumerate(chain):
        node = {"name": f"step {number}", "parent": above, "operation": name, "parameters": parameters}
        answer = served.client.post(f"/api/v1/nodes/{tree}", json=node)
        assert answer.status_code == 201, answer.text
        above = f"step {number}"
    node = {"name": "from=the navigator", "parent": "navigator", "operation": "calibrate"}
    node["parameters"] = {"axes": {"x": {"scale": 3.0, "units": "nm"}}}
    assert served.client.post(f"/api/v1/nodes/{tree}", json=node).status_code == 201


def script(served, tree, **parameters):
    answer = served.get(f"/api/v1/nodes/{tree}/recipe", params={"format": "script", **parameters})
    assert answer.status_code == 200, answer.text
    return answer


def nodes_of(served, tree):
    """Every node by name: what the server says of it."""
    data = served.get(f"/api/v1/search/{tree}", params={"page[limit]": 100}).json()["data"]
    return {entry["id"]: entry["attributes"] for entry in data}


def server_bytes(served, tree, node):
    answer = served.get(f"/api/v1/array/full/{tree}/{node}", params={"format": "application/octet-stream"})
    assert answer.status_code == 200, answer.text
    return answer.content


def axes_said(axes):
    return [
        tuple(axis[key] for key in ("name", "size", "scale", "offset", "units", "navigate")) for axis in axes
    ]


@pytest.mark.parametrize("file", ["scan.hspy", "stack.mrc", "spectra.zspy"])
def test_a_script_gives_the_servers_bytes_of_every_node_without_a_server(service, files, tmp_path, file):
    (tree,) = [tree for tree in trees(service) if tree.startswith(file)]
    (tmp_path / "recipe.py").write_text(script(service, tree).text)
    nodes = nodes_of(service, tree)
    wanted = {name: f"{number}.npy" for number, name in enumerate(nodes) if name != "navigator"}
    pairs = [word for name, out in wanted.items() for word in ("--node", name, "--save", out)]
    command = [sys.executable, "-c", ALONE, "recipe.py", str(files / file), *pairs]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    for name, out in wanted.items():
        found = np.load(tmp_path / out)
        structure = nodes[name]["structure"]
        kind = structure["data_type"]
        assert found.dtype == np.dtype(f"<{kind['kind']}{kind['itemsize']}"), name
        assert list(found.shape) == structure["shape"], name
        assert found.tobytes() == server_bytes(service, tree, name), name
    used = {attributes["metadata"]["attributes"]["operation"] for attributes in nodes.values()}
    assert used - {None} == {name for name in REGISTRY if fits(name, file)}


def fits(name, file):
    return (1 if file == "spectra.zspy" else 2) in REGISTRY[name].signal_dimensions


@pytest.mark.parametrize("file", ["scan.hspy", "stack.mrc", "spectra.zspy"])
def test_a_scripts_axes_are_the_servers(service, files, file):
    (tree,) = [tree for tree in trees(service) if tree.startswith(file)]
    names = {"__name__": "recipe"}
    exec(script(service, tree).text, names)  # noqa: S102 - our own server
    nodes = nodes_of(service, tree)
    made = names["recipe"](files / file)
    assert made.keys() == nodes.keys()
    for name, signal in made.items():
        said = nodes[name]["metadata"]["attributes"]["axes"]
        found = [axis.to_json() for axis in info_of(signal).axes]
        assert axes_said(found) == axes_said(said), name


def test_one_node_brings_what_it_is_made_from_and_nothing_else(service, files):
    text = script(service, next(iter(trees(service))), node="step 2").text
    names = {"__name__": "recipe"}
    exec(text, names)  # noqa: S102 - our own server
    assert list(names["recipe"](files / "scan.hspy")) == ["root", "step 0", "step 1", "step 2"]


@pytest.mark.parametrize("ending", ["hspy", "zspy"])
def test_what_is_saved_opens_in_hyperspy_with_its_axes(files, tmp_path, ending, capsys):
    import hyperspy.api as hs

    def recipe(file):
        root = open_signal(file)
        return {"root": root, "small": apply(root, "bin", x=4), "map": apply(root, "sum")}

    for node in ("small", "map"):
        run(recipe, str(files / "scan.hspy"), ["--node", node, "--save", str(tmp_path / f"{node}.{ending}")])
        saved = hs.load(tmp_path / f"{node}.{ending}")
        wanted = recipe(files / "scan.hspy")[node]
        assert info_of(saved).axes == info_of(wanted).axes
        np.testing.assert_array_equal(saved.data, wanted.data.compute())
        assert f"saved {tmp_path / node}.{ending}" in capsys.readouterr().out
    run(recipe, str(files / "scan.hspy"), [])
    assert (
        'small: <LazySignal2D, title: it\'s a "scan", dimensions: (5, 3|4, 3)>, uint64'
        in capsys.readouterr().out
    )


def means(file):
    root = open_signal(file)
    return {"root": root, "mean": apply(root, "mean_over_scan")}


def test_one_position_is_saved_in_array_order(files, tmp_path):
    out = tmp_path / "one.npy"
    run(
        lambda file: {"root": open_signal(file)},
        str(files / "scan.hspy"),
        ["--node", "root", "--save", str(out), "--position", "2,4"],
    )
    np.testing.assert_array_equal(np.load(out), encoded((3, 5, 12, 16))[2, 4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--node", "nope"], "no node 'nope' in this recipe. There are: root"),
        (["--node", "root", "--position", "3,0"], "scan has 3 × 5 positions"),
        (["--node", "root", "--position", "x"], "one number for each axis"),
        (["--node", "mean", "--position", "1,1"], "this node has no scan. Leave --position out"),
        (["--node", "root", "--save", "out.png"], "save as one of .npy, .hspy, .zspy"),
        (["--node", "root", "--save", "{file}"], "is there already"),
        (["--save", "out.npy"], "as many --node as --save"),
        (["/nowhere/scan.hspy"], "Cannot open"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(files, arguments, message, capsys):
    file = str(files / "scan.hspy")
    before = (files / "scan.hspy").read_bytes()
    with pytest.raises(SystemExit) as ended:
        run(means, file, [word.format(file=file) for word in arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert (files / "scan.hspy").read_bytes() == before


def test_nothing_heavy_is_imported_until_a_file_is_opened():
    code = "import sys, tiled_spyde.steps, tiled_spyde.saving; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"tiled", "dask", "hyperspy", "fastapi", "sqlalchemy"}.isdisjoint(done.stdout.split())


def test_a_signal_that_is_not_there_is_named(tmp_path):
    from source_files import add_to_hspy

    file = write_hspy(tmp_path / "two.hspy", encoded((3, 8)), 1, title="one")
    add_to_hspy(file, encoded((3, 8)), 1, "other")
    assert open_signal(file, "other").metadata.General.title == "other"
    with pytest.raises(NotFound, match=r"no signal 'third' in two\.hspy\. There are: one, other"):
        open_signal(file, "third")


@pytest.mark.parametrize(
    ("shape", "signal_axes"), [((12, 17), 2), ((33,), 1), ((7, 33), 1), ((2, 3, 5, 6, 7), 2)]
)
def test_steps_declare_what_recipes_declare_whatever_the_scan(shape, signal_axes):
    root = make_root(shape, signal_axes)
    for name, examples in EXAMPLES.items():
        for parameters in examples:
            try:
                recipe = Recipe(root).then(build(name, parameters))
            except InvalidOperation:
                with pytest.raises(InvalidOperation):
                    apply(root.signal(), name, **parameters)
                continue
            found = apply(root.signal(), name, **parameters)
            assert info_of(found).axes == (recipe.info.axes or (Axis("value", 1),))
            assert found.data.dtype == recipe.info.dtype


# Hostile names.

NASTY = [
    "'", '"', "'''", '"""', "\\", "\\'", "\n", "\r", "\r\n", "\f", "\v", "\x00", "\x85", "\u2028", "\u2029", "\u202e",
    "# -*- coding: utf-7 -*-", "{file}", "%s", "\\u2028", "__import__('os')", ");raise SystemExit(9)#", "ﬁle", "é",
    "\nraise SystemExit(9)\n", "\"\"\"\nraise SystemExit(9)", "1/nm", "class", "apply", "root", "None",
]  # fmt: skip
texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=12), max_size=5).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@st.composite
def documents(draw):
    names = draw(
        st.lists(texts.filter(lambda name: name not in ("root", "navigator")), unique=True, max_size=5)
    )
    nodes = [
        NodeStep.model_construct(
            name=name,
            parent=draw(st.sampled_from(["root", "navigator", *names[:number]])),
            operation=draw(st.sampled_from([*REGISTRY] * 3 + ["'", "\n"])),
            version=1,
            parameters=draw(st.dictionaries(texts | st.sampled_from(["sigma", "x"]), values, max_size=3)),
            description=draw(st.none() | texts),
            failure=draw(st.none() | texts),
        )
        for number, name in enumerate(names)
    ]
    said = {
        "file": draw(texts),
        "signal": draw(texts),
        "shape": [3, 5],
        "dtype": draw(texts),
        "key": draw(texts),
    }
    left = [{"name": draw(texts), "why": draw(texts)}] if draw(st.booleans()) else []
    versions = {draw(texts): draw(texts)}
    document = Document.model_validate_json(
        '{"format": "tiled-spyde recipe", "version": 1, "nodes": []}'
    ).model_copy(update={"nodes": tuple(nodes), "versions": versions})
    source = type("Said", (), said)
    lost = tuple(type("Lost", (), one) for one in left)
    return document.model_copy(update={"source": source, "left": lost})


@given(documents())
@settings(max_examples=300)
def test_nothing_that_anybody_wrote_becomes_code(document):
    assert_harmless(script_of(document))


@given(documents(), st.data())
def test_one_node_is_written_or_refused(document, data):
    if document.nodes:
        only = data.draw(st.sampled_from([node.name for node in document.nodes]))
        with suppress(InvalidOperation):
            assert_harmless(script_of(document, only))


@given(documents())
@settings(max_examples=30)
def test_a_hostile_script_runs_and_calls_only_what_it_says(document):
    """Run with stand-ins: every node is one call, with the very parameters."""
    calls = []
    names = {"__name__": "recipe"}
    tree = ast.parse(script_of(document))
    tree.body = [statement for statement in tree.body if not isinstance(statement, ast.ImportFrom)]
    names["open_signal"] = lambda file, *signal: "the root"
    names["apply"] = lambda signal, operation, /, **parameters: (
        calls.append((operation, parameters)) or "a signal"
    )
    exec(compile(tree, "recipe", "exec"), names)  # noqa: S102 - that it can be is what is tested
    made = names["recipe"]("file")
    written = {node.name: node for node in document.nodes if node.name in made}
    assert made.keys() - {"root", "navigator"} == written.keys()
    by_navigator = [("sum", {})] if "navigator" in made else []
    assert [operation for operation, _ in calls] == [
        *(o for o, _ in by_navigator),
        *(n.operation for n in written.values()),
    ]
    for (_, parameters), node in zip(calls[len(by_navigator) :], written.values(), strict=True):
        assert parameters == node.parameters or build(node.operation, parameters) == build(
            node.operation, node.parameters
        )


def assert_harmless(text):
    """The script is Python, in UTF-8, and does nothing but what we write ourselves."""
    encoding, _ = tokenize.detect_encoding(BytesIO(text.encode()).readline)
    assert encoding == "utf-8"
    tree = ast.parse(text.encode())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Name)
            assert node.func.id in ("apply", "open_signal", "run")
    kinds = [type(statement).__name__ for statement in tree.body]
    assert kinds == ["ImportFrom", "ImportFrom", "FunctionDef", "If"]
    inside = {type(statement).__name__ for statement in tree.body[2].body[1:]}
    assert inside <= {"Assign", "Return"}
