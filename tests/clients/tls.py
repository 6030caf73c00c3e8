"""The same server over TLS, as a reverse proxy would offer it: neuroglancer sends keys over nothing less."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import socket
import socketserver
import ssl
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"


class _Server(socketserver.ThreadingTCPServer):
    block_on_close = True
    daemon_threads = False


@contextmanager
def over_tls(url, folder):
    """Pass every connection on to the server at `url`; give the https address of that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(folder))
    upstream = (HOST, urlsplit(url).port)

    class PassOn(socketserver.BaseRequestHandler):
        def handle(self):
            # A browser opens connections that it never uses, and breaks off others.
            with suppress(OSError), socket.create_connection(upstream) as server:
                self.request.settimeout(60)
                with context.wrap_socket(self.request, server_side=True) as client:
                    back = Thread(target=_copy, args=(server, client))
                    back.start()
                    _copy(client, server)
                    back.join()

    with _Server((HOST, 0), PassOn) as relay:
        thread = Thread(target=relay.serve_forever)
        thread.start()
        try:
            yield f"https://{HOST}:{relay.server_address[1]}"
        finally:
            relay.shutdown()
            thread.join()


def _copy(source, target):
    with suppress(OSError):
        with source.makefile("rb", buffering=0) as reading, target.makefile("wb", buffering=0) as writing:
            shutil.copyfileobj(reading, writing)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _certificate(folder):
    """Write a certificate for this host, with its key; it is good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    plain = serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
