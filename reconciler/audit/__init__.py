"""Questions to the log: read only, answered from the stored events."""

from reconciler.audit.lines import describe, value_text
from reconciler.audit.query import Query, Row, parse_terms, search, subject_test

__all__ = ["Query", "Row", "describe", "parse_terms", "search", "subject_test", "value_text"]
