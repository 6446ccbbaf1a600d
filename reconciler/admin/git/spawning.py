"""Programs beside the event loop, which is uvloop's, with pipes to them.

uvloop starts programs by a fork, which copies the tables of all of the daemon's memory and stops everybody for 12 ms;
`subprocess` does it by vfork in 0.2 ms. Each pipe has one owner that closes it: a number that is closed twice may be
another thread's file the second time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from subprocess import PIPE
from typing import IO, NamedTuple


class _Pipe(NamedTuple):
    """The end of a pipe as uvloop is given it. libuv closes the number; uvloop then calls `close`, which must not."""

    number: int

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        pass


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
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        program = cls(process)
        with process.stdin, process.stdout, process.stderr:  # what is connected has a number of its own
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

    async def _read(self, pipe: IO[bytes], bytes_max: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(bytes_max)
        with _number_of(pipe) as end:
            transport, _ = await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), end)
        self._pipes.append(transport)
        return reader

    async def _write(self, pipe: IO[bytes]) -> asyncio.StreamWriter:
        with _number_of(pipe) as end:
            transport, protocol = await self._loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), end
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


@contextlib.contextmanager
def _number_of(pipe: IO[bytes]) -> Iterator[_Pipe]:
    """Give a pipe under a further number, to be connected inside; libuv has not taken it if that raises OSError."""
    end = _Pipe(os.dup(pipe.fileno()))
    try:
        yield end
    except OSError:
        os.close(end.number)
        raise
