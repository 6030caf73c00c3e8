"""tiled's own web page in headless Chromium: a person clicks through to a node and sees its frame."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import KEY

from clients.nodes import NAMED, NODES_OF_TREE

pytestmark = pytest.mark.client("tiled's web page", package="tiled")

PIXELS = """() => {
  const canvas = document.querySelector("canvas");
  if (!canvas) return null;
  const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.every((_, i) => data[i | 3] == 255) && {
    red: [...data].filter((_, i) => i % 4 == 0), shape: [height, width],
  };
}"""
TEXT = {"evaluate": "() => document.body.innerText"}
# Where the page stands when it opens: the middle.
MIDDLE = (1, 2)


@pytest.fixture(scope="module")
def said(browse, access, tmp_path_factory):
    key = f"?api_key={KEY}" if access.headers else ""
    return browse(
        f"{access.url}/ui/{key}",
        {"wait": f"() => document.body.innerText.includes({NAMED!r})"},
        TEXT,
        {"click": f'text="{NAMED}"'},
        {"click": 'text="signal"'},
        {"wait": "() => document.body.innerText.includes('navigator')"},
        TEXT,
        {"click": 'text="c"'},
        {"wait": PIXELS},
        {"evaluate": PIXELS},
        {"screenshot": str(tmp_path_factory.mktemp("page") / "node.png")},
    )


@pytest.mark.check("listed group")
def test_it_lists_files_and_nodes(said):
    files, nodes, _ = said["answers"]
    assert {NAMED, "image.hspy", "complex64.hspy"} <= set(files.split("\n"))
    assert NODES_OF_TREE | {"navigator"} <= set(nodes.split("\n"))


@pytest.mark.check("picture")
@pytest.mark.check("spaces, unicode")
@pytest.mark.check("called c, 42")
def test_it_shows_the_frame(said, access):
    """In grey levels between the frame's least and greatest number, as the page paints every array."""
    picture, frame = said["answers"][2], access.nodes["called c"].values[MIDDLE]
    assert picture["shape"] == list(frame.shape)
    grey = (frame - frame.min()) / np.ptp(frame) * 255
    np.testing.assert_allclose(np.reshape(picture["red"], frame.shape), grey, atol=1)


@pytest.mark.check("no errors in the console")
def test_nothing_fails_meanwhile(said):
    """The page drops requests of its own when it moves on; its manifest has an address that no deep page finds."""
    assert not [request for request in said["failed"] if not request.endswith("net::ERR_ABORTED")]
    known = ("Manifest: Line: 1", "CanceledError")
    errors = [line["text"] for line in said["console"] if line["type"] == "error"]
    assert not [text for text in errors if not text.startswith(known)]
