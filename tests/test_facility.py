"""config/, compose.yaml and docs/deploy.md name the same things, and what is missing is said."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
from importlib.util import find_spec

import pytest
import yaml
from deployment import COMPOSE, PASSWORDS, PROGRAM, PROPOSALS, REPOSITORY, blocks

from tiled_spyde import cli


def test_a_missing_variable_is_named_and_a_secret_is_never_its_own_name(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TILED", "SPYDE"))}
    command = [*PROGRAM, "serve", "--config", str(REPOSITORY / "config/facility.yml"), "--port", "0"]
    ended = subprocess.run(
        command, env=kept, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    for name in ("SPYDE_DATA", "SPYDE_STATE", "SPYDE_SECRET_KEY", "SPYDE_ADA_PASSWORD"):
        assert name in ended.stderr
    assert "SPYDE_OIDC_SECRET" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_state_folder_that_cannot_be_made_is_said_in_a_line(tmp_path):
    for proposal in PROPOSALS:
        (tmp_path / proposal).mkdir()
    (tmp_path / "file").touch()
    state = tmp_path / "file" / "state"
    variables = {"SPYDE_DATA": str(tmp_path), "SPYDE_STATE": str(state), "SPYDE_SECRET_KEY": "5"}
    variables["SPYDE_DATABASE"] = f"sqlite:///{state}/catalog.sqlite"
    command = [*PROGRAM, "serve", "--config", str(REPOSITORY / "config/facility.yml"), "--port", "0"]
    environment = {**os.environ, **PASSWORDS, **variables}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert str(state) in ended.stderr
    assert "Traceback" not in ended.stderr


def authenticators():
    """The blocks at the end of facility.yml, as they are when somebody takes the # away."""
    text = (REPOSITORY / "config/facility.yml").read_text().partition("# Authenticators for real")[2]
    for block in text.split("# --- ")[1:]:
        title, _, lines = block.partition("\n")
        yield (
            title,
            yaml.safe_load(
                "\n".join(
                    line.removeprefix("#") for line in lines.splitlines() if "- " in line or ":" in line
                )
            ),
        )


@pytest.mark.parametrize(("title", "block"), list(authenticators()))
def test_the_authenticators_that_the_configuration_offers_are_there(title, block):
    from tiled.config import AuthenticationProviderSpec

    (described,) = block
    spec = AuthenticationProviderSpec.model_validate(described)
    needed = re.search(r"pip install (\w+)", title)
    if described["authenticator"].endswith("PAMAuthenticator") and not find_spec(needed[1]):
        with pytest.raises(ModuleNotFoundError, match=needed[1]):
            spec.into_auth_entry()
    else:
        assert spec.into_auth_entry()[0] == "facility"


def test_the_image_alone_keeps_what_people_make_in_its_volume():
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    command = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    options = cli._parser().parse_args(command[1:])
    assert f"VOLUME {options.state}" in lines
    assert options.paths == ["/data"]


def test_compose_asks_for_what_the_example_and_the_page_name():
    asked = set(re.findall(r"\$\{(\w+)", (REPOSITORY / "compose.yaml").read_text()))
    example = set(re.findall(r"^(\w+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    configured = set(
        re.findall(r"^[^#\n]*\$\{(\w+)", (REPOSITORY / "config/facility.yml").read_text(), re.MULTILINE)
    )
    assert asked == example
    assert configured == set(COMPOSE["services"]["server"]["environment"]) - {"FORWARDED_ALLOW_IPS"}
    page = (REPOSITORY / "docs/deploy.md").read_text()
    assert all(name in page for name in configured)


def test_the_variables_of_the_page_are_those_of_the_configuration():
    (piece,) = blocks("export SPYDE_DATA")
    named = set(re.findall(r"(SPYDE_\w+)=", piece))
    assert named == set(COMPOSE["services"]["server"]["environment"]) - {"FORWARDED_ALLOW_IPS"}


def test_the_units_command_is_one_the_program_takes():
    from tiled_spyde.cli import _parser

    unit = (REPOSITORY / "config/tiled-spyde.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S+/tiled-spyde (.*)$", unit, re.MULTILINE)
    options = _parser().parse_args(shlex.split(command))
    assert options.root_path == "/spyde"
    assert options.config.name == "facility.yml"


@pytest.mark.parametrize("path", ["spyde", "/spyde/", "/tools/spyde", "/"])
def test_a_root_path_is_made_plain(path):
    from tiled_spyde.cli import _root_path

    assert _root_path(path) in ("/spyde", "/tools/spyde", "")


@pytest.mark.parametrize("path", ["/a b", "/..", "/a/../b", "/spyde?x", "http://host/spyde"])
def test_a_root_path_that_is_none_is_refused(path):
    from tiled_spyde.cli import _root_path

    with pytest.raises(argparse.ArgumentTypeError, match="no path of plain names"):
        _root_path(path)
