"""A facility: people see the folders of their own proposals, and nothing tells them of others."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
from conftest import serving
from hypothesis import given
from hypothesis import strategies as st
from test_access import FILLED, all_routes

from tiled_spyde.rights import Person, rights_from

PEOPLE = {name: f"{name}-password" for name in ("ada", "ben", "cem", "dan")}
AUTHENTICATION = {
    "providers": [
        {
            "provider": "facility",
            "authenticator": "tiled.authenticators:DictionaryAuthenticator",
            "args": {"users_to_passwords": PEOPLE},
        }
    ],
    "tiled_admins": [{"provider": "facility", "id": "ada"}],
    "secret_keys": ["0" * 64],
    "allow_anonymous_access": True,
}
POLICY = {"access_policy": "tiled_spyde.access:FolderPolicy", "args": {"provider": "facility"}}
# Ben edits the first and reads the second; cem edits the second; dan has no proposal. The scan in both is
# the same file, so its nodes have the same keys.
ONE, TWO, ALL, OPEN = "proposals/one", "proposals/two", "standards", "open"
TREES = {
    name: f"{folder}/scan.hspy/signal" for name, folder in zip("12*p", (ONE, TWO, ALL, OPEN), strict=True)
}
SEES = {"ada": "12*p", "ben": "12*p", "cem": "2*p", "dan": "*p", "nobody": "p"}
EDITS = {"ada": "12*p", "ben": "1", "cem": "2", "dan": "", "nobody": ""}
NODE = {"parent": "root", "operation": "sum"}


@pytest.fixture(scope="module", params=["guarded", "plain tiled"])
def facility(request, scans, tmp_path_factory):
    data = tmp_path_factory.mktemp("facility")
    for folder in ("one", "two", "standards", "open"):
        (data / folder).mkdir()
        shutil.copyfile(scans / "scan4d.hspy", data / folder / "scan.hspy")
    (data / "two" / "secret-alloy.hspy").touch()
    folders = [
        {"path": data / "one", "name": ONE, "editors": ["ben"]},
        {"path": data / "two", "name": TWO, "readers": ["group:guests"], "editors": ["cem"]},
        {"path": data / "standards", "readers": ["*"]},
        {"path": data / "open", "readers": ["public"]},
    ]
    arguments = {
        "folders": [{**folder, "path": str(folder["path"])} for folder in folders],
        "groups": {"guests": ["ben"]},
    }
    with serving(
        [],
        public=True,
        guarded=request.param == "guarded",
        arguments=arguments,
        access_control=POLICY,
        authentication=AUTHENTICATION,
    ) as served:
        yield served


@contextmanager
def logged_in(served, name):
    """A client of someone who has given a password (or not, for nobody)."""
    with httpx.Client(base_url=served.url, timeout=60) as client:
        if name in PEOPLE:
            form = {"username": name, "password": PEOPLE[name]}
            tokens = client.post("/api/v1/auth/provider/facility/token", data=form).raise_for_status().json()
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            client.cookies.clear()
        yield client


def api_key(client, **wanted):
    wanted = {"expires_in": None, "scopes": ["inherit"]} | wanted
    return client.post("/api/v1/auth/apikey", json=wanted).raise_for_status().json()["secret"]


def listed(client, path=""):
    return {entry["id"] for entry in client.get(f"/api/v1/search/{path}").raise_for_status().json()["data"]}


@pytest.mark.parametrize("name", SEES)
def test_everyone_sees_the_folders_of_their_own_and_a_count_of_these(facility, name):
    with logged_in(facility, name) as client:
        tops = {TREES[tree].split("/")[0] for tree in SEES[name]}
        inside = {TREES[tree].split("/")[1] for tree in SEES[name] if tree in "12"}
        answer = client.get("/api/v1/search/").json()
        assert {entry["id"] for entry in answer["data"]} == tops
        assert answer["meta"]["count"] == len(tops)
        shown = client.get("/api/v1/metadata/").json()["data"]["attributes"]["structure"]
        assert shown["count"] == len(tops)
        assert set(shown["contents"] or tops) == tops
        if inside:
            assert listed(client, "proposals") == inside
        for address in ("/zarr/v2/", "/zarr/v3/"):
            listing = client.get(address).text
            assert all(top in listing for top in tops)
            assert not any(other in listing for other in {"proposals", "standards", "open"} - tops)


@pytest.mark.parametrize("name", ["ada", "ben", "cem"])
def test_a_container_counts_what_one_sees_in_a_listing_too(facility, name):
    with logged_in(facility, name) as client:
        entries = client.get("/api/v1/search/").json()["data"]
        (shown,) = [e["attributes"]["structure"] for e in entries if e["id"] == "proposals"]
        assert shown["count"] == len(listed(client, "proposals")) == len({*"12"} & {*SEES[name]})


@pytest.mark.parametrize("name", SEES)
def test_data_and_metadata_are_there_for_readers_only(facility, name):
    with logged_in(facility, name) as client:
        for tree, path in TREES.items():
            for address in (
                f"/api/v1/metadata/{path}/root",
                f"/api/v1/array/full/{path}/root?slice=1,2",
                f"/zarr/v2/{path}/root/0.0.0.0",
                f"/zarr/v3/{path}/root/c/0/0/0/0",
                f"/zarr/v3/{path}/root/zarr.json",
            ):
                expected = 200 if tree in SEES[name] else 404
                assert client.get(address).status_code == expected, address


@pytest.mark.parametrize("name", SEES)
def test_editors_make_nodes_readers_may_not_and_others_know_of_nothing(facility, name):
    with logged_in(facility, name) as client:
        for tree, path in TREES.items():
            status = client.post(f"/api/v1/nodes/{path}", json=NODE).status_code
            if tree in EDITS[name]:
                assert status in (200, 201)
            elif name == "nobody":
                assert status == 401
            else:
                assert status == (403 if tree in SEES[name] else 404)


@pytest.mark.parametrize("name", ["cem", "dan", "nobody"])
def test_search_finds_only_what_one_may_read(facility, name):
    hidden = {TREES[tree].rpartition("/scan")[0] for tree in TREES if tree not in SEES[name]}
    with logged_in(facility, name) as client:
        for query in (
            "/api/v1/search-deep/",
            "/api/v1/search-deep/?page[limit]=300",
            "/api/v1/search/?filter[specs][condition][include]=[]&filter[specs][condition][exclude]=[]",
            "/api/v1/search/?filter[fulltext][condition][text]=alloy",
            '/api/v1/search/?filter[keys_filter][condition][keys]=["proposals","standards","open"]',
            "/api/v1/search/?sort=-",
            "/api/v1/distinct/?structure_families=true&counts=true",
            "/api/v1/container/full/?format=json",
        ):
            answer = client.get(query)
            text = answer.text.replace(query, "")
            assert answer.status_code < 500 or query.startswith("/api/v1/container"), answer.text
            assert "secret-alloy" not in text or "2" in SEES[name]
            for folder in hidden:
                assert folder not in text, query
                assert folder.split("/")[-1] not in re.findall(r'"id": ?"([^"]*)"', text), query


def test_deep_search_counts_what_one_may_read(facility):
    counts = {}
    for name in ("nobody", "dan", "cem", "ada"):
        with logged_in(facility, name) as client:
            counts[name] = client.get("/api/v1/search-deep/?fields=count").json()["meta"]["count"]
    assert 0 < counts["nobody"] < counts["dan"] < counts["cem"] < counts["ada"]


def answers(served, client, path):
    """What every route answers about a path, with the path's own words taken out."""
    for template, route in all_routes(served):
        if "{path" not in template or template.startswith(("/ui", "/static", "/docs")):
            continue

        def fill(match):
            return path if match[1] == "path" else FILLED.get(match[1], "x")

        address = re.sub(r"\{(\w+)(?::\w+)?\}", fill, template)
        for method in getattr(route, "methods", None) or {"GET"}:
            answer = client.request(method, address)
            text = re.sub(r'"(?:error_id|correlation)[^,]*', "", answer.text)
            for word in sorted(path.split("/"), key=len, reverse=True):
                text = text.replace(word, "…")
            yield (template, method), (answer.status_code, text)


@pytest.mark.parametrize("name", ["dan", "nobody", "a key for reading another folder"])
def test_what_one_may_not_know_of_is_as_if_it_were_not_there_on_any_route(facility, name):
    """Hidden things and things that never were get the same answer from every route and method."""
    with logged_in(facility, "ben" if "key" in name else name) as client:
        if "key" in name:
            key = api_key(client, access_tags=[ONE], scopes=["read:metadata", "read:data"])
            client.headers["Authorization"] = f"Apikey {key}"
        compared = 0
        for hidden, missing in (
            (TWO, "proposals/xxx"),
            (TREES["2"], "proposals/xxx/scan.hspy/signal"),
            (f"{TREES['2']}/root", "proposals/xxx/scan.hspy/signal/root"),
        ):
            known = dict(answers(facility, client, hidden))
            unknown = dict(answers(facility, client, missing))
            assert known == unknown
            assert not [route for route, (status, _) in known.items() if status < 400]
            compared += len(known)
        assert compared > 150


def test_a_key_that_two_people_share_opens_each_ones_own_only(facility):
    """The same content has the same key in two folders; a key is no right."""
    with logged_in(facility, "cem") as cem, logged_in(facility, "ben") as ben:
        described = cem.get(f"/api/v1/metadata/{TREES['2']}/root").json()
        key = described["data"]["attributes"]["metadata"]["attributes"]["key"]
        pinned = partial("/zarr/v3/{0}/root@{1}/c/0/0/0/0".format)
        assert ben.get(pinned(TREES["1"], key)).status_code == 200
        assert cem.get(pinned(TREES["2"], key)).status_code == 200
        assert cem.get(pinned(TREES["1"], key)).status_code == 404
        assert cem.get(f"/api/v1/array/full/{TREES['1']}/root@{key}?slice=0,0").status_code == 404


def test_a_key_for_reading_only_reads_and_one_for_a_folder_opens_only_that(facility):
    with logged_in(facility, "ben") as ben:
        reading = api_key(ben, scopes=["read:metadata", "read:data"])
        for_two = api_key(ben, access_tags=[TWO], scopes=["read:metadata", "read:data"])
    with httpx.Client(base_url=facility.url, headers={"Authorization": f"Apikey {reading}"}) as client:
        assert listed(client, "proposals") == {"one", "two"}
        assert client.get(f"/api/v1/array/full/{TREES['1']}/root?slice=0,0").status_code == 200
        assert client.post(f"/api/v1/nodes/{TREES['1']}", json=NODE).status_code == 401
    with httpx.Client(base_url=facility.url, headers={"Authorization": f"Apikey {for_two}"}) as client:
        assert listed(client, "proposals") == {"two"}
        assert listed(client) == {"proposals"}
        assert client.get(f"/zarr/v3/{TREES['1']}/root/c/0/0/0/0").status_code == 404
        assert client.get(f"/zarr/v3/{TREES['2']}/root/c/0/0/0/0").status_code == 200


def test_a_key_of_an_administrator_without_the_scope_is_an_ordinary_key(facility):
    with logged_in(facility, "ada") as ada:
        key = api_key(ada, scopes=["read:metadata", "read:data"])
        assert listed(ada, "proposals") == {"one", "two"}
    with httpx.Client(base_url=facility.url, headers={"Authorization": f"Apikey {key}"}) as client:
        assert listed(client) == {"standards", "open"}


def test_a_wrong_password_and_a_wrong_key_are_401(facility):
    with httpx.Client(base_url=facility.url) as client:
        form = {"username": "ben", "password": "guess"}
        assert client.post("/api/v1/auth/provider/facility/token", data=form).status_code == 401
        for credential in ("Apikey 00ff", "Apikey secret", "Bearer nonsense"):
            answer = client.get("/api/v1/search/", headers={"Authorization": credential})
            assert answer.status_code == 401


NAMES = st.sampled_from(["ben", "cem", "*", "public", "group:guests", "service:1"])


@given(
    st.frozensets(NAMES), st.frozensets(NAMES), st.sampled_from(["ben", "cem", "*", "public", "group:guests"])
)
def test_rights_are_what_the_words_say(readers, editors, name):
    """Against the words themselves; someone called ``public`` or ``*`` gets no more than anyone."""
    groups = {"guests": ["ben"]}
    rights = rights_from([(("p",), readers, editors)], groups).of("p")
    person = Person(frozenset({name}), known=True)

    def means(named):
        # A name in the list that is the person's own; of the special words only their meaning.
        own = name in named and name not in ("*", "public", "group:guests")
        return own or bool({"*", "public"} & named) or ("group:guests" in named and name == "ben")

    assert rights.editable_by(person) == means(editors)
    assert rights.shown_to(person) == (means(readers) or means(editors))
    assert rights.shown_to(Person()) == ("public" in readers | editors)


def test_an_unknown_group_is_refused():
    with pytest.raises(ValueError, match="group:nobody is among the readers"):
        rights_from([(("p",), ["group:nobody"], [])], {})


def test_a_folder_at_the_top_has_its_rights_there():
    rights = rights_from([((), ["ben"], [])], {})
    assert rights.shown_to(Person(frozenset({"ben"}), known=True))
    assert not rights.shown_to(Person(frozenset({"cem"}), known=True))
    assert rights.of("scan.hspy") is rights


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        ([{"path": "/a", "name": "p"}, {"path": "/b", "name": "p"}], "Two folders"),
        ([{"path": "/a", "name": "p"}, {"path": "/b", "name": "p/q"}], "Two folders"),
        ([{"path": "/a", "name": ""}, {"path": "/b", "name": "p"}], "Two folders"),
        ([{"path": "/x/p"}, {"path": "/y/p"}], "Two folders"),
        ([{"path": "/a", "name": "p?q"}], "no name for addresses"),
        ([{"path": "/data/a#b", "readers": ["ben"]}], "no name for addresses"),
        ([{"path": "/a", "reader": ["ben"]}], "Extra inputs"),
        ([{"path": "/a", "readers": "ben"}], "valid array"),
        ([{"name": "p"}], "path: Field required"),
        ([], "either paths or folders"),
    ],
)
def test_folders_that_could_be_mistaken_are_refused(folders, said):
    from tiled_spyde.app import served_folders

    with pytest.raises(ValueError, match=said):
        served_folders((), folders)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"access_control": {"access_policy": "tiled_spyde.access:CredentialPolicy", "args": {}}},
            "FolderPolicy",
        ),
        ({"access_control": None}, "FolderPolicy"),
        ({"authentication": {"single_user_api_key": "secret"}}, "nobody"),
        ({"access_control": {**POLICY, "args": {"provider": "other"}}}, "'other'"),
        ({"readers": []}, "without readers and editors"),
    ],
)
def test_a_configuration_that_would_show_folders_to_others_is_refused(tmp_path, changed, said):
    from tiled.config import Config

    from tiled_spyde.app import build

    folder = {"path": str(tmp_path), "name": "p", "readers": changed.pop("readers", ["ben"])}
    config = {
        "trees": [{"path": "/", "tree": "tiled_spyde.app:tree", "args": {"folders": [folder]}}],
        "access_control": POLICY,
        "authentication": AUTHENTICATION,
        **changed,
    }
    with pytest.raises(ValueError, match=said):
        build(Config.model_validate(config))


def test_without_a_policy_for_folders_a_named_folder_is_closed_to_everyone(scans):
    """Also under plain tiled, where nobody compares the configuration's parts."""
    folders = {"folders": [{"path": str(scans), "name": "p", "readers": ["ben"]}]}
    with serving([], guarded=False, arguments=folders) as served:
        for address in (
            "/api/v1/metadata/p",
            "/api/v1/metadata/p/scan4d.hspy/signal/root",
            "/zarr/v3/p/zarr.json",
        ):
            assert served.get(address).status_code == 404
