"""Everything at once: many agents, failing providers, leaving clients, pushes and kills, on budgets that run out.

PAI_SEED sets the dice, PAI_CHAOS_S how long it goes on between two kills (default 2).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from reconciler.simulator import Fault
from tests.support import DEADLINE_S, Git
from tests.support_gateway import PAIRS, PROVIDERS, Bench, asked, assert_books_balance, bound, headers_of

SEED = os.environ.get("PAI_SEED", "11")
CHAOS_S = float(os.environ.get("PAI_CHAOS_S", "2"))
ROUNDS = 2
AGENTS = 8
FAULTS = (
    Fault(refuse=True),
    Fault(cut_after=0),
    Fault(cut_after=4),
    Fault(usage="none"),
    Fault(usage="twice"),
    Fault(garbage=True),
    Fault(error_after=3),
    Fault(status=429),
    Fault(status=500),
    Fault(status=302),
    Fault(length=30),
    Fault(length=-30),
    Fault(gzip=True),
    Fault(delay_s=0.02),
    Fault(wait_s=0.2),
    Fault(stall_after=1, stall_s=60),
)


def request(dice: random.Random) -> bytes:
    """Give the bytes of some request, perhaps with an alternative, a tool or several choices."""
    operation, name = dice.choice(PAIRS)
    stream = dice.random() < 0.6
    say = "word " * dice.choice((1, 1, 20, 400))
    path, body = asked(operation, name, say, stream=stream, limit=dice.choice((None, 1, 30, 500, 10**6)))
    if operation == "chat" and dice.random() < 0.3:
        body["n"] = dice.choice((1, 2, 5))
    headers = headers_of(operation)
    if dice.random() < 0.3:
        headers["x-pai-fallback"] = ",".join(dice.sample(PROVIDERS, 2))
    data = json.dumps(body).encode()
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{lines}connection: close\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def act(bench: Bench, seed: str, ending: threading.Event) -> int:
    """Send requests until the end; leave some before they are whole, and some in the middle of their answer."""
    dice = random.Random(seed)  # noqa: S311
    port = bench.port
    sent = 0
    while not ending.is_set():
        if dice.random() < 0.4:
            bench.simulator.fault(dice.choice(FAULTS))
        data = request(dice)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connection:
            connection.sendall(data if dice.random() < 0.9 else data[: dice.randrange(len(data))])
            left = dice.choice((0, 1, 300, 10**9, 10**9, 10**9))
            while left and (piece := connection.recv(min(left, 65536))):
                left -= len(piece)
        sent += 1
    return sent


def push(git: Git, dice: random.Random, ending: threading.Event) -> None:
    """Change budgets until the end."""
    while not ending.wait(0.3):
        days = {name: dice.choice((3_000, 20_000, 60_000)) for name in PROVIDERS}
        git.pushed({f"models/{name}.yaml": bound(name, name, day=day) for name, day in days.items()})


def test_books_balance_whatever_happens(own: Bench) -> None:
    """After rounds of everything at once, each ended by `kill -9`, nothing is open, over, uncounted or unrecorded."""
    dice = random.Random(SEED)  # noqa: S311
    git = own.site.clone("chaos")
    git.pushed({f"models/{name}.yaml": bound(name, name, day=20_000) for name in PROVIDERS})
    own.site.pai("reconcile")
    for number in range(ROUNDS):
        ending = threading.Event()
        with ThreadPoolExecutor(AGENTS + 1) as pool:
            pushing = pool.submit(push, git, dice, ending)
            acting = [pool.submit(act, own, f"{SEED}-{number}-{agent}", ending) for agent in range(AGENTS)]
            time.sleep(CHAOS_S)  # how long it goes on is the input, not a wait for something
            own.daemon.kill()
            ending.set()
            assert sum(future.result() for future in acting) > AGENTS
            pushing.result()
        own.simulator.clear()
        own.restart()
        assert_books_balance(own)
    assert {"tokens.settled.v1", "tokens.voided.v1", "tokens.forfeited.v1"} <= {row["type"] for row in own.tokens()}
    assert "day-budget" in {row["data"]["reason"] for row in own.site.rows("type:request.refused")}
    answer = own.ask("chat", "openai-free")
    assert isinstance(answer, httpx.Response)
    assert answer.status_code == 200
    assert "Traceback" not in own.daemon.log
    own.site.pai("verify")
