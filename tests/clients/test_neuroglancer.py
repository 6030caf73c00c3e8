"""neuroglancer's own page in headless Chromium: chunks as its zarr reader decodes them, pixels as it paints them."""

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
# Sums are 64-bit integers. It neither paints nor reads these, whoever serves them: see docs/clients.md.
BROKEN = {"uint64", "called bright field", "called größe µ"}
# The lower and the upper byte of a number as red and green.
READ = set(CHECKS) - BROKEN - {"uint32"}
# Nodes that are painted, each at a position. Chunks of uint32 are packed for the screen, so `Viewer.volume` gives none.
PAINTED = {"stack": (2,), "uint32": (1, 2)}
SHADER = """
void main() {
  uint v = toRaw(getDataValue());
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
        "size": [2 * width, 2 * height],
        "shader": SHADER,
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
def test_it_reads_the_node(answers, access, name, record_property):
    if name in BROKEN:
        pytest.skip("neuroglancer 2.41 reads no 64-bit integers")
    if name in LACKING:
        record_property("lacks", "not in the client")
        assert "type" in answers["nodes"][name]["error"]
    elif name in PAINTED:
        assert_painted(answers["pictures"][name], access.nodes[name].values[PAINTED[name]])
    if name in READ - LACKING:
        assert_read(answers["nodes"][name], access.nodes[name])


@pytest.mark.check("picture")
def test_it_paints_the_node(answers, access):
    assert_painted(answers["pictures"]["stack"], access.nodes["stack"].values[PAINTED["stack"]])


def assert_painted(picture, frame):
    """The frame stands in the middle of the picture, pixel for pixel, and nothing else is painted."""
    assert isinstance(picture, str), picture
    height, width = frame.shape
    colours = np.frombuffer(base64.b64decode(picture), np.uint8).reshape(2 * height, 2 * width, 3)
    top, left = height // 2, width // 2
    middle = colours[top : top + height, left : left + width]
    np.testing.assert_array_equal(middle[..., 0] + 256 * middle[..., 1].astype(int), frame)
    outside = np.ones(colours.shape[:2], bool)
    outside[top : top + height, left : left + width] = False
    assert len(np.unique(colours[outside], axis=0)) == 1
