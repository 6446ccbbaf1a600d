"""What people do with Anthropic's SDK, as they do it; the gateway has to look like the API that it was made for."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import anthropic

from tests.acceptance.sdk.gate import REPLY, Gate, check_headers, check_spent, raises

VERSION = anthropic.__version__
BINDINGS = ("anthropic", "openrouter")
HELLO: Any = [{"role": "user", "content": "Hello there"}]
CALL: Any = [{"role": "user", "content": "Please call the tool"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"name": "weather", "description": "Tell the weather", "input_schema": SCHEMA}]


def client(gate: Gate, key: str = "", **options: Any) -> anthropic.Anthropic:
    """Give a client with the SDK's own defaults."""
    return anthropic.Anthropic(base_url=gate.origin, api_key=key or gate.key, **options)


def sdk_messages_are_answered(gate: Gate) -> None:
    """A message of every binding that speaks this API has text, a stop reason and usage."""
    for name in BINDINGS:
        raw = client(gate).messages.with_raw_response.create(model=name, max_tokens=100, messages=HELLO)
        check_headers(raw.headers, name)
        done = raw.parse()
        assert done.content[0].text == REPLY + REPLY[:40]
        assert done.stop_reason == "end_turn"
        assert done.usage.output_tokens == 30


def sdk_bearer_token_works_too(gate: Gate) -> None:
    """The key is also taken as the SDK's auth token, which is another header."""
    with anthropic.Anthropic(base_url=gate.origin, api_key=None, auth_token=gate.key) as other:
        assert other.messages.create(model="anthropic", max_tokens=10, messages=HELLO).stop_reason == "max_tokens"


def sdk_system_and_thinking_pass(gate: Gate) -> None:
    """System blocks, cache marks and thinking go through, and their usage comes back."""
    system: Any = [{"type": "text", "text": f"Be brief. {uuid4()} " * 100, "cache_control": {"type": "ephemeral"}}]
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    create = client(gate).messages.create
    first = create(model="anthropic", max_tokens=2000, messages=HELLO, system=system, thinking=thinking)
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert first.usage.cache_creation_input_tokens
    again = create(model="anthropic", max_tokens=2000, messages=HELLO, system=system, thinking=thinking)
    assert again.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens


def sdk_messages_stream(gate: Gate) -> None:
    """A streamed message has its events, its text and, as always in this API, its usage."""
    for name in BINDINGS:
        events = list(client(gate).messages.create(model=name, max_tokens=100, messages=HELLO, stream=True))
        assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
        (delta,) = [event for event in events if event.type == "message_delta"]
        assert delta.usage.output_tokens == 30
        with client(gate).messages.stream(model=name, max_tokens=100, messages=HELLO) as stream:
            assert "".join(stream.text_stream) == REPLY + REPLY[:40]
            assert stream.get_final_message().usage.output_tokens == 30


def sdk_tools_are_called(gate: Gate) -> None:
    """Tools go there and calls come back, whole and streamed."""
    for name in BINDINGS:
        done = client(gate).messages.create(model=name, max_tokens=100, messages=CALL, tools=TOOLS)
        (call,) = [block for block in done.content if block.type == "tool_use"]
        assert (call.name, call.input, done.stop_reason) == ("weather", {"city": "sea"}, "tool_use")
        with client(gate).messages.stream(model=name, max_tokens=100, messages=CALL, tools=TOOLS) as stream:
            (call,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
        assert call.input == {"city": "sea"}


def sdk_beta_messages_are_answered(gate: Gate) -> None:
    """The beta namespace, which adds a query and a header, works like the other one."""
    done = client(gate).beta.messages.create(
        model="anthropic", max_tokens=100, messages=HELLO, betas=["output-128k-2025-02-19"]
    )
    assert done.usage.output_tokens == 30


def sdk_tokens_are_counted(gate: Gate) -> None:
    """Counting is free: no budget is told, and a spent binding still counts."""
    for name in (*BINDINGS, "anthropic-spent"):
        raw = client(gate).messages.with_raw_response.count_tokens(model=name, messages=HELLO)
        check_headers(raw.headers, name, budget=False)
        assert raw.parse().input_tokens == 6


def sdk_messages_work_asynchronously(gate: Gate) -> None:
    """The asynchronous client streams many answers at once."""

    async def ask() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=gate.origin, api_key=gate.key) as many:
            return await asyncio.gather(*(one(many, name) for name in BINDINGS * 4))

    async def one(many: anthropic.AsyncAnthropic, name: str) -> str:
        async with many.messages.stream(model=name, max_tokens=100, messages=HELLO) as stream:
            return "".join([text async for text in stream.text_stream])

    assert set(asyncio.run(ask())) == {REPLY + REPLY[:40]}


def sdk_models_are_the_agents_bindings(gate: Gate) -> None:
    """The list has the agent's bindings in this API's shape, page by page; an unknown one is not found."""
    names = [model.id for model in client(gate).models.list(limit=1000)]
    assert {"openai", "anthropic", "gemini", "openrouter"} <= set(names)
    assert "hidden" not in names
    model = client(gate).models.retrieve("anthropic")
    assert (model.id, model.type, model.display_name) == ("anthropic", "model", "anthropic")
    raises(anthropic.NotFoundError, client(gate).models.retrieve, "nothing")
    raises(anthropic.PermissionDeniedError, client(gate).models.retrieve, "hidden")


def sdk_errors_are_the_usual_exceptions(gate: Gate) -> None:
    """Each refusal raises what the SDK raises for it, with a message that says why."""
    create = client(gate).messages.create
    wrong = client(gate, "pak_wrong").messages.create
    error = raises(anthropic.AuthenticationError, wrong, model="anthropic", max_tokens=10, messages=HELLO)
    assert error.body["error"]["type"] == "authentication_error"
    error = raises(anthropic.PermissionDeniedError, create, model="hidden", max_tokens=10, messages=HELLO)
    assert error.body["error"]["type"] == "permission_error"
    error = raises(anthropic.NotFoundError, create, model="claude-sonnet-4-6", max_tokens=10, messages=HELLO)
    assert error.body["error"]["type"] == "not_found_error"
    long: Any = [{"role": "user", "content": "word " * 5000}]
    error = raises(anthropic.BadRequestError, create, model="anthropic-small", max_tokens=10, messages=long)
    assert "maxTokensPerRequest" in str(error)
    error = raises(anthropic.BadRequestError, create, model="openai", max_tokens=10, messages=HELLO)
    assert "/v1/chat/completions" in str(error)
    search: Any = [{"type": "web_search_20250305", "name": "web_search"}]
    error = raises(anthropic.BadRequestError, create, model="anthropic", max_tokens=10, messages=HELLO, tools=search)
    assert "pai.io/unbounded-input" in str(error)


def sdk_large_body_is_a_413(gate: Gate) -> None:
    """A body over 32 MiB raises the exception of its status."""
    huge: Any = [{"role": "user", "content": "a" * (33 * 1024 * 1024)}]
    try:
        client(gate).messages.create(model="anthropic", max_tokens=10, messages=huge)
    except anthropic.APIStatusError as error:
        assert error.status_code == 413  # noqa: PT017
        assert error.body["error"]["type"] == "request_too_large"  # noqa: PT017
    else:
        raise AssertionError("33 MiB were taken")


def sdk_spent_day_is_told_once(gate: Gate) -> None:
    """A spent day raises RateLimitError at the first request: the SDK, with its own retries, sends no second one."""
    for name in BINDINGS:
        before = gate.refused("day-budget")
        create = client(gate).messages.create
        error = raises(anthropic.RateLimitError, create, model=f"{name}-spent", max_tokens=10, messages=HELLO)
        assert gate.refused("day-budget") == before + 1
        check_spent(error.response.headers)
        check_headers(error.response.headers, f"{name}-spent", budget=False)
        assert error.body["error"]["type"] == "rate_limit_error"


def sdk_unreachable_provider_is_a_502(gate: Gate) -> None:
    """A provider that gives no answer raises the exception of a server's error."""
    gate.fault("anthropic", refuse=True)
    create = client(gate, max_retries=0).messages.create
    error = raises(anthropic.InternalServerError, create, model="anthropic", max_tokens=10, messages=HELLO)
    assert error.status_code == 502


def sdk_retries_repair_a_provider_that_fails_once(gate: Gate) -> None:
    """The SDK's own retries work through the gateway: one overloaded answer of the provider is not seen."""
    gate.fault("anthropic", status=529)
    assert client(gate).messages.create(model="anthropic", max_tokens=10, messages=HELLO).content


def sdk_binding_that_is_not_ready_is_a_503(gate: Gate) -> None:
    """A binding without its key raises the exception of a server's error, which names the reason."""
    create = client(gate, max_retries=0).messages.create
    error = raises_status(create, model="anthropic-keyless", max_tokens=10, messages=HELLO)
    assert error.status_code == 503
    assert "secret missing does not exist" in str(error)


def raises_status(call: Any, **options: Any) -> anthropic.APIStatusError:
    """Call what has to fail with a server's error, of whatever class the SDK has for its status."""
    try:
        call(**options)
    except anthropic.InternalServerError as error:
        return error
    raise AssertionError("nothing was raised")


def sdk_alternatives_are_named_in_a_header(gate: Gate) -> None:
    """`x-pai-fallback` names alternatives, and the answer says which one served."""
    raw = client(gate).messages.with_raw_response.create(
        model="anthropic-spent", max_tokens=10, messages=HELLO, extra_headers={"x-pai-fallback": "openrouter"}
    )
    check_headers(raw.headers, "openrouter")
