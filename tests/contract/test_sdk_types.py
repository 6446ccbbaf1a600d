"""Every field, item, block and tool of the providers' SDKs is classified: a new release shows what is new in it.

The parameter types of the installed SDKs are walked as a body is: from the top, by the rule of each field to the place
where what it holds is judged. What nobody has classified is listed with the path where it stands. Put it into
`reconciler/gateway/judging/` where it belongs: its bytes are all there is, the provider counts it, or nothing bounds
it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import typing_extensions as typing
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_count_tokens_params as beta_count_tokens_params
from anthropic.types.beta import message_create_params as beta_create_params
from google.genai import types as google
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import input_token_count_params, response_compact_params, response_create_params

from reconciler.gateway.judging import kinds
from reconciler.gateway.judging.fields import BODY, DEFINITION, EXCEPTIONS, PROMPT, SETTINGS, THOUGHTS
from reconciler.gateway.judging.rules import Table, Treatment

BODIES = {
    "chat": completion_create_params.CompletionCreateParamsNonStreaming,
    "chat, streamed": completion_create_params.CompletionCreateParamsStreaming,
    "responses": response_create_params.ResponseCreateParamsNonStreaming,
    "responses, streamed": response_create_params.ResponseCreateParamsStreaming,
    "responses.compact": response_compact_params.ResponseCompactParams,
    "responses.input_tokens": input_token_count_params.InputTokenCountParams,
    "embeddings": embedding_create_params.EmbeddingCreateParams,
    "messages": message_create_params.MessageCreateParamsNonStreaming,
    "messages, streamed": message_create_params.MessageCreateParamsStreaming,
    "messages.count_tokens": message_count_tokens_params.MessageCountTokensParams,
    "beta messages": beta_create_params.MessageCreateParamsNonStreaming,
    "beta messages, streamed": beta_create_params.MessageCreateParamsStreaming,
    "beta messages.count_tokens": beta_count_tokens_params.MessageCountTokensParams,
}
OF_THE_SDK = frozenset(
    ("http_options", "should_return_http_response", "automatic_function_calling", "automatic_continuation")
)
"""Options of google-genai that its client acts on, and that no request holds."""

STOPS = frozenset(
    (
        Treatment.TEXT,
        Treatment.COUNTED,
        Treatment.REFUSED,
        Treatment.CITATIONS,
        Treatment.ANNOTATIONS,
        Treatment.MODALITIES,
        Treatment.MODE,
    )
)
STOPS |= {Treatment.FRAMES, Treatment.RESOLUTION}
PLACES: dict[Treatment, Table] = {Treatment.PROMPT: PROMPT, Treatment.SETTINGS: SETTINGS, Treatment.TOOLS: kinds.TOOLS}
PLACES |= {Treatment.FUNCTIONS: kinds.TOOLS, Treatment.EDITS: kinds.EDITS, Treatment.ENVIRONMENT: kinds.ENVIRONMENTS}


def alternatives(annotation: Any) -> Iterator[Any]:
    """Give the types that a value of an annotation may have, also those that its items may have."""
    while get_origin(annotation) in (Annotated, typing.Required, typing.NotRequired):
        annotation = get_args(annotation)[0]
    if isinstance(annotation, typing.TypeAliasType):
        yield from alternatives(annotation.__value__)
    elif get_origin(annotation) is not None and get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from alternatives(part)
    else:
        yield annotation


def fields_of(found: Any) -> dict[str, Any] | None:
    """Give the fields of an object's type, None if it is none."""
    if typing.is_typeddict(found):
        return typing.get_type_hints(found)
    if inspect.isclass(found) and hasattr(found, "model_fields"):
        return {name: field.annotation for name, field in found.model_fields.items()}
    return None


def kinds_in(annotation: Any) -> list[str]:
    """Give the literal values that `type` may have."""
    return [value for part in alternatives(annotation) if get_origin(part) is Literal for value in get_args(part)]


class Walk:
    """A walk through types; `unknown` is what nobody has classified, with the path where it stands."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}
        self.seen: set[tuple[Any, int]] = set()

    def into(self, found: Any, table: Table, path: str) -> None:
        """Look at a type in its place: a table of fields, or one of kinds whose fields are a definition's."""
        fields = fields_of(found)
        if fields is None or (found, id(table)) in self.seen:
            return
        self.seen.add((found, id(table)))
        said = kinds_in(fields.get("type"))
        known = {id(PROMPT): kinds.ITEMS, id(SETTINGS): kinds.FORMATS}.get(id(table), table)
        judged = [kinds.kind_of(known, kind) for kind in said] if table not in (BODY, DEFINITION) else []
        for kind, rule in zip(said, judged, strict=False):
            if rule is None:
                self.unknown[f"kind {kind}"] = path
        if table in (kinds.EDITS, kinds.ENVIRONMENTS) or (judged and all(rule is Treatment.REFUSED for rule in judged)):
            return  # nothing below makes it better
        below = DEFINITION if table is kinds.TOOLS else table
        for name, annotation in fields.items():
            rule = below.get(name)
            if below is SETTINGS and path.rpartition(".")[2] == THOUGHTS.get(name):
                rule = Treatment.TEXT
            if below is PROMPT:
                rule = next((EXCEPTIONS[kind, name] for kind in said if (kind, name) in EXCEPTIONS), rule)
            if name == "type" and said:
                continue
            if rule is None:
                self.unknown[f"field {name}"] = path
            elif rule not in STOPS:
                for part in alternatives(annotation):
                    self.into(part, PLACES.get(rule, below), f"{path}.{name}")


@pytest.mark.parametrize("name", BODIES)
def test_every_field_and_kind_of_an_sdk_is_classified(name: str) -> None:
    """Of openai's and anthropic's parameters, beta ones too, nothing is left to a default."""
    walk = Walk()
    walk.into(BODIES[name], BODY, name)
    assert walk.unknown == {}
    assert len(walk.seen) > (0 if name == "embeddings" else 20), "the types were not found"


def test_every_field_and_kind_of_google_is_classified() -> None:
    """Of google-genai's content, tools and settings nothing is left to a default."""
    walk = Walk()
    walk.into(google.Content, PROMPT, "content")
    walk.into(google.FunctionDeclaration, DEFINITION, "function_declaration")
    for kind in google.Tool.model_fields:
        if kind not in kinds.GEMINI_TOOLS:
            walk.unknown[f"tool {kind}"] = "tool"
    for config in (google.GenerateContentConfig, google.EmbedContentConfig):
        for name, field in config.model_fields.items():
            rule = BODY.get(name) or SETTINGS.get(name)
            if rule is None and name not in OF_THE_SDK:
                walk.unknown[f"field {name}"] = config.__name__
            elif rule is Treatment.SETTINGS:
                for part in alternatives(field.annotation):
                    walk.into(part, SETTINGS, name)
    assert walk.unknown == {}
    assert len(walk.seen) > 10, "the types were not found"


class _NewBlock(typing.TypedDict, total=False):
    type: Literal["crystal_ball"]
    text: str
    orb: str


class _NewTool(typing.TypedDict, total=False):
    type: Literal["crawl_20270101"]


class _NewFunction(typing.TypedDict, total=False):
    type: Literal["function"]
    name: str
    runs_at: str


class _NewFormat(typing.TypedDict, total=False):
    type: Literal["hologram"]


class _NewBody(typing.TypedDict, total=False):
    messages: list[_NewBlock | str]
    tools: typing.Required[list[_NewTool | _NewFunction]]
    response_format: _NewFormat
    memories: str
    temperature: float


def test_whatever_is_new_is_listed() -> None:
    """A field, a block, a tool and a format that nobody has classified are each named with the path."""
    walk = Walk()
    walk.into(_NewBody, BODY, "new")
    assert walk.unknown == {
        "field memories": "new",
        "kind crystal_ball": "new.messages",
        "field orb": "new.messages",
        "kind crawl_20270101": "new.tools",
        "field runs_at": "new.tools",
        "kind hologram": "new.response_format",
    }
