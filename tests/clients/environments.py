"""The environments that clients run in: made once, outside the repository, as the pins beside this file say.

``python tests/clients/environments.py`` makes them all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiled-spyde" / "clients"


class Missing(Exception):
    """Something that this machine lacks, with what to do about it."""


def python(name):
    """Return the interpreter of the environment that ``{name}.txt`` pins."""
    pins = HERE / f"{name}.txt"

    def make(folder):
        _run(sys.executable, "-m", "venv", folder)
        _run(folder / "bin/python", "-m", "pip", "install", "-qq", "--no-deps", "-r", pins)

    return _made(name, pins.read_bytes() + sys.version.encode(), make) / "bin/python"


def node_modules():
    """Return the folder with the npm packages that ``package-lock.json`` pins, and their bundles."""
    for command in ("node", "npm"):
        program("nodejs npm", command)
    files = sorted([*HERE.glob("package*.json"), *HERE.glob("*.mjs")])

    def make(folder):
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", cwd=folder)
        _run("npm", "run", "--silent", "bundle", cwd=folder)

    return _made("node", b"".join(map(Path.read_bytes, files)), make)


def program(package, *names):
    """Return the path of a program of the system's own."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise Missing(f"{names[0]} is not installed (Debian: apt-get install {package})")


ENVIRONMENTS = {
    "zarr2": lambda: python("zarr2"),
    "napari": lambda: python("napari"),
    "neuroglancer": lambda: python("neuroglancer"),
    "node": node_modules,
    "chromium": lambda: program("chromium", "chromium", "chromium-browser", "google-chrome"),
    "curl": lambda: program("curl", "curl"),
}


def make(names):
    """Begin to make environments, all at once.

    Returns
    -------
    dict of str to concurrent.futures.Future
    """
    pool = ThreadPoolExecutor(len(ENVIRONMENTS))
    begun = {name: pool.submit(ENVIRONMENTS[name]) for name in names}
    pool.shutdown(wait=False)
    return begun


def _made(name, pins, make):
    """Return the folder of an environment; make it where these very pins have not been made yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"{name}-{hashlib.sha256(pins).hexdigest()[:12]}"
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for old in CACHE.glob(f"{name}-*"):
                shutil.rmtree(old)
            make(folder)
            (folder / "complete").touch()
    return folder


def _run(*command, cwd=None):
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise Missing(f"`{words}` failed: {done.stdout[-2000:]}")


def main():
    """Make every environment, and say which could not be made."""
    failed = False
    for name, future in make(ENVIRONMENTS).items():
        try:
            print(f"{name}: {future.result()}")
        except Missing as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
