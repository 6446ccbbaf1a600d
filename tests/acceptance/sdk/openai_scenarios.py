"""What people do with OpenAI's SDK, as they do it; the gateway has to look like the API that the SDK was made for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai

from tests.acceptance.sdk.gate import REPLY, Gate, check_headers, check_spent, raises

VERSION = openai.__version__
CHAT = ("openai", "anthropic", "gemini", "openrouter")
RESPONSES = ("openai", "openrouter")
EMBEDDINGS = ("openai", "gemini", "openrouter")
HELLO: Any = [{"role": "user", "content": "Hello there"}]
CALL: Any = [{"role": "user", "content": "Please call the tool"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]


def client(gate: Gate, key: str = "", **options: Any) -> openai.OpenAI:
    """Give a client with the SDK's own defaults."""
    return openai.OpenAI(base_url=f"{gate.origin}/v1", api_key=key or gate.key, **options)


def sdk_chat_is_answered(gate: Gate) -> None:
    """A chat completion of every provider's binding has text, a finish reason and usage."""
    for name in CHAT:
        raw = client(gate).chat.completions.with_raw_response.create(model=name, messages=HELLO, max_tokens=100)
        check_headers(raw.headers, name)
        done = raw.parse()
        assert done.choices[0].message.content == REPLY + REPLY[:40], done
        assert done.choices[0].finish_reason == "stop"
        assert done.usage is not None
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 30
        assert done.model.endswith(name)


def sdk_chat_without_a_budget_is_answered(gate: Gate) -> None:
    """A binding without a budget is served with no figure of what remains."""
    for name in CHAT:
        raw = client(gate).chat.completions.with_raw_response.create(model=f"{name}-free", messages=HELLO)
        check_headers(raw.headers, f"{name}-free", budget=False)


def sdk_chat_obeys_the_output_limit(gate: Gate) -> None:
    """A limit of tokens ends the answer by it."""
    for name in CHAT:
        done = client(gate).chat.completions.create(model=name, messages=HELLO, max_tokens=5)
        assert done.choices[0].finish_reason == "length"
        assert done.usage is not None
        assert done.usage.completion_tokens == 5


def sdk_chat_streams_without_usage_unless_asked(gate: Gate) -> None:
    """A stream that did not ask for usage has none in any chunk, and no chunk without choices; the text is whole."""
    for name in CHAT:
        chunks = list(client(gate).chat.completions.create(model=name, messages=HELLO, stream=True))
        assert all(chunk.choices for chunk in chunks), name
        assert all(getattr(chunk, "usage", None) is None for chunk in chunks), name
        assert all("usage" not in (chunk.model_extra or {}) for chunk in chunks), name
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == REPLY + REPLY[:40]
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
        assert len(chunks) > 10


def sdk_chat_streams_with_usage_when_asked(gate: Gate) -> None:
    """A stream that asked for usage has it at its end."""
    for name in CHAT:
        options: Any = {"include_usage": True}
        chunks = list(
            client(gate).chat.completions.create(model=name, messages=HELLO, stream=True, stream_options=options)
        )
        told = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert told, name
        assert told[-1].completion_tokens == 30
        assert told[-1].total_tokens == told[-1].prompt_tokens + 30


def sdk_chat_streams_without_usage_when_declined(gate: Gate) -> None:
    """A stream that says `include_usage: false` has none either."""
    for name in CHAT:
        options: Any = {"include_usage": False}
        chunks = list(
            client(gate).chat.completions.create(model=name, messages=HELLO, stream=True, stream_options=options)
        )
        assert all(chunk.choices and getattr(chunk, "usage", None) is None for chunk in chunks), name


def sdk_chat_calls_tools(gate: Gate) -> None:
    """Tools go there and calls come back, whole and streamed."""
    for name in CHAT:
        done = client(gate).chat.completions.create(model=name, messages=CALL, tools=TOOLS)
        calls: Any = done.choices[0].message.tool_calls
        assert calls[0].function.name == "weather"
        assert json.loads(calls[0].function.arguments) == {"city": "sea"}
        assert done.choices[0].finish_reason == "tool_calls"
        chunks = client(gate).chat.completions.create(model=name, messages=CALL, tools=TOOLS, stream=True)
        pieces = [call.function for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        assert json.loads("".join(piece.arguments or "" for piece in pieces if piece)) == {"city": "sea"}


def sdk_chat_gives_several_choices(gate: Gate) -> None:
    """`n` choices come, and all of them count."""
    for name in ("openai", "gemini", "openrouter"):
        done = client(gate).chat.completions.create(model=name, messages=HELLO, n=3, max_tokens=50)
        assert len(done.choices) == 3
        assert done.usage is not None
        assert done.usage.completion_tokens == 90


def sdk_chat_works_asynchronously(gate: Gate) -> None:
    """The asynchronous client streams many answers at once."""

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{gate.origin}/v1", api_key=gate.key) as many:
            return await asyncio.gather(*(one(many, name) for name in CHAT * 3))

    async def one(many: openai.AsyncOpenAI, name: str) -> str:
        stream = await many.chat.completions.create(model=name, messages=HELLO, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert set(asyncio.run(ask())) == {REPLY + REPLY[:40]}


def sdk_responses_are_answered(gate: Gate) -> None:
    """A response has text and usage, and its limit is obeyed."""
    for name in RESPONSES:
        raw = client(gate).responses.with_raw_response.create(model=name, input="Hello there")
        check_headers(raw.headers, name)
        done = raw.parse()
        assert done.output_text == REPLY + REPLY[:40]
        assert done.status == "completed"
        assert done.usage is not None
        assert done.usage.output_tokens == 30
        short = client(gate).responses.create(model=name, input="Hello there", max_output_tokens=16)
        assert short.status == "incomplete"


def sdk_responses_stream(gate: Gate) -> None:
    """A streamed response has its deltas and ends with the whole response and its usage."""
    for name in RESPONSES:
        events = list(client(gate).responses.create(model=name, input="Hello there", stream=True))
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == REPLY + REPLY[:40]
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.usage is not None
        assert last.response.usage.output_tokens == 30
        with client(gate).responses.stream(model=name, input="Hello there") as stream:
            assert stream.get_final_response().output_text == text


def sdk_responses_call_tools(gate: Gate) -> None:
    """A function is called with its arguments."""
    tools: Any = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]
    for name in RESPONSES:
        done = client(gate).responses.create(model=name, input="Please call the tool", tools=tools)
        (call,) = [item for item in done.output if item.type == "function_call"]
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "sea"})


def sdk_embeddings_are_made(gate: Gate) -> None:
    """Texts become vectors, by the SDK's own default encoding and as floats."""
    sizes = {"openai": 1536, "gemini": 3072, "openrouter": 1536}
    for name in EMBEDDINGS:
        raw = client(gate).embeddings.with_raw_response.create(model=name, input=["one", "two"])
        check_headers(raw.headers, name)
        assert [len(item.embedding) for item in raw.parse().data] == [sizes[name]] * 2
        floats = client(gate).embeddings.create(model=name, input="one", encoding_format="float", dimensions=8)
        assert len(floats.data[0].embedding) == 8


def sdk_models_are_the_agents_bindings(gate: Gate) -> None:
    """The list has the agent's bindings and no other, each can be retrieved, an unknown one is not found."""
    names = [model.id for model in client(gate).models.list()]
    assert {"openai", "anthropic", "gemini", "openrouter", "openai-free"} <= set(names)
    assert "hidden" not in names
    model = client(gate).models.retrieve("anthropic")
    assert (model.id, model.object, model.owned_by) == ("anthropic", "model", "anthropic")
    raises(openai.NotFoundError, client(gate).models.retrieve, "nothing")
    raises(openai.PermissionDeniedError, client(gate).models.retrieve, "hidden")
    assert [model.id for model in client(gate, gate.outsider).models.list()] == ["hidden"]


def sdk_errors_are_the_usual_exceptions(gate: Gate) -> None:
    """Each refusal raises what the SDK raises for it, with a message that says why."""
    create = client(gate).chat.completions.create
    wrong = client(gate, "pak_wrong").chat.completions.create
    error = raises(openai.AuthenticationError, wrong, model="openai", messages=HELLO)
    assert error.code == "invalid_api_key"
    error = raises(openai.PermissionDeniedError, create, model="hidden", messages=HELLO)
    assert error.response.headers["x-pai-binding"] == "hidden"
    error = raises(openai.NotFoundError, create, model="gpt-4o", messages=HELLO)
    assert error.code == "model_not_found"
    long: Any = [{"role": "user", "content": "word " * 5000}]
    error = raises(openai.BadRequestError, create, model="openai-small", messages=long)
    assert "maxTokensPerRequest" in str(error)
    error = raises(
        openai.BadRequestError, create, model="openai", messages=HELLO, extra_body={"plugins": [{"id": "web"}]}
    )
    assert "unbounded" in str(error)
    error = raises(openai.BadRequestError, client(gate).responses.create, model="anthropic", input="Hello")
    assert "/v1/messages" in str(error)


def sdk_large_body_is_a_413(gate: Gate) -> None:
    """A body over 32 MiB raises the exception of its status, and the client goes on working."""
    huge: Any = [{"role": "user", "content": "a" * (33 * 1024 * 1024)}]
    one = client(gate)
    error = raises(openai.APIStatusError, one.chat.completions.create, model="openai", messages=huge)
    assert error.status_code == 413
    assert one.chat.completions.create(model="openai", messages=HELLO).choices


def sdk_spent_day_is_told_once(gate: Gate) -> None:
    """A spent day raises RateLimitError at the first request: the SDK, with its own retries, sends no second one."""
    for name in CHAT:
        before = gate.refused("day-budget")
        create = client(gate).chat.completions.create
        error = raises(openai.RateLimitError, create, model=f"{name}-spent", messages=HELLO)
        assert gate.refused("day-budget") == before + 1
        check_spent(error.response.headers)
        check_headers(error.response.headers, f"{name}-spent", budget=False)
        assert error.code == "insufficient_quota"
        stream: Any = {"stream": True}
        raises(openai.RateLimitError, create, model=f"{name}-spent", messages=HELLO, **stream)
    raises(openai.RateLimitError, client(gate).embeddings.create, model="openai-spent", input="Hello")
    raises(openai.RateLimitError, client(gate).responses.create, model="openai-spent", input="Hello")


def sdk_unreachable_provider_is_a_502(gate: Gate) -> None:
    """A provider that gives no answer raises the exception of a server's error."""
    gate.fault("openai", refuse=True)
    create = client(gate, max_retries=0).chat.completions.create
    error = raises(openai.InternalServerError, create, model="openai", messages=HELLO)
    assert error.status_code == 502


def sdk_retries_repair_a_provider_that_fails_once(gate: Gate) -> None:
    """The SDK's own retries work through the gateway: one failure of the provider is not seen."""
    gate.fault("openai", status=500)
    assert client(gate).chat.completions.create(model="openai", messages=HELLO).choices
    gate.fault("anthropic", status=429, retry_after=0)
    assert client(gate).chat.completions.create(model="anthropic", messages=HELLO).choices


def sdk_binding_that_is_not_ready_is_a_503(gate: Gate) -> None:
    """A binding without its key raises the exception of a server's error, which names the reason."""
    create = client(gate, max_retries=0).chat.completions.create
    error = raises(openai.InternalServerError, create, model="openai-keyless", messages=HELLO)
    assert error.status_code == 503
    assert "secret missing does not exist" in str(error)


def sdk_broken_stream_raises(gate: Gate) -> None:
    """A stream that its provider breaks off raises, and is not taken for a short answer."""
    gate.fault("openai", cut_after=5)
    stream = client(gate, max_retries=0).chat.completions.create(model="openai", messages=HELLO, stream=True)
    chunks = []
    try:
        for chunk in stream:
            chunks.append(chunk)  # noqa: PERF402 (what came before the break is kept)
    except Exception:
        assert 0 < len(chunks) < 10
    else:
        raise AssertionError("a broken stream looked whole")


def sdk_alternatives_are_named_in_the_body(gate: Gate) -> None:
    """`models` names alternatives, and the answer says which one served."""
    raw = client(gate).chat.completions.with_raw_response.create(
        model="openai-spent", messages=HELLO, extra_body={"models": ["gemini-spent", "openrouter"]}
    )
    check_headers(raw.headers, "openrouter")
