"""Clients of the HTTP API that ask for much and read next to nothing: what the daemon keeps for them is bounded."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path
from typing import Any

from reconciler.core import events as ev
from tests.acceptance.test_api import Served, following, token_of
from tests.support import Daemon, Site
from tests.support_tokens import record


def test_answers_that_nobody_takes_do_not_fill_the_memory(team: Site) -> None:
    """One token asks for large ones and reads nothing: few are made at a time, and another token is still answered."""
    record(team, *large(32, 500_000))
    with team.daemon() as daemon, contextlib.ExitStack() as open_ones:
        token = team.pai("add", "key", "--admin", "ann").out.strip()
        served = Served(team, daemon, token_of(team))
        assert len(served.ask("/api/v1/agents")[2]) > 16_000_000
        before = peak_kb(daemon)
        for path in ("agents", "state", "events?limit=1000") * 8:
            open_ones.enter_context(asked(served._replace(token=token), path))
            time.sleep(0.25)
            assert served.ask("/api/v1/agents/my-agent")[0] == 200
        assert peak_kb(daemon) - before < 150_000


def peak_kb(daemon: Daemon) -> int:
    """Give the most memory that the daemon had."""
    (found,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{daemon.process.pid}/status").read_text())
    return int(found)


def large(number: int, size: int) -> list[ev.Draft]:
    """Draft so many agents of so many bytes."""
    parts: dict[str, Any] = {"file": "big.yaml", "line": 1, "revision": "a" * 40}
    spec = {"modelBindings": ["flash"], "text": "x" * size}
    payload = ev.AgentCreated(spec=spec, previous=None, changed=[], **parts)
    return [ev.Draft("a", f"agent/big{n}", payload) for n in range(number)]


def asked(served: Served, path: str, **headers: str) -> socket.socket:
    """Ask on a connection of its own, whose end takes no more than it has to."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    client.connect(("127.0.0.1", served.daemon.port))
    sent = {"Host": "127.0.0.1", "Authorization": f"Bearer {served.token}", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    client.sendall(f"GET /api/v1/{path} HTTP/1.1\r\n{lines}\r\n".encode())
    return client


def test_followers_do_not_fill_the_memory(team: Site) -> None:
    """Neither what some have not read, nor what is kept of the file for those who have read everything."""
    first = record(team, *large(24, 900_000))
    with team.daemon() as daemon, contextlib.ExitStack() as open_ones:
        ann = Served(team, daemon, team.pai("add", "key", "--admin", "ann").out.strip())
        served = Served(team, daemon, token_of(team))
        seen = {"Last-Event-ID": str(first - 1)}
        before = peak_kb(daemon)
        for _ in range(8):
            client = open_ones.enter_context(asked(ann, "events?follow=1", **seen))
            assert b" 200 " in client.recv(64)
        for _ in range(8):
            messages = open_ones.enter_context(following(served, "type:agent", **seen))
            assert [int(next(messages)["id"]) for _ in range(24)] == list(range(first, first + 24))
        assert peak_kb(daemon) - before < 120_000


def test_answer_that_would_be_too_large_is_refused_with_a_way_to_ask_for_less(team: Site) -> None:
    """Whatever lists objects: nobody's state is put into memory as a whole because somebody asks."""
    record(team, *large(40, 900_000))
    with team.daemon() as daemon:
        served = Served(team, daemon, token_of(team))
        for path in ("agents", "state", "agents?at=0s", "state?at=0s"):
            told = served.get(f"/api/v1/{path}", 400)
            assert "more than 33,554,432 bytes" in told["error"]
            assert "by its name" in told["hint"]
        assert served.get("/api/v1/agents/big39")["metadata"]["name"] == "big39"
        assert served.get("/api/v1/models")["items"]
        assert served.ask("/api/v1/agents", method="HEAD")[0] == 400
