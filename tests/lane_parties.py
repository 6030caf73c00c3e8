"""Who may answer a request, behind one socket: the lane, the guard without it, plain tiled."""

from __future__ import annotations

import gzip
import http.client
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import blosc2
import lz4.block
import zstandard
from numcodecs.blosc import Blosc

ROOT = "/tools/spyde"
BLOSC = "application/x-blosc"
DECODERS = {
    "gzip": gzip.decompress,
    "zstd": lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
    "lz4": lz4.block.decompress,
    "blosc2": blosc2.decompress,
}


@dataclass(frozen=True)
class Asked:
    """A request, and where the app is mounted."""

    path: str
    query: str = ""
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    mounted: bool = False

    @property
    def address(self):
        path = quote(self.path, safe="/@=,:()")
        return f"{ROOT if self.mounted else ''}{path}{'?' if self.query else ''}{self.query}"


@dataclass(frozen=True)
class Answer:
    """Status, headers in small letters, and the octets before any encoding."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def octets(self):
        raw = self.raw
        if raw and (encoding := self.headers.get("content-encoding")):
            raw = DECODERS[encoding](raw)
        if raw and self.status == 200 and self.headers.get("content-type") == BLOSC:
            raw = bytes(Blosc().decode(raw))
        return raw

    @property
    def vary(self):
        return {name.strip().lower() for name in self.headers.get("vary", "").split(",")} - {""}


class Dispatch:
    """ASGI app that leaves a request to the one that it names; the lane answers at once what it can."""

    def __init__(self, **apps):
        self._apps = apps

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await self._apps[self._readdress(scope)](scope, receive, send)

    def at_once(self, scope):
        if (b"x-whom", b"lane") in scope["headers"]:
            return self._apps[self._readdress(scope)].at_once(scope)

    @staticmethod
    def _readdress(scope):
        """Take away who is to answer, and say where it is mounted."""
        whom = next((value for name, value in scope["headers"] if name == b"x-whom"), b"lane")
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"x-whom"]
        scope["root_path"] = ROOT if scope["path"].startswith(ROOT) else ""
        return whom.decode()


class Three:
    """Lane, guard and plain tiled over one tree, behind one socket: a header says who is to answer."""

    def __init__(self, url, outer):
        self.outer, self._url = outer, urlsplit(url)

    def ask(self, whom, asked):
        # A connection each: plain tiled breaks some off.
        connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=60)
        try:
            connection.putrequest(asked.method, asked.address, skip_accept_encoding=True)
            for name, value in {"X-Whom": whom, **asked.headers}.items():
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders()
            found = connection.getresponse()
            headers = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, headers, found.read())
        except (http.client.HTTPException, ConnectionError):
            if whom != "plain":
                raise
            return Answer(599, {}, b"")
        finally:
            connection.close()

    def lane(self, asked):
        """The answer, and whether tiled was not asked for it."""
        before = self.outer.answered
        answer = self.ask("lane", asked)
        return answer, self.outer.answered > before
