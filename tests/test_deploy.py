"""What docs/deploy.md, compose.yaml and config/ say is run as they say it: the server, and nginx before it."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from asyncio import to_thread
from contextlib import closing
from threading import Event
from urllib.parse import unquote

import httpx
import numpy as np
import psycopg
import pytest
from conftest import encoded, running
from deployment import NODE, PASSWORDS, SCAN, deployment, free_port, key_of, nginx, run_block
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tiled_spyde.database import SCHEMA


@pytest.fixture(scope="module")
def deployed(scans, tmp_path_factory, postgresql):
    with deployment(scans, tmp_path_factory.mktemp("deployed"), postgresql) as services:
        yield services


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
            # The entity tag of what has links in it depends on where they lead.
            tag = () if address.startswith("/api/v1/metadata") else ("etag",)
            for name in ("content-type", *tag, "retry-after", "cache-control", "allow"):
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


def test_the_proxy_adds_nothing_takes_nothing_and_keeps_nothing_back(tmp_path):
    """Against a server that does what ours does under load: says it is busy, and sends bytes as they come."""
    sent = Event()

    async def busy(_):
        return JSONResponse({"detail": "All hands are busy."}, 503, {"Retry-After": "7"})

    async def slow(_):
        async def parts():
            yield b"first"
            await to_thread(sent.wait, 30)
            yield b"last"

        return StreamingResponse(parts())

    async def large(_):
        return StreamingResponse(bytes(1 << 20) for _ in range(64))

    async def seen(request):
        return JSONResponse(
            {**request.headers, "path": request.scope["raw_path"].decode(), "query": request.url.query}
        )

    routes = [
        Route("/busy", busy),
        Route("/slow", slow),
        Route("/large", large),
        Route("/seen/{path:path}", seen),
    ]
    with (
        running(Starlette(routes=routes)) as url,
        nginx(tmp_path / "nginx", url.removeprefix("http://")) as (out, _),
    ):
        answer = httpx.get(f"{out}/busy")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert answer.json() == {"detail": "All hands are busy."}
        head = httpx.head(f"{out}/busy")
        assert (head.status_code, head.content, head.headers["Content-Length"]) == (
            503,
            b"",
            str(len(answer.content)),
        )
        with httpx.stream("GET", f"{out}/slow", timeout=20) as answer:
            parts = answer.iter_raw()
            assert next(parts) == b"first"  # the server has not sent the last by now
            sent.set()
            assert b"".join(parts) == b"last"
        with httpx.stream("GET", f"{out}/large", timeout=60) as answer:
            assert sum(map(len, answer.iter_raw())) == 64 << 20
        assert (tmp_path / "nginx" / "nginx-proxy").is_dir()
        assert not list((tmp_path / "nginx" / "nginx-proxy").rglob("*")), "an answer was kept in a file"
        spoofed = {
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-For": "1.2.3.4",
            "X-Forwarded-Proto": "gopher",
        }
        told = httpx.get(f"{out}/seen/a%20%C2%B5@1,%25?slice=1,::2", headers=spoofed).json()
        assert told["x-forwarded-host"] == told["host"] == httpx.URL(out).netloc.decode()
        assert told["x-forwarded-for"] == "127.0.0.1"
        assert told["x-forwarded-proto"] == "http"
        assert unquote(told["path"]) == "/seen/a µ@1,%"
        assert told["query"] == "slice=1,::2"


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


def test_the_viewers_wire_works_at_the_sub_path(deployed):
    from viewer.wire import Service

    service = Service(deployed.proxied, key_of(deployed, "ben"))
    try:
        tree = service.tree(tuple(SCAN.split("/")))
        made = service.make_node(tuple(SCAN.split("/")), "root", "gaussian_filter", {"sigma": 1.0}, "smooth")
        assert made.path == (*SCAN.split("/"), "smooth")
        root = next(node for node in tree.nodes if node.path[-1] == "root")
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
        listed = client.get("/api/v1/search/proposals/2026-001").json()["data"]
        name = next(entry["id"] for entry in listed if entry["id"].startswith("an image"))
        image = f"proposals/2026-001/{name}/signal/root"
        address = f"/api/v1/array/full/{image}?format=application/octet-stream"
        with client.stream("GET", address, headers={"Accept-Encoding": "identity"}) as answer:
            assert answer.status_code == 200
            assert sum(map(len, answer.iter_raw(8192))) == 530 * 600 * 2


def test_a_preview_and_what_happens_to_a_tree_come_through_at_once(deployed):
    """A stream never ends, so whatever waits for its end would show nothing."""
    with deployed.log_in("ben") as ben, deployed.log_in("ben") as maker:
        with ben.stream("GET", f"/api/v1/nodes/{SCAN}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: tree"
            made = maker.post(
                f"/api/v1/nodes/{SCAN}", json={"parent": "root", "operation": "sum", "name": "followed"}
            )
            assert made.status_code == 201
            assert any('"name":"followed"' in line for line in lines)
            assert "x-accel-buffering" not in answer.headers  # it was meant for the proxy
        asked = {"steps": '[{"operation":"sum"}]', "slice": "0"}
        derived = ben.get(f"/api/v1/derive/{SCAN}/root", params=asked)
        assert derived.status_code == 200
        address = f"/api/v1/array/full/{derived.headers['x-node']}?slice=0&format=application/octet-stream"
        assert ben.get(address).content == derived.content
        shown = ben.get(f"/api/v1/derive/{SCAN}/root", params={"steps": asked["steps"]}).json()["data"]
        assert shown["links"]["self"].startswith(deployed.proxied)
        assert ben.get(shown["links"]["self"]).status_code == 200


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
    said = deployed.nginx_said.read_text() + deployed.said.read_text()
    assert key not in said
    assert "for-the-database" not in said


def test_the_pages_way_to_a_key_gives_one(deployed):
    password = PASSWORDS["SPYDE_CEM_PASSWORD"]
    made = json.loads(run_block("auth/apikey", URL=deployed.proxied, PERSON="cem", PASSWORD=password))
    headers = {"Authorization": f"Apikey {made['secret']}"}
    with httpx.Client(base_url=deployed.proxied, headers=headers) as client:
        assert client.get("/api/v1/metadata/proposals/2026-002").status_code == 200
        assert client.delete(f"/api/v1/metadata/{SCAN.replace('001', '002')}").status_code in (401, 405)
        tree = f"/api/v1/nodes/{SCAN.replace('001', '002')}"
        node = {"name": "key", "parent": "root", "operation": "sum"}
        assert client.post(tree, json=node).status_code == 201
        assert client.patch(f"{tree}/key", json={"description": "made with it"}).status_code == 200
        assert client.delete(f"{tree}/key").status_code == 200


def test_the_pages_backup_is_one(deployed, tmp_path):
    with deployed.log_in("ben"):
        pass
    run_block("backup", SPYDE_STATE=str(deployed.state), BACKUP=str(tmp_path / "backup"))
    saved = {path.name for path in (tmp_path / "backup").iterdir()}
    assert saved == {path.name for path in deployed.state.glob("*.sqlite")} >= {"people.sqlite"}
    with closing(sqlite3.connect(tmp_path / "backup" / "people.sqlite")) as people:
        assert people.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert ("ben",) in people.execute("SELECT id FROM identities").fetchall()


def test_the_pages_dump_of_the_trees_can_be_put_back(deployed, postgresql, tmp_path):
    dump, restored = tmp_path / "trees.dump", postgresql.make("restored")
    run_block("pg_dump", SPYDE_DATABASE=postgresql.url("spyde"), SPYDE_DUMP=str(dump))
    subprocess.run(["pg_restore", f"--dbname={restored}", "--no-owner", dump], check=True)
    for name in ("spyde", "restored"):
        with psycopg.connect(postgresql.conninfo(name)) as connection:
            found = connection.execute("SELECT version_num FROM tiled_spyde.tiled_spyde_version").fetchone()
            sources = connection.execute("SELECT count(*) FROM tiled_spyde.sources").fetchone()
        assert found == (SCHEMA,)
        assert sources == (4,)
