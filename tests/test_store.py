"""Computed nodes on disk: whole or not at all, looked over, bounded."""

from __future__ import annotations

import errno
import io
import json
import os

import numpy as np
import pytest
from conftest import axes_of, encoded

from tiled_spyde import store as module
from tiled_spyde.errors import StorageFull, Unavailable
from tiled_spyde.signals import SignalInfo
from tiled_spyde.store import Store

KEY, OTHER = "a" * 32, "b" * 32


def info(shape=(12, 16), signal_axes=2, dtype="f8"):
    return SignalInfo(axes_of(shape, signal_axes), np.dtype(dtype))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "computed")


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8", "c16", ">u2", "?"])
def test_what_is_written_is_read(store, dtype):
    array = encoded((12, 16), dtype)
    store.write(KEY, info(dtype=dtype), array)
    assert store.has(KEY)
    np.testing.assert_array_equal(store.read(KEY, info(dtype=dtype)), array)
    assert b"'descr': '>" not in (store.folder / KEY / "data.npy").read_bytes()


def test_one_frame_is_read_of_many(store):
    array = encoded((3, 5, 12, 16), "u2")
    store.write(KEY, info(array.shape, dtype="u2"), array)
    np.testing.assert_array_equal(store.read(KEY, info(array.shape, dtype="u2"), (1, 4)), array[1, 4])


def test_a_single_number(store):
    store.write(KEY, SignalInfo((), np.dtype("u8")), np.asarray(7, "u8"))
    assert store.read(KEY, SignalInfo((), np.dtype("u8"))) == 7


def test_what_is_not_there(store):
    assert not store.has(KEY)
    assert store.read(KEY, info()) is None


def flip(path):
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)


DAMAGES = {
    "a bit": lambda node: flip(node / "data.npy"),
    "its end": lambda node: os.truncate(node / "data.npy", 300),
    "all": lambda node: (node / "data.npy").write_bytes(b""),
    "gone": lambda node: (node / "data.npy").unlink(),
    "a pickle": lambda node: np.save(node / "data.npy", np.array([{}], object), allow_pickle=True),
    "no JSON": lambda node: (node / "node.json").write_text("{"),
    "a list": lambda node: (node / "node.json").write_text("[]"),
    "another node's": lambda node: (node / "node.json").write_text(
        json.dumps(json.loads((node / "node.json").read_text()) | {"key": OTHER})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_not_there_and_can_be_written_anew(store, damage):
    array = encoded((12, 16), "f8")
    store.write(KEY, info(), array)
    DAMAGES[damage](store.folder / KEY)
    assert Store(store.folder).read(KEY, info()) is None
    assert not store.has(KEY)
    store.write(KEY, info(), array)
    np.testing.assert_array_equal(store.read(KEY, info()), array)


@pytest.mark.parametrize("name", ["data.npy", "node.json"])
def test_what_cannot_be_opened_just_now_is_not_thrown_away(store, monkeypatch, name):
    def full(path, *more, **options):
        if str(path).endswith(name):
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, *more, **options)

    store.write(KEY, info(), encoded((12, 16), "f8"))
    opened = os.open if name == "data.npy" else io.open
    with monkeypatch.context() as away:
        away.setattr(*((os, "open") if name == "data.npy" else (io, "open")), full)
        assert store.read(KEY, info()) is None
    assert store.read(KEY, info()) is not None


def test_what_has_lost_its_description_is_replaced(store):
    store.write(KEY, info(), encoded((12, 16), "f8"))
    (store.folder / KEY / "node.json").unlink()
    assert not store.has(KEY)
    store.write(KEY, info(), encoded((12, 16), "f8"))
    assert store.read(KEY, info()) is not None
    assert [path.name for path in store.folder.iterdir()] == [KEY]


def test_what_others_take_away_meanwhile_is_in_nobodys_way(store, monkeypatch):
    """Each process writes beside the place and renames: what one has seen there is gone the next moment."""

    def looked(folder):
        entries = list(found(folder))
        (store.folder / ".new").rmdir()
        return iter(entries)

    store.folder.mkdir()
    (store.folder / ".new").mkdir()
    found = os.scandir
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(
            os, "scandir", lambda folder: looked(folder) if folder == store.folder else found(folder)
        )
        store.write(KEY, info(), encoded((12, 16), "f8"))
    assert store.read(KEY, info()) is not None


def test_it_is_looked_over_again_when_it_has_changed(store):
    store.write(KEY, info(), encoded((12, 16), "f8"))
    assert store.read(KEY, info()) is not None
    data = store.folder / KEY / "data.npy"
    flip(data)
    os.utime(data, (1, 1))
    assert store.read(KEY, info()) is None


def test_the_least_recently_used_goes_first(tmp_path):
    store = Store(tmp_path, 10_000)
    array = np.zeros(500)
    for number in range(4):
        store.write(str(number), info((500,), 1), array)
        os.utime(tmp_path / str(number), (number + 10, number + 10))
    assert [store.has(str(number)) for number in range(4)] == [False, False, True, True]
    assert Store(tmp_path).read("2", info((500,), 1)) is not None  # used, so the other goes
    store.write("4", info((500,), 1), array)
    assert [store.has(str(number)) for number in range(5)] == [False, False, True, False, True]


def test_writing_twice_keeps_one(store):
    for _ in range(2):
        store.write(KEY, info(), encoded((12, 16), "f8"))
    assert [path.name for path in store.folder.iterdir()] == [KEY]


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EROFS, Unavailable)],
)
@pytest.mark.parametrize("step", ["_write", "_sync", "_replace"])
def test_a_disk_that_takes_nothing_leaves_nothing_half_written(store, monkeypatch, step, number, error):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, step, fail)

    def keep():
        if step == "_replace":
            store.save(KEY, 3, np.zeros(4))
        else:
            store.write(KEY, info(), encoded((12, 16), "f8"))

    with pytest.raises(error, match="cannot be kept"):
        keep()
    monkeypatch.undo()
    assert [path.name for path in store.folder.iterdir()] == ([".work"] if step == "_replace" else [])
    assert store.saved(KEY, np.ones(4))[0] == 0


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "computed")
    with pytest.raises(Unavailable, match="folder for state"):
        store.write(KEY, info(), encoded((12, 16), "f8"))
    assert store.place(KEY) is None
    assert store.said(KEY, "progress") is None


def test_a_total_is_kept_and_one_that_is_damaged_is_none(store):
    total = np.arange(6.0).reshape(2, 3)
    store.save(KEY, 5, total)
    done, found = store.saved(KEY, np.zeros((2, 3)))
    assert done == 5
    np.testing.assert_array_equal(found, total)
    assert store.saved(KEY, np.zeros((3, 3)))[0] == 0
    assert store.saved(KEY, np.zeros((2, 3), "u8"))[0] == 0
    flip(store.folder / ".work" / KEY / "partial")
    assert store.saved(KEY, np.zeros((2, 3)))[0] == 0
    store.forget(KEY)
    assert store.saved(KEY, np.zeros((2, 3)))[0] == 0


def test_words_of_what_is_under_way(store):
    assert store.said(KEY, "progress") is None
    store.say(KEY, "progress", 5)
    assert store.said(KEY, "progress") == 5
    store.say(KEY, "progress", None)
    assert store.said(KEY, "progress") is None


def test_what_a_killed_process_left_goes_when_it_is_old(store):
    store.write(KEY, info(), encoded((12, 16), "f8"))
    store.save(OTHER, 1, np.zeros(3))
    left = store.folder / f".{OTHER}.1234"
    left.mkdir()
    os.utime(left, (1, 1))
    os.utime(store.folder / ".work" / OTHER, (1, 1))
    store.write("c" * 32, info(), encoded((12, 16), "f8"))
    assert not left.exists()
    assert store.saved(OTHER, np.zeros(3))[0] == 0
