"""How much a body can cost before it is sent: its output limit, and what its bytes do not say about its input.

A byte-level tokenizer makes no more tokens than there are bytes, so the bytes of the body bound the input, plus what
the provider adds out of sight (`Provider.hidden`). Not bounded by bytes: what the provider fetches, remembers or does
itself. Inline images are priced by image; of other inline media the provider has to be asked.

Where a name or a kind is not known, the answer is the careful one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from reconciler.gateway.body import Body, whole
from reconciler.gateway.calls import Needs, Provider
from reconciler.gateway.refusal import Refusal

DEPTH_MAX = 64
CLIENT_TOOL_TOKENS = 2048
"""What one of Anthropic's own tools that the client runs adds to the prompt; memory adds the most, about 1,600."""

_REMOTE = frozenset(("file_id", "fileId", "file_url", "fileUrl", "fileUri", "file_uri", "vector_store_ids"))
_ADDRESSES = frozenset(("url", "image_url", "video_url", "audio_url"))
_OPAQUE = frozenset(("functionCall", "function_call", "arguments", "args", "response", "annotations", "citations"))
"""Fields that hold what a model or a client's function said: text to the provider, whatever it looks like."""
_SAID = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
"""Blocks whose `input` is such a field."""
_KEPT_ELSEWHERE = frozenset(("item_reference", "container_upload", "compaction"))
_TEXT_DATA = frozenset(("text", "redacted_thinking"))
"""Blocks and sources whose `data` is text to the provider, whatever media type it claims."""
_MEDIA_WORDS = tuple(
    f'"{word}"'.encode()
    for word in (
        *_REMOTE,
        *_ADDRESSES,
        *_KEPT_ELSEWHERE,
        "source",
        "inlineData",
        "inline_data",
        "file_data",
        "data",
        "audio",
    )
)


class _Found(NamedTuple):
    """What a prompt holds besides text."""

    images: int = 0
    image_bytes: int = 0
    unbounded: str = ""
    uncertain: str = ""


class _Look:
    """Walks through a prompt and notes what is not text."""

    def __init__(self) -> None:
        self.images = self.image_bytes = 0
        self.unbounded = self.uncertain = ""

    def into(self, value: Any, depth: int = 0) -> None:
        """Look at a value and all below it."""
        if depth > DEPTH_MAX:
            raise Refusal("invalid", "the request is nested too deeply")
        if isinstance(value, list):
            for item in value:
                self.into(item, depth + 1)
        elif isinstance(value, dict):
            self._object(value, depth)

    def _object(self, value: dict[str, Any], depth: int) -> None:
        kind = _kind(value)
        if kind in _KEPT_ELSEWHERE:
            self.unbounded = f"{kind} items"
        for name, item in value.items():
            if name in _REMOTE and item:
                self.unbounded = "files that the provider keeps or fetches"
            elif name == "audio" and isinstance(item, dict) and "id" in item:
                self.unbounded = "sound that the provider keeps"
            elif name in _ADDRESSES and isinstance(item, str):
                self._address(item)
            elif name in ("data", "file_data") and isinstance(item, str):
                if kind not in _TEXT_DATA:
                    self._inline(item, _media_type(value))
            elif name == "input" and kind in _SAID:
                continue
            elif name not in _OPAQUE and isinstance(item, dict | list):
                self.into(item, depth + 1)

    def _address(self, address: str) -> None:
        if address[:5].lower() == "data:":
            self._inline(address, address[5:60].partition(",")[0].partition(";")[0])
        elif address:
            self.unbounded = "a URL that the provider fetches"

    def _inline(self, data: str, media_type: str) -> None:
        if media_type.lower().startswith("image/"):
            self.images += 1
            self.image_bytes += len(data)
        elif not media_type.lower().startswith("text/"):
            self.uncertain = "inline documents, sound or films"


def _kind(value: Any) -> str:
    """Give the type of an item, "" if it has none, and itself in words if it is no text."""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else "" if kind is None else f"{kind!r:.40}"


def _media_type(value: dict[str, Any]) -> str:
    found = value.get("media_type") or value.get("mimeType") or value.get("mime_type") or value.get("format")
    if isinstance(found, str):
        return found
    data = value.get("file_data")
    return data[5:60].partition(";")[0] if isinstance(data, str) and data.startswith("data:") else ""


def _found(body: Body, prompts: Iterable[str]) -> _Found:
    if not body.may_hold(*_MEDIA_WORDS):
        return _Found()
    look = _Look()
    for name in prompts:
        look.into(body.get(name))
    return _Found(look.images, look.image_bytes, look.unbounded, look.uncertain)


def _extra(found: _Found, provider: Provider, model: str, *, tools: bool) -> int:
    hidden = provider.hidden_tools if tools else provider.hidden
    return hidden + found.images * provider.image(model) - found.image_bytes


def _foreign_tools(body: Body) -> str:
    """Name the first tool of an OpenAI body that the provider runs itself."""
    for tool in body.items("tools"):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in ("function", "custom"):
            return f"the tool {kind or tool!r:.40}"
    return ""


def _searching_model(provider: Provider, model: str) -> str:
    """Name a model that searches by itself, or an OpenRouter preset, whose content is not known."""
    searches = "search" in model  # gpt-4o-search-preview, o3-deep-research, ...
    if provider.name == "openrouter":
        searches = searches or ":online" in model or "@" in model or model.startswith("perplexity/")
    return f"the model {model}" if searches else ""


def _present(body: Body, names: Iterable[str]) -> str:
    """Name the first of `names` that says something; an empty list asks for nothing."""
    return next((name for name in names if name in body and bytes(body.fields[name]) != b"[]"), "")


_CHAT_UNBOUNDED = (
    "web_search_options",
    "plugins",
    "preset",
    "previous_response_id",
    "mcp_servers",
    "container",
    "context_management",
    "cached_content",
    "cachedContent",
)


def _google_extras(body: Body) -> str:
    """Name what Google's compatible endpoint is asked for beyond OpenAI's fields, but for thinking."""
    found = body.mapping("extra_body")
    google = found.get("google")
    extras = found.keys() - {"google"}
    if isinstance(google, dict):
        extras |= google.keys() - {"thinking_config", "thought_tag_marker"}
    return f"extra_body.{min(extras)}" if extras else ""


def chat(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a chat completion."""
    limits = [body.integer(name) for name in ("max_completion_tokens", "max_tokens")]
    choices = body.integer("n") or 1
    found = _found(body, ("messages", "prediction"))
    unbounded = found.unbounded or _foreign_tools(body) or _present(body, _CHAT_UNBOUNDED)
    unbounded = unbounded or _searching_model(provider, model) or _google_extras(body)
    extra = _extra(found, provider, model, tools="tools" in body or "functions" in body)
    if "prediction" in body:  # a prediction that is not taken is charged as output
        extra += len(bytes(body.fields["prediction"]))
    output = max((limit for limit in limits if limit is not None), default=None)
    return Needs(extra, output, choices, 1, unbounded, found.uncertain)


_RESPONSES_UNBOUNDED = (
    "previous_response_id",
    "conversation",
    "prompt",
    "plugins",
    "preset",
    "context_management",
    "web_search_options",
)
_PLAIN_ITEMS = frozenset(
    (
        "",
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "computer_call_output",
    )
)
"""Items of a response's input that are all there; of others the provider may have kept more than they show."""


def _kept_items(body: Body) -> str:
    """Name the items of a response's input of which the provider may have kept more than the body shows."""
    raw = body.fields.get("input", b"")
    if b'"type"' not in bytes(raw) and not body.escaped:
        return ""
    items = body.get("input")
    for item in items if isinstance(items, list) else ():
        kind = _kind(item)
        whole_reasoning = kind == "reasoning" and bool(item.get("encrypted_content"))
        if kind not in _PLAIN_ITEMS and not whole_reasoning:
            return f"{kind} items"
    return ""


def responses(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response of OpenAI's newer API."""
    found = _found(body, ("input", "instructions"))
    unbounded = found.unbounded or _foreign_tools(body) or _present(body, _RESPONSES_UNBOUNDED)
    if body.flag("background"):
        unbounded = "background"
    if body.mapping("reasoning").get("mode") not in (None, "standard"):
        unbounded = unbounded or "reasoning.mode"
    unbounded = unbounded or _searching_model(provider, model)
    extra = _extra(found, provider, model, tools="tools" in body)
    uncertain = found.uncertain or _kept_items(body)
    return Needs(extra, body.integer("max_output_tokens"), 1, 16, unbounded, uncertain)


def embeddings(body: Body, provider: Provider, model: str) -> Needs:
    """Judge OpenAI's embeddings: input only."""
    found = _found(body, ("input",))
    return Needs(_extra(found, provider, model, tools=False), 0, 0, 0, found.unbounded, found.uncertain)


_MESSAGES_UNBOUNDED = (
    "mcp_servers",
    "container",
    "context_management",
    "plugins",
    "preset",
    "fallbacks",
    "fallback",
)
_CLIENT_TOOLS = ("bash_", "text_editor_", "memory_")


def messages(body: Body, provider: Provider, model: str) -> Needs:
    """Judge an Anthropic message."""
    found = _found(body, ("messages", "system"))
    unbounded = found.unbounded or _present(body, _MESSAGES_UNBOUNDED) or _searching_model(provider, model)
    extra = _extra(found, provider, model, tools="tools" in body)
    for tool in body.items("tools"):
        kind = tool.get("type") if isinstance(tool, dict) else ""
        if kind in (None, "custom"):
            continue
        extra += CLIENT_TOOL_TOKENS
        if not (isinstance(kind, str) and kind.startswith(_CLIENT_TOOLS)):
            unbounded = unbounded or f"the tool {kind or 'that is no object'}"
    least = 1
    thinking = body.mapping("thinking")
    if thinking.get("type") == "enabled":  # the provider wants more room than it may think
        least += whole(thinking.get("budget_tokens"), "thinking.budget_tokens") or 0
    return Needs(extra, body.integer("max_tokens", 0), 1, least, unbounded, found.uncertain)


def generate(body: Body, provider: Provider, model: str) -> Needs:
    """Judge Gemini's generateContent; both spellings of its fields are the provider's own."""
    config = gemini_field(body, "generationConfig", "generation_config")
    output = whole(either(config, "maxOutputTokens", "max_output_tokens"), "maxOutputTokens")
    choices = whole(either(config, "candidateCount", "candidate_count"), "candidateCount") or 1
    found = _found(body, ("contents", "systemInstruction", "system_instruction"))
    unbounded = found.unbounded or _present(body, ("cachedContent", "cached_content"))
    for tool in body.items("tools"):
        kinds = set(tool) if isinstance(tool, dict) else {"that is no object"}
        foreign = sorted(kinds - {"functionDeclarations", "function_declarations"})
        if foreign:
            unbounded = unbounded or f"the tool {foreign[0]}"
    extra = _extra(found, provider, model, tools="tools" in body)
    return Needs(extra, output, choices, 1, unbounded, found.uncertain)


def embed(body: Body, provider: Provider, model: str) -> Needs:
    """Judge Gemini's embeddings: input only."""
    found = _found(body, ("content", "requests"))
    return Needs(_extra(found, provider, model, tools=False), 0, 0, 0, found.unbounded, found.uncertain)


def free(body: Body, provider: Provider, model: str) -> Needs:
    """Judge what costs nothing."""
    del body, provider, model
    return Needs(0, 0, 0, 0)


def gemini_field(body: Body, name: str, other: str) -> dict[str, Any]:
    """Give an object that Gemini knows under two names, to be rewritten. Raises Refusal if it is there under both."""
    if name in body and other in body:
        raise Refusal("invalid", f"{name} and {other} are the same field")
    return body.mapping(name, rewritten=True) or body.mapping(other, rewritten=True)


def either(config: dict[str, Any], name: str, other: str) -> Any:
    """Give a value that may stand under two names. Raises Refusal if it stands under both."""
    if config.get(name) is not None and config.get(other) is not None:
        raise Refusal("invalid", f"{name} and {other} are the same field")
    return config.get(name) if config.get(name) is not None else config.get(other)


NEEDS: dict[str, Callable[[Body, Provider, str], Needs]] = {
    "chat": chat,
    "responses": responses,
    "embeddings": embeddings,
    "messages": messages,
    "messages.count": free,
    "generate": generate,
    "generate.count": free,
    "embed": embed,
}
