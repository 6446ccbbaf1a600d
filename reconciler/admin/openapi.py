"""The OpenAPI document of the HTTP API: what every endpoint takes and answers, the errors included.

`api` answers as this says; a test drives the one with the other.
"""

from __future__ import annotations

from typing import Any, Final

from reconciler import __version__
from reconciler.audit.spending import KEYS
from reconciler.log.index import FIGURES

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000

Json = dict[str, Any]

_QUERY: Final[Json] = {
    "name": "q",
    "in": "query",
    "description": "Terms as in `pai log`, with blanks between them: `model:NAME type:binding -actor:EMAIL since:7d`",
    "schema": {"type": "string"},
    "example": "type:binding since:7d",
}
_AT: Final[Json] = {
    "name": "at",
    "in": "query",
    "description": "As it was: a time, a date (its beginning, UTC), 7d (ago), #SEQ, or a commit",
    "schema": {"type": "string"},
    "example": "0s",
}
_EVENT: Final[Json] = {
    "type": "object",
    "required": ["seq", "time", "type", "actor", "subject", "data", "id", "leafHash"],
    "properties": {
        "seq": {"type": "integer", "minimum": 0},
        **{name: {"type": "string"} for name in ("time", "type", "actor", "subject", "id")},
        "data": {"type": "object"},
        "leafHash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
}
_OBJECT: Final[Json] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec", "status"],
    "properties": {
        "apiVersion": {"const": "pai.io/v1"},
        "kind": {"enum": ["ModelBinding", "AgentWorkload"]},
        "metadata": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "spec": {"type": "object"},
        "status": {"type": "object", "required": ["revision", "source", "conditions"]},
    },
}
_OBJECTS: Final[Json] = {"type": "array", "items": _OBJECT}
_OTHERS: Final[Json] = {"type": "array", "items": {"type": "object", "required": ["kind", "metadata"]}}
_LIST: Final[Json] = {
    "type": "object",
    "required": ["apiVersion", "kind", "items"],
    "properties": {"apiVersion": {"const": "v1"}, "kind": {"const": "List"}, "items": _OBJECTS},
}
_TEXT_OR_NULL: Final[Json] = {"type": ["string", "null"]}
_ORDER: Final[Json] = {
    "type": ["object", "null"],
    "required": ["actor", "time", "reason", "commit"],
    "properties": {name: {"type": "string"} for name in ("actor", "time", "reason", "commit")},
}
_STATE: Final[Json] = {
    "type": "object",
    "required": ["position", "time", "revision", "head", "pin", "suspension", "models", "agents", "secrets", "keys"],
    "properties": {
        "position": {"type": "integer", "minimum": 1},
        "time": {"type": "string"},
        "revision": _TEXT_OR_NULL,
        "head": _TEXT_OR_NULL,
        "pin": _ORDER,
        "suspension": _ORDER,
        "models": _OBJECTS,
        "agents": _OBJECTS,
        "secrets": _OTHERS,
        "keys": _OTHERS,
    },
}
_PRUNED: Final[Json] = {
    "type": "integer",
    "minimum": 1,
    "description": "The position that a pruned log begins at: what was before is not in this answer",
}
_WARNINGS: Final[Json] = {
    "type": "array",
    "items": {"type": "string"},
    "minItems": 1,
    "description": "Names in the query that the log does not know; left out if there are none",
}
_USAGE: Final[Json] = {
    "type": "object",
    "required": ["usage"],
    "properties": {
        "prunedBefore": _PRUNED,
        "warnings": _WARNINGS,
        "usage": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [*FIGURES],
                "properties": {
                    **{key: {"type": "string"} for key in KEYS},
                    **{name: {"type": "integer", "minimum": 0} for name in FIGURES},
                },
            },
        },
    },
}
_FIELD: Final[Json] = {
    "type": "object",
    "required": ["field", "value", "position", "time", "commit", "author", "message", "file", "line"],
}
_VERSION: Final[Json] = {
    "type": "object",
    "required": ["position", "time", "change", "commit", "author", "message", "file", "line", "changes"],
    "properties": {"change": {"enum": ["created", "changed", "deleted"]}, "changes": {"type": "array"}},
}
_DECISION: Final[Json] = {
    "type": "object",
    "required": ["decision", "position", "time", "model", "data", "binding", "budget", "outcome"],
    "properties": {"decision": {"enum": ["reserved", "refused"]}},
}
_STORY: Final[Json] = {
    "type": "object",
    "required": ["request", "decisions"],
    "properties": {
        "request": {"type": "string"},
        "decisions": {"type": "array", "items": _DECISION, "minItems": 1},
        "prunedBefore": _PRUNED,
    },
}
_REQUEST: Final[Json] = {
    "name": "request",
    "in": "path",
    "required": True,
    "description": "What an answer's x-pai-request-id says",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}
_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error", "hint"],
    "additionalProperties": False,
    "properties": {
        "error": {"type": "string"},
        "hint": {"type": "string"},
        "start": {"type": "integer", "minimum": 0, "description": "Where in `q` the part begins that cannot be read"},
        "length": {"type": "integer", "minimum": 0, "description": "How many characters that part has"},
    },
}
_ERRORS: Final = {
    400: "A parameter or a query that cannot be read",
    401: "No token, or none that is in force",
    404: "No such thing, or nothing at this moment",
    405: "A method that is not answered",
    409: "A commit that never was in force",
    503: "The question takes too long, too many are asked, or the log cannot be read",
}


def document() -> Json:
    """Give the document."""
    page: Json = {"type": "object", "required": ["events", "next"]}
    events = {"type": "array", "items": _EVENT}
    page["properties"] = {"events": events, "next": {"type": ["integer", "null"], "minimum": 1}}
    page["properties"] |= {"prunedBefore": _PRUNED, "warnings": _WARNINGS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pai",
            "version": __version__,
            "description": "What is on the log, what is in force, what was spent. It reads only.",
        },
        "security": [{"token": []}],
        "paths": {
            "/api/v1/events": _get("Events, newest first", page, [_QUERY, *_page_parameters()], stream=True),
            "/api/v1/usage": _get("Tokens spent, in groups", _USAGE, [_QUERY, _by()]),
            "/api/v1/models": _get("Models in force", _LIST, [_AT]),
            "/api/v1/models/{name}": _get("One model", _OBJECT, [_name("model"), _AT]),
            "/api/v1/models/{name}/history": _get("Its versions", _about("versions", _VERSION), [_name("model")]),
            "/api/v1/models/{name}/blame": _get("Who set its fields", _about("fields", _FIELD), [_name("model")]),
            "/api/v1/agents": _get("Agents in force", _LIST, [_AT]),
            "/api/v1/agents/{name}": _get("One agent", _OBJECT, [_name("agent"), _AT]),
            "/api/v1/agents/{name}/history": _get("Its versions", _about("versions", _VERSION), [_name("agent")]),
            "/api/v1/agents/{name}/blame": _get("Who set its fields", _about("fields", _FIELD), [_name("agent")]),
            "/api/v1/requests/{request}": _get("What was decided on a request", _STORY, [_REQUEST]),
            "/api/v1/state": _get("Everything in force, now or then", _STATE, [_AT]),
            "/api/v1/openapi.json": _get("This document", {"type": "object", "required": ["openapi"]}, []),
        },
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _about(what: str, each: Json) -> Json:
    """Describe an answer about one object: a list beside its kind and name."""
    properties = {"kind": {"enum": ["model", "agent"]}, "name": {"type": "string"}, "prunedBefore": _PRUNED}
    return {
        "type": "object",
        "required": ["kind", "name", what],
        "properties": {**properties, what: {"type": "array", "items": each, "minItems": 1}},
    }


def _get(summary: str, schema: Json, parameters: list[Json], *, stream: bool = False) -> Json:
    content: Json = {"application/json": {"schema": schema}}
    if stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: Json = {"200": {"description": summary, "content": content}}
    answers |= {str(status): {"description": text, "content": error} for status, text in _ERRORS.items()}
    return {"get": {"summary": summary, "parameters": parameters, "responses": answers}}


def _page_parameters() -> list[Json]:
    before = "Only events below this position: the `next` of the page before, which is null at the end alone"
    follow = "1: send the events that come as server-sent events, whose ids are positions (Last-Event-ID goes on there)"
    return [
        _parameter("before", before, {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}),
        _parameter(
            "limit",
            "Events at most",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        ),
        _parameter("follow", follow, {"type": "integer", "enum": [0, 1], "default": 0}),
    ]


def _by() -> Json:
    text = f"What to group by: some of {', '.join(KEYS)}, each once, with commas"
    one = "|".join(KEYS)
    return _parameter("by", text, {"type": "string", "pattern": f"^({one})(,({one}))*$", "default": "day,model"})


def _parameter(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _name(kind: str) -> Json:
    return {"name": "name", "in": "path", "required": True, "description": f"The {kind}'s name", "schema": _NAME}


_NAME: Final[Json] = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
