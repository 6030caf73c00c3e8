"""API keys on the straight lane end when tiled says so. Each test has a server: tiled bears one at a time."""

from __future__ import annotations

import httpx
import pytest
from conftest import until
from test_lane_rights import ADDRESSES, proposals
from test_rights import api_key, logged_in


@pytest.mark.parametrize(("seconds", "lasts"), [(0, 3600), (3600, 6)])
def test_a_key_is_good_for_as_long_as_tiled_says(scans, tmp_path, seconds, lasts):
    """Not a moment longer where nothing is remembered, and not beyond its own end however long rights are."""
    address = ADDRESSES[3].format("one")
    with proposals(scans, tmp_path, seconds) as served, logged_in(served, "ben") as ben:
        secret = api_key(ben, expires_in=lasts)
        with httpx.Client(base_url=served.url, headers={"Authorization": f"Apikey {secret}"}) as client:
            assert client.get(address).status_code == 200
            assert served.outer.answered == 1
            if lasts == 3600:
                ben.delete("/api/v1/auth/apikey", params={"first_eight": secret[:8]}).raise_for_status()
                assert client.get(address).status_code in (401, 404)
            until(lambda: client.get(address).status_code in (401, 404), 30)
