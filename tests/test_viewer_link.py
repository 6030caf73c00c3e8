"""A view written down and read again: the same view; anything else: words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.link import Link, fragment_of, read
from viewer.picture import Scale
from viewer.theme import COLORMAPS

NAMES = st.text(min_size=1, max_size=30).filter(
    lambda name: name.isprintable() and "/" not in name and "\ufffd" not in name and name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(tuple)
INDICES = st.lists(st.integers(0, 999_999_999), min_size=1, max_size=5).map(tuple)
FLOATS = st.floats(-1e30, 1e30)
PAIRS = st.tuples(FLOATS, FLOATS).filter(lambda pair: pair[0] < pair[1])
LINKS = st.builds(
    Link,
    PATHS,
    st.text("0123456789abcdef", max_size=64),
    st.just(()) | INDICES,
    st.none() | PAIRS,
    st.none() | st.sampled_from(COLORMAPS),
    st.none() | st.sampled_from(Scale),
    st.just(()) | PAIRS | st.tuples(PAIRS, PAIRS).map(lambda two: (*two[0], *two[1])),
    st.lists(PATHS, max_size=6).map(tuple),
    st.lists(INDICES, max_size=3).map(tuple),
)
VIEW = Link(
    ("scan.hspy", "signal", "halved"), "", (3, 2), (0.0, 120.5), "inferno", Scale.LOG, (0.0, 8.0, 1.0, 6.5)
)
TREE = "v=1&node=scan.hspy/signal/root"


@given(LINKS)
def test_what_is_written_is_read(link):
    fragment = fragment_of(link)
    if len(fragment) <= 4000:
        assert read(fragment) == (link, ())


@given(LINKS)
def test_nothing_in_it_ends_a_quoted_word_of_a_shell(link):
    assert not set(fragment_of(link)) & set("\"$`\\!# \n\t'<>|")


def test_it_can_be_read_by_people():
    link = Link(*VIEW_PARTS, compared=(("scan.hspy", "signal", "root"), ("b.mrc", "signal", "root")))
    assert fragment_of(link) == (
        "v=1&node=scan.hspy/signal/halved&at=3,2&levels=0,120.5&map=inferno&scale=log&zoom=0,8,1,6.5"
        "&with=root,/b.mrc/signal/root"
    )


VIEW_PARTS = (VIEW.node, VIEW.key, VIEW.position, VIEW.levels, VIEW.colormap, VIEW.scale, VIEW.zoom)


@given(st.text(max_size=200) | st.text("v=1&node@/,;.%-+einfa0", max_size=80).map("v=1&node=a/b&".__add__))
def test_nothing_ends_in_an_exception(text):
    link, problems = read(text)
    assert link is not None or problems


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("at=1,-2", "at is no position"),
        ("at=1,9999999999", "at is no position"),
        ("at=" + ",".join("1" * 17), "at is no position"),
        ("at=²", "at is no position"),
        ("levels=nan,3", "levels are no two rising numbers"),
        ("levels=1,inf", "levels are no two rising numbers"),
        ("levels=5,5", "levels are no two rising numbers"),
        ("levels=1,1e300", "levels are no two rising numbers"),
        ("zoom=1,2,3", "zoom is no part of a picture"),
        ("map=../../etc", "map '../../etc' is no colormap here"),
        ("scale=cubic", "scale 'cubic' is no scale"),
        ("with=a,b,c,d,e,f,g", "with names more than 6 nodes"),
        ("with=../x", "with '../x' is no path"),
        ("pins=1;2;3;4", "pins are more than 3"),
        ("colour=red", "'colour' is not known"),
    ],
)
def test_what_is_wrong_is_left_out_and_told(more, word):
    link, problems = read(f"{TREE}&{more}")
    assert link == Link(("scan.hspy", "signal", "root"))
    assert problems == (word,)


@pytest.mark.parametrize(
    "fragment",
    [
        "",
        "node=a/b",
        "v=2&node=a/b",
        "v=1",
        "v=1&node=",
        "v=1&node=a//b",
        "v=1&node=a/%2e%2e/b",
        "v=1&node=a%2Fb",
        "v=1&node=a%00",
        "v=1&node=a%FF",
        "v=1&node=a@b%20c",
        "v=1&node=" + "a/" * 40 + "a",
        TREE + "&at=" + "1" * 5000,
    ],
)
def test_what_names_no_node_is_no_view(fragment):
    link, problems = read(fragment)
    assert link is None
    assert len(problems) == 1
