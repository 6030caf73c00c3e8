"""The viewer is thin: what it imports, and what it says on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from viewer.__main__ import main, parse

HEAVY = [
    "hyperspy",
    "dask",
    "tiled",
    "zarr",
    "tiled_spyde",
    "scipy",
    "h5py",
    "pandas",
    "matplotlib",
    "fastapi",
]
REPOSITORY = Path(__file__).parents[1]


def run(code, **environment):
    settings = {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(REPOSITORY), "PATH": "", **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=120
    )


def test_nothing_heavy_is_imported():
    code = f"""
import sys, time
import viewer.__main__, viewer.window, viewer.session, viewer.tour
from pyqtgraph.Qt import mkQApp
from viewer.wire import Service
application = mkQApp()
window = viewer.window.Window(viewer.session.Session(Service("http://127.0.0.1:9")))
window.show()
application.processEvents()
seconds = time.process_time()  # whatever else the machine does
window.close()
print(sorted(set({HEAVY!r}) & {{name.partition(".")[0] for name in sys.modules}}), seconds)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    imported, seconds = done.stdout.rsplit(maxsplit=1)
    assert imported == "[]"
    assert float(seconds) < 10  # 0.6 s on a quiet machine: only something absurd fails here


@pytest.mark.parametrize(
    "module",
    [
        "nodes",
        "view_state",
        "readout",
        "picture",
        "contrast",
        "theme",
        "errors",
        "wire",
        "lanes",
        "connections",
        "travel",
        "forms",
        "quantities",
        "trials",
        "addresses",
    ],
)
def test_the_lower_floors_know_no_qt(module):
    done = run(
        f"import sys, viewer.{module}; print([m for m in sys.modules if 'Qt' in m or 'pyqtgraph' in m])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_command_line():
    options = parse(["http://localhost:8000", "--api-key", "k", "--theme", "light", "--tour", "shots"])
    assert (options.url, options.api_key, options.theme, options.tour) == (
        "http://localhost:8000",
        "k",
        "light",
        Path("shots"),
    )


def test_what_is_no_address_ends_with_a_sentence(capsys):
    assert main(["ftp://x"]) == 1
    assert "is not the address of a service" in capsys.readouterr().err
