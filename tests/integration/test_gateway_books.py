"""A reservation that nobody is told of is taken back, whenever the log can be written again."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.core import events as ev
from reconciler.core.budget import Account, Ask
from reconciler.core.reservations import Denied, Usage, settle, void
from reconciler.gateway.admission import Admission
from reconciler.gateway.auth import AgentCaller
from reconciler.gateway.body import Body
from reconciler.gateway.books import Books
from reconciler.gateway.bridge import Bridge
from reconciler.gateway.calls import Credentials, Route
from reconciler.gateway.offloading import parse
from reconciler.gateway.refusal import Refusal
from reconciler.gateway.surfaces import SURFACES
from reconciler.log.store import Log
from reconciler.providers import PROVIDERS
from reconciler.recorder import Recorder
from reconciler.secrets.reader import SecretReader
from tests.support_log import FaultyBackend, TwiceRecorder, binding, decide, new_log

DAY = "2026-11-23"
POSITION = 2
DIGEST = "d" * 64
ISSUED = ev.KeyIssued(agent="a", digest=DIGEST, expires="", networks=[])


def may_use(*bindings: str) -> ev.Draft:
    """Draft what an agent may use."""
    spec: dict[str, object] = {"modelBindings": list(bindings)}
    payload = ev.AgentChanged(
        spec=spec, previous=None, changed=["modelBindings"], file="agents/a.yaml", line=1, revision="a" * 40
    )
    return ev.Draft("tester", "agent/a", payload)


@pytest.fixture
def backend(tmp_path: Path) -> FaultyBackend:
    """A backend that fails when told to."""
    return FaultyBackend(new_log(tmp_path))


@pytest.fixture(params=[Recorder, TwiceRecorder])
def recorder(
    backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Recorder]:
    """A recorder with the binding `m` and a key; what fails is tried again soon."""
    monkeypatch.setattr("reconciler.gateway.books.RETRY_S", 0.02)
    with request.param(backend, retry_s=0.01) as opened:
        issued = ev.Draft("tester", "key/key-1", ISSUED)
        assert opened.record(decide(may_use("m"), binding("m", 1000), issued)).first == POSITION - 1
        yield opened


@asynccontextmanager
async def books_of(recorder: Recorder) -> AsyncIterator[Books]:
    """Keep books in the running loop, as of one that serves several requests."""
    books = Books(recorder, Bridge(), lambda: DAY, lambda _seconds: None)
    books.under_way = 2
    yield books
    await books.close()


def hold(books: Books, request: str, tokens: int = 100) -> Awaitable[object]:
    """Reserve tokens."""
    return books.grant(
        AgentCaller("a", "key-1", DIGEST), "openai", request, "m", POSITION, Ask(tokens, tokens, 0), lower=False
    )


async def eventually(probe: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.005)


def outcomes(log: Log) -> list[tuple[str, str, str]]:
    """Give request, type and reason of what happened to tokens."""
    reader = log.reader()
    payloads = [ev.decode(stored.body).payload for stored in reader.read(POSITION + 2)]
    reader.close()
    return [(getattr(p, "request", ""), p.type, getattr(p, "reason", "")) for p in payloads]


def nothing_open(recorder: Recorder) -> bool:
    """Tell whether every reservation is resolved and nothing counts."""
    if not recorder.status().writable:
        return False
    account = recorder.read(lambda state: state.ledger.account("m", DAY))
    return account == Account(DAY) and not recorder.read(lambda state: dict(state.ledger.open))


def test_reservation_of_unknown_fate_is_voided(recorder: Recorder, backend: FaultyBackend) -> None:
    """The commit is on the disk, the caller was told that it is not: once the log is back, it is voided."""

    async def work() -> None:
        async with books_of(recorder) as books:
            backend.due.after_commit = backend.due.opens = 1
            with pytest.raises(Refusal) as caught:
                await hold(books, "r")
            assert caught.value.reason == "log"
            await eventually(lambda: len(outcomes(backend.log)) == 2)

    asyncio.run(work())
    assert outcomes(backend.log) == [("r", "tokens.reserved.v1", ""), ("r", "tokens.voided.v1", "not sent")]
    assert nothing_open(recorder)


def test_reservation_whose_caller_was_cancelled_is_voided(recorder: Recorder, backend: FaultyBackend) -> None:
    """A request that is cancelled while its reservation is being written leaves nothing behind."""

    async def work() -> None:
        async with books_of(recorder) as books:
            backend.due.gate.clear()
            task = asyncio.ensure_future(hold(books, "r"))
            await eventually(lambda: backend.due.waiting.acquire(blocking=False) and len(backend.due.appends) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            backend.due.gate.set()
            await eventually(lambda: len(outcomes(backend.log)) == 2)

    asyncio.run(work())
    assert outcomes(backend.log) == [("r", "tokens.reserved.v1", ""), ("r", "tokens.voided.v1", "not sent")]
    assert nothing_open(recorder)


def test_outcome_whose_caller_was_cancelled_is_recorded_though_its_commit_fails(
    recorder: Recorder, backend: FaultyBackend
) -> None:
    """Nobody waits for it any more, and it is tried again until it is on the log."""

    async def work() -> None:
        async with books_of(recorder) as books:
            await hold(books, "r")
            backend.due.gate.clear()
            task = asyncio.ensure_future(
                books.resolve("r", "m", partial(settle, usage=Usage(1, 0, 0, 2, 0, 3)), 200, ev.Durations(0, 0))
            )
            await eventually(lambda: len(backend.due.appends) == 3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            backend.due.before_commit = 1
            backend.due.gate.set()
            await eventually(lambda: len(outcomes(backend.log)) == 2)

    asyncio.run(work())
    assert outcomes(backend.log)[1:] == [("r", "tokens.settled.v1", "")]
    assert recorder.read(lambda state: state.ledger.account("m", DAY)) == Account(DAY, 3, 0)


def test_outcome_that_is_tried_again_is_not_that_of_the_next_reservation(
    recorder: Recorder, backend: FaultyBackend
) -> None:
    """While one is tried again, another request goes on to an alternative: what is held there stays."""
    recorder.record(decide(may_use("m", "n"), binding("n", 1000)))
    alternative = recorder.read(lambda state: state.models["n"].position)
    caller = AgentCaller("a", "key-1", DIGEST)

    async def go_on(books: Books) -> None:
        await books.resolve("r", "m", void, 503, ev.Durations(0, 0), "overloaded")
        await books.grant(caller, "openai", "r", "n", alternative, Ask(100, 100, 0), lower=False)
        await eventually(lambda: not any("s" in owed for owed in books._unsettled))
        await asyncio.sleep(0.05)
        await books.resolve("r", "n", partial(settle, usage=Usage(10, 0, 0, 90, 0, 100)), 200, ev.Durations(0, 0))

    async def work() -> None:
        async with books_of(recorder) as books:
            await hold(books, "r")
            await hold(books, "s")
            backend.due.before_commit = 1
            failing = asyncio.ensure_future(books.resolve("s", "m", void, 503, ev.Durations(0, 0), "overloaded"))
            await eventually(lambda: books._retrying is not None and recorder.status().writable)
            backend.due.gate.clear()
            going_on = asyncio.ensure_future(go_on(books))
            await asyncio.sleep(0.05)  # both are being tried by now
            backend.due.gate.set()
            await asyncio.gather(failing, going_on)

    asyncio.run(work())
    assert outcomes(backend.log)[-1] == ("r", "tokens.settled.v1", "")
    assert recorder.read(lambda state: state.ledger.account("n", DAY)) == Account(DAY, 100, 0)
    assert nothing_open(recorder)


def test_lone_request_is_recorded_without_a_change_of_threads(recorder: Recorder, backend: FaultyBackend) -> None:
    """With nobody else to serve, a reservation and its outcome are durable once the call returns, and seen as ever."""

    async def work() -> None:
        async with books_of(recorder) as books:
            books.under_way = 1
            recorder._quick_s = math.inf
            threads: list[str] = []
            recorder.on_commit(lambda _size: threads.append(threading.current_thread().name))
            await hold(books, "r")
            await books.resolve("r", "m", partial(settle, usage=Usage(1, 0, 0, 2, 0, 3)), 200, ev.Durations(0, 0))
            backend.due.before_commit = 1
            with pytest.raises(Refusal):
                await hold(books, "s")
            assert threads == [threading.current_thread().name] * 2

    asyncio.run(work())
    assert [kind for _, kind, _ in outcomes(backend.log)] == ["tokens.reserved.v1", "tokens.settled.v1"]
    assert recorder.read(lambda state: state.ledger.account("m", DAY)) == Account(DAY, 3, 0)


def test_reservation_that_never_was_leaves_no_event(recorder: Recorder, backend: FaultyBackend) -> None:
    """A commit that reached nothing, and a log that takes nothing at all, are refused; nothing is owed."""

    async def work() -> None:
        async with books_of(recorder) as books:
            backend.due.before_commit, backend.due.opens = 1, 2
            for request in ("r", "s"):
                with pytest.raises(Refusal):
                    await hold(books, request)
            await eventually(lambda: recorder.status().writable and not books._unsettled)
            await hold(books, "t")
            await books.resolve("t", "m", void, 0, ev.Durations(0, 0), "enough")

    asyncio.run(work())
    assert [request for request, _, _ in outcomes(backend.log)] == ["t", "t"]
    assert nothing_open(recorder)


def test_nothing_is_reserved_for_a_key_that_was_revoked_meanwhile(recorder: Recorder) -> None:
    """A body may take minutes, and so may each provider that fails before another binding is tried."""

    async def go() -> None:
        async with books_of(recorder) as books:
            await hold(books, "r")
            recorder.record(decide(ev.Draft("tester", "key/key-1", ev.KeyRevoked(agent="a", digest=DIGEST))))
            with pytest.raises(Refusal, match="key-1 was revoked"):
                await hold(books, "s")

    asyncio.run(go())


def test_nothing_is_reserved_on_a_binding_that_was_taken_away_meanwhile(recorder: Recorder) -> None:
    """A request that waited for a count, or for its turn to be judged, went where new ones were refused."""

    async def go() -> None:
        async with books_of(recorder) as books:
            await hold(books, "r")
            recorder.record(decide(may_use("other")))
            with pytest.raises(Refusal, match="may not use binding m; its bindings: other"):
                await hold(books, "s")

    asyncio.run(go())


def test_log_that_takes_nothing_leaves_nothing_to_take_back(recorder: Recorder, backend: FaultyBackend) -> None:
    """While the disk is full, agents ask again and again: what was never decided on is not kept for later."""

    async def work() -> None:
        async with books_of(recorder) as books:
            backend.due.before_commit, backend.due.opens = 1, 10**6
            for number in range(50):
                with pytest.raises(Refusal):
                    await hold(books, f"r{number}")
            assert len(books._unsettled) <= 1  # the one whose commit failed
            backend.due.opens = 0

    asyncio.run(work())


def test_outcome_that_was_tried_again_meanwhile_is_no_failure_of_its_caller(recorder: Recorder) -> None:
    """Whoever tries all again takes those too that are on their way, and may hear of it before their callers do."""

    async def work() -> None:
        async with books_of(recorder) as books:
            await hold(books, "r")
            settling = asyncio.ensure_future(
                books.resolve("r", "m", partial(settle, usage=Usage(1, 0, 0, 2, 0, 3)), 200, ev.Durations(0, 0))
            )
            await asyncio.sleep(0)
            recorder.record(decide(may_use("m")))  # it is durable by now, and its caller's turn has not come
            await books.close()
            await settling

    asyncio.run(work())
    assert recorder.read(lambda state: state.ledger.account("m", DAY)) == Account(DAY, 3, 0)


def test_later_outcome_of_a_name_stays_until_it_is_recorded_itself(recorder: Recorder) -> None:
    """The input of a request may be counted twice on one binding: the first one's end is not that of the second."""

    async def work() -> None:
        async with books_of(recorder) as books:
            books.under_way, recorder._quick_s = 1, math.inf  # nothing here has to wait for the loop
            await hold(books, "r")
            books.void_now("r", "m", 0, "counting is free")
            first = books._unsettled["r", "m"]
            recorder.record(decide(may_use("m")))
            await hold(books, "r")
            recorder.hold("says the test")
            books.void_now("r", "m", 0, "counting is free")
            await asyncio.sleep(0.01)
            assert books._unsettled.get(("r", "m")) not in (None, first)
            recorder.resume(decide())
            await eventually(lambda: not books._unsettled)

    asyncio.run(work())
    assert nothing_open(recorder)


class Counting:
    """An upstream that counts, at the first time while the log takes nothing."""

    def __init__(self, recorder: Recorder) -> None:
        self.asked = 0
        self._recorder = recorder
        self.status, self.close = 200, lambda: None

    async def post(self, *_: object, **__: object) -> Counting:
        """Answer."""
        self.asked += 1
        if self.asked == 1:
            self._recorder.hold("says the test")
        return self

    async def whole(self, _size_max: int) -> bytes:
        """Give a count."""
        return b'{"totalTokens": 7}'


def test_second_count_of_a_request_waits_for_no_outcome_of_the_first(
    recorder: Recorder, backend: FaultyBackend
) -> None:
    """The binding may change after a count, so that all is decided anew while the end of that count is owed still."""

    async def work() -> None:
        async with books_of(recorder) as books:
            upstream: Any = Counting(recorder)
            nothing: Any = None
            admission = Admission(books, upstream, SecretReader(nothing), PROVIDERS, SURFACES, 100)
            call = parse(Route(SURFACES["gemini"], "generate", "m", "generateContent"), Body(b"{}"), (), b"")
            caller = AgentCaller("a", "key-1", DIGEST)
            target = recorder.read(lambda state: admission._target(state, call, caller, "m", "r"))
            assert await admission._count(target, Credentials()) == (200, 7)
            recorder.resume(decide())
            assert await admission._count(target, Credentials()) == (200, 7)
            await eventually(lambda: not books._unsettled)

    asyncio.run(work())
    counted = [(request, kind) for request, kind, _ in outcomes(backend.log) if request]
    assert {request for request, _ in counted} == {"r-count", "r-count-2"}
    assert sorted(kind for _, kind in counted) == ["tokens.reserved.v1"] * 2 + ["tokens.voided.v1"] * 2
    assert nothing_open(recorder)


def test_refusal_keeps_nothing_of_its_request(recorder: Recorder) -> None:
    """Whoever hammers a spent budget leaves no body behind that waits for the collector."""

    class Body:
        pass

    bodies: list[weakref.ref[Body]] = []

    async def admit(books: Books) -> None:
        body = Body()
        bodies.append(weakref.ref(body))
        try:
            await hold(books, "r", 2000)
        except Denied:
            raise Refusal("day-budget", "spent") from None

    async def work() -> None:
        async with books_of(recorder) as books:
            for under_way in (1, 2):
                books.under_way = under_way
                with pytest.raises(Refusal) as caught:
                    await admit(books)
                caught.value.forget()
                del caught

    gc.collect()
    gc.disable()
    try:
        asyncio.run(work())
        assert [body() for body in bodies] == [None, None]
    finally:
        gc.enable()
