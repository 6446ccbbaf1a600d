"""TLS with providers over real sockets: whom it trusts, and that no byte is lost in it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.gateway.connection import BUFFER_BYTES_MAX
from reconciler.gateway.upstream import Unsent
from tests.support_upstream import HI, OK, Server, asked, pool, run, serving


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate of 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, private, serialization.NoEncryption()))
    return path


def test_certificate_decides_who_is_sent_anything(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody vouches for is sent nothing; one that the operator's own bundle names works, and is kept."""

    async def work() -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
        server = Server()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await server.request(reader):
                writer.write(HI)

        async with serving(handler, server, tls):
            async with pool() as client:
                with pytest.raises(Unsent, match="certificate is not trusted"):
                    await client.post(server.url, {}, b"")
            assert server.requests == []
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            async with pool() as client:
                for _ in range(3):
                    assert await asked(client, server.url) == (200, b"hi")
                (kept,) = client._open
                assert kept._transport.get_read_buffer_limits()[1] <= BUFFER_BYTES_MAX  # beside what it holds itself
            assert len(server.requests) == 3

    run(work())


def _settings(certificate: Path) -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    return tls


def _once(serve: Callable[[socket.socket], None]) -> str:
    """Serve one connection on a thread, and give the URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with listening, listening.accept()[0] as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(sock)

    threading.Thread(target=accept, daemon=True).start()
    return f"https://127.0.0.1:{listening.getsockname()[1]}/v1"


@pytest.mark.parametrize("size", [5000, 7000, 9000, 12000])
@pytest.mark.parametrize("framed", [True, False])
def test_end_of_an_answer_is_not_lost_with_its_connection(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, size: int, framed: bool
) -> None:
    """A provider may close at once behind its last word, while what it said before is not taken yet."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def serve(sock: socket.socket) -> None:
        with _settings(certificate).wrap_socket(sock, server_side=True) as ours:
            ours.recv(65536)
            ours.sendall(OK + b"content-length: %d\r\n" % size * framed + b"connection: close\r\n\r\n")
            for _ in range(size // 500):
                ours.sendall(b"x" * 500)
                time.sleep(0.005)

    async def work() -> None:
        async with pool() as client:
            answer = await client.post(_once(serve), {}, b"{}")
            taken = len(await answer.read())
            await asyncio.sleep(0.3)  # all comes, and the connection ends
            while piece := await answer.read():
                taken += len(piece)
            assert taken == size

    run(work())
