"""Requests as bytes on a socket: what no HTTP client would send."""

from __future__ import annotations

import io
import socket
from dataclasses import dataclass
from http.client import HTTPResponse

from conftest import KEY

RAW = "format=application/octet-stream"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool


def request(target, *headers, method="GET", version="1.1", body=b"", key=KEY):
    """The bytes of a request; what is no ASCII stands there as it is."""
    lines = [b" ".join((_bytes(method), _bytes(target), f"HTTP/{version}".encode())), b"Host: here"]
    if key:
        lines.append(f"Authorization: Apikey {key}".encode())
    return b"\r\n".join([*lines, *map(_bytes, headers)]) + b"\r\n\r\n" + body


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


class _Kept(io.BufferedReader):
    """What comes on a connection; not closed with an answer, for it may hold the beginning of the next."""

    def makefile(self, *_):
        return self

    def close(self):
        pass

    def end(self):
        super().close()


class Wire:
    """One connection, kept as long as the server keeps it.

    Parameters
    ----------
    url : str
        Of the server.
    """

    def __init__(self, url):
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = (host, int(port))
        self.connections = 0
        self._socket = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, raw):
        """Send bytes, and return the answer to them."""
        self.send(raw)
        method = raw.split(b" ", 1)[0].decode("latin-1")
        return self.receive("HEAD" if method == "HEAD" else "GET")

    def send(self, raw):
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
            self._coming = _Kept(socket.SocketIO(self._socket, "r"))
            self.connections += 1
        self._socket.sendall(raw)

    def peek(self):
        """Return some of what has come, and leave it there."""
        return self._coming.peek()

    def receive(self, method="GET"):
        """Return one answer, and close where it says so; ConnectionError where there is none."""
        got = HTTPResponse(self._coming, method=method)
        got.begin()
        body = got.read()
        answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, body, got.will_close)
        if answer.closed:
            self.close()
        return answer

    def close(self):
        if self._socket is not None:
            self._coming.end()
            self._socket.close()
            self._socket = None
