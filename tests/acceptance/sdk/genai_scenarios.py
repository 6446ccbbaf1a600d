"""What people do with Google's SDK, as they do it; the gateway has to look like the API that the SDK was made for."""

from __future__ import annotations

import asyncio
import warnings
from functools import cache
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import errors, types

from tests.acceptance.sdk.gate import REPLY, Gate, raises

VERSION = genai.__version__
BINDINGS = ("gemini", "gemini-free")


@cache
def _client(origin: str, key: str) -> genai.Client:
    return genai.Client(api_key=key, vertexai=False, http_options=types.HttpOptions(base_url=origin))


def client(gate: Gate, key: str = "") -> genai.Client:
    """Give a client with the SDK's own defaults; it is kept, since one that nobody holds closes itself."""
    return _client(gate.origin, key or gate.key)


def headers_of(answer: Any) -> dict[str, str]:
    """Give the headers of an answer, their names in small letters."""
    return {name.lower(): value for name, value in (answer.sdk_http_response.headers or {}).items()}


def sdk_content_is_generated(gate: Gate) -> None:
    """An answer has text, a finish reason and usage, and the gateway's headers."""
    for name in BINDINGS:
        done = client(gate).models.generate_content(model=name, contents="Hello there")
        assert done.text == REPLY + REPLY[:40]
        assert done.candidates
        assert done.candidates[0].finish_reason == types.FinishReason.STOP
        assert done.usage_metadata is not None
        assert done.usage_metadata.candidates_token_count == 30
        found = headers_of(done)
        assert found["x-pai-binding"] == name
        assert ("x-pai-tokens-remaining" in found) == (name == "gemini")


def sdk_thoughts_are_told(gate: Gate) -> None:
    """A model that thinks tells its thoughts in the usage, whole and streamed."""
    done = client(gate).models.generate_content(model="thinker", contents="Hello there")
    assert done.usage_metadata is not None
    assert done.usage_metadata.thoughts_token_count == 12


def sdk_output_limit_is_obeyed(gate: Gate) -> None:
    """A limit of tokens, and a number of candidates, reach the provider."""
    config = types.GenerateContentConfig(max_output_tokens=5, candidate_count=2)
    done = client(gate).models.generate_content(model="gemini", contents="Hello there", config=config)
    assert done.candidates
    assert [candidate.finish_reason for candidate in done.candidates] == [types.FinishReason.MAX_TOKENS] * 2


def sdk_content_streams(gate: Gate) -> None:
    """A stream has its pieces and the usage, as always in this API, in its chunks."""
    for name in BINDINGS:
        chunks = list(client(gate).models.generate_content_stream(model=name, contents="Hello there"))
        assert "".join(chunk.text or "" for chunk in chunks) == REPLY + REPLY[:40]
        assert len(chunks) > 10
        assert chunks[-1].usage_metadata is not None
        assert chunks[-1].usage_metadata.candidates_token_count == 30


def sdk_tools_are_called(gate: Gate) -> None:
    """A declared function is called with its arguments, whole and streamed."""
    schema = types.Schema(type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)})
    schema.required = ["city"]
    declared = types.FunctionDeclaration(name="weather", description="Tell the weather", parameters=schema)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
    ask: Any = {"model": "gemini", "contents": "Please call the tool", "config": config}
    done = client(gate).models.generate_content(**ask)
    assert done.function_calls
    assert (done.function_calls[0].name, done.function_calls[0].args) == ("weather", {"city": "sea"})
    calls = [
        call for chunk in client(gate).models.generate_content_stream(**ask) for call in chunk.function_calls or []
    ]
    assert calls[0].args == {"city": "sea"}


def sdk_chat_keeps_its_history(gate: Gate) -> None:
    """The SDK's own chat sends what was said before, and gets an answer each time."""
    chat = client(gate).chats.create(model="gemini")
    assert chat.send_message("Hello there").text
    assert chat.send_message("And again").text
    assert len(chat.get_history()) == 4


def sdk_tokens_are_counted(gate: Gate) -> None:
    """Counting is free, also on a spent binding."""
    for name in ("gemini", "gemini-spent"):
        assert client(gate).models.count_tokens(model=name, contents="Hello there").total_tokens == 6


def sdk_embeddings_are_made(gate: Gate) -> None:
    """Texts become vectors, one or several in a request."""
    done = client(gate).models.embed_content(model="gemini", contents="Hello there")
    assert done.embeddings
    assert len(done.embeddings[0].values or []) == 3072
    many: Any = ["one", "two", "three"]
    done = client(gate).models.embed_content(model="gemini", contents=many)
    assert done.embeddings


def sdk_content_is_generated_asynchronously(gate: Gate) -> None:
    """The asynchronous client gets many streams at once."""

    async def ask() -> list[str]:
        own = _client.__wrapped__(gate.origin, gate.key)
        return await asyncio.gather(*(one(own.aio) for _ in range(6)))

    async def one(many: Any) -> str:
        stream = await many.models.generate_content_stream(model="gemini", contents="Hello there")
        return "".join([chunk.text or "" async for chunk in stream])

    assert set(asyncio.run(ask())) == {REPLY + REPLY[:40]}


def sdk_models_are_the_agents_bindings(gate: Gate) -> None:
    """The list has the agent's bindings in this API's shape; each can be got, an unknown one is not found."""
    names = [model.name for model in client(gate).models.list()]
    assert {"models/openai", "models/anthropic", "models/gemini", "models/openrouter"} <= set(names)
    assert "models/hidden" not in names
    assert client(gate).models.get(model="gemini").name == "models/gemini"
    assert raises(errors.ClientError, client(gate).models.get, model="nothing").code == 404
    assert raises(errors.ClientError, client(gate).models.get, model="hidden").code == 403


def refusal(gate: Gate, name: str, key: str = "", contents: Any = "Hello there", **options: Any) -> Any:
    """Give the ClientError of a request that has to be refused."""
    generate = client(gate, key).models.generate_content
    return raises(errors.ClientError, generate, model=name, contents=contents, **options)


def sdk_errors_are_the_usual_exceptions(gate: Gate) -> None:
    """Each refusal raises ClientError with the code and the status that this API has for it."""
    for name, key, code, status in (
        ("gemini", "pak_wrong", 401, "UNAUTHENTICATED"),
        ("hidden", "", 403, "PERMISSION_DENIED"),
        ("gemini-2.0-flash", "", 404, "NOT_FOUND"),
        ("openai", "", 400, "INVALID_ARGUMENT"),
    ):
        error = refusal(gate, name, key)
        assert (error.code, error.status) == (code, status), error
    error = refusal(gate, "gemini-small", contents="word " * 5000)
    assert (error.code, error.status) == (400, "INVALID_ARGUMENT")
    assert "maxTokensPerRequest" in str(error)
    search = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    error = refusal(gate, "gemini", config=search)
    assert "pai.io/unbounded-input" in str(error)


def sdk_large_body_is_a_413(gate: Gate) -> None:
    """A body over 32 MiB raises ClientError with its code."""
    assert refusal(gate, "gemini", contents="a" * (33 * 1024 * 1024)).code == 413


def sdk_spent_day_is_told_once(gate: Gate) -> None:
    """A spent day raises ClientError 429, and no second request is sent."""
    before = gate.refused("day-budget")
    error = refusal(gate, "gemini-spent")
    assert gate.refused("day-budget") == before + 1
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")
    assert "resets at" in str(error)


def sdk_unreachable_provider_is_a_502(gate: Gate) -> None:
    """A provider that gives no answer raises ServerError."""
    gate.fault("gemini", refuse=True)
    generate = client(gate).models.generate_content
    error = raises(errors.ServerError, generate, model="gemini", contents="Hello there")
    assert (error.code, error.status) == (502, "UNAVAILABLE")


def sdk_binding_that_is_not_ready_is_a_503(gate: Gate) -> None:
    """A binding without its key raises ServerError, which names the reason."""
    generate = client(gate).models.generate_content
    error = raises(errors.ServerError, generate, model="gemini-keyless", contents="Hello there")
    assert (error.code, error.status) == (503, "UNAVAILABLE")
    assert "secret missing does not exist" in str(error)
