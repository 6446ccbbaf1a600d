"""Large pieces of answers that wait for their turn: what comes in time is not lost by that."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from reconciler.gateway.app import Ready
from reconciler.gateway.day import Days
from reconciler.gateway.pace import AnswerPace
from reconciler.gateway.service import Options, Service
from reconciler.gateway.streams import SAID_ALL_S
from reconciler.listening import DoorLimits
from reconciler.operations.parts import Parts
from reconciler.simulator import PROVIDERS
from reconciler.workspace import Workspace
from tests.support import DEADLINE_S, Site, copied
from tests.support_gateway import asked, headers_of
from tests.support_upstream import RawProvider, chunked, streamed

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
DONE = b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"choices": [], "usage": USAGE}).encode()
BEHIND = b": " + b"x" * 4096 + b"\n\n"


def test_turn_takes_nothing_from_the_time_of_what_follows(
    gateway_template: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes at once behind the last word of a stream passes, however long it waits to be worked on."""

    async def late(_: AnswerPace, __: str) -> None:
        await asyncio.sleep(3 * SAID_ALL_S)

    def answer(sock: socket.socket, _: bytes) -> None:
        sock.sendall(streamed() + chunked(DONE))
        time.sleep(SAID_ALL_S / 5)  # so that it comes by itself
        sock.sendall(chunked(BEHIND) + chunked(b""))

    monkeypatch.setattr(AnswerPace, "turn", late)
    provider = RawProvider()
    provider.answer = answer
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()
    with Parts(Workspace.open(copied(gateway_template, tmp_path).root), wait_s=DEADLINE_S) as parts:
        listening = socket.create_server(("127.0.0.1", 0))
        options = Options(dict.fromkeys(PROVIDERS, provider.origin), 16384, (), 5.0, 30.0, 60.0, DoorLimits(10.0, 10.0))
        ready = lambda: Ready(True, [])  # noqa: E731
        service = Service(parts.recorder, parts.backends, options, Days(), CollectorRegistry(), ready)
        thread = threading.Thread(target=loop.run_until_complete, args=(service.run(listening, stopping),))
        thread.start()
        try:
            path, body = asked("chat", "openai", stream=True)
            body["stream_options"] = {"include_usage": True}
            url = f"http://127.0.0.1:{listening.getsockname()[1]}{path}"
            got = httpx.post(url, json=body, headers=headers_of("chat"), timeout=DEADLINE_S)
            assert got.content == DONE + BEHIND
        finally:
            loop.call_soon_threadsafe(stopping.set)
            thread.join()
            loop.close()
            provider.close()
