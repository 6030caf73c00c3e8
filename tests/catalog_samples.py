"""Sources that are made up, for tests of what is kept of them."""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tiled_spyde.catalog import Catalog, Folder, Served
from tiled_spyde.database import Database, tables
from tiled_spyde.errors import Unavailable, status_of
from tiled_spyde.signals import Axis, SignalInfo
from tiled_spyde.sources import Source
from tiled_spyde.sources.files import File
from tiled_spyde.sources.source import Signal

PATH = ("scan.hspy", "signal")
_INODES = itertools.count(1)
_SERVER = "on-postgresql.json"
_OPEN = []


def info(shape=(4, 5, 16, 16), signal_axes=2):
    navigation = len(shape) - signal_axes
    axes = (Axis(f"a{i}", size, navigate=i < navigation) for i, size in enumerate(shape))
    return SignalInfo(tuple(axes), np.dtype("u2"))


def source(path, content="f", shape=(4, 5, 16, 16), signal_axes=2, names=("signal",)):
    """A file with that content, as the index hands it over."""
    signals = tuple(Signal(name, name, info(shape, signal_axes), {}) for name in names)
    return Source(path, (File(path, path.name, 1, 1, 1, next(_INODES)),), content, signals)


def lay_down(server, folder):
    """Let the databases below `folder` be on a server: also in other processes, so it stands in a file."""
    (folder / _SERVER).write_text(json.dumps([server.conninfo(), server.url("{}")]))


def url(folder):
    """Address of the database that belongs to `folder`: a file in it, or one on a server with the tables in it."""
    folder = Path(folder)
    laid = [above / _SERVER for above in (folder, *folder.parents) if (above / _SERVER).exists()]
    if not laid:
        return f"sqlite:///{folder}/catalogue.db"
    conninfo, address = json.loads(laid[0].read_text())
    name = "of_" + blake2b(str(folder).encode(), digest_size=8).hexdigest()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(f"CREATE DATABASE {name} TEMPLATE with_tables")
    return address.format(name)


def database(folder, *, marked=True, address=None):
    """The database of `folder`, closed when the test ends."""
    _OPEN.append(Database(address or url(folder), folder if marked else None))
    return _OPEN[-1]


def close_all():
    while _OPEN:
        _OPEN.pop().close()


@contextmanager
def by_hand(folder):
    """What any other program can do to the database of `folder`: a connection in a transaction."""
    engine = sa.create_engine(
        url(folder).replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        if engine.name == "postgresql":
            connection.exec_driver_sql("SET search_path = tiled_spyde")
        yield connection


def contents(folder):
    """All that stands in the database of `folder`."""
    with by_hand(folder) as connection:
        return {
            table.name: sorted(connection.execute(sa.select(table)).fetchall(), key=repr)
            for table in tables.sorted_tables
        }


def catalog(folder, data, *, marked=True, address=None, **settings):
    """A catalogue; without marks as on another machine."""
    return Catalog(database(folder, marked=marked, address=address), [Served(data)], **settings)


def sigma(number):
    return {"parent": "root", "operation": "gaussian_filter", "parameters": {"sigma": float(number)}}


def names(catalog, path=PATH):
    """Nodes beside the root and its navigator."""
    return list(catalog.tree(path).nodes)[2:]


def addresses(folder, above=()):
    """Where each file stands in a listing."""
    for name, entry in folder.entries.items():
        yield from addresses(entry, (*above, name)) if isinstance(entry, Folder) else [(*above, name)]


@pytest.fixture
def data_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def catalogued(tmp_path, data_folder):
    """A catalogue with one scan."""
    made = catalog(tmp_path, data_folder)
    made.update({data_folder / "scan.hspy": source(data_folder / "scan.hspy")})
    return made


def outlives(again, data, failing, told):
    """Check that reads go on, writes are refused and nothing is lost while a database fails within `failing()`.

    `again` gives another catalogue over the same database.
    """
    served = again()
    served.update({data / "scan.hspy": source(data / "scan.hspy")})
    first, _ = served.add_node(PATH, **sigma(1))
    with failing():
        with pytest.raises(Unavailable, match=told) as refused:
            served.add_node(PATH, **sigma(2))
        assert status_of(refused.value) == 503
        assert served.tree(PATH).nodes[first.name] == first
        assert served.add_node(PATH, **sigma(1)) == (first, False)  # the same again writes nothing
        served.update({data / "new.hspy": source(data / "new.hspy", "n")})
        assert "new.hspy" in served.top.entries
    second, made = served.add_node(PATH, **sigma(2))
    assert made
    served.update({})
    later = again()
    assert list(later.tree(PATH).nodes) == ["root", "navigator", first.name, second.name]
    assert set(later.known) == {data / "scan.hspy", data / "new.hspy"}


def run_model(machine, examples, steps):
    """Have hypothesis drive a state machine, however long that takes."""
    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=limits)
