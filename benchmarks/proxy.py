"""A network that is far away: passes bytes on after a delay, as many as come (``python -m benchmarks.proxy``).

``python -m benchmarks.proxy HOST PORT MILLISECONDS`` prints its own URL and passes on, each way late by as much.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_AT_ONCE = 1 << 20


class Proxy:
    """Delays what passes, without limiting how much passes.

    Parameters
    ----------
    host, port : str, int
        Where connections lead.
    delay : float
        Seconds that each byte is late, in each direction.
    """

    def __init__(self, host: str, port: int, delay: float) -> None:
        self._host, self._port, self._delay = host, port, delay

    async def serve(self, listening: socket.socket) -> None:
        async with await asyncio.start_server(self._connect, sock=listening) as server:
            await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            there, back = await asyncio.open_connection(self._host, self._port)
            for stream in (writer, back):
                stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with closing(back):
                ways = [self._pass(reader, back), self._pass(there, writer)]
                tasks = [asyncio.ensure_future(way) for way in ways]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # either end hangs up for both
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Read at once and write later: bytes are on the way, as in a cable."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.ensure_future(self._arrive(under_way, target))
        try:
            clock = asyncio.get_running_loop().time
            while data := await source.read(MOST_AT_ONCE):
                under_way.put_nowait((clock() + self._delay, data))
            under_way.put_nowait((clock() + self._delay, b""))
            await arriving
        finally:
            arriving.cancel()

    async def _arrive(
        self, under_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await under_way.get()
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            if not data:
                return
            target.write(data)


@contextmanager
def far_away(url: str, milliseconds: float) -> Iterator[str]:
    """Start a proxy before `url` in a process of its own, and give its URL."""
    host, port = url.removeprefix("http://").split(":")
    command = [sys.executable, "-m", "benchmarks.proxy", host, port, str(milliseconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    host, port, milliseconds = sys.argv[1:]
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    asyncio.run(Proxy(host, int(port), float(milliseconds) / 1e3).serve(listening))


if __name__ == "__main__":
    main()
