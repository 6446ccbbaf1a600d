"""What the simulator's tests share: requests by hand, a body for each API, the recorded traffic, shapes of JSON."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.simulator import Provider, Simulator

TRAFFIC = Path(__file__).resolve().parents[2] / "shared" / "recorded-traffic"
"""Recordings of the real providers; read here, and not a part of the project."""

KEY = "the-key"
HEADERS: dict[str, dict[str, str]] = {
    "openai": {"authorization": f"Bearer {KEY}"},
    "anthropic": {"x-api-key": KEY, "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": KEY, "authorization": f"Bearer {KEY}"},
    "openrouter": {"authorization": f"Bearer {KEY}"},
}
TOOL = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}}


class Got(NamedTuple):
    """An answer by hand; `broken` if the connection ended before it did."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    @property
    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """Read the body as events: the JSON of each, and `[DONE]`."""
        return [data if data == "[DONE]" else json.loads(data) for _, data in events(self.body.decode()) if data]


def send(
    simulator: Simulator,
    provider: Provider,
    path: str,
    body: object,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Got:
    """Make one request on a connection of its own, with the provider's credential unless told otherwise."""
    port = int(simulator.origin(provider).rsplit(":", 1)[1])
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **(HEADERS[provider] if headers is None else headers)}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, raw, sent)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        try:
            return Got(answer.status, found, answer.read())
        except http.client.IncompleteRead as error:
            return Got(answer.status, found, error.partial, broken=True)


def request(api: str, prompt: str = "Hello", **more: object) -> dict[str, Any]:
    """Give a small body for an API; `more` are members besides."""
    message = {"role": "user", "content": prompt}
    body: dict[str, Any] = {
        "chat": {"model": "gpt-4o", "messages": [message]},
        "responses": {"model": "gpt-4o", "input": prompt},
        "responses_compact": {"model": "gpt-4o", "input": prompt},
        "input_tokens": {"model": "gpt-4o", "input": prompt},
        "embeddings": {"model": "text-embedding-3-small", "input": prompt},
        "messages": {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [message]},
        "count_tokens": {"model": "claude-sonnet-4-5", "messages": [message]},
        "embedContent": {"content": {"parts": [{"text": prompt}]}},
        "batchEmbedContents": {"requests": [{"content": {"parts": [{"text": prompt}]}}]},
    }.get(api, {"contents": [{"role": "user", "parts": [{"text": prompt}]}]})
    return body | more


def tools(api: str) -> list[dict[str, Any]]:
    """Give one tool, as the API declares it."""
    return {
        "chat": [{"type": "function", "function": TOOL}],
        "responses": [{"type": "function", **TOOL}],
        "messages": [{"name": TOOL["name"], "input_schema": TOOL["parameters"]}],
    }.get(api, [{"functionDeclarations": [TOOL]}])


PATHS: dict[tuple[Provider, str], str] = {
    ("openai", "chat"): "/v1/chat/completions",
    ("openai", "responses"): "/v1/responses",
    ("openai", "responses_compact"): "/v1/responses/compact",
    ("openai", "input_tokens"): "/v1/responses/input_tokens",
    ("openai", "embeddings"): "/v1/embeddings",
    ("anthropic", "messages"): "/v1/messages",
    ("anthropic", "count_tokens"): "/v1/messages/count_tokens",
    ("anthropic", "chat"): "/v1/chat/completions",
    ("gemini", "generateContent"): "/v1beta/models/gemini-2.0-flash:generateContent",
    ("gemini", "streamGenerateContent"): "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse",
    ("gemini", "countTokens"): "/v1beta/models/gemini-2.0-flash:countTokens",
    ("gemini", "embedContent"): "/v1beta/models/gemini-embedding-2:embedContent",
    ("gemini", "batchEmbedContents"): "/v1beta/models/gemini-embedding-2:batchEmbedContents",
    ("gemini", "chat"): "/v1beta/openai/chat/completions",
    ("gemini", "embeddings"): "/v1beta/openai/embeddings",
    ("openrouter", "chat"): "/api/v1/chat/completions",
    ("openrouter", "responses"): "/api/v1/responses",
    ("openrouter", "embeddings"): "/api/v1/embeddings",
    ("openrouter", "messages"): "/api/v1/messages",
    ("openrouter", "count_tokens"): "/api/v1/messages/count_tokens",
}
"""Where each provider answers each API."""

SPEAKING: list[tuple[Provider, str]] = [
    pair for pair in PATHS if pair[1] in ("chat", "responses", "messages", "generateContent", "streamGenerateContent")
]
"""The APIs that answer with text."""


def streaming(api: str, stream: bool) -> dict[str, Any]:
    """Give the members that ask for a stream, and for its usage."""
    if not stream or api.endswith("Content"):
        return {}
    return {"stream": True} | ({"stream_options": {"include_usage": True}} if api == "chat" else {})


class Record(NamedTuple):
    """One recorded exchange."""

    name: str
    provider: Provider
    api: str
    streaming: bool
    tags: list[str]
    path: str
    request: Any
    status: int
    content_type: str
    body: str


@cache
def records() -> list[Record]:
    """Read all recorded exchanges."""
    found = []
    for file in sorted(TRAFFIC.glob("*/*.json")):
        data = json.loads(file.read_text("utf-8"))
        asked, answered = data["request"], data["response"]
        name = f"{file.parent.name}/{file.stem}"
        found.append(
            Record(
                name,
                data["provider"],
                data["api"],
                data["streaming"],
                data["tags"],
                asked["path"] or "",
                asked["body"],
                answered["status"],
                answered["content_type"],
                answered["body"],
            )
        )
    return found


def events(text: str) -> list[tuple[str, str]]:
    """Give each event's name and data; a comment is the name `:`, with no data."""
    found = []
    for block in re.split(r"\r?\n\r?\n", text):
        lines = block.splitlines()
        if block.startswith(":"):
            found.append((":", ""))
            lines = [line for line in lines if not line.startswith(":")]
        names = [line[7:] for line in lines if line.startswith("event: ")]
        data = [line[6:] for line in lines if line.startswith("data: ")]
        if data:
            found.append((names[0] if names else "", "\n".join(data)))
    return found


OPAQUE = ("args", "input", "arguments", "metadata", "obfuscation", "tools")
"""Members whose content is the caller's own, or noise."""


def shape(value: Any, place: str = "") -> Iterator[str]:
    """Give the path of every member of a JSON value; all items of a list are one."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{place}.{name}"
            yield here
            if name not in OPAQUE:
                yield from shape(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from shape(inner, f"{place}[]")
