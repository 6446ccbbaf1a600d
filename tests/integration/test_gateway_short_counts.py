"""What a provider's count lacks, and what keeps no output limit, is reserved, refused or not asked."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_gateway_counting import key_for
from tests.support import Site, agent
from tests.support_gateway import Bench, asked, assert_books_balance, bound, headers_of, opened
from tests.support_upstream import RawProvider, framed
from tests.unit.test_gateway_pictures import png, said

PDF = {"inlineData": {"mimeType": "application/pdf", "data": said(b"%PDF-1.7 two pages")}}
FILM = {"inlineData": {"mimeType": "video/mp4", "data": said(b"\0\0\0\x18ftypmp42 a minute")}}
NARROW = {"inlineData": {"mimeType": "image/png", "data": said(png(3000, 30))}}
"""77,658 tokens at Gemini, which its count takes for 258."""


class Short:
    """A gateway in front of a provider whose count says `counted`, and which reads `read` and writes `written`."""

    def __init__(self, bench: Bench, provider: RawProvider) -> None:
        self.bench = bench
        self.provider = provider
        self.counted, self.read, self.written = 300, 300, 1
        self._asked = 0
        provider.answer = self._answer

    def _answer(self, sock: socket.socket, request: bytes) -> None:
        line = request.partition(b"\r\n")[0]
        if b"ount" in line:
            body: dict[str, Any] = {"totalTokens": self.counted, "input_tokens": self.counted}
        else:
            google = ("promptTokenCount", "candidatesTokenCount")
            read, written = google if b"generateContent" in line else ("input_tokens", "output_tokens")
            if b"chat" in line:
                read, written = "prompt_tokens", "completion_tokens"
            usage = {read: self.read, written: self.written}
            body = {"usage": usage, "usageMetadata": usage | {"totalTokenCount": self.read + self.written}}
        sock.sendall(framed(json.dumps(body).encode()))

    def ask(self, operation: str, provider: str, day: int, more: dict[str, Any], **options: Any) -> int:
        """Send a request on a binding of so many tokens a day, and give the status."""
        self._asked += 1
        name, site = f"short-{self._asked}", self.bench.site
        files = {
            f"models/{name}.yaml": bound(name, provider, day=day, **options),
            "agents/counter.yaml": agent("counter", name),
        }
        site.clone(name).pushed(files)
        site.pai("reconcile")
        key = key_for(site)
        path, body = asked(operation, name, limit=10)
        answer = self.bench.client.post(path, json=body | more, headers=headers_of(operation, key))
        assert_books_balance(self.bench)
        if answer.status_code == 200:
            assert self.bench.last(name)["reason"] == ""  # and not that it was more than was reserved
        return answer.status_code

    def sent(self) -> dict[str, Any]:
        """Give the last body that came."""
        found: dict[str, Any] = json.loads(self.provider.requests[-1].partition(b"\r\n\r\n")[2])
        return found


@pytest.fixture
def short(gateway_template: Site, tmp_path: Path) -> Iterator[Short]:
    """Give one of its own."""
    provider = RawProvider()
    with opened(gateway_template, tmp_path, **provider.environment) as bench:
        yield Short(bench, provider)
    provider.close()


def parts(*found: Any, **config: Any) -> dict[str, Any]:
    """Give what a body of Gemini's holds."""
    return {
        "contents": [{"role": "user", "parts": [{"text": "look"}, *found]}],
        "generationConfig": {"maxOutputTokens": 10, **config},
    }


def image(media_type: str) -> dict[str, Any]:
    return {"inlineData": NARROW["inlineData"] | {"mimeType": media_type}}


@pytest.mark.parametrize("images", [(NARROW,), (NARROW, PDF), (image("image/bmp"),), (image("application/pdf"),)])
def test_image_that_a_count_takes_for_one_tile_is_reserved_as_its_own(short: Short, images: tuple[Any, ...]) -> None:
    """Whether the count is asked since the bound does not fit, since a document has to be counted, or what it says."""
    short.read = 77_700
    assert short.ask("generate", "gemini", 60_000, parts(*images)) == 429
    assert short.ask("generate", "gemini", 90_000, parts(*images)) == 200


def test_image_whose_size_does_not_show_is_refused(short: Short) -> None:
    """A count would take it for one tile."""
    for media_type in ("image/png", "image/avif", "image/tiff; a=b"):
        odd = {"inlineData": {"mimeType": media_type, "data": said(b"MM an image")}}
        assert short.ask("generate", "gemini", 200_000, parts(odd)) == 400
    assert not short.provider.requests


def film(**metadata: Any) -> dict[str, Any]:
    return FILM | {"videoMetadata": metadata}


@pytest.mark.parametrize(
    ("part", "config", "read"),
    [
        (film(fps=24), {}, 96_000),
        (film(fps=0.5), {}, 4_000),
        (film(fps=1.5), {}, 6_000),
        (FILM, {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}, 16_000),
        (FILM, {"mediaResolution": "MEDIA_RESOLUTION_LOW"}, 4_000),
        (FILM | {"mediaResolution": {"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}}, {}, 16_000),
        (film(fps="12"), {"mediaResolution": 3}, 192_000),
    ],
)
def test_film_that_is_looked_at_more_closely_is_reserved_as_more(
    short: Short, part: Any, config: dict[str, Any], read: int
) -> None:
    """Google's count knows neither how many pictures a second are looked at nor how closely."""
    short.counted, short.read = 4_000, read
    if read > 4_000:
        assert short.ask("generate", "gemini", read, parts(part, **config)) == 429
    assert short.ask("generate", "gemini", 5_000 + read * 3 // 2, parts(part, **config)) == 200


def test_media_that_say_how_many_tokens_they_are_are_refused(short: Short) -> None:
    """A part may name the length of what is made of it."""
    image = NARROW | {"mediaResolution": {"numTokens": 1_000_000}}
    assert short.ask("generate", "gemini", 200_000, parts(image)) == 400
    assert not short.provider.requests


@pytest.mark.parametrize(
    ("operation", "provider", "model", "more"),
    [
        ("messages", "anthropic", "claude-sonnet-4-6", {"thinking": {"type": "enabled", "budget_tokens": 30_000}}),
        ("chat", "anthropic", "claude-sonnet-4-6", {"thinking": {"type": "enabled", "budget_tokens": 30_000}}),
        ("messages", "openrouter", "anthropic/claude-4", {"thinking": {"type": "enabled", "budget_tokens": 30_000}}),
        ("chat", "openrouter", "vendor/thinks", {"reasoning": {"max_tokens": 30_000}}),
        ("responses", "openrouter", "vendor/thinks", {"reasoning": {"max_tokens": 30_000}}),
    ],
)
def test_thinking_beyond_the_output_limit_is_refused(
    short: Short, operation: str, provider: str, model: str, more: dict[str, Any]
) -> None:
    """Between calls of tools Claude may then think until its context is full; a limit that is put in is higher."""
    assert short.ask(operation, provider, 100_000, more, model=model) == 400
    assert not short.provider.requests
    name = {"responses": "max_output_tokens"}.get(operation, "max_tokens")
    assert short.ask(operation, provider, 100_000, more | {name: 30_001}, model=model) == 200
    assert short.ask(operation, provider, 100_000, more | {name: None}, model=model) == 200
    assert short.sent()[name] == 30_001
    assert short.ask(operation, provider, 20_000, more | {name: 30_001}, model=model) == 429


@pytest.mark.parametrize("name", ["thinking_budget", "max_reasoning_tokens", "max_token\u017f", "max_to\u212aens"])
def test_limit_that_is_written_otherwise_is_refused(short: Short, name: str) -> None:
    """Also in signs that some readers take for others: a long s, and the sign of kelvins."""
    assert short.ask("chat", "openrouter", 100_000, {name: 30_000}, model="vendor/thinks") == 400


@pytest.mark.parametrize("operation", ["chat", "responses", "messages"])
@pytest.mark.parametrize("of", ["only", "order"])
def test_who_keeps_no_output_limit_is_not_wished_for(short: Short, operation: str, of: str) -> None:
    """An agent may wish for anybody else, or for nobody; the wish goes up as it is."""
    model = "z-ai/glm-4.7"
    short.read = 20
    for name in ("siliconflow", "SiliconFlow", "siliconflow/fp8"):
        assert short.ask(operation, "openrouter", 100_000, {"provider": {of: ["a", name]}}, model=model) == 400
    assert not short.provider.requests
    wishes = {of: ["a"], "ignore": ["siliconflow"], "max_price": {"prompt": 1.50}}
    assert short.ask(operation, "openrouter", 100_000, {"provider": wishes}, model=model) == 200
    assert short.sent()["provider"] == wishes


SIGNS = "<" * 4000


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": SIGNS}}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": SIGNS}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": SIGNS}]}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "f", "arguments": json.dumps({"a": SIGNS})},
                        }
                    ],
                }
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "hi", "reasoning_details": [{"type": "reasoning.text", "text": "so"}]},
                {"role": "tool", "tool_call_id": "1", "content": "é" * 5000},
            ]
        },
    ],
)
def test_what_is_written_as_json_is_reserved_as_what_is_safe_in_html(short: Short, more: dict[str, Any]) -> None:
    """`tojson` writes `<` in six signs on some of OpenRouter's servers: definitions, arguments, results of tools."""
    short.read = 24_500
    assert short.ask("chat", "openrouter", 20_000, more, model="vendor/llama") == 429
    assert short.ask("chat", "openrouter", 40_000, more, model="vendor/llama") == 200
