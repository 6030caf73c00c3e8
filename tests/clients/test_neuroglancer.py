"""neuroglancer's own page in headless Chromium: chunks as its zarr reader decodes them, and pixels as it paints them."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from conftest import KEY

from clients.conftest import HERE, SWITCHES, run
from clients.nodes import NAMES, assert_read

pytestmark = [
    pytest.mark.client("neuroglancer", package="neuroglancer", pins="neuroglancer.txt"),
    pytest.mark.parametrize("version", [2, 3], scope="module"),
]

# It has no such types and says so.
LACKING = {"int64", "float16", "float64", "complex64", "complex128", "bool"}
# Its Python interface loses half of these; they are read off the picture.
PAINTED = {"uint64": (1, 2), "called bright field": (), "called größe µ": (), "stack": (2,)}
# The lowest three bytes of a number as red, green and blue.
SHADERS = {
    "uint64": "void main() { uint v = toRaw(getDataValue()).value.x; PAINT }",
    "uint16": "void main() { uint v = toRaw(getDataValue()); PAINT }",
}
PAINT = "emitRGB(vec3(float(v & 255u), float((v >> 8) & 255u), float((v >> 16) & 255u)) / 255.0);"


def source(access, node, version, suffix=""):
    """Return what a person types: the key goes into the address, the page has no other place for it."""
    key = f"?api_key={KEY}" if access.headers else ""
    return f"{access.zarr(node, version, suffix)}/{key}|zarr{version}:"


def picture(access, name, position, version):
    node = access.nodes[name]
    height, width = node.values.shape[-2:]
    return {
        "source": source(access, node, version),
        "dims": node.dims,
        "position": [*(i + 0.5 for i in position), height / 2, width / 2],
        "displayed": [node.dims[-1], node.dims[-2]],
        "scale": 1,
        "size": [2 * width, 2 * height],
        "shader": SHADERS[node.dtype.name].replace("PAINT", PAINT),
    }


@pytest.fixture(scope="module")
def answers(neuroglancer, chromium, access, version, tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    nodes = {name: node for name, node in access.nodes.items() if node.dtype.name != "uint64"}
    return run(
        neuroglancer,
        HERE / "neuroglancer_client.py",
        request={
            "browser": [chromium, "--headless", f"--user-data-dir={profile}", *SWITCHES],
            "nodes": {name: source(access, node, version) for name, node in nodes.items()},
            "pictures": {name: picture(access, name, at, version) for name, at in PAINTED.items()},
        },
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(answers, access, name, record_property):
    if name in LACKING:
        record_property("lacks", "not in the client")
        assert "dtype" in answers["nodes"][name]["error"] or "data_type" in answers["nodes"][name]["error"]
    elif name in answers["nodes"]:
        assert_read(answers["nodes"][name], access.nodes[name])
    else:
        assert_painted(answers["pictures"][name], access.nodes[name].values[PAINTED[name]])


@pytest.mark.check("picture")
def test_it_paints_the_node(answers, access):
    assert_painted(answers["pictures"]["stack"], access.nodes["stack"].values[PAINTED["stack"]])


def assert_painted(picture, values):
    """Require that the picture's middle is the frame, and that nothing is painted around it."""
    assert isinstance(picture, str), picture
    height, width = values.shape
    colours = np.frombuffer(base64.b64decode(picture), np.uint8).reshape(2 * height, 2 * width, 3)
    painted = colours.astype("u8") @ np.array([1, 2**8, 2**16], "u8")
    top, left = height // 2, width // 2
    middle = painted[top : top + height, left : left + width]
    np.testing.assert_array_equal(middle, values)
    outside = np.ones(painted.shape, bool)
    outside[top : top + height, left : left + width] = False
    assert len(np.unique(painted[outside])) == 1
