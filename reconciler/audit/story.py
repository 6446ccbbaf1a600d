"""One request's story, read off the log: what was decided, on which budget, on which version of the binding, by whom.

A request may have several decisions: with fallback it is tried on one binding after the other. Everything is as of the
position of the decision. The events of the one binding are read backwards, so nothing is replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from reconciler.audit.query import about_request, read_row, search
from reconciler.audit.terms import Row
from reconciler.audit.versions import Origin, line_of, origin, versions
from reconciler.core import events as ev
from reconciler.log.store import Reader

DAY_LIMIT = "maxTokensPerDay"
REQUEST_LIMIT = "maxTokensPerRequest"
_OUTCOMES = {ev.TokensSettled.type: "settled", ev.TokensVoided.type: "voided", ev.TokensForfeited.type: "forfeited"}
_WRITTEN = (ev.BindingCreated.type, ev.BindingChanged.type)


class Limit(msgspec.Struct, frozen=True):
    """The field of the spec that limits the decision, its value, and where it got it (`previous` null: at creation)."""

    field: str
    value: int
    previous: int | None
    origin: Origin


class Binding(msgspec.Struct, frozen=True):
    """The version of the binding that was in force, and the limit that counted, if it has one."""

    spec: dict[str, Any]
    origin: Origin
    limit: Limit | None


class Budget(msgspec.Struct, frozen=True):
    """The binding's day just before the reservation: what was used, and reserved by others."""

    day: str
    used: int
    reserved: int
    limit: int | None
    remaining: int | None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a reservation: settled, voided, forfeited, or open. `data` is the event's own."""

    state: str
    position: int | None = None
    time: str = ""
    charged: int | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Decision(msgspec.Struct, frozen=True):
    """One decision on the request: `reserved` with budget and outcome, or `refused`. `data` is the event's own.

    `binding` is None if none of this name was in force.
    """

    decision: str
    position: int
    time: str
    model: str
    data: dict[str, Any]
    binding: Binding | None
    budget: Budget | None = None
    outcome: Outcome | None = None


def story(log: Reader, request: str) -> list[Decision]:
    """Give the decisions on a request, oldest first; none if the log does not know it. Raises UsageError for ""."""
    with log.moment():
        rows = list(search(log, about_request(request)))[::-1]
        return [
            _decision(log, row, rows) for row in rows if row.type in (ev.TokensReserved.type, ev.RequestRefused.type)
        ]


def _decision(log: Reader, row: Row, rows: list[Row]) -> Decision:
    model = row.subject.partition("/")[2]
    if row.type == ev.RequestRefused.type:
        field = REQUEST_LIMIT if row.data["reason"] == "request-budget" else DAY_LIMIT
        version = next(versions(log, "model", model, row.seq), None)
        binding = None if version is None or version.type not in _WRITTEN else _binding(log, version, field)
        return Decision("refused", row.seq, row.time, model, row.data, binding)
    version = _at(log, row.data["binding"])
    written = version is not None and version.subject == row.subject and version.type in _WRITTEN
    binding = _binding(log, version, DAY_LIMIT) if version is not None and written else None
    limit = binding.limit.value if binding is not None and binding.limit is not None else None
    budget = _budget(log, row, limit)
    return Decision("reserved", row.seq, row.time, model, row.data, binding, budget, _outcome(row, rows))


def _outcome(reserved: Row, rows: list[Row]) -> Outcome:
    """Find the outcome of a reservation: the next one of its request on the same binding."""
    for row in rows:
        if row.seq > reserved.seq and row.subject == reserved.subject and row.type in _OUTCOMES:
            state = _OUTCOMES[row.type]
            charged = {"settled": row.data.get("charged"), "voided": 0, "forfeited": row.data.get("tokens")}[state]
            return Outcome(state, row.seq, row.time, charged, row.data)
    return Outcome("open")


def _budget(log: Reader, reserved: Row, limit: int | None) -> Budget:
    """Add up the binding's day as it was just before a reservation, from its events backwards."""
    day, used, held = reserved.data["day"], 0, 0
    resolved: Counter[str] = Counter()
    for row in _back(log, reserved.subject, "tokens.", reserved.seq):
        if row.data["day"] != day:
            if row.type == ev.TokensReserved.type:  # days never go back, so nothing before this counts
                break
            continue
        request = row.data["request"]
        if row.type == ev.TokensReserved.type:
            if resolved[request]:
                resolved[request] -= 1
            else:
                held += row.data["tokens"]
            continue
        resolved[request] += 1
        used += {ev.TokensSettled.type: row.data.get("charged", 0), ev.TokensVoided.type: 0}.get(
            row.type, row.data.get("tokens", 0)
        )
    return Budget(day, used, held, limit, None if limit is None else max(0, limit - used - held))


def _binding(log: Reader, version: Row, field: str) -> Binding:
    spec = version.data["spec"]
    return Binding(spec, origin(log, version), _limit(log, version, field) if field in spec else None)


def _limit(log: Reader, version: Row, field: str) -> Limit:
    """Find the newest event, up to a version, that gave the field its value."""
    row = version
    for row in versions(log, "model", version.subject.partition("/")[2], version.seq + 1):
        if row.type == ev.BindingCreated.type or field in row.data.get("changed", ()):
            break
    previous = (row.data.get("previous") or {}).get(field)
    line = line_of(row, field)
    return Limit(field, version.data["spec"][field], previous, msgspec.structs.replace(origin(log, row), line=line))


def _back(log: Reader, subject: str, family: str, before: int) -> Iterator[Row]:
    """Give the events of one family about one subject below a position, newest first."""
    needles = (f'"subject":"{subject}"'.encode(), f'"type":"{family}'.encode())
    for row in map(read_row, log.read_back(before, needles)):
        if row.subject == subject and row.type.startswith(family):
            yield row


def _at(log: Reader, position: int) -> Row | None:
    return next(map(read_row, log.read(position, position + 1)), None)
