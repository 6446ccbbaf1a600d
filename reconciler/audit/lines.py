"""One readable line for an event: what changed, from what to what, and where it is written.

Whatever a user wrote, a line stays a line: texts and values are cut, further changes counted. `-o json` has them whole.
Everything that came from git or a manifest is escaped by the caller before it reaches a terminal.
"""

from __future__ import annotations

from typing import Any

from reconciler.audit.terms import EventRow
from reconciler.core.objects import AgentSpec, BindingSpec
from reconciler.core.text import cut, value_text

CHANGES_MAX = 4
"""Changed fields that a line names."""


def describe(row: EventRow) -> str:
    """Say in a few words what the event says, without its time, type, subject and actor."""
    data = row.data
    family, _, verb = row.type.removesuffix(".v1").partition(".")
    match family:
        case "binding" | "agent":
            return _object(family, verb, data)
        case "revision":
            return _revision(verb, data)
        case "reconciling":
            return cut(data["reason"])
        case "push" | "history":
            return f"from {_short(data['from'])} to {_short(data['to'])}"
        case "secret":
            return cut("keys " + ", ".join(sorted(data["keys"])))
        case "key":
            return _key(data)
        case "tokens":
            return f"{_tokens(verb, data)}  {data['request']}"
        case "request":
            return _refused(data)
        case "log":
            return _log(verb, data)
        case _:
            return cut(str(data.get("version") or data.get("reason") or ""))


def _object(family: str, verb: str, data: dict[str, Any]) -> str:
    place = f"{_short(data['revision'])} {data['file']}:{data['line']}"
    if verb == "deleted":
        return place
    if verb == "created":
        return f"{_created(family, data['spec'])}  {place}"
    changes = [_change(field, data) for field in data["changed"][:CHANGES_MAX]]
    if (more := len(data["changed"]) - CHANGES_MAX) > 0:
        changes.append(f"{more} more")
    lines = data.get("lines", {})
    if len(lines) == 1:
        place = f"{_short(data['revision'])} {data['file']}:{next(iter(lines.values()))}"
    return f"{', '.join(changes)}  {place}"


def _created(family: str, spec: dict[str, Any]) -> str:
    """Say what a new object is. An agent's spec may hold whatever else, also fields that limit only a binding."""
    if family == "agent":
        return cut(", ".join(AgentSpec.of(spec).model_bindings))
    binding = BindingSpec.of(spec)
    limit = "" if binding.max_tokens_per_day is None else f", {binding.max_tokens_per_day:,} tokens a day"
    return cut(f"{binding.provider}/{binding.model}") + limit


def _change(field: str, data: dict[str, Any]) -> str:
    if field.startswith("metadata."):
        return cut(field)
    old, new = _at(data["previous"], field), _at(data["spec"], field)
    return f"{cut(field)} {cut(value_text(old))} -> {cut(value_text(new))}"


def _at(spec: Any, field: str) -> Any:
    """Find the value of a dotted field; a key may itself hold dots, so the longest that fits is tried first."""
    if not isinstance(spec, dict):
        return None
    if field in spec:
        return spec[field]
    parts = field.split(".")
    for length in range(len(parts) - 1, 0, -1):
        key = ".".join(parts[:length])
        if key in spec:
            return _at(spec[key], ".".join(parts[length:]))
    return None


def _revision(verb: str, data: dict[str, Any]) -> str:
    if verb in ("pinned", "unpinned"):
        back = f"back to {_short(data['revision'])}, " if verb == "unpinned" else ""
        return f"{back}{_counted(data['counts'])}" + (f": {cut(data['reason'])}" if data["reason"] else "")
    first = cut(data["message"].strip().partition("\n")[0])
    if verb == "rejected":
        problems = len(data["diagnostics"]) + data.get("omitted", 0)
        d = data["diagnostics"][0]
        first_problem = f"{d['path']}:{d['line']}:{d['column']} {d['rule']} {cut(d['message'])}"
        return f"{problems} problem{'s' * (problems != 1)}: {first_problem}"
    if verb == "superseded":
        return f"by {_short(data['by'])}: {first}"
    pusher = f" (pushed by {cut(data['pusher'])})" if data.get("pusher") else ""
    return f"{_counted(data['counts'])}: {first}{pusher}"


def _counted(counts: dict[str, int]) -> str:
    changes = ", ".join(f"{counts[name]} {name}" for name in ("created", "changed", "deleted", "moved") if counts[name])
    return changes or "no change"


def _log(verb: str, data: dict[str, Any]) -> str:
    if verb == "pruned":
        return f"events {data['begin']:,} to {data['first'] - 1:,} exported to {cut(data['export'])} and dropped"
    return f"origin {data['origin']}" if verb == "created" else cut(data["reason"])


def _key(data: dict[str, Any]) -> str:
    until = f", until {data['expires']}" if data.get("expires") else ""
    source = f", from {', '.join(data['networks'])} only" if data.get("networks") else ""
    person = " (admin)" if data.get("admin") else ""
    return f"for {data['agent']}{person}{until}{source}"


def _tokens(verb: str, data: dict[str, Any]) -> str:
    match verb:
        case "reserved":
            return f"{data['tokens']:,} = {data['input']:,} input + {data['output']:,} output"
        case "settled":
            why = f" ({data['reason']})" if data["reason"] else ""
            return f"{data['charged']:,} charged{why}: {usage_text(data)}"
        case "voided":
            return f"{data['tokens']:,} free again: {outcome_text(data)}"
        case _:
            return f"{data['tokens']:,} charged, outcome unknown: {outcome_text(data)}"


def usage_text(data: dict[str, Any]) -> str:
    """Write what a provider said it used; parts that are 0 are left out."""
    parts = [
        f"{data[field]:,} {word}" for field, word in (("cached", "cached"), ("cacheWrite", "written")) if data[field]
    ]
    cached = f" ({', '.join(parts)})" if parts else ""
    reasoning = f" ({data['reasoning']:,} reasoning)" if data["reasoning"] else ""
    return f"{data['input']:,} input{cached} + {data['output']:,} output{reasoning}"


def outcome_text(data: dict[str, Any]) -> str:
    """Write why a reservation was not settled, and the provider's status if one came."""
    status = f"status {data['status']}" if data["status"] else "no answer"
    return f"{data['reason']}, {status}" if data["reason"] else status


def _refused(data: dict[str, Any]) -> str:
    figures = f": {data['needed']:,} needed, {data['remaining']:,} remaining" if data["needed"] else ""
    more = f" and {data['count'] - 1:,} more" if data["count"] > 1 else ""
    return f"{data['reason']}{figures}  {data['request']}{more}"


def _short(sha: str) -> str:
    return sha[:7]
