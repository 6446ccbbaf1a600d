"""Refused requests on the log: the first of a kind at once, the repeats of a minute as one event, each counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.events import RequestRefused, decode
from reconciler.gateway import recorded_refusals
from reconciler.gateway.recorded_refusals import OTHERS_MAX, Refusals
from reconciler.gateway.refusal import Reason, Refusal
from reconciler.log.sqlite.store import SqliteBackend, open_reader
from reconciler.recorder import Recorder
from reconciler.simulator import Fault
from tests.support import until
from tests.support_gateway import PAIRS, Bench, refused
from tests.support_log import new_log


def recorded(folder: Path, script: Callable[[Refusals], object], wait_s: float = 0) -> list[RequestRefused]:
    """Let a script note refusals on a loop, and give what is on the log once all is flushed."""
    path = new_log(folder)

    async def run(recorder: Recorder) -> None:
        noted = Refusals(recorder)
        script(noted)
        await asyncio.sleep(wait_s)
        if not wait_s:
            noted.flush()

    with Recorder(SqliteBackend(path)) as recorder:
        asyncio.run(run(recorder))
    reader = open_reader(path)
    payloads = [decode(stored.body).payload for stored in reader.read()]
    reader.close()
    return [payload for payload in payloads if isinstance(payload, RequestRefused)]


def note(noted: Refusals, request: str, needed: int = 9, reason: Reason = "day-budget", binding: str = "m") -> None:
    """Note one refusal of the agent `a`."""
    noted.note("a", binding, "openai", request, Refusal(reason, "no", needed=needed, left=needed - 1))


def test_repeats_are_one_event_with_a_count_and_the_last_figures(tmp_path: Path) -> None:
    """Five refusals of a kind are two events; another reason, or another binding, is a kind of its own."""

    def script(noted: Refusals) -> None:
        for number in range(5):
            note(noted, f"r{number}", needed=10 + number)
        note(noted, "other", reason="not-ready")
        note(noted, "elsewhere", binding="n")

    found = [(p.request, p.reason, p.needed, p.remaining, p.count, p.others) for p in recorded(tmp_path, script)]

    assert found == [
        ("r0", "day-budget", 10, 9, 1, []),
        ("other", "not-ready", 9, 8, 1, []),
        ("elsewhere", "day-budget", 9, 8, 1, []),
        ("r1", "day-budget", 14, 13, 4, ["r2", "r3", "r4"]),
    ]


def test_many_repeats_are_all_counted_and_some_named(tmp_path: Path) -> None:
    """However many there are, the event stays small and its count is true."""
    first, rest = recorded(tmp_path, lambda noted: [note(noted, f"r{n}", needed=n + 1) for n in range(1000)])

    assert (first.count, rest.count) == (1, 999)
    assert len(rest.others) == OTHERS_MAX
    assert (rest.needed, rest.remaining) == (1000, 999)


def test_window_closes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats reach the log when their minute is over, with nobody to flush them."""
    monkeypatch.setattr(recorded_refusals, "WINDOW_S", 0.05)

    found = recorded(tmp_path, lambda noted: [note(noted, "r0"), note(noted, "r1")], wait_s=0.5)

    assert [(p.request, p.count) for p in found] == [("r0", 1), ("r1", 1)]


def test_refusal_that_no_log_takes_is_told_to_the_operator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A name that cannot be written is a bug of the gateway: a line says which it was, and where it failed."""
    assert recorded(tmp_path, lambda noted: note(noted, "r-\ud800", binding="m")) == []

    (line,) = [record for record in caplog.records if record.name == "pai.gateway"]
    assert line.getMessage().startswith("a refused request cannot be recorded: Draft(actor='a', subject='model/m'")
    assert line.exc_info is not None
    assert line.exc_info[2] is not None


@pytest.mark.parametrize(
    "reason",
    ["unauthenticated", "host", "no-binding", "no-path", "invalid", "too-large", "upstream", "broken", "internal"],
)
def test_strangers_and_malformed_requests_write_nothing(tmp_path: Path, reason: Reason) -> None:
    """What needs no key, or names no binding, cannot fill the log."""
    assert recorded(tmp_path, lambda noted: note(noted, "r", reason=reason)) == []


BREAKING = {
    "silent": Fault(refuse=True),
    "cut": Fault(cut_after=1),
    "redirect": Fault(status=302),
    "unknown status": Fault(status=999),
}


@pytest.mark.parametrize(("operation", "provider"), PAIRS)
def test_forwarded_request_is_resolved_and_not_refused_too(bench: Bench, operation: str, provider: str) -> None:
    """What was sent, or tried to be, has one outcome on the ledger, also where the client is told 502."""
    metric = bench.metric('pai_requests_refused_total{reason="upstream"}')
    requests = []
    for fault in BREAKING.values():
        bench.simulator.fault(fault)
        requests.append(bench.ask(operation, provider))
        bench.simulator.clear()
    with bench.simulator.unreachable(provider):  # type: ignore[arg-type]
        requests.append(bench.ask(operation, provider))
    ids = {refused(operation, answer) and answer.headers["x-pai-request-id"] for answer in requests}
    assert [answer.status_code for answer in requests] == [502] * 5
    assert refused(operation, bench.ask(operation, f"{provider}-keyless")).status == 503
    until("a refusal on the log", lambda: bench.site.rows("type:request.refused", f"model:{provider}-keyless"))
    resolved = [row["data"]["request"] for row in bench.tokens(provider) if row["type"] != "tokens.reserved.v1"]
    assert ids.issubset(resolved)
    told = [{row["data"]["request"], *row["data"].get("others", [])} for row in bench.site.rows("type:request.refused")]
    assert not any(ids & names for names in told)
    assert bench.metric('pai_requests_refused_total{reason="upstream"}') == metric


def test_bindings_with_room_are_those_that_could_serve(bench: Bench) -> None:
    """A refusal names where the agent may go instead: nothing whose key is not there."""
    answer = bench.ask("chat", "openai-spent", limit=100)
    assert answer.status_code == 429
    named = refused("chat", answer).message.rpartition("bindings with room: ")[2].split(", ")
    assert {"openai", "openai-free", "anthropic", "gemini"} <= set(named)
    assert not [name for name in named if name.endswith("-keyless")]


def test_broken_master_key_is_told_to_the_operator_and_not_to_agents(own: Bench) -> None:
    """The refusal names the binding and no file of the server; the daemon's log names both."""
    own.daemon.stop()
    (own.site.root / "data" / "master.key").write_bytes(b"short")
    own.restart()
    answer = own.ask("chat", "openai")
    assert answer.status_code == 503
    assert "its secret cannot be read now" in refused("chat", answer).message
    assert str(own.site.root) not in answer.text
    assert str(own.site.root) in own.daemon.log.rpartition("binding openai is not ready: ")[2]
