"""What docs/deploy.md, compose.yaml and config/ say is run as they say it: the server, and nginx before it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from conftest import encoded

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


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


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


@pytest.fixture(scope="module")
def deployed(scans, tmp_path_factory):
    """The two services of compose.yaml, without containers."""
    folder = tmp_path_factory.mktemp("deployed")
    data, state, port = folder / "data", folder / "state", free_port()
    state.mkdir()
    for proposal in PROPOSALS:
        (data / proposal).mkdir(parents=True)
        shutil.copyfile(scans / "scan4d.hspy", data / proposal / "scan.hspy")
    shutil.copyfile(scans / "image.hspy", data / "2026-001" / "an image, with µ & 100 %.hspy")
    host = {**PASSWORDS, "SPYDE_DATA": str(data), "SPYDE_SECRET_KEY": "5" * 64}
    service = COMPOSE["services"]["server"]
    places = {"/data": data, "/var/lib/tiled-spyde": state, "/etc/tiled-spyde": REPOSITORY / "config"}
    exact = {"tiled-spyde": None, "0.0.0.0": "127.0.0.1", "8000": str(port)}  # noqa: S104 - what it stands for
    command = [exact.get(a) or on_this_machine(a, places) for a in service["command"] if a != "tiled-spyde"]
    variables = {
        name: on_this_machine(value, places) for name, value in environment_of("server", host).items()
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TILED")}
    log = folder / "server.log"
    with ExitStack() as stack:
        server = stack.enter_context(
            process([*PROGRAM, *command], log, env={**kept, **variables}, cwd=folder)
        )
        health = [a.replace(":8000/", f":{port}/") for a in service["healthcheck"]["test"][1:]]
        health[0] = sys.executable
        until(lambda: not subprocess.run(health, capture_output=True, check=False).returncode, server, log)
        proxied, nginx_log = stack.enter_context(nginx(folder / "nginx", f"127.0.0.1:{port}"))
        yield Deployed(f"http://127.0.0.1:{port}", proxied, state, data, log, nginx_log)


# Beside the interpreter where it is installed; the same function in a checkout.
_SCRIPT = Path(sys.executable).parent / "tiled-spyde"
PROGRAM = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "tiled_spyde.cli"]


def test_people_log_in_and_see_their_own_proposals(deployed):
    seen = {"ada": {"2026-001", "2026-002"}, "ben": {"2026-001", "2026-002"}, "cem": {"2026-002"}}
    for name, proposals in seen.items():
        with deployed.log_in(name) as client:
            listed = client.get("/api/v1/search/proposals").json()
            assert {entry["id"] for entry in listed["data"]} == proposals
            assert listed["meta"]["count"] == len(proposals)


def test_an_editor_makes_a_node_and_others_may_not(deployed):
    node = {"parent": "root", "operation": "sum", "name": "total"}
    there, other = f"/api/v1/nodes/{SCAN}", f"/api/v1/nodes/{SCAN.replace('001', '002')}"
    with deployed.log_in("ben") as ben, deployed.log_in("cem") as cem:
        assert cem.post(there, json=node).status_code == 404
        assert ben.post(other, json=node).status_code == 403
        made = ben.post(there, json=node)
        assert made.status_code == 201
        # Where it says it is, as people outside see it, and there it is.
        assert made.headers["Location"].startswith(f"{deployed.proxied}/api/v1/metadata/")
        assert ben.get(made.headers["Location"]).status_code == 200
        assert httpx.get(made.headers["Location"]).status_code == 401


def test_nothing_of_the_servers_own_lies_beside_the_data(deployed):
    assert (deployed.state / "people.sqlite").exists()
    found = {path.name for path in deployed.data.rglob("*") if path.is_file()}
    assert found == {"scan.hspy", "an image, with µ & 100 %.hspy"}


def every_link(described):
    if isinstance(described, dict):
        for key, value in described.items():
            if key == "links":
                yield from re.findall(r"https?://[^\"]+", json.dumps(value))
            else:
                yield from every_link(value)
    elif isinstance(described, list):
        for value in described:
            yield from every_link(value)


@pytest.mark.parametrize("forwarded", [{}, {"X-Forwarded-Proto": "https"}])
def test_links_are_those_that_people_can_follow(deployed, forwarded):
    outside = deployed.proxied.replace("http", "https") if forwarded else deployed.proxied
    with deployed.log_in("ben") as client:
        for address in (
            "/api/v1/",
            f"/api/v1/metadata/{NODE}",
            "/api/v1/search/proposals",
            f"/api/v1/search/{SCAN}",
        ):
            links = list(every_link(client.get(address, headers=forwarded).json()))
            assert links or address == "/api/v1/"
            for link in links:
                assert link.startswith(f"{outside}/"), link
        for address in ("/zarr/v2/", f"/zarr/v3/{SCAN}"):
            listing = client.get(address, headers=forwarded).text
            for link in re.findall(r"https?://[^\"]+", listing):
                assert link.startswith(f"{outside}/zarr/"), link


def test_every_answer_is_the_one_the_server_gives(deployed):
    """Status and body through the proxy, of what works and of what fails."""
    compared = 0
    with deployed.log_in("ben") as outside, deployed.log_in("ben", deployed.direct) as inside:
        for method, address in (
            ("GET", "/healthz"),
            ("GET", f"/api/v1/array/full/{NODE}?slice=1,2&format=application/octet-stream"),
            ("GET", f"/api/v1/array/full/{NODE}?slice=1,2&format=application/x-blosc"),
            ("GET", f"/api/v1/array/block/{NODE}?block=0,1,0,0"),
            ("GET", f"/zarr/v2/{NODE}/.zarray"),
            ("GET", f"/zarr/v2/{NODE}/1.2.0.0"),
            ("GET", f"/zarr/v3/{NODE}/zarr.json"),
            ("GET", f"/zarr/v3/{NODE}/c/1/2/0/0"),
            ("GET", f"/zarr/v3/{NODE}/c/99/0/0/0"),
            ("GET", f"/zarr/v3/{NODE}@0000/zarr.json"),
            ("GET", "/api/v1/operations"),
            ("GET", "/api/v1/metadata/nowhere"),
            ("GET", f"/api/v1/array/full/{NODE}?slice=999"),
            ("GET", f"/api/v1/array/full/{NODE}?slice=::::"),
            ("GET", f"/api/v1/array/full/{NODE}?slice=1,2&format=no/such"),
            ("GET", f"/zarr/v2/{NODE}/1.2"),
            ("GET", f"/zarr/v3/{NODE}/c/1/2"),
            ("GET", f"/api/v1/array/full/{NODE}?slice=0,0&expected_shape=1,2"),
            ("HEAD", f"/zarr/v3/{NODE}/zarr.json"),
            ("HEAD", f"/zarr/v3/{NODE}/c/1/2/0/0"),
            ("HEAD", f"/api/v1/metadata/{NODE}"),
            ("POST", f"/api/v1/nodes/{SCAN}"),
            ("OPTIONS", f"/zarr/v3/{NODE}/zarr.json"),
            ("GET", "/favicon.ico"),
        ):
            one, other = outside.request(method, address), inside.request(method, address)
            assert one.status_code == other.status_code, address
            assert (
                one.content.replace(deployed.proxied.encode(), deployed.direct.encode() + b"/spyde")
                == other.content
            )
            for name in ("content-type", "etag", "retry-after", "cache-control", "allow"):
                assert one.headers.get(name) == other.headers.get(name), (name, address)
            compared += other.is_success
    assert compared >= 10


def test_what_depends_on_the_address_is_the_same_below_the_sub_path(deployed):
    """The guard tells a zarr chunk that does not exist from a request that makes no sense by its address."""
    with deployed.log_in("ben") as client:
        wrong = f"/api/v1/array/full/{NODE}?slice=0,0&expected_shape=1,2"
        assert "not the expected" in client.get(wrong).json()["detail"]
        for climbing in (
            "/api/v1/metadata/..%2f..%2fetc",
            "/ui/..%2f..%2f..%2fetc/passwd",
            "/ui/..%5c..%5cetc",
        ):
            assert client.get(climbing).status_code in (400, 404)  # 400 where nginx sees it already


def test_a_name_with_every_kind_of_character_passes(deployed):
    with deployed.log_in("ben") as client:
        listed = {
            entry["id"]: entry for entry in client.get("/api/v1/search/proposals/2026-001").json()["data"]
        }
        image = next(name for name in listed if "µ" in name)
        assert client.get(listed[image]["links"]["self"]).status_code == 200
        whole = client.get(
            f"/api/v1/array/full/proposals/2026-001/{image}/signal/root?format=application/octet-stream"
        )
        assert (np.frombuffer(whole.content, "<u2").reshape(530, 600) == encoded((530, 600))).all()


def test_a_proxy_before_a_server_that_is_away_says_so_in_json(deployed, tmp_path):
    with nginx(tmp_path / "nginx", f"127.0.0.1:{free_port()}") as (proxied, _):
        answer = httpx.get(f"{proxied}/api/v1/")
        assert answer.status_code == 502
        assert "does not answer" in answer.json()["detail"]
        assert answer.headers["Retry-After"] == "5"
        large = httpx.post(f"{proxied}/api/v1/nodes/x", content=b"x" * 3_000_000)
        assert large.status_code == 413
        assert "2 MB" in large.json()["detail"]


def test_tileds_own_client_logs_in_with_a_key_and_reads(deployed):
    from tiled.client import from_uri

    client = from_uri(f"{deployed.proxied}/api/v1", api_key=key_of(deployed, "ben"))
    try:
        scan = client[SCAN]
        assert set(scan) >= {"root", "navigator"}
        assert (scan["root"][1, 2] == encoded((3, 5, 12, 16))[1, 2]).all()
        assert scan.uri.startswith(deployed.proxied)
    finally:
        client.context.http_client.close()


def key_of(deployed, name):
    with deployed.log_in(name) as client:
        made = client.post("/api/v1/auth/apikey", json={"expires_in": 600, "scopes": ["inherit"]})
        return made.raise_for_status().json()["secret"]


def test_the_viewers_wire_works_at_the_sub_path(deployed):
    from viewer.wire import Service

    service = Service(deployed.proxied, key_of(deployed, "ben"))
    try:
        trees = {tree.path: tree for tree in service.trees()}
        assert tuple(SCAN.split("/")) in trees
        made = service.make_node(tuple(SCAN.split("/")), "root", "gaussian_filter", {"sigma": 1.0}, "smooth")
        assert made.path == (*SCAN.split("/"), "smooth")
        root = next(node for node in trees[tuple(SCAN.split("/"))].nodes if node.path[-1] == "root")
        assert root.chunks == (1, 1, 12, 16)
    finally:
        service.close()


def test_zarr_reads_at_the_sub_path(deployed):
    import zarr

    headers = {"Authorization": f"Apikey {key_of(deployed, 'ben')}"}
    for version in (2, 3):
        address = f"{deployed.proxied}/zarr/v{version}/{NODE}"
        array = zarr.open_array(address, storage_options={"headers": headers}, mode="r")
        assert (array[:] == encoded((3, 5, 12, 16))).all()


def test_a_large_answer_comes_whole_and_as_it_is_made(deployed):
    """Nothing is kept back in the proxy: the headers are there before the body is, and memory is not needed."""
    with deployed.log_in("ben") as client:
        image = "proposals/2026-001/an image, with µ _ 100 _.hspy/signal/root"
        address = f"/api/v1/array/full/{image}?format=application/octet-stream"
        with client.stream("GET", address, headers={"Accept-Encoding": "identity"}) as answer:
            assert answer.status_code == 200
            assert sum(map(len, answer.iter_raw(8192))) == 530 * 600 * 2


def test_the_web_page_loads_all_it_needs_from_the_sub_path(deployed):
    with httpx.Client(base_url=deployed.proxied) as client:
        assert client.get("/ui/").status_code == 200
        page = client.get("/ui/").text
        found = set(re.findall(r'(?:src|href)="(/[^"]+)"', page))
        assert len(found) >= 2
        for address in found:
            assert address.startswith("/spyde/ui/")
            asset = client.get(address.removeprefix("/spyde"))
            assert asset.status_code == 200
            assert not re.search(r'"/ui/|url\(/ui/|"/api/', asset.text), address
            if address.endswith(".js"):
                # What it fetches first is beside /ui, and says where the API is.
                assert '"/spyde/ui/"' in asset.text
        assert client.get("/tiled-ui-settings").json()["api_url"] == "/spyde/api/v1"
        assert httpx.get(deployed.proxied).status_code == 308
        front = client.get("/")
        assert f"{deployed.proxied}/ui" in front.text or "/spyde/ui" in front.text


def test_no_key_stands_in_a_log(deployed):
    key = key_of(deployed, "cem")
    assert httpx.get(f"{deployed.proxied}/api/v1/search/?api_key={key}").status_code == 200
    said = deployed.nginx_said.read_text()
    assert "/spyde/api/v1/search/" in said
    page = f"{deployed.proxied.removesuffix('/spyde')}/elsewhere?api_key={key}"
    assert httpx.get(page, headers={"Referer": page}).json()["detail"].endswith("/spyde/.")
    assert key not in deployed.nginx_said.read_text() + deployed.said.read_text()


def test_a_missing_variable_is_named_and_a_secret_is_never_its_own_name(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TILED", "SPYDE"))}
    command = [*PROGRAM, "serve", "--config", str(REPOSITORY / "config/facility.yml"), "--port", "0"]
    ended = subprocess.run(
        command, env=kept, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    for name in ("SPYDE_DATA", "SPYDE_STATE", "SPYDE_SECRET_KEY", "SPYDE_ADA_PASSWORD"):
        assert name in ended.stderr
    assert "SPYDE_OIDC_SECRET" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_state_folder_that_is_not_there_is_said_in_a_line(tmp_path):
    for proposal in PROPOSALS:
        (tmp_path / proposal).mkdir()
    variables = {"SPYDE_DATA": str(tmp_path), "SPYDE_STATE": str(tmp_path / "state"), "SPYDE_SECRET_KEY": "5"}
    command = [*PROGRAM, "serve", "--config", str(REPOSITORY / "config/facility.yml"), "--port", "0"]
    environment = {**os.environ, **PASSWORDS, **variables}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert f"cannot write in {tmp_path / 'state'}" in ended.stderr
    assert "Traceback" not in ended.stderr


def authenticators():
    """The blocks at the end of facility.yml, as they are when somebody takes the # away."""
    text = (REPOSITORY / "config/facility.yml").read_text().partition("# Authenticators for real")[2]
    for block in text.split("# --- ")[1:]:
        title, _, lines = block.partition("\n")
        yield (
            title,
            yaml.safe_load(
                "\n".join(
                    line.removeprefix("#") for line in lines.splitlines() if "- " in line or ":" in line
                )
            ),
        )


@pytest.mark.parametrize(("title", "block"), list(authenticators()))
def test_the_authenticators_that_the_configuration_offers_are_there(title, block):
    from tiled.config import AuthenticationProviderSpec

    (described,) = block
    spec = AuthenticationProviderSpec.model_validate(described)
    needed = re.search(r"pip install (\w+)", title)
    if described["authenticator"].endswith("PAMAuthenticator") and not find_spec(needed[1]):
        with pytest.raises(ModuleNotFoundError, match=needed[1]):
            spec.into_auth_entry()
    else:
        assert spec.into_auth_entry()[0] == "facility"


def test_compose_asks_for_what_the_example_and_the_page_name():
    asked = set(re.findall(r"\$\{(\w+)", (REPOSITORY / "compose.yaml").read_text()))
    example = set(re.findall(r"^(\w+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    configured = set(
        re.findall(r"^[^#\n]*\$\{(\w+)", (REPOSITORY / "config/facility.yml").read_text(), re.MULTILINE)
    )
    assert asked == example
    assert configured == set(COMPOSE["services"]["server"]["environment"]) - {"FORWARDED_ALLOW_IPS"}
    page = (REPOSITORY / "docs/deploy.md").read_text()
    assert all(name in page for name in configured)


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


def test_the_pages_way_to_a_key_gives_one(deployed):
    password = PASSWORDS["SPYDE_CEM_PASSWORD"]
    made = json.loads(run_block("auth/apikey", URL=deployed.proxied, PERSON="cem", PASSWORD=password))
    headers = {"Authorization": f"Apikey {made['secret']}"}
    with httpx.Client(base_url=deployed.proxied, headers=headers) as client:
        assert client.get("/api/v1/metadata/proposals/2026-002").status_code == 200
        assert client.delete(f"/api/v1/metadata/{SCAN.replace('001', '002')}").status_code in (401, 405)


def test_the_pages_backup_is_one(deployed, tmp_path):
    run_block("backup", SPYDE_STATE=str(deployed.state), BACKUP=str(tmp_path / "backup"))
    saved = {path.name for path in (tmp_path / "backup").iterdir()}
    assert saved == {path.name for path in deployed.state.glob("*.sqlite")} >= {"people.sqlite"}
    with closing(sqlite3.connect(tmp_path / "backup" / "people.sqlite")) as people:
        assert people.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert ("ben",) in people.execute("SELECT id FROM identities").fetchall()


def test_the_variables_of_the_page_are_those_of_the_configuration():
    (piece,) = blocks("export SPYDE_DATA")
    named = set(re.findall(r"(SPYDE_\w+)=", piece))
    assert named == set(COMPOSE["services"]["server"]["environment"]) - {"FORWARDED_ALLOW_IPS"}


def test_the_units_command_is_one_the_program_takes():
    from tiled_spyde.cli import _parser

    unit = (REPOSITORY / "config/tiled-spyde.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S+/tiled-spyde (.*)$", unit, re.MULTILINE)
    options = _parser().parse_args(shlex.split(command))
    assert options.root_path == "/spyde"
    assert options.config.name == "facility.yml"


@pytest.mark.parametrize("path", ["spyde", "/spyde/", "/tools/spyde", "/"])
def test_a_root_path_is_made_plain(path):
    from tiled_spyde.cli import _root_path

    assert _root_path(path) in ("/spyde", "/tools/spyde", "")


@pytest.mark.parametrize("path", ["/a b", "/..", "/a/../b", "/spyde?x", "http://host/spyde"])
def test_a_root_path_that_is_none_is_refused(path):
    from tiled_spyde.cli import _root_path

    with pytest.raises(argparse.ArgumentTypeError, match="no path of plain names"):
        _root_path(path)
