"""What the HTTP API answers is made beside the event loop, which serves agents too."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from reconciler.admin import api
from reconciler.admin import written as module_of_written
from reconciler.admin.api import Api
from reconciler.admin.questions import UNTAKEN_BYTES_MAX, WAITING_MAX, Queries
from reconciler.admin.written import Written, written
from reconciler.audit.in_force import InForce
from reconciler.audit.terms import EventRow
from reconciler.core.errors import CouldNotRun, TooLong
from reconciler.log.open import log_at


def _api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api(cast("Any", SimpleNamespace(log=lambda: None)), cast("Any", None), str, str, asyncio.Event())

    async def ask(_: str, question: Any, *__: Any) -> Any:
        return await asyncio.to_thread(question, None)

    monkeypatch.setattr(made, "_queries", SimpleNamespace(ask=ask))
    return made


@pytest.mark.parametrize("path", ["/api/v1/state", "/api/v1/models", "/api/v1/events", "/api/v1/usage"])
def test_answer_is_made_and_written_beside_the_loop(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of objects that takes a second."""
    threads: list[threading.Thread] = []

    def seen(*_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        return []

    def objects(*_: object) -> InForce:
        return InForce(1, "", "", None, None, None, models=cast("Any", seen()))

    reading = SimpleNamespace(objects=objects, search=seen, spending=seen, unknown=seen, beginning=lambda: None)
    monkeypatch.setattr(api, "Reading", lambda *_: reading)
    monkeypatch.setattr(api.msgspec.json, "encode", lambda _: bytes(seen()) or b"0")

    async def answer() -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [],
            "path_params": {},
        }
        scope["state"] = {"owner": ""}
        made = _api(monkeypatch)
        handlers: dict[str, Any] = {"state": made._state, "models": made._objects, "events": made._events}
        handler = handlers.get(path.rpartition("/")[2], made._usage)
        await handler(Request(scope), {})

    asyncio.run(answer())
    assert threads
    assert threading.main_thread() not in threads


def asked(monkeypatch: pytest.MonkeyPatch, reading: object, query: str) -> dict[str, Any]:
    """Give what is answered to a query on events by what reads the log so."""
    monkeypatch.setattr(api, "Reading", lambda *_: reading)
    sent = Client()

    async def answer() -> None:
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        made = _api(monkeypatch)
        made._queries.taken = lambda *_: None  # type: ignore[method-assign]
        response = await made._events(Request({**scope, "state": {"owner": ""}}), {"q": query})
        for _ in range(9):
            sent.takes.release()
        await response(scope, cast("Any", None), sent.send)

    asyncio.run(answer())
    return cast("dict[str, Any]", json.loads(b"".join(sent.sent)))


def test_page_that_takes_too_long_has_what_was_found_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found is not thrown away; where nothing was, it is an error."""

    def found(number: int) -> Any:
        def search(*_: object, **__: object) -> Iterator[EventRow]:
            for seq in range(100, 100 - number, -1):
                yield EventRow(seq, "", "", "", "", {}, "", "")
            raise TooLong

        return SimpleNamespace(search=search, unknown=lambda *_, **__: [], beginning=lambda: None)

    told = asked(monkeypatch, found(3), "actor:a")
    assert ([row["seq"] for row in told["events"]], told["next"]) == ([100, 99, 98], 98)
    with pytest.raises(TooLong):
        asked(monkeypatch, found(0), "actor:a")


def test_what_the_log_does_not_know_is_not_worth_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """To tell that a name is nowhere may take a whole log; the answer is there already."""

    def unknown(*_: object, **__: object) -> list[str]:
        raise TooLong

    rows = [EventRow(7, "", "", "", "", {}, "", "")]
    reading = SimpleNamespace(search=lambda *_, **__: rows, unknown=unknown, beginning=lambda: None)
    told = asked(monkeypatch, reading, "-actor:nobody")
    assert ([row["seq"] for row in told["events"]], told["next"]) == ([7], None)


@pytest.mark.parametrize("fields", [{}, {"a": []}, {"a": [1, {"b": [2]}], "c": None, "d": {"e": "f"}}])
def test_object_is_written_item_by_item_as_in_one_piece(fields: dict[str, Sequence[object]]) -> None:
    """The bytes are the same."""
    assert b"".join(written(fields)) == api.msgspec.json.encode(fields)


class Client:
    """Takes a piece each time that it is let."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.takes = asyncio.Semaphore(0)

    async def send(self, message: Any) -> None:
        """Wait until the piece before is taken, as a connection does."""
        if message["type"] == "http.response.body":
            if self.sent:
                await self.takes.acquire()
            self.sent.append(message["body"])


def test_answer_is_sent_piece_by_piece_and_counts_until_its_end_is_taken() -> None:
    """No piece is made ready before the one before it was taken."""
    fields = {"items": ["x" * 10_000 for _ in range(50)]}
    pieces, taken = written(fields), []

    async def answer() -> None:
        client = Client()
        going = asyncio.create_task(Written(pieces, lambda: taken.append(1))({}, cast("Any", None), client.send))
        for number in range(len(pieces)):
            await asyncio.sleep(0.01)
            assert (len(client.sent), taken) == (number + 1, [])
            client.takes.release()
        await going
        assert b"".join(client.sent) == api.msgspec.json.encode(fields)

    asyncio.run(answer())
    assert taken == [1]
    assert max(map(len, pieces)) < 80_000
    assert len(pieces) > 5


def test_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept for it counts no more."""
    monkeypatch.setattr(module_of_written, "PATIENCE_S", 0.05)
    taken: list[int] = []
    asyncio.run(Written([b"a", b"b"], lambda: taken.append(1))({}, cast("Any", None), Client().send))
    assert taken == [1]


def test_one_token_leaves_half_of_what_is_not_taken_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose answers are not taken waits with the next question until they are; nobody else does."""
    queries = Queries(log_at(cast("Any", None)))
    monkeypatch.setattr(queries, "_answer", lambda question: question)

    async def ask() -> None:
        half = UNTAKEN_BYTES_MAX // 2
        assert await queries.ask("one", cast("Any", half - 1), lambda size: size) == half - 1
        assert await queries.ask("one", cast("Any", 1), lambda size: size) == 1
        waiting = asyncio.create_task(queries.ask("one", cast("Any", 0)))
        assert await asyncio.wait_for(queries.ask("other", cast("Any", half)), 5) == half
        assert not waiting.done()
        queries.taken("one", 1)
        assert await asyncio.wait_for(waiting, 5) == 0

    asyncio.run(ask())
    queries.close()


def test_one_token_leaves_half_of_the_questions_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks without a pause keeps nobody else from being answered."""
    free = threading.Event()
    queries = Queries(log_at(cast("Any", None)))
    monkeypatch.setattr(queries, "_answer", lambda question: free.wait(10) and question)

    async def ask() -> None:
        asked = [asyncio.create_task(queries.ask("one", cast("Any", n))) for n in range(WAITING_MAX // 2)]
        await asyncio.sleep(0)
        with pytest.raises(CouldNotRun, match="too many questions"):
            await queries.ask("one", cast("Any", "more"))
        other = asyncio.create_task(queries.ask("other", cast("Any", "answered")))
        await asyncio.sleep(0)
        free.set()
        assert await other == "answered"
        assert await asyncio.gather(*asked) == list(range(WAITING_MAX // 2))
        assert await queries.ask("one", cast("Any", "again")) == "again"

    asyncio.run(ask())
    queries.close()


def test_one_token_leaves_a_thread_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks questions that take long has others wait for none of them: eight took 13 s of a short one."""
    free = threading.Event()
    queries = Queries(log_at(cast("Any", None)))
    monkeypatch.setattr(queries, "_answer", lambda question: (question == "short" or free.wait(10)) and question)

    async def ask() -> None:
        long = [asyncio.create_task(queries.ask("one", cast("Any", "long"))) for _ in range(WAITING_MAX // 2)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(queries.ask("other", cast("Any", "short")), 5) == "short"
        waiting = asyncio.create_task(queries.ask("one", cast("Any", "long")))
        queries.close()
        free.set()
        with pytest.raises(CouldNotRun, match="too many questions"):
            await waiting
        given = await asyncio.gather(*long, return_exceptions=True)
        assert given[0] == "long"
        assert {type(each) for each in given[1:]} == {CouldNotRun}

    asyncio.run(ask())
