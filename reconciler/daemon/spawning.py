"""Programs beside the event loop, with pipes to them.

uvloop starts programs by a fork, which copies the tables of all of the daemon's memory and stops everybody for 12 ms;
`subprocess` does it by vfork in 0.2 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Mapping, Sequence
from subprocess import PIPE


class Program:
    """A program that was started, in a session of its own. To be closed."""

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pipes: list[asyncio.BaseTransport] = []
        self.pid = process.pid
        threading.Thread(target=self._wait, name="pai-program", daemon=True).start()

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], bytes_max: int) -> Program:
        """Start a program; about `bytes_max` of what it writes are kept until they are read. Raises OSError."""
        process = subprocess.Popen(
            command, bufsize=0, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(environment), start_new_session=True
        )
        program = cls(process)
        try:
            program.stdout = await program._read(process.stdout, bytes_max)
            program.stderr = await program._read(process.stderr, bytes_max)
            program.stdin = await program._write(process.stdin)
        except BaseException:
            process.kill()
            program.close()
            raise
        return program

    async def wait(self) -> int:
        """Wait for its end, and give its exit code, or the negative number of the signal that ended it."""
        return await asyncio.shield(self._ended)

    def close(self) -> None:
        """Close the pipes to it."""
        for pipe in self._pipes:
            pipe.close()

    async def _read(self, pipe: object, bytes_max: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(bytes_max)
        transport, _ = await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        self._pipes.append(transport)
        return reader

    async def _write(self, pipe: object) -> asyncio.StreamWriter:
        transport, protocol = await self._loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
        )
        self._pipes.append(transport)
        return asyncio.StreamWriter(transport, protocol, None, self._loop)

    def _wait(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop ended before it
            self._loop.call_soon_threadsafe(self._note, code)

    def _note(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)
