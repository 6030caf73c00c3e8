"""The benchmarks still run, compare what they time, and say what they measured."""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as bench
from benchmarks import crowds, dragged, frames, h5grove_server, load, memory, report, sliding
from benchmarks.clients import Answer
from benchmarks.dragging import Watch
from benchmarks.instrumented import CALLS, Counted, calls
from benchmarks.lines import failed, guarded, line
from benchmarks.measure import SELDOM, check, lines, measure
from benchmarks.rows import Row, rows
from benchmarks.scan import DOSES, Scan

REPOSITORY = Path(__file__).parents[1]
QUICK = ["--rounds", "2", "--detectors", "32", "--starts", "1", "--gigabytes", "0.01", "--dry"]


class Answers:
    """Client that gives always the same, and notes who was asked what."""

    def __init__(self, name, answer, log):
        self.name, self.answer, self.log = name, answer, log

    def get(self, path):
        return self.ask(path).body

    def ask(self, path, etag=""):
        self.log.append((self.name, path, etag))
        return Answer(304 if etag else 200, f'"{self.name}{path}"', self.answer)

    def close(self):
        pass


def clients(log, **answers):
    return {name: Answers(name, answer, log) for name, answer in answers.items()}


def row(names=("floor", "us"), **more):
    return Row("1", "a row", {name: lambda y, x: f"/{y}/{x}" for name in names}, 1.5, "≤ 1.5 × floor", **more)


def table_of(*only):
    """Run the benchmark for a moment; return the cells of its lines, and what it says below them."""
    command = [sys.executable, "-m", "benchmarks", *QUICK, "--only", *only]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown, _, notes = done.stdout.partition("\n\n")
    return [[cell.strip() for cell in text.split("|")[1:-1]] for text in shown.splitlines()[2:]], notes


def test_frames_maps_and_bytes_against_every_contender():
    shown, notes = table_of("1", "1z", "2", "3", "4", "11", "11b")
    assert "not measured" not in notes
    measured = [(cells[0], cells[1], cells[3]) for cells in shown]
    expected = {(r.number, r.name, client) for r in rows("") for client in ("socket", "httpx")}
    assert expected <= set(measured)
    assert [number for number, *_ in measured].count("11") == 2 * len(DOSES)
    assert {"4", "11b"} <= {number for number, *_ in measured}
    for number, *cells in shown:
        timed = [float(cells[place].split()[0].replace(",", "")) for place in (3, 4) if cells[place]]
        assert all(value > 0 for value in timed) or "calls of functions" in cells[0], (number, cells)


def test_memory_and_starts():
    shown, notes = table_of("10", "13")
    assert "not measured" not in notes
    assert [cells[0] for cells in shown] == ["10", *["13"] * 4]
    assert all(cells[4].endswith(("MiB", "s")) for cells in shown)


def test_crowd_is_counted(tmp_path):
    scan = Scan(tmp_path / "scan.hspy", 16, 40)
    scan.write()
    (found,) = crowds.crowd(scan)
    assert found["us"] >= 1
    assert found["n"] == crowds.TIMES


def test_what_runs_without_other_tools_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    (found,) = guarded("6", "32 clients", lambda: load.run({}, "", [], 1, "32²"))
    assert "wrk is not installed" in found["note"]

    def fail(*arguments, **options):
        return subprocess.CompletedProcess(arguments, 1)

    monkeypatch.setattr(h5grove_server.subprocess, "run", fail)
    monkeypatch.setattr(h5grove_server.venv, "create", lambda *_, **__: None)
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    with (
        pytest.raises(RuntimeError, match="no network, or no index"),
        h5grove_server.running("tornado", Path()),
    ):
        pass


def test_one_row_that_fails_leaves_the_others(monkeypatch):
    def section(name, options, wanted):
        if name == "memory":
            raise ValueError("the disk\nis full")
        return [line(number, "measured", 1.0) for number in wanted]

    monkeypatch.setattr(bench, "_section", section)
    results = bench.run(argparse.Namespace(only=["13", "10", "7"]))
    assert [result["row"] for result in results] == ["7", "10", "13"]
    assert [result["us"] for result in results] == [1.0, None, 1.0]
    assert "- 10, memory: not measured: ValueError: the disk is full" in report.table(results)


def test_every_row_of_the_table_is_measured_by_someone():
    assert set(itertools.chain(*bench.SECTIONS.values())) == set(bench.NUMBERS)


def test_enough_frames_are_written():
    rounds = 7
    asked = sum(1 + rounds for _ in rows("")) * 2
    assert frames.positions(rounds) >= asked
    assert frames.positions(100) < Scan(Path(), 8, 10**6).visited.__len__()


def test_contenders_that_differ_are_not_timed():
    with pytest.raises(RuntimeError, match="us and floor differ"):
        check(row(cold=True), clients([], floor=b"same", us=b"other"), (0, 1))


@pytest.mark.parametrize("cold", [True, False])
def test_rounds_are_interleaved_and_cold_ones_are_new(cold):
    log = []
    asked = clients(log, floor=b"", us=b"")
    samples = measure(row(cold=cold), asked, zip(itertools.count(), itertools.count()), 30)
    timed = log[-60:]
    assert all({name for name, *_ in timed[i : i + 2]} == {"floor", "us"} for i in range(0, 60, 2))
    seen_before = {path for _, path, _ in log[:-60]}
    assert all((path in seen_before) is not cold for _, path, _ in timed)
    assert {name: len(times) for name, times in samples.items()} == {"floor": 30, "us": 30}


def test_stock_tiled_is_asked_seldom():
    names = ("floor", "us", "naive")
    asked = clients([], **dict.fromkeys(names, b""))
    samples = measure(row(names), asked, zip(itertools.count(), itertools.count()), 30)
    assert len(samples["naive"]) == 30 / SELDOM


def test_conditional_requests_carry_what_their_own_server_gave():
    log = []
    measure(
        row(conditional=True), clients(log, floor=b"", us=b""), zip(itertools.count(), itertools.count()), 5
    )
    assert all(etag == f'"{name}{path}"' for name, path, etag in log[-10:])


def test_an_answer_of_another_status_is_no_sample():
    several = clients([], floor=b"", us=b"")
    several["us"].ask = lambda path, etag="": Answer(200, "tag", b"")
    with pytest.raises(RuntimeError, match="us answers 200"):
        measure(row(conditional=True), several, zip(itertools.count(), itertools.count()), 5)


def test_ratios_are_of_medians_and_only_the_socket_is_judged():
    samples = {"floor": [1.0, 2.0, 9.0], "us": [4.0, 6.0, 5.0], "naive": [100.0, 300.0, 200.0]}
    judged, naive = lines(row(least_of_naive=50), samples, "32²", "socket")
    assert (judged["ratio"], judged["met"], judged["n"]) == (2.5, False, 3)
    assert (naive["row"], naive["ratio"], naive["met"]) == ("4", 40.0, False)
    (beside,) = lines(row(), samples, "32²", "httpx")
    assert beside["met"] is None


def test_a_line_is_judged_by_its_ratio_or_by_itself():
    assert line("1", "", 3.0, floor=2.0, most=1.5)["met"] is True
    assert line("1", "", 3.1, floor=2.0, most=1.5)["met"] is False
    assert line("7", "", 1, most=1)["met"] is True
    assert line("6", "", 65.0, floor=100.0, least=0.7)["met"] is False
    assert line("6", "", 65.0)["met"] is None
    assert failed("6", "", "why")["met"] is None


def test_calls_are_written_down_with_their_position(tmp_path, monkeypatch):
    monkeypatch.setenv(CALLS, str(tmp_path / "log"))
    doubled = Counted("double", lambda frame: 2 * frame)
    assert doubled(np.array([[3, 4]])).tolist() == [[6, 8]]
    doubled(np.array([[3, 4]]))
    assert calls(tmp_path / "log") == {("double", "3 4"): 2}
    assert not calls(tmp_path / "none")


def test_memory_of_a_process_that_grew(monkeypatch):
    monkeypatch.setattr(memory, "SETTLING", 1)
    # Of a process of its own: this one's children may end meanwhile.
    script = "input(); held = b'1' * 2**26; print(len(held), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        with memory.Resident(process.pid) as resident:
            print(file=process.stdin, flush=True)
            assert process.stdout.readline() == f"{2**26}\n"
        process.communicate("\n")
    assert 50 < resident.grown < 100


def test_sparse_file_takes_no_room_and_is_read_in_its_place(tmp_path):
    from tiled_spyde.sources import open_source

    visited = memory.write(tmp_path / "large.hspy", 64)
    file = (tmp_path / "large.hspy").stat()
    assert file.st_size > 2 * 256**2 * 64**2
    assert file.st_blocks * 512 < file.st_size / 4
    reader = open_source(tmp_path / "large.hspy")[0].reader
    y, x = visited[5]
    assert reader.read((y, x))[0, :3].tolist() == [y, x, 0]


def test_viewer_is_judged_by_the_medians_of_its_rounds():
    rounds = [
        {"one frame ms": 150.0, "last frame ms": ms, "idle after s": 0.5, "painted": 9}
        for ms in (200, 1000, 210)
    ]
    last, idle = dragged.lines("9", rounds)
    assert (last["ratio"], last["met"], idle["met"]) == (1.4, True, True)
    far = [{"frames/s": 40.0, "beyond round trip p95 ms": 20.0, "stall p99 ms": 9.0}]
    assert [found["met"] for found in dragged.lines("12", far)] == [False] * 3
    slid = [{"beyond p95 ms": ms, "function ms": 1.0} for ms in (15.0, 40.0, 14.0)]
    assert [(found["row"], found["met"]) for found in dragged.lines("14 filter", slid)] == [("14", True)]
    assert [found["met"] for found in dragged.lines("17", [{"listed s": 1.2}])] == [False]


def test_everything_that_is_slid_has_a_line():
    assert {f"14 {what}" for what in sliding.SLID} == {
        name for name in dragged.JUDGED if name.startswith("14")
    }
    assert (
        {name.split()[0] for name in dragged.JUDGED} == set(dragged.MODULES) == set(bench.SECTIONS["dragged"])
    )


def test_an_event_lasts_until_the_last_of_several_pictures_is_painted():
    one, other = Watch({"a": 0.0, "b": 1.0}, {"a": 0.5, "b": 1.25}), Watch({"a": 0.0, "b": 1.0}, {"b": 2.0})
    for watch in (one, other):
        watch.ticks = [(0.0, 0.0), (0.001, 0.0), (0.002, 0.001)]
    found = sliding.together([one, other], round_trip=0.25, functions=0.05)
    assert found["p50 ms"] == 1500.0
    assert found["beyond p95 ms"] == pytest.approx(found["p95 ms"] - 300)


def test_record_says_what_it_depends_on_but_not_where(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    result = line(
        "1", "a row", 2.0, floor=1.0, most=1.5, target="≤ 1.5 × floor", frame="128²", client="socket", n=3
    )
    page = report.write("2026-01-01-test", report.machine(), [result])
    assert (
        "| 1 | a row | 128² | socket | 2 ms | 1 ms | 2.00 | ≤ 1.5 × floor | **no** | 3 |" in page.read_text()
    )
    record = json.loads(page.with_suffix(".json").read_text())
    assert record["machine"]["packages"]["tiled"]
    assert str(tmp_path) not in json.dumps(record)
