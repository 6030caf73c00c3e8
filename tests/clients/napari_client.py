"""Opens nodes as `viewer.open` does, with napari's own reader or napari-ome-zarr: JSON in, JSON out, no window."""

import base64
import contextlib
import json
import sys

import numpy as np
from napari.components import ViewerModel
from npe2 import PluginManager


def read(url, plugin):
    (layer,) = ViewerModel().open(url, plugin=plugin)
    data = layer.data[0] if layer.multiscale else layer.data
    values = np.asarray(data)
    return {
        "shape": values.shape,
        "dtype": values.dtype.str,
        "data": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode(),
        "scale": list(layer.scale),
        "labels": list(layer.axis_labels),
        "units": [str(unit) for unit in layer.units],
    }


def each(urls, plugin):
    answers = {}
    for name, url in urls.items():
        try:
            answers[name] = read(url, plugin)
        except Exception as error:
            answers[name] = {"error": repr(error)}
    return answers


request = json.load(sys.stdin)
# As napari's window does at its start.
PluginManager.instance().discover()
# The readers print what they see.
with contextlib.redirect_stdout(sys.stderr):
    answer = {plugin: each(urls, plugin) for plugin, urls in request.items()}
print(json.dumps(answer))
