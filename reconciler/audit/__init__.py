"""Questions to the log: read only, answered from the stored events."""

from reconciler.audit.lines import describe
from reconciler.audit.query import Query, Row, parse_terms, search, subject_test

__all__ = ["Query", "Row", "describe", "parse_terms", "search", "subject_test"]
