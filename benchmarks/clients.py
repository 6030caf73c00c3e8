"""Two clients that keep their connection: a bare socket, and httpx as Python users have it."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx

from benchmarks.servers import KEY


class Answer(NamedTuple):
    """Status, entity tag as it was sent, and body."""

    status: int
    etag: str
    body: bytes


class Client(Protocol):
    """Asks for one path after the other."""

    def get(self, path: str) -> bytes: ...

    def ask(self, path: str, etag: str = "") -> Answer: ...

    def close(self) -> None: ...


class SocketClient:
    """Sends a prepared head, reads the head and as many bytes as it names: almost free of cost itself."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f" HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Apikey {KEY}\r\nAccept: */*\r\n"

    def get(self, path: str) -> bytes:
        """Return the body of an answer that must be 200."""
        status, _, body = self.ask(path)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {body[:300]!r}")
        return body

    def ask(self, path: str, etag: str = "") -> Answer:
        self.send(path, etag)
        return self.receive()

    def send(self, path: str, etag: str = "") -> None:
        condition = f"If-None-Match: {etag}\r\n" if etag else ""
        self.socket.sendall(f"GET {path}{self._head}{condition}\r\n".encode())

    def receive(self) -> Answer:
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head, body = bytes(received[:end]), received[end + 4 :]
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        status = int(head[9:12])
        while status != 304 and len(body) < int(length[1] if length else 0):
            body += self._more()
        etag = re.search(rb"\r\netag: *([^\r]*)", head, re.IGNORECASE)
        return Answer(status, etag[1].decode() if etag else "", bytes(body))

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> bytes:
        more = self.socket.recv(1 << 20)
        if not more:
            raise RuntimeError("the server closed the connection")
        return more


class HttpxClient:
    """One `httpx.Client`."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Apikey {KEY}"}, timeout=60)

    def get(self, path: str) -> bytes:
        return self._client.get(path, headers={"Accept-Encoding": "identity"}).raise_for_status().content

    def ask(self, path: str, etag: str = "") -> Answer:
        condition = {"If-None-Match": etag} if etag else {}
        answer = self._client.get(path, headers={"Accept-Encoding": "identity", **condition})
        return Answer(answer.status_code, answer.headers.get("etag", ""), answer.content)

    def close(self) -> None:
        self._client.close()


CLIENTS: dict[str, type[SocketClient] | type[HttpxClient]] = {"socket": SocketClient, "httpx": HttpxClient}
