"""Answering an HTTP request by a CGI program (RFC 3875), both ways streamed through bounded buffers.

The program gets exactly the environment that it is given. It runs in a session of its own and is ended, with what it
started, when the client goes away, sends too much or takes too long, and when the daemon stops: first by the end of its
input, so that it can tidy up, then by SIGTERM and SIGKILL. A packed body is unpacked here, piece by piece: the limit is
on what it becomes, and the memory of the program is bounded too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Final, NamedTuple

from starlette.types import Receive, Send

from reconciler.admin.git.spawning import Program
from reconciler.source.gitrun import limited, lower

log = logging.getLogger("pai.cgi")

CHUNK_BYTES: Final = 65_536
HEAD_BYTES_MAX: Final = 16_384
STDERR_BYTES_MAX: Final = 2_000
GRACE_S: Final = 5.0
"""How long a program, and what it started, may take to end before it is made to."""
_GZIP: Final = 16 + zlib.MAX_WBITS
MEMBERS_MAX: Final = 100
"""Of a packed body: each may be empty, and copies what is behind it in its piece."""
LOOK_S: Final = 0.02
PATIENCE_S: Final = 20.0
"""How long a client may send, or take, less than `RATE_MIN` bytes a second: others wait for its turn."""
RATE_MIN: Final = 4096
STOP_S: Final = 2.0
"""How long a request may go on when the daemon stops."""


class Gone(Exception):
    """The client has gone away."""


class GitRefusal(Exception):
    """A request that is not answered: the status, and the lines that git shows to whoever called it."""

    def __init__(self, status: int, reason: str, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.text = f"error: {reason}\n" + (f"hint: {hint}\n" if hint else "")
        self.headers = headers or {}

    async def say(self, send: Send, headers: Mapping[str, str]) -> None:
        """Answer with it."""
        body = self.text.encode()
        lines = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **headers}
        pairs = [(n.encode(), value.encode("latin-1", "replace")) for n, value in {**lines, **self.headers}.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})


def _malformed() -> GitRefusal:
    return GitRefusal(400, "the request's body is no gzip, or not whole")


class Bounds(NamedTuple):
    """What one request may take: bytes of its body, unpacked, seconds, CPU seconds, and bytes of memory a process.

    `patience_s` is how long its client may send or take next to nothing, `kept_bytes` how much of the answer is kept
    for a client that is slower than the program.
    """

    body_bytes: int
    time_s: float
    cpu_s: int
    memory_bytes: int
    patience_s: float = PATIENCE_S
    kept_bytes: int = CHUNK_BYTES


Head = tuple[int, list[tuple[bytes, bytes]]]
"""An answer's status and headers."""


async def answer(
    command: Sequence[str],
    environment: Mapping[str, str],
    receive: Receive,
    send: Send,
    bounds: Bounds,
    *,
    packed: bool,
    stopping: asyncio.Event,
    ended: Callable[[], Awaitable[None]],
    heard: Callable[[bytes], None],
) -> bool:
    """Run the program on the request's body and send its answer; tell whether it ended well.

    `heard` is given each piece of the answer's body as it comes from the program.
    `ended` is awaited when the program has ended by itself, before the client has the end of its answer.
    `packed` says that the body is gzip. Once `stopping` is set the request has `STOP_S` to end by itself.
    Errors before the answer begins are answered here: 400, 408, 413, 502, 503, 504.
    """
    program = await Program.start(limited(command, bounds.memory_bytes, bounds.cpu_s), environment, CHUNK_BYTES)
    lower(program.pid)
    run = _Run(program, receive, send, UnpackedBody(bounds.body_bytes, packed=packed), stopping, bounds, ended, heard)
    try:
        async with asyncio.timeout(bounds.time_s):
            return await run.relay()
    except Gone:
        return False
    except GitRefusal as refusal:
        return await run.refuse(refusal)
    except TimeoutError:
        return await run.refuse(GitRefusal(504, f"this took longer than {bounds.time_s:.0f} s"))
    finally:
        if not run.ended:
            ending = asyncio.create_task(_end(program))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending  # nothing that was started outlives the request
                raise
        program.close()


class _Run:
    """One program and the request that it answers."""

    def __init__(
        self,
        program: Program,
        receive: Receive,
        send: Send,
        body: UnpackedBody,
        stopping: asyncio.Event,
        bounds: Bounds,
        ended: Callable[[], Awaitable[None]],
        heard: Callable[[bytes], None],
    ) -> None:
        self._program = program
        self._receive = receive
        self._send = send
        self._body = body
        self._stopping = stopping
        self._patience_s = bounds.patience_s
        self._tell_end = ended
        self._heard = heard
        self._kept = Untaken(bounds.kept_bytes)
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._code = 0
        self._begun = False
        self.ended = False
        self._stderr = b""

    async def relay(self) -> bool:
        feeding = asyncio.create_task(self._feed())
        draining = asyncio.create_task(self._drain_stderr())
        reading = asyncio.create_task(self._read())
        answering = asyncio.create_task(self._answer())
        ending = asyncio.create_task(self._stopped())
        tasks = (feeding, reading, answering, draining, ending)
        try:
            await asyncio.wait({feeding, answering, ending}, return_when=asyncio.FIRST_COMPLETED)
            for failed in (feeding, ending):  # neither ends well: the client has gone, or has sent too much
                if failed.done() and not answering.done():
                    failed.result()
            return await answering
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stopped(self) -> None:
        """Wait for the daemon to stop, and some time more. Raises GitRefusal."""
        await self._stopping.wait()
        await asyncio.sleep(STOP_S)
        raise GitRefusal(503, "the daemon is stopping", "try again when it runs")

    async def refuse(self, refusal: GitRefusal) -> bool:
        """Say what went wrong if nothing was answered yet; an answer that has begun is cut off."""
        if not self._begun:
            await refusal.say(self._send, {"connection": "close"})
        return False

    async def _feed(self) -> None:
        """Pass the body on; then wait for the client to go away. Raises Gone, GitRefusal."""
        stdin = self._program.stdin
        patience, whole = Patience(self._patience_s), False
        while True:
            async with patience.waiting() if not whole else contextlib.nullcontext():
                message = await self._receive()
            patience.moved(len(message.get("body", b"")))
            whole = whole or not message.get("more_body", False)
            if message["type"] == "http.disconnect":
                raise Gone
            # It may want no more, and uvloop has two words for that; what follows is read and dropped.
            with contextlib.suppress(ConnectionError, RuntimeError):
                for piece in self._body.pieces(message.get("body", b""), last=whole):
                    stdin.write(piece)
                    await stdin.drain()
                if not message.get("more_body", False):
                    stdin.close()

    async def _read(self) -> None:
        """Keep what the program writes until the client takes it, so that its end does not wait for the client."""
        try:
            head, chunk = await self._read_head(self._program.stdout)
            self._head.set_result(head)
            while chunk := chunk or await self._program.stdout.read(CHUNK_BYTES):
                self._heard(chunk)
                await self._kept.put(chunk)
                chunk = b""
            self._code = await self._program.wait()
            self.ended = True
            await self._tell_end()
            await self._kept.end()
        except Exception as problem:  # whatever it is, it is the answer's to tell
            await self._kept.end(problem)

    async def _answer(self) -> bool:
        # The head comes before the request is read; until there is more, the request can still be refused.
        chunk = await self._kept.take()
        status, headers = self._head.result()
        self._begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        patience = Patience(self._patience_s)
        while chunk:
            async with patience.waiting():
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            patience.moved(len(chunk))
            chunk = await self._kept.take()
        if self._code or status >= 500:
            log.warning("git http-backend answered %d and ended with %d: %s", status, self._code, self._said())
        await self._send({"type": "http.response.body", "body": b""})
        return self._code == 0 and status < 400

    async def _read_head(self, stdout: asyncio.StreamReader) -> tuple[Head, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await stdout.read(CHUNK_BYTES)
            if not more or len(data) > HEAD_BYTES_MAX:
                await self._program.wait()
                log.warning("git ended without an answer: %s", self._said())
                raise GitRefusal(502, "git gave no answer", "the daemon's log says more")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"status":
                status = int(value.split()[0])
            else:
                headers.append((name.lower(), value.strip()))
        return (status, headers), rest

    async def _drain_stderr(self) -> None:
        stderr = self._program.stderr
        while more := await stderr.read(CHUNK_BYTES):
            self._stderr = (self._stderr + more)[:STDERR_BYTES_MAX]

    def _said(self) -> str:
        return repr(self._stderr.decode("utf-8", "replace"))


class Patience:
    """The time that a client may still keep its turn waiting; what moves earns some."""

    def __init__(self, most_s: float) -> None:
        self._left_s = self._most_s = most_s

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait for the client inside. Raises GitRefusal."""
        began = monotonic()
        timer = asyncio.timeout(max(0.0, self._left_s))
        try:
            async with timer:
                yield
        except TimeoutError:
            if timer.expired():
                raise GitRefusal(408, "the client sends or reads next to nothing") from None
            raise
        self._left_s -= monotonic() - began

    def moved(self, count: int) -> None:
        """Take note of bytes that the client sent or took."""
        self._left_s = min(self._most_s, self._left_s + count / RATE_MIN)


class Untaken:
    """What was read of a program and not taken by its client yet: `bytes_max` and a chunk at most."""

    def __init__(self, bytes_max: int) -> None:
        self._most = bytes_max
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._problem: Exception | None = None
        self._changed = asyncio.Condition()

    async def put(self, chunk: bytes) -> None:
        """Keep a chunk once there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < self._most)
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._changed.notify_all()

    async def end(self, problem: Exception | None = None) -> None:
        """Say that nothing follows, or why."""
        async with self._changed:
            self._ended, self._problem = True, problem
            self._changed.notify_all()

    async def take(self) -> bytes:
        """Wait for what is kept, and give up to CHUNK_BYTES of it; nothing at the end. Raises what `end` was given."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._chunks or self._ended)
            if not self._chunks:
                if self._problem is not None:
                    raise self._problem
                return b""
            chunk = self._chunks.popleft()
            self._size -= len(chunk)
            self._changed.notify_all()
            return chunk


class UnpackedBody:
    """A body as it becomes, in pieces of at most CHUNK_BYTES that are counted.

    Of a packed one the last piece is held back until the body has proved to be whole: the program may act on all of it.
    It may be of a few members (RFC 1952 2.2), of which git sends one.
    """

    def __init__(self, bytes_max: int, *, packed: bool) -> None:
        self._most = self._left = bytes_max
        self._inflating = zlib.decompressobj(_GZIP) if packed else None
        self._begun = False
        self._held = b""
        self._members = 1

    def pieces(self, data: bytes, *, last: bool) -> Iterator[bytes]:
        """Give what more of the body becomes; `last` says that no more comes. Raises GitRefusal."""
        for piece in (data,) if self._inflating is None else self._inflated(data, last):
            self._left -= len(piece)
            if self._left < 0:
                unpacked = "" if self._inflating is None else ", unpacked"
                raise GitRefusal(413, f"the request is larger than {self._most:,} bytes{unpacked}")
            if piece:
                yield piece

    def _inflated(self, data: bytes, last: bool) -> Iterator[bytes]:
        assert self._inflating is not None
        self._begun = self._begun or bool(data)
        try:
            while data:
                if self._inflating.eof:  # another member follows
                    self._members += 1
                    if self._members > MEMBERS_MAX:
                        raise _malformed()
                    self._inflating = zlib.decompressobj(_GZIP)
                piece = self._inflating.decompress(data, CHUNK_BYTES)
                data = self._inflating.unconsumed_tail or self._inflating.unused_data
                if piece:
                    yield self._held
                    self._held = piece
        except zlib.error as error:
            raise _malformed() from error
        if last:
            if self._begun and not self._inflating.eof:
                raise _malformed()
            yield self._held
            self._held = b""


async def _end(program: Program) -> None:
    """End the program and what it started, whatever of them still runs.

    The end of its input comes first: a git that is told so removes what it has put by, one that is killed does not.
    """
    program.stdin.close()
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        if not _signal(program.pid, number):
            break
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await program.wait()
                while _signal(program.pid, 0):
                    await asyncio.sleep(LOOK_S)
    await program.wait()


def _signal(group: int, number: int) -> bool:
    """Send a signal to all of a process group; False if there is nobody left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # some systems say so of a group of zombies
        return False
    return True
