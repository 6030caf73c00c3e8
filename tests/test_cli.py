"""The two ways to start a server: our command, and plain tiled with the demo's configuration."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import until_indexed

from tiled_spyde.cli import main

REPOSITORY = Path(__file__).parents[1]


@contextmanager
def started(*command, environment=None, stderr=subprocess.STDOUT, through=()):
    """Run a module, `through` another command; gives the process and a queue of its lines, ends it as Ctrl-C does."""
    process = subprocess.Popen(
        [*through, sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=REPOSITORY,
    )
    lines = queue.Queue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout])
    reader.start()
    try:
        yield process, lines
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
        reader.join()
        process.stdout.close()


def wait_for(lines, pattern, seconds=120):
    """First match in the lines that come; fails with all of them when none does."""
    seen, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            seen.append(lines.get(timeout=1))
        except queue.Empty:
            continue
        if found := re.search(pattern, seen[-1]):
            return found
    raise AssertionError("".join(seen))


def test_serve_says_what_to_open_and_serves(scans):
    with started("tiled_spyde.cli", "serve", str(scans), "--port", "0", "--api-key", "abc") as (_, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        assert wait_for(lines, r"tiled-spyde-viewer (\S+) --api-key abc")[1] == url
        with httpx.Client(base_url=url, headers={"Authorization": "Apikey abc"}) as client:
            until_indexed(client)
            frame = client.get("/api/v1/array/full/scan4d.hspy/signal/root?slice=1,2")
            assert frame.status_code == 200
            assert httpx.get(f"{url}/api/v1/search/").status_code == 401


def test_serve_a_single_file_publicly(scans):
    file = str(scans / "line.hspy")
    with started("tiled_spyde.cli", "serve", file, "--port", "0", "--public") as (_, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        with httpx.Client(base_url=url) as client:
            until_indexed(client)
        listed = httpx.get(f"{url}/api/v1/search/").json()["data"]
        assert [item["id"] for item in listed] == ["line.hspy"]


def test_plain_tiled_serves_the_demos_configuration(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path), "TILED_SINGLE_USER_API_KEY": "abc"}
    command = ("tiled", "serve", "config", "config/demo.yml", "--port", "0")
    with started(*command, environment=environment) as (_, lines):
        url = wait_for(lines, r"Uvicorn running on .*?(http://[\w.:]+)")[1]
        with httpx.Client(base_url=url, headers={"Authorization": "Apikey abc"}, timeout=60) as client:
            until_indexed(client)
            (file,) = (item["id"] for item in client.get("/api/v1/search/").json()["data"])
            (tree,) = (item["id"] for item in client.get(f"/api/v1/search/{file}").json()["data"])
            nodes = client.get(f"/api/v1/search/{file}/{tree}").json()["data"]
            assert {"root", "navigator", "smoothed", "bright field"} <= {node["id"] for node in nodes}
            for node in nodes:
                first = ",".join("0" for _ in node["attributes"]["structure"]["shape"][:2])
                data = client.get(f"/api/v1/array/full/{file}/{tree}/{node['id']}?slice={first}")
                assert data.status_code == 200, node["id"]
        assert httpx.get(f"{url}/zarr/v3/{file}/{tree}/root/zarr.json").status_code == 404


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "Give either PATHs or --config"),
        (["serve", "x", "--config", "y"], "Give either PATHs or --config"),
        (["serve", "/nowhere/at/all", "--port", "0"], "nothing at /nowhere/at/all"),
        (["serve", "--config", "/nowhere.yml", "--port", "0"], "no configuration at /nowhere.yml"),
        (["serve", ".", "--port", "0", "--api-key", "a b"], "letters and digits"),
        (["serve", ".", "--host", "256.1.1.1", "--port", "0"], "Cannot listen"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(arguments, message, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_what_is_no_port_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        main(["serve", ".", f"--port={port}"])
    assert "a number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("facility.yml", b"trees: [", "is no YAML in line 1, column 9"),
        ("facility.yml", b"\xff\xfe\x00", "is no text in UTF-8"),
        ("facility.yml", b"nothing: known", "nothing"),
        ("facility.yml", b"- 1", "facility.yml"),
        (
            "facility.yml",
            b"trees:\n  - {path: /, tree: 'tiled_spyde.app:tree', args: {nothing: known}}",
            "no argument 'nothing'",
        ),
    ],
)
def test_a_mistake_in_a_configuration_is_one_or_two_lines(tmp_path, capsys, name, text, message):
    (tmp_path / name).write_bytes(text)
    assert main(["serve", "--config", str(tmp_path / name), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) <= 2, said


@pytest.mark.parametrize("place", ["file", "/proc/nobody/writes/here"])
def test_state_that_cannot_be_kept_there_says_so(tmp_path, capsys, place):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "data").mkdir()
    assert main(["serve", str(tmp_path / "data"), "--state", str(tmp_path / place), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert re.search("is no folder|keep it elsewhere", said)
    assert len(said.splitlines()) == 1


def test_a_port_that_is_taken_says_so(capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", ".", "--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert "Address already in use. Try another --port" in said
    assert "bind" not in said


def test_help_is_instant():
    """No server, no hyperspy, nothing heavy before it is needed."""
    script = (
        "import sys, tiled_spyde.cli as cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tiled', 'hyperspy', 'dask', 'zarr', 'fastapi', 'scipy', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY, capture_output=True)


def test_a_start_imports_nothing_before_it_is_needed(scans, tmp_path):
    """Up to the first frame: what tiled names in annotations takes a third of a start, hyperspy another second."""
    heavy = "hyperspy zarr skimage pyxem matplotlib dask.array dask.dataframe pandas sparse blosc2 scipy numba xarray"
    state, noted = ("--state", str(tmp_path / "state")), tmp_path / "imports"
    served = ("serve", str(scans), "--port", "0", "--api-key", "abc", *state)
    with (
        noted.open("w") as noting,
        started("tiled_spyde.cli", *served, environment={"PYTHONPROFILEIMPORTTIME": "1"}, stderr=noting) as (
            _,
            lines,
        ),
        httpx.Client(base_url=wait_for(lines, r"serves at (http://\S+)")[1], timeout=60) as client,
    ):
        client.headers["Authorization"] = "Apikey abc"
        assert "h5py" not in _imported(noted)
        until_indexed(client)
        client.get("/api/v1/array/full/scan4d.hspy/signal/root?slice=1,2").raise_for_status()
    imported = _imported(noted)
    assert {"tiled.server.app", "h5py", "rsciio"} <= imported
    assert not imported & set(heavy.split())


def _imported(noted):
    return {line.rpartition("|")[2].strip() for line in noted.read_text().splitlines()}


@pytest.mark.parametrize("number", ["0", "-1", "many", "1000"])
def test_what_is_no_number_of_processes_is_refused(number, capsys):
    with pytest.raises(SystemExit):
        main(["serve", ".", f"--workers={number}"])
    assert "there may be 1 to 256" in capsys.readouterr().err
