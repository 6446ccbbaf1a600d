"""The simulated providers as clients see them: official SDKs, limits, counting, credentials, and the ledger."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.simulator import PROVIDERS, Charged, Fault, Provider, SimulatedAccount, Simulator
from tests.support_simulator import HEADERS, KEY, PATHS, SPEAKING, events, request, send, streaming, tools

OPENAI_BASES: dict[Provider, str] = {
    "openai": "/v1",
    "anthropic": "/v1",
    "gemini": "/v1beta/openai",
    "openrouter": "/api/v1",
}
ANTHROPIC_BASES: dict[Provider, str] = {"anthropic": "", "openrouter": "/api"}
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Give the providers, running; one key is accepted."""
    with Simulator(keys={name: {KEY} for name in PROVIDERS}) as running:
        yield running


def openai_client(simulator: Simulator, provider: Provider = "openai", key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=simulator.origin(provider) + OPENAI_BASES[provider], max_retries=0)


def anthropic_client(simulator: Simulator, provider: Provider = "anthropic", key: str = KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key=key, base_url=simulator.origin(provider) + ANTHROPIC_BASES[provider], max_retries=0
    )


def gemini_client(simulator: Simulator, key: str = KEY) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=simulator.origin("gemini")))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_openai_sdk_chats_with_every_provider(simulator: Simulator, provider: Provider) -> None:
    """The OpenAI SDK reads text and usage on all four, at once and as a stream, and both cost the same."""
    with openai_client(simulator, provider) as client:
        whole = client.chat.completions.create(model="m", messages=HELLO, max_tokens=9)
        stream = client.chat.completions.create(
            model="m", messages=HELLO, max_tokens=9, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)

    assert whole.choices[0].finish_reason == "length"
    assert whole.choices[0].message.content == "one red sun set low and the sea was "
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert whole.usage is not None
    assert chunks[-1].usage == whole.usage
    assert (whole.usage.completion_tokens, whole.usage.total_tokens) == (9, whole.usage.prompt_tokens + 9)
    assert simulator.charged == {SimulatedAccount(provider, "m", KEY): Charged(2, 2 * whole.usage.prompt_tokens, 18)}


@pytest.mark.parametrize("provider", ["openai", "openrouter"])
def test_openai_sdk_reads_responses(simulator: Simulator, provider: Provider) -> None:
    """The OpenAI SDK reads a response and its stream to the same text and usage, thoughts counted as output."""
    with openai_client(simulator, provider) as client:
        model = "gpt-5" if provider == "openai" else "openai/gpt-5"
        whole = client.responses.create(model=model, input="Hello, 20 tokens please")
        with client.responses.stream(model=model, input="Hello, 20 tokens please") as stream:
            final = stream.get_final_response()
        short = client.responses.create(model=model, input="Hello", max_output_tokens=16)

    assert final.output_text == whole.output_text
    assert whole.usage is not None
    assert final.usage == whole.usage
    assert whole.usage.output_tokens == 32
    assert whole.usage.output_tokens_details.reasoning_tokens == 12
    assert short.status == "incomplete"
    assert short.usage is not None
    assert short.usage.output_tokens == 16


def test_openai_sdk_counts_and_embeds(simulator: Simulator) -> None:
    """Counting is free and tells what the call will cost; an embedding has a vector for each input."""
    with openai_client(simulator) as client:
        counted = client.responses.input_tokens.count(model="gpt-4o", input="Hello there")
        assert simulator.charged == {}
        reply = client.responses.create(model="gpt-4o", input="Hello there")
        assert reply.usage is not None
        assert reply.usage.input_tokens == counted.input_tokens

        vectors = client.embeddings.create(model="e", input=["one", "two"], dimensions=8)
    assert [len(item.embedding) for item in vectors.data] == [8, 8]
    assert simulator.total(model="e") == Charged(1, vectors.usage.total_tokens, 0)


@pytest.mark.parametrize("provider", ["gemini", "openrouter"])
def test_openai_sdk_embeds_elsewhere(simulator: Simulator, provider: Provider) -> None:
    """Gemini and OpenRouter embed in OpenAI's format, too."""
    with openai_client(simulator, provider) as client:
        reply = client.embeddings.create(model="e", input="one", dimensions=8)
    assert len(reply.data[0].embedding) == 8
    assert simulator.total(provider).output == 0
    assert simulator.total(provider).input > 0


@pytest.mark.parametrize("provider", ["anthropic", "openrouter"])
def test_anthropic_sdk_reads_messages(simulator: Simulator, provider: Provider) -> None:
    """The Anthropic SDK reads a message and its stream alike, thoughts before the text, and counts for free."""
    asked: Any = {"model": "claude", "messages": HELLO, "max_tokens": 40, "thinking": {"type": "adaptive"}}
    with anthropic_client(simulator, provider) as client:
        counted = client.messages.count_tokens(model="claude", messages=HELLO)
        assert simulator.charged == {}
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            final = stream.get_final_message()

    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert final.stop_reason == whole.stop_reason == "max_tokens"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (counted.input_tokens, 40)
    assert final.usage == whole.usage
    assert simulator.total(provider) == Charged(2, 2 * counted.input_tokens, 80)


def test_genai_sdk_generates(simulator: Simulator) -> None:
    """Google's SDK reads candidates, streams and counts; thoughts are beside the candidates, in the total."""
    with gemini_client(simulator) as client:
        counted = client.models.count_tokens(model="gemini-2.5-flash", contents="Hello")
        assert simulator.charged == {}
        config = types.GenerateContentConfig(max_output_tokens=20)
        whole = client.models.generate_content(model="gemini-2.5-flash", contents="Hello", config=config)
        stream = client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello", config=config)
        chunks = list(stream)

    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    usage = whole.usage_metadata
    assert usage is not None
    assert chunks[-1].usage_metadata == usage
    assert usage.prompt_token_count == counted.total_tokens
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (8, 12)
    assert usage.total_token_count == (counted.total_tokens or 0) + 20
    assert simulator.total("gemini").output == 40


def test_genai_sdk_embeds(simulator: Simulator) -> None:
    """Google's SDK gets a vector for each text, and is charged though no usage is told."""
    with gemini_client(simulator) as client:
        config = types.EmbedContentConfig(output_dimensionality=4)
        reply = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"], config=config)
    assert [len(item.values or []) for item in reply.embeddings or []] == [4, 4]
    assert simulator.total("gemini") == Charged(1, 2, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("provider", "api"), SPEAKING)
def test_tool_is_called_if_asked(simulator: Simulator, provider: Provider, api: str, stream: bool) -> None:
    """`call the tool` gets a call of the tool with what its schema requires, and not one when the tool has answered."""
    more = streaming(api, stream) | {"tools": tools(api)}
    asked = send(simulator, provider, PATHS[provider, api], request(api, "Please call the tool", **more))
    plain = send(simulator, provider, PATHS[provider, api], request(api, "Please do not", **more))

    assert asked.status == plain.status == 200
    text = asked.body.decode().replace('\\"', "").replace("\\", "")
    assert '"look"' in text
    said = "".join(re.findall(r'"(?:arguments|partial_json|delta)":\s*"(.*?)"[,}]', asked.body.decode()))
    assert '\\"at\\"' in said or re.search(r'"at":\s*"sea"', asked.body.decode())
    assert b'"look"' not in plain.body


STATUSES: list[tuple[int, type[Exception], type[Exception]]] = [
    (400, openai.BadRequestError, anthropic.BadRequestError),
    (401, openai.AuthenticationError, anthropic.AuthenticationError),
    (403, openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    (404, openai.NotFoundError, anthropic.NotFoundError),
    (408, openai.APIStatusError, anthropic.APIStatusError),
    (429, openai.RateLimitError, anthropic.RateLimitError),
    (500, openai.InternalServerError, anthropic.InternalServerError),
    (503, openai.InternalServerError, anthropic.InternalServerError),
    (529, openai.InternalServerError, anthropic.InternalServerError),
]


class Clients(NamedTuple):
    """A client of each SDK for each provider that it can talk to; making them takes longer than using them."""

    simulator: Simulator
    openai: dict[Provider, openai.OpenAI]
    anthropic: dict[Provider, anthropic.Anthropic]
    google: genai.Client


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    """Give clients of providers that run as long as the module's tests."""
    with Simulator() as simulator, ExitStack() as stack:
        yield Clients(
            simulator,
            {name: stack.enter_context(openai_client(simulator, name)) for name in PROVIDERS},
            {name: stack.enter_context(anthropic_client(simulator, name)) for name in ANTHROPIC_BASES},
            stack.enter_context(gemini_client(simulator)),
        )


@pytest.mark.parametrize("api", ["chat", "responses", "messages", "generateContent"])
def test_named_tool_is_called_with_what_the_prompt_says(simulator: Simulator, api: str) -> None:
    """`call the tool NAME {...}` gets a call of that tool with these arguments; what is no JSON gets none."""
    provider = next(name for name, of in SPEAKING if of == api)
    for said, called in (('look {"at": "it"}', True), ("look {at}", False), ('nothing {"at": "it"}', False)):
        got = send(simulator, provider, PATHS[provider, api], request(api, f"call the tool {said}", tools=tools(api)))
        assert ('"it"' in got.body.decode().replace("\\", "")) == called, got.json


@pytest.mark.parametrize("stream", [False, True])
def test_tool_of_free_text_in_a_namespace_is_called(simulator: Simulator, stream: bool) -> None:
    """A tool that an item adds, in a namespace, is called as the others are; its text is no JSON."""
    tool = {"type": "namespace", "name": "functions", "description": "", "tools": [{"type": "custom", "name": "exec"}]}
    items = [{"type": "additional_tools", "tools": [tool]}, {"role": "user", "content": "call the tool exec {x()}"}]
    got = send(simulator, "openai", "/v1/responses", {"model": "gpt-4o", "input": items, "stream": stream})
    body = got.events[-1]["response"] if stream else got.json
    (call,) = body["output"]
    assert (call["type"], call["name"], call["input"]) == ("custom_tool_call", "exec", "{x()}")
    if stream:
        deltas = [event["delta"] for event in got.events if event["type"] == "response.custom_tool_call_input.delta"]
        assert "".join(deltas) == "{x()}"


@pytest.mark.parametrize(("status", "for_openai", "for_anthropic"), STATUSES)
def test_sdk_raises_what_the_status_means(
    clients: Clients, status: int, for_openai: type[Exception], for_anthropic: type[Exception]
) -> None:
    """Each SDK raises its own exception for a refusal, with the provider's message, and nothing is charged."""
    simulator = clients.simulator
    simulator.fault(Fault(status=status, message="no such luck", times=7))
    for provider in PROVIDERS:  # Gemini's error is a list there, in which this SDK finds no message
        message = None if provider == "gemini" else "no such luck"
        with pytest.raises(for_openai, match=message):
            clients.openai[provider].chat.completions.create(model="m", messages=HELLO)
    for other in clients.anthropic.values():
        with pytest.raises(for_anthropic, match="no such luck"):
            other.messages.create(model="m", messages=HELLO, max_tokens=5)
    kind = errors.ClientError if status < 500 else errors.ServerError
    with pytest.raises(kind, match="no such luck") as raised:
        clients.google.models.generate_content(model="m", contents="Hello")
    assert raised.value.code == status
    assert simulator.charged == {}
    assert simulator.pending() == []


def test_wrong_key_is_refused_as_each_provider_does(simulator: Simulator) -> None:
    """A key that is not accepted raises the SDK's authentication error; Google's API calls it an invalid argument."""
    for provider in ("openai", "anthropic", "openrouter"):
        with openai_client(simulator, provider, "wrong") as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="m", messages=HELLO)
    with anthropic_client(simulator, "anthropic", "wrong") as other, pytest.raises(anthropic.AuthenticationError):
        other.messages.create(model="m", messages=HELLO, max_tokens=5)
    with gemini_client(simulator, "wrong") as google, pytest.raises(errors.ClientError) as raised:
        google.models.generate_content(model="m", contents="Hello")
    assert (raised.value.code, raised.value.status) == (400, "INVALID_ARGUMENT")
    assert simulator.charged == {}


@pytest.mark.parametrize(("provider", "api"), PATHS)
def test_credential_is_looked_for_where_the_provider_looks(simulator: Simulator, provider: Provider, api: str) -> None:
    """Without a credential, and with one in a header of another provider, a request is refused."""
    path = PATHS[provider, api]
    foreign = {"authorization": f"Basic {KEY}", "x-pai-key": KEY}
    if provider != "gemini" or api in ("chat", "embeddings"):
        foreign["x-goog-api-key"] = KEY
    if provider == "openai" or (provider == "openrouter" and not path.endswith(("messages", "count_tokens"))):
        foreign["x-api-key"] = KEY

    statuses = {send(simulator, provider, path, request(api), headers=sent).status for sent in ({}, foreign)}

    assert statuses <= {400, 401, 403}, statuses
    assert send(simulator, provider, path, request(api)).status == 200


def test_gemini_takes_its_key_from_the_query(simulator: Simulator) -> None:
    """`?key=` is a credential for Gemini's own API alone."""
    path = PATHS["gemini", "generateContent"]
    assert send(simulator, "gemini", f"{path}?key={KEY}", request("generateContent"), headers={}).status == 200
    assert send(simulator, "gemini", f"{path}?key=wrong", request("generateContent"), headers={}).status == 400
    assert send(simulator, "openai", f"/v1/chat/completions?key={KEY}", request("chat"), headers={}).status == 401


def test_any_key_is_taken_and_recorded_if_none_are_given() -> None:
    """Without accepted keys every credential is served, and charged by itself."""
    with Simulator() as simulator:
        for key in ("one", "two", "two"):
            send(
                simulator, "openai", "/v1/chat/completions", request("chat"), headers={"authorization": f"Bearer {key}"}
            )
        counts = {account.credential: charged.requests for account, charged in simulator.charged.items()}
    assert counts == {"one": 1, "two": 2}


LIMITS = {
    "chat": "max_tokens",
    "responses": "max_output_tokens",
    "messages": "max_tokens",
    "generateContent": "generationConfig",
    "streamGenerateContent": "generationConfig",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [16, 17, 29, 1000])
@pytest.mark.parametrize(("provider", "api"), SPEAKING)
def test_output_never_passes_the_limit(
    simulator: Simulator, provider: Provider, api: str, limit: int, stream: bool
) -> None:
    """Whatever the prompt wants, charge and text stay within the limit of the request, and meet it if it is wanted."""
    name = LIMITS[api]
    value: Any = {"maxOutputTokens": limit} if name == "generationConfig" else limit
    body = request(api, "Say 500 tokens", **{name: value}, **streaming(api, stream))

    got = send(simulator, provider, PATHS[provider, api], body)

    assert got.status == 200, got
    assert simulator.total().output == min(limit, 500)
    told = "".join(re.findall(r'"(?:content|text|delta)":\s*"([a-z ]*)"', got.body.decode()))
    assert len(told) % (4 * min(limit, 500)) == 0
    assert told


def test_choices_multiply_the_output(simulator: Simulator) -> None:
    """With n and candidateCount every choice has its own text and its own limit."""
    for stream in (False, True):
        body = request("chat", n=3, max_tokens=5, **streaming("chat", stream))
        send(simulator, "openai", PATHS["openai", "chat"], body)
    assert simulator.total("openai").output == 2 * 3 * 5
    for api in ("generateContent", "streamGenerateContent"):
        body = request(api, generationConfig={"candidateCount": 2, "maxOutputTokens": 7})
        send(simulator, "gemini", PATHS["gemini", api], body)
    assert simulator.total("gemini").output == 2 * 2 * 7


def test_openai_tells_a_streams_usage_only_if_asked(simulator: Simulator) -> None:
    """Without include_usage no chunk has a usage; with it, all say null but one that has no choices."""
    quiet = send(simulator, "openai", PATHS["openai", "chat"], request("chat", stream=True)).events
    told = send(simulator, "openai", PATHS["openai", "chat"], request("chat", **streaming("chat", True))).events

    assert all("usage" not in chunk for chunk in quiet[:-1])
    assert quiet[-1] == told[-1] == "[DONE]"
    assert [chunk["usage"] for chunk in told[:-2]] == [None] * (len(told) - 2)
    assert told[-2]["choices"] == []
    assert told[-2]["usage"]["completion_tokens"] == 30


def test_openrouter_always_tells_a_streams_usage_with_a_choice(simulator: Simulator) -> None:
    """OpenRouter tells usage unasked, in a chunk with a choice, after comments."""
    got = send(simulator, "openrouter", PATHS["openrouter", "chat"], request("chat", stream=True))
    assert got.body.startswith(b": OPENROUTER PROCESSING\n\n")
    assert got.events[-2]["usage"]["total_tokens"] == simulator.total().total
    assert len(got.events[-2]["choices"]) == 1


def test_gemini_streams_an_array_without_alt_sse(simulator: Simulator) -> None:
    """The same chunks come as events with CRLF, or as one JSON array."""
    path = PATHS["gemini", "streamGenerateContent"]
    stream = send(simulator, "gemini", path, request("streamGenerateContent"))
    array = send(simulator, "gemini", path.partition("?")[0], request("streamGenerateContent"))

    assert stream.body.endswith(b"}\r\n\r\n")
    assert array.headers["content-type"].startswith("application/json")
    texts = [[c["candidates"][0]["content"]["parts"] for c in chunks] for chunks in (stream.events, array.json)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 20


def test_chunks_and_text_are_as_set() -> None:
    """The number of pieces and what is said are settings; a reply of fewer tokens has fewer pieces."""
    with Simulator(chunks=5, reply_tokens=10, text="abc ") as simulator:
        got = send(simulator, "anthropic", PATHS["anthropic", "messages"], request("messages", stream=True))
        small = request("messages", stream=True, max_tokens=2)
        few = send(simulator, "anthropic", PATHS["anthropic", "messages"], small)
    deltas = [e["delta"]["text"] for e in got.events if e["type"] == "content_block_delta"]
    assert deltas == ["abc abc "] * 5
    assert [e["delta"]["text"] for e in few.events if e["type"] == "content_block_delta"] == ["abc ", "abc "]


def test_prompt_cache_is_told_the_second_time(simulator: Simulator) -> None:
    """A marked prompt is written by its first request and read by its second; long ones OpenAI caches unasked."""
    block = {"type": "text", "text": "sea " * 400, "cache_control": {"type": "ephemeral"}}
    body = request("messages", system=[block])
    first, second = (send(simulator, "anthropic", "/v1/messages", body).json["usage"] for _ in range(2))
    assert first["cache_creation_input_tokens"] > 0 == first["cache_read_input_tokens"]
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert first["input_tokens"] == second["input_tokens"]
    total = first["input_tokens"] + first["cache_creation_input_tokens"]
    assert simulator.total("anthropic").input == 2 * total

    long = request("chat", "sea " * 2000)
    usages = [send(simulator, "openai", PATHS["openai", "chat"], long).json["usage"] for _ in range(2)]
    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 1920]
    assert usages[0]["prompt_tokens"] == usages[1]["prompt_tokens"]


@pytest.mark.parametrize("prompt", ["", "x", "Hello", "\U0001f30a" * 50, "\\u0041" * 9, "\x01\x02" * 40])
def test_input_is_never_more_than_the_bytes(simulator: Simulator, prompt: str) -> None:
    """Input is counted from the text alone and never passes the body's bytes, whatever the text is."""
    for raw in (json.dumps(request("chat", prompt)), json.dumps(request("chat", prompt), ensure_ascii=False, indent=8)):
        got = send(simulator, "openai", PATHS["openai", "chat"], raw.encode())
        assert got.json["usage"]["prompt_tokens"] == -(-len(prompt.encode()) // 4) + 3
        assert got.json["usage"]["prompt_tokens"] <= len(raw.encode())


MEMBERS = (
    *("tools", "tool_choice", "toolConfig", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"),
    *("max_output_tokens", "generationConfig", "systemInstruction", "system", "instructions", "reasoning", "thinking"),
    *("reasoning_effort", "dimensions", "encoding_format", "outputDimensionality", "response_format", "text"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.sampled_from(["", "user", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "parts", "type", "function", "name", "parameters", "input", "text"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)

BAD: list[tuple[Provider, str, Any]] = [
    ("openai", "chat", {"messages": HELLO}),
    ("openai", "chat", {"model": "m"}),
    ("openai", "chat", {"model": "m", "messages": []}),
    ("openai", "chat", {"model": "m", "messages": "Hello"}),
    ("openai", "chat", request("chat", max_tokens=-1)),
    ("openai", "chat", request("chat", max_tokens=0)),
    ("openai", "chat", request("chat", max_tokens="9")),
    ("openai", "chat", request("chat", n=1_000_000)),
    ("openai", "chat", request("chat", max_tokens=5, max_completion_tokens=5)),
    ("openai", "chat", request("chat", max_tokens=5, model="gpt-5-mini")),
    ("openai", "chat", request("chat", stream_options={"include_usage": True})),
    ("openai", "chat", request("chat", models=["other"])),
    ("openai", "responses", {"model": "m"}),
    ("openai", "responses", request("responses", max_output_tokens=15)),
    ("openai", "embeddings", {"model": "m"}),
    ("openai", "embeddings", request("embeddings", dimensions=-1)),
    ("anthropic", "messages", {"model": "m", "messages": HELLO}),
    ("anthropic", "messages", request("messages", max_tokens=0)),
    ("anthropic", "messages", request("messages", thinking={"type": "enabled", "budget_tokens": 100})),
    ("anthropic", "chat", request("chat", n=2)),
    ("gemini", "generateContent", {}),
    ("gemini", "generateContent", {"contents": []}),
    ("gemini", "generateContent", request("generateContent", generationConfig={}, generation_config={})),
    ("gemini", "generateContent", request("generateContent", generationConfig={"maxOutputTokens": -5})),
    ("gemini", "embedContent", {}),
    ("openrouter", "chat", {"model": "m"}),
    ("openai", "chat", b"{"),
    ("anthropic", "messages", b"[]"),
    ("gemini", "generateContent", b'{"contents": "\xff"}'),
]


@pytest.mark.parametrize(("provider", "api", "body"), BAD)
def test_bad_request_is_refused_and_costs_nothing(
    simulator: Simulator, provider: Provider, api: str, body: object
) -> None:
    """What the real provider demands is demanded, with its 400."""
    got = send(simulator, provider, PATHS[provider, api], body)
    assert got.status == 400, got
    assert "error" in got.json
    assert simulator.charged == {}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize(("provider", "api"), PATHS)
def test_odd_members_never_break_it(clients: Clients, provider: Provider, api: str, data: st.DataObject) -> None:
    """Whatever JSON stands in a member, the answer is a good one or a refusal, never an error of the simulator."""
    body = request(api) | streaming(api, data.draw(st.booleans()))
    for name in data.draw(st.lists(st.sampled_from([*MEMBERS, *body]), min_size=1, max_size=3)):
        body[name] = data.draw(JSON)
    got = send(clients.simulator, provider, PATHS[provider, api], body)
    assert got.status in (200, 400), (got, body)


def test_unknown_paths_and_models_are_not_found(simulator: Simulator) -> None:
    """Another provider's path, another method and a model that does not exist are refused."""
    assert send(simulator, "openai", "/v1/messages", request("messages")).status == 404
    assert send(simulator, "anthropic", "/v1/responses", request("responses")).status == 404
    assert send(simulator, "gemini", "/v1/models/m:predict", {}).status == 404
    assert send(simulator, "openai", "/v1/chat/completions", b"", method="GET").status == 404
    with openai_client(simulator) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=HELLO)


def test_requests_are_kept_as_they_came(simulator: Simulator) -> None:
    """The last requests can be read with headers, body and the answer's status, in process and over HTTP."""
    body = request("generateContent", "a canary")
    send(simulator, "gemini", PATHS["gemini", "generateContent"] + "?key=x", body, headers={"X-Odd": "yes"})

    (seen,) = simulator.requests()

    assert (seen.provider, seen.method, seen.status, seen.delivered) == ("gemini", "POST", 400, True)
    assert (seen.path, seen.query) == (PATHS["gemini", "generateContent"], "key=x")
    assert dict(seen.headers)["x-odd"] == "yes"
    assert json.loads(seen.body) == body
    told = send(simulator, "openai", "/_simulator/requests", b"", method="GET").json
    assert [(item["path"], item["body"]) for item in told] == [(seen.path, seen.body)]


def test_requests_are_kept_up_to_a_number(simulator: Simulator) -> None:
    """Old requests and the ends of long bodies are forgotten, so that a long run needs no more memory."""
    for number in range(300):
        send(simulator, "openai", f"/{number}", b"")
    send(simulator, "openai", "/long", b"x" * 1_000_000)
    seen = simulator.requests()
    assert (len(seen), seen[-1].bytes, len(seen[-1].body)) == (256, 1_000_000, 256 * 1024)


def test_charges_are_told_over_http(simulator: Simulator) -> None:
    """Any port tells what all providers charged."""
    send(simulator, "openai", PATHS["openai", "chat"], request("chat", max_tokens=4))
    told = send(simulator, "gemini", "/_simulator/charged", b"", method="GET").json
    account = {"provider": "openai", "model": "gpt-4o", "credential": KEY}
    assert told == [{**account, "requests": 1, "input": 5, "output": 4, "total": 9}]


def test_request_ids_differ_and_are_where_the_provider_puts_them(simulator: Simulator) -> None:
    """OpenAI and Anthropic number their answers in a header; equal requests have equal bodies."""
    for provider, api, name in (("openai", "chat", "x-request-id"), ("anthropic", "messages", "request-id")):
        one, two = (send(simulator, provider, PATHS[provider, api], request(api)) for _ in range(2))
        assert one.headers[name].startswith("req_")
        assert one.headers[name] != two.headers[name]
        assert one.body == two.body


def test_program_serves_until_a_signal() -> None:
    """`python -m reconciler.simulator` prints where the providers are, answers, and ends with 0 on SIGTERM."""
    command = [sys.executable, "-m", "reconciler.simulator", "--chunks", "3", "--tokens", "6"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in PROVIDERS]
            found = dict(line.split("=") for line in lines)
            assert list(found) == [f"PAI_PROVIDERS_{name.upper()}_BASE_URL" for name in PROVIDERS]
            raw = json.dumps(request("messages", stream=True)).encode()
            url = found["PAI_PROVIDERS_ANTHROPIC_BASE_URL"] + "/v1/messages"
            asked = urllib.request.Request(url, raw, HEADERS["anthropic"])  # noqa: S310
            with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
                names = [name for name, _ in events(answer.read().decode())]
            assert names.count("content_block_delta") == 3
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
