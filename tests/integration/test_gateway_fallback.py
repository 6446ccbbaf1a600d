"""Alternatives that the agent names: tried in order for the reasons that are promised, and for no other."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from reconciler.simulator import Fault
from tests.support_gateway import MODEL_IDS, OUTSIDER, Bench, assert_books_balance, refused

WAYS = (
    ("chat", "openai", "anthropic"),
    ("responses", "openai", "openrouter"),
    ("messages", "anthropic", "openrouter"),
    ("generate", "gemini", "gemini-free"),
)
"""An API, the binding that is asked first, and another one that the same body fits."""
EACH = pytest.mark.parametrize(("operation", "first", "second"), WAYS)


def ask(bench: Bench, operation: str, *names: str, how: str = "header", **options: Any) -> httpx.Response:
    """Send a request with alternatives, in the header or in the body."""
    first, *others = names
    if how == "body":
        return bench.ask(operation, first, models=list(others), **options)
    return bench.ask(operation, first, headers={"x-pai-fallback": ", ".join(others)}, **options)


def attempts(bench: Bench, before: int) -> list[tuple[str, str]]:
    """Give the (binding, event) of the ledger since `before`, with the model's prefix left out."""
    bench.quiet()
    rows = bench.tokens()[before:]
    assert len({row["data"]["request"] for row in rows}) == 1, "one request has one id, whoever serves it"
    return [(row["subject"].removeprefix("model/"), row["type"].split(".")[1]) for row in rows]


@pytest.mark.parametrize("reason", ["spent", "keyless"])
@pytest.mark.parametrize(
    ("operation", "first", "second", "how"),
    [(*way, "header") for way in WAYS] + [(*way, "body") for way in WAYS[:2]],
)
def test_alternative_serves_when_the_first_is_exhausted_or_not_ready(
    bench: Bench, operation: str, first: str, second: str, reason: str, how: str
) -> None:
    """A spent budget or a missing key makes the next binding serve; nothing is reserved on the first."""
    before = len(bench.tokens())
    for stream in (False, True):
        answer = ask(bench, operation, f"{first}-{reason}", second, how=how, stream=stream)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-pai-binding"] == second
        assert attempts(bench, before) == [(second, "reserved"), (second, "settled")]
        assert ("x-pai-tokens-remaining" in answer.headers) == (second != "gemini-free")
        before += 2
    assert bench.seen(MODEL_IDS[f"{first}-{reason}"]) == []
    assert_books_balance(bench)


@EACH
def test_alternative_serves_when_the_first_is_too_small(bench: Bench, operation: str, first: str, second: str) -> None:
    """An input that does not fit maxTokensPerRequest of the first binding goes to the next one."""
    answer = ask(bench, operation, f"{first}-small", second, say="many words " * 2000)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-pai-binding"] == second
    assert_books_balance(bench)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
@EACH
def test_alternative_serves_when_the_provider_fails_before_its_answer(
    bench: Bench, operation: str, first: str, second: str, status: int
) -> None:
    """408, 429 and 5xx of the first provider are not shown: it is voided, and the next binding serves."""
    before = len(bench.tokens())
    for stream in (False, True):
        bench.simulator.fault(Fault(status=status, model=MODEL_IDS[first]))
        answer = ask(bench, operation, first, second, stream=stream)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-pai-binding"] == second
        assert "retry-after" not in answer.headers
        assert attempts(bench, before) == [
            (first, "reserved"),
            (first, "voided"),
            (second, "reserved"),
            (second, "settled"),
        ]
        before += 4
    assert_books_balance(bench)


@pytest.mark.parametrize(
    ("operation", "first", "second", "kind", "outcome"),
    [(*way, "refused", "voided") for way in WAYS[:3]]
    + [(*way, kind, "forfeited") for way in WAYS for kind in ("closed", "silent")],
)
def test_alternative_serves_when_the_connection_fails(
    bench: Bench, operation: str, first: str, second: str, kind: str, outcome: str
) -> None:
    """A connection refused, closed in silence or silent for too long: all is resolved, the next serves."""
    before = len(bench.tokens())
    if kind == "refused":
        with bench.simulator.unreachable(first):  # type: ignore[arg-type]
            answer = ask(bench, operation, first, second)
    else:
        fault = Fault(refuse=True) if kind == "closed" else Fault(wait_s=30)
        bench.simulator.fault(fault)
        answer = ask(bench, operation, first, second)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-pai-binding"] == second
    assert attempts(bench, before)[:2] == [(first, "reserved"), (first, outcome)]
    assert_books_balance(bench)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
@EACH
def test_alternative_is_not_tried_for_errors_of_the_request(
    bench: Bench, operation: str, first: str, second: str, status: int
) -> None:
    """What another provider would refuse as well is shown at once, as the first provider said it."""
    before, seen = len(bench.tokens()), len(bench.seen(second))
    bench.simulator.fault(Fault(status=status, model=MODEL_IDS[first]))
    answer = ask(bench, operation, first, second)
    assert (answer.status_code, answer.headers["x-pai-binding"]) == (status, first)
    assert attempts(bench, before) == [(first, "reserved"), (first, "voided")]
    assert len(bench.seen(second)) == seen
    assert_books_balance(bench)


@EACH
def test_alternative_is_not_tried_once_an_answer_began(bench: Bench, operation: str, first: str, second: str) -> None:
    """An answer that breaks off after its first byte is not asked for again: it was charged already."""
    seen = len(bench.seen(second))
    bench.simulator.fault(Fault(cut_after=1, model=MODEL_IDS[first]))
    assert refused(operation, ask(bench, operation, first, second)).status == 502
    bench.simulator.fault(Fault(cut_after=1, model=MODEL_IDS[first]))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        ask(bench, operation, first, second, stream=True)
    bench.quiet()
    assert len(bench.seen(second)) == seen
    assert_books_balance(bench)


def test_alternatives_are_tried_in_order_and_each_is_resolved(bench: Bench) -> None:
    """Through spent, keyless, failing and lost bindings to the one that serves: each attempt stands on the log."""
    before = len(bench.tokens())
    bench.simulator.fault(Fault(status=503, model=MODEL_IDS["openai"]), Fault(refuse=True, model=MODEL_IDS["gemini"]))
    names = ("openai-spent", "anthropic-keyless", "openai", "gemini", "no-such-binding", "hidden", "openrouter")
    answer = ask(bench, "chat", *names, "anthropic", how="body")
    assert (answer.status_code, answer.headers["x-pai-binding"]) == (200, "openrouter")
    assert attempts(bench, before) == [
        ("openai", "reserved"),
        ("openai", "voided"),
        ("gemini", "reserved"),
        ("gemini", "forfeited"),
        ("openrouter", "reserved"),
        ("openrouter", "settled"),
    ]
    assert_books_balance(bench)


def test_body_and_header_are_joined_without_repeats(bench: Bench) -> None:
    """Alternatives of the body come before those of the header; none is asked twice."""
    bench.simulator.fault(Fault(status=500, times=3))
    before = len(bench.tokens())
    answer = bench.ask(
        "chat",
        "openai",
        models=["openai", "anthropic"],
        headers={"x-pai-fallback": "anthropic,, openai , gemini"},
    )
    assert answer.status_code == 500
    assert [name for name, event in attempts(bench, before) if event == "reserved"] == ["openai", "anthropic", "gemini"]
    assert "models" not in bench.seen("openai")[-1].body


def test_last_provider_error_is_shown_when_all_fail(bench: Bench) -> None:
    """If no alternative works, the client sees the last provider's own error, with its status and its headers."""
    bench.simulator.fault(Fault(status=500, message="first"), Fault(status=429, message="second", retry_after=3))
    answer = ask(bench, "chat", "openai", "anthropic", "openai-spent")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json()["error"]["message"] == "second"
    assert answer.headers["x-pai-binding"] == "anthropic"
    assert_books_balance(bench)


def test_error_is_shown_with_what_is_left_of_its_own_binding(bench: Bench) -> None:
    """Whichever binding was tried last, the headers tell of the one whose provider's error the client gets."""
    for first, last, counted in (("openai-free", "anthropic", False), ("openai", "anthropic-free", True)):
        bench.simulator.fault(Fault(status=503, model=MODEL_IDS[first]))
        with bench.simulator.unreachable("anthropic"):
            answer = ask(bench, "chat", first, last)
        assert (answer.status_code, answer.headers["x-pai-binding"]) == (503, first)
        assert ("x-pai-tokens-remaining" in answer.headers) == counted
    assert_books_balance(bench)


def test_first_refusal_is_shown_when_no_provider_answered(bench: Bench) -> None:
    """If none was asked, the refusal is the one of the binding that the agent named first."""
    answer = ask(bench, "chat", "openai-spent", "anthropic-keyless", "no-such-binding")
    found = refused("chat", answer)
    assert found.status == 429
    assert "openai-spent" in found.message
    assert (answer.headers["x-should-retry"], answer.headers["x-pai-binding"]) == ("false", "openai-spent")


@pytest.mark.parametrize(
    ("operation", "first", "status"),
    [
        ("chat", "no-such-binding", 404),
        ("chat", "hidden", 403),
        ("responses", "anthropic", 400),
        ("messages", "openai", 400),
    ],
)
def test_alternative_does_not_repair_a_wrong_first_name(bench: Bench, operation: str, first: str, status: int) -> None:
    """A first binding that is unknown, another agent's, or speaks another API is refused although others would work."""
    before = len(bench.tokens())
    second = {"chat": "openai", "responses": "openai", "messages": "anthropic"}[operation]
    assert refused(operation, ask(bench, operation, first, second)).status == status
    assert len(bench.tokens()) == before


def test_unbounded_input_is_not_taken_to_an_alternative(bench: Bench) -> None:
    """Input without a bound is refused by the first binding, also if an alternative allows it."""
    answer = bench.ask("chat", "openai", headers={"x-pai-fallback": "allowed"}, web_search_options={})
    assert refused("chat", answer).status == 400


def test_alternatives_obey_the_agents_list(bench: Bench) -> None:
    """An alternative of others is never used, and not shown to exist by another error than the first one's."""
    seen = len(bench.simulator.requests())
    bench.simulator.fault(Fault(status=500, model=MODEL_IDS["hidden"]))
    answer = bench.ask("chat", "hidden", key=OUTSIDER, headers={"x-pai-fallback": "openai,anthropic"})
    assert answer.status_code == 500
    assert len(bench.simulator.requests()) == seen + 1


def test_too_many_alternatives_are_refused(bench: Bench) -> None:
    """A request names at most 16 bindings."""
    before = len(bench.tokens())
    answer = ask(bench, "chat", "openai", *(f"b{n}" for n in range(16)), how="body")
    assert refused("chat", answer).status == 400
    assert len(bench.tokens()) == before
