"""neuroglancer's page in headless Chromium: chunks as its zarr reader decodes them, pixels as it paints them."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from conftest import KEY

from clients.conftest import HERE, SWITCHES, run
from clients.nodes import CHECKS, NAMES, assert_read
from clients.tls import over_tls

pytestmark = [
    pytest.mark.client("neuroglancer", package="neuroglancer", pins="neuroglancer.txt"),
    pytest.mark.parametrize("version", [2, 3], scope="module"),
]

# It has no such types and says so.
LACKING = {"int64", "float16", "float64", "complex64", "complex128", "bool"}
# Nodes that are painted, each at a position. `Viewer.volume` knows nothing of how unsigned 32 and 64 bits are packed
# for the screen.
PAINTED = {"stack": (2,), "uint32": (1, 2), "uint64": (1, 2), "called bright field": (), "called größe µ": ()}
WIDE = {"uint64", "called bright field", "called größe µ"}
READ = set(CHECKS) - set(PAINTED) | {"stack"}
# The lower and the upper byte of a number as red and green.
SHADER = """
void main() {
  uint v = VALUE;
  emitRGB(vec3(float(v & 255u), float(v >> 8), 0.0) / 255.0);
}
"""


def source(access, node, version):
    """Return what a person types. Over https only, neuroglancer asks for credentials first."""
    scheme = "middleauth+" if access.headers else ""
    return f"{scheme}{access.zarr(node, version)}/|zarr{version}:"


def picture(access, name, version):
    node = access.nodes[name]
    height, width = node.values.shape[-2:]
    return {
        "source": source(access, node, version),
        "dims": node.dims,
        "position": [*(i + 0.5 for i in PAINTED[name]), height / 2, width / 2],
        "displayed": [node.dims[-1], node.dims[-2]],
        "scale": 1,
        "size": [3 * width, 3 * height],
        "shader": SHADER.replace(
            "VALUE", "getDataValue().value[0]" if name in WIDE else "toRaw(getDataValue())"
        ),
    }


@pytest.fixture(scope="module")
def answers(neuroglancer, chromium, access, version, tmp_path_factory):
    folder = tmp_path_factory.mktemp("neuroglancer")
    with over_tls(access.url, folder) as https:
        secure = replace(access, url=https)
        profile = f"--user-data-dir={folder / 'profile'}"
        request = {
            "browser": [chromium, "--headless", "--ignore-certificate-errors", profile, *SWITCHES],
            "key": KEY if access.headers else None,
            "nodes": {name: source(secure, access.nodes[name], version) for name in READ},
            "pictures": {name: picture(secure, name, version) for name in PAINTED},
        }
        return run(neuroglancer, HERE / "neuroglancer_client.py", request=request)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_node(answers, access, version, name, record_property):
    if name in LACKING:
        record_property("lacks", "no")
        assert "type" in answers["nodes"][name]["error"]
    elif name in WIDE and version == 2:
        # It stumbles over a fill value of null, which is what keeps xarray from reading zeros as gaps.
        record_property("lacks", "v3 only" if name == "uint64" else "")
        assert "BigInt" in answers["pictures"][name]["error"]
    elif name in PAINTED:
        assert_painted(answers["pictures"][name], access.nodes[name].values[PAINTED[name]])
    if name in READ - LACKING:
        assert_read(answers["nodes"][name], access.nodes[name])


@pytest.mark.check("picture")
@pytest.mark.check("another origin (CORS)")
def test_it_paints_the_node(answers, access):
    assert_painted(answers["pictures"]["stack"], access.nodes["stack"].values[PAINTED["stack"]])


def assert_painted(picture, frame):
    """The frame stands in the middle of the picture, pixel for pixel, and nothing else is painted."""
    assert isinstance(picture, str), picture
    height, width = frame.shape
    colours = np.frombuffer(base64.b64decode(picture), np.uint8).reshape(3 * height, 3 * width, 3).astype(int)
    painted = colours[..., 0] + 256 * colours[..., 1]
    np.testing.assert_array_equal(painted[height : 2 * height, width : 2 * width], frame)
    painted[height : 2 * height, width : 2 * width] = painted[0, 0]
    assert (painted == painted[0, 0]).all()
