"""What appears, grows, changes, goes and comes back below the served folders."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path
from threading import Thread

import h5py
import numpy as np
import pytest
import source_files as write
from source_samples import SMALL
from test_sources_probe import wait_until

from tiled_spyde import index as module
from tiled_spyde.errors import SourceChanged
from tiled_spyde.index import Index
from tiled_spyde.sources import Source, finding, watching
from tiled_spyde.sources.files import File
from tiled_spyde.sources.probe import Limits
from tiled_spyde.sources.probing import Probing

SETTLE = 0.4


class Kept:
    """What a catalogue would keep of what an index says."""

    def __init__(self, *served, known=None, settle=SETTLE, limits=None, apart=False):
        self.now = dict(known or {})
        self.said = []
        self.index = Index(
            served, self.now, self.update, settle=settle, interval=0.05, limits=limits, apart=apart
        )

    def update(self, batch):
        self.said.append(dict(batch))
        self.now.update(batch)
        for path in [path for path, source in batch.items() if source is None]:
            del self.now[path]

    def __enter__(self):
        self.index.start()
        return self

    def __exit__(self, *_):
        self.index.stop()

    def said_of(self, path):
        return [batch[path] for batch in list(self.said) if path in batch]

    def looks(self, more=3):
        """Wait until the folders have been looked at again."""
        wanted = self.index._watch.looks + more
        wait_until(lambda: self.index._watch.looks >= wanted)

    def names(self):
        return {path.name for path in self.now}


class CountedWatch(watching.Watch):
    looks = 0

    def look(self, unsettled=()):
        try:
            return super().look(unsettled)
        finally:
            self.looks += 1


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    monkeypatch.setattr(module, "Watch", CountedWatch)


@pytest.fixture
def asked(monkeypatch):
    """Paths that a child process was asked for."""
    paths = []

    def ask(self, request, ask=Probing.ask):
        paths.append(request.path)
        ask(self, request)

    monkeypatch.setattr(Probing, "ask", ask)
    return paths


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


def stack(path, frames=3, plus=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write.write_mrc(path, (write.placed((frames, 6, 5), "u2") + plus).astype("u2"))


def test_files_appear_as_they_are_wherever_they_are(served):
    first = stack(served / "a.mrc")
    with Kept(served) as kept:
        wait_until(lambda: first in kept.now)
        second = stack(served / "new/deep/folder/b.mrc")
        store = write.write_zspy(served / "c.zspy", write.placed((2, 3, 4, 5), "u2"), 2)
        wait_until(lambda: {second, store} <= kept.now.keys())
        wait_until(lambda: kept.index.progress.done == 3)
        assert kept.index.progress == module.Progress(3, 3, False)
        for path in (first, second, store):
            assert (kept.now[path].signals, kept.now[path].error) == (Source.at(path).signals, None)
            (root,) = kept.now[path].roots
            assert root.reader.read((0,) * len(root.info.navigation_axes)).size


def test_what_is_known_is_not_looked_at_again_also_what_cannot_be_opened(served, asked):
    SMALL["zspy 2|2 edge chunks"](served)
    SMALL["mib 2|2 12-bit"](served)
    stack(served / "a.mrc")
    (served / "text.hspy").write_text("this is no image")
    with Kept(served) as kept:
        wait_until(lambda: len(kept.now) == 4)
    assert kept.now[served / "text.hspy"].error
    remembered = {path: Source.from_json(source.to_json()) for path, source in kept.now.items()}
    asked.clear()
    with Kept(served, known=remembered) as again:
        assert again.index.progress.of == 4
        again.looks()
        new = stack(served / "new.mrc")
        wait_until(lambda: new in again.now)
    assert asked == [new]
    assert again.said == [{new: again.now[new]}]


def test_a_file_that_is_being_written_is_not_looked_at(served, asked):
    path = served / "a.mrc"
    whole = stack(served.parent / "whole.mrc", frames=400).read_bytes()
    with Kept(served, settle=3) as kept, path.open("wb") as file:
        for start in range(0, len(whole), len(whole) // 40 + 1):
            file.write(whole[start : start + len(whole) // 40 + 1])
            file.flush()
            kept.looks(2)
            assert not asked
            # At the first look nobody can know that it grows.
            assert start == 0 or kept.index.progress.of == 0
        wait_until(lambda: path in kept.now)
        assert kept.said_of(path) == [kept.now[path]]
        assert kept.now[path].fingerprint == Source.at(path).fingerprint


def test_a_file_that_pauses_halfway_is_not_called_unreadable(served, asked, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 10_000)
    path = served / "a.hspy"
    whole = SMALL["hspy 2|2 chunked across frames"](served.parent).read_bytes()
    with Kept(served) as kept:
        path.write_bytes(whole[: len(whole) // 2])
        wait_until(lambda: asked == [path])
        other = stack(served / "other.mrc")
        wait_until(lambda: other in kept.now)
        assert path not in kept.now
        path.write_bytes(whole)
        wait_until(lambda: path in kept.now)
        assert [source.error for source in kept.said_of(path)] == [None]


def test_a_file_that_stays_unreadable_is_listed_with_its_reason_until_it_is_mended(served):
    path = served / "a.hspy"
    path.write_text("this is no image")
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
        assert kept.now[path].error.startswith("Cannot open a.hspy: ")
        write.write_hspy(path, write.placed((3, 4), "u2"), 2)
        wait_until(lambda: kept.now[path].error is None)


def rewritten(path):
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(b"??")


def renamed_over(path):
    other = path.with_name("other.tmp")
    other.write_bytes(path.read_bytes())
    rewritten(other)
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewritten, renamed_over])
def test_a_change_shows_though_size_and_time_are_those_of_before(change, served):
    path = stack(served / "a.mrc")
    before = path.stat()
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
        old = kept.now[path]
        (root,) = old.roots
        root.reader.read((0,))
        change(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        with pytest.raises(SourceChanged):
            root.reader.read((0,))
        with pytest.raises(SourceChanged):
            Source.from_json(old.to_json()).roots[0].reader.read((0,))
        wait_until(lambda: kept.now[path] is not old)
        assert kept.now[path].fingerprint not in ("", old.fingerprint)
        assert kept.now[path].roots[0].reader.read((0,))[0, 0] == int.from_bytes(b"??", "little")


def test_what_was_written_between_the_samples_is_another_file_for_good(served):
    path = stack(served / "a.mrc", frames=400_000)
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
        before = kept.now[path]
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 18)  # in the middle between the first sample and the second
            file.write(b"??")
        assert Source.at(path).fingerprint == before.fingerprint
        wait_until(lambda: kept.now[path] is not before)
        after = kept.now[path]
        assert after.fingerprint != before.fingerprint
        path.chmod(0o600)
        wait_until(lambda: kept.now[path] is not after)
        assert kept.now[path].fingerprint == after.fingerprint
    os.utime(path)
    with Kept(served, known={path: after}) as again:
        wait_until(lambda: again.said_of(path))
        assert again.now[path].fingerprint not in (before.fingerprint, after.fingerprint)


def test_files_that_go_and_move(served, asked):
    path, stays = stack(served / "a.mrc"), stack(served / "b.mrc", plus=1)
    with Kept(served) as kept:
        wait_until(lambda: len(kept.now) == 2)
        moved = path.rename(served / "moved.mrc")
        wait_until(lambda: kept.now.keys() == {moved, stays})
        moved.unlink()
        wait_until(lambda: kept.now.keys() == {stays})
        assert kept.said_of(moved)[-1] is None
        assert kept.said_of(stays) == [kept.now[stays]]


def test_a_share_that_is_not_mounted_for_a_while(served, asked):
    """The empty folder that its files lay over shows; with the share they come back, and nothing is opened."""
    paths = {stack(served / name) for name in ("a.mrc", "deep/b.mrc")}
    with Kept(served) as kept:
        wait_until(lambda: kept.now.keys() == paths)
        were, looked = dict(kept.now), len(asked)
        served.rename(served.parent / "elsewhere")
        served.mkdir()
        wait_until(lambda: not kept.now)
        served.rmdir()
        (served.parent / "elsewhere").rename(served)
        wait_until(lambda: kept.now.keys() == paths)
        assert kept.now == were
        assert len(asked) == looked


def test_a_served_folder_that_is_not_there_yet(served):
    late = served / "late"
    with Kept(late) as kept:
        kept.looks()
        path = stack(late / "a.mrc")
        wait_until(lambda: path in kept.now)


def test_a_folder_that_cannot_be_listed_for_a_moment(served, monkeypatch, caplog):
    path = stack(served / "sub/a.mrc")
    fails = []

    def list_folder(folder, real, list_folder=finding.list_folder):
        if folder in fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return list_folder(folder, real)

    monkeypatch.setattr(watching, "list_folder", list_folder)
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
        fails.append(str(served / "sub"))
        os.utime(served / "sub")  # it is listed at the next look
        wait_until(lambda: "Cannot list" in caplog.text)
        time.sleep(3 * SETTLE)  # as long as a file must be gone to be let go
        kept.looks()
        assert path in kept.now
        assert caplog.text.count("Cannot list") == 1
        monkeypatch.setattr(watching, "_BLIND", 0.0)
        wait_until(lambda: path not in kept.now)
        fails.clear()
        wait_until(lambda: path in kept.now)


def test_companions_belong_to_their_source(served):
    path = SMALL["mib 2|2 12-bit"](served)
    notes = path.with_suffix(".hdr")
    text = notes.read_text()
    notes.unlink()
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
        assert [file.path for file in kept.now[path].files] == [path]
        notes.write_text(text)
        wait_until(lambda: [file.path for file in kept.now[path].files] == [path, notes])
        before = kept.now[path].fingerprint
        notes.write_text(text + "Note:\tchanged\n")
        wait_until(lambda: kept.now[path].fingerprint != before)
        notes.unlink()
        wait_until(lambda: len(kept.now[path].files) == 1)
        assert kept.names() == {"a.mib"}


def test_a_companion_that_no_reader_names_belongs_too(served):
    """A movie in several files: rosettasciio finds the second by itself, and says nothing."""
    first, second = served / "m_000.tvips", served / "m_001.tvips"
    first.write_bytes(b"this is no movie")
    second.write_bytes(b"nor this")
    with Kept(served) as kept:
        wait_until(lambda: first in kept.now)
        assert [file.path for file in kept.now[first].files] == [first, second]
        second.write_bytes(b"it changed")
        wait_until(lambda: len(kept.said_of(first)) == 2)
        assert kept.names() == {"m_000.tvips"}


def test_a_store_is_one_source_and_its_chunks_are_never_listed(served, monkeypatch):
    listed = set()

    def scandir(path, scandir=os.scandir):
        listed.add(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    store = SMALL["zspy 2|2 one frame a chunk"](served)
    with Kept(served) as kept:
        wait_until(lambda: store in kept.now)
        before = kept.now[store]
        kept.looks()
        assert kept.said_of(store) == [before]
        data = store / "Experiments/scan/data"
        chunk = data / "1.1.0.0"
        other = store / "new"
        other.write_bytes(chunk.read_bytes())
        other.replace(chunk)  # as zarr writes
        wait_until(lambda: kept.now[store] is not before)
        write.write_zspy(store, write.placed((2, 3, 4, 5), "u2"), 2)
        wait_until(lambda: kept.now[store].signals[0].info.shape == (2, 3, 4, 5))
    assert {path for path in listed if path.startswith(str(store))} == {str(store / "Experiments")}


HOSTILE_NAMES = [
    b"caf\xe9.mrc",
    b"line\nfeed.mrc",
    b"\x01\x1b[31m\x7f.mrc",
    b" leading and trailing .mrc ",
    b"quote'\"\\{}%s%00.mrc",
    "Zürich αβγ 😀.mrc".encode(),
    b"n" * 251 + b".mrc",
    b"-rf.mrc",
]


def test_names_with_every_character(served):
    paths = {stack(served / os.fsdecode(name)) for name in HOSTILE_NAMES}
    deep = served
    for _ in range(60):
        deep = deep / ("d" * 40)
    paths.add(stack(deep / "deep.mrc"))
    with Kept(served) as kept:
        wait_until(lambda: kept.now.keys() == paths)
        for path, source in kept.now.items():
            assert bool(source.error) == path.name.endswith(" ")  # no reader for ".mrc "
            assert Source.from_json(source.to_json()) == source


def test_pipes_sockets_devices_and_links_out_are_left_alone(served, asked):
    outside = stack(served.parent / "outside.mrc")
    os.mkfifo(served / "pipe.mrc")
    (served / "device.mrc").symlink_to("/dev/zero")
    (served / "out.mrc").symlink_to(outside)
    (served / "out").symlink_to(served.parent)
    (served / "loop").symlink_to(served)
    (served / "itself.mrc").symlink_to(served / "itself.mrc")
    inside = stack(served / "in.mrc")
    (served / "link.mrc").symlink_to(inside)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(served / "socket.mrc"))  # such names may have 108 bytes
        with Kept(served) as kept:
            wait_until(lambda: len(kept.now) == 2)
            kept.looks()
    assert kept.names() == {"in.mrc", "link.mrc"}
    assert set(asked) == {inside, served / "link.mrc"}


def test_a_link_may_lead_into_another_served_folder(served):
    other = stack(served.parent / "other/a.mrc")
    (served / "link.mrc").symlink_to(other)
    with Kept(served, other.parent) as kept:
        wait_until(lambda: kept.now.keys() == {other, served / "link.mrc"})


def test_a_pipe_that_takes_the_place_of_a_file_holds_nobody_up(served):
    path = stack(served / "a.mrc")
    file = File.at(path, served)
    source = Source.at(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceChanged):
        file.open()
    with pytest.raises(SourceChanged):
        source.roots[0].reader.read((0,))


def test_sources_that_are_served_by_themselves_and_folders_in_folders(served):
    path, named = stack(served / "sub/a.mrc"), stack(served.parent / "named.txt")
    store = write.write_zspy(served.parent / "s.zspy", write.placed((3, 4), "u2"), 2)
    with Kept(served, served / "sub", named, store, path) as kept:
        wait_until(lambda: kept.now.keys() == {path, named, store})
        stack(path, frames=4)
        wait_until(lambda: kept.now[path].signals[0].info.shape == (4, 6, 5))
        named.unlink()
        wait_until(lambda: named not in kept.now)


def test_what_took_too_long_is_looked_at_again_and_at_the_next_start(served, asked, monkeypatch):
    path = stack(served / "a.mrc")
    monkeypatch.setattr(module, "_AGAIN", 0.5)
    hung = Source.failed(path, "looking at it took longer than 30 s.")
    with Kept(served, known={path: hung}) as kept:
        wait_until(lambda: kept.now[path].error is None)
    assert asked == [path]
    asked.clear()
    monkeypatch.setattr("tiled_spyde.sources.probe.Probe.look", lambda self, path, members=(): hung)
    with Kept(served) as kept:
        wait_until(lambda: len(kept.said_of(path)) >= 2)  # listed with its reason meanwhile
        assert kept.now[path].error


def test_batches_that_are_not_taken_are_offered_again(served, monkeypatch, caplog):
    monkeypatch.setattr(module, "_REFUSED", 0.2)
    paths = {stack(served / f"{number}.mrc", plus=number) for number in range(5)}
    kept = Kept(served)
    refused = []

    def update(batch):
        if len(refused) < 3:
            refused.append(batch)
            raise OSError("the database is locked")
        kept.update(batch)

    kept.index._update = update
    with kept:
        wait_until(lambda: kept.now.keys() == paths)
    assert "the database is locked" in caplog.text


def test_the_index_survives_its_own_failures(served, monkeypatch, caplog):
    look, failures = CountedWatch.look, []

    def failing(self, unsettled=()):
        if len(failures) < 2:
            failures.append(1)
            raise RuntimeError("a fault of ours")
        return look(self, unsettled)

    monkeypatch.setattr(CountedWatch, "look", failing)
    path = stack(served / "a.mrc")
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
    assert "a fault of ours" in caplog.text


def test_first_results_do_not_wait_for_the_last(served):
    for number in range(300):
        stack(served / f"{number}.mrc", plus=number)
    with Kept(served) as kept:
        wait_until(lambda: kept.said)
        wait_until(lambda: len(kept.now) == 300)
        assert kept.index.progress.of == 300
    assert len(kept.said) >= 2
    assert len(kept.said[0]) < 300


def test_stopping_while_there_is_much_to_do(served):
    for number in range(200):
        stack(served / f"{number}.mrc", plus=number)
    with Kept(served) as kept:
        wait_until(lambda: kept.said)
    wait_until(lambda: not kept.index._probing._probes)
    assert not kept.index._thread.is_alive()
    said = len(kept.said)
    stack(served / "late.mrc")
    time.sleep(0.3)
    assert len(kept.said) == said


def test_an_idle_look_lists_nothing(served, monkeypatch):
    """What a second costs when nothing changes: one system call for each folder."""
    for number in range(20):
        stack(served / f"{number % 4}/{number}.mrc", plus=number)
    with Kept(served) as kept:
        wait_until(lambda: len(kept.now) == 20)
    watch = watching.Watch([served], settle=0.0, interval=1000.0)
    watch.look()
    assert len(watch.look().present) == 20
    assert not watch.look().listed
    stack(served / "2/new.mrc")
    listed = []
    wait_until(lambda: listed.append(watch.look().listed) or listed[-1])
    assert {Path(path).parent.name for path in listed[-1]} == {"2"}


def test_a_limit_reaches_the_children(served):
    path = stack(served / "a.mrc")
    with Kept(served, limits=Limits(answer=10)) as kept:
        wait_until(lambda: path in kept.now)
    assert "too long" in kept.now[path].error


def test_data_in_other_files_are_read_within_what_is_served_and_followed(served):
    far = served.parent / "far/frames.h5"
    far.parent.mkdir()
    path = write.write_hspy(served / "a.hspy", write.placed((2, 3, 4, 5), "u2"), 2)
    with h5py.File(far, "w") as file:
        file["data"] = write.placed((2, 3, 4, 5), "u2") + 1
    with h5py.File(path, "a") as file:
        group = file["Experiments/__unnamed__"]
        del group["data"]
        layout = h5py.VirtualLayout((2, 3, 4, 5), "u2")
        layout[...] = h5py.VirtualSource(str(far), "data", (2, 3, 4, 5))
        group.create_virtual_dataset("data", layout)
    with Kept(served) as kept:
        wait_until(lambda: path in kept.now)
        assert "outside" in kept.now[path].error
    with Kept(served, far.parent) as kept:
        wait_until(lambda: path in kept.now)
        before = kept.now[path]
        assert far in {file.path for file in before.files}
        remembered = Source.from_json(before.to_json())
        np.testing.assert_array_equal(
            remembered.roots[0].reader.read((1, 2)), write.placed((2, 3, 4, 5), "u2")[1, 2] + 1
        )
        with h5py.File(far.with_name("new"), "w") as file:
            file["data"] = np.full((2, 3, 4, 5), 7, "u2")
        far.with_name("new").replace(far)
        with pytest.raises(SourceChanged):
            remembered.roots[0].reader.read((1, 2))
        wait_until(lambda: kept.now[path] is not before)
        assert kept.now[path].fingerprint not in ("", before.fingerprint)
        assert (kept.now[path].roots[0].reader.read((1, 2)) == 7).all()
    with Kept(served, far.parent, apart=True) as kept:
        wait_until(lambda: path in kept.now)
        assert "outside" in kept.now[path].error


class TestOpenSources:
    @pytest.fixture
    def many(self, tmp_path):
        paths = [stack(tmp_path / f"{number}.mrc", plus=number) for number in range(80)]
        return [Source.at(path) for path in paths]

    def test_only_some_stay_open_and_all_can_be_read(self, many):
        for _ in range(2):
            for number, source in enumerate(many):
                assert source.roots[0].reader.read((0,))[0, 0] == (number + 0)
        is_open = [source.roots[0].reader._later._opened is not None for source in many]
        assert sum(is_open) == 64
        assert not any(is_open[:16])

    def test_many_threads_open_once(self, many, monkeypatch):
        from tiled_spyde.sources import source as opening

        opened = []

        open_source = opening.open_source

        def counted(path, *more):
            opened.append(path)
            time.sleep(0.1)
            return open_source(path, *more)

        monkeypatch.setattr(opening, "open_source", counted)
        (root,) = many[0].roots
        threads = [Thread(target=root.reader.read, args=((0,),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened == [many[0].path]
