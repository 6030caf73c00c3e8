"""``--clients-table FILE``: writes which client passed which check, with versions, into a page.

A test says what it shows by two marks: ``client(name, package=…, pins=…)``, usually of its whole module, and
``check(name)``. It records the property ``lacks`` where the client cannot do it (and the test is that the client
says so), and ``version`` where no pins tell it.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

PINS = Path(__file__).parent / "clients"
START, END = "<!-- table -->", "<!-- end of table -->"
MARKS = {"passed": "✓", "skipped": "not run", "failed": "✗"}
ACCESS = {"public": "public server", "key": "with a key"}
FIRST = [*ACCESS.values(), "zarr v2", "zarr v3"]


def pytest_addoption(parser):
    parser.addoption("--clients-table", metavar="FILE", type=Path, help="write the table of clients × checks")


def pytest_configure(config):
    config.addinivalue_line("markers", "client(name, package, pins): the client that a test drives")
    config.addinivalue_line("markers", "check(name): what a test shows, as the table calls it")
    if page := config.getoption("--clients-table"):
        config.pluginmanager.register(Table(page), "clients_table_writer")


class Table:
    """Collects outcomes by client and check."""

    def __init__(self, page):
        self.page = page
        self.versions, self.cells, self.checks = {}, {}, list(FIRST)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        client = item.get_closest_marker("client")
        if client and (call.when == "call" or report.outcome != "passed"):
            recorded = dict(item.user_properties)
            name = client.args[0]
            known = recorded.get("version") or self.versions.get(name)
            self.versions[name] = known or version(**client.kwargs)
            for check in checks_of(item):
                if check not in self.checks:
                    self.checks.append(check)
                lacks = "" if check in FIRST else recorded.get("lacks", "")
                self.cells.setdefault((name, check), set()).add((report.outcome, lacks))
        return report

    def pytest_sessionfinish(self):
        page = self.page.read_text()
        assert START in page, f"{self.page} has no line {START}"
        before, _, rest = page.partition(START)
        after = rest.partition(END)[2]
        self.page.write_text(f"{before}{START}\n{self.table()}\n{END}{after}")

    def table(self):
        """Return the table: one column for each client."""
        clients = sorted(self.versions, key=str.casefold)
        lines = [["", *clients], ["---"] * (len(clients) + 1), ["version", *map(self.versions.get, clients)]]
        for check in self.checks:
            lines.append([check, *(cell(self.cells.get((name, check), set())) for name in clients)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def checks_of(item):
    """Yield the checks that a test stands for: its own, and the access and format that it runs with."""
    for mark in item.iter_markers("check"):
        yield mark.args[0]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if access := ACCESS.get(str(parameters.get("access"))):
        yield access
    if (number := parameters.get("version")) in (2, 3):
        yield f"zarr v{number}"


def cell(outcomes):
    """Say in a word how the tests of one cell ended."""
    for outcome in ("failed", "skipped"):
        if any(ended == outcome for ended, _ in outcomes):
            return MARKS[outcome]
    lacking = sorted({lacks for _, lacks in outcomes if lacks})
    return ", ".join(lacking) or (MARKS["passed"] if outcomes else "–")


def version(package=None, pins=None):
    """Return the version that is pinned for a client, or installed beside the tests."""
    if package is None:
        return ""
    if pins is None:
        return metadata.version(package)
    text = (PINS / pins).read_text()
    if pins.endswith(".json"):
        return json.loads(text)["packages"][f"node_modules/{package}"]["version"]
    return re.search(rf"^{re.escape(package)}==(.*)$", text, re.M)[1]
