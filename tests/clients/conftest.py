"""Environments made once, while the first tests run, and servers over the same nodes: public and with a key."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from conftest import KEY, serving

from clients import environments
from clients.nodes import MADE, write

HERE = Path(__file__).parent
# Chromium as root, without a screen or a graphics card, that asks nobody but the page's own servers.
SWITCHES = [
    "--no-sandbox",
    "--no-proxy-server",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
_BEGUN = pytest.StashKey()


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            # The first of them waits for its environment.
            item.add_marker(pytest.mark.timeout(900))


def pytest_collection_finish(session):
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if not session.config.option.collectonly:
        session.config.stash[_BEGUN] = environments.make(wanted & set(environments.ENVIRONMENTS))


def _environment(name):
    @pytest.fixture(scope="session", name=name)
    def made(pytestconfig):
        try:
            return pytestconfig.stash[_BEGUN][name].result()
        except environments.Missing as missing:
            # Who has no browser tests the rest; CI has everything, or says so.
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name}: {missing}")

    return made


zarr2, napari, neuroglancer = map(_environment, ("zarr2", "napari", "neuroglancer"))
node, chromium, curl = map(_environment, ("node", "chromium", "curl"))


@dataclass
class Access:
    """A server, and what a client must send to read it."""

    url: str
    headers: dict[str, str]
    nodes: dict

    def zarr(self, node, version, suffix=""):
        """Return the address of a node for zarr clients."""
        return f"{self.url}/zarr/v{version}/{node.quoted}{suffix}"


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodes")
    return folder, write(folder)


@pytest.fixture(scope="module", params=["public", "key"])
def access(request, written):
    folder, nodes = written
    public = request.param == "public"
    with serving([folder], trees=MADE, public=public, allow_origins=["*"]) as service:
        yield Access(service.url, {} if public else {"Authorization": f"Apikey {KEY}"}, nodes)


def run(*command, request=None, cwd=None, env=None):
    """Run a client's program; it answers JSON to JSON."""
    done = subprocess.run(
        [str(word) for word in command],
        input=json.dumps(request),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def browse(node, chromium, tmp_path_factory):
    """Return a function that opens a page in Chromium and tells what happened there."""

    def browse(url, *steps):
        profile = tmp_path_factory.mktemp("profile")
        request = {"executable": chromium, "switches": SWITCHES, "profile": str(profile), "url": url}
        said = run("node", "browser.mjs", request={**request, "steps": steps}, cwd=node)
        assert "error" not in said, said
        return said

    return browse


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def other_origin(node, tmp_path_factory):
    """Serve a page with zarrita in it from another port: another origin."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.bundle.js").write_bytes((node / "page.bundle.js").read_bytes())
    (folder / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<title>zarrita</title><script type="module" src="page.bundle.js"></script>'
    )
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
