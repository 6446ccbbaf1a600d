"""Programs beside a loop: both ways through the pipes, the end, and nothing that stays open."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable

import uvloop

from reconciler.admin.git.spawning import Program
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


def test_pipe_is_closed_once() -> None:
    """By libuv: what the loop was given is not closed again, when the number may be another file's."""

    async def work() -> None:
        program = await Program.start(["/bin/cat"], {}, 1024)
        ends = [transport.get_extra_info("pipe") for transport in program._pipes]
        program.stdin.write(b"x")
        program.stdin.close()
        assert await program.stdout.read(-1) == b"x"
        assert await program.wait() == 0
        program.close()
        await asyncio.sleep(0.1)
        assert [getattr(end, "closed", False) for end in ends] == [False] * 3

    run(work)


def test_no_file_of_another_thread_is_closed() -> None:
    """Threads that open and close files while programs come and go find each of them as they left it."""
    own, lost, stop = os.stat(__file__).st_ino, [], threading.Event()

    def bystander() -> None:
        while not stop.is_set():
            number = os.open(__file__, os.O_RDONLY)
            try:
                if os.fstat(number).st_ino != own:
                    lost.append("another file")
                os.close(number)
            except OSError as error:
                lost.append(str(error))

    async def work() -> None:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(400):
                program = await Program.start(["/bin/true"], {}, 1024)
                program.stdin.close()
                await program.wait()
                program.close()

    threads = [threading.Thread(target=bystander) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert lost == []
