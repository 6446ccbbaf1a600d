"""One request as the gateway understands it, whatever its surface.

Operations are named once for all surfaces and providers:

    chat        OpenAI chat completions       messages         Anthropic messages
    responses   OpenAI responses              messages.count   ... counting only
    responses.count    ... counting only      generate         Gemini generateContent, streamed or not
    responses.compact  ... made shorter       generate.count   ... counting only
    embeddings  OpenAI embeddings             embed            Gemini embedContent, batchEmbedContents
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from reconciler.gateway.body import Body

if TYPE_CHECKING:
    from reconciler.gateway.surfaces.surface import Surface

FREE = frozenset(("messages.count", "generate.count", "responses.count"))
"""Operations that providers do not charge for."""


class Route(NamedTuple):
    """What a path asks for; `name`, `method` and `version` are parts of the path, "" where it lacks them."""

    surface: Surface
    operation: str
    name: str = ""
    method: str = ""
    version: str = ""


class Call(NamedTuple):
    """A parsed request.

    `names` are the bindings to try, in order. `method` is the last word of a Gemini path, `version` its first, "" for
    the provider's own. `asked_usage`: whether the client wants usage in the stream. `query` and `headers` go upstream
    as they are.
    """

    operation: str
    surface: Surface
    names: tuple[str, ...]
    body: Body
    stream: bool = False
    method: str = ""
    asked_usage: bool = True
    query: str = ""
    version: str = ""
    headers: Mapping[str, str] = {}


class Needs(NamedTuple):
    """What a call may cost, as far as its body says.

    `extra`: tokens of input beyond the body's bytes; less than 0 where inline images are priced by image instead.
    `output`: the output limit of each of `choices` that the client names, None if it names none, `least` the lowest
    that can be sent instead. `unbounded`: what makes the input unbounded, "" if nothing does. `uncertain`: what the
    provider has to count, since its bytes say little: inline documents, sound and films. `beside`: tokens that such a
    count may lack, `times`: by how much it may be too low otherwise.
    """

    extra: int
    output: int | None
    choices: int = 1
    least: int = 1
    unbounded: str = ""
    uncertain: str = ""
    beside: int = 0
    times: int = 1


class Credentials(dict[str, str]):
    """Headers that hold a provider's key; they show as nothing wherever they are printed."""

    def __repr__(self) -> str:
        return "Credentials(***)"
