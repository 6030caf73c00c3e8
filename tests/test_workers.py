"""Several real server processes on one socket."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import encoded, until
from test_cli import started, wait_for

TREE = "/api/v1/nodes/scan4d.hspy/signal"
FRAME = "/api/v1/array/full/scan4d.hspy/signal/root?slice=1,2&format=application/octet-stream"


def children(pid):
    """The server processes below the parent."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def server_of(connection, pids):
    """Which of the processes has the other end of a client's connection; None while it is not taken."""
    (stream,) = (pooled._connection._network_stream for pooled in connection._transport._pool.connections)
    _, port = stream.get_extra_info("client_addr")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].rpartition(":")[2], 16) == port:
            for pid in pids:
                for file in Path(f"/proc/{pid}/fd").iterdir():
                    try:
                        if os.readlink(file) == f"socket:[{fields[9]}]":
                            return pid
                    except OSError:
                        continue
    return None


@contextmanager
def workers(count, *arguments, state):
    command = ("serve", *map(str, arguments), "--state", str(state), "--workers", str(count), "--port", "0")
    with started("tiled_spyde.cli", *command, "--api-key", "abc") as (parent, lines):
        yield parent, wait_for(lines, r"serves at (http://\S+)")[1]


def client(url):
    return httpx.Client(base_url=url, headers={"Authorization": "Apikey abc"}, timeout=60)


@contextmanager
def one_of_each(url, parent, count):
    """Keep a connection to each of the processes, once all serve."""
    with ExitStack() as stack:
        found, spare = {}, []

        def all_found():
            spare.append(stack.enter_context(client(url)))
            spare[-1].get("/healthz").raise_for_status()
            found[server_of(spare[-1], children(parent.pid))] = spare[-1]
            return len(found.keys() - {None}) == count

        until(all_found, 120)
        found.pop(None, None)
        yield found


def make(connection, name, sigma):
    described = {
        "parent": "root",
        "operation": "gaussian_filter",
        "parameters": {"sigma": sigma},
        "name": name,
    }
    return connection.post(TREE, json=described)


def indexing(connection):
    top = connection.get("/api/v1/metadata/").json()["data"]["attributes"]["metadata"]
    return top["attributes"]["indexing"]


def is_frame(answer):
    frame = np.frombuffer(answer.content, np.uint16).reshape(12, 16)
    return answer.status_code == 200 and (frame == encoded((3, 5, 12, 16))[1, 2]).all()


@pytest.mark.parametrize("count", [2, 3])
def test_a_node_made_on_one_is_seen_by_all_at_once(scans, tmp_path, count):
    with workers(count, scans, state=tmp_path) as (parent, url), one_of_each(url, parent, count) as each:
        until(lambda: not any(indexing(one)["scanning"] for one in each.values()))
        assert len({tuple(sorted(indexing(one).items())) for one in each.values()}) == 1
        for number in range(12):
            makes = list(each.values())[number % count]
            made = make(makes, f"smooth {number}", 1 + number / 10)
            assert made.status_code == 201, made.text
            for one in each.values():
                seen = one.get(f"/api/v1/metadata/scan4d.hspy/signal/smooth {number}")
                assert seen.status_code == 200, seen.text
        described = [one.get("/api/v1/metadata/").json() for one in each.values()]
        assert all(one == described[0] for one in described)
        assert all(is_frame(one.get(FRAME)) for one in each.values())


def test_one_that_is_killed_is_replaced_and_nobody_waits_for_it(scans, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "scan4d.hspy").write_bytes((scans / "scan4d.hspy").read_bytes())
    with workers(2, data, state=tmp_path / "state") as (parent, url):
        for number in range(2):  # whichever of them looks at the folder
            with one_of_each(url, parent, 2) as each:
                until(
                    lambda each=each, of=1 + number: all(indexing(one)["done"] == of for one in each.values())
                )
                (victim, _), (other, lives) = each.items()
                os.kill(victim, signal.SIGKILL)
                for _ in range(20):
                    assert is_frame(lives.get(FRAME))
                assert make(lives, f"after {number}", 1 + number).status_code == 201
                until(lambda old={victim, other}: len(children(parent.pid) | old) > 2)
            with one_of_each(url, parent, 2) as each:
                assert victim not in each
                for one in each.values():
                    assert one.get(f"/api/v1/metadata/scan4d.hspy/signal/after {number}").status_code == 200
                    assert is_frame(one.get(FRAME))
            # Somebody looks at the folder again.
            (data / f"later {number}.hspy").write_bytes((scans / "line.hspy").read_bytes())
            with client(url) as any_one:
                until(
                    lambda one=any_one, number=number: (
                        one.get(f"/api/v1/metadata/later {number}.hspy").status_code == 200
                    )
                )


def test_where_no_process_can_be_started_the_others_serve_on(scans, tmp_path):
    command = (
        "serve",
        str(scans),
        "--state",
        str(tmp_path),
        "--workers",
        "2",
        "--port",
        "0",
        "--api-key",
        "abc",
    )
    with started("tiled_spyde.cli", *command) as (parent, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        with one_of_each(url, parent, 2) as each:
            (victim, _), (_, lives) = each.items()
            before = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            os.kill(victim, signal.SIGKILL)
            wait_for(lines, "No server process can be started")
            assert is_frame(lives.get(FRAME))
            resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, before)
            until(lambda: len(children(parent.pid)) == 2)
            assert is_frame(lives.get(FRAME))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_all_end_with_the_parent(scans, tmp_path, number, monkeypatch):
    kept = tmp_path / "temporary"
    kept.mkdir()
    monkeypatch.setenv("TMPDIR", str(kept))
    with workers(2, scans / "line.hspy", state=tmp_path) as (parent, url):
        with one_of_each(url, parent, 2) as each:
            parent.send_signal(number)
            assert parent.wait(60) == (130 if number == signal.SIGINT else -number)
        until(lambda: not any(map(is_alive, each)))
        with pytest.raises(httpx.TransportError), client(url) as one:
            one.get("/healthz")
    if number != signal.SIGKILL:
        assert not list(kept.glob("tiled-spyde-*"))


def test_what_is_wrong_is_said_once(tmp_path):
    command = ("tiled_spyde.cli", "serve", "/nowhere/at/all", "--workers", "3", "--port", "0")
    with started(*command) as (parent, lines):
        wait_for(lines, "nothing at /nowhere/at/all")
        assert parent.wait(60) == 2
    assert lines.empty()


def test_a_configuration_says_how_many(scans, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text(
        f"""
trees:
  - {{path: /, tree: "tiled_spyde.app:tree", args: {{paths: ["{scans}"], state: "{tmp_path}", cache_mb: 64}}}}
access_control: {{access_policy: "tiled_spyde.access:CredentialPolicy", args: {{}}}}
authentication: {{single_user_api_key: abc}}
uvicorn: {{workers: 2}}
"""
    )
    command = ("tiled_spyde.cli", "serve", "--config", str(config), "--port", "0")
    with started(*command) as (parent, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        with one_of_each(url, parent, 2) as each:
            assert len(each) == 2
