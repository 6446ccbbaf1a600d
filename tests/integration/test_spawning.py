"""Programs beside a loop: both ways through the pipes, the end, and nothing that stays open."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import uvloop

from reconciler.daemon.spawning import Program
from tests.support import DEADLINE_S


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run on the daemon's kind of loop, and see that no file stays open."""

    async def whole() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work()  # libuv opens files of its own the first time
            await asyncio.sleep(0.1)
            before = set(os.listdir("/proc/self/fd"))
            await work()
            while set(os.listdir("/proc/self/fd")) - before:
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


def test_both_ways_and_the_end() -> None:
    """What is written comes back, beside words on stderr, in a session of its own with the given environment alone."""

    async def work() -> None:
        script = 'cat; echo "$A" >&2; [ "$(ps -o sid= -p $$ | tr -d " ")" = $$ ] && exit 7'
        program = await Program.start(["/bin/sh", "-c", script], {"A": "b", "PATH": os.environ["PATH"]}, 1024)
        data = b"x" * 1_000_000
        program.stdin.write(data)
        reading = asyncio.create_task(program.stdout.read(-1))
        await program.stdin.drain()
        program.stdin.close()
        assert await reading == data
        assert await program.stderr.read(-1) == b"b\n"
        assert await program.wait() == 7
        assert await program.wait() == 7
        program.close()

    run(work)


def test_one_that_is_killed_with_output_unread() -> None:
    """Its code is the signal's, negative; its pipes are closed without being read to their end."""

    async def work() -> None:
        program = await Program.start(["/bin/sh", "-c", "while :; do echo 0123456789; done"], {}, 1024)
        assert (await program.stdout.readline()).startswith(b"0")
        os.killpg(program.pid, signal.SIGKILL)
        assert await program.wait() == -signal.SIGKILL
        program.close()

    run(work)


def test_one_that_cannot_be_started() -> None:
    """An error, and nothing left of it."""

    async def work() -> None:
        try:
            await Program.start(["/nowhere/git"], {}, 1024)
        except FileNotFoundError:
            return
        raise AssertionError

    run(work)
