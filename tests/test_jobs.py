"""Jobs over HTTP, and what a client sees of a node that needs the whole scan."""

from __future__ import annotations

import errno
import json
import threading
from urllib.parse import quote

import numpy as np
import pytest
from conftest import KEY, encoded, serving, until
from raw_http import Wire, request

from tiled_spyde.jobs import Jobs, JobStreams
from tiled_spyde.previews import Previews

SCAN = "scan4d.hspy/signal"
MEAN = f"{SCAN}/mean_over_scan"
FULL = "/api/v1/array/full"
TREES = {
    SCAN: [
        {"operation": "mean_over_scan"},
        {"operation": "gaussian_filter", "parent": "mean_over_scan", "parameters": {"sigma": 1.0}},
        {"operation": "subtract_reference", "parameters": {"reference": {"node": "mean_over_scan"}}},
    ]
}


@pytest.fixture(params=["guarded", "plain tiled"])
def guarded(request):
    return request.param == "guarded"


class Held:
    """Frames of a served scan that are read only when they may be."""

    def __init__(self, served):
        self.catalog = served.root.catalog
        self.open, self.reached, self.reads = threading.Event(), threading.Event(), 0
        reader = self.catalog.tree(tuple(SCAN.split("/"))).root.reader
        self._read, self._region = reader.read, reader.read_region
        # The reader is a frozen thing at times.
        object.__setattr__(reader, "read_region", self.read_region)
        object.__setattr__(reader, "read", self.read)

    def read(self, *where):
        self.wait()
        return self._read(*where)

    def read_region(self, *where):
        self.wait()
        return self._region(*where)

    def wait(self):
        self.reads += 1
        self.reached.set()
        assert self.open.wait(60)


def node(served, path=MEAN):
    return (
        served.get(f"/api/v1/metadata/{path}")
        .raise_for_status()
        .json()["data"]["attributes"]["metadata"]["attributes"]
    )


def test_a_slice_computes_what_it_needs(scans, guarded):
    with serving([scans], trees=TREES, guarded=guarded) as served:
        assert node(served)["state"] == "lazy"
        expected = encoded((3, 5, 12, 16)).mean(axis=(0, 1))
        answer = served.get(f"{FULL}/{MEAN}", params={"slice": "", "format": "application/octet-stream"})
        assert answer.status_code == 200
        np.testing.assert_array_equal(np.frombuffer(answer.content, "<f8").reshape(12, 16), expected)
        assert node(served)["state"] == "stored"
        below = node(served, f"{SCAN}/subtract_reference")
        assert below["state"] == "lazy"
        assert below["inputs"] == {"reference": f"/{MEAN}"}
        frame = served.get(f"/zarr/v3/{SCAN}/subtract_reference/c/1/2/0/0")
        assert frame.status_code == 200


def test_who_waits_in_vain_is_told_of_the_job(scans, guarded):
    arguments = {"deadline_seconds": 0.3}
    with serving([scans], trees=TREES, guarded=guarded, arguments=arguments) as served:
        held = Held(served)
        for address in (
            f"{FULL}/{MEAN}?slice=3,:&format=application/octet-stream",
            f"{FULL}/{MEAN}?slice=3,4&format=application/json",
            f"/zarr/v3/{MEAN}/c/0/0",
        ):
            answer = served.get(address)
            assert answer.status_code == 503, address
            assert "whole scan" in answer.json()["detail"]
            assert int(answer.headers["Retry-After"]) > 0
            job = served.get(answer.headers["Location"]).raise_for_status().json()["data"]
            assert (job["path"], job["of"], job["failure"]) == (MEAN, 15, None)
            assert job["state"] in ("computing", "waiting")
        assert node(served)["state"] == "computing"
        assert node(served)["progress"] == {"done": 0, "of": 15}
        below = served.get(f"{FULL}/{SCAN}/gaussian_filter", params={"slice": "0"})
        assert below.status_code == 503
        assert below.headers["Location"] != answer.headers["Location"]
        held.open.set()
        until(lambda: node(served)["state"] == "stored")
        assert served.get(answer.headers["Location"]).json()["data"]["state"] == "stored"
        assert served.get(f"{FULL}/{SCAN}/gaussian_filter", params={"slice": "0"}).status_code == 200


def test_who_waits_in_vain_for_a_preview_is_told_of_a_job_that_goes_on(scans, guarded):
    arguments = {"deadline_seconds": 0.3}
    steps = quote('[{"operation":"max_over_scan"}]')
    address = f"/api/v1/derive/{SCAN}/root?steps={steps}&slice=0"
    with serving([scans], guarded=guarded, arguments=arguments) as served:
        held = Held(served)
        for _ in range(2):
            answer = served.get(address)
            assert answer.status_code == 503, answer.text
        job = answer.headers["Location"]
        assert "/preview@" in served.get(job).raise_for_status().json()["data"]["path"]
        held.open.set()
        until(lambda: served.get(job).json()["data"]["state"] == "stored")
        assert served.get(address).status_code == 200


def test_a_job_is_made_followed_and_cancelled(scans, guarded):
    with serving([scans], trees=TREES, guarded=guarded) as served:
        held = Held(served)
        made = served.client.post("/api/v1/jobs", json={"path": MEAN})
        assert made.status_code == 202
        job = made.json()["data"]
        assert set(job) == {"id", "path", "by", "at", "state", "done", "of", "failure"}
        address = f"/api/v1/jobs/{job['id']}"
        assert made.headers["Location"].endswith(address)
        assert served.client.post("/api/v1/jobs", json={"path": f"/{MEAN}"}).json()["data"]["id"] == job["id"]
        assert held.reached.wait(60)
        with served.client.stream("GET", f"{address}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: job"
            assert json.loads(next(lines).removeprefix("data: "))["state"] == "computing"
            ending = threading.Thread(target=served.client.delete, args=(address,))
            ending.start()
            held.open.set()
            ending.join(60)
            last = json.loads(
                [line for line in lines if line.startswith("data: ")][-1].removeprefix("data: ")
            )
        assert last["state"] in ("cancelled", "stored")  # it may have been at its end
        listed = served.get("/api/v1/jobs").json()["data"]
        assert [one["id"] for one in listed] == [job["id"]]
        again = served.client.post("/api/v1/jobs", json={"path": MEAN})
        assert again.status_code == 202
        until(lambda: served.get(address).json()["data"]["state"] == "stored")


def followed_of(served):
    wholes = served.root.lane.bodies._evaluator.wholes
    return next(told.__self__ for told in wholes.told if isinstance(told.__self__, JobStreams))


def states(events):
    lines = (line for line in events.iter_lines() if line.startswith("data: "))
    return [json.loads(line.removeprefix("data: "))["state"] for line in lines]


def test_who_follows_a_job_that_nobody_computes_has_it_gone_on_with(scans, tmp_path, guarded):
    """As after a kill: the job is known, some of it is computed, and nothing runs."""
    arguments = {"state": str(tmp_path)}
    with serving([scans], trees=TREES, guarded=guarded, arguments=arguments) as served:
        recipe = served.root.catalog.tree(tuple(SCAN.split("/"))).recipe("mean_over_scan")
        wholes = served.root.lane.bodies._evaluator.wholes
        total = recipe.operation.total(recipe.parent.info)
        recipe.operation.take(total, encoded((3, 5, 12, 16)).reshape(15, 12, 16)[:4])
        wholes.store.save(recipe.key, 4, total)
        wholes.store.say(recipe.key, "progress", 4)
        job = served.root.lane.bodies._evaluator.when_missing(recipe, MEAN)
        said = served.get(job).json()["data"]
        assert (said["state"], said["done"]) == ("waiting", 4)
        assert "goes on" in said["failure"]
        assert served.get(job).json()["data"] == said  # a look begins nothing
        with served.client.stream("GET", f"{job}/events") as events:
            assert states(events)[-1] == "stored"
        expected = encoded((3, 5, 12, 16)).mean(axis=(0, 1))
        answer = served.get(f"{FULL}/{MEAN}?slice=&format=application/octet-stream")
        np.testing.assert_array_equal(np.frombuffer(answer.content, "<f8").reshape(12, 16), expected)


def test_all_who_follow_a_job_cost_one_look(scans, monkeypatch):
    monkeypatch.setattr("tiled_spyde.jobs._LOOK_SECONDS", 3600.0)  # they are woken
    with serving([scans], trees=TREES) as served:
        held, followed, looks = Held(served), followed_of(served), []
        described = Jobs.described
        job = served.client.post("/api/v1/jobs", json={"path": MEAN}).json()["data"]
        assert held.reached.wait(60)
        monkeypatch.setattr(Jobs, "described", lambda self, job: looks.append(1) or described(self, job))
        told = []

        def follow():
            with served.client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as events:
                told.append(states(events))

        threads = [threading.Thread(target=follow) for _ in range(10)]
        for thread in threads:
            thread.start()
        until(lambda: len(followed) == 10)
        held.open.set()
        for thread in threads:
            thread.join(60)
        assert [said[-1] for said in told] == ["stored"] * 10
        assert len(looks) < 10
        until(lambda: not len(followed))
        assert not followed._looks


@pytest.mark.parametrize("way", ["lane", "framework"])
def test_who_plays_above_a_whole_scan_and_goes_leaves_no_job_and_nothing_that_computes(
    scans, monkeypatch, way
):
    monkeypatch.setattr("tiled_spyde.runs._LEFT_SECONDS", 0.0)
    more = ("Range: bytes=0-",) if way == "framework" else ()
    with serving([scans], arguments={"deadline_seconds": 3600}) as served:
        held, wholes = Held(served), served.root.lane.bodies._evaluator.wholes
        steps = quote('[{"operation":"mean_over_scan"}]')
        with Wire(served.url) as wire:
            wire.send(request(f"/api/v1/derive/{SCAN}/root?steps={steps}&slice=0", *more))
            assert held.reached.wait(60)
            assert wholes.computing == 1
            assert served.get("/api/v1/jobs").json()["data"] == []
        until(lambda: not wholes.computing)
        held.open.set()


@pytest.mark.parametrize("how", ["renamed", "changed", "deleted"])
def test_a_job_whose_node_is_not_what_it_was_is_seen_and_ended_all_the_same(scans, how):
    """It goes on reading the whole scan: somebody must be able to end that."""
    trees = {SCAN: [{"operation": "mean_over_scan"}]}
    with serving([scans], trees=trees) as served:
        held = Held(served)
        wholes = served.root.lane.bodies._evaluator.wholes
        job = served.client.post("/api/v1/jobs", json={"path": MEAN}).json()["data"]
        assert held.reached.wait(60)
        node = f"/api/v1/nodes/{MEAN}"
        if how == "renamed":
            done = served.client.patch(node, json={"name": "mean"})
        elif how == "changed":
            done = served.client.patch(node, json={"operation": "max_over_scan"})
        else:
            done = served.client.delete(node)
        assert done.status_code == 200, done.text
        address = f"/api/v1/jobs/{job['id']}"
        assert served.get(address).json()["data"]["state"] == "computing"
        assert [one["id"] for one in served.get("/api/v1/jobs").json()["data"]] == [job["id"]]
        ending = threading.Thread(target=served.client.delete, args=(address,))
        ending.start()
        until(lambda: not wholes._runs)
        held.open.set()
        ending.join(60)
        assert served.get(address).json()["data"]["state"] == "cancelled"


def test_following_a_job_ends_with_the_server_and_is_bounded(scans, monkeypatch):
    with serving([scans], trees=TREES) as served:
        held = Held(served)
        job = served.client.post("/api/v1/jobs", json={"path": MEAN}).json()["data"]
        address = f"/api/v1/jobs/{job['id']}/events"
        head = served.client.head(address)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        with served.client.stream("GET", address) as events:
            lines = events.iter_lines()
            assert next(lines) == "event: job"
            monkeypatch.setattr("tiled_spyde.followers.MOST", 1)
            assert served.get(address).status_code == 503
            served.root.lane.ending()
            assert not [line for line in lines if line.startswith("event")]
        held.open.set()


def test_what_is_cancelled_is_not_begun_by_the_next_look(scans):
    with serving([scans], trees=TREES) as served:
        held = Held(served)
        job = served.client.post("/api/v1/jobs", json={"path": MEAN}).json()["data"]
        assert held.reached.wait(60)
        mean = held.catalog.tree(tuple(SCAN.split("/"))).recipe("mean_over_scan")
        wholes = served.root.lane.bodies._evaluator.wholes
        wholes.store.say(mean.key, "cancel", True)  # as another process does
        until(lambda: mean.key not in wholes._runs)
        held.open.set()
        assert served.get(f"/api/v1/jobs/{job['id']}").json()["data"]["state"] == "cancelled"
        answer = served.get(f"{FULL}/{MEAN}", params={"slice": "0"})
        assert answer.status_code == 422
        assert "cancelled" in answer.json()["detail"]
        assert node(served)["failure"].startswith("Computing this was cancelled")


def test_a_full_disk_is_said_and_tried_again(scans, guarded, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with serving([scans], trees=TREES, guarded=guarded) as served:
        monkeypatch.setattr("tiled_spyde.store._write", full)
        answer = served.get(f"{FULL}/{SCAN}/subtract_reference", params={"slice": "0,0"})
        assert answer.status_code == 507
        assert "disk is full" in answer.json()["detail"]
        assert node(served)["state"] == "failed"
        assert "disk is full" in node(served)["failure"]
        assert served.get(f"{FULL}/{SCAN}/root", params={"slice": "0,0"}).status_code == 200
        monkeypatch.undo()
        assert served.get(f"{FULL}/{SCAN}/subtract_reference", params={"slice": "0,0"}).status_code == 200
        assert node(served)["state"] == "stored"


def test_a_job_is_known_after_a_restart(scans, tmp_path):
    arguments = {"state": str(tmp_path)}
    with serving([scans], trees=TREES, arguments=arguments) as served:
        job = served.client.post("/api/v1/jobs", json={"path": MEAN}).json()["data"]
        until(lambda: served.get(f"/api/v1/jobs/{job['id']}").json()["data"]["state"] == "stored")
    with serving([scans], trees=TREES, arguments=arguments) as served:
        held = Held(served)
        assert served.get(f"/api/v1/jobs/{job['id']}").json()["data"]["state"] == "stored"
        assert served.get(f"{FULL}/{MEAN}", params={"slice": "0"}).status_code == 200
        assert held.reads == 0


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"path": f"{SCAN}/root"}, 422, "needs no job"),
        ({"path": f"{SCAN}/nothing"}, 404, ""),
        ({"path": ""}, 404, ""),
        ({"path": "/"}, 404, ""),
        ({"path": SCAN}, 404, ""),
        ({"path": f"{MEAN}@0"}, 410, "has changed"),
        ({"path": "../etc"}, 404, ""),
        ({}, 422, "path"),
        ([], 422, ""),
        ({"path": 7}, 422, "path"),
        ({"path": "x" * 5000}, 422, "path"),
    ],
)
def test_what_makes_no_job(jobless, body, status, said):
    answer = jobless.client.post("/api/v1/jobs", json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


@pytest.fixture(scope="module")
def jobless(scans):
    with serving([scans], trees=TREES) as served:
        yield served


@pytest.mark.parametrize("id_", ["nothing", "0" * 24, "..%2f..%2fcatalog", "%00"])
def test_a_job_that_is_not_there(jobless, id_):
    for method, address in (("GET", id_), ("DELETE", id_), ("GET", f"{id_}/events")):
        assert jobless.client.request(method, f"/api/v1/jobs/{address}").status_code == 404


def test_without_a_credential_there_is_nothing(jobless):
    for method in ("GET", "POST"):
        answer = jobless.client.request(
            method, "/api/v1/jobs", headers={"Authorization": ""}, json={"path": MEAN}
        )
        assert answer.status_code == 401
    assert KEY not in answer.text


def test_the_oldest_jobs_are_forgotten(jobless, tmp_path, monkeypatch):
    monkeypatch.setattr("tiled_spyde.jobs._MOST", 3)
    evaluator = jobless.root.lane.bodies._evaluator
    told = evaluator.when_missing
    jobs = Jobs(jobless.root.catalog, evaluator, tmp_path / "jobs", Previews())
    addresses = [
        evaluator.when_missing(jobless.root[SCAN.replace("/", "/")]["root"].recipe, f"a/{n}")
        for n in range(5)
    ]
    evaluator.when_missing = told
    assert len(set(addresses)) == 5
    assert len(jobs.newest(10)) == 3
