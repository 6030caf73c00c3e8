"""Two clients that keep their connection: a bare socket, and httpx as Python users have it."""

from __future__ import annotations

import socket
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from benchmarks.servers import KEY


class Client(Protocol):
    """Asks for one path after the other."""

    def get(self, path: str) -> bytes: ...

    def close(self) -> None: ...


class SocketClient:
    """Sends a prepared head, reads the head and as many bytes as it names: almost free of cost itself."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f" HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Apikey {KEY}\r\nAccept: */*\r\n\r\n"
        )

    def get(self, path: str) -> bytes:
        self._socket.sendall(f"GET {path}{self._head}".encode())
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head, body = bytes(received[:end]), received[end + 4 :]
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{path}: {head[:200]!r} {bytes(body[:300])!r}")
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        while len(body) < length:
            body += self._more()
        return bytes(body)

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        more = self._socket.recv(1 << 20)
        if not more:
            raise RuntimeError("the server closed the connection")
        return more


class HttpxClient:
    """One `httpx.Client`."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Apikey {KEY}"}, timeout=60)

    def get(self, path: str) -> bytes:
        return self._client.get(path, headers={"Accept-Encoding": "identity"}).raise_for_status().content

    def close(self) -> None:
        self._client.close()


CLIENTS: dict[str, type[SocketClient] | type[HttpxClient]] = {"socket": SocketClient, "httpx": HttpxClient}
