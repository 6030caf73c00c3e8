"""Clients that need an environment of their own, each unmodified and in the version that is pinned here."""

import pytest

pytest.register_assert_rewrite("clients.nodes", "clients.zarrita")
