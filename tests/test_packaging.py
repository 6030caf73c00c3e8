"""What a fresh clone is made of: pinned versions, the scripts behind `make`, and the house's list of rooms."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import tiled_spyde

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
LOCK = (REPOSITORY / "requirements.lock").read_text().splitlines()
PINNED = {
    name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in LOCK)
}
PACKAGES = ("tiled_spyde", "viewer")


def modules(package):
    """Dotted names of the modules and packages right inside `package`."""
    folder = REPOSITORY / package
    inside = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    return {f"{package}.{path.stem}" for path in inside if path.stem != "__init__"}


def required():
    """Every requirement of the project, its extras and its build."""
    extras = [text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
    texts = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *extras]
    return [Requirement(text) for text in texts if not text.startswith("tiled-spyde")]


class TestLock:
    def test_holds_plain_pins_only(self):
        assert [
            line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)
        ] == []

    @pytest.mark.parametrize("requirement", required(), ids=str)
    def test_satisfies(self, requirement):
        assert requirement.specifier.contains(PINNED[requirement.name.lower()])

    def test_has_zarr_3_and_no_pyxem(self):
        assert PINNED["zarr"].startswith("3.")
        assert "pyxem" not in PINNED


class TestScripts:
    """The shell scripts behind `make`, each with a PATH of our own."""

    @pytest.fixture
    def stub(self, tmp_path):
        folder = tmp_path / "bin"
        folder.mkdir()

        def put(name, script):
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
            return f"{folder}:/usr/bin:/bin"

        return put

    def run(self, script, *arguments, cwd=REPOSITORY, **environment):
        command = ["sh", f".ci/{script}", *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)

    def test_a_python_that_does_not_run_is_passed_over(self, stub, tmp_path):
        stub("python3.13", "echo 'no such version' >&2; exit 127")
        path = stub("python3.12", f'exec {sys.executable} "$@"')
        found = self.run("find-python", PATH=path)
        assert found.stdout.strip() == str(tmp_path / "bin" / "python3.12")
        assert found.stderr == ""

    def test_a_python_that_is_too_old_is_refused_by_name(self, stub):
        path = stub("python3.9", "exit 1")
        refused = self.run("find-python", PATH=path, PYTHON="python3.9")
        assert refused.returncode == 1
        assert "No Python 3.11, 3.12 or 3.13 that runs at python3.9" in refused.stderr

    def test_without_root_it_says_what_to_type(self, stub):
        stub("apt-get", "echo installed something >&2")
        path = stub("id", "echo 1000")
        asked = self.run("debian-packages", "Qt lacks libGL.so.1", "libgl1", PATH=path)
        assert asked.returncode == 1
        assert "sudo apt-get update && sudo apt-get install --no-install-recommends -y libgl1" in asked.stderr
        assert "installed something" not in asked.stderr

    def test_as_root_it_installs(self, stub):
        stub("id", "echo 0")
        path = stub("apt-get", 'echo "apt-get $*" >&2')
        asked = self.run("debian-packages", "Qt lacks libGL.so.1", "libgl1", "libegl1", PATH=path)
        assert asked.returncode == 0
        assert re.search(r"apt-get .*install libgl1 libegl1", asked.stderr)

    def test_a_ready_environment_is_left_alone(self, stub, tmp_path):
        checkout = tmp_path / "checkout"
        (checkout / ".venv").mkdir(parents=True)
        for name in ("requirements.lock", "pyproject.toml", ".ci"):
            copy = shutil.copytree if name == ".ci" else shutil.copy
            copy(REPOSITORY / name, checkout / name)
        lock = (checkout / "requirements.lock").read_text()
        (checkout / ".venv" / "installed.lock").write_text(f"{checkout.resolve()}\n{lock}")
        shutil.copy(checkout / "pyproject.toml", checkout / ".venv" / "installed.toml")
        path = stub("python3", "exit 1")
        assert self.run("environment", cwd=checkout, PATH=path).returncode == 0

        (checkout / "requirements.lock").write_text(lock + "another==1.0\n")
        changed = self.run("environment", cwd=checkout, PATH=path, PYTHON="/no/such/python")
        assert changed.returncode != 0
        assert "No Python" in changed.stderr


class TestHouse:
    def test_every_package_is_installed(self):
        found = {path.parent for package in PACKAGES for path in (REPOSITORY / package).rglob("__init__.py")}
        named = {".".join(path.relative_to(REPOSITORY).parts) for path in found}
        assert set(PROJECT["tool"]["setuptools"]["packages"]) == named

    @pytest.mark.parametrize("package", PACKAGES)
    def test_every_module_has_a_floor(self, package):
        contracts = PROJECT["tool"]["importlinter"]["contracts"]
        floors = " | ".join(floor for contract in contracts for floor in contract.get("layers", []))
        assert modules(package) <= set(re.split(r" [|:] ", floors))

    @pytest.mark.parametrize("command", sorted(PROJECT["project"]["scripts"]))
    def test_command_can_be_started(self, command):
        module, _, function = PROJECT["project"]["scripts"][command].partition(":")
        assert callable(getattr(importlib.import_module(module), function))

    def test_this_python_is_supported(self):
        assert ".".join(map(str, sys.version_info[:2])) in SpecifierSet(PROJECT["project"]["requires-python"])

    def test_version_and_licence_are_said_once(self):
        assert PROJECT["project"]["version"] == tiled_spyde.__version__
        assert f"## {tiled_spyde.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
        assert PROJECT["project"]["license"] == "GPL-3.0-or-later"
        assert "Version 3, 29 June 2007" in (REPOSITORY / "LICENSE").read_text()

    def test_nothing_names_a_package_index_or_a_folder_of_one_machine(self):
        named = re.compile(r"(index|links)-url|find-links|https?://\S*/simple\b|(?<![\w})])/(work|root|tmp)/")
        found = {path.relative_to(REPOSITORY) for path in texts() if named.search(path.read_text())}
        assert found - {Path(__file__).relative_to(REPOSITORY)} == set()


def texts():
    """Every text file of the repository, without what is made from them."""
    made = re.compile(r"\.(?!ci$|git).+|\.git|__pycache__|.*\.egg-info|build|dist|_build")
    kinds = {"", ".py", ".md", ".toml", ".yml", ".json", ".lock"}
    for path in REPOSITORY.rglob("*"):
        inside = path.relative_to(REPOSITORY).parts
        if path.is_file() and path.suffix in kinds and not any(made.fullmatch(part) for part in inside):
            yield path
