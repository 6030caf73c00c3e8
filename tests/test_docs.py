"""The documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import KEY, serving

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
