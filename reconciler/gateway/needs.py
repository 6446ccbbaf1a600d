"""How much a body can cost before it is sent: its output limit, and what its bytes do not say about its input.

A byte-level tokenizer makes no more tokens than there are bytes, so the bytes of the body, as they may become
(`growth.py`), bound the input, plus what the provider adds out of sight (`Provider.hidden`). Not bounded by bytes: what
the provider fetches, remembers or does itself. Inline images are priced by image; of other inline media the provider
has to be asked.

Where a name or a kind is not known, the answer is the careful one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from reconciler.gateway.body import Body, numbers_in, whole
from reconciler.gateway.calls import Needs
from reconciler.gateway.growth import normalized
from reconciler.gateway.judging import Found, Treatment, look
from reconciler.gateway.refusal import Refusal
from reconciler.providers.models import OUTPUT_CAP_MAX, output_cap
from reconciler.providers.provider import Provider

CLIENT_TOOL_TOKENS = 2048
"""What one tool that a provider defines and the client runs adds to the prompt. Of Anthropic's, memory adds the most,
about 1,600 (measured); its documentation says 735 and 499 for computer use, 700 for the text editor, 245 for bash."""

_ENDLESS = "whose references do not end, or lead elsewhere"


def _extra(found: Found, provider: Provider, model: str) -> int:
    hidden = provider.hidden_tools if found.tools else provider.hidden
    images = found.images and found.images * provider.image(model) - found.image_bytes
    return hidden + found.clients * CLIENT_TOOL_TOKENS + images + found.rendered


@lru_cache(1024)
def _acting(acts: Callable[[str], bool], model: str) -> str:
    """Name a model that does more by itself than to answer."""
    return f"the model {model}" if acts(model) else ""


def _found(body: Body, operation: str, provider: Provider, model: str) -> Found:
    """Look through a body, for a model: for Google's references of schemas are written out, and images cut up."""
    found = look(body, operation, provider)
    if not (found.images or found.unrolled or found.endless):
        return found
    if not provider.has_googles(model):
        return found
    narrow = sum(max(0, tokens - provider.image(model)) for tokens in found.tiled)
    found = found._replace(rendered=found.rendered + found.unrolled + narrow)
    if len(found.tiled) < found.images:  # a count has it as one tile
        found = found._replace(unbounded=found.unbounded or "an image whose size does not show")
    if Treatment.SETTINGS in found.endless:  # its count need not hold them
        found = found._replace(unbounded=found.unbounded or f"a schema {_ENDLESS}")
    if Treatment.TOOLS in found.endless:
        found = found._replace(uncertain=found.uncertain or f"tools {_ENDLESS}")
    return found


def _needs(found: Found, extra: int, output: int | None, choices: int, least: int, *more: str) -> Needs:
    """Put together what a body needs; `more` names what else makes it unbounded, "" for nothing."""
    unbounded = found.unbounded or next(filter(None, more), "")
    uncounted = sum(found.tiled)  # Google's count takes an image for one tile (googleapis/python-genai#470)
    return Needs(extra, output, choices, least, unbounded, found.uncertain, uncounted, found.finer)


def _thought(body: Body, provider: Provider) -> int:
    """Give how many tokens a model is asked to think at most, 0 if that is not said. Raises Refusal."""
    most = 0
    for of, name in provider.thinking:
        if of in body.fields:
            most = max(most, whole(body.mapping(of).get(name), f"{of}.{name}", 0) or 0)
    return most


def _beyond(thought: int, output: int | None) -> str:
    """Name thinking that no output limit holds: the limit of Claude, between calls of tools, is then its context."""
    held = not thought or output is None or output > thought
    return "" if held else "a thinking budget that is no lower than the output limit"


def _unheld(body: Body, provider: Provider) -> str:
    """Name one who keeps no output limit, if the body wishes that it is asked."""
    if not provider.unlimited or "provider" not in body.fields:
        return ""
    wishes = body.mapping("provider")
    named = [name for of in ("only", "order") for name in _texts(wishes.get(of))]
    found = next((name for name in named if name.casefold().partition("/")[0] in provider.unlimited), "")
    return f"the provider {found[:40]}, which keeps no output limit" if found else ""


def _texts(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def chat(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a chat completion."""
    limits = [body.integer(name) for name in ("max_completion_tokens", "max_tokens")]
    choices = body.integer("n") or 1
    found = _found(body, "chat", provider, model)
    extra = _extra(found, provider, model)
    if "prediction" in body:  # a prediction that is not taken is charged as output
        extra += normalized(bytes(body.fields["prediction"]))
    output = max((limit for limit in limits if limit is not None), default=None)
    thought = _thought(body, provider)
    itself = _acting(provider.acts, model)
    return _needs(found, extra, output, choices, 1 + thought, itself, _beyond(thought, output), _unheld(body, provider))


def responses(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response of OpenAI's newer API."""
    body.flag("background")
    body.mapping("reasoning")
    found = _found(body, "responses", provider, model)
    output = body.integer("max_output_tokens")
    choices = body.integer("n") or 1
    extra, thought = _extra(found, provider, model), _thought(body, provider)
    more = (_acting(provider.acts, model), _beyond(thought, output), _unheld(body, provider))
    needs = _needs(found, extra, output, choices, max(16, 1 + thought), *more)
    return _compacted(needs, model) if found.compacts else needs


def compact(body: Body, provider: Provider, model: str) -> Needs:
    """Judge a response's input that shall be made shorter."""
    return _compacted(responses(body, provider, model), model)


def _compacted(needs: Needs, model: str) -> Needs:
    """Reserve the most that a model answers: what a compaction writes, no field can limit."""
    most = output_cap(model) or OUTPUT_CAP_MAX
    return needs._replace(output=most, least=most)


def embeddings(body: Body, provider: Provider, model: str) -> Needs:
    """Judge OpenAI's embeddings: input only. Of token arrays OpenAI reads as many tokens as there are numbers."""
    raw = bytes(body.fields.get("input", b""))
    tokens = numbers_in(raw)
    found = _found(body, "embeddings", provider, model)
    extra = _extra(found, provider, model)
    if tokens is not None and provider.reads_numbers:
        extra += tokens - len(raw)
    return _needs(found, extra, 0, 0, 0)


def messages(body: Body, provider: Provider, model: str) -> Needs:
    """Judge an Anthropic message."""
    found = _found(body, "messages", provider, model)
    thought = _thought(body, provider)  # than which the provider wants more room
    output = body.integer("max_tokens", 0)
    choices = body.integer("n") or 1
    extra, itself = _extra(found, provider, model), _acting(provider.acts, model)
    return _needs(found, extra, output, choices, 1 + thought, itself, _beyond(thought, output), _unheld(body, provider))


def generate(body: Body, provider: Provider, model: str) -> Needs:
    """Judge Gemini's generateContent; both spellings of its fields are the provider's own."""
    config = gemini_field(body, "generationConfig", "generation_config")
    output = whole(either(config, "maxOutputTokens", "max_output_tokens"), "maxOutputTokens")
    choices = whole(either(config, "candidateCount", "candidate_count"), "candidateCount") or 1
    found = _found(body, "generate", provider, model)
    return _needs(found, _extra(found, provider, model), output, choices, 1, _acting(provider.acts, model))


def embed(body: Body, provider: Provider, model: str) -> Needs:
    """Judge Gemini's embeddings: input only."""
    found = _found(body, "embed", provider, model)
    return _needs(found, _extra(found, provider, model), 0, 0, 0)


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
