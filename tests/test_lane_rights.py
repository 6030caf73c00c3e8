"""Rights on the straight lane: tiled decides, what it said is remembered, and never for longer than it holds."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import time
from contextlib import contextmanager

import httpx
import pytest
from conftest import KEY, serving, until
from test_rights import AUTHENTICATION, POLICY, api_key, logged_in

from tiled_spyde.permits import Permits, _token_expiry

SCAN = "scan4d.hspy/signal"
FULL = "/api/v1/array/full"


class Tiled:
    """Allows credentials to read, and counts how often it is asked."""

    def __init__(self, allowed, key=None, knows_keys=True):
        self.allowed, self.key, self.knows_keys, self.asked = allowed, key, knows_keys, []

    async def __call__(self, scope, receive, send):
        self.asked.append(scope["path"])
        body = json.dumps({"expiration_time": self.key}).encode() if "apikey" in scope["path"] else b""
        allowed = dict(scope["headers"]).get(b"authorization") in self.allowed
        allowed = allowed and ("apikey" not in scope["path"] or self.knows_keys)
        await send({"type": "http.response.start", "status": 200 if allowed else 401, "headers": []})
        await send({"type": "http.response.body", "body": body})


def asking(secret):
    return {"type": "http", "headers": [(b"authorization", secret)], "query_string": b""}


def token(exp):
    payload = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).rstrip(b"=")
    return b"Bearer head." + payload + b".signature"


def learnt(permits, secret, node="a/b"):
    allowed = asyncio.run(permits.ask(b"header " + secret, node, asking(secret)))
    return allowed, permits.knows(b"header " + secret, node)


def test_what_tiled_allows_is_remembered_for_this_credential_and_this_node():
    tiled = Tiled({b"Apikey a"})
    permits = Permits(tiled, 60)
    assert learnt(permits, b"Apikey a") == (True, True)
    assert tiled.asked == [f"{FULL}/a/b"]
    assert not permits.knows(b"header Apikey a", "a/c")
    assert not permits.knows(b"header Apikey b", "a/b")
    assert not permits.knows(b"cookie Apikey a", "a/b")
    assert not permits.knows(b"", "a/b")


def test_what_tiled_refuses_is_asked_again():
    tiled = Tiled(set())
    permits = Permits(tiled, 60)
    assert learnt(permits, b"Apikey a") == (False, False)
    tiled.allowed.add(b"Apikey a")
    assert learnt(permits, b"Apikey a") == (True, True)


def test_with_no_time_to_remember_tiled_is_asked_each_time():
    tiled = Tiled({b"Apikey a"})
    permits = Permits(tiled, 0)
    for _ in range(3):
        assert learnt(permits, b"Apikey a") == (True, False)
    assert len(tiled.asked) == 3


def test_many_at_once_ask_once():
    tiled = Tiled({b"Apikey a"})
    permits = Permits(tiled, 60)

    async def together():
        return await asyncio.gather(
            *(permits.ask(b"header Apikey a", "a/b", asking(b"Apikey a")) for _ in range(20))
        )

    assert asyncio.run(together()) == [True] * 20
    assert len(tiled.asked) == 1


def test_a_token_is_good_until_it_expires_and_no_longer(monkeypatch):
    now = time.time()
    late, soon = token(now + 3600), token(now + 50)
    permits = Permits(Tiled({late, soon}), 60)
    assert learnt(permits, late) == learnt(permits, soon) == (True, True)
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 51)
    assert permits.knows(b"header " + late, "a/b")
    assert not permits.knows(b"header " + soon, "a/b")
    monkeypatch.setattr(time, "monotonic", lambda: began + 61)
    assert not permits.knows(b"header " + late, "a/b")


@pytest.mark.parametrize("ending", [None, "2000-01-01T00:00:00", "2000-01-01T00:00:00Z"])
def test_a_key_is_good_until_it_expires(ending):
    secret = b"Apikey a"
    permits = Permits(Tiled({secret}, ending), 60, expiring=True)
    assert learnt(permits, secret) == (True, ending is None)


@pytest.mark.parametrize(("ending", "knows_keys"), [(None, False), ("tomorrow", True)])
def test_a_key_of_which_tiled_does_not_say_when_it_ends_is_not_remembered(ending, knows_keys):
    secret = b"Apikey a"
    permits = Permits(Tiled({secret}, ending, knows_keys), 60, expiring=True)
    assert learnt(permits, secret) == (True, False)


@pytest.mark.parametrize(
    "secret", [b"", b"x", b"a.b.c", b"a.\xff.c", b"a." + base64.b64encode(b"[]") + b".c"]
)
def test_what_is_no_token_never_expires_by_itself(secret):
    assert _token_expiry(secret) == float("inf")


def test_the_table_is_bounded(monkeypatch):
    monkeypatch.setattr("tiled_spyde.permits._MOST", 3)
    permits = Permits(Tiled({b"Apikey a"}), 60)
    for i in range(5):
        learnt(permits, b"Apikey a", f"n{i}")
    assert [permits.knows(b"header Apikey a", f"n{i}") for i in range(5)] == [False, False, True, True, True]


def test_a_right_is_remembered_whatever_is_asked_of_the_node(scans, monkeypatch):
    probes = []
    probe = Permits._probe

    async def counted(self, node, scope):
        probes.append(node)
        return await probe(self, node, scope)

    monkeypatch.setattr(Permits, "_probe", counted)
    with serving([scans]) as served:
        key = served.get(f"/api/v1/metadata/{SCAN}/root").json()["data"]["attributes"]["metadata"]
        pinned = f"root@{key['attributes']['key']}"
        for address in (
            f"{FULL}/{SCAN}/root?slice=1,2",
            f"/zarr/v3/{SCAN}/root/c/0/0/0/0",
            f"/zarr/v2/{SCAN}/root.zarr/0/0/0/0/0",
            f"/zarr/v3/{SCAN}/{pinned}/c/0/0/0/0",
        ):
            assert served.get(address).status_code == 200
        assert probes == [f"{SCAN}/root"]
        with httpx.Client(base_url=served.url) as other:
            for headers in ({}, {"Authorization": "Apikey wrong"}, {"Authorization": KEY}):
                answer = other.get(f"{FULL}/{SCAN}/root?slice=1,2", headers={"If-None-Match": "*", **headers})
                assert answer.status_code in (400, 401)
                other.cookies.clear()
        assert served.outer.answered == 4


def test_everyone_may_read_on_a_public_server(scans):
    with serving([scans], public=True) as served:
        for _ in range(2):
            assert served.get(f"/zarr/v3/{SCAN}/root/c/0/0/0/0").status_code == 200
        served.client.cookies.clear()
        assert (
            served.get(f"{FULL}/{SCAN}/root?slice=0", headers={"Authorization": "Apikey no"}).status_code
            == 401
        )
        assert served.outer.answered == 2


@contextmanager
def proposals(scans, data, seconds):
    """Two proposals with the very same file: ben reads one of them, cem the other."""
    for folder in ("one", "two"):
        (data / folder).mkdir()
        shutil.copyfile(scans / "scan4d.hspy", data / folder / "scan.hspy")
    folders = [
        {"path": str(data / "one"), "readers": ["ben"]},
        {"path": str(data / "two"), "readers": ["cem"]},
    ]
    arguments = {"folders": folders, "remember_rights_seconds": seconds}
    with serving(
        [], public=True, arguments=arguments, access_control=POLICY, authentication=AUTHENTICATION
    ) as served:
        yield served


@pytest.fixture(scope="module")
def facility(scans, tmp_path_factory):
    with proposals(scans, tmp_path_factory.mktemp("facility"), 0.5) as served:
        yield served


ADDRESSES = [
    "/api/v1/array/full/{}/scan.hspy/signal/root?slice=1,2&format=application/x-blosc",
    "/api/v1/array/block/{}/scan.hspy/signal/root?block=1,2,0,0",
    "/zarr/v2/{}/scan.hspy/signal/root/1.2.0.0",
    "/zarr/v3/{}/scan.hspy/signal/root/c/1/2/0/0",
    "/zarr/v3/{}/scan.hspy/signal/root.zarr/0/c/1/2/0/0",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_same_bytes_under_another_address_need_their_own_right(facility, address):
    """Equal files have equal keys: what ben has had computed and been told the tag of is not cem's."""
    with logged_in(facility, "ben") as ben, logged_in(facility, "cem") as cem:
        his, hers = ben.get(address.format("one")), cem.get(address.format("two"))
        assert his.status_code == hers.status_code == 200
        assert his.content == hers.content
        assert his.headers["etag"] == hers.headers["etag"]
        for asked in ({}, {"If-None-Match": his.headers["etag"]}, {"If-None-Match": "*"}):
            for person, folder in ((ben, "two"), (cem, "one")):
                refused = person.get(address.format(folder), headers=asked)
                assert refused.status_code in (401, 403, 404)
                assert refused.headers.get("etag") != his.headers["etag"]
            with logged_in(facility, "nobody") as nobody:
                assert nobody.get(address.format("one"), headers=asked).status_code in (401, 404)


@pytest.mark.parametrize("address", [ADDRESSES[0], ADDRESSES[3]])
def test_a_revoked_key_is_of_no_use_after_the_time(facility, address):
    with logged_in(facility, "ben") as ben:
        secret = api_key(ben)
        with httpx.Client(base_url=facility.url, headers={"Authorization": f"Apikey {secret}"}) as client:
            before = facility.outer.answered
            assert client.get(address.format("one")).status_code == 200
            assert facility.outer.answered == before + 1
            ben.delete("/api/v1/auth/apikey", params={"first_eight": secret[:8]}).raise_for_status()
            until(lambda: client.get(address.format("one")).status_code != 200, 30)
            refused = client.get(address.format("one"), headers={"If-None-Match": "*"})
            assert refused.status_code in (401, 404)
