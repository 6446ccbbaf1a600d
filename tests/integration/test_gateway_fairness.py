"""Large bodies of one agent, and what they are to all others: nothing that these wait for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import DEADLINE_S, Site, until
from tests.support_gateway import OUTSIDER, Bench, asked, headers_of, opened, refused

MIB = 1024 * 1024
LARGE = "a" * 500_000
ANSWER = json.dumps(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    }
).encode()


def workers(bench: Bench) -> list[int]:
    """Give the processes that judge large bodies."""
    tasks = Path(f"/proc/{bench.daemon.process.pid}/task")
    found = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in found if b"body_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def begun(pid: int) -> bool:
    """Tell whether such a process is at work: the last thing before is that it ignores SIGTERM."""
    ignored = re.findall(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())[0]
    return bool(int(ignored, 16) >> (signal.SIGTERM - 1) & 1)


def worked(pid: int) -> int:
    """Give the nanoseconds that a process has had a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Keep processes from running."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def waiting(bench: Bench, count: int) -> None:
    """Wait until so many requests are under way."""
    until("the requests to be under way", lambda: bench.metric("pai_requests_open") >= count)


class Taker:
    """A provider that keeps what it is sent as a digest and a length, and answers when it is told to."""

    def __init__(self, *, reads: bool = True, early: bytes = b"") -> None:
        self.digests: list[str] = []
        self.taken = threading.Semaphore(0)
        self.go = threading.Event()
        self._reads = reads
        self._early = early
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, rest = data.partition(b"\r\n\r\n")
            if self._early:
                connection.sendall(self._early)
                self.go.wait(DEADLINE_S)
                return
            if not self._reads:
                self.taken.release()
                self.go.wait(DEADLINE_S)
            digest = hashlib.sha256(rest)
            left = int(re.findall(rb"content-length: (\d+)", head)[0]) - len(rest)
            while left > 0:
                piece = connection.recv(65536)
                digest.update(piece)
                left -= len(piece)
            self.digests.append(digest.hexdigest())
            self.taken.release()
            self.go.wait(DEADLINE_S)
            lines = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
            connection.sendall(lines + ANSWER)

    def close(self) -> None:
        """Let everybody go."""
        self.go.set()
        self._listening.close()


@pytest.fixture
def alone(gateway_template: Site, tmp_path: Path) -> Iterator[Bench]:
    """Give a running gateway of the test's own, whose providers may be busy for long."""
    with opened(gateway_template, tmp_path, PAI_GATEWAY_READ_TIMEOUT="20s") as running:
        until("one for small bodies and one for large to be there", lambda: sum(map(begun, workers(running))) == 2)
        yield running


@contextlib.contextmanager
def beside(template: Site, folder: Path, taker: Taker) -> Iterator[Bench]:
    """Give a gateway whose OpenRouter is `taker`; all other providers are simulated."""
    with (
        contextlib.closing(taker),
        opened(template, folder, PAI_PROVIDERS_OPENROUTER_BASE_URL=taker.origin, PAI_GATEWAY_READ_TIMEOUT="20s") as run,
    ):
        yield run
        taker.go.set()


def test_judging_a_large_body_keeps_nobody_waiting(alone: Bench) -> None:
    """While the process that has an agent's large body does nothing at all, small requests and others' are served."""
    assert alone.ask("chat", "openai", LARGE).status_code == 200
    found = workers(alone)
    assert found
    with ThreadPoolExecutor() as threads:
        with stopped(*found):
            late = threads.submit(alone.ask, "chat", "openai", LARGE)
            waiting(alone, 1)
            assert alone.ask("chat", "openai").status_code == 200
            assert alone.ask("chat", "hidden", key=OUTSIDER).status_code == 200
            assert not late.done()
        assert late.result().status_code == 200


def test_small_body_that_says_much_keeps_nobody_waiting(alone: Bench) -> None:
    """So it is with a body that is small and takes long to be taken apart."""
    dense = [{"type": "text", "text": "a"}] * 1500
    _, body = asked("chat", "openai", messages=[{"role": "user", "content": dense}])
    assert len(json.dumps(body)) < 64 * 1024
    with ThreadPoolExecutor() as threads:
        with stopped(*workers(alone)):
            late = threads.submit(alone.raw, "chat", "openai", json.dumps(body).encode())
            waiting(alone, 1)
            assert alone.ask("chat", "hidden", key=OUTSIDER).status_code == 200
            assert not late.done()
        assert late.result().status_code == 200


def test_agents_large_bodies_wait_for_its_own_and_not_in_front_of_others(alone: Bench) -> None:
    """However many large bodies of an agent wait for the process that has its first, another agent's has another."""
    before = {pid: worked(pid) for pid in workers(alone)}
    assert alone.ask("chat", "openai", LARGE).status_code == 200
    with ThreadPoolExecutor(16) as threads:
        with stopped(max(before, key=lambda pid: worked(pid) - before[pid])):
            late = [threads.submit(alone.ask, "chat", "openai", LARGE) for _ in range(8)]
            waiting(alone, 8)
            assert alone.ask("chat", "hidden", LARGE, key=OUTSIDER).status_code == 200
            assert not any(one.done() for one in late)
        assert {one.result().status_code for one in late} == {200}


def test_process_that_dies_is_replaced(alone: Bench) -> None:
    """The body that it was asked about is refused as what may be tried again, one that was only on its way is not."""
    with ThreadPoolExecutor() as threads, stopped(*workers(alone)):
        late = threads.submit(alone.ask, "chat", "openai", LARGE)
        waiting(alone, 1)
        for pid in workers(alone):
            os.kill(pid, signal.SIGKILL)
    if late.result().status_code != 200:
        told = refused("chat", late.result())
        assert told.status == 503
        assert "try again" in told.message
        assert late.result().headers["retry-after"] == "1"
    assert alone.ask("chat", "openai", LARGE).status_code == 200
    assert alone.ask("chat", "hidden", LARGE, key=OUTSIDER).status_code == 200


class Mute(Taker):
    """A provider that says nothing, and leaves when it is told to."""

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            self.taken.release()
            self.go.wait(DEADLINE_S)


def test_bodies_that_a_process_had_that_died_are_judged_for_their_alternatives(
    gateway_template: Site, tmp_path: Path
) -> None:
    """While the first provider had them, whoever was to judge them for the next one was killed: nobody notices."""
    taker = Mute()
    with beside(gateway_template, tmp_path, taker) as bench, ThreadPoolExecutor() as threads:
        headers = {"x-pai-fallback": "openai"}
        asking = [threads.submit(bench.ask, "chat", "openrouter", LARGE, headers=headers) for _ in range(4)]
        for _ in asking:
            assert taker.taken.acquire(timeout=DEADLINE_S)
        for pid in workers(bench):
            os.kill(pid, signal.SIGKILL)
        until("all of them to be gone", lambda: not workers(bench))
        taker.go.set()
        assert [one.result().status_code for one in asking] == [200] * 4


@pytest.mark.parametrize("operation", ["chat", "messages"])
def test_large_body_goes_upstream_as_a_small_one_does(gateway_template: Site, tmp_path: Path, operation: str) -> None:
    """It is written anew in the other process: every byte of it comes, with the model and the limit put in."""
    taker = Taker()
    taker.go.set()
    say = '\\"ü😀\n' * 2_600_000
    with beside(gateway_template, tmp_path, taker) as bench:
        _, body = asked(operation, "openrouter", say)
        raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(raw) > 29 * MIB
        assert bench.raw(operation, "openrouter", raw).status_code == 200
        body["model"] = "vendor/model-openrouter"
        sent = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        assert taker.digests == [hashlib.sha256(sent).hexdigest()]


def test_agents_next_large_body_comes_when_the_first_was_sent(gateway_template: Site, tmp_path: Path) -> None:
    """A model that thinks for long over one of the largest bodies does not keep the agent from sending the next."""
    taker = Taker()
    with beside(gateway_template, tmp_path, taker) as bench, ThreadPoolExecutor() as threads:
        asking = [threads.submit(bench.ask, "chat", "openrouter", "a" * (31 * MIB)) for _ in range(2)]
        for _ in asking:
            assert taker.taken.acquire(timeout=DEADLINE_S)
        taker.go.set()
        assert {one.result().status_code for one in asking} == {200}


def test_provider_that_takes_nothing_holds_little(gateway_template: Site, tmp_path: Path) -> None:
    """A large body is sent no faster than it is taken, and kept outside the gateway's memory meanwhile."""
    taker = Taker(reads=False)
    with beside(gateway_template, tmp_path, taker) as bench, ThreadPoolExecutor() as threads:
        status = Path(f"/proc/{bench.daemon.process.pid}/status")
        before = int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
        late = threads.submit(bench.ask, "chat", "openrouter", "a" * (31 * MIB))
        assert taker.taken.acquire(timeout=DEADLINE_S)
        assert bench.ask("chat", "hidden", key=OUTSIDER).status_code == 200
        assert int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) - before < 20 * 1024
        taker.go.set()
        assert late.result().status_code == 200


def test_provider_that_refuses_before_it_has_all_is_passed_on(gateway_template: Site, tmp_path: Path) -> None:
    """An answer that begins while a large body is being sent ends the sending, and reaches the client."""
    taker = Taker(early=b"HTTP/1.1 413 Too Large\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nno!")
    with beside(gateway_template, tmp_path, taker) as bench:
        answer = bench.ask("chat", "openrouter", "a" * (31 * MIB))
        assert (answer.status_code, answer.content) == (413, b"no!")
        assert bench.outcomes("openrouter") == ["voided"]


@pytest.mark.parametrize(
    "content",
    [
        '"' + "x" * (31 * MIB) + '"',
        "[" + ",".join('{"type":"text","text":"%s"}' % ("y" * 300) for _ in range(60_000)) + "]",
        "["
        + ",".join(['{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}' % ("A" * MIB)] * 30)
        + "]",
        "[" * (15 * MIB) + "]" * (15 * MIB),
        "[" + "{}," * (10 * MIB) + "{}]",
    ],
    ids=["text", "parts", "images", "depth", "values"],
)
def test_large_bodies_take_little_memory_together(alone: Bench, content: str) -> None:
    """Whatever stands in them, three at once of one agent raise the memory of all processes by 100 MiB at most."""
    raw = ('{"model":"openai","max_tokens":50,"messages":[{"role":"user","content":' + content + "}]}").encode()
    pids = [alone.daemon.process.pid, *workers(alone)]
    folders = [Path(f"/proc/{pid}") for pid in pids]
    for folder in folders:
        (folder / "clear_refs").write_text("5")  # the highest so far is forgotten

    def highest() -> int:
        return sum(int(re.findall(r"VmHWM:\s+(\d+) kB", (it / "status").read_text())[0]) for it in folders)

    before = highest()
    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(alone.raw, "chat", "openai", raw, headers=headers_of("chat")) for _ in range(3)]
        assert {one.result().status_code for one in asking} <= {200, 400}
    assert highest() - before < 100 * 1024
    assert pids[1:] == workers(alone)
