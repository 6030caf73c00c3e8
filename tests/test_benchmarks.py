"""The benchmarks still run, compare what they time, and say what they measured."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.measure import check, measure, summary
from benchmarks.rows import Row, rows

REPOSITORY = Path(__file__).parents[1]


class Answers:
    """Client that gives always the same, and notes who was asked when."""

    def __init__(self, name, answer, log):
        self.name, self.answer, self.log = name, answer, log

    def get(self, path):
        self.log.append((self.name, path))
        return self.answer

    def close(self):
        pass


def clients(log, **answers):
    return {name: Answers(name, answer, log) for name, answer in answers.items()}


def row(cold):
    return Row("a row", {name: lambda y, x: f"/{y}/{x}" for name in ("floor", "us")}, cold=cold)


def test_every_row_with_every_client_against_every_contender():
    command = [sys.executable, "-m", "benchmarks", "--rounds", "2", "--detectors", "32", "--dry"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [line[0].removeprefix("| ") for line in lines] == [r.name for r in rows("") for _ in range(2)]
    for line in lines:
        assert all(float(cell) > 0 for cell in line[3:8])


def test_contenders_that_differ_are_not_timed():
    with pytest.raises(RuntimeError, match="us and floor differ"):
        check(row(cold=True), clients([], floor=b"same", us=b"other"), (0, 1))


@pytest.mark.parametrize("cold", [True, False])
def test_rounds_are_interleaved_and_cold_ones_are_new(cold):
    log = []
    asked = clients(log, floor=b"", us=b"")
    samples = measure(row(cold), asked, zip(itertools.count(), itertools.count()), 30)
    timed = log[-60:]
    assert all({name for name, _ in timed[i : i + 2]} == {"floor", "us"} for i in range(0, 60, 2))
    seen_before = {path for _, path in log[:-60]}
    assert all((path in seen_before) is not cold for _, path in timed)
    assert {name: len(times) for name, times in samples.items()} == {"floor": 30, "us": 30}


def test_ratio_is_of_medians():
    summed = summary({"floor": [1.0, 2.0, 9.0], "us": [4.0, 6.0, 5.0]})
    assert summed["us"]["of_floor"] == 2.5
    assert summed["us"]["n"] == 3


def test_record_says_what_it_depends_on_but_not_where(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    spread = {"median_ms": 1.0, "of_floor": 1.0, "n": 3}
    contenders = dict.fromkeys(("floor", "us", "naive"), spread)
    result = {"row": "a row", "detector": 128, "client": "socket", "contenders": contenders}
    page = report.write("2026-01-01-test", report.machine(), [result])
    assert "| a row | 128² | socket | 1 | 1 | 1 | 1.00 | 1.0 | 3 |" in page.read_text()
    record = json.loads(page.with_suffix(".json").read_text())
    assert record["machine"]["packages"]["tiled"]
    assert str(tmp_path) not in json.dumps(record)
