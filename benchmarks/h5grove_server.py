"""h5grove with its FastAPI or its Tornado app, in an environment of its own.

``python h5grove_server.py fastapi|tornado FOLDER`` there prints its URL and serves; it imports nothing of ours.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = ("fastapi", "tornado")
PACKAGES = ("h5grove[fastapi]==4.0.0", "tornado", "uvicorn[standard]")


@contextmanager
def running(which: str, folder: Path) -> Iterator[str]:
    """Serve `folder`; the environment is made the first time.

    Raises
    ------
    RuntimeError
        h5grove cannot be installed: there is no network, or no index.
    """
    from benchmarks.servers import serving

    command = [str(_environment()), "-W", "ignore", __file__, which, str(folder)]
    with serving(command, {"HDF5_USE_FILE_LOCKING": "FALSE", "PYTHONPATH": ""}) as (url, _):
        yield url


def _environment() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "tiled-spyde" / "bench" / "h5grove-4.0.0"
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        print(f"installing h5grove into {place.relative_to(cache)} of the user's cache", file=sys.stderr)
        venv.create(place, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError("h5grove cannot be installed: pip could not get it (no network, or no index?)")
        (place / "complete").touch()
    return python


def main() -> None:
    which, folder = sys.argv[1:]
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    {"fastapi": _fastapi, "tornado": _tornado}[which](folder, listening)


def _fastapi(folder: str, listening: socket.socket) -> None:
    import uvicorn
    from fastapi import FastAPI
    from h5grove.fastapi_utils import router, settings

    settings.base_dir = folder
    app = FastAPI()
    app.include_router(router)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


def _tornado(folder: str, listening: socket.socket) -> None:
    from h5grove.tornado_utils import get_handlers
    from tornado.httpserver import HTTPServer
    from tornado.web import Application

    async def serve() -> None:
        listening.setblocking(False)
        HTTPServer(Application(get_handlers(folder), log_function=lambda _: None)).add_sockets([listening])
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
