"""A bug of the gateway's own, wherever it is, is a 500 in the words of the client's SDK that tells nothing but an id.

The gateway runs in this process, on real sockets, with one part that fails as a bug would.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from reconciler.core.errors import LogNotWritable
from reconciler.core.events import Draft
from reconciler.core.state import State
from reconciler.gateway.app import Ready
from reconciler.gateway.day import Days
from reconciler.gateway.service import Options, Service
from reconciler.listening import DoorLimits
from reconciler.log.sqlite.store import SqliteBackend
from reconciler.log.store import Rows, Store, Stored
from reconciler.recorder import Recorder, Ticket
from reconciler.secrets.secret_value import SecretValue
from reconciler.simulator import Simulator
from tests.support import DEADLINE_S, Site, copied
from tests.support_gateway import PAIRS, PROVIDERS, SURFACE, asked, headers_of, refused
from tests.support_log import FaultyBackend, FaultyStore, decide, secret

CANARY = "canary of the bug"


class Bug(Exception):
    """What nobody expects."""

    def __init__(self) -> None:
        super().__init__(CANARY)


class Careless(Recorder):
    """A recorder whose decisions about tokens fail by a bug once it is told to."""

    careless = False

    def submit(self, decide: Callable[[State], Sequence[Draft]], *, alone: bool = False) -> Ticket:
        """Decide, or fail while deciding."""

        def failing(state: State) -> Sequence[Draft]:
            decide(state)
            raise Bug

        return super().submit(failing if self.careless else decide, alone=alone)


class Breaking(FaultyBackend):
    """A store whose next commit fails by a bug."""

    broken = False

    def open(self) -> Store:
        """Open a store."""
        return cast("Store", BreakingStore(super().open(), self))


class BreakingStore(FaultyStore):
    """A real store that fails as a bug would."""

    def __init__(self, store: Store, of: Breaking) -> None:
        super().__init__(store, of.due)
        self._of = of

    def append(self, events: Sequence[Stored], rows: Rows) -> None:
        """Append, or fail."""
        if self._of.broken:
            self._of.broken = False
            raise Bug
        self._store.append(events, rows)


class Given:
    """Secrets that are read by a function."""

    def __init__(self, resolve: Callable[[str, str], SecretValue]) -> None:
        self.resolve = resolve

    def at_hand(self, _name: str, _key: str) -> SecretValue | None:
        """Give nothing: all is read."""
        return None


@contextlib.contextmanager
def serving(
    recorder: Recorder, resolve: Callable[[str, str], SecretValue], simulator: Simulator
) -> Iterator[httpx.Client]:
    """Serve on a loop of its own, and give a client."""
    listening = socket.create_server(("127.0.0.1", 0))
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()
    origins = {name: simulator.origin(name) for name in PROVIDERS}  # type: ignore[arg-type]
    options = Options(origins, 16384, (), 5.0, 30.0, 60.0, DoorLimits(10.0, 10.0))
    days = Days(lambda: 1_795_000_000_000_000, lambda: 1000.0)
    service = Service(recorder, Given(resolve), options, days, CollectorRegistry(), unhealthy)
    thread = threading.Thread(target=loop.run_until_complete, args=(service.run(listening, stopping),))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=DEADLINE_S) as client:
            yield client
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


def ask(client: httpx.Client, operation: str, provider: str) -> httpx.Response:
    """Send a request."""
    path, body = asked(operation, provider)
    return client.post(path, json=body, headers=headers_of(operation))


def key(name: str, _: str) -> SecretValue:
    """Give some key of a provider."""
    return SecretValue(f"sk-{name}-0123456789".encode())


def broken(_name: str, _key: str) -> SecretValue:
    """Fail as a bug would."""
    raise Bug


def unhealthy() -> Ready:
    """Fail as a bug would."""
    raise Bug


KINDS = {"openai": "internal_error", "anthropic": "api_error", "gemini": "INTERNAL"}


def check(answer: httpx.Response, operation: str, log: pytest.LogCaptureFixture) -> None:
    """An internal error names the request and nothing else, and the log has the bug with the same name."""
    found = refused(operation, answer)
    assert (found.status, found.kind) == (500, KINDS[SURFACE[operation]])
    request = answer.headers["x-pai-request-id"]
    assert request in found.message
    assert CANARY not in answer.text
    assert "Bug" not in answer.text
    assert "log" not in found.kind
    assert any(request in record.getMessage() and record.exc_info for record in log.records)


@pytest.fixture
def workspace(gateway_template: Site, tmp_path: Path) -> Site:
    """Give a workspace of its own that no daemon serves."""
    return copied(gateway_template, tmp_path)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Give providers that take any key."""
    with Simulator() as running:
        yield running


@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_bug_on_the_way_is_an_internal_error(
    workspace: Site, simulator: Simulator, caplog: pytest.LogCaptureFixture, operation: str, provider: str
) -> None:
    """What fails before a byte leaves is a 500 on every surface; nothing is reserved and nothing is sent."""
    with Recorder(SqliteBackend(workspace.database)) as recorder, serving(recorder, broken, simulator) as client:
        check(ask(client, operation, provider), operation, caplog)
        assert not recorder.read(lambda state: dict(state.ledger.open))
    assert simulator.requests() == []


def test_bug_in_a_decision_is_an_internal_error(
    workspace: Site, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A decision that fails takes nothing with it: the next one is made as if it had never been."""
    with Careless(SqliteBackend(workspace.database)) as recorder, serving(recorder, key, simulator) as client:
        recorder.careless = True
        for operation, provider in PAIRS:
            check(ask(client, operation, provider), operation, caplog)
        recorder.careless = False
        assert ask(client, "chat", "openai").status_code == 200
    assert len(simulator.requests()) == 1


def test_bug_in_a_commit_is_an_internal_error(
    workspace: Site, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails in the writer's hands is a bug too, and no full disk; its text stays in the log of the operator."""
    backend = Breaking(workspace.database)
    with Recorder(backend, retry_s=0.01) as recorder, serving(recorder, key, simulator) as client:
        backend.broken = True
        check(ask(client, "messages", "anthropic"), "messages", caplog)
        assert ask(client, "messages", "anthropic").status_code == 200
        backend.due.before_commit = 1
        answer = ask(client, "messages", "anthropic")
        assert refused("messages", answer).status == 503, "a disk that is full is none"
    assert CANARY in caplog.text
    assert any(record.exc_info and record.name.startswith("reconciler.recorder") for record in caplog.records)


def test_bug_in_readiness_is_not_readiness(
    workspace: Site, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks whether the gateway is ready gets an answer all the same: no."""
    with Recorder(SqliteBackend(workspace.database)) as recorder, serving(recorder, key, simulator) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (500, {"ready": False, "reasons": ["an internal error"]})
        request = answer.headers["x-pai-request-id"]
        assert any(request in record.getMessage() and record.exc_info for record in caplog.records)
        assert client.get("/healthz").status_code == 200


def test_error_of_the_log_says_whether_it_is_a_bug(workspace: Site) -> None:
    """The caller of the recorder is told apart: a full disk, or a bug."""
    backend = Breaking(workspace.database)
    with Recorder(backend, retry_s=0.01) as recorder:
        for fault, internal in (("bug", True), ("disk", False)):
            if internal:
                backend.broken = True
            else:
                backend.due.before_commit = 1
            with pytest.raises(LogNotWritable) as caught:
                recorder.record(decide(secret("s")))
            assert (fault, caught.value.internal) == (fault, internal)
            assert CANARY not in caught.value.message
