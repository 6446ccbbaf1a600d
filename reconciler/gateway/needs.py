"""How much a body can cost before it is sent: its output limit, and what its bytes do not say about its input.

A byte-level tokenizer makes no more tokens than there are bytes, so the bytes of the body, as they may become
(`growth.py`), bound the input, plus what the provider adds out of sight (`Provider.hidden`). Not bounded by bytes: what
the provider fetches, remembers or does itself. Inline images are priced by image; of other inline media the provider
has to be asked.

Where a name or a kind is not known, the answer is the careful one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from functools import lru_cache
from typing import Any

from reconciler.gateway.body import Body, whole
from reconciler.gateway.calls import Needs
from reconciler.gateway.growth import normalized
from reconciler.gateway.judging import Found, Treatment, look
from reconciler.providers.provider import Provider

CLIENT_TOOL_TOKENS = 2048
"""What one tool that a provider defines and the client runs adds to the prompt. Of Anthropic's, memory adds the most,
about 1,600 (measured); its documentation says 735 and 499 for computer use, 700 for the text editor, 245 for bash."""

_ENDLESS = "whose references do not end, or lead elsewhere"


@lru_cache(1024)
def acting(acts: Callable[[str], bool], model: str) -> str:
    """Name a model that does more by itself than to answer."""
    return f"the model {model}" if acts(model) else ""


def _found(body: Body, operation: str, provider: Provider, model: str) -> Found:
    """Look through a body, for a model: for Google's references of schemas are written out, and images cut up."""
    found = look(body, operation, provider)
    if not (found.images or found.unrolled or found.endless):
        return found
    if not provider.has_googles(model):
        return found
    found = copy(found)  # which is that of all bindings
    found.rendered += found.unrolled + sum(max(0, tokens - provider.image(model)) for tokens in found.tiled)
    if len(found.tiled) < found.images:  # a count has it as one tile
        found.refuse("an image whose size does not show")
    if Treatment.SETTINGS in found.endless:  # its count need not hold them
        found.refuse(f"a schema {_ENDLESS}")
    if Treatment.TOOLS in found.endless:
        found.count(f"tools {_ENDLESS}")
    return found


def bounded(
    body: Body,
    operation: str,
    provider: Provider,
    model: str,
    output: int | None,
    choices: int,
    *,
    least: int = 1,
    extra: int = 0,
    unbounded: Iterable[str] = (),
) -> Needs:
    """Put together what a body needs, as `Needs` says; `unbounded` names what else makes it so, "" for nothing."""
    found = _found(body, operation, provider, model)
    hidden = provider.hidden_tools if found.tools else provider.hidden
    images = found.images and found.images * provider.image(model) - found.image_bytes
    extra += hidden + found.clients * CLIENT_TOOL_TOKENS + images + found.rendered
    what = found.unbounded or next(filter(None, unbounded), "")
    uncounted = sum(found.tiled)  # Google's count takes an image for one tile (googleapis/python-genai#470)
    return Needs(extra, output, choices, least, what, found.uncertain, uncounted, found.frames * found.closer)


def answered(
    body: Body, operation: str, provider: Provider, model: str, output: int | None, *, least: int = 1
) -> Needs:
    """Judge what is answered with text, of an API that may be told how much a model thinks."""
    choices = body.integer("n") or 1
    # A prediction that is not taken is charged as output, and each answer may not take it.
    extra = choices * normalized(bytes(body.fields["prediction"])) if "prediction" in body else 0
    thought = _thought(body, provider, model)
    none = "" if output != 0 or provider.warms else "an output limit of 0, which some take for none"
    more = (acting(provider.acts, model), none, _beyond(thought, output), _unheld(body, provider))
    least = max(least, 1 + thought)  # than which providers want more room
    return bounded(body, operation, provider, model, output, choices, least=least, extra=extra, unbounded=more)


def _thought(body: Body, provider: Provider, model: str) -> int:
    """Give how many tokens a model is asked to think at most, 0 if that is not said. Raises Refusal."""
    most = provider.thinking_least if provider.efforts(model) and _is_effort(body) else 0
    for of, name in provider.thinking:
        if of in body.fields:
            said = whole(body.mapping(of).get(name), f"{of}.{name}", 0) or 0
            most = max(most, said and max(said, provider.thinking_least))
    return most


def _is_effort(body: Body) -> bool:
    """Tell whether a model is asked to think without a number: how hard, or at all. Raises Refusal."""
    reasoning = body.mapping("reasoning")
    said = (body.get("reasoning_effort"), reasoning.get("effort"), reasoning.get("enabled"))
    return any(one not in (None, False, "", "none") for one in said)


def _beyond(thought: int, output: int | None) -> str:
    """Name thinking that no output limit holds: the limit of Claude, between calls of tools, is then its context."""
    held = not thought or output is None or output > thought
    return "" if held else "a thinking budget that is no lower than the output limit"


def _unheld(body: Body, provider: Provider) -> str:
    """Name one who keeps no output limit, or what is meant for who is asked alone, if the body wishes that."""
    if not provider.unlimited or "provider" not in body.fields:
        return ""
    wishes = body.mapping("provider")
    strange = next((name for name in wishes if name not in provider.wishes), None)
    if strange is not None:
        return f"provider.{strange[:40]}, which is not known"
    named = [name for of in ("only", "order") for name in _texts(wishes.get(of))]
    found = next((name for name in named if name.casefold().partition("/")[0] in provider.unlimited), "")
    return f"the provider {found[:40]}, which keeps no output limit" if found else ""


def _texts(value: Any) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def free(body: Body, provider: Provider, model: str) -> Needs:
    """Judge what costs nothing."""
    del body, provider, model
    return Needs(0, 0, 0, 0)
