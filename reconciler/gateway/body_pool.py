"""The gateway's side of the processes that judge large bodies: who is asked, in which turn, and what if one fails.

A lane is a process and a thread that waits for it. For large bodies there are two, so that one agent that keeps one of
them busy leaves the other one to all others. Small ones that are dear, as many prompts beyond ASCII are, have a lane of
their own: each takes milliseconds there, and would wait for seconds behind a large one.

Invariants
- In a lane one agent has one question at a time; its others wait behind it, not in front of other agents' questions.
- A process that fails, or takes too long, is replaced; the bodies that it had are refused, and nobody else's.
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
_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from reconciler.gateway.body_worker import main; main()"


class WorkerFailed(Exception):
    """The process did not answer, or not as it should."""


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

    async def ask(self, agent: str, number: int, word: str, given: Sequence[Any], spool: Spool | None = None) -> Any:
        """Ask in the agent's turn; `spool` goes along and is closed. Raises Refusal."""
        turn = self._turns.get(agent)
        if turn is None:
            turn = self._turns[agent] = asyncio.Lock()
        async with turn:
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._asked, number, word, given, spool
                )
            except WorkerFailed as error:
                log.error("a large request body was not judged: %s", error)
                raise Refusal("busy", "the request body could not be judged; try again") from None

    def tell(self, number: int, word: str) -> None:
        """Say something that needs no answer."""
        self._thread.submit(self._asked, number, word, (), None)

    def close(self) -> None:
        """End the process once it has answered."""
        self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    # In the lane's thread

    def _asked(self, number: int, word: str, given: Sequence[Any], spool: Spool | None) -> Any:
        try:
            sock = self._started()
            wire.put(sock, msgspec.msgpack.encode((number, word, given)), () if spool is None else (spool.fileno(),))
            message, fds = wire.take(sock)
        except (OSError, EOFError, subprocess.SubprocessError) as error:
            self._end()
            raise WorkerFailed(f"{type(error).__name__}: {error}") from None
        finally:
            if spool is not None:
                spool.close()
        how, *found = msgspec.msgpack.decode(message)
        if how == "bytes":
            return Spool(fds[0], found[0])
        if how == "refused":
            raise Refusal(found[0], found[1])
        if how == "failed":
            raise RuntimeError(f"judging a request body failed: {found[0]}")
        return found[0]

    def _started(self) -> socket.socket:
        """Give the socket to the process, which is started if there is none."""
        if self._socket is None:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._socket.settimeout(JUDGE_S)
                # The environment may hold secrets, and an answer is nothing that a file beside the program may change.
                command = [sys.executable, "-E", "-P", "-c", _MAIN, *sys.path]
                environment = {name: text for name, text in os.environ.items() if not name.startswith("PAI_")}
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment
                )
            version = msgspec.msgpack.decode(wire.take(self._socket)[0])
            if version != __version__:
                raise OSError(f"the program was replaced by version {version}: restart the daemon")
        return self._socket

    def _end(self) -> None:
        sock, self._socket = self._socket, None
        process, self._process = self._process, None
        if sock is not None:
            sock.close()
        if process is not None:
            process.kill()
            process.wait()


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
        number = next(self._numbers)

        async def ask(word: str, *given: Any) -> Any:
            return await lane.ask(agent, number, word, given)

        def drop() -> None:
            if not small:
                self._leave(agent, came)
            lane.tell(number, "drop")

        try:
            given = came, route.surface.name, route[1:], fallback, query
            size, found = await lane.ask(agent, number, "read", given, spool)
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
