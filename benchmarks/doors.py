"""Whatever answers chat completions on loopback: how it is asked, and what its processes take."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.load import HOST, Load

_TICKS = os.sysconf("SC_CLK_TCK")
PATH = "/v1/chat/completions"
PROMPT = "Say hello to the world."
REPLY_TOKENS = 30
BUDGET = 300
"""Tokens that the model `tight` may use a day."""


class Door(NamedTuple):
    """One that answers on `port`: `headers` are lines to send, `pid` is its first process (0: it is not measured)."""

    name: str
    port: int
    headers: tuple[str, ...]
    pid: int
    path: str = PATH

    def load(
        self,
        model: str,
        connections: int,
        count: int,
        *,
        stream: bool = False,
        hold: bool = False,
        spread_s: float = 0.0,
    ) -> Load:
        """Make a load of small chat requests to it; all else as in Load."""
        messages = [{"role": "user", "content": PROMPT}]
        body = {"model": model, "messages": messages, "max_tokens": REPLY_TOKENS, "stream": stream}
        text = msgspec.json.encode(body).decode()
        head = (
            f"POST {self.path} HTTP/1.1",
            f"host: {HOST}:{self.port}",
            "content-type: application/json",
            "accept: application/json",
            "user-agent: benchmark/1",
            *self.headers,
            f"content-length: {len(text)}",
        )
        return Load(self.port, "\r\n".join((*head, "", text)), connections, count, stream, hold, spread_s)

    def cpu_s(self) -> float:
        """Give the CPU seconds of its processes until now, in user code and in the kernel."""
        return sum(_cpu_s(pid) for pid in _family(self.pid)) if self.pid else 0.0

    def memory_mb(self) -> float:
        """Give the resident memory of its processes, in MB."""
        return sum(_resident_mb(pid) for pid in _family(self.pid)) if self.pid else 0.0


def _family(pid: int) -> list[int]:
    """Give a process and all that descend from it."""
    found = [pid]
    for member in found:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS  # its own, and of children that have ended


def _resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path, port: int, start_s: float) -> Iterator[int]:
    """Run a server until the block ends; it begins when the server listens on `port`. Gives its process id."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, cwd=log.parent, start_new_session=True
        )
        try:
            _await_listening(process, port, log, start_s)
            yield process.pid
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started as the leader of a session, and all that it started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_listening(process: subprocess.Popen[bytes], port: int, log: Path, start_s: float) -> None:
    deadline = time.monotonic() + start_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.05)
    raise OSError(f"it does not listen\n{log.read_text()[-2000:]}")
