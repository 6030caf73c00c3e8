"""The documentation runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import KEY, serving

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]


def test_the_tutorials_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    pieces = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/tutorial.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(pieces[0], names)  # noqa: S102 - our own page
    with serving([tmp_path / "data"]) as service:
        for piece in pieces[1:]:
            ours = piece.replace("http://127.0.0.1:8000", service.url).replace(
                "Apikey secret", f"Apikey {KEY}"
            )
            exec(ours, names)  # noqa: S102 - our own page
        assert names["pattern"].shape == (64, 64)
        assert names["overview"].shape == (3, 4)
        assert names["refused"].status_code == 422
        names["service"].close()
        names["client"].context.http_client.close()


def test_the_notebooks_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    from tiled_spyde.demo import make_scan
    from tiled_spyde.remote import close_connections

    monkeypatch.setenv("MPLBACKEND", "agg")
    pieces = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/notebooks.md").read_text(), re.DOTALL)
    make_scan(tmp_path / "data", scan=(24, 32), detector=(64, 64))
    names = {}
    with serving([tmp_path / "data"]) as service:
        for piece in pieces:
            exec(piece.replace("http://127.0.0.1:8000", service.url), names)  # noqa: S102 - our own page
        assert names["pattern"].data.shape == (64, 64)
        assert names["brightest_map"].data.shape == (3, 4)
        assert names["origin"].address.startswith(service.url)
        assert names["smooth"].data.shape == (24, 32, 64, 64)
    close_connections()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_what_the_clients_page_does_with_curl_runs_from_top_to_bottom(tmp_path):
    from tiled_spyde.demo import make_scan

    make_scan(tmp_path / "data", scan=(6, 8), detector=(32, 32))
    pieces = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs/clients.md").read_text(), re.DOTALL)
    *once, follow = pieces
    with serving([tmp_path / "data"]) as service:

        def here(*words):
            said = "".join(words).replace("http://127.0.0.1:8000", service.url)
            return ["bash", "-euo", "pipefail", "-c", said.replace("Apikey secret", f"Apikey {KEY}")]

        done = subprocess.run(here(*once), cwd=tmp_path, capture_output=True, text=True, timeout=120)
        with subprocess.Popen(here(once[0], "exec ", follow), stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout.readline() == "event: tree\n"
            following.terminate()  # as somebody who presses Ctrl-C
    assert done.returncode == 0, done.stderr
    head, late, *_ = done.stdout.partition("412\n")
    assert "preview@" in head
    assert late, "who comes too late is told"
    assert json.loads((tmp_path / "late.json").read_text())["data"]["id"] == "smooth"
    assert json.loads((tmp_path / "undone.json").read_text())["data"]["changed"]
    assert '"deleted":["smooth"]' in done.stdout
    assert '"of":48' in done.stdout


def test_the_architecture_names_every_module_and_the_index_every_page():
    architecture = (REPOSITORY / "docs/architecture.md").read_text()
    for package in ("tiled_spyde", "viewer"):
        modules = [path.stem for path in (REPOSITORY / package).glob("*.py") if path.stem != "__init__"]
        assert [module for module in modules if f"`{module}`" not in architecture] == []
        folders = [path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")]
        assert [folder for folder in folders if not re.search(rf"`{folder}/?`", architecture)] == []
    index = (REPOSITORY / "docs/index.md").read_text()
    pages = [path.name for path in (REPOSITORY / "docs").glob("*.md") if path.name != "index.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if target.startswith("http"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        if heading:
            assert heading in map(anchor, re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)), heading


def anchor(heading):
    """How a heading is linked to: small letters, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
