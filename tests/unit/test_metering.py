"""The accounting rules, trap by trap: each example is an answer that a simpler rule charges wrongly."""

from __future__ import annotations

import json

import pytest

from reconciler.core.reservations import Usage
from reconciler.gateway.metering import CANDIDATES_MAX, Generate, Meter, meter
from reconciler.providers import PROVIDERS

FUTURE = PROVIDERS["openai"]._replace(name="of the future", rules={})
"""A provider that says its usage as all do."""


def fed(operation: str, provider: str, *items: object) -> Meter:
    """Give a meter that has read these: bytes as they are, all else as JSON."""
    it = meter(operation, PROVIDERS.get(provider, FUTURE))
    for item in items:
        it.feed(item if isinstance(item, bytes) else json.dumps(item).encode())
    return it


def used(operation: str, provider: str, *items: object) -> Usage | None:
    """Give what a complete answer of these items used."""
    return fed(operation, provider, *items).usage(complete=True)


def cut(operation: str, provider: str, *items: object) -> Usage | None:
    """Give what an answer used that was cut after these items."""
    return fed(operation, provider, *items).usage(complete=False)


def charge(usage: Usage | None) -> int | None:
    """Give the charge alone."""
    return usage and usage.charged


# --- chat


def tokens(prompt: object, completion: object, total: object, **more: object) -> dict[str, object]:
    """Give a chat's usage."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}


def chunk(usage: object = None, finish: str | None = None, **more: object) -> dict[str, object]:
    """Give a chat's chunk with one choice."""
    return {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": finish}], "usage": usage, **more}


def test_chat_details_are_parts_and_not_added() -> None:
    """Cached, written and reasoning tokens are within prompt and completion."""
    usage = tokens(
        100,
        50,
        150,
        prompt_tokens_details={"cached_tokens": 60, "cache_write_tokens": 30, "audio_tokens": 5},
        completion_tokens_details={"reasoning_tokens": 40, "rejected_prediction_tokens": 4},
    )
    body = {"choices": [{"message": {"content": "a"}}], "usage": usage}
    assert used("chat", "openai", body) == Usage(100, 60, 30, 50, 40, 150)


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        (tokens(35, 12, 109), 109),  # Gemini's thoughts are in the total alone
        (tokens(35, 12, 40), 47),
        (tokens(35, 12, None), 47),
        (tokens(None, None, 40), 40),
        (tokens(10, 5, 15, prompt_tokens_details={"cached_tokens": 20}), 25),
        (tokens(10, 5, 15, completion_tokens_details={"reasoning_tokens": 30}), 40),
        (tokens(2168, 100, 2268, prompt_tokens_details={"cached_tokens": 2161, "cache_write_tokens": 2161}), 2268),
        (tokens(0, 0, 0), 0),
        (tokens(35, None, None), None),
        (tokens(None, 12, None), None),
        ({}, None),
        (None, None),
    ],
)
def test_chat_charges_the_higher_of_contradicting_numbers(usage: object, charged: int | None) -> None:
    """Total or parts, whichever is more; with neither a total nor both parts nothing is said."""
    assert charge(used("chat", "gemini", {"choices": [{}], "usage": usage})) == charged


def test_chat_stream_says_usage_in_a_chunk_of_its_own() -> None:
    """OpenAI's chunks carry null until one without choices carries the usage, and others may follow."""
    last = {"choices": [], "usage": tokens(13, 11, 24)}
    assert charge(used("chat", "openai", chunk(), chunk(finish="stop"), last, {"choices": []}, b"[DONE]")) == 24


def test_chat_stream_without_usage_says_nothing() -> None:
    """A stream that was not asked for usage is not free: its reservation stands."""
    it = fed("chat", "openai", {"choices": [{}]}, b"[DONE]")
    assert it.usage(complete=True) is None
    assert it.forfeit(100, 50) == 150


def test_chat_usage_comes_with_a_choice_at_openrouter() -> None:
    """OpenRouter's usage is in a chunk that has a choice, and is the last word though the stream be cut."""
    assert charge(cut("chat", "openrouter", chunk(), chunk(tokens(31, 82, 113, cost=0.5)))) == 113


def test_chat_error_in_mid_stream_is_charged_by_its_usage() -> None:
    """OpenRouter's error chunk may carry what was used until then; without it nothing is known."""
    error = {"error": {"code": 502, "message": "Provider disconnected"}}
    assert charge(used("chat", "openrouter", chunk(), chunk(tokens(40, 13, 53), "error", **error))) == 53
    assert used("chat", "openrouter", chunk(), chunk(None, "error", **error)) is None
    assert charge(cut("chat", "of the future", chunk(tokens(40, 13, 53), "error", **error))) == 53


@pytest.mark.parametrize("totals", [(30, 20), (20, 30), (30, 0, 30)])
def test_chat_usage_said_again_never_lowers_the_charge(totals: tuple[int, ...]) -> None:
    """Of several usages in one stream the highest is charged, in whatever order they come."""
    chunks = [{"choices": [], "usage": tokens(total // 2, total // 2, total)} for total in totals]
    assert charge(used("chat", "openai", *chunks, b"[DONE]")) == 30


def test_chat_usage_in_every_chunk_is_final_only_at_the_end() -> None:
    """Where usage is repeated, a stream that was cut or failed has not said its last; what was seen is the least."""
    chunks = [chunk(tokens(10, n, 60 + n)) for n in (1, 2, 3)]
    assert charge(used("chat", "gemini", *chunks)) == 63
    assert charge(cut("chat", "gemini", *chunks, b"[DONE]")) == 63
    assert cut("chat", "gemini", *chunks) is None
    assert used("chat", "gemini", *chunks, {"error": {"code": 500}}) is None
    assert used("chat", "gemini", *chunks, {"error": {"code": 500}}, b"[DONE]") is None
    it = fed("chat", "gemini", *chunks)
    assert (it.forfeit(10, 100), it.forfeit(10, 20)) == (110, 63)


# --- responses


def response(status: str, usage: object, **more: object) -> dict[str, object]:
    """Give a response's body."""
    return {"object": "response", "status": status, "error": None, "usage": usage, "max_output_tokens": 9, **more}


SPENT = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 150,
}


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_responses_stream_says_usage_in_the_event_that_ends_it(end: str) -> None:
    """Finished, stopped by a limit or failed: the last event has the usage, though the stream be cut there."""
    begun = {"type": "response.created", "response": response("in_progress", None)}
    ended = {"type": f"response.{end}", "response": response(end, SPENT)}
    assert cut("responses", "openai", begun, {"type": "response.output_text.delta", "delta": "a"}) is None
    assert cut("responses", "openai", begun, ended) == Usage(100, 60, 30, 50, 40, 150)


def test_responses_body_says_usage_when_it_is_finished() -> None:
    """A response that runs in the background has used nothing yet, which is not the same as nothing."""
    assert charge(cut("responses", "openai", response("completed", SPENT))) == 150
    assert used("responses", "openai", response("queued", None)) is None
    assert used("responses", "openai", response("in_progress", {**SPENT, "total_tokens": 0})) is None


def test_responses_usage_before_the_end_does_not_count() -> None:
    """What an event in the middle names is no final usage, though the HTTP body ends after it."""
    running = {"type": "response.in_progress", "response": {"usage": SPENT}}
    assert used("responses", "openrouter", running) is None
    assert used("responses", "openrouter", running, {"type": "error", "message": "a"}) is None
    assert used("responses", "openrouter", {"type": "response.output_text.delta", "usage": SPENT}) is None


def test_responses_usage_said_again_never_lowers_the_charge() -> None:
    """Of two final events the higher is charged."""
    events = [{"type": "response.completed", "response": response("completed", tokens_of(n))} for n in (30, 20)]
    assert charge(used("responses", "openai", *events)) == 30


def tokens_of(total: int) -> dict[str, object]:
    """Give a response's usage with this total."""
    return {"input_tokens": 1, "output_tokens": total - 1, "total_tokens": total}


# --- embeddings


def test_embeddings_charge_their_input() -> None:
    """There is no output; one of the two numbers is enough."""
    assert used("embeddings", "openai", {"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}) == (
        8,
        0,
        0,
        0,
        0,
        8,
    )
    assert charge(used("embeddings", "openai", {"usage": {"prompt_tokens": 8}})) == 8
    assert charge(used("embeddings", "openrouter", {"usage": {"total_tokens": 9, "prompt_tokens": 8}})) == 9
    assert used("embeddings", "openai", {"data": [], "usage": {}}) is None


# --- messages


def start(usage: object, stop: str | None = None) -> dict[str, object]:
    """Give the event that begins a message."""
    return {"type": "message_start", "message": {"type": "message", "stop_reason": stop, "usage": usage}}


def delta(usage: object, stop: str | None = "end_turn") -> dict[str, object]:
    """Give the event that ends a message."""
    return {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}


def block(kind: str) -> dict[str, object]:
    """Give the event that begins a block."""
    return {"type": "content_block_start", "index": 0, "content_block": {"type": kind}}


READ = {"input_tokens": 10, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 3000, "output_tokens": 1}
STOP = {"type": "message_stop"}


def test_messages_input_is_the_sum_of_three() -> None:
    """Tokens read from a cache and written to it are not in input_tokens; thinking is in the output."""
    body = {"type": "message", "usage": {**READ, "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 30}}}
    assert used("messages", "anthropic", body) == Usage(3210, 200, 3000, 40, 30, 3250)


def test_messages_deltas_replace_and_are_not_added() -> None:
    """A message's deltas are cumulative, for output, input and caches; null and what is absent replace nothing."""
    deltas = [delta({"output_tokens": n}, None) for n in (5, 9)]
    last = delta({"output_tokens": 20, "input_tokens": 15, "cache_read_input_tokens": None})
    assert used("messages", "anthropic", start(READ), *deltas, last, STOP) == Usage(3215, 200, 3000, 20, 0, 3235)


def test_messages_input_may_grow_in_the_delta() -> None:
    """A web search reads more than the message began with."""
    begun = start({"input_tokens": 2068, "output_tokens": 8})
    assert charge(used("messages", "anthropic", begun, delta({"input_tokens": 22397, "output_tokens": 637}))) == 23034


def iteration(kind: str, read: int, written: int, **more: int) -> dict[str, object]:
    """Give an entry of `iterations`."""
    return {"type": kind, "input_tokens": read, "output_tokens": written, **more}


def test_messages_add_compaction_and_advisor_but_not_the_message_itself() -> None:
    """What ran beside the message is not in its numbers: caches included, it is added to them."""
    entries = [
        iteration("compaction", 181, 592, cache_read_input_tokens=55096, cache_creation_input_tokens=7),
        iteration("message", 600, 100),
        iteration("advisor_message", 2518, 22),
        iteration("message", 82, 21),
    ]
    usage = {"input_tokens": 682, "output_tokens": 121, "iterations": entries}
    whole = Usage(682 + 181 + 55096 + 7 + 2518, 55096, 7, 121 + 592 + 22, 0, 59219)
    assert used("messages", "anthropic", {"type": "message", "usage": usage}) == whole
    assert used("messages", "anthropic", start({"input_tokens": 600, "output_tokens": 1}), delta(usage)) == whole


def test_messages_do_not_charge_a_declined_fallback_hop() -> None:
    """The model that declined is not billed, and the one that answered is in the message's numbers."""
    entries = [iteration("message", 408, 0), iteration("fallback_message", 412, 264)]
    usage = {"input_tokens": 412, "output_tokens": 264, "iterations": entries}
    begun = start({"input_tokens": 408, "output_tokens": 1})
    assert charge(used("messages", "anthropic", begun, block("fallback"), block("text"), delta(usage))) == 676


@pytest.mark.parametrize(
    ("usage", "write"),
    [
        ({"cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 4}}, 11),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 4}, "cache_creation_input_tokens": 9}, 9),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 4}, "cache_creation_input_tokens": 0}, 4),
        ({"cache_creation": None, "cache_creation_input_tokens": 3}, 3),
        ({}, 0),
    ],
)
def test_messages_cache_writes_count_whole_or_by_lifetime(usage: dict[str, object], write: int) -> None:
    """The writes are given in one number, split by lifetime, or both; the higher counts, never both."""
    body = {"type": "message", "usage": {"input_tokens": 1, "output_tokens": 1, **usage}}
    assert used("messages", "anthropic", body) == Usage(1 + write, 0, write, 1, 0, 2 + write)


def test_messages_cut_stream_forfeits_its_output_alone() -> None:
    """The input is known from the start, if the request allows no other; all that could be written is charged."""
    it = fed("messages", "anthropic", start(READ), block("thinking"), block("text"))
    assert (it.usage(complete=False), it.usage(complete=True), it.known_input) == (None, None, 3210)
    assert it.forfeit(9000, 50, input_given=True) == 3260
    assert it.forfeit(9000, 50) == 9050


@pytest.mark.parametrize(("provider", "read"), [("anthropic", 0), ("openrouter", 9)])
def test_messages_input_that_a_bridge_guesses_is_not_known(provider: str, read: int) -> None:
    """No input is of 0 tokens, and who translates another API does not know it at the start: all is charged."""
    begin = {"type": "message_start", "message": {"usage": {"input_tokens": read, "output_tokens": 0}}}
    it = fed("messages", provider, begin, block("text"))
    assert (it.usage(complete=False), it.known_input) == (None, None)
    assert it.forfeit(9000, 50, input_given=True) == 9050


@pytest.mark.parametrize("kind", ["server_tool_use", "mcp_tool_use", "compaction", "fallback", "of the future"])
def test_messages_input_is_unknown_once_the_provider_reads_on(kind: str) -> None:
    """A search reads into the same message, a compaction beside it: a stream cut after that forfeits everything."""
    it = fed("messages", "anthropic", start(READ), block(kind), block("text"))
    assert it.known_input is None
    assert it.forfeit(9000, 50, input_given=True) == 9050


def test_forfeit_is_never_below_what_was_seen() -> None:
    """A reservation that was too small does not hide what the answer named."""
    assert fed("messages", "anthropic", start(READ)).forfeit(2000, 50) == 3211
    assert fed("generate", "gemini", said(prompt=900, total=950)).forfeit(100, 50) == 950


def test_messages_delta_is_final_with_a_stop_reason_only() -> None:
    """A delta in the middle counts the output so far, which is believed only if the body came to its end."""
    running = (start(READ), delta({"output_tokens": 5}, None))
    assert cut("messages", "anthropic", *running) is None
    assert charge(used("messages", "anthropic", *running)) == 3215
    assert charge(cut("messages", "anthropic", *running, delta({"output_tokens": 9}))) == 3219
    assert used("messages", "anthropic", start(READ), delta(None), STOP) is None


def test_messages_error_in_mid_stream_says_nothing_of_the_output() -> None:
    """The one token that message_start counts is not what was written until the error."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    it = fed("messages", "anthropic", start({"input_tokens": 25, "output_tokens": 1}), block("text"), error)
    assert (it.usage(complete=True), it.known_input) == (None, 25)
    assert used("messages", "anthropic", start(READ), delta({"output_tokens": 5}, None), error) is None
    assert charge(used("messages", "anthropic", start(READ), delta({"output_tokens": 5}), error)) == 3215


def test_messages_start_with_a_stop_reason_is_whole() -> None:
    """An answer that only hands a tool call on has no delta; its start says all."""
    assert used("messages", "anthropic", start({"input_tokens": 0, "output_tokens": 0}, "tool_use"), STOP) == (0,) * 6


def test_messages_second_start_begins_anew_and_lowers_no_charge() -> None:
    """What was said of a message that is begun again does not stand; what was seen is the least that is charged."""
    it = fed(
        "messages",
        "anthropic",
        start(READ),
        delta({"output_tokens": 50}),
        start({"input_tokens": 9, "output_tokens": 1}),
    )
    assert (it.usage(complete=True), it.known_input, it.forfeit(0, 5, input_given=True)) == (None, 9, 3260)
    it.feed(json.dumps(delta({"output_tokens": 4})).encode())
    assert it.usage(complete=True) == Usage(9, 0, 0, 4, 0, 3260)
    it.feed(json.dumps(delta({"output_tokens": 4000})).encode())
    assert charge(it.usage(complete=True)) == 4009


# --- Gemini


def said(finish: str | None = None, **counts: object) -> dict[str, object]:
    """Give a chunk of generateContent."""
    candidate = {"content": {"parts": [{"text": "a"}]}, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "usageMetadata": {f"{name}TokenCount": n for name, n in counts.items()}}


def test_gemini_thoughts_and_tools_are_apart_from_candidates_and_prompt() -> None:
    """Output is candidates and thoughts, input is prompt and what tools made it read; cached is in the prompt."""
    body = said("STOP", prompt=427, candidates=122, thoughts=447, toolUsePrompt=771, total=1767, cachedContent=300)
    assert used("generate", "gemini", body) == Usage(1198, 300, 0, 569, 447, 1767)
    without_total = said("STOP", prompt=8, candidates=143, thoughts=382)
    assert charge(used("generate", "gemini", without_total)) == 533


def test_gemini_zero_candidates_are_left_out() -> None:
    """All output may be thoughts, or there may be none: the total says so."""
    assert used("generate", "gemini", said("MAX_TOKENS", prompt=9, thoughts=50, total=59)) == Usage(9, 0, 0, 50, 50, 59)
    assert charge(used("generate", "gemini", {"promptFeedback": {}, "usageMetadata": {"promptTokenCount": 9}})) is None


def test_gemini_stream_merges_the_last_of_each_number() -> None:
    """A number that the last chunk lacks stands as an earlier chunk gave it, and one that it lowers does not."""
    lacking = [said(prompt=9, candidates=21, thoughts=35, total=65), said("STOP", prompt=87, thoughts=78, total=165)]
    assert used("generate", "gemini", *lacking) == Usage(87, 0, 0, 99, 78, 186)
    lower = [said(prompt=145, total=145), said("STOP", prompt=85, candidates=15, total=100)]
    assert charge(used("generate", "gemini", *lower)) == 100


def test_gemini_usage_without_numbers_changes_nothing() -> None:
    """Vertex sends metadata without counts in all chunks but the last."""
    traffic = {"candidates": [{}], "usageMetadata": {"trafficType": "ON_DEMAND"}}
    assert used("generate", "gemini", traffic, traffic) is None
    assert charge(used("generate", "gemini", traffic, said("STOP", prompt=8, candidates=2, total=10))) == 10


def test_gemini_cut_stream_forfeits_unless_its_candidates_were_finished() -> None:
    """The numbers of a chunk in the middle are no bound, and the highest of them is the least that is charged."""
    chunks = [said(prompt=145, total=145), said(prompt=85, candidates=5, total=90)]
    it = fed("generate", "gemini", *chunks)
    assert (it.usage(complete=False), it.known_input) == (None, None)
    assert (it.forfeit(100, 100), it.forfeit(10, 20)) == (200, 145)
    assert charge(cut("generate", "gemini", *chunks, said("STOP", prompt=85, candidates=15, total=100))) == 100
    half = said("STOP", prompt=85, candidates=15, total=100)
    half["candidates"] = [{"finishReason": "STOP"}, {"content": {"parts": [{"functionCall": {"finishReason": "a"}}]}}]
    assert cut("generate", "gemini", half) is None


def test_gemini_error_in_mid_stream_is_no_end() -> None:
    """What was counted before the error is less than what was used."""
    error = {"error": {"code": 503, "status": "UNAVAILABLE"}}
    assert used("generate", "gemini", said(prompt=8, candidates=5, total=13), error) is None


def test_embedding_at_gemini_is_charged_if_it_says_so() -> None:
    """Older models name no usage, so the reservation stands; newer ones name the prompt alone."""
    assert used("embed", "gemini", {"embedding": {"values": [0.1]}}) is None
    assert used("embed", "gemini", {"embeddings": [], "usageMetadata": {"promptTokenCount": 7}}) == (7, 0, 0, 0, 0, 7)


# --- counting


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("messages.count", {"input_tokens": 16}),
        ("generate.count", {"totalTokens": 16, "promptTokensDetails": []}),
        ("responses.count", {"object": "response.input_tokens", "input_tokens": 16}),
    ],
)
def test_counting_is_free(operation: str, body: object) -> None:
    """A count is known as input and charged nothing; an answer without one is not a count of zero."""
    assert used(operation, "any", body) == Usage(16, 0, 0, 0, 0, 0)
    assert used(operation, "any", {"error": {"message": "no such model"}}) is None


def test_gemini_is_finished_when_all_candidates_that_were_asked_for_are() -> None:
    """A short candidate may be finished, alone in its event, long before another one is: that is no end yet."""
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}
    first, second = (
        {"candidates": [{"index": index, "finishReason": "STOP"}], "usageMetadata": usage} for index in (0, 1)
    )
    it = meter("generate", PROVIDERS["gemini"], 2)
    for said, finished in ((first, False), (first, False), (second, True)):
        it.feed(json.dumps(said).encode())
        assert (it.usage(complete=False) is not None) is finished


def test_gemini_is_never_finished_with_more_candidates_than_any_model_gives() -> None:
    """Nothing is kept of indexes that were not asked for, or of so many, however long a stream names new ones."""
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4}
    for choices in (2, CANDIDATES_MAX, 1_000_000):
        it = meter("generate", PROVIDERS["gemini"], choices)
        for begin in range(0, 10_000, 100):
            candidates = [{"index": index, "finishReason": "STOP"} for index in range(begin, begin + 100)]
            it.feed(json.dumps({"candidates": candidates, "usageMetadata": usage}).encode())
        assert isinstance(it, Generate)
        assert len(it._ended) <= CANDIDATES_MAX
        assert (it.usage(complete=False) is not None) is (choices <= CANDIDATES_MAX)
        assert charge(it.usage(complete=True)) == 4
