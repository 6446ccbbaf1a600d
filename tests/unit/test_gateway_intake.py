"""Which bodies the loop takes apart itself, and which go into a spool for another process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconciler.gateway import open_requests
from reconciler.gateway.intake import Intake
from reconciler.gateway.room import Room
from reconciler.gateway.spool import Spool


def read(body: bytes, *, many: bool = False) -> bytes | Spool:
    """Give a body of an agent as it is read."""

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    headers = [(b"content-length", b"%d" % len(body))]
    return asyncio.run(Intake(Room(), receive).read(headers, "robot", many=many))


@pytest.mark.parametrize(
    "body",
    [
        b"\\u00e9" * 3000,
        "é".encode() * 9000,
        b"{" * 3000,
        b"a" * 70_000,
        b'{"data":""}' * 200,
        b'{"$ref":"#"}' * 700,
        b'{"d\\u0061ta":""}' * 200,
        b" " * 30_000,
        b"111111111111111 " * 2000,
    ],
)
def test_body_that_would_keep_others_waiting_is_judged_elsewhere(body: bytes) -> None:
    """Signs beyond ASCII take a hundred times as long as plain ones: 64 KiB of them held the loop for 40 ms."""
    found = read(body)
    assert isinstance(found, Spool)
    assert found.size == len(body)
    found.close()


@pytest.mark.parametrize(
    "body",
    [
        b"\\u00e9" * 300,
        "é".encode() * 3000,
        b"{" * 300,
        b"a\\n" * 20_000,
        b'{"data":""}' * 90,
        b'{"$ref":"#/$defs/a"}' * 300,
        b'{"text":""}' * 900,
        b"data" * 900,
        b"some words " * 5000,
    ],
)
def test_usual_small_body_is_judged_at_once(body: bytes) -> None:
    """It costs less than asking another process."""
    assert read(body) == body


def test_body_of_an_agent_with_many_requests_is_kept_elsewhere_unless_it_is_tiny() -> None:
    """2,048 times 64 KiB took 170 MB of the daemon's memory."""
    found = read(b"a" * 10_000, many=True)
    assert isinstance(found, Spool)
    found.close()
    assert read(b"a" * 8000, many=True) == b"a" * 8000
    requests = open_requests.OpenRequests(1000)
    for _ in range(open_requests.MANY):
        requests.enter("robot")
    assert not requests.many("robot")
    requests.enter("robot")
    assert requests.many("robot")
    assert not requests.many("other")
