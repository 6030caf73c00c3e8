"""Previews over HTTP: a slice of a chain that nobody has kept."""

from __future__ import annotations

import json
from collections import Counter
from functools import cached_property

import httpx
import numpy as np
import pytest
from conftest import KEY, encoded, serving

from tiled_spyde import codecs
from tiled_spyde.operations import REGISTRY
from tiled_spyde.recipe import Recipe
from tiled_spyde.tree import MAX_STEPS

TREE = "scan4d.hspy/signal"
ROOT = f"/api/v1/derive/{TREE}/root"
SMOOTH = [{"operation": "gaussian_filter", "parameters": {"sigma": 1.5}}]
OCTETS = "application/octet-stream"
# The lane answers the one, the framework the other.
WAYS = {"lane": {}, "framework": {"Accept-Encoding": "identity", "Range": "bytes=0-"}}


def text(steps):
    return json.dumps(steps, separators=(",", ":"))


def ask(client, path=ROOT, steps=SMOOTH, headers=None, **more):
    return client.get(path, params={"steps": text(steps), **more}, headers=headers)


def array_of(answer):
    shape = tuple(map(int, filter(None, answer.headers["x-array-shape"].split(","))))
    dtype = np.dtype(answer.headers["x-array-dtype"])
    if answer.headers["content-type"] == codecs.MEDIA_TYPE:
        return codecs.decode(answer.content, shape, dtype)
    return np.frombuffer(answer.content, dtype).reshape(shape)


def keep(client, name, parent="root", step=SMOOTH[0]):
    made = client.post(f"/api/v1/nodes/{TREE}", json={"parent": parent, "name": name, **step})
    return made.json()["data"]["attributes"]


@pytest.fixture(scope="module")
def served(scans):
    with serving([scans]) as service:
        yield service


@pytest.fixture(params=["guarded", "plain tiled"], scope="module")
def any_served(request, scans):
    with serving([scans], guarded=request.param == "guarded") as service:
        yield service


@pytest.fixture
def calls(monkeypatch):
    """How often each operation's function ran."""
    counted = Counter()
    made = Recipe.__dict__["function"].func

    def counting(recipe):
        function = made(recipe)

        def called(frame):
            counted[recipe.operation.name] += 1
            return function(frame)

        return called

    counting_property = cached_property(counting)
    counting_property.__set_name__(Recipe, "function")
    monkeypatch.setattr(Recipe, "function", counting_property)
    return counted


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("format_", [OCTETS, codecs.MEDIA_TYPE])
@pytest.mark.parametrize("slice_", ["1,2", "1,2,3", "", "0,::2,3:5", ":,-1", "2,4,0,0", "1:1"])
def test_a_slice_is_that_of_the_node_it_would_be(served, way, format_, slice_):
    keep(served.client, "smooth")
    before = served.outer.answered
    derived = ask(served.client, slice=slice_, format=format_, headers=WAYS[way])
    assert served.outer.answered == before + (way == "lane")
    kept = served.get(f"/api/v1/array/full/{TREE}/smooth", params={"slice": slice_, "format": format_})
    assert derived.status_code == kept.status_code == 200, derived.text
    for name in ("x-array-shape", "x-array-dtype", "content-type", "cache-control"):
        assert derived.headers[name] == kept.headers[name]
    assert (array_of(derived) == array_of(kept)).all()
    assert "server-timing" in derived.headers


def test_both_ways_say_the_same_of_a_preview(served):
    one, other = (
        ask(served.client, slice="1,2", format=codecs.MEDIA_TYPE, headers=way) for way in WAYS.values()
    )
    for name in ("etag", "x-node", "x-array-shape", "x-array-dtype", "cache-control", "content-type"):
        assert one.headers[name] == other.headers[name]
    assert one.headers["x-node-structure"] == other.headers["x-node-structure"]
    assert one.content == other.content


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4", "blosc2"])
def test_octets_are_compressed_for_those_who_ask(any_served, encoding):
    plain = ask(any_served.client, slice="", headers={"Accept-Encoding": "identity"})
    asked = {"Accept-Encoding": encoding}
    with any_served.client.stream(
        "GET", ROOT, params={"steps": text(SMOOTH), "slice": ""}, headers=asked
    ) as packed:
        got = b"".join(packed.iter_raw())
    assert packed.headers.get("content-encoding", encoding) == encoding
    assert len(got) <= len(plain.content)
    tag = packed.headers["etag"]
    again = ask(any_served.client, slice="", headers={**asked, "If-None-Match": tag})
    assert again.status_code == 304


@pytest.mark.parametrize("way", WAYS)
def test_what_a_client_has_is_neither_computed_nor_sent(served, calls, way):
    steps = [{"operation": "gaussian_filter", "parameters": {"sigma": 2.25 if way == "lane" else 2.5}}]
    first = ask(served.client, steps=steps, slice="0,0", format=codecs.MEDIA_TYPE, headers=WAYS[way])
    assert first.status_code == 200
    tag = first.headers["etag"]
    assert tag.startswith('"')
    key = first.headers["x-node"].rpartition("@")[2]
    calls.clear()
    other = tag.replace(".0.0.", ".2.2.")
    assert other.startswith(f'"{key}')
    for known, index in ((tag, "0,0"), (other, "2,2")):
        answer = ask(
            served.client,
            steps=steps,
            slice=index,
            format=codecs.MEDIA_TYPE,
            headers={"If-None-Match": known, **WAYS[way]},
        )
        assert answer.status_code == 304
        assert answer.headers["etag"] == known
        assert answer.headers["x-node"] == first.headers["x-node"]
        assert not answer.content
    assert not calls


def test_keeping_what_was_previewed_computes_nothing_again(served, calls):
    steps = [
        {"operation": "gaussian_filter", "parameters": {"sigma": 0.75}},
        {"operation": "sum", "parameters": {}},
    ]
    derived = ask(served.client, steps=steps[:1], slice="2,3", format=codecs.MEDIA_TYPE)
    mapped = ask(served.client, steps=steps, slice=":2,:2", format=codecs.MEDIA_TYPE)
    assert derived.status_code == mapped.status_code == 200
    assert calls["gaussian_filter"] >= 1
    calls.clear()
    smooth = keep(served.client, "kept", step=steps[0])
    total = keep(served.client, "kept sum", parent="kept", step=steps[1])
    for made, answer in ((smooth, derived), (total, mapped)):
        assert made["metadata"]["attributes"]["key"] == answer.headers["x-node"].rpartition("@")[2]
    kept = served.get(f"/api/v1/array/full/{TREE}/kept?slice=2,3&format={codecs.MEDIA_TYPE}")
    kept_map = served.get(f"/api/v1/array/full/{TREE}/kept sum?slice=:2,:2&format={codecs.MEDIA_TYPE}")
    assert (kept.content, kept_map.content) == (derived.content, mapped.content)
    assert kept.headers["etag"] == derived.headers["etag"]
    assert not calls


def test_without_a_slice_it_says_what_the_node_would_be(any_served):
    kept = keep(any_served.client, "smooth")
    answer = ask(any_served.client)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    shown = data["attributes"]
    assert data["id"] == "preview"
    assert shown["structure"] == kept["structure"]
    assert shown["specs"] == kept["specs"]
    ours, theirs = shown["metadata"]["attributes"], kept["metadata"]["attributes"]
    own = {"id", "created", "created_by", "version"}
    assert {k: v for k, v in ours.items() if k not in own} == {
        k: v for k, v in theirs.items() if k not in own
    }
    assert (ours["state"], ours["parent"]) == ("lazy", "root")
    assert data["links"]["self"].endswith(answer.headers["x-node"])
    assert any_served.get(data["links"]["self"]).json()["data"]["attributes"]["metadata"] == shown["metadata"]


@pytest.mark.parametrize("steps", [[], SMOOTH])
def test_what_is_sent_is_answered_as_what_is_asked_in_an_address(any_served, steps):
    for body in (
        {"steps": steps},
        {"steps": steps, "slice": "1,2"},
        {"steps": steps, "slice": "", "format": OCTETS},
    ):
        sent = any_served.client.post(ROOT, json=body)
        asked = ask(any_served.client, steps=steps, **{k: v for k, v in body.items() if k != "steps"})
        assert sent.status_code == asked.status_code == 200, sent.text
        assert sent.content == asked.content
        assert sent.headers["x-node"] == asked.headers["x-node"]


def test_no_steps_are_the_node_itself(served):
    answer = ask(served.client, steps=[], slice="1,2")
    assert (array_of(answer) == encoded((3, 5, 12, 16))[1, 2]).all()


@pytest.mark.parametrize("way", WAYS)
def test_one_number_has_a_slice_too(served, way):
    for path, steps in (
        ("image.hspy/signal/root", [{"operation": "sum"}]),
        (f"{TREE}/root", [{"operation": "sum"}, {"operation": "sum"}]),
    ):
        answer = ask(served.client, f"/api/v1/derive/{path}", steps, slice="", headers=WAYS[way])
        if answer.status_code != 422:  # what cannot be summed twice says so
            assert answer.status_code == 200, answer.text
            assert array_of(answer).size == 1
            again = ask(
                served.client, f"/api/v1/derive/{path}", steps, slice="",
                headers={"If-None-Match": answer.headers["etag"]},
            )  # fmt: skip
            assert again.status_code == 304


class TestWhatIsRefused:
    """Each with words that say what is wrong, and never a 500."""

    def test_steps_that_are_missing(self, any_served):
        assert "steps is missing" in any_served.get(f"{ROOT}?slice=1,2").json()["detail"]

    @pytest.mark.parametrize(
        ("query", "status", "words"),
        [
            ("", 422, "steps"),
            ("steps=", 422, "steps"),
            ("steps=[", 422, "steps"),
            ("steps={}", 422, "list"),
            ("steps=[1]", 422, "steps"),
            ("steps=[{}]", 422, "operation"),
            ('steps=[{"operation":"sum","id":1}]', 422, "id"),
            ('steps=[{"operation":"no such"}]', 422, "no such"),
            ('steps=[{"operation":"os.system"}]', 422, "os.system"),
            ('steps=[{"operation":"gaussian_filter","parameters":{"sigma":NaN}}]', 422, "sigma"),
            ('steps=[{"operation":"gaussian_filter","parameters":{"sigma":Infinity}}]', 422, "sigma"),
            ('steps=[{"operation":"gaussian_filter","parameters":{"sigma":1e999}}]', 422, "sigma"),
            ('steps=[{"operation":"gaussian_filter","parameters":{"sigma":-1}}]', 422, "sigma"),
            ('steps=[{"operation":"gaussian_filter","parameters":{"sgma":1}}]', 422, "sgma"),
            ('steps=[{"operation":"sum"},{"operation":"gaussian_filter","parameters":{"sigma":1}}]', 422, "Step 2"),
            ("steps=" + text([{"operation": "gaussian_filter", "parameters": {"sigma": 1}}] * 65), 422, "64"),
            ("steps=[]&slice=1,2&slice=3", 422, "once"),
            ("steps=[]&steps=[]", 422, "once"),
            ("steps=[]&expected=1", 422, "expected"),
            ("steps=[]&slice=99", 422, "Axis 0"),
            ("steps=[]&slice=1,2,3,4,5", 422, "axes"),
            ("steps=[]&slice=::0", 422, "step"),
            ("steps=[]&slice=import", 422, "slice"),
            ("steps=[]&slice=" + "1," * 800, 422, "slice"),
            ("steps=[]&slice=1&format=text/csv", 406, "octet-stream"),
            ("steps=" + "[" * 3000, 422, "steps"),
        ],
    )  # fmt: skip
    def test_a_question_that_makes_no_sense(self, any_served, query, status, words):
        answer = any_served.get(f"{ROOT}?{query}")
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
        # The same in a body.
        given = {k: v for k, _, v in (part.partition("=") for part in query.split("&"))}
        if query.count("steps=") == 1 and len(given) == len(query.split("&")):
            rest = {k: v for k, v in given.items() if k != "steps"}
            more = "".join(f",{json.dumps(k)}:{json.dumps(v)}" for k, v in rest.items())
            sent = any_served.client.post(ROOT, content='{"steps":' + given["steps"] + more + "}")
            assert sent.status_code == status, sent.text
            assert sent.json()["detail"]

    @pytest.mark.parametrize(
        "body", [b"", b"null", b"[]", b"\xff\xfe", b'{"steps":[],"x":1}', b'{"slice":"1"}']
    )
    def test_a_body_that_is_something_else(self, any_served, body):
        answer = any_served.client.post(ROOT, content=body)
        assert answer.status_code == 422
        assert "steps" in answer.json()["detail"]

    def test_a_body_with_a_slice_in_the_address(self, any_served):
        answer = any_served.client.post(f"{ROOT}?slice=1,2", json={"steps": SMOOTH})
        assert answer.status_code == 422
        assert "body" in answer.json()["detail"]

    def test_a_body_of_more_than_a_megabyte(self, any_served):
        answer = any_served.client.post(ROOT, content=b'{"steps":[' + b" " * 2**20 + b"]}")
        assert answer.status_code == 413

    def test_too_many_steps_are_refused_before_a_right_is_asked_for_each_node(self, any_served):
        step = {"operation": "subtract_reference", "parameters": {"reference": {"node": "nothing"}}}
        assert any_served.client.post(ROOT, json={"steps": [step]}).status_code == 404
        answer = any_served.client.post(ROOT, json={"steps": [step] * (MAX_STEPS + 1)})
        assert answer.status_code == 422
        assert str(MAX_STEPS) in answer.json()["detail"]

    def test_steps_that_with_those_below_are_too_many(self, any_served):
        long = SMOOTH * (MAX_STEPS - 1)
        first = ask(any_served.client, steps=long)
        assert first.status_code == 200, first.text
        pinned = f"/api/v1/derive/{first.headers['x-node']}"
        assert ask(any_served.client, pinned, SMOOTH).status_code == 200
        refused = ask(any_served.client, pinned, SMOOTH * 2, slice="0,0")
        assert refused.status_code == 422
        assert str(MAX_STEPS) in refused.json()["detail"]

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("", 404),
            ("scan4d.hspy", 404),
            (TREE, 404),
            (f"{TREE}/nothing", 404),
            (f"{TREE}/preview", 404),
            (f"{TREE}/preview@{'0' * 32}", 410),
            (f"{TREE}/root@{'0' * 32}", 410),
            ("nowhere/at/all", 404),
        ],
    )
    def test_what_is_no_node(self, any_served, path, status):
        for answer in (
            ask(any_served.client, f"/api/v1/derive/{path}", slice="0,0"),
            any_served.client.post(f"/api/v1/derive/{path}", json={"steps": []}),
        ):
            assert answer.status_code == status, answer.text
            assert answer.json()["detail"]
            assert "[" not in answer.json()["detail"], "a path is written as people do"

    def test_a_name_that_is_the_trees_own(self, served):
        answer = served.client.post(
            f"/api/v1/nodes/{TREE}", json={"parent": "root", "operation": "sum", "name": "preview"}
        )
        assert answer.status_code == 409
        assert "preview" in answer.json()["detail"]

    def test_without_a_credential(self, any_served):
        with httpx.Client(base_url=any_served.url) as nobody:
            for answer in (
                ask(nobody, slice="0,0"),
                ask(nobody),
                nobody.post(ROOT, json={"steps": "nonsense"}),
            ):
                assert answer.status_code == 401
                assert "x-node" not in answer.headers
            assert ask(nobody, slice="0,0", api_key=KEY).status_code == 200


def test_every_operation_can_be_previewed_or_says_why_not(served):
    for name in REGISTRY:
        for path in ("scan4d.hspy", "spectra.hspy", "image.hspy", "line.hspy"):
            answer = ask(
                served.client, f"/api/v1/derive/{path}/signal/root", [{"operation": name}], slice="0"
            )
            assert answer.status_code in (200, 422)
            assert answer.content or "x-array-shape" in answer.headers
