"""Clients that leave: whatever they leave in the middle of is resolved, and nothing stays reserved.

PAI_CANCELS sets how many streams are left (default 300), PAI_SEED the dice.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from reconciler.simulator import Fault
from tests.support import DEADLINE_S, until
from tests.support_gateway import PAIRS, Bench, asked, assert_books_balance, headers_of

CANCELS = int(os.environ.get("PAI_CANCELS", "300"))
CLIENTS = 16
LINGER = struct.pack("ii", 1, 0)
"""Close with a reset, as a process that is killed does."""


def leave(bench: Bench, dice: random.Random) -> None:
    """Ask for a stream, and leave at some moment: before it is whole, before the answer, within it, or at its end."""
    operation, name = dice.choice(PAIRS)
    path, body = asked(operation, name, "word " * 20, stream=True, limit=30)
    data = json.dumps(body).encode()
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers_of(operation).items())
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {len(data)}\r\n\r\n"
    whole = head.encode() + data
    with socket.create_connection(("127.0.0.1", bench.port), DEADLINE_S) as connection:
        if dice.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        connection.sendall(whole[: dice.randrange(len(whole))] if dice.random() < 0.1 else whole)
        left = dice.choice((0, 1, 200, 600, 2000))
        connection.settimeout(0.5)
        while left > 0:
            try:
                piece = connection.recv(min(left, 65536))
            except TimeoutError:  # what was sent was not whole
                return
            if not piece:
                return
            left -= len(piece)


def test_streams_that_clients_leave_leak_nothing(own: Bench) -> None:
    """Thousands of clients leave; at the end nothing is open, and what providers charged is counted."""
    dice = random.Random(os.environ.get("PAI_SEED", "5"))  # noqa: S311
    own.simulator.fault(Fault(delay_s=0.002, times=CANCELS))
    seeds = [dice.random() for _ in range(CANCELS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in pool.map(lambda seed: leave(own, random.Random(seed)), seeds):  # noqa: S311
            pass
    until("nothing to be reserved", lambda: not any(own.reserved().values()))
    assert_books_balance(own)
    assert "Traceback" not in own.daemon.log
