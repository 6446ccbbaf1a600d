"""One request's story, read off the log: what was decided, on which budget, on which version of the binding, by whom.

A request may have several decisions: with fallback it is tried on one binding after the other. Everything is as of the
position of the decision. The index has the binding's account some thousand events before it, so little is replayed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reconciler.audit.query import read_row, search
from reconciler.audit.terms import EventRow, Query, Term
from reconciler.audit.versions import Origin, line_of, origin, versions
from reconciler.core import events as ev
from reconciler.core.budget import Account
from reconciler.core.errors import UsageError
from reconciler.core.objects import DAY_LIMIT, REQUEST_LIMIT
from reconciler.core.standing import Standing
from reconciler.log import pruned
from reconciler.log.index import INDEX_VERSION, read_account
from reconciler.log.store import Reader

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


class DayBefore(msgspec.Struct, frozen=True):
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

    `binding` is None if none of this name was in force. `budget` is also None where the events behind it were pruned.
    """

    decision: Literal["reserved", "refused"]
    position: int
    time: str
    model: str
    data: dict[str, Any]
    binding: Binding | None
    budget: DayBefore | None
    outcome: Outcome | None


class Story(msgspec.Struct, frozen=True):
    """The decisions on a request, oldest first."""

    request: str
    decisions: list[Decision]


def story(log: Reader, request: str) -> list[Decision]:
    """Give the decisions on a request, oldest first; none if the log does not know it. Raises UsageError for ""."""
    if not request:
        raise UsageError("the id of the request is empty", "it is in the answer's x-pai-request-id")
    with log.moment():
        rows = list(search(log, Query((Term("request", request),))))[::-1]
        return [
            _decision(log, row, rows) for row in rows if row.type in (ev.TokensReserved.type, ev.RequestRefused.type)
        ]


def _decision(log: Reader, row: EventRow, rows: list[EventRow]) -> Decision:
    model = row.subject.partition("/")[2]
    if row.type == ev.RequestRefused.type:
        field = REQUEST_LIMIT if row.data["reason"] == "request-budget" else DAY_LIMIT
        version = next(versions(log, "model", model, row.seq), None)
        binding = None if version is None or version.type not in _WRITTEN else _binding(log, version, field)
        return Decision("refused", row.seq, row.time, model, row.data, binding, None, None)
    version = _at(log, row.data["binding"])
    written = version is not None and version.subject == row.subject and version.type in _WRITTEN
    binding = _binding(log, version, DAY_LIMIT) if version is not None and written else None
    limit = binding.limit.value if binding is not None and binding.limit is not None else None
    budget = _budget(log, row, limit) if row.seq >= log.first() else None
    return Decision("reserved", row.seq, row.time, model, row.data, binding, budget, _outcome(row, rows))


def _outcome(reserved: EventRow, rows: list[EventRow]) -> Outcome:
    """Find the outcome of a reservation: the next one of its request on the same binding."""
    for row in rows:
        if row.seq > reserved.seq and row.subject == reserved.subject and row.type in _OUTCOMES:
            return Outcome(_OUTCOMES[row.type], row.seq, row.time, row.charged(), row.data)
    return Outcome("open")


def _budget(log: Reader, reserved: EventRow, limit: int | None) -> DayBefore:
    """Add up the binding's day as it was just before a reservation: from the index's last account of it on."""
    day, model = reserved.data["day"], reserved.subject.partition("/")[2]
    start, account = _account_before(log, model, reserved.seq)
    used, held = (account.used, account.reserved) if account is not None and account.day == day else (0, 0)
    opened: dict[str, int] = {}
    query = Query((Term("model", model), Term("type", "tokens.")))
    for row in search(log, query, oldest_first=True, start=start, before=reserved.seq):
        if row.data["day"] != day:
            continue
        request = row.data["request"]
        if row.type == ev.TokensReserved.type:
            opened[request] = row.data["tokens"]
            held += row.data["tokens"]
            continue
        held -= opened.pop(request) if request in opened else _held(log, row)
        used += row.charged()
    return DayBefore(day, used, held, limit, Standing(limit, Account(day, used, held)).left)


def _account_before(log: Reader, model: str, position: int) -> tuple[int, Account | None]:
    """Give the last position, up to one, that the index has accounts of, and the binding's there, if it had one."""
    head, begin = log.head(), log.first()
    start = begin
    if head.index_version == INDEX_VERSION and head.indexed > begin:
        start = head.indexed if position >= head.indexed else log.block_of(position) or begin
        for mark in log.marks_back("model", model, start):
            if mark.account is not None:
                return start, read_account(mark.account)
    return start, pruned.account_at_base(log, model)


def _held(log: Reader, outcome: EventRow) -> int:
    """Find what was reserved for an outcome: by the same request on the same binding, the last before it."""
    request = Query((Term("request", outcome.data["request"]), Term("type", ev.TokensReserved.type)))
    for row in search(log, request, before=outcome.seq):
        if row.subject == outcome.subject:
            return int(row.data["tokens"])
    return 0


def _binding(log: Reader, version: EventRow, field: str) -> Binding:
    spec = version.data["spec"]
    return Binding(spec, origin(log, version), _limit(log, version, field) if field in spec else None)


def _limit(log: Reader, version: EventRow, field: str) -> Limit:
    """Find the newest event, up to a version, that gave the field its value."""
    row = version
    for row in versions(log, "model", version.subject.partition("/")[2], version.seq + 1):
        if row.type == ev.BindingCreated.type or field in row.data.get("changed", ()):
            break
    previous = (row.data.get("previous") or {}).get(field)
    line = line_of(row, field)
    return Limit(field, version.data["spec"][field], previous, msgspec.structs.replace(origin(log, row), line=line))


def _at(log: Reader, position: int) -> EventRow | None:
    return next(map(read_row, log.read(position, position + 1)), None)
