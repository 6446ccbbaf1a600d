"""A lean load generator in a process of its own: so many requests over so many connections, and how long they took.

    echo '{"port": 8000, "request": "POST ...", "connections": 64, "count": 1000}' | python -m benchmarks.load

One connection sends a request, reads the answer to its end, and sends the next while any are left. Answers are not
decoded: their end is found by Content-Length or by the last chunk, a stream is whole if it said `[DONE]`. Counts and
times are bounded; what fails is counted, and the first failure is told.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import uvloop

HOST = "127.0.0.1"
DEADLINE_S = 300.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Load(msgspec.Struct, frozen=True):
    """What to send to `port`.

    `hold`: say so when all streams have begun, before any more of them is read. `spread_s`: over so much time the
    connections begin, one after the other.
    """

    port: int
    request: str
    connections: int
    count: int
    stream: bool = False
    hold: bool = False
    spread_s: float = 0.0
    deadline_s: float = DEADLINE_S


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds in the middle, and of the slowest of a hundred."""

    p50: float
    p99: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of it: `whole` is the time to an answer's end, `first` to the first piece of its body."""

    done: int
    failed: int
    seconds: float
    whole: Spread
    first: Spread
    failure: str = ""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.done / self.seconds


def put(load: Load) -> Outcome:
    """Run a load in a process of its own to its end."""
    with holding(load) as outcome:
        return outcome()


@contextmanager
def holding(load: Load) -> Iterator[Callable[[], Outcome]]:
    """Run a load; if it is to hold, the block begins when all its streams are open. Gives what waits for its end."""
    command = [sys.executable, "-m", "benchmarks.load"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        output = process.stdout
        process.stdin.write(msgspec.json.encode(load))
        process.stdin.close()
        if load.hold and output.readline() != b"open\n":
            raise SystemExit("error: the streams did not begin")
        yield lambda: _outcome(load, output.read())
    finally:
        process.kill()
        process.wait()


def _outcome(load: Load, told: bytes) -> Outcome:
    outcome = msgspec.json.decode(told, type=Outcome)
    if outcome.done + outcome.failed != load.count:
        raise SystemExit(f"error: of {load.count} requests, {outcome.done} were answered; {outcome.failure}")
    return outcome


class _Run:
    """One load on its way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.request = load.request.encode()
        self.left = load.count
        self.begun = 0
        self.times: list[tuple[float, float]] = []
        self.failed = 0
        self.failure = ""
        self.open = 0
        self.ended = asyncio.Event()

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        connections = min(self.load.connections, self.load.count)
        self.open = connections
        opened = [
            await loop.create_connection(lambda: _Connection(self), HOST, self.load.port) for _ in range(connections)
        ]
        started = time.perf_counter()
        for number, (_, connection) in enumerate(opened):
            loop.call_later(self.load.spread_s * number / connections, connection.next)
        try:
            await asyncio.wait_for(self.ended.wait(), self.load.deadline_s)
        except TimeoutError:
            self.failure = self.failure or f"not all answers came within {self.load.deadline_s} s"
        seconds = time.perf_counter() - started
        firsts, wholes = zip(*self.times, strict=True) if self.times else ((0.0,), (0.0,))
        return Outcome(len(self.times), self.failed, seconds, _spread(wholes), _spread(firsts), self.failure)

    def began(self) -> None:
        """Count a stream that has begun, and tell when all have."""
        self.begun += 1
        if self.load.hold and self.begun == self.load.count:
            sys.stdout.write("open\n")
            sys.stdout.flush()

    def closed(self) -> None:
        """Count a connection that has nothing left to do, or was lost."""
        self.open -= 1
        if not self.open:
            self.ended.set()


class _Connection(asyncio.Protocol):
    """One connection: a request after the other."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._stream = run.load.stream
        self._transport: asyncio.Transport | None = None
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def next(self) -> None:
        """Send the next request, or close if none is left."""
        assert self._transport is not None
        if not self._run.left:
            self._transport.close()
            return
        self._run.left -= 1
        self._buffer = b""
        self._body = 0  # where the body begins, once it has
        self._end = -1  # where the answer ends, if its head says so
        self._waiting = True
        self._sent = time.perf_counter()
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if not self._body:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            self._body = head + 4
            found = _LENGTH.search(buffer, 0, head)
            self._end = self._body + int(found[1]) if found else -1
            self._first = 0.0
        if not self._first and len(buffer) > self._body:
            self._first = time.perf_counter()
            self._run.began()
        if len(buffer) == self._end or (self._end < 0 and buffer.endswith(_LAST_CHUNK)):
            self._answered(buffer)

    def _answered(self, buffer: bytes) -> None:
        now = time.perf_counter()
        self._waiting = False
        run = self._run
        if buffer[9:12] == b"200" and (not self._stream or b"[DONE]" in buffer):
            run.times.append(((self._first - self._sent) * 1000, (now - self._sent) * 1000))
        else:
            run.failed += 1
            run.failure = run.failure or buffer[:1000].decode("latin-1")
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._run.failed += 1
            self._run.failure = self._run.failure or f"a connection was lost: {exc}"
        self._run.closed()


def _spread(values: tuple[float, ...]) -> Spread:
    ordered = sorted(values)
    return Spread(ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)])


def main() -> int:
    """Run the load that stands on standard input, and print what came of it."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_Run(load).run())
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
