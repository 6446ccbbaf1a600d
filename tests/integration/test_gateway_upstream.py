"""Providers that fail in every way: the client gets a clear error or what came, and the books hold what was charged."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from reconciler.simulator import Fault, Provider, SeenRequest, Simulator
from tests.support_gateway import (
    EMBEDDING_PAIRS,
    PAIRS,
    PROVIDERS,
    Bench,
    assert_books_balance,
    refused,
)

EACH = pytest.mark.parametrize(("operation", "provider"), PAIRS)
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
"""How a client sees an answer that was broken off."""
BOTH = (False, True)
"""A whole answer, and a stream."""


@pytest.fixture(scope="module")
def mirror() -> Iterator[Simulator]:
    """Give the same providers once more, to be asked directly: what they say is what the gateway ought to pass on."""
    with Simulator() as simulator:
        yield simulator


def met(bench: Bench, operation: str, provider: str, *faults: Fault, **options: object) -> tuple[object, str]:
    """Send a request that meets faults; give the answer, or None if it broke off, and what became of the tokens."""
    before = len(bench.outcomes(provider))
    bench.simulator.fault(*faults)
    answer = None
    with contextlib.suppress(*BROKEN):
        answer = bench.ask(operation, provider, **options)  # type: ignore[arg-type]
    bench.quiet()
    bench.simulator.clear()
    (outcome,) = bench.outcomes(provider)[before:]
    return answer, outcome


def told(answer: object) -> httpx.Response:
    """Give an answer that must have come whole."""
    assert isinstance(answer, httpx.Response)
    return answer


def directly(mirror: Simulator, seen: SeenRequest, *faults: Fault) -> httpx.Response:
    """Send a request that a provider saw to its like, past the gateway."""
    mirror.fault(*faults)
    kept = {name: value for name, value in seen.headers if name not in ("host", "content-length")}
    query = f"?{seen.query}" if seen.query else ""
    return httpx.post(f"{mirror.origin(seen.provider)}{seen.path}{query}", content=seen.body, headers=kept)


@EACH
def test_connection_closed_without_an_answer_is_a_502_and_forfeited(
    bench: Bench, operation: str, provider: str
) -> None:
    """Nobody knows what a provider did that closed the connection in silence: 502, and the whole reservation counts."""
    for stream in BOTH:
        answer, outcome = met(bench, operation, provider, Fault(refuse=True), stream=stream)
        assert (refused(operation, told(answer)).status, outcome) == (502, "forfeited")
    assert_books_balance(bench)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_provider_that_refuses_connections_is_a_502_and_voided(bench: Bench, provider: Provider) -> None:
    """A provider that was never reached charged nothing: 502, voided, and the next request works when it is back."""
    used = bench.site.state().ledger.accounts.get(provider)
    for operation in [operation for operation, of in PAIRS if of == provider]:
        with bench.simulator.unreachable(provider):
            answer, outcome = met(bench, operation, provider)
        found = refused(operation, told(answer))
        assert (found.status, outcome) == (502, "voided")
        assert "reached" in found.message
    assert bench.site.state().ledger.accounts[provider].used == (used.used if used else 0)
    assert bench.ask(operation, provider).status_code == 200
    assert_books_balance(bench)


def test_provider_that_is_silent_is_given_up_everywhere(bench: Bench) -> None:
    """Silence before an answer begins is a 502 after the read timeout, on every surface; all of it is forfeited."""
    bench.simulator.fault(Fault(wait_s=60, times=len(PAIRS)))
    began = time.monotonic()
    with ThreadPoolExecutor(len(PAIRS)) as pool:
        answers = list(pool.map(lambda pair: bench.ask(*pair), PAIRS))
    assert time.monotonic() - began < 15
    for (operation, provider), answer in zip(PAIRS, answers, strict=True):
        assert refused(operation, answer).status == 502
        assert bench.last(provider)["reason"] == "no answer: it took too long"
    assert_books_balance(bench)


def test_provider_that_falls_silent_in_mid_stream_is_given_up_everywhere(bench: Bench) -> None:
    """Silence between two chunks breaks the stream off after the read timeout; the client does not see an end."""
    bench.simulator.fault(Fault(stall_after=5, stall_s=60, times=len(PAIRS)))

    def broken(pair: tuple[str, str]) -> str:
        with pytest.raises(BROKEN) as caught:
            bench.ask(*pair, stream=True)
        return str(caught.value)

    with ThreadPoolExecutor(len(PAIRS)) as pool:
        assert len(list(pool.map(broken, PAIRS))) == len(PAIRS)
    assert_books_balance(bench)
    for _, provider in PAIRS:
        assert bench.last(provider)["reason"] == "broken off: it took too long"


@EACH
def test_stream_that_is_cut_is_seen_as_cut(bench: Bench, operation: str, provider: str) -> None:
    """A stream cut anywhere has no end for the client either, and counts no less than the provider charged."""
    for cut in (0, 1, 7, 19):
        answer, outcome = met(bench, operation, provider, Fault(cut_after=cut), stream=True)
        assert answer is None
        assert outcome in ("forfeited", "settled")
    assert_books_balance(bench)


@EACH
def test_whole_answer_that_is_cut_is_a_502(bench: Bench, operation: str, provider: str) -> None:
    """An answer that is not streamed and breaks off is a 502 in the words of the SDK, and forfeited."""
    for cut in (0, 1):
        answer, outcome = met(bench, operation, provider, Fault(cut_after=cut))
        assert (refused(operation, told(answer)).status, outcome) == (502, "forfeited")
    assert_books_balance(bench)


@EACH
def test_garbage_is_passed_on_and_forfeited(bench: Bench, operation: str, provider: str) -> None:
    """An answer that nobody can read goes to the client as it is, and counts in full: it names no usage."""
    answer, outcome = met(bench, operation, provider, Fault(garbage=True))
    assert b"<html>\xff\xfe{not json" in told(answer).content
    assert (outcome, bench.last(provider)["reason"]) == ("forfeited", "no usage in the answer")
    answer, outcome = met(bench, operation, provider, Fault(garbage=True), stream=True)
    assert b"<html>\xff\xfe{not json" in told(answer).content
    assert outcome in ("forfeited", "settled")
    assert_books_balance(bench)


@EACH
def test_wrong_content_length_does_not_spoil_the_next_answer(
    bench: Bench, mirror: Simulator, operation: str, provider: str
) -> None:
    """A Content-Length that lies breaks or shortens its own answer, and no byte of it gets into the next one."""
    for stream in BOTH:
        for length in (-40, 40):
            answer, outcome = met(bench, operation, provider, Fault(length=length), stream=stream)
            assert outcome in ("forfeited", "settled")
            if length > 0 and not stream:
                assert refused(operation, told(answer)).status == 502
            for _ in range(2):
                assert bench.ask(operation, provider).content == directly(mirror, bench.seen(provider)[-1]).content
    assert_books_balance(bench)


@EACH
def test_answer_without_usage_is_forfeited(bench: Bench, operation: str, provider: str) -> None:
    """A whole answer that does not say what it cost reaches the client, and the reservation stands."""
    for stream in BOTH:
        answer, outcome = met(bench, operation, provider, Fault(usage="none"), stream=stream)
        assert told(answer).status_code == 200
        assert (outcome, bench.last(provider)["reason"]) == ("forfeited", "no usage in the answer")
    assert_books_balance(bench)


@EACH
def test_usage_told_twice_counts_once_and_in_full(bench: Bench, operation: str, provider: str) -> None:
    """Of two usages, one of which says less, the true one is settled."""
    for stream in BOTH:
        before = bench.simulator.total().total
        answer, outcome = met(bench, operation, provider, Fault(usage="twice"), stream=stream)
        assert (told(answer).status_code, outcome) == (200, "settled")
        assert bench.last(provider)["charged"] == bench.simulator.total().total - before
    assert_books_balance(bench)


@EACH
def test_error_in_mid_stream_is_passed_on_and_settled(bench: Bench, operation: str, provider: str) -> None:
    """An error that ends a stream reaches the client as the provider wrote it; what it cost is counted, at least."""
    before = bench.simulator.total().total
    answer, outcome = met(bench, operation, provider, Fault(error_after=4), stream=True)
    assert "error" in told(answer).text
    charged = bench.simulator.total().total - before
    last = bench.last(provider)
    assert last.get("charged", last.get("tokens", 0)) >= charged
    if (operation, provider) in (("chat", "openai"), ("chat", "openrouter"), ("responses", "openai")):
        assert (outcome, last["charged"]) == ("settled", charged)
    assert_books_balance(bench)


@EACH
def test_compressed_answer_is_unpacked_and_settled(bench: Bench, operation: str, provider: str) -> None:
    """A provider that compresses unasked is read all the same; the client gets plain bytes and no such header."""
    for stream in BOTH:
        plain = bench.ask(operation, provider, stream=stream)
        answer, outcome = met(bench, operation, provider, Fault(gzip=True), stream=stream)
        packed = told(answer)
        assert "content-encoding" not in packed.headers
        assert (packed.content, outcome) == (plain.content, "settled")
    assert_books_balance(bench)


@EACH
def test_redirect_is_never_followed_nor_passed_on(bench: Bench, operation: str, provider: str) -> None:
    """A redirect would carry prompts and keys to whoever it names: the client gets a 502, and no location."""
    for status in (300, 301, 302, 303, 307, 308):
        moved = Fault(status=status, headers={"location": "http://127.0.0.1:9/elsewhere"})
        answer, outcome = met(bench, operation, provider, moved)
        assert (refused(operation, told(answer)).status, outcome) == (502, "forfeited")
        assert "location" not in told(answer).headers
        assert "elsewhere" not in told(answer).text
    assert_books_balance(bench)


@EACH
def test_error_of_the_provider_is_passed_on_and_voided(
    bench: Bench, mirror: Simulator, operation: str, provider: str
) -> None:
    """An error body that names no usage costs nothing, and reaches the client byte for byte with its headers."""
    for number, status in enumerate((400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 529)):
        wrong = Fault(status=status, message="Something très wrong.", retry_after=7)
        answer, outcome = met(bench, operation, provider, wrong, stream=bool(number % 2))
        passed, direct = told(answer), directly(mirror, bench.seen(provider)[-1], wrong)
        assert (passed.status_code, outcome) == (status, "voided")
        assert without_ids(passed.content) == without_ids(direct.content)
        for name in ("retry-after", "x-should-retry", "content-type"):
            assert passed.headers.get(name) == direct.headers.get(name)
        assert passed.headers["x-pai-binding"] == provider
        assert passed.headers.get_list("date") == [passed.headers["date"]]
    assert_books_balance(bench)


def without_ids(body: bytes) -> object:
    """Give an error body without the number of its request."""
    found = json.loads(body)
    if isinstance(found, dict):
        found.pop("request_id", None)
    return found


def test_header_of_the_provider_cannot_pass_for_the_gateways_own(bench: Bench) -> None:
    """What a provider calls x-pai-... is left out, and its cookies are."""
    fault = Fault(headers={"x-pai-binding": "other", "x-pai-reset": "never", "set-cookie": "a=b", "x-own": "kept"})
    answer, _ = met(bench, "chat", "openai", fault)
    headers = told(answer).headers
    assert headers.get_list("x-pai-binding") == ["openai"]
    assert not {"x-pai-reset", "set-cookie"} & set(headers)
    assert headers["x-own"] == "kept"


@pytest.mark.parametrize("status", [600, 999])
def test_status_that_no_client_knows_is_a_502(bench: Bench, status: int) -> None:
    """A status beyond what HTTP has is a 502 of the gateway's own; nobody knows what it cost."""
    answer, outcome = met(bench, "chat", "openai", Fault(status=status))
    assert (refused("chat", told(answer)).status, outcome) == (502, "forfeited")


@EACH
def test_stream_is_not_changed_when_its_usage_was_asked_for(
    bench: Bench, mirror: Simulator, operation: str, provider: str
) -> None:
    """Of a stream whose usage was asked for no byte is changed on its way; of a whole answer never."""
    more = {"stream_options": {"include_usage": True}} if operation == "chat" else {}
    answer = bench.ask(operation, provider, stream=True, **more)
    assert answer.content == directly(mirror, bench.seen(provider)[-1]).content
    answer = bench.ask(operation, provider)
    assert answer.content == directly(mirror, bench.seen(provider)[-1]).content
    assert_books_balance(bench)


@pytest.mark.parametrize(("operation", "provider"), EMBEDDING_PAIRS)
def test_embedding_is_settled_or_forfeited(bench: Bench, operation: str, provider: str) -> None:
    """Embeddings that tell a usage are settled by it; Gemini's tell none, and count as the bound of their input."""
    answer, outcome = met(bench, operation, provider)
    assert told(answer).status_code == 200
    assert outcome == ("forfeited" if provider == "gemini" else "settled")
    assert_books_balance(bench)
