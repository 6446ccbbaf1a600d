"""An agent that opens as many requests as it can: it keeps no other agent out."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import threading
from pathlib import Path

import pytest

from reconciler.gateway.headers import FIELD_BYTES
from reconciler.gateway.open_requests import MANY
from reconciler.gateway.service import HEADS_BYTES_EACH
from tests.support import DEADLINE_S, Daemon, Site, copied, until
from tests.support_gateway import MODEL_IDS, OUTSIDER, ROBOT, asked
from tests.support_upstream import RawProvider, framed

FILES, PORT, EACH = 240, 60, 30
"""Of the files that may be open a port has a quarter as connections, and an agent half of those."""
DONE = framed(b'{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}')


def _asking(name: str, key: str) -> bytes:
    path, body = asked("chat", name)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _patient_provider() -> tuple[RawProvider, threading.Event]:
    """Give a provider that answers no model but the hidden one before the event."""
    go_on = threading.Event()
    provider = RawProvider()

    def answer(sock: socket.socket, request: bytes) -> None:
        if MODEL_IDS["hidden"].encode() not in request:
            go_on.wait(DEADLINE_S)
        sock.sendall(DONE)

    provider.answer = answer
    return provider, go_on


def test_agent_with_all_that_it_may_have_open_keeps_nobody_out(gateway_template: Site, tmp_path: Path) -> None:
    """Half of the connections is all that one agent gets; what it asks beyond is refused, and others are answered."""
    provider, go_on = _patient_provider()
    site = copied(gateway_template, tmp_path)
    with contextlib.closing(provider), Daemon(site, env=provider.environment, files=FILES) as daemon:
        port = int(re.findall(r"gateway for agents on http://\S+:(\d+)", daemon.log)[0])
        with contextlib.ExitStack() as stack:
            opened = []
            for _ in range(PORT):
                opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S)))
                opened[-1].sendall(_asking("openai", ROBOT))
            said = until("refusals", lambda: _readable(opened, PORT - EACH))
            assert {connection.recv(12) for connection in said} == {b"HTTP/1.1 503"}
            until("the others at the provider", lambda: len(provider.requests) == EACH)
            with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as other:
                other.sendall(_asking("hidden", OUTSIDER))
                assert other.recv(12) == b"HTTP/1.1 200"
            go_on.set()
            waiting = [connection for connection in opened if connection not in said]
            assert {connection.recv(12) for connection in waiting} == {b"HTTP/1.1 200"}


LARGE_HEADS = {
    "long": "".join(f"x-{number}: {'a' * 1000}\r\n" for number in range(60)),
    "many": "".join(f"x-{number}: {'a' * 50}\r\n" for number in range(190)),
}


@pytest.mark.parametrize("fields", LARGE_HEADS)
def test_agent_with_many_large_heads_has_room_for_some_of_them(
    gateway_template: Site, tmp_path: Path, fields: str
) -> None:
    """Each stays until its answer ends, and 2,000 were 400 MB. What finds no room is refused; others are answered.

    What a field takes beside its characters counts too.
    """
    provider, go_on = _patient_provider()
    site = copied(gateway_template, tmp_path)
    large = LARGE_HEADS[fields].encode()
    size = len(large) + FIELD_BYTES * large.count(b"\r\n")
    known = f"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-api-key: {ROBOT}\r\n\r\n".encode()
    with (
        contextlib.closing(provider),
        Daemon(site, env=provider.environment) as daemon,
        contextlib.ExitStack() as stack,
    ):
        port = int(re.findall(r"gateway for agents on http://\S+:(\d+)", daemon.log)[0])
        opened = []
        for _ in range(MANY + HEADS_BYTES_EACH // size + 20):
            opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S)))
            opened[-1].sendall(known)  # a stranger's large head takes many turns
            assert opened[-1].recv(65536).startswith(b"HTTP/1.1 200")
            opened[-1].sendall(_asking("openai", ROBOT).replace(b"\r\n\r\n", b"\r\n" + large + b"\r\n", 1))
        until("refusals", lambda: len(select.select(opened, (), (), 0)[0]) + len(provider.requests) == len(opened))
        said = select.select(opened, (), (), 0)[0]
        assert 10 < len(said) < 60
        assert {connection.recv(12) for connection in said} == {b"HTTP/1.1 503"}
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as other:
            other.sendall(_asking("hidden", OUTSIDER).replace(b"\r\n\r\n", b"\r\n" + large + b"\r\n", 1))
            assert other.recv(12) == b"HTTP/1.1 200"
        go_on.set()
        waiting = [connection for connection in opened if connection not in said]
        assert {connection.recv(12) for connection in waiting} == {b"HTTP/1.1 200"}


def _readable(connections: list[socket.socket], count: int) -> list[socket.socket]:
    found = select.select(connections, (), (), 0)[0]
    return found if len(found) == count else []
