"""Ports for servers that are started and stopped by tests."""

from __future__ import annotations

import random
import socket


def free_port():
    """A port that no client of another test is given meanwhile: systems take those from above 32767."""
    while True:
        try:
            with socket.create_server(("127.0.0.1", random.randrange(20_000, 32_000))) as listening:  # noqa: S311
                return listening.getsockname()[1]
        except OSError:
            continue
