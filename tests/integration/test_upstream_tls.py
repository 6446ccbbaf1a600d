"""TLS with providers over real sockets: whom it trusts, what it refuses to compute, and that no byte is lost in it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from unittest.mock import create_autospec

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.gateway.ciphered import CipheredConnection
from reconciler.gateway.connection import BUFFER_BYTES_MAX, Lost
from reconciler.gateway.pace import LoopShare
from reconciler.gateway.room import Room
from reconciler.gateway.tls import client_context
from reconciler.gateway.upstream import Unsent
from tests.support_upstream import HI, OK, Server, asked, pool, run, serving

HELLO_AGAIN = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""RFC 8446 4.1.3: the random bytes of a hello that asks for another one."""


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


def _records(message: bytes, size: int) -> bytes:
    """Cut a message of the handshake into records of a size."""
    pieces = (message[at : at + size] for at in range(0, len(message), size))
    return b"".join(b"\x16\x03\x03" + len(piece).to_bytes(2) + piece for piece in pieces)


@pytest.mark.parametrize("group", [0x0100, 0x0104])
@pytest.mark.parametrize("before", [b"", b"\x14\x03\x03\x00\x01\x01"])
@pytest.mark.parametrize("size", [16384, 1])
def test_keys_in_a_finite_field_are_not_made(group: int, before: bytes, size: int) -> None:
    """A provider that asks for a hello with such keys gets none, however it cuts its words: they take 0.1 s each."""
    heard = SimpleQueue[bytes]()

    def serve(sock: socket.socket) -> None:
        hello = sock.recv(65536)
        session = hello[44 : 44 + hello[43]]
        extensions = bytes.fromhex("002b0002030400330002") + group.to_bytes(2)
        said = b"\x03\x03" + HELLO_AGAIN + bytes((len(session),)) + session + b"\x13\x01\x00"
        said += len(extensions).to_bytes(2) + extensions
        sock.sendall(before + _records(b"\x02" + len(said).to_bytes(3) + said, size))
        try:
            heard.put(sock.recv(65536))
        except ConnectionError:  # a reset says nothing either
            heard.put(b"")

    async def work() -> None:
        async with pool() as client:
            with pytest.raises(Unsent, match="keys in a finite field"):
                await client.post(_once(serve), {}, b"{}")

    run(work())
    assert len(heard.get(timeout=10)) < 100  # a word of farewell at most, and no second hello


def test_greeting_has_an_end() -> None:
    """A first message that comes bit by bit is not kept without a bound."""

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(_records(b"\x02\x00\x40\x00" + bytes(2000), 1))
        sock.recv(65536)

    async def work() -> None:
        async with pool() as client:
            with pytest.raises(Unsent, match="its greeting is too long"):
                await client.post(_once(serve), {}, b"{}")

    run(work())


def test_nothing_that_takes_long_is_offered() -> None:
    """No cipher whose keys are of a finite field of the server's choice, and no second handshake on a connection."""
    tls = client_context()
    assert {cipher["kea"] for cipher in tls.get_ciphers()} <= {"kx-any", "kx-ecdhe"}
    assert tls.options & ssl.OP_NO_RENEGOTIATION
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


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


def test_provider_that_says_farewell_is_trusted_as_before(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection may end in the moment in which it would be used: that is no answer that nobody asked for."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    said = threading.Event()

    def serve(sock: socket.socket) -> None:
        with _settings(certificate).wrap_socket(sock, server_side=True) as ours:
            ours.recv(65536)
            ours.sendall(HI)
            said.wait(5)
            ours.settimeout(0.1)
            with contextlib.suppress(OSError):
                ours.unwrap()

    async def work() -> None:
        async with pool() as client:
            url = _once(serve)
            assert await asked(client, url) == (200, b"hi")
            said.set()
            time.sleep(0.3)  # the loop does not hear the farewell
            with pytest.raises(Unsent):  # nobody listens any more
                await client.post(url, {}, b"{}")
            (origin,) = client._idle
            assert client._keeps(origin)

    run(work())


def test_what_gives_nothing_to_read_has_an_end(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tickets of sessions, thousands of them, are no answer."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = _settings(certificate)
    tls.num_tickets = 2000

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(HI)

    async def work() -> None:
        async with serving(handler, Server(), tls) as server, pool() as client:
            with pytest.raises(Lost, match="it sends what is no answer"):
                await asked(client, server.url)

    run(work())


def test_large_records_that_come_slowly_are_an_answer(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a record can be read until it is whole."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def serve(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = _settings(certificate).wrap_bio(incoming, outgoing, server_side=True)
        for step in (ours.do_handshake, lambda: ours.read(65536)):
            while True:
                try:
                    step()
                    break
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
        ours.write(OK + b"content-length: 48000\r\n\r\n")
        for _ in range(3):
            ours.write(b"x" * 16000)
        sent = outgoing.read()
        for at in range(0, len(sent), 100):
            sock.sendall(sent[at : at + 100])
            time.sleep(0.001)
        sock.recv(1)

    async def work() -> None:
        async with pool() as client:
            assert await asked(client, _once(serve)) == (200, b"x" * 48000)

    run(work())


def test_nothing_is_deciphered_before_its_turn() -> None:
    """While the time for what comes is used up, TLS waits as it came, and then its agents take turns."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        parsing, buffer = LoopShare(), memoryview(bytearray(100))
        read = []
        for agent in ("one", "one", "two"):
            one = CipheredConnection(loop, 5.0, lambda _: None, lambda _: None, buffer, Room(), parsing)
            one.agent = agent
            transport = create_autospec(asyncio.Transport, instance=True)
            side = create_autospec(ssl.SSLObject, instance=True)
            transport.get_extra_info.side_effect = {"ssl_object": side}.get
            transport.is_closing.return_value = False

            def resume(one: CipheredConnection = one, agent: str = agent) -> None:
                read.append((agent, len(one.get_buffer(40))))

            transport.resume_reading.side_effect = resume
            one.connection_made(transport)
            parsing.took(0.1)
            assert len(one.get_buffer(40)) == 0
            transport.pause_reading.assert_called_once()
            assert not one.end()
        while len(read) < 3:
            await asyncio.sleep(0.01)
        assert read == [("one", 100), ("two", 100), ("one", 100)]

    run(work())
