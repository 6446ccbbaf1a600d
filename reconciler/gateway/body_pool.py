"""The gateway's side of the processes that judge large bodies: who is asked, in which turn, and what if one fails.

A lane is a process and a thread that waits for it. For large bodies there are two, so that one agent that keeps one of
them busy leaves the other one to all others. Small ones that are dear, as many prompts beyond ASCII are, have a lane of
their own: each takes milliseconds there, and would wait for seconds behind a large one.

Invariants
- In a lane one agent has one question at a time; its others wait behind it, not in front of other agents' questions.
- A process that fails, or takes too long, is replaced. The body that it was asked about is refused, and not asked about
  again: it may be why. The others that it had are read again by the next process when they are asked about.
- The loop waits for none of this: everything that blocks is in the lanes' threads.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from reconciler import __version__
from reconciler.gateway import wire
from reconciler.gateway.calls import Call, Route
from reconciler.gateway.offloading import Elsewhere
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.room import SMALL_BYTES_MAX
from reconciler.gateway.spool import Spool

log = logging.getLogger("pai.gateway")

LANES = 2
JUDGE_S = 30.0
"""How long one question may take; the worst takes about five seconds."""
RETRY_S = 1
"""After which time a client may try again: the next process is there by then."""
_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from reconciler.gateway.body_worker import main; main()"


class _Lodged:
    """A body in a lane: its number, how it is read, and the process that has read it, if one has.

    `spool` is kept until the body is written for the last time: another process may have to read it again.
    """

    __slots__ = ("agent", "lost", "number", "process", "reading", "spool")

    def __init__(self, agent: str, number: int, spool: Spool, reading: Sequence[Any]) -> None:
        self.agent = agent
        self.number = number
        self.spool = spool
        self.reading = reading
        self.process: subprocess.Popen[bytes] | None = None
        self.lost = False


class Lane:
    """One process that judges."""

    def __init__(self) -> None:
        """Prepare; the process is started with the first question, or by `start`."""
        self._thread = ThreadPoolExecutor(1, "pai-judging")
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def start(self) -> None:
        """Have the process started, without waiting for it."""
        self._thread.submit(self._started)

    async def ask(self, body: _Lodged, word: str, given: Sequence[Any] = ()) -> Any:
        """Ask about a body in its agent's turn. Raises Refusal."""
        turn = self._turns.get(body.agent)
        if turn is None:
            turn = self._turns[body.agent] = asyncio.Lock()
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._asked, body, word, given)

    def drop(self, body: _Lodged) -> None:
        """Have a body forgotten."""
        self._thread.submit(self._dropped, body)

    def close(self) -> None:
        """End the process once it has answered."""
        self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    # In the lane's thread

    def _asked(self, body: _Lodged, word: str, given: Sequence[Any]) -> Any:
        if body.lost:
            raise _busy()
        found = None
        try:
            sock = self._started()
            if body.process is not self._process:
                found = _answer(sock, body, "read", body.reading, (body.spool.fileno(),))
                body.process = self._process
            if word != "read":
                found = _answer(sock, body, word, given)
        except (OSError, EOFError, subprocess.SubprocessError) as error:
            self._end()
            body.lost = True
            log.error("a large request body was not judged: %s: %s", type(error).__name__, error)
            raise _busy() from None
        if word == "write" and given[-1]:  # for the last time
            body.spool.close()
        return found

    def _dropped(self, body: _Lodged) -> None:
        body.spool.close()
        if body.process is not None and body.process is self._process and self._process.poll() is None:
            self._asked(body, "drop", ())

    def _started(self) -> socket.socket:
        """Give the socket to the process, which is started if there is none."""
        if self._process is not None and self._process.poll() is not None:
            self._end()  # between two questions: nobody's body is known to be why
        if self._socket is None:
            try:
                self._socket = self._start()
            except BaseException:
                self._end()
                raise
        return self._socket

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(JUDGE_S)
            # The environment may hold secrets, and an answer is nothing that a file beside the program may change.
            command = [sys.executable, "-E", "-P", "-c", _MAIN, *sys.path]
            environment = {name: text for name, text in os.environ.items() if not name.startswith("PAI_")}
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment)
        version = msgspec.msgpack.decode(wire.take(ours)[0])
        if version != __version__:
            raise OSError(f"the program was replaced by version {version}: restart the daemon")
        return ours

    def _end(self) -> None:
        sock, self._socket = self._socket, None
        process, self._process = self._process, None
        if sock is not None:
            sock.close()
        if process is not None:
            process.kill()
            process.wait()


def _answer(sock: socket.socket, body: _Lodged, word: str, given: Sequence[Any], sent: Sequence[int] = ()) -> Any:
    """Ask, with open files that are sent along, and wait for the answer. Raises Refusal, OSError, EOFError."""
    wire.put(sock, msgspec.msgpack.encode((body.number, word, given)), sent)
    message, fds = wire.take(sock)
    how, *found = msgspec.msgpack.decode(message)
    if how == "bytes":
        return Spool(fds[0], found[0])
    if how == "refused":
        raise _busy() if found[0] == "busy" else Refusal(found[0], found[1])
    if how == "failed":
        raise RuntimeError(f"judging a request body failed: {found[0]}")
    return found[0]


def _busy() -> Refusal:
    headers = (("retry-after", str(RETRY_S)),)
    return Refusal("busy", "the request body could not be judged; try again", headers=headers)


class BodyPool:
    """The lanes. An agent stays in its lane while anything of it is there: it takes no second one from the others."""

    def __init__(self, lanes: int = LANES) -> None:
        self._lanes = [Lane() for _ in range(lanes)]
        self._small = Lane()
        self._open: dict[str, tuple[Lane, int]] = {}
        self._bytes: Counter[Lane] = Counter()  # of the bodies that are in each
        self._numbers = itertools.count()

    def start(self) -> None:
        """Have those started that one agent needs, without waiting for them; another one starts when two need one."""
        self._small.start()
        self._lanes[0].start()

    async def read(self, agent: str, spool: Spool, route: Route, fallback: tuple[str, ...], query: bytes) -> Call:
        """Have a body read that is handed over with this. Raises Refusal."""
        came = spool.size
        small = came <= SMALL_BYTES_MAX
        lane = self._small if small else self._enter(agent, came)
        reading = came, route.surface.name, route[1:], fallback, query
        body = _Lodged(agent, next(self._numbers), spool, reading)

        async def ask(word: str, *given: Any) -> Any:
            return await lane.ask(body, word, given)

        def drop() -> None:
            if not small:
                self._leave(agent, came)
            lane.drop(body)

        try:
            size, found = await lane.ask(body, "read")
        except BaseException:
            drop()
            raise
        known = {"surface": route.surface, "names": tuple(found["names"]), "body": Elsewhere(size, ask, drop)}
        return Call(**found | known)

    def close(self) -> None:
        """End the processes."""
        for lane in (self._small, *self._lanes):
            lane.close()

    def _enter(self, agent: str, size: int) -> Lane:
        """Give the agent's lane, or the one with the least in it: beside large bodies each waits for seconds."""
        lane, count = self._open.get(agent) or (min(self._lanes, key=self._bytes.__getitem__), 0)
        self._open[agent] = lane, count + 1
        self._bytes[lane] += size
        return lane

    def _leave(self, agent: str, size: int) -> None:
        lane, count = self._open.pop(agent)
        self._bytes[lane] -= size
        if count > 1:
            self._open[agent] = lane, count - 1
