"""Questions to the log: read only, answered from the stored events."""

from reconciler.audit.lines import cut, describe, outcome_text, usage_text, value_text
from reconciler.audit.query import Query, Row, parse_terms, search, subject_test
from reconciler.audit.spending import FIGURES, KEYS, Spending, spending
from reconciler.audit.story import Binding, Decision, Outcome, story

__all__ = [
    "FIGURES",
    "KEYS",
    "Binding",
    "Decision",
    "Outcome",
    "Query",
    "Row",
    "Spending",
    "cut",
    "describe",
    "outcome_text",
    "parse_terms",
    "search",
    "spending",
    "story",
    "subject_test",
    "usage_text",
    "value_text",
]
