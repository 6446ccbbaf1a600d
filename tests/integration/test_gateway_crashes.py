"""A daemon that is killed, stopped or robbed of its disk under load: nothing leaks, nothing goes unrecorded."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from reconciler.simulator import Fault
from tests.support import DEADLINE_S, Site, until
from tests.support_gateway import PAIRS, Bench, asked, assert_books_balance, headers_of, opened, refused

KILLS = int(os.environ.get("PAI_GATEWAY_KILLS", "5"))
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.ConnectError, httpx.WriteError)


def attempt(bench: Bench, *words: str, **options: object) -> httpx.Response | None:
    """Send a request; give its answer, or None if the connection broke."""
    with contextlib.suppress(*BROKEN):
        return bench.ask(*words, **options)  # type: ignore[arg-type]
    return None


def arrived(bench: Bench, count: int = 1) -> None:
    """Wait until so many requests have reached a provider."""
    until("requests upstream", lambda: len(bench.simulator.requests()) >= count)


def test_reservation_is_durable_before_the_provider_sees_the_request(own: Bench) -> None:
    """While a provider holds a request, the log on the disk has its reservation, and status tells it as reserved."""
    for operation, provider in PAIRS:
        before = len(own.tokens(provider))
        own.simulator.fault(Fault(wait_s=0.5))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(own.ask, operation, provider)
            until("the request upstream", lambda: own.simulator.pending() == [])
            (reserved,) = own.tokens(provider)[before:]
            assert reserved["type"] == "tokens.reserved.v1"
            assert own.reserved()[provider] == reserved["data"]["tokens"]
            assert waiting.result().status_code == 200


def test_killed_daemon_forfeits_what_was_open(own: Bench) -> None:
    """After `kill -9` in mid-stream the next start counts every open reservation in full, and serves again."""
    own.simulator.fault(Fault(delay_s=0.3, times=len(PAIRS)))
    with ThreadPoolExecutor(len(PAIRS)) as pool:
        waiting = [pool.submit(attempt, own, *pair, stream=True) for pair in PAIRS]
        arrived(own, len(PAIRS))
        own.daemon.kill()
        assert [future.result() for future in waiting] == [None] * len(PAIRS)
    assert all(own.reserved().values())
    own.restart()
    assert not any(own.reserved().values())
    forfeited = [row["data"] for row in own.tokens() if row["type"] == "tokens.forfeited.v1"]
    assert [data["reason"] for data in forfeited] == ["the daemon was restarted"] * len(PAIRS)
    assert own.ask("chat", "openai").status_code == 200
    assert_books_balance(own)


def test_kills_at_any_moment_leave_balanced_books(own: Bench) -> None:
    """Killed again and again under load, with a budget that fits few requests, the day's budget holds all the same."""
    dice = random.Random(os.environ.get("PAI_SEED", "7"))  # noqa: S311
    with ThreadPoolExecutor(6) as pool:
        for _ in range(KILLS):
            running = [pool.submit(_hammer, own, number) for number in range(6)]
            time.sleep(dice.uniform(0.01, 0.4))  # the moment of the kill is the input, not a wait for something
            own.daemon.kill()
            for future in running:
                future.result()
            own.restart()
            assert_books_balance(own)
    own.site.pai("verify")


def _hammer(bench: Bench, number: int) -> None:
    """Send requests until the daemon is gone."""
    with contextlib.suppress(*BROKEN):
        while True:
            bench.ask(*PAIRS[number % len(PAIRS)], stream=number % 2 == 0, limit=30)


def test_sigterm_lets_open_streams_end_whole(own: Bench) -> None:
    """On SIGTERM open answers end whole and are settled, new connections are refused, and the daemon exits 0."""
    own.simulator.fault(Fault(delay_s=0.1, times=len(PAIRS)))
    with ThreadPoolExecutor(len(PAIRS)) as pool:
        waiting = [pool.submit(own.ask, *pair, stream=True) for pair in PAIRS]
        arrived(own, len(PAIRS))
        port = own.port
        own.daemon.process.send_signal(signal.SIGTERM)
        until("new connections to be refused", lambda: _is_refused(port))
        answers = [future.result() for future in waiting]
    assert own.daemon.process.wait(DEADLINE_S) == 0
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].text.endswith("data: [DONE]\n\n")
    assert {row["type"] for row in own.tokens()} == {"tokens.reserved.v1", "tokens.settled.v1"}
    assert "Traceback" not in own.daemon.log
    assert_books_balance(own)


def _is_refused(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1)
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False
    return False


def test_drain_that_takes_too_long_is_ended(gateway_template: Site, tmp_path: Path) -> None:
    """What is still open after the drain timeout is broken off and forfeited; the exit code is 0 all the same."""
    with opened(gateway_template, tmp_path, PAI_GATEWAY_DRAIN_TIMEOUT="1s", PAI_GATEWAY_READ_TIMEOUT="60s") as bench:
        bench.simulator.fault(Fault(stall_after=3, stall_s=60), Fault(wait_s=60))
        with ThreadPoolExecutor() as pool:
            waiting: list[Future[httpx.Response | None]] = []
            for number, words in enumerate((("chat", "openai"), ("messages", "anthropic")), 1):
                waiting.append(pool.submit(attempt, bench, *words, stream=number == 1))
                arrived(bench, number)  # the faults are dealt out in this order
            began = time.monotonic()
            assert bench.daemon.stop() == 0
            assert time.monotonic() - began < 10
            assert waiting[0].result() is None
            answer = waiting[1].result()
            assert answer is not None
            assert refused("messages", answer).status == 503
        assert "Traceback" not in bench.daemon.log
        assert [row["type"] for row in bench.tokens()].count("tokens.forfeited.v1") == 2
        assert_books_balance(bench)


@contextlib.contextmanager
def full_disk(bench: Bench) -> Iterator[None]:
    """Have the daemon write nothing meanwhile: every write beyond the first block of a file fails."""
    pid = bench.daemon.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextlib.contextmanager
def injected(bench: Bench, fault: str) -> Iterator[None]:
    """Have system calls of the daemon fail, or be slow, meanwhile."""
    assert shutil.which("strace"), "strace is missing: install it, the fault tests need it"
    pid = bench.daemon.process.pid
    call = fault.partition(":")[0]
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={call}", "-e", f"inject={fault}"]
    with subprocess.Popen(words) as tracer:
        try:
            until("the tracer", lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text())
            yield
        finally:
            tracer.terminate()


def test_full_disk_is_a_503_and_nothing_is_forwarded(own: Bench) -> None:
    """While the log takes nothing, every request is a 503 in its SDK's words and no provider sees one."""
    assert own.ask("chat", "openai").status_code == 200
    seen = len(own.simulator.requests())
    with full_disk(own):
        for operation, provider in PAIRS:
            found = refused(operation, own.ask(operation, provider))
            assert found.status == 503
            assert "log" in found.message
            assert "/" not in found.message, "what an agent reads names no file of the server"
        assert len(own.simulator.requests()) == seen
        assert own.client.get("/readyz").status_code == 503
        assert own.client.get("/healthz").status_code == 200
    until("the log to be written again", lambda: own.ask("chat", "openai").status_code == 200)
    assert_books_balance(own)


def test_log_that_failed_for_another_is_opened_again(own: Bench) -> None:
    """A log that was lost over somebody else's command comes back by itself: nothing has to be recorded for that."""
    with full_disk(own):
        own.site.pai("add", "secret", "other", "--from-literal", "k=v", code=3)
        assert own.ask("chat", "openai").status_code == 503
    until("the log to be read again", lambda: own.ask("chat", "openai").status_code == 200, 10)
    assert_books_balance(own)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_failing_sync_is_a_503_and_nothing_is_forwarded(own: Bench, error: str) -> None:
    """A reservation whose sync failed is not taken for durable: 503, nothing upstream; later all goes on."""
    assert own.ask("chat", "openai").status_code == 200
    seen = len(own.simulator.requests())
    with injected(own, f"fdatasync:error={error}"):
        for _ in range(3):
            assert refused("chat", own.ask("chat", "openai")).status == 503
        assert len(own.simulator.requests()) == seen
    until("the log to be written again", lambda: own.ask("chat", "openai").status_code == 200)
    assert_books_balance(own)
    own.site.pai("verify")


def test_slow_sync_holds_the_request_back(own: Bench) -> None:
    """While the sync of its reservation takes long, a request does not leave; then it does, and is served."""
    with injected(own, "fdatasync:delay_enter=1500000"), ThreadPoolExecutor() as pool:
        waiting = pool.submit(own.ask, "chat", "openai")
        time.sleep(0.7)
        assert own.simulator.requests() == []
        assert waiting.result().status_code == 200
    assert_books_balance(own)


def test_outcome_that_the_disk_does_not_take_is_kept_and_written_later(own: Bench) -> None:
    """The disk fills while an answer streams: its end is held back until the outcome is durable, and then sent."""
    own.simulator.fault(Fault(delay_s=0.05), Fault(wait_s=1))
    got: list[bytes] = []
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(_collect, own, got), pool.submit(own.ask, "messages", "anthropic")]
        arrived(own, 2)
        with full_disk(own):
            until("the provider's last byte", lambda: all(visit.delivered for visit in own.simulator.requests()))
            until("the last of the text", lambda: b'"finish_reason":"stop"' in b"".join(got))
            time.sleep(0.3)
            assert [future.done() for future in waiting] == [False, False]
            assert b"[DONE]" not in b"".join(got), "the end was told before the outcome was durable"
        assert [future.result().status_code for future in waiting] == [200, 200]
    assert b"".join(got).endswith(b"data: [DONE]\n\n")
    assert {row["type"] for row in own.tokens()} == {"tokens.reserved.v1", "tokens.settled.v1"}
    assert_books_balance(own)


def _collect(bench: Bench, got: list[bytes]) -> httpx.Response:
    """Have an answer streamed into `got`."""
    path, body = asked("chat", "openai", stream=True)
    with bench.client.stream("POST", path, json=body, headers=headers_of("chat")) as answer:
        got += answer.iter_bytes()
    return answer


def test_outcome_of_a_client_that_left_survives_a_full_disk(own: Bench) -> None:
    """Nobody waits any more, the disk is full, and the outcome is settled all the same once there is room."""
    own.simulator.fault(Fault(delay_s=0.05))
    path, body = asked("chat", "openai", stream=True)
    with contextlib.ExitStack() as stack:
        with own.client.stream("POST", path, json=body, headers=headers_of("chat")) as answer:
            next(answer.iter_bytes())
            stack.enter_context(full_disk(own))
        until("the provider's last byte", lambda: own.simulator.requests()[-1].delivered)
        time.sleep(0.3)
    own.quiet()
    assert own.outcomes("openai") == ["settled"]
    assert_books_balance(own)
