"""Questions to the log: read only, answered from the stored events."""

from reconciler.audit.lines import describe, outcome_text, usage_text
from reconciler.audit.moments import Moment, acceptance, find_moment
from reconciler.audit.objects import accepted_commit, accepted_state, objects_at
from reconciler.audit.query import matches, read_row, search, unknown
from reconciler.audit.rehearsing import rehearsal
from reconciler.audit.spending import KEYS, Key, Spending, spending
from reconciler.audit.story import Binding, Decision, Outcome, story
from reconciler.audit.tail import Tail
from reconciler.audit.terms import EventRow, Query, Term, parse_query, parse_terms, parse_when
from reconciler.audit.versions import Blame, FieldChange, Version, blame, history, versions

__all__ = [
    "KEYS",
    "Binding",
    "Blame",
    "Decision",
    "EventRow",
    "FieldChange",
    "Key",
    "Moment",
    "Outcome",
    "Query",
    "Spending",
    "Tail",
    "Term",
    "Version",
    "acceptance",
    "accepted_commit",
    "accepted_state",
    "blame",
    "describe",
    "find_moment",
    "history",
    "matches",
    "objects_at",
    "outcome_text",
    "parse_query",
    "parse_terms",
    "parse_when",
    "read_row",
    "rehearsal",
    "search",
    "spending",
    "story",
    "unknown",
    "usage_text",
    "versions",
]
