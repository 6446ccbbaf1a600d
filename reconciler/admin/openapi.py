"""The OpenAPI document of the HTTP API: what every endpoint takes and answers, the errors included.

The answers' schemas are made from the types that `api` answers with; a test drives the one with the other.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

from reconciler import __version__
from reconciler.admin.answers import Error, FromLog, ObjectInForce, Objects, Page, UsageGroups, WholeState
from reconciler.audit.spending import KEYS
from reconciler.audit.story import Story
from reconciler.audit.versions import History, Origins
from reconciler.core.objects import Kind

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000

Json = dict[str, Any]


def _parameter(name: str, description: str, example: str = "", where: str = "query", **schema: Any) -> Json:
    """Describe a parameter; its schema is of a string unless it says another type."""
    described = {"name": name, "in": where, "description": description, "schema": {"type": "string", **schema}}
    return described | ({"example": example} if example else {}) | ({"required": True} if where == "path" else {})


_ANY_KEY: Final = "|".join(KEYS)
_QUERY: Final = _parameter(
    "q",
    "Terms as in `pai log`, with blanks between them: `model:NAME type:binding -actor:EMAIL since:7d`",
    "type:binding since:7d",
)
_AT: Final = _parameter("at", "As it was: a time, a date (its beginning, UTC), 7d (ago), #SEQ, or a commit", "0s")
_BY: Final = _parameter(
    "by",
    f"What to group by: some of {', '.join(KEYS)}, each once, with commas",
    pattern=f"^({_ANY_KEY})(,({_ANY_KEY}))*$",
    default="day,model",
)
_NAME: Final = _parameter("name", "The object's name", where="path", pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_REQUEST: Final = _parameter(
    "request", "What an answer's x-pai-request-id says", where="path", pattern="^[A-Za-z0-9_-]{1,64}$"
)
_PAGE: Final = [
    _parameter(
        "before",
        "Only events below this position: the `next` of the page before, which is null at the end alone",
        type="integer",
        minimum=0,
        maximum=2**53 - 1,
    ),
    _parameter("limit", "Events at most", type="integer", minimum=1, maximum=LIMIT_MAX, default=LIMIT_DEFAULT),
    _parameter(
        "follow",
        "1: send the events that come as server-sent events, whose ids are positions (Last-Event-ID goes on there)",
        type="integer",
        enum=[0, 1],
        default=0,
    ),
]
_Endpoint = tuple[str, str, Any, list[Json]]


def _of_kind(kind: Kind) -> tuple[_Endpoint, ...]:
    return (
        (f"{kind}s", f"{kind.title()}s in force", Objects, [_AT]),
        (f"{kind}s/{{name}}", f"One {kind}", ObjectInForce, [_NAME, _AT]),
        (f"{kind}s/{{name}}/history", "Its versions", History, [_NAME]),
        (f"{kind}s/{{name}}/blame", "Who set its fields", Origins, [_NAME]),
    )


ENDPOINTS: Final[tuple[_Endpoint, ...]] = (
    ("events", "Events, newest first", Page, [_QUERY, *_PAGE]),
    ("usage", "Tokens spent, in groups", UsageGroups, [_QUERY, _BY]),
    *_of_kind("model"),
    *_of_kind("agent"),
    ("requests/{request}", "What was decided on a request", Story, [_REQUEST]),
    ("state", "Everything in force, now or then", WholeState, [_AT]),
    ("openapi.json", "This document", Json, []),
)
"""Each path below /api/v1, what it is about, what it answers, by which `api` knows who does, and what it takes."""
_ERRORS: Final = {
    400: "A parameter or a query that cannot be read",
    401: "No token, or none that is in force",
    404: "No such thing, or nothing at this moment",
    405: "A method that is not answered",
    409: "A commit that never was in force",
    503: "The question takes too long, too many are asked, or the log cannot be read",
}


@functools.cache
def document() -> Json:
    """Give the document."""
    types = [Error, FromLog, *(answer for _, _, answer, _ in ENDPOINTS)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    error, pruned, *answers = schemas
    paths = {}
    for (path, summary, answer, parameters), schema in zip(ENDPOINTS, answers, strict=True):
        told = {"allOf": [schema, pruned]} if answer in (History, Origins, Story) else schema
        content = {"application/json": {"schema": told}}
        if answer is Page:
            content["text/event-stream"] = {"schema": {"type": "string"}}
        responses: Json = {"200": {"description": summary, "content": content}}
        for status, text in _ERRORS.items():
            responses[str(status)] = {"description": text, "content": {"application/json": {"schema": error}}}
        paths[f"/api/v1/{path}"] = {"get": {"summary": summary, "parameters": parameters, "responses": responses}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pai",
            "version": __version__,
            "description": "What is on the log, what is in force, what was spent. It reads only.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
