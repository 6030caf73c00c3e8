"""Reads nodes with neuroglancer's own client in headless Chromium, and takes a picture: JSON in, JSON out.

`Viewer.volume` asks the page for chunks: the page's zarr reader fetches and decodes them.
"""

import base64
import json
import subprocess
import sys
from concurrent.futures import Future
from importlib.metadata import version

import neuroglancer
import numpy as np
from neuroglancer.credentials_provider import CredentialsProvider
from neuroglancer.default_credentials_manager import default_credentials_manager

PATIENCE = 30


class Key(CredentialsProvider):
    """What a person writes once to send a key with every request to `middleauth+https://…`."""

    def __init__(self, key):
        super().__init__()
        self.key = key

    def get_new(self):
        ready = Future()
        ready.set_result({"tokenType": "Apikey", "accessToken": self.key})
        return ready


def read(viewer, name, source):
    with viewer.txn() as state:
        state.layers.clear()
        state.layers[name] = neuroglancer.ImageLayer(source=source)
    volume = viewer.volume(name).result(PATIENCE)
    values = volume[...].read().result(PATIENCE)
    return {
        "shape": values.shape,
        "dtype": values.dtype.str,
        "dims": volume.domain.labels,
        "units": [str(unit) for unit in volume.dimension_units],
        "data": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode(),
    }


def picture(viewer, name, asked):
    """Save what the page shows of one layer, without any furniture round it."""
    with viewer.txn() as state:
        state.layers.clear()
        dims = asked["dims"]
        state.dimensions = neuroglancer.CoordinateSpace(names=dims, units="", scales=[1] * len(dims))
        state.layers[name] = neuroglancer.ImageLayer(source=asked["source"], shader=asked["shader"])
        state.layout = "xy"
        state.position = asked["position"]
        state.display_dimensions = asked["displayed"]
        state.cross_section_scale = asked["scale"]
        state.show_axis_lines = False
        state.show_scale_bar = False
        state.show_default_annotations = False
    viewer.volume_info(name).result(PATIENCE)
    pixels = viewer.screenshot(size=asked["size"]).screenshot.image_pixels
    return base64.b64encode(np.ascontiguousarray(pixels[..., :3]).tobytes()).decode()


def each(asked, call):
    answers = {}
    for name, what in asked.items():
        try:
            answers[name] = call(viewer, name, what)
        except Exception as error:
            answers[name] = {"error": repr(error)}
    return answers


request = json.load(sys.stdin)
key = Key(request["key"])
default_credentials_manager.register("middleauthapp", lambda origin: key)
neuroglancer.set_server_bind_address("127.0.0.1")
viewer = neuroglancer.Viewer()
browser = subprocess.Popen(
    [*request["browser"], viewer.get_viewer_url()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
)
try:
    answer = {
        "version": version("neuroglancer"),
        "nodes": each(request["nodes"], read),
        "pictures": each(request.get("pictures", {}), picture),
    }
finally:
    browser.terminate()
    browser.wait()
print(json.dumps(answer))
# The viewer's server has threads that would keep the process.
sys.stdout.flush()
neuroglancer.stop()
