"""Files that hang, crash or bloat what looks at them: they cost a child process, and the next file goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from threading import Lock, Semaphore, get_native_id

import h5py
import numpy as np
import pytest
import source_files as write
from conftest import until
from source_samples import SMALL

from tiled_spyde.sources import Source
from tiled_spyde.sources.probe import Limits, Probe, ProbeError, prepared
from tiled_spyde.sources.probing import Probing, Request

SHORT = Limits(seconds=3, memory=400 << 20, answer=200_000)
# Takes the place of a reader in the child; what it does stands in the name of the file.
HOSTILE = """
    import os, signal, sys, time
    import rsciio.mrc

    seen = []

    def hostile(filename, read=rsciio.mrc.file_reader, **arguments):
        name = os.path.basename(filename)
        if "hangs" in name:
            time.sleep(10_000)
        if "crashes" in name:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "exits" in name:
            os._exit(3)
        if "computes" in name:
            while True:
                pass
        if "prints" in name:
            for standard in (1, 2):
                os.write(standard, b"{" * 5_000_000)
            print('{"last": true, "source": null}', flush=True)
            sys.stdin.read()
        if "allocates" in name:
            kept = [bytearray(50_000_000) for _ in range(100)]
        if "recurses" in name:
            hostile(filename)
        if "writes" in name:
            os.write(os.open(filename + ".written", os.O_CREAT | os.O_WRONLY), b"x")
        if "once" in name and seen:
            os.kill(os.getpid(), signal.SIGSEGV)
        seen.append(name)
        return read(filename, **arguments)

    rsciio.mrc.file_reader = hostile
"""


@pytest.fixture
def probe():
    with_limits = Probe(SHORT)
    yield with_limits
    with_limits.close()


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Makes files that do what their names say."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(HOSTILE))
    monkeypatch.syspath_prepend(folder)
    return lambda what: write.write_mrc(tmp_path / f"{what}.mrc", write.placed((3, 6, 5), "u2"))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_sees_what_this_process_sees(probe, tmp_path):
    for number, name in enumerate(
        ("hspy 2|2 contiguous", "mib 2|2 12-bit", "zspy 2|2 edge chunks", "tif stack")
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = SMALL[name](folder)
        assert probe.look(path) == Source.at(path)
        assert probe.look(path).error is None
    for refused in ("none.mrc", "text.hspy", "bytes\udce9.mrc", "line\nfeed.xyz"):
        path = tmp_path / refused
        if refused != "none.mrc":
            path.write_text("this is no image")
        assert probe.look(path) == Source.at(path)
        assert probe.look(path).error


def test_one_child_serves_many_files_and_is_replaced_in_time(probe, tmp_path):
    path = tmp_path / "a.mrc"
    path.touch()
    children = set()
    for _ in range(1001):
        assert "empty" in probe.look(path).error
        children.add(probe._child and probe._child.pid)
    assert len(children - {None}) == 2


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("hangs", "took longer than 3 s"),
        ("computes", "took"),  # which limit comes first depends on what else the machine has to do
        ("crashes", "crashed (SIGSEGV)"),
        ("exits", "crashed (exit code 3)"),
        ("allocates", "memory"),
        ("recurses", "recursion"),
    ],
)
def test_a_file_that_ends_its_reader(what, why, probe, hostile):
    good, bad = hostile("good"), hostile(what)
    assert probe.look(good).error is None
    source = probe.look(bad)
    assert why.lower() in source.error.lower()
    assert source.error.startswith(f"Cannot open {what}.mrc: ")
    assert probe.look(good).error is None
    assert not source.signals
    waited = "took longer" in source.error  # a network drive may be to blame: look again another time
    assert [file.path for file in source.files] == ([] if waited else [bad])


def test_what_a_reader_prints_asks_and_writes_reaches_nobody(probe, hostile, capfd, tmp_path):
    assert probe.look(hostile("prints")).signals
    assert capfd.readouterr() == ("", "")
    probe.look(hostile("writes"))
    assert not list(tmp_path.glob("*.written")) or not (tmp_path / "writes.mrc.written").stat().st_size


def test_a_file_is_not_blamed_for_what_another_left_behind(probe, hostile):
    """A child that dies over its second file may have been ill since the first."""
    assert probe.look(hostile("good")).signals
    assert probe.look(hostile("once")).signals
    assert "crashed" in probe.look(hostile("crashes")).error


def test_a_bomb_in_compressed_metadata(probe, tmp_path):
    size = 600 << 20
    path = write.write_hspy(tmp_path / "bomb.hspy", write.placed((3, 4), "u2"), 2)
    packing = zlib.compressobj(1)
    packed = b"".join(packing.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packing.flush()
    with h5py.File(path, "a") as file:
        where = file["Experiments/__unnamed__/metadata/General"]
        bomb = where.create_dataset("_list_notes", (size,), "u1", chunks=(size,), compression="gzip")
        bomb.id.write_direct_chunk((0,), packed)
    assert path.stat().st_size < 5 << 20
    assert probe.look(path).error
    assert probe.look(SMALL["hspy 1|1"](tmp_path)).signals


def test_a_description_without_end(probe, tmp_path):
    axes = write.described((30_000,), 1)
    axes[0] = {"name": "E", "units": "eV", "navigate": False, "axis": np.sqrt(np.arange(30_000.0))}
    path = write.write_hspy(tmp_path / "a.hspy", write.placed((30_000,), "u2"), 1, axes)
    source = probe.look(path)
    assert "too long" in source.error
    assert [file.path for file in source.files] == [path]
    assert len(Source.at(path).signals[0].info.axes[0].values) == 30_000


def test_nothing_is_imported_from_where_the_server_was_started(probe, tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("raise SystemExit('imported from the data folder')")
    monkeypatch.chdir(tmp_path)
    assert probe.look(SMALL["hspy 1|1"](tmp_path)).signals


def test_keys_stay_with_the_server(probe, tmp_path, monkeypatch):
    monkeypatch.setenv("TILED_SINGLE_USER_API_KEY", "secret")
    probe.look(tmp_path / "none.mrc")
    assert b"TILED_SINGLE" not in Path(f"/proc/{probe._child.pid}/environ").read_bytes()


def test_looking_locks_nothing(probe, tmp_path):
    """The program that writes a file must not fail because someone looks at it."""
    path = tmp_path / "a.hspy"
    with h5py.File(path, "w", locking=True) as file:
        file["numbers"] = np.arange(5)
        file.flush()
        assert "without signals" in probe.look(path).error


def test_a_child_that_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProbeError, match="does not start"):
        Probe().look(tmp_path / "a.mrc")


def test_a_child_dies_with_its_server(tmp_path):
    """Even when that is killed."""
    server = """
        import sys, time
        from pathlib import Path
        from tiled_spyde.sources.probe import Probe
        probe = Probe()
        probe.look(Path(sys.argv[1]))
        print(probe._child.pid, flush=True)
        time.sleep(10_000)
    """
    command = [sys.executable, "-c", textwrap.dedent(server), str(tmp_path / "none.mrc")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        child = int(running.stdout.readline())
        assert is_running(child)
        running.send_signal(signal.SIGKILL)
    until(lambda: not is_running(child))


def test_a_child_that_was_started_before_is_taken_once_and_none_is_left(tmp_path):
    file = write.write_mrc(tmp_path / "scan.mrc", write.placed((3, 6, 5), "u2"))
    first, second = Probe(), Probe()
    others = children()  # of tests before this one
    with prepared():
        (spare,) = children() - others
        assert first.look(file) == second.look(file)
        assert first._child.pid == spare
        assert second._child.pid != spare
        first.close()
        second.close()
    others = children()
    with prepared():
        (spare,) = children() - others
    until(lambda: not is_running(spare))
    with prepared(False):
        assert children() <= others


def children():
    """Of this thread."""
    return set(map(int, Path(f"/proc/self/task/{get_native_id()}/children").read_text().split()))


class TestProbing:
    def test_two_at_a_time_and_none_when_there_is_nothing_to_do(self, tmp_path, monkeypatch):
        inside, most, lock, let, taken = 0, 0, Lock(), Semaphore(0), []

        def look(self, path, members=()):
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
                taken.append(int(path.name))
            assert let.acquire(timeout=60)
            with lock:
                inside -= 1
            return Source(path)

        monkeypatch.setattr(Probe, "look", look)
        found = []
        probing = Probing(lambda request, source: found.append(request.path.name), idle=0.05)
        for number in range(20):
            probing.ask(Request(-number, tmp_path / str(number)))
        until(lambda: most == 2)
        for number in range(1, 21):  # one by one, lest they overtake each other
            let.release()
            until(lambda: len(found) == number and len(taken) == min(number + 2, 20))  # noqa: B023
        assert most == 2
        # The first two are what there was when the threads began; of the rest the newest first.
        assert taken[2:] == sorted(taken[2:], reverse=True)
        until(lambda: not probing._probes)
        let.release()
        probing.ask(Request(0, tmp_path / "100"))
        until(lambda: "100" in found)

    def test_closing_ends_the_children_at_work(self, hostile):
        answers = []
        probing = Probing(lambda *answer: answers.append(answer), Limits(seconds=1000))
        probing.ask(Request(0, hostile("hangs")))
        until(lambda: any(probe._child for probe in probing._probes))
        children = [probe._child.pid for probe in probing._probes if probe._child]
        probing.close()
        until(lambda: not any(map(is_running, children)))
        until(lambda: not probing._probes)
        assert not answers

    def test_a_child_that_does_not_start_is_tried_again(self, tmp_path, monkeypatch, caplog):
        executable = sys.executable
        monkeypatch.setattr("tiled_spyde.sources.probing._PAUSE", 0.01)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        found = []
        probing = Probing(lambda request, source: found.append(source))
        probing.ask(Request(0, SMALL["mrc stack"](tmp_path)))
        until(lambda: "does not start" in caplog.text)
        monkeypatch.setattr(sys, "executable", executable)
        until(lambda: found)
        assert found[0].signals
        probing.close()
