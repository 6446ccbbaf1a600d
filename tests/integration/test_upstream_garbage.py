"""Answers with random damage: each ends, as an answer or as lost, and never spoils the next one."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
from collections import Counter

import pytest

from reconciler.gateway.connection import Lost
from tests.support_upstream import HI, OK, Server, asked, pool, run, serving

CASES = 250
PACKED = gzip.compress(b"x" * 1000, mtime=0)
WHOLE = (
    OK + b"content-length: 20\r\n\r\n" + b"a" * 20,
    OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n",
    OK + b"\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HI,
    OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(PACKED) + PACKED,
)
PUT_IN = (
    b"\r\n",
    b"\n",
    b"\0",
    b"0",
    b"content-length: 3\r\n",
    b"transfer-encoding: chunked\r\n",
    b"HTTP/1.1 101 X\r\n\r\n",
)


def damaged(chance: random.Random) -> bytes:
    """Change, take out or put in a few bytes."""
    answer = bytearray(chance.choice(WHOLE))
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(answer))
        match chance.randrange(3):
            case 0:
                answer[at] = chance.randrange(256)
            case 1:
                del answer[at : at + chance.randrange(1, 8)]
            case _:
                answer[at:at] = chance.choice(PUT_IN)
    return bytes(answer)


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_answers_end_and_leave_nothing_behind(seed: int) -> None:
    """Nothing but Lost is raised, nothing waits for ever, and the next request has its own answer."""
    chance, server, ways = random.Random(seed), Server(), Counter[str]()  # noqa: S311 (only damage)
    answer = b""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.request(reader):
            cut = chance.randrange(len(answer) + 1)
            for piece in (answer[:cut], answer[cut:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                return

    async def work() -> None:
        nonlocal answer
        async with serving(handler, server), pool(read_s=0.05) as client:
            for _ in range(CASES):
                answer = damaged(chance)
                try:
                    async with asyncio.timeout(5):
                        await asked(client, server.url)
                    ways["answered"] += 1
                except Lost as error:
                    ways[str(error)] += 1
                answer = OK + b"content-length: 4\r\nconnection: close\r\n\r\nnext"
                with contextlib.suppress(Lost):  # the connection was ended just before it was used
                    assert (await asked(client, server.url))[1] == b"next"
                    ways["next"] += 1

    run(work())
    assert ways["next"] > CASES / 2
    assert min(ways[way] for way in ("answered", "its answer is no HTTP", "it took too long")) > CASES / 50
