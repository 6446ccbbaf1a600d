"""Answering an HTTP request by a CGI program (RFC 3875), both ways streamed through bounded buffers.

The program gets exactly the environment that it is given. It runs in a session of its own and is ended, with what it
started, when the client goes away, sends too much or takes too long: first by the end of its input, so that it can tidy
up, then by SIGTERM and SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.types import Receive, Send

log = logging.getLogger("pai.cgi")

CHUNK_BYTES: Final = 65_536
HEAD_BYTES_MAX: Final = 16_384
STDERR_BYTES_MAX: Final = 2_000
GRACE_S: Final = 5.0
"""How long a program, and what it started, may take to end before it is made to."""
LOOK_S: Final = 0.02


class Gone(Exception):
    """The client has gone away."""


class TooLarge(Exception):
    """The request's body is beyond the limit."""


class Broken(Exception):
    """The program ended without an answer."""


async def text(send: Send, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
    """Answer with a few lines of plain text, which git shows to whoever called it."""
    body = message.encode()
    lines = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in lines.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def answer(
    command: Sequence[str],
    environment: Mapping[str, str],
    receive: Receive,
    send: Send,
    *,
    body_bytes_max: int,
    deadline_s: float,
) -> bool:
    """Run the program on the request's body and send its answer; tell whether it ended well.

    Errors before its answer begins are answered here: 413, 504, 502.
    """
    program = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(environment), start_new_session=True
    )
    run = _Run(program, receive, send, body_bytes_max)
    try:
        async with asyncio.timeout(deadline_s):
            return await run.relay()
    except Gone:
        return False
    except TooLarge:
        return await run.refuse(413, f"error: the request is larger than {body_bytes_max:,} bytes\n")
    except TimeoutError:
        return await run.refuse(504, f"error: this took longer than {deadline_s:.0f} s\n")
    except Broken as problem:
        log.warning("%s ended without an answer: %s", command[0], problem)
        return await run.refuse(502, "error: git gave no answer\nhint: the daemon's log says more\n")
    finally:
        if not run.ended:
            await asyncio.shield(_end(program))


class _Run:
    """One program and the request that it answers."""

    def __init__(self, program: Process, receive: Receive, send: Send, body_bytes_max: int) -> None:
        self._program = program
        self._receive = receive
        self._send = send
        self._body_bytes_max = body_bytes_max
        self._begun = False
        self.ended = False
        self._stderr = b""

    async def relay(self) -> bool:
        feeding = asyncio.create_task(self._feed())
        draining = asyncio.create_task(self._drain_stderr())
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait({feeding, answering}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():  # it never ends well: the client has gone, or has sent too much
                feeding.result()
            return await answering
        finally:
            for task in (feeding, answering, draining):
                task.cancel()
            await asyncio.gather(feeding, answering, draining, return_exceptions=True)

    async def refuse(self, status: int, message: str) -> bool:
        """Say what went wrong if nothing was answered yet; an answer that has begun is cut off."""
        if not self._begun:
            await text(self._send, status, message, {"connection": "close"})
        return False

    async def _feed(self) -> None:
        """Pass the body on; then wait for the client to go away. Raises Gone or TooLarge."""
        stdin, size = self._program.stdin, 0
        assert stdin is not None
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            body = message.get("body", b"")
            size += len(body)
            if size > self._body_bytes_max:
                raise TooLarge
            with contextlib.suppress(ConnectionError):  # it wants no more; what follows is read and dropped
                if body:
                    stdin.write(body)
                    await stdin.drain()
                if not message.get("more_body", False):
                    stdin.close()

    async def _answer(self) -> bool:
        stdout = self._program.stdout
        assert stdout is not None
        status, headers, rest = await self._head(stdout)
        self._begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        while chunk := rest or await stdout.read(CHUNK_BYTES):
            rest = b""
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        code = await self._program.wait()
        if code or status >= 500:
            log.warning("git http-backend answered %d and ended with %d: %s", status, code, self._said())
        await self._send({"type": "http.response.body", "body": b""})
        self.ended = True
        return code == 0 and status < 400

    async def _head(self, stdout: asyncio.StreamReader) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await stdout.read(CHUNK_BYTES)
            if not more or len(data) > HEAD_BYTES_MAX:
                await self._program.wait()
                raise Broken(self._said())
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"status":
                status = int(value.split()[0])
            else:
                headers.append((name.lower(), value.strip()))
        return status, headers, rest

    async def _drain_stderr(self) -> None:
        stderr = self._program.stderr
        assert stderr is not None
        while more := await stderr.read(CHUNK_BYTES):
            self._stderr = (self._stderr + more)[:STDERR_BYTES_MAX]

    def _said(self) -> str:
        return repr(self._stderr.decode("utf-8", "replace"))


async def _end(program: Process) -> None:
    """End the program and what it started, whatever of them still runs.

    The end of its input comes first: a git that is told so removes what it has put by, one that is killed does not.
    """
    if program.stdin is not None:
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
