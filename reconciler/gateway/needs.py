"""How much a body can cost before it is sent: its output limit, and what its bytes do not say about its input.

A byte-level tokenizer makes no more tokens than there are bytes, so the bytes of the body bound the input, plus what
the provider adds out of sight (`Provider.hidden`). Not bounded by bytes: what the provider fetches, remembers or does
itself. Inline images are priced by image; of other inline media the provider has to be asked.

Where a name or a kind is not known, the answer is the careful one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from reconciler.core.models import OUTPUT_CAP_MAX, output_cap
from reconciler.gateway.body import Body, whole
from reconciler.gateway.calls import Needs, Provider
from reconciler.gateway.prompt import Found, look
from reconciler.gateway.refusal import Refusal

CLIENT_TOOL_TOKENS = 2048
"""What one of Anthropic's own tools that the client runs adds to the prompt; memory adds the most, about 1,600."""


def _kind(value: Any) -> str:
    """Give the type of an item, "" if it has none, and itself in words if it is no text."""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else "" if kind is None else f"{kind!r:.40}"


def _extra(found: Found, provider: Provider, model: str, *, tools: bool) -> int:
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


def _images_out(modalities: Any) -> str:
    """Say that an answer shall hold images, which no output limit bounds, "" if not."""
    found = [word for word in modalities if isinstance(word, str)] if isinstance(modalities, list) else []
    return "images in the answer" if {"image", "video"} & {word.lower() for word in found} else ""


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
    found = look(body, ("messages", "prediction"))
    unbounded = found.unbounded or _foreign_tools(body) or _present(body, _CHAT_UNBOUNDED)
    unbounded = unbounded or _searching_model(provider, model) or _google_extras(body)
    unbounded = unbounded or _images_out(body.get("modalities"))
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


def _kept_items(body: Body, provider: Provider) -> tuple[str, str]:
    """Name items of a response's input of which the provider has more than the body shows.

    First what nothing bounds: an item that only names another, for which it needs no type. Then what may be more than
    it shows, and is counted. OpenRouter keeps nothing of a model's reasoning.
    """
    raw = body.fields.get("input", b"")
    if b'"type"' not in bytes(raw) and b'"id"' not in bytes(raw) and not body.escaped:
        return "", ""
    items = body.get("input")
    unbounded = uncertain = ""
    for item in items if isinstance(items, list) else ():
        kind = _kind(item)
        plain = kind == "reasoning" and (bool(item.get("encrypted_content")) or provider.name == "openrouter")
        if not kind and isinstance(item, dict) and "role" not in item:
            unbounded = "items that only name another"
        elif kind not in _PLAIN_ITEMS and not plain:
            uncertain = f"{kind} items"
    return unbounded, uncertain


def responses(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response of OpenAI's newer API."""
    found = look(body, ("input", "instructions"))
    referred, kept = _kept_items(body, provider)
    unbounded = found.unbounded or referred or _foreign_tools(body) or _present(body, _RESPONSES_UNBOUNDED)
    if body.flag("background"):
        unbounded = "background"
    if body.mapping("reasoning").get("mode") not in (None, "standard"):
        unbounded = unbounded or "reasoning.mode"
    unbounded = unbounded or _searching_model(provider, model)
    extra = _extra(found, provider, model, tools="tools" in body)
    uncertain = found.uncertain or kept
    return Needs(extra, body.integer("max_output_tokens"), 1, 16, unbounded, uncertain)


def compact(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response's input that shall be made shorter: what comes of it, no field can limit."""
    most = output_cap(model) or OUTPUT_CAP_MAX
    return responses(body, provider, model)._replace(output=most, least=most)


def embeddings(body: Body, provider: Provider, model: str) -> Needs:
    """Judge OpenAI's embeddings: input only."""
    found = look(body, ("input",))
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
    found = look(body, ("messages", "system"))
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
    found = look(body, ("contents", "systemInstruction", "system_instruction"))
    unbounded = found.unbounded or _present(body, ("cachedContent", "cached_content"))
    unbounded = unbounded or _images_out(either(config, "responseModalities", "response_modalities"))
    for tool in body.items("tools"):
        kinds = set(tool) if isinstance(tool, dict) else {"that is no object"}
        foreign = sorted(kinds - {"functionDeclarations", "function_declarations"})
        if foreign:
            unbounded = unbounded or f"the tool {foreign[0]}"
    extra = _extra(found, provider, model, tools="tools" in body)
    return Needs(extra, output, choices, 1, unbounded, found.uncertain)


def embed(body: Body, provider: Provider, model: str) -> Needs:
    """Judge Gemini's embeddings: input only."""
    found = look(body, ("content", "requests"))
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
    "responses.count": free,
    "responses.compact": compact,
    "embeddings": embeddings,
    "messages": messages,
    "messages.count": free,
    "generate": generate,
    "generate.count": free,
    "embed": embed,
}
