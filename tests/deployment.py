"""The services of compose.yaml, run without containers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from conftest import until_indexed
from ports import free_port

REPOSITORY = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
PROPOSALS = ("2026-001", "2026-002", "standards")
SCAN = "proposals/2026-001/scan.hspy/signal"
NODE = f"{SCAN}/root"
PASSWORDS = {
    "SPYDE_ADA_PASSWORD": "for-ada",
    "SPYDE_BEN_PASSWORD": "for-ben",
    "SPYDE_CEM_PASSWORD": "for $cem%",
}


# Beside the interpreter where it is installed; the same function in a checkout.
_SCRIPT = Path(sys.executable).parent / "tiled-spyde"
PROGRAM = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "tiled_spyde.cli"]


@contextmanager
def process(command, log, **options):
    """Run a command until the test is over; what it says goes to a file."""
    with log.open("wb") as said:
        running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, **options)
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def until(answers, running, log):
    deadline = time.monotonic() + 90
    while not answers():
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@dataclass
class Deployed:
    direct: str  # where the server listens
    proxied: str  # where people go
    state: Path
    data: Path
    said: Path
    nginx_said: Path

    @contextmanager
    def log_in(self, name, at=None):
        """A client as the person with this name."""
        with httpx.Client(base_url=at or self.proxied, timeout=60) as client:
            form = {"username": name, "password": PASSWORDS[f"SPYDE_{name.upper()}_PASSWORD"]}
            answer = client.post("/api/v1/auth/provider/facility/token", data=form)
            assert answer.status_code == 200, answer.text
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            yield client


def environment_of(service, host):
    """The environment of a service, with ``${NAME:?…}`` from that of the host."""
    return {
        name: re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda found: host[found[1]], str(value))
        for name, value in COMPOSE["services"][service]["environment"].items()
    }


def on_this_machine(argument, places):
    """An argument of a command in a container, for the same thing outside."""
    for inside, outside in places.items():
        if argument == inside or argument.startswith(f"{inside}/"):
            return str(outside) + argument.removeprefix(inside)
    return argument


@contextmanager
def nginx(folder, server):
    """Run nginx with the very configuration, but for the two addresses; gives where it listens."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not found:
        message = "nginx is not installed: apt-get install --no-install-recommends nginx"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    port, text = free_port(), (REPOSITORY / "config/nginx.conf").read_text()
    for there, here in (
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("server server:8000;", f"server {server};"),
    ):
        assert text.count(there) == 1
        text = text.replace(there, here)
    folder.mkdir()
    text = re.sub(r"temp_path \S+/", f"temp_path {folder}/", text)
    (folder / "nginx.conf").write_text(text)
    log = folder / "log"
    places = f"daemon off; pid {folder}/pid;"
    command = [found, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "/dev/stderr", "-g", places]
    with process(command, log) as running:
        until(lambda: _accepts(port), running, log)
        yield f"http://127.0.0.1:{port}/spyde", log


def _accepts(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _database(postgresql, said):
    """What the image of PostgreSQL makes of its variables."""
    user, name = said["POSTGRES_USER"], said["POSTGRES_DB"]
    postgresql.do("postgres", f"CREATE ROLE {user} LOGIN PASSWORD '{said['POSTGRES_PASSWORD']}'")
    postgresql.make(name, f"OWNER {user}")
    healthy = COMPOSE["services"]["database"]["healthcheck"]["test"][1:]
    subprocess.run([*healthy, "--host", postgresql.folder, "--port", str(postgresql.port)], check=True)
    try:
        yield
    finally:
        postgresql.do("postgres", f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {user}")


@contextmanager
def deployment(scans, folder, postgresql):
    """The services of compose.yaml, without containers."""
    data, state, port = folder / "data", folder / "state", free_port()
    state.mkdir()
    for proposal in PROPOSALS:
        (data / proposal).mkdir(parents=True)
        shutil.copyfile(scans / "scan4d.hspy", data / proposal / "scan.hspy")
    shutil.copyfile(scans / "image.hspy", data / "2026-001" / "an image, with µ & 100 %.hspy")
    host = {**PASSWORDS, "SPYDE_DATA": str(data), "SPYDE_SECRET_KEY": "5" * 64}
    host["SPYDE_DATABASE_PASSWORD"] = "for-the-database"  # noqa: S105
    service = COMPOSE["services"]["server"]
    places = {"/data": data, "/var/lib/tiled-spyde": state, "/etc/tiled-spyde": REPOSITORY / "config"}
    exact = {"tiled-spyde": None, "0.0.0.0": "127.0.0.1", "8000": str(port)}
    command = [exact.get(a) or on_this_machine(a, places) for a in service["command"] if a != "tiled-spyde"]
    variables = {
        name: on_this_machine(value, places) for name, value in environment_of("server", host).items()
    }
    variables["SPYDE_DATABASE"] = variables["SPYDE_DATABASE"].replace(
        "@database/", f"@127.0.0.1:{postgresql.port}/"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TILED")}
    log = folder / "server.log"
    with ExitStack() as stack:
        stack.enter_context(_database(postgresql, environment_of("database", host)))
        server = stack.enter_context(
            process([*PROGRAM, *command], log, env={**kept, **variables}, cwd=folder)
        )
        health = [a.replace(":8000/", f":{port}/") for a in service["healthcheck"]["test"][1:]]
        health[0] = sys.executable
        until(lambda: not subprocess.run(health, capture_output=True, check=False).returncode, server, log)
        proxied, nginx_log = stack.enter_context(nginx(folder / "nginx", f"127.0.0.1:{port}"))
        deployed = Deployed(f"http://127.0.0.1:{port}", proxied, state, data, log, nginx_log)
        with deployed.log_in("ada") as client:
            until_indexed(client)
        yield deployed


def key_of(deployed, name):
    with deployed.log_in(name) as client:
        made = client.post("/api/v1/auth/apikey", json={"expires_in": 600, "scopes": ["inherit"]})
        return made.raise_for_status().json()["secret"]


def blocks(words):
    """The pieces of the page in ``sh`` that have these words in them."""
    page = (REPOSITORY / "docs/deploy.md").read_text()
    return [piece for piece in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if words in piece]


def run_block(words, **variables):
    (piece,) = blocks(words)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", piece], env=environment, capture_output=True, text=True, check=True
    ).stdout
