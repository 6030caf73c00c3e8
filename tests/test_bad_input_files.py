"""Files that become others while people look at them: an old frame whole, a new one under a new tag, or an error."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from itertools import cycle
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

import httpx
import numpy as np
import pytest
import source_files as write
from conftest import KEY, until
from raw_http import RAW, Wire, request
from test_cli import started, wait_for

from tiled_spyde import codecs

if TYPE_CHECKING:
    from pathlib import Path

FRAMES, SIDE = 12, 24
TOGETHER = 5  # frames of one answer
KINDS = {
    "mrc": lambda path, data: write.write_mrc(path.with_suffix(".mrc"), data),
    "mib": lambda path, data: write.write_mib(path.with_suffix(".mib"), data),
    "contiguous": lambda path, data: write.write_hspy(path.with_suffix(".hspy"), data, 2),
    "chunked": lambda path, data: write.write_hspy(
        path.with_suffix(".hspy"), data, 2, chunks=(4, SIDE, 13), compression="gzip", shuffle=True
    ),
    "zspy": lambda path, data: write.write_zspy(path.with_suffix(".zspy"), data, 2, chunks=(1, SIDE, SIDE)),
}


def scan(version):
    """Each frame is one number, which says of which version and which frame it is."""
    numbers = version * 1000 + np.arange(FRAMES, dtype="u2")
    return np.broadcast_to(numbers[:, None, None], (FRAMES, SIDE, SIDE)).copy()


def parts(path):
    """The files of a source, what describes the others first."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def away(path, to):
    for file in parts(path):
        file.rename(to / file.name)


def truncate(path, new, spare):
    for file in parts(path):
        os.truncate(file, file.stat().st_size // 2)


def overwrite(path, new, spare):
    """As a program that writes the same file again, a little at a time."""
    for file, other in zip(parts(path), parts(new), strict=True):
        with file.open("r+b", buffering=0) as old:
            content = other.read_bytes()
            for start in range(0, len(content), 512):
                old.write(content[start : start + 512])
            old.truncate()


def replace(path, new, spare):
    """With the same sizes and times."""
    for file, other in zip(parts(path), parts(new), strict=True):
        times = file.stat()
        os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
        other.replace(file)


def remove(path, new, spare):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def close(path, new, spare):
    for file in parts(path):
        file.chmod(0)


def pipe(path, new, spare):
    away(path, spare)
    for file in parts(new):
        os.mkfifo(path / file.relative_to(new) if path.is_dir() else path)


def folder(path, new, spare):
    away(path, spare)
    for file in parts(new):
        (path / file.relative_to(new) if path.is_dir() else path).mkdir()


def link(path, new, spare):
    """To the new file, which lies outside of what is served."""
    away(path, spare)
    for file in parts(new):
        (path / file.relative_to(new) if path.is_dir() else path).symlink_to(file)


CHANGES = [truncate, overwrite, replace, remove, close, pipe, folder, link]
RETURNING = (overwrite, replace)


def name_of(kind, change):
    return f"{kind}-{change.__name__}"


CONFIG = """
trees:
  - {{path: /, tree: "tiled_spyde.app:tree", args: {{paths: ["{data}"], state: "{state}", settle_seconds: 0.1}}}}
access_control: {{access_policy: "tiled_spyde.access:CredentialPolicy", args: {{}}}}
authentication: {{single_user_api_key: {key}}}
"""
# Root reads everything, but for what this takes away from the server and all it starts: then it is any owner of a file.
POWERS = "-dac_override,-dac_read_search"
AS_OWNER = ("setpriv", f"--bounding-set={POWERS}", f"--inh-caps={POWERS}")


class Service(NamedTuple):
    """A server of its own, a client of it, and the folder it serves."""

    url: str
    client: httpx.Client
    data: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    for kind, make in KINDS.items():
        for change in CHANGES:
            make(data / name_of(kind, change), scan(1))
    write.write_mrc(data / "beside.mrc", scan(7))
    state = tmp_path_factory.mktemp("state")
    (config := state / "config.yml").write_text(CONFIG.format(data=data, state=state, key=KEY))
    command = ("tiled_spyde.cli", "serve", "--config", str(config), "--port", "0")
    with started(*command, through=AS_OWNER if os.geteuid() == 0 else ()) as (_, lines):
        url = wait_for(lines, r"serves at (http://\S+)")[1]
        with httpx.Client(base_url=url, headers={"Authorization": f"Apikey {KEY}"}, timeout=60) as client:
            yield Service(url, client, data)


def address(client, path):
    """The root node of a file, once it is known."""

    def there():
        return client.get(f"/api/v1/metadata/{path.name}").status_code == 200

    until(there)
    signal = client.get(f"/api/v1/search/{path.name}").json()["data"][0]["id"]
    return f"{path.name}/{signal}/root"


class Reader:
    """A client that asks again and again, and keeps what it was answered."""

    def __init__(self, url, node, first):
        full = f"/api/v1/array/full/{node}"
        one = [(f"{full}?slice={i}&{RAW}", (i,)) for i in range(FRAMES)]
        some = [(f"{full}?slice={i}:{i + TOGETHER}&{RAW}", range(i, i + TOGETHER)) for i in range(0, 7)]
        chunks = [(f"/zarr/v3/{node}/c/{i}/0/0", (i,)) for i in range(FRAMES)]
        asked = [*one, *some, *chunks]
        self._asked = cycle(asked[first:] + asked[:first])
        self._url = url
        self._stop = Event()
        self.answers = []
        self.tags = {}
        self.failure = None
        self._thread = Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        if self.failure:
            raise self.failure

    def _run(self):
        try:
            with Wire(self._url) as wire:
                for target, frames in self._asked:
                    if self._stop.is_set():
                        return
                    self.answers.append(self._judged(target, frames, wire.ask(request(target))))
        except BaseException as error:
            self.failure = error

    def _judged(self, target, frames, answer):
        """The version that an answer shows, or its status."""
        if answer.status != 200:
            assert answer.status in (404, 410, 422, 503), answer
            assert len(json.loads(answer.body)["detail"]) > 10
            return answer.status
        shape = (len(frames), SIDE, SIDE)
        zarr = target.startswith("/zarr")
        got = (
            codecs.decode(answer.body, shape, "<u2")
            if zarr
            else np.frombuffer(answer.body, "<u2").reshape(shape)
        )
        version = int(got[0, 0, 0]) // 1000
        np.testing.assert_array_equal(got, scan(version)[list(frames)], err_msg=f"{target}: a mixture")
        # The other way round need not be: of a file cut short, the frames that are left are another file's.
        tag = (target, answer.headers["etag"])
        assert self.tags.setdefault(tag, version) == version, "new bytes under an old tag"
        return version

    def goes_on(self, count):
        """Wait until so many more are answered."""
        have = len(self.answers)
        until(lambda: self.failure or len(self.answers) >= have + count)


@contextmanager
def readers(served, node, count=3):
    with ExitStack() as stack:
        started = [stack.enter_context(Reader(served.url, node, 7 * i)) for i in range(count)]
        for reader in started:
            reader.goes_on(31)
        yield started


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_becomes_another_while_it_is_read(served, kind, change, tmp_path):
    new = KINDS[kind](tmp_path / "new", scan(2))
    (spare := tmp_path / "spare").mkdir()
    (path,) = (p for p in served.data.iterdir() if p.stem == name_of(kind, change) and p.suffix != ".hdr")
    with readers(served, address(served.client, path)) as started:
        assert all(set(reader.answers) == {1} for reader in started)
        change(path, new, spare)
        for reader in started:
            reader.goes_on(62)
        if change in RETURNING:
            until(lambda: all(2 in reader.answers[-1:] for reader in started))
            for reader in started:
                reader.goes_on(31)
            assert all(reader.answers[-1] == 2 for reader in started)
    beside = served.client.get(
        f"/api/v1/array/full/{address(served.client, served.data / 'beside.mrc')}?slice=3&{RAW}"
    )
    assert beside.content == scan(7)[3].tobytes()
