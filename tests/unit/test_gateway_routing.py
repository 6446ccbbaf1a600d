"""Paths: with their version, without it, and those that are none."""

from __future__ import annotations

import pytest

from reconciler.gateway.calls import Route
from reconciler.gateway.routing import Routing
from reconciler.gateway.surfaces import SURFACES

ROUTING = Routing(SURFACES)
OPENAI, ANTHROPIC, GEMINI = (SURFACES[name] for name in ("openai", "anthropic", "gemini"))

ROUTES = {
    "/chat/completions": ("openai", "chat"),
    "/responses": ("openai", "responses"),
    "/responses/input_tokens": ("openai", "responses.count"),
    "/responses/compact": ("openai", "responses.compact"),
    "/embeddings": ("openai", "embeddings"),
    "/messages": ("anthropic", "messages"),
    "/messages/count_tokens": ("anthropic", "messages.count"),
}
METHODS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "generate.count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("version", ["v1", ""])
def test_path_of_one_meaning_needs_no_version(path: str, version: str) -> None:
    """What only one API has is found with `/v1` and without; the version is told as it came."""
    whole = f"/{version}{path}" if version else path
    surface, operation = ROUTES[path]
    assert ROUTING.find(whole, GEMINI) == Route(SURFACES[surface], operation, version=version)
    assert ROUTING.guess(whole, [], b"").name == surface


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha", ""])
def test_gemini_is_served_in_every_version(method: str, version: str) -> None:
    """Its methods have three versions; which of them came is told."""
    path = f"{'/' if version else ''}{version}/models/flash:{method}"
    assert ROUTING.find(path, OPENAI) == Route(GEMINI, METHODS[method], "flash", method, version)
    assert ROUTING.guess(path, [], b"").name == "gemini"


@pytest.mark.parametrize("version", ["/v1", "/v1beta", "/v1alpha", ""])
@pytest.mark.parametrize(("rest", "name"), [("/models", ""), ("/models/", ""), ("/models/flash", "flash")])
def test_models_are_listed_in_the_words_of_who_asks(version: str, rest: str, name: str) -> None:
    """The list and one of it stand under every version, and without."""
    found = ROUTING.find(version + rest, ANTHROPIC)
    assert found is not None
    assert found[:3] == (ANTHROPIC, "models", name)


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/chat/completions",
        "/v1alpha/messages",
        "/v2/chat/completions",
        "/v1/v1/chat/completions",
        "/V1/chat/completions",
        "/chat/completions/",
        "/v1/chat/completions/x",
        "/v1/responses/input_tokens/x",
        "/v1/responses/resp_1",
        "/v1/models/a/b",
        "/v1/models/flash:predict",
        "/v1/models/:generateContent",
        "/v1beta1/models/flash:generateContent",
        "//v1/models",
        "/v1//models",
        "/v1",
        "/",
        "",
    ],
)
def test_other_paths_are_none(path: str) -> None:
    """A version that the API does not have, one too many, and whatever is longer or shorter is no path."""
    assert ROUTING.find(path, OPENAI) is None


def test_path_of_two_versions_is_told_the_right_one() -> None:
    """A base URL with a version too many is told what was meant; with nothing like it, all there is."""
    assert "did you mean /v1/messages?" in ROUTING.instead("/v1/v1/messages", ANTHROPIC)
    assert "did you mean /v1/chat/completions?" in ROUTING.instead("/v1beta/chat/completions", OPENAI)
    assert "did you mean /v1/models/a:generateContent?" in ROUTING.instead(
        "/v1beta/v1beta/models/a:generateContent", GEMINI
    )
    assert "/v1/responses/compact" in ROUTING.instead("/v1/files", OPENAI)


@pytest.mark.parametrize(
    ("headers", "query", "surface"),
    [
        ([(b"anthropic-version", b"2023-06-01")], b"", "anthropic"),
        ([(b"x-goog-api-key", b"k")], b"", "gemini"),
        ([], b"key=k", "gemini"),
        ([], b"a=1&k%65y=k", "gemini"),
        ([], b"monkey=k", "openai"),
        ([], b"", "openai"),
    ],
)
def test_who_asks_for_models_shows_in_the_headers(
    headers: list[tuple[bytes, bytes]], query: bytes, surface: str
) -> None:
    """Where a path is of several APIs, the credential and the version that an SDK sends tell which it is."""
    assert ROUTING.guess("/v1/models", headers, query).name == surface
    assert ROUTING.guess("/models", headers, query).name == surface
