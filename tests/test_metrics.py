"""Numbers for Prometheus: what happened is in them, each thing once, also over several processes."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import KEY, make_root, serving, until
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from test_cli import started, wait_for

from tiled_spyde import metrics
from tiled_spyde.errors import Abandoned
from tiled_spyde.evaluate import Evaluator
from tiled_spyde.operations import build
from tiled_spyde.recipe import Recipe
from tiled_spyde.tickets import Ticket, Urgency

FRAME = "/api/v1/array/full/scan4d.hspy/signal/root?slice=1,2&format=application/octet-stream"


def now(name, **labels):
    metrics.bring()
    return REGISTRY.get_sample_value(f"tiled_spyde_{name}", labels) or 0.0


@contextmanager
def rising(much, name, **labels):
    """What happens inside raises a number by `by`."""
    before = now(name, **labels)
    yield
    assert now(name, **labels) == before + much


@pytest.mark.parametrize(("lane", "by"), [(True, "lane"), (False, "tiled")])
@pytest.mark.parametrize(
    ("status", "shown"), [(101, "1xx"), (200, "2xx"), (304, "3xx"), (422, "4xx"), (503, "5xx")]
)
def test_an_answer_is_counted_once(lane, by, status, shown):
    with rising(1, "requests_total", by=by, status=shown), rising(100, "sent_bytes_total", by=by):
        metrics.answered({}, lane, status, 100)


@pytest.mark.parametrize("stage", ["queue", "read", "compute", "encode"])
def test_the_time_of_a_stage_falls_into_its_bucket(stage):
    with (
        rising(2, "stage_seconds_count", stage=stage),
        rising(0, "stage_seconds_bucket", stage=stage, le="0.001"),
        rising(1, "stage_seconds_bucket", stage=stage, le="0.0025"),
        rising(2, "stage_seconds_bucket", stage=stage, le="+Inf"),
        rising(512.0 + 0.0025, "stage_seconds_sum", stage=stage),
    ):
        metrics.answered({stage: 0.0025}, True, 200, 1)
        metrics.answered({stage: 512.0}, True, 200, 1)


def test_probes_of_rights():
    with rising(2, "rights_probes_total"):
        metrics.probed()
        metrics.probed()


def test_the_cache_of_an_evaluator_and_of_several():
    recipe = Recipe(make_root((3, 4, 5, 6))).then(build("gaussian_filter", {"sigma": 1.0}))
    gc.collect()  # what tests before this one have left
    limit = now("cache_limit_bytes")
    one, other = Evaluator(10**6, 1), Evaluator(10**6, 1)
    metrics.watch(one)
    metrics.watch(one)
    metrics.watch(other)
    with rising(3, "cache_misses_total"), rising(1, "cache_hits_total"):
        for index in ((0, 0), (0, 1), (0, 1)):
            one.read(recipe, index)
        other.read(recipe, (0, 0))
    assert now("cache_limit_bytes") == limit + 2 * 10**6
    assert now("cache_bytes") >= one.cache.size + other.cache.size > 0
    one.close()
    other.close()
    misses = now("cache_misses_total")
    del one, other
    gc.collect()
    assert now("cache_limit_bytes") == limit
    assert now("cache_misses_total") == misses  # what was counted stays


def test_the_pool_of_an_evaluator():
    recipe = Recipe(make_root((3, 4, 5, 6))).then(build("gaussian_filter", {"sigma": 1.0}))
    evaluator = Evaluator(10**6, 3)
    gc.collect()  # what tests before this one have left
    workers = now("pool_workers")
    metrics.watch(evaluator)
    assert now("pool_workers") == workers + 3
    gone = Ticket("me", Urgency.AHEAD)
    gone.abandon()
    with (
        rising(1, "pool_finished_total", urgency="looked_at"),
        rising(1, "pool_finished_total", urgency="bulk"),
        rising(1, "pool_dropped_total", urgency="ahead"),
        rising(0, "pool_refused_total", urgency="bulk"),
    ):
        evaluator.start(recipe, (0, 0), Ticket("me")).result()
        evaluator.start(recipe, (0, 1), Ticket("me", Urgency.BULK)).result()
        with pytest.raises(Abandoned):
            evaluator.start(recipe, (0, 2), gone).result()
        evaluator.close()
    with rising(1, "pool_refused_total", urgency="looked_at"), rising(1, "processes_lost_total"):
        evaluator.pool.refused[Urgency.LOOKED_AT] += 1
        evaluator.processes.lost += 1


def test_memory_is_shown():
    assert now("resident_bytes") > 10e6


def samples(text):
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for f in families
        for sample in f.samples
    }


def shown(client):
    return samples(client.get("/api/v1/metrics").raise_for_status().text)


def test_a_server_shows_them_to_who_may_see_metrics(scans):
    with serving([scans / "scan4d.hspy"], public=True) as public:
        assert public.get("/api/v1/metrics").status_code in (401, 403)
    with serving([scans / "scan4d.hspy"]) as served:
        until(lambda: ("tiled_spyde_cache_limit_bytes", ()) in shown(served.client))
        assert any(name.startswith("tiled_request_duration_seconds") for name, _ in shown(served.client))


def test_previews_whole_scans_and_who_follows_are_in_them(scans):
    gc.collect()  # what tests before this one have left
    tree = "scan4d.hspy/signal"
    with serving([scans / "scan4d.hspy"]) as served:
        evaluator = served.root.lane.bodies._evaluator
        sliding = [
            f'[{{"operation":"gaussian_filter","parameters":{{"sigma":{1 + n}.5}}}}]' for n in range(3)
        ]
        with rising(3, "previews_derived_total"), rising(3, "previews_remembered"):
            for steps in (*sliding, sliding[0]):
                assert served.get(
                    f"/api/v1/derive/{tree}/root", params={"steps": steps, "slice": "0,0"}
                ).is_success
        mean = (
            served.root.catalog.tree(tuple(tree.split("/"))).recipe("root").then(build("mean_over_scan", {}))
        )
        with rising(1, "whole_scans_total", ended="stored"):
            evaluator.wholes.start(mean).result(60)
            until(lambda: not evaluator.wholes.computing)
        before = now("followers", of="trees"), now("followers", of="jobs")
        with served.client.stream("GET", f"/api/v1/nodes/{tree}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: tree"
            assert (now("followers", of="trees"), now("followers", of="jobs")) == (before[0] + 1, before[1])


@pytest.mark.parametrize(
    ("error", "how"), [(Abandoned("Gone."), "interrupted"), (ValueError("Bad."), "failed")]
)
def test_a_computation_that_does_not_end_well_is_counted_as_that(error, how, monkeypatch):
    def ends(*_):
        raise error

    evaluator = Evaluator(10**6, 1)
    metrics.watch(evaluator)
    monkeypatch.setattr("tiled_spyde.runs.Run.compute", ends)
    mean = Recipe(make_root((3, 4, 5, 6))).then(build("mean_over_scan", {}))
    with rising(1, "whole_scans_total", ended=how), rising(0, "whole_scans_total", ended="stored"):
        assert evaluator.wholes.start(mean).exception(60)
    assert not evaluator.wholes.computing
    evaluator.close()


def answers(found, status=""):
    return sum(
        value
        for (name, labels), value in found.items()
        if name == "tiled_spyde_requests_total" and dict(labels)["status"].startswith(status)
    )


def test_what_a_server_answers_is_in_them(scans):
    with serving([scans / "scan4d.hspy"]) as served:
        assert served.get(FRAME).status_code == 200
        before = shown(served.client)
        for _ in range(20):
            assert served.get(FRAME).status_code == 200
            assert served.get(f"{FRAME}&slice=x").status_code == 422
        # Those that only look are counted, too.
        until(lambda: answers(shown(served.client), "4") >= answers(before, "4") + 20)
        until(lambda: answers(shown(served.client), "2") >= answers(before, "2") + 20)
        after = shown(served.client)

    def grew(name, **labels):
        return sum(
            value - before.get((found, given), 0)
            for (found, given), value in after.items()
            if found == name and labels.items() <= dict(given).items()
        )

    assert grew("tiled_spyde_requests_total", status="4xx") == 20
    assert grew("tiled_spyde_requests_total", status="5xx") == 0
    assert grew("tiled_spyde_sent_bytes_total") > 20 * 12 * 16 * 2


WORKER = """
import asyncio, sys
from tiled_spyde import metrics

async def work():
    task = asyncio.create_task(metrics.keep_bringing())
    await asyncio.sleep(0)
    metrics.answered({"read": 0.5}, True, 200, 10)
    metrics.bring()
    print("ready", flush=True)
    input()
    task.cancel()

asyncio.run(work())
"""


@contextmanager
def worker(number):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.communicate("\n")


def test_several_processes_are_added_up_and_the_dead_forgotten():
    with metrics.shared():
        with worker(0), worker(1), worker(2):
            together = scrape()
            assert together["tiled_spyde_requests_total", (("by", "lane"), ("status", "2xx"))] == 3
            assert together["tiled_spyde_stage_seconds_count", (("stage", "read"),)] == 3
            assert together["tiled_spyde_stage_seconds_sum", (("stage", "read"),)] == 1.5
            memory = together["tiled_spyde_resident_bytes", ()]
        with worker(3):
            after = scrape()
        assert after["tiled_spyde_requests_total", (("by", "lane"), ("status", "2xx"))] == 4
        assert 0 < after["tiled_spyde_resident_bytes", ()] < 0.6 * memory
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


def test_any_of_several_servers_answers_for_all(scans, tmp_path):
    """Requests over new connections, which come to whichever process takes them."""
    command = ["serve", str(scans / "scan4d.hspy"), "--port", "0", "--api-key", KEY, "--workers", "2"]
    with started("tiled_spyde.cli", *command, "--state", str(tmp_path)) as (_, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        headers = {"Authorization": f"Apikey {KEY}"}

        def get(path, **more):
            return httpx.get(url + path, headers={**headers, **more}, timeout=60)

        def together():
            return samples(get("/api/v1/metrics").raise_for_status().text)

        until(lambda: get(FRAME).status_code == 200)
        for _ in range(30):
            assert get(FRAME, **{"If-None-Match": "*"}).status_code == 304
        until(lambda: answers(together(), "3xx") == 30)
        limit = ("tiled_spyde_cache_limit_bytes", ())
        until(lambda: together()[limit] == 512 * 2**20)  # both are there, and share it
        assert {together()[limit] for _ in range(10)} == {512 * 2**20}


def scrape():
    """What tiled's route shows in a process of such a server."""
    code = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return samples(said.stdout)


def test_the_page_names_all_there_are():
    page = (Path(__file__).parents[1] / "docs/metrics.md").read_text()
    named = set(re.findall(r"^\| `(tiled_spyde_\w+)`", page, re.MULTILINE))
    kinds = {"counter": "_total", "gauge": "", "histogram": ""}
    there = {f.name + kinds[f.type] for f in REGISTRY.collect() if f.name.startswith("tiled_spyde_")}
    assert named == there
