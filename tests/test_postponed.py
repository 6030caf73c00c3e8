"""Imports that wait: packages made for it, and those of tiled."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier

import pytest

from tiled_spyde.postponed import ANNOTATED, PACKAGES, postponed

USER = """
import slow
import slow.part

def value():
    return slow.VALUE

def of_the_part():
    return slow.part.VALUE
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A package that is slow to import and writes down when it is, and modules that use it."""
    (tmp_path / "slow").mkdir()
    note = f"with open({str(tmp_path / 'imported')!r}, 'a') as note: note.write(__name__ + ' ')\n"
    (tmp_path / "slow" / "__init__.py").write_text(f"{note}import time\ntime.sleep(0.1)\nVALUE = 1\n")
    (tmp_path / "slow" / "part.py").write_text(f"{note}VALUE = 2\n")
    (tmp_path / "user.py").write_text(USER.replace("import slow.part\n", ""))
    (tmp_path / "user_of_part.py").write_text(USER)
    (tmp_path / "user_at_once.py").write_text("from slow import VALUE\n")
    (tmp_path / "annotated.py").write_text("import slow\ndef f(x: slow.Missing) -> slow.VALUE: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield lambda: (tmp_path / "imported").read_text().split() if (tmp_path / "imported").exists() else []
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"slow", "user", "user_of_part", "user_at_once", "annotated"}:
            del sys.modules[name]


def test_what_is_not_used_is_not_imported(packages):
    with postponed(["slow"]):
        user = import_module("user")
    assert packages() == []
    assert "slow" not in sys.modules
    assert user.value() == 1
    assert packages() == ["slow"]


def test_what_is_used_within_is_there(packages):
    with postponed(["slow"]):
        assert import_module("user_at_once").VALUE == 1
        assert import_module("user").value() == 1
    assert packages() == ["slow"]


def test_an_import_afterwards_is_an_ordinary_one(packages):
    with postponed(["slow"]):
        user = import_module("user")
    slow = import_module("slow")
    slow.VALUE = 3
    assert user.value() == 3
    assert packages() == ["slow"]


def test_a_part_of_a_package_brings_the_package(packages):
    with postponed(["slow"]):
        user = import_module("user_of_part")
    assert packages() == ["slow", "slow.part"]
    assert (user.value(), user.of_the_part()) == (1, 2)


def test_a_part_may_wait_alone(packages):
    with postponed(["slow.part"]):
        user = import_module("user_of_part")
    assert packages() == ["slow"]
    assert (user.value(), user.of_the_part()) == (1, 2)
    assert packages() == ["slow", "slow.part"]
    assert sys.modules["slow"].part is sys.modules["slow.part"]


def test_threads_may_use_it_first_at_the_same_time(packages):
    with postponed(["slow"]):
        user = import_module("user")
    together = Barrier(8)

    def value():
        together.wait()
        return user.value()

    with ThreadPoolExecutor(8) as pool:
        assert [one.result() for one in [pool.submit(value) for _ in range(8)]] == [1] * 8
    assert packages() == ["slow"]


def test_what_it_does_not_have_is_missing(packages):
    with postponed(["slow"]):
        user = import_module("user")
    with pytest.raises(AttributeError, match="'slow' has no attribute 'nothing'"):
        user.slow.nothing  # noqa: B018


def test_what_is_not_installed_or_imported_already_is_left_alone(packages):
    slow = import_module("slow")
    with postponed(["slow", "not_installed_anywhere"]):
        assert import_module("slow") is slow
        with pytest.raises(ModuleNotFoundError):
            import_module("not_installed_anywhere")
    assert sys.modules["slow"] is slow


def test_annotations_wait_too(packages):
    with postponed(["slow"], ["annotated"]):
        annotated = import_module("annotated")
    assert packages() == []
    assert annotated.f.__annotations__ == {"x": "slow.Missing", "return": "slow.VALUE"}
    assert sys.meta_path == [finder for finder in sys.meta_path if type(finder).__name__ != "_Annotated"]


def of_tiled(script, folder):
    """What a new process prints; its byte code is in `folder`."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


class TestTiled:
    def test_its_server_is_there_without_them(self, tmp_path):
        printed = of_tiled(
            """
            import sys
            from tiled_spyde.postponed import PACKAGES, postponed
            with postponed():
                import tiled_spyde.app, tiled.server.app
            print(*(set(PACKAGES) | {"scipy", "numba", "xarray"}) & set(sys.modules))
            """,
            tmp_path,
        )
        assert printed == []
        # What is compiled otherwise must not be what other processes find.
        stored = {path.name.partition(".")[0] for path in tmp_path.rglob("tiled/adapters/*.pyc")}
        assert "core" in stored
        assert not stored & {name.rpartition(".")[2] for name in ANNOTATED}

    def test_its_tables_and_annotations_are_as_ever(self, tmp_path):
        printed = of_tiled(
            """
            from typing import get_type_hints
            from tiled_spyde.postponed import PACKAGES, postponed
            with postponed():
                import tiled_spyde.app, tiled.server.app
            from tiled.adapters import protocols
            frames = get_type_hints(protocols.TableAdapter.read)["return"]
            import dask.dataframe, pandas
            assert set(frames.__args__) == {dask.dataframe.DataFrame, pandas.DataFrame}, frames
            from tiled.adapters.table import TableAdapter
            table = TableAdapter.from_pandas(pandas.DataFrame({"a": [1, 2]}), npartitions=1)
            print(*table.read()["a"])
            from tiled.media_type_registration import default_compression_registry as registry
            import blosc2, io
            buffer = io.BytesIO()
            registry.dispatch("application/octet-stream", "blosc2")(buffer).write(memoryview(b"packed"))
            print(blosc2.decompress(buffer.getvalue()).decode())
            """,
            tmp_path,
        )
        assert printed == ["1", "2", "packed"]

    def test_each_of_them_is_something_that_it_imports(self, tmp_path):
        """Else the name is of no use any more: another version has another one."""
        printed = of_tiled("import sys, tiled.server.app; print(*sys.modules)", tmp_path)
        assert set(PACKAGES) | set(ANNOTATED) <= set(printed)
