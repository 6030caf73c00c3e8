"""Several servers on one PostgreSQL database: on one machine, and as on another one, which shares no folder."""

from __future__ import annotations

from conftest import until, until_indexed
from test_cli import started, wait_for
from test_workers import client, is_frame, make, one_of_each, workers

FRAME = "/api/v1/array/full/scan4d.hspy/signal/root?slice=1,2&format=application/octet-stream"


def described(name):
    return f"/api/v1/metadata/scan4d.hspy/signal/{name}"


def test_all_see_what_one_changes_also_after_the_database_was_away(scans, tmp_path, on_postgresql):
    address = on_postgresql.make("servers")
    here = workers(2, scans, "--database", address, state=tmp_path / "here")
    there = workers(1, scans, "--database", address, state=tmp_path / "there")
    with (
        here as (parent, url),
        one_of_each(url, parent, 2) as each,
        there as (_, elsewhere),
        client(elsewhere) as other,
    ):
        one, two = each.values()
        for server in one, two, other:
            until_indexed(server)
        for number in range(4):
            makes, sees = (one, two) if number % 2 else (two, one)
            made = make(makes, f"here {number}", 1 + number)
            assert made.status_code == 201, made.text
            assert sees.get(described(f"here {number}")).status_code == 200
            until(lambda name=f"here {number}": other.get(described(name)).status_code == 200)
        on_postgresql.stop()
        for server in one, two, other:
            assert is_frame(server.get(FRAME))
            assert server.get(described("here 0")).status_code == 200
            refused = make(server, "lost", 9)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert "127.0.0.1" in refused.json()["detail"]
            assert "p@ss" not in refused.text
            assert "p%40ss" not in refused.text
        on_postgresql.start()
        assert make(one, "again", 10).status_code == 201
        assert two.get(described("again")).status_code == 200
        until(lambda: other.get(described("again")).status_code == 200)
        assert make(other, "there", 11).status_code == 201
        until(lambda: all(server.get(described("there")).status_code == 200 for server in (one, two)))
        assert other.get(described("lost")).status_code == 404


def test_a_database_that_is_not_there_is_one_line(scans, tmp_path, on_postgresql):
    address = on_postgresql.url("nowhere")
    command = ("serve", str(scans), "--state", str(tmp_path), "--database", address, "--port", "0")
    with started("tiled_spyde.cli", *command) as (process, lines):
        said = wait_for(lines, r"^tiled-spyde: Cannot open the database (.*)")[1]
        assert process.wait(60) == 2
    assert '"nowhere" does not exist' in said
    assert "ada:" not in said
    assert lines.empty()


def test_a_database_that_comes_up_later_than_the_server_is_waited_for(scans, tmp_path, on_postgresql):
    address = on_postgresql.make("later")
    command = (
        "serve",
        str(scans),
        "--state",
        str(tmp_path),
        "--database",
        address,
        "--port",
        "0",
        "--api-key",
        "abc",
    )
    on_postgresql.stop()
    with started("tiled_spyde.cli", *command) as (process, lines):
        try:
            said = wait_for(lines, r"Connection refused.*It is tried again for up to")
            assert process.poll() is None
            assert "p@ss" not in said.string
        finally:
            on_postgresql.start()
        with client(wait_for(lines, r"serves at (http://\S+)")[1]) as server:
            until_indexed(server)
            assert make(server, "after all", 1).status_code == 201
