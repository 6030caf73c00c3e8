"""What a client may take of a server without asking for anything: real sockets, bounds made small."""

from __future__ import annotations

import json
import resource
import socket
from contextlib import ExitStack, contextmanager
from threading import Event, Thread

import httpx
import pytest
from conftest import until

from tiled_spyde.server import Limits, allow_many_connections, server

LARGE = 64 * 2**20
# Nothing is due while a test does not wait for it.
NEVER = {"head_seconds": 600, "body_seconds": 600, "answer_seconds": 600}


async def app(scope, receive, send):
    """`/echo` gives the body back, `/large` gives more than any socket holds, all else its path."""
    if scope["type"] == "lifespan":
        return
    body = scope["path"].encode()
    if scope["path"] == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
    for _ in range(64 if scope["path"] == "/stream" else 0):
        await send({"type": "http.response.body", "body": bytes(LARGE // 64), "more_body": True})
    body = bytes(LARGE) if scope["path"] == "/large" else body
    await send({"type": "http.response.body", "body": body})


@contextmanager
def running(held=None, **limits):
    """Serve `app` with these limits; gives the server and its address.

    `held` is how many bytes the system holds of what a client has not taken; it decides itself otherwise.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    if held:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, held)
    serves = server(app, limits=Limits(**{**NEVER, **limits}))
    thread = Thread(target=serves.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: serves.started)
        yield serves, listening.getsockname()
    finally:
        serves.should_exit = True
        thread.join()


@contextmanager
def connected(address, sent=b"", held=None):
    with socket.socket() as client:
        client.settimeout(30)
        if held:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, held)
        client.connect(address)
        client.sendall(sent)
        yield client


def all_of(client):
    """All that comes until the server closes."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def refused_with(answer, status):
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 %d " % status) and json.loads(body)["detail"]


def is_served(address):
    """Whether a request is answered; on a busy machine it may itself have been too slow for small bounds."""

    def answered():
        try:
            return httpx.get("http://{}:{}/hello".format(*address)).text == "/hello"
        except httpx.TransportError:
            return False

    until(answered)
    return True


def test_half_sent_heads_and_silent_sockets_are_closed_while_others_are_served():
    allow_many_connections()
    with running(head_seconds=2) as (_, address), ExitStack() as stack:
        half = [
            stack.enter_context(connected(address, b"GET / HTTP/1.1\r\nHost: me\r\n")) for _ in range(100)
        ]
        silent = [stack.enter_context(connected(address)) for _ in range(200)]
        assert is_served(address)
        assert all(refused_with(all_of(client), 408) for client in half)
        assert all(all_of(client) == b"" for client in silent)
        assert is_served(address)


@pytest.mark.parametrize("before", [b"", b"GET /first HTTP/1.1\r\nHost: me\r\n\r\n"])
def test_a_head_that_trickles_in_counts_from_its_beginning(before):
    with running(head_seconds=2) as (_, address), connected(address, before) as client:
        received = b""
        if before:
            while b"/first" not in received:
                part = client.recv(65536)
                assert part
                received += part
        client.settimeout(0.02)
        sent = False
        for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 5000:  # a minute and a half
            try:
                client.sendall(bytes([byte]))
                sent = True
                if not (received := client.recv(65536)):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
            if b"408" in received:
                break
        else:
            pytest.fail("it was let go on for ever")
        assert sent


def test_a_body_that_trickles_in_is_not_waited_for():
    head = b"POST /echo HTTP/1.1\r\nHost: me\r\nContent-Length: 1000\r\n\r\nsome"
    with running(body_seconds=0.5) as (serves, address), connected(address, head) as client:
        assert refused_with(all_of(client), 408)
        until(lambda: not serves.server_state.tasks)


@pytest.mark.parametrize("path", ["/large", "/stream"])
def test_an_answer_that_nobody_takes_is_given_up(path):
    asked = b"GET %s HTTP/1.1\r\nHost: me\r\n\r\n" % path.encode()
    with running(answer_seconds=0.5) as (serves, address), connected(address, asked):
        until(lambda: serves.server_state.total_requests or serves.server_state.tasks)
        until(lambda: not serves.server_state.connections and not serves.server_state.tasks)


@pytest.mark.parametrize("path", ["/large", "/stream"])
def test_an_answer_that_is_taken_slowly_is_complete(path):
    """In minutes, of which each brings a little; the time is told to the connection here."""
    asked = b"GET %s HTTP/1.1\r\nHost: me\r\nConnection: close\r\n\r\n" % path.encode()
    with (
        running(answer_seconds=60, held=2**16) as (serves, address),
        connected(address, asked, 2**16) as client,
    ):
        serves._ticks = 10**9  # it does not look itself
        until(lambda: serves.server_state.total_requests or serves.server_state.tasks)
        (connection,) = serves.server_state.connections
        total, looks = 0, []

        def look(looked):
            """Forty seconds later, in which the client has taken a megabyte."""
            taken, size = connection._drained, connection.transport.get_write_buffer_size()
            if not looks or taken > looks[-1][0] or size <= looks[-1][1] - 2**20:
                looks.append((taken, size))
                connection.look(connection.loop.time() + 40 * len(looks))
            looked.set()

        while part := client.recv(2**20):
            total += len(part)
            if len(looks) < 20:  # each of which the client waits for, lest it takes all meanwhile
                connection.loop.call_soon_threadsafe(look, looked := Event())
                assert looked.wait(30)
        assert total > LARGE
        assert len(looks) == 20


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: me\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: me\r\nX-Much: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: me\r\n" + b"X-Y: z\r\n" * 15_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: me\r\nX-Endless: " + b"x" * 1_000_000, 431),
        (b"what is this?\r\n\r\n", 400),
    ],
)
def test_a_head_that_is_too_long_or_none_is_refused(head, status):
    with running() as (_, address), connected(address) as client:
        writer = Thread(target=_send, args=(client, head))
        writer.start()
        assert refused_with(all_of(client), status)
        writer.join()
        assert is_served(address)


def _send(client, data):
    try:
        client.sendall(data)
    except OSError:
        pass  # refused meanwhile


def test_what_is_within_bounds_is_served():
    with running() as (_, address), httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        assert client.get("/" + "x" * 50_000).status_code == 200
        assert client.get("/", headers={"X-Much": "x" * 50_000}).status_code == 200
        body = bytes(range(256)) * 4000  # a megabyte, no head
        assert client.post("/echo", content=body).content == body
        assert client.get("/again").text == "/again"


def test_more_connections_than_there_may_be_are_told_to_come_again():
    with running(connections=2) as (serves, address), ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connected(address))
        until(lambda: len(serves.server_state.connections) == 2)
        with connected(address) as client:
            answer = all_of(client)
            assert refused_with(answer, 503)
            assert b"retry-after:" in answer
        until(lambda: len(serves.server_state.connections) == 2)
        stack.close()
        until(lambda: not serves.server_state.connections)
        assert is_served(address)


def test_descriptors_are_as_many_as_may_be():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard) - 1, hard))
        allow_many_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
