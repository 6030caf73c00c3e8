"""Queries and sorting over cards: what is found, in what order, and what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiled import queries
from tiled.queries import FullText, Key, QueryValueError

from tiled_spyde.search import Entry, matching, ordered

ENTRIES = [
    Entry("foil", {"title": "Strained foil", "signal_type": "electron_diffraction", "shape": [3, 5, 12, 16]}),
    Entry("map.bcf", {"title": "Interplanetary dust", "signal_type": "EDS_TEM", "shape": [256, 256, 2048]}),
    Entry("line", {"title": "LSMO", "signal_type": "EELS", "shape": [40, 586], "operations": ["crop"]}),
    Entry(
        "broken.emd", {"state": "failed", "modified": "2026-11-20T10:00:00+00:00"}, frozenset({"Unreadable"})
    ),
    Entry(
        "ünï cödé", {"title": None, "modified": "2026-11-21T10:00:00+00:00", "size": 7, "axes": {"x": "nm"}}
    ),
    Entry("root", {"size": 11, "shape": [2, 2]}, frozenset({"SignalNode"}), "array"),
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (FullText("foil"), ["foil"]),
        (FullText("DUST inter"), ["map.bcf"]),
        (FullText("eels"), ["line"]),
        (FullText("crop"), ["line"]),
        (FullText("CÖDÉ"), ["ünï cödé"]),
        (FullText("foil dust"), []),
        (FullText(""), [entry.name for entry in ENTRIES]),
        (Key("signal_type") == "EELS", ["line"]),
        (Key("attributes.signal_type") == "EELS", ["line"]),
        (Key("shape") == [40, 586], ["line"]),
        (Key("signal_type") != "EELS", ["foil", "map.bcf"]),
        (Key("axes.x") == "nm", ["ünï cödé"]),
        (Key("title.deeper.still") == "nm", []),
        (Key("modified") > "2026-11-21", ["ünï cödé"]),
        (Key("size") >= 7, ["ünï cödé", "root"]),
        (Key("title") < 3, []),
        (queries.In("signal_type", ["EELS", "EDS_TEM"]), ["map.bcf", "line"]),
        (queries.NotIn("signal_type", ["EELS"]), ["foil", "map.bcf"]),
        (queries.Contains("operations", "crop"), ["line"]),
        (queries.Contains("title", "dust"), ["map.bcf"]),
        (queries.Like("title", "L%O"), ["line"]),
        (queries.Like("title", "Strained_foil"), ["foil"]),
        (queries.Like("title", "[L]SMO"), []),
        (queries.KeyPresent("operations"), ["line"]),
        (queries.KeyPresent("title", exists=False), ["broken.emd", "ünï cödé", "root"]),
        (queries.KeysFilter(["root", "nothing"]), ["root"]),
        (queries.SpecsQuery(["Unreadable"]), ["broken.emd"]),
        (queries.SpecsQuery([], ["SignalNode", "Unreadable"]), ["foil", "map.bcf", "line", "ünï cödé"]),
        (queries.StructureFamilyQuery("array"), ["root"]),
    ],
)
def test_a_query_finds_by_what_is_on_the_card(query, found):
    assert matching(query, ENTRIES) == found


def test_a_regular_expression_is_refused_for_its_time_is_the_clients_to_choose():
    with pytest.raises(QueryValueError, match=r"Regex is not answered here.*FullText"):
        matching(queries.Regex("title", "(a+)+$"), ENTRIES)


@pytest.mark.parametrize(
    "query",
    [
        FullText(" ".join(f"w{i}" for i in range(31))),
        FullText("a" * 2000),
        Key("a." * 1000) == 1,
        queries.In("size", list(range(1000))),
        queries.Contains("title", "b" * 2000),
    ],
)
def test_what_would_take_long_for_every_file_is_refused(query):
    with pytest.raises(QueryValueError, match=r"[Aa]t most \d+ "):
        matching(query, ENTRIES)


def test_the_same_word_again_is_no_more_work_and_names_are_free():
    assert matching(FullText("foil " * 300), ENTRIES) == ["foil"]
    assert matching(queries.KeysFilter([f"name {i}" for i in range(5000)] + ["line"]), ENTRIES) == ["line"]


def test_too_many_keys_to_sort_by_are_refused():
    with pytest.raises(QueryValueError, match="At most 10 keys"):
        ordered([(f"key{i}", 1) for i in range(11)], ENTRIES)


def test_a_pattern_cannot_take_long():
    long = [Entry("a", {"title": "a" * 50_000})]
    begin = time.thread_time()
    assert matching(queries.Like("title", "%a" * 900 + "%b"), long) == []
    assert time.thread_time() - begin < 5


@pytest.mark.parametrize(
    ("sorting", "names"),
    [
        ([("name", 1)], ["broken.emd", "foil", "line", "map.bcf", "root", "ünï cödé"]),
        ([("name", -1)], ["ünï cödé", "root", "map.bcf", "line", "foil", "broken.emd"]),
        ([("title", 1)], ["map.bcf", "line", "foil", "broken.emd", "ünï cödé", "root"]),
        ([("title", -1)], ["foil", "line", "map.bcf", "broken.emd", "ünï cödé", "root"]),
        ([("attributes.size", -1)], ["root", "ünï cödé", "foil", "map.bcf", "line", "broken.emd"]),
        ([("_", 1)], [entry.name for entry in ENTRIES]),
        ([("_", -1)], [entry.name for entry in reversed(ENTRIES)]),
        ([], [entry.name for entry in ENTRIES]),
    ],
)
def test_sorting_puts_what_has_no_value_last(sorting, names):
    assert ordered(sorting, ENTRIES) == names


def test_sorting_by_two_keys():
    entries = [Entry(name, {"a": a, "b": b}) for name, a, b in (("p", 1, 2), ("q", 0, 1), ("r", 1, 1))]
    assert ordered([("a", -1), ("b", 1)], entries) == ["r", "p", "q"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=8), VALUES, st.sampled_from([1, -1]))
def test_any_value_can_be_sorted_and_compared(values, wanted, direction):
    entries = [Entry(str(number), {"v": value}) for number, value in enumerate(values)]
    assert sorted(ordered([("v", direction)], entries)) == sorted(entry.name for entry in entries)
    for query in (
        queries.Eq("v", wanted),
        queries.Comparison("lt", "v", wanted),
        queries.Contains("v", wanted),
    ):
        assert set(matching(query, entries)) <= {entry.name for entry in entries}
