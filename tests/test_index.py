"""What appears, grows, changes, goes and comes back below the served folders."""

from __future__ import annotations

import errno
import os
import time

import pytest
import source_files as write
from conftest import until
from index_samples import SETTLE, Kept, stack
from source_samples import SMALL

from tiled_spyde import index as module
from tiled_spyde.errors import SourceChanged
from tiled_spyde.sources import Source, finding, watching


def test_files_appear_as_they_are_wherever_they_are(watched):
    first = stack(watched / "a.mrc")
    with Kept(watched) as kept:
        until(lambda: first in kept.now)
        second = stack(watched / "new/deep/folder/b.mrc")
        store = write.write_zspy(watched / "c.zspy", write.placed((2, 3, 4, 5), "u2"), 2)
        until(lambda: {second, store} <= kept.now.keys())
        until(lambda: kept.index.progress.done == 3)
        assert kept.index.progress == module.Progress(3, 3, False)
        for path in (first, second, store):
            assert (kept.now[path].signals, kept.now[path].error) == (Source.at(path).signals, None)
            (root,) = kept.now[path].roots
            assert root.reader.read((0,) * len(root.info.navigation_axes)).size


def test_what_is_known_is_not_looked_at_again_also_what_cannot_be_opened(watched, probed):
    SMALL["zspy 2|2 edge chunks"](watched)
    SMALL["mib 2|2 12-bit"](watched)
    stack(watched / "a.mrc")
    (watched / "text.hspy").write_text("this is no image")
    with Kept(watched) as kept:
        until(lambda: len(kept.now) == 4)
    assert kept.now[watched / "text.hspy"].error
    remembered = {path: Source.from_json(source.to_json()) for path, source in kept.now.items()}
    probed.clear()
    with Kept(watched, known=remembered) as again:
        assert again.index.progress.of == 4
        again.looks()
        new = stack(watched / "new.mrc")
        until(lambda: new in again.now)
    assert probed == [new]
    assert again.said == [{new: again.now[new]}]


def test_a_file_that_is_being_written_is_not_looked_at(watched, probed):
    path = watched / "a.mrc"
    whole = stack(watched.parent / "whole.mrc", frames=400).read_bytes()
    with Kept(watched, settle=3) as kept, path.open("wb") as file:
        for start in range(0, len(whole), len(whole) // 40 + 1):
            file.write(whole[start : start + len(whole) // 40 + 1])
            file.flush()
            kept.looks(2)
            assert not probed
            # At the first look nobody can know that it grows.
            assert start == 0 or kept.index.progress.of == 0
        until(lambda: path in kept.now)
        assert kept.said_of(path) == [kept.now[path]]
        assert kept.now[path].fingerprint == Source.at(path).fingerprint


def test_a_file_that_pauses_halfway_is_not_called_unreadable(watched, probed, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 10_000)
    path = watched / "a.hspy"
    whole = SMALL["hspy 2|2 chunked across frames"](watched.parent).read_bytes()
    with Kept(watched) as kept:
        path.write_bytes(whole[: len(whole) // 2])
        until(lambda: path in probed)
        other = stack(watched / "other.mrc")
        until(lambda: other in kept.now)
        assert path not in kept.now
        path.write_bytes(whole)
        until(lambda: path in kept.now)
        assert [source.error for source in kept.said_of(path)] == [None]


def test_a_file_that_stays_unreadable_is_listed_with_its_reason_until_it_is_mended(watched):
    path = watched / "a.hspy"
    path.write_text("this is no image")
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
        assert kept.now[path].error.startswith("Cannot open a.hspy: ")
        write.write_hspy(path, write.placed((3, 4), "u2"), 2)
        until(lambda: kept.now[path].error is None)


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
def test_a_change_shows_though_size_and_time_are_those_of_before(change, watched):
    path = stack(watched / "a.mrc")
    before = path.stat()
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
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
        until(lambda: kept.now[path] is not old)
        assert kept.now[path].fingerprint not in ("", old.fingerprint)
        assert kept.now[path].roots[0].reader.read((0,))[0, 0] == int.from_bytes(b"??", "little")


def test_what_was_written_between_the_samples_is_another_file_for_good(watched):
    path = stack(watched / "a.mrc", frames=400_000)
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
        before = kept.now[path]
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 18)  # in the middle between the first sample and the second
            file.write(b"??")
        assert Source.at(path).fingerprint == before.fingerprint
        until(lambda: kept.now[path] is not before)
        after = kept.now[path]
        assert after.fingerprint != before.fingerprint
        path.chmod(0o600)
        until(lambda: kept.now[path] is not after)
        assert kept.now[path].fingerprint == after.fingerprint
    os.utime(path)
    with Kept(watched, known={path: after}) as again:
        until(lambda: again.said_of(path))
        assert again.now[path].fingerprint not in (before.fingerprint, after.fingerprint)


def test_files_that_go_and_move(watched, probed):
    path, stays = stack(watched / "a.mrc"), stack(watched / "b.mrc", plus=1)
    with Kept(watched) as kept:
        until(lambda: len(kept.now) == 2)
        moved = path.rename(watched / "moved.mrc")
        until(lambda: kept.now.keys() == {moved, stays})
        moved.unlink()
        until(lambda: kept.now.keys() == {stays})
        assert kept.said_of(moved)[-1] is None
        assert kept.said_of(stays) == [kept.now[stays]]


def test_a_share_that_is_not_mounted_for_a_while(watched, probed):
    """The empty folder that its files lay over shows; with the share they come back, and nothing is opened."""
    paths = {stack(watched / name) for name in ("a.mrc", "deep/b.mrc")}
    with Kept(watched) as kept:
        until(lambda: kept.now.keys() == paths)
        were, looked = dict(kept.now), len(probed)
        watched.rename(watched.parent / "elsewhere")
        watched.mkdir()
        until(lambda: not kept.now)
        watched.rmdir()
        (watched.parent / "elsewhere").rename(watched)
        until(lambda: kept.now.keys() == paths)
        assert kept.now == were
        assert len(probed) == looked


def test_a_served_folder_that_is_not_there_yet(watched):
    late = watched / "late"
    with Kept(late) as kept:
        kept.looks()
        path = stack(late / "a.mrc")
        until(lambda: path in kept.now)


def test_a_folder_that_cannot_be_listed_for_a_moment(watched, monkeypatch, caplog):
    path = stack(watched / "sub/a.mrc")
    fails = []

    def list_folder(folder, real, list_folder=finding.list_folder):
        if folder in fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return list_folder(folder, real)

    monkeypatch.setattr(watching, "list_folder", list_folder)
    with Kept(watched) as kept:
        until(lambda: path in kept.now)
        fails.append(str(watched / "sub"))
        os.utime(watched / "sub")  # it is listed at the next look
        until(lambda: "Cannot list" in caplog.text)
        time.sleep(3 * SETTLE)  # as long as a file must be gone to be let go
        kept.looks()
        assert path in kept.now
        assert caplog.text.count("Cannot list") == 1
        monkeypatch.setattr(watching, "_BLIND", 0.0)
        until(lambda: path not in kept.now)
        fails.clear()
        until(lambda: path in kept.now)
