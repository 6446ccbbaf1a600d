"""Which moment WHEN means (`get --at WHEN`): a time, a date, `#seq` or a commit, as a position of the log.

A moment is the number of events that had happened: the state after them is what was in force. A time includes the
events of that very instant; a date is its beginning in UTC, as in `until:`; `#seq` includes that event; a commit means
the state right after it was accepted (the last time, if the branch came back to it).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.audit.query import count_before, search
from reconciler.audit.terms import EventRow, Query, Term, event_time, parse_when
from reconciler.core.errors import NotFound, Refused, UsageError
from reconciler.core.events import RevisionPinned
from reconciler.core.text import COMPARED_MAX
from reconciler.log import pruned
from reconciler.log.replay import event_at
from reconciler.log.store import Reader

HINT: Final = "write a time, a date, #SEQ or a commit"
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{4,64}")
_AGO: Final = re.compile(r"[0-9]{1,4}[smhdw]")


class Moment(NamedTuple):
    """The state after the first `position` events; `time` is the time asked for, or that of the last of them."""

    position: int
    time: str


def find_moment(log: Reader, when: str, now: datetime) -> Moment:
    """Find the moment that a text names.

    Raises UsageError for a text that names none and for a time to come, NotFound for a position beyond the end, a time
    before the log and a commit that was never looked at, Refused for a commit that never was in force.
    """
    if when.startswith("#"):
        return _at_position(log, when)
    commit = when.lower() if _COMMIT.fullmatch(when) and not _AGO.fullmatch(when) else ""
    row = _accepted(log, commit) if commit else None
    if row is not None:
        return Moment(row.seq + 1, row.time)
    try:
        time = parse_when(when, now)
    except UsageError:
        if commit:
            raise _unknown(log, commit) from None
        raise UsageError(f"cannot read the moment {when!r}", f"{HINT}: 7d, 2026-11-01, #120, 3f2a91c") from None
    if time > event_time(now):
        raise UsageError(f"--at {when}: that time is still to come", "leave --at out for what is in force now")
    return _at_time(log, time)


def acceptance(log: Reader, commit: str) -> EventRow:
    """Give the newest event that accepted the commit, of which a beginning is enough.

    Raises UsageError for a text that is no commit or could be several, NotFound for a commit that was never looked at,
    Refused for one that never was in force.
    """
    if not _COMMIT.fullmatch(commit):
        raise UsageError(f"{commit!r} is no commit", "write the beginning of its id, as pai log type:revision shows it")
    row = _accepted(log, commit.lower())
    if row is None:
        raise _unknown(log, commit.lower())
    return row


def _at_position(log: Reader, when: str) -> Moment:
    digits = when[1:]
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise UsageError(f"cannot read the position {when!r}", "write #SEQ with the number that pai log shows first")
    position, size = int(digits), log.size()
    if position >= size:
        raise NotFound(f"the log ends at #{size - 1}, there is no {when}", "pai log --limit 1 shows the last event")
    return Moment(position + 1, event_at(log, position).time)


def _at_time(log: Reader, time: str) -> Moment:
    position, begin = count_before(log, time, log.size(), inclusive=True), log.first()
    if position < begin:
        if pruned.start(log)[0].time > time:
            raise pruned.dropped(log, max(0, position - 1), f"what was in force at {time}")
        position = begin
    if position == 0:
        raise NotFound(f"the log begins at {event_at(log, 0).time}, after {time}", "--at '#0' is its first event")
    return Moment(position, time)


def _accepted(log: Reader, commit: str) -> EventRow | None:
    """Find the newest acceptance of a commit; None if the log knows no commit that begins so."""
    found = search(log, Query((Term("revision", commit), Term("type", "revision."))))
    rows = [row for row in found if row.data["commit"].startswith(commit)]
    commits = sorted({row.data["commit"] for row in rows})
    if len(commits) > 1:
        raise UsageError(f"{commit} may be {', '.join(each[:12] for each in commits[:5])}", "write more of the commit")
    for row in rows:
        if row.type == "revision.accepted.v1":
            return row
    for row in rows:
        if row.type == RevisionPinned.type:  # it was accepted once, but that was dropped
            raise pruned.dropped(log, int(row.data["position"]), f"the acceptance of {row.data['commit'][:7]}")
    if rows:
        raise _never_in_force(rows[0])
    return None


def _never_in_force(row: EventRow) -> Refused:
    commit = row.data["commit"][:7]
    if row.type == "revision.superseded.v1":
        by = row.data["by"][:7]
        return Refused(f"commit {commit} was never in force: {by} came with it and was judged instead", f"--at {by}")
    first = row.data["diagnostics"][0]
    what = f"{first['path']}:{first['line']}:{first['column']} {first['rule']}"
    return Refused(
        f"commit {commit} was refused ({what}) and never in force", f"--at '#{row.seq}' is what stayed in force then"
    )


def _unknown(log: Reader, commit: str) -> NotFound:
    import difflib

    newest = search(log, Query((Term("type", "revis"),)), COMPARED_MAX)
    known = {row.data["commit"][: len(commit)]: row.data["commit"] for row in newest}
    near = difflib.get_close_matches(commit, known, 1, 0.5)
    hint = f"did you mean {known[near[0]][: max(7, len(commit))]}?" if near else "pai log type:revision lists them"
    return NotFound(f"the log knows no commit {commit}", hint)
